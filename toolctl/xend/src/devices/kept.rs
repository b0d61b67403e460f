//! Devices that a domain comes with out of an image.
//!
//! ```text
//!   configuration + units of the image --of_image--> Kept --prepare: record, nodes as the guest left them, open-->
//!      Prepared --join, once noxen-vmm is there: AttachDevice--> Connected, where a front end uses it
//! ```
//! Everything of the host is opened and judged as for a device that is new: disks, sharing, taps, scripts.

use super::class::{self, Opened, Site};
use super::device::Device;
use super::hotplug::not_connected;
use super::{check_backend, configured, hand_over, monitor_class, open, record_new, screen};
use crate::node::internal;
use crate::store::StoreOp;
use crate::store_nodes;
use noxen_control::device::{DeviceId, DeviceState};
use noxen_control::Event;
use noxen_saved_image::device as state;
use noxen_saved_image::state::{Outline, Outlined};
use noxen_saved_image::Device as Saved;
use noxen_xend_api::{DeviceConfig, DomainConfig, Fault};
use std::collections::BTreeSet;
use std::time::Instant;

/// One of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept {
    /// Its number; none: the next one, as of a device that is new.
    pub devid: Option<u32>,
    /// As the configuration has it.
    pub config: DeviceConfig,
    /// A front end uses it.
    pub connected: bool,
}

/// One that is ready to be handed to noxen-vmm.
pub struct Prepared {
    device: Device,
    opened: Opened,
    connected: bool,
}

/// What the devices of an image are by its configuration. One that the guest has let go of is in that only.
pub fn of_image(config: &DomainConfig, saved: &[Saved]) -> Result<Vec<Kept>, Fault> {
    saved.iter().map(|saved| find(config, saved)).collect()
}

fn find(config: &DomainConfig, saved: &Saved) -> Result<Kept, Fault> {
    let (class, devid) = saved.id();
    let found = match saved {
        Saved::Vbd(_) => {
            let disk = config.disk.iter().find(|d| d.number().ok() == Some(devid));
            disk.cloned().map(DeviceConfig::Disk)
        }
        Saved::Vif(saved) => {
            let is = |mac: &str| mac.eq_ignore_ascii_case(&saved.mac);
            let vif = config.vif.iter().find(|v| v.mac.as_deref().is_some_and(is));
            vif.cloned().map(DeviceConfig::Vif)
        }
        Saved::Vfb(_) => match config.vfb.get(devid as usize) {
            Some(text) => Some(DeviceConfig::Vfb(screen(text)?)),
            None => None,
        },
        Saved::Vkbd(_) => config.vfb.get(devid as usize).map(|_| DeviceConfig::Vkbd),
    };
    let Some(config) = found else {
        return Err(Fault::generic(format!(
            "not a valid guest state file: it has a device {class} {devid} that is not in its configuration"
        )));
    };
    Ok(Kept {
        devid: Some(devid),
        config,
        connected: saved.is_connected(),
    })
}

/// The same of a PC, whose devices are those of its configuration: a machine does not change while it runs.
pub fn of_pc(config: &DomainConfig) -> Result<Vec<Kept>, Fault> {
    let one = |config| Kept {
        devid: None,
        config,
        connected: false,
    };
    Ok(configured(config.clone())?.into_iter().map(one).collect())
}

/// The same of what a stream begins with; which of them are in use comes at its end.
pub fn of_outline(config: &DomainConfig, outline: &Outline) -> Result<Vec<Kept>, Fault> {
    let one = |device: &Outlined| {
        let devid = device.devid;
        let saved = match device.class.as_str() {
            "vbd" => Saved::Vbd(state::Vbd {
                devid,
                connected: false,
            }),
            "vif" => Saved::Vif(state::Vif {
                devid,
                connected: false,
                mac: device.mac.clone(),
                multicast: Vec::new(),
            }),
            "vfb" => Saved::Vfb(state::Vfb {
                devid,
                geometry: None,
            }),
            "vkbd" => Saved::Vkbd(state::Vkbd {
                devid,
                connected: false,
                last: None,
                pending: Vec::new(),
            }),
            other => {
                let shown: String = other.escape_debug().take(32).collect();
                return Err(Fault::generic(format!(
                    "not a valid guest state file: a device of class {shown}"
                )));
            }
        };
        find(config, &saved)
    };
    outline.devices.iter().map(one).collect()
}

