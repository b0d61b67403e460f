//! A running domain into a file, or to another host (docs/save-restore.md).
//!
//! ```text
//!   refuse what cannot be carried --> halt: vCPUs stopped --> store: no request open --(in a transaction)--> run on, again
//!     --> devices: what was taken is answered, rings let go --> state gathered
//!     --> job.rs: a thread writes units, memory, end --> stands still until destroyed or unpaused, or nobody waits any more
//!           \--any error, or the asker gone--> devices take their rings into use again, runs on as before
//! ```
//! send.rs has the other host's part, upgrade.rs that of another process of this host. The main loop serves its control connections meanwhile, and touches nothing of the guest.

pub mod job;
pub mod lazy;
pub mod mark;
pub mod memory;
pub mod missing;
pub mod pace;
pub mod pull;
pub mod push;
pub mod restore;
pub mod send;
pub mod suspended;
pub mod upgrade;

use crate::console_end::ConsoleEnd;
use crate::devices::Devices;
use crate::domain::machine::Machine;
use crate::store::{saved::Settled, Store};
use crate::vstate::irq::Channel;
use crate::vstate::vm::Vm;
use noxen_control::{DeviceClass, DeviceId};
use noxen_devices::pv::console::Console;
use noxen_saved_image::state::{self, Bytes, Node, Nodes};
use noxen_saved_image::{Device, State};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Who writes, for the header.
pub const WRITER: &str = concat!("noxen-vmm ", env!("CARGO_PKG_VERSION"));
/// How long xenstored may take to answer what is open.
const ANSWER: Duration = Duration::from_secs(5);
/// How long the guest may run on to end a transaction, and how often.
const RUN_ON: Duration = Duration::from_millis(50);
const ATTEMPTS: usize = 100;

/// A domain's parts, as the control socket gets at them.
#[derive(Debug)]
pub struct Parts<'a> {
    /// vCPUs.
    pub machine: &'a mut Machine,
    /// PV devices.
    pub devices: &'a Devices,
    /// Console.
    pub console: &'a mut Console,
    /// The host's end of it.
    pub end: &'a ConsoleEnd,
    /// Store and its port.
    pub store: Option<(&'a mut Store, &'a Channel)>,
    /// The VM.
    pub vm: &'a Arc<Vm>,
    /// What it brought along, if it came from another host.
    pub arrived: &'a Option<Arrived>,
    /// A save or a move under way.
    pub job: &'a mut Option<job::Job>,
    /// It is still another process's.
    pub coming: &'a mut Option<upgrade::Coming>,
}

/// What a domain that came from another host brought along for xend.
#[derive(Debug, Clone)]
pub struct Arrived {
    /// Its nodes of the store, below its home.
    pub nodes: Vec<(String, String)>,
    /// Devices that a front end used.
    pub connected: Vec<DeviceId>,
}

impl Arrived {
    /// Out of its state.
    pub fn of(state: &State) -> Arrived {
        let nodes = state.nodes.iter().flat_map(|nodes| &nodes.nodes);
        let text = |node: &Node| {
            let value = String::from_utf8_lossy(&node.value.0).into_owned();
            (node.path.clone(), value)
        };
        let used = state.devices.iter().filter(|device| device.is_connected());
        Arrived {
            nodes: nodes.map(text).collect(),
            connected: used.map(id).collect(),
        }
    }
}

fn id(device: &Device) -> DeviceId {
    let class = match device {
        Device::Vbd(_) => DeviceClass::Vbd,
        Device::Vif(_) => DeviceClass::Vif,
        Device::Vfb(_) => DeviceClass::Vfb,
        Device::Vkbd(_) => DeviceClass::Vkbd,
    };
    let devid = device.id().1;
    DeviceId { class, devid }
}

/// Stops the domain at a moment at which it can be carried, and gathers all but its memory. `directories` of the store are
/// the guest's own. After an error it does what it did before; [`run_on`] has it do so, too.
pub fn halt(parts: &mut Parts<'_>, directories: &[String]) -> Result<State, String> {
    if parts.machine.over().is_some() {
        return Err("the domain has shut down; there is nothing to save".into());
    }
    let halted = stand_still(parts)
        .and_then(|()| parts.devices.freeze())
        .and_then(|devices| gather(parts, directories, devices));
    let halted = halted.map(|mut state| {
        if parts.machine.suspended().is_some() {
            suspended::strip(&mut state);
            parts.machine.answer_suspend(suspended::ANEW);
        }
        state
    });
    if halted.is_err() {
        run_on(parts);
    }
    halted
}

/// Lets a domain that was halted do what it did before.
pub fn run_on(parts: &mut Parts<'_>) {
    parts.devices.thaw();
    parts.machine.answer_suspend(suspended::RUNS_ON);
    parts.machine.go_on();
}

/// Stops the vCPUs at a moment at which the store can be carried.
fn stand_still(parts: &mut Parts<'_>) -> Result<(), String> {
    let shared = parts.machine.shared().clone();
    for _ in 0..ATTEMPTS {
        parts.machine.stop();
        let Some((store, port)) = &mut parts.store else {
            return Ok(());
        };
        let settled = store.settle(&shared.memory, &shared.log, ANSWER);
        let (settled, notify) = settled.map_err(|error| format!("xenstored: {error}"))?;
        if notify {
            port.kick();
        }
        match settled {
            Settled::Quiet => return Ok(()),
            Settled::NoDaemon => return Err("xenstored does not answer; is it running?".into()),
            Settled::GuestMustRun if parts.machine.suspended().is_some() => {
                return Err("the guest has suspended itself in a transaction of the store".into())
            }
            Settled::GuestMustRun => {}
        }
        parts.machine.go_on();
        let until = Instant::now() + RUN_ON;
        while Instant::now() < until {
            if store
                .wait(until)
                .map_err(|error| format!("xenstored: {error}"))?
            {
                let notify = store.readable(&shared.memory, &shared.log);
                if notify {
                    port.kick();
                }
            }
            port.acknowledge();
            if store.service(&shared.memory, &shared.log) {
                port.kick();
            }
        }
    }
    Err("the guest stays in a transaction of the store; try again".into())
}

fn gather(
    parts: &mut Parts<'_>,
    directories: &[String],
    devices: Vec<Device>,
) -> Result<State, String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let (clock, vcpus) = parts.machine.saved_vcpus(now.unwrap_or_default())?;
    let domain = parts.machine.constants().domain.clone();
    let (mut store, mut nodes) = (None, None);
    if let Some((of_guest, _)) = &mut parts.store {
        store = Some(of_guest.saved());
        let home = format!("/local/domain/{}", parts.machine.domid());
        let read = parts.devices.nodes(home, directories.to_vec())?;
        let read = read.into_iter().map(|(path, value)| Node {
            path,
            value: Bytes(value.into_bytes()),
        });
        nodes = Some(Nodes {
            nodes: read.collect(),
        });
    }
    Ok(State {
        domain,
        clock,
        vcpus,
        console: state::Console {
            output: Bytes(parts.console.output().to_vec()),
            input: Bytes(parts.console.input().to_vec()),
        },
        store,
        nodes,
        devices,
    })
}
