//! Where a front end's rings are, by its nodes (io/blkif.h, "Multiple hardware queues/rings" and "ring-page-order").
//!
//! ```text
//!   one queue:  ring-ref, event-channel               ring-ref0 ... with ring-page-order
//!   several:    queue-N/ring-ref, queue-N/event-channel, with multi-queue-num-queues
//! ```

use crate::devices::backend::{ConnectError, Context, Frontend};
use noxen_devices::pv::block::Protocol;
use noxen_devices::pv::grant::{Access, Grant};
use noxen_devices::pv::sring::BackRing;

/// What this back end offers.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Queues.
    pub queues: u32,
    /// Pages of a ring, as a power of two.
    pub page_order: u32,
}

/// One ring as the front end describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wire {
    /// Its pages.
    pub grefs: Vec<u32>,
    /// Its event channel.
    pub port: u32,
}

/// All rings of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wiring {
    /// Layout of the requests.
    pub protocol: Protocol,
    /// The front end uses its grants again.
    pub persistent: bool,
    /// The rings.
    pub rings: Vec<Wire>,
}

/// Reads a front end's nodes.
pub fn read(frontend: &mut Frontend<'_>, limits: Limits) -> Result<Wiring, ConnectError> {
    let name = frontend.text("protocol")?;
    let Some(protocol) = Protocol::from_node(name.as_deref()) else {
        let name = name.unwrap_or_default();
        return Err(ConnectError::Refused(format!(
            "protocol is {name:?}; x86_64-abi and x86_32-abi are served"
        )));
    };
    let order = bounded(frontend, "ring-page-order", 0, 0, limits.page_order)?;
    let queues = bounded(frontend, "multi-queue-num-queues", 1, 1, limits.queues)?;
    let persistent = frontend.number("feature-persistent")? == Some(1);
    let named = frontend.number("ring-page-order")?.is_some();
    let mut rings = Vec::new();
    for queue in 0..queues {
        let prefix = match queues {
            1 => String::new(),
            _ => format!("queue-{queue}/"),
        };
        let mut grefs = Vec::new();
        if named && frontend.number(&format!("{prefix}ring-ref"))?.is_none() {
            for page in 0..1u32 << order {
                grefs.push(frontend.needed(&format!("{prefix}ring-ref{page}"))?);
            }
        } else if order == 0 {
            grefs.push(frontend.needed(&format!("{prefix}ring-ref"))?);
        } else {
            return Err(ConnectError::Refused(format!(
                "{prefix}ring-ref together with ring-page-order {order}"
            )));
        }
        let port = frontend.needed(&format!("{prefix}event-channel"))?;
        rings.push(Wire { grefs, port });
    }
    Ok(Wiring {
        protocol,
        persistent,
        rings,
    })
}

fn bounded(
    frontend: &mut Frontend<'_>,
    key: &str,
    default: u32,
    least: u32,
    most: u32,
) -> Result<u32, ConnectError> {
    let number = frontend.number(key)?.unwrap_or(default);
    if (least..=most).contains(&number) {
        return Ok(number);
    }
    Err(ConnectError::Refused(format!(
        "{key} is {number}; {least} to {most} were offered"
    )))
}

/// The pages of a ring, given back when dropped.
#[derive(Debug)]
pub struct RingPages {
    context: Context,
    grants: Vec<Grant>,
}

impl Drop for RingPages {
    fn drop(&mut self) {
        for grant in self.grants.drain(..) {
            self.context.grants().unmap(self.context.memory(), grant);
        }
    }
}

/// Takes a ring's pages into use.
pub fn map(
    context: &Context,
    wire: &Wire,
    protocol: Protocol,
) -> Result<(RingPages, BackRing), ConnectError> {
    let mut pages = RingPages {
        context: context.clone(),
        grants: Vec::new(),
    };
    for gref in &wire.grefs {
        let grant = context
            .grants()
            .map(context.memory(), *gref, Access::Write)
            .map_err(ConnectError::refused)?;
        pages.grants.push(grant);
    }
    let places = pages.grants.iter().map(Grant::page).collect();
    let ring = BackRing::new(context.memory(), places, protocol.entry_size())
        .map_err(ConnectError::refused)?;
    Ok((pages, ring))
}
