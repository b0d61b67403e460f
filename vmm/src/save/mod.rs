//! A running domain into a file (docs/save-restore.md).
//!
//! ```text
//!   refuse what cannot be carried --> stop vCPUs --> store: no request open --(in a transaction)--> run on, again
//!     --> units, memory, end --> stays stopped; whoever asked destroys it or lets it run on
//!           \--any error--> runs on as before
//! ```
//! The main loop does nothing else meanwhile: the guest stands still, and so do its back ends.

pub mod memory;
pub mod restore;

use crate::devices::Devices;
use crate::domain::machine::Machine;
use crate::log::Level;
use crate::store::{saved::Settled, Store};
use crate::vstate::irq::Channel;
use noxen_devices::pv::console::Console;
use noxen_saved_image::state::{self, Bytes};
use noxen_saved_image::{Header, Writer};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Who writes, for the header.
pub const WRITER: &str = concat!("noxen-vmm ", env!("CARGO_PKG_VERSION"));
/// How long xenstored may take to answer what is open.
const ANSWER: Duration = Duration::from_secs(5);
/// How long the guest may run on to end a transaction, and how often.
const RUN_ON: Duration = Duration::from_millis(50);
const ATTEMPTS: usize = 100;
/// Bytes that are written at a time.
const BUFFER: usize = 1 << 20;

/// A domain's parts, as the control socket gets at them.
#[derive(Debug)]
pub struct Parts<'a> {
    /// vCPUs.
    pub machine: &'a mut Machine,
    /// PV devices.
    pub devices: &'a Devices,
    /// Console.
    pub console: &'a mut Console,
    /// Store and its port.
    pub store: Option<(&'a mut Store, &'a Channel)>,
}

/// What the asker adds to the image.
#[derive(Debug)]
pub struct Extras {
    /// The domain's configuration, an S-expression.
    pub config: String,
    /// The guest's own nodes in the store.
    pub nodes: state::Nodes,
}

/// Writes the domain into `file`; returns how many bytes of memory that were. The domain stands still afterwards; after an
/// error it does what it did before.
pub fn save(parts: &mut Parts<'_>, extras: &Extras, file: File) -> Result<u64, String> {
    refuse(parts)?;
    let begun = Instant::now();
    let written = stand_still(parts).and_then(|()| write(parts, extras, file));
    let log = &parts.machine.shared().log;
    match &written {
        Ok(bytes) => log.line(
            Level::Info,
            format_args!("saved: {} MiB in {:?}", bytes >> 20, begun.elapsed()),
        ),
        Err(line) => log.line(Level::Error, format_args!("not saved: {line}")),
    }
    match written {
        Ok(bytes) => {
            parts.machine.hold();
            Ok(bytes)
        }
        Err(line) => {
            parts.machine.go_on();
            Err(line)
        }
    }
}

fn refuse(parts: &Parts<'_>) -> Result<(), String> {
    if parts.machine.over().is_some() {
        return Err("the domain has shut down; there is nothing to save".into());
    }
    match parts.devices.list().first() {
        Some(device) => Err(format!(
            "device {} cannot be saved yet; detach it (xm block-detach, network-detach) or shut the domain down",
            device.id
        )),
        None => Ok(()),
    }
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

fn write(parts: &mut Parts<'_>, extras: &Extras, file: File) -> Result<u64, String> {
    let failed = |error: io::Error| error.to_string();
    let now = SystemTime::now();
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (clock, vcpus) = parts.machine.saved_vcpus(now)?;
    let header = Header::new(WRITER, now.as_secs());
    let out = BufWriter::with_capacity(BUFFER, file);
    let mut writer = Writer::begin(out, &extras.config, &header).map_err(failed)?;
    writer
        .unit(&parts.machine.constants().domain)
        .map_err(failed)?;
    writer.unit(&clock).map_err(failed)?;
    for vcpu in &vcpus {
        writer.unit(vcpu).map_err(failed)?;
    }
    let console = state::Console {
        output: Bytes(parts.console.output().to_vec()),
        input: Bytes(parts.console.input().to_vec()),
    };
    writer.unit(&console).map_err(failed)?;
    if let Some((store, _)) = &mut parts.store {
        writer.unit(&store.saved()).map_err(failed)?;
    }
    writer.unit(&extras.nodes).map_err(failed)?;
    let shared = parts.machine.shared();
    memory::write(&mut writer, &shared.memory, shared.region.base).map_err(failed)?;
    let (mut out, totals) = writer.end().map_err(failed)?;
    out.flush().map_err(failed)?;
    Ok(totals.memory)
}