/// The guest's nodes and what it uses, which came at a stream's end.
pub fn complete(
    site: Site<'_>,
    prepared: &mut [Prepared],
    nodes: &[(String, String)],
    connected: &[DeviceId],
) -> Result<(), Fault> {
    let domid = site.domain.domid();
    let mut ops = store_nodes::restored(domid, nodes);
    for one in prepared {
        one.connected = connected.contains(&one.device.id());
        // Where its back end is, this host says.
        let frontend = one.device.frontend(domid);
        ops.push(StoreOp::Write(
            format!("{frontend}/backend"),
            one.device.backend(domid),
        ));
        ops.push(StoreOp::Write(format!("{frontend}/backend-id"), "0".into()));
    }
    site.node.store.apply(&ops).map_err(internal)
}

/// Records and opens them; `nodes` are the guest's, below its home.
pub fn prepare(
    site: Site<'_>,
    kept: &[Kept],
    nodes: &[(String, String)],
) -> Result<Vec<Prepared>, Fault> {
    let one = |kept: &Kept| {
        check_backend(site.node, &kept.config)?;
        let _gate = site.domain.devices();
        let device = record_new(site, kept.config.clone(), kept.devid)?;
        let opened = open(site, class::of(device.class()), &device, nodes)?;
        Ok(Prepared {
            device,
            opened,
            connected: kept.connected,
        })
    };
    kept.iter().map(one).collect()
}

/// Hands them to noxen-vmm, and waits for those to be connected that were.
pub fn join(site: Site<'_>, prepared: Vec<Prepared>) -> Result<(), Fault> {
    if prepared.is_empty() {
        return Ok(());
    }
    let deadline = Instant::now() + site.node.options.device_timeout;
    let mut events = site.domain.monitor().subscribe().map_err(internal)?;
    let mut waited: BTreeSet<DeviceId> = BTreeSet::new();
    let mut devices = Vec::new();
    for one in prepared {
        if one.connected {
            waited.insert(one.device.id());
        }
        hand_over(site, &one.device, one.opened)?;
        devices.push(one.device);
    }
    while !waited.is_empty() {
        let event = events.wait_until(deadline).map_err(internal)?;
        let (id, state, reason) = match event {
            None => break,
            Some(Event::DeviceState {
                class,
                devid,
                state,
                reason,
            }) => (DeviceId { class, devid }, state, reason),
            Some(_) => continue,
        };
        match state {
            DeviceState::Connected => {
                waited.remove(&id);
            }
            DeviceState::Waiting => {}
            DeviceState::Broken | DeviceState::Closing | DeviceState::Closed => {
                let why = reason.unwrap_or_else(|| "The guest does not use it any more.".into());
                return Err(refused(&devices, id, &why));
            }
        }
    }
    match waited.first() {
        None => Ok(()),
        Some(id) => Err(refused(&devices, *id, "Its back end does not come up.")),
    }
}

fn refused(devices: &[Device], id: DeviceId, why: &str) -> Fault {
    match devices.iter().find(|device| device.id() == id) {
        Some(device) => not_connected(device, &why.replace(char::is_control, " ")),
        None => Fault::internal(format!("device {id}: {why}")),
    }
}

/// The guest's nodes of `device` among all `nodes`: name below its directory and value. Where its back end is, xend says.
pub fn nodes_of<'a>(
    device: &Device,
    nodes: &'a [(String, String)],
) -> impl Iterator<Item = (&'a str, &'a str)> {
    let directory = format!("device/{}/{}/", monitor_class(device.class()), device.devid);
    nodes.iter().filter_map(move |(path, value)| {
        let name = path.strip_prefix(&directory)?;
        (!matches!(name, "backend" | "backend-id")).then_some((name, value.as_str()))
    })
}
