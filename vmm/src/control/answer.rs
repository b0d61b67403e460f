//! From a request to its reply.

use crate::devices::Devices;
use crate::domain::calls::lock;
use crate::save::{self, Extras, Parts};
use noxen_control::fds::FdQueue;
use noxen_control::{DeviceId, DeviceSpec, Event, Reply, Request};
use noxen_saved_image::state::{Bytes, Node, Nodes};
use std::fs::File;

/// What the connection is to do besides sending the reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// Nothing.
    Nothing,
    /// Carry events from now on.
    Subscribe,
    /// End the process once the reply is out.
    End,
}

/// The domain behind the socket.
pub trait Asked {
    /// Carries out a request; `fds` came along with it or with a later one.
    fn carry_out(&mut self, request: Request, fds: &mut FdQueue) -> (Reply, After);

    /// The event to tell a new subscriber, if the domain is over.
    fn over_event(&self) -> Option<Event>;
}

impl Asked for Parts<'_> {
    fn carry_out(&mut self, request: Request, fds: &mut FdQueue) -> (Reply, After) {
        carry_out(self, request, fds)
    }

    fn over_event(&self) -> Option<Event> {
        self.machine.over_event()
    }
}

/// Carries out one line; `fds` came along with it or with a later one.
pub fn answer(domain: &mut dyn Asked, line: &[u8], fds: &mut FdQueue) -> (Reply, After) {
    match serde_json::from_slice::<Request>(line) {
        Ok(request) => domain.carry_out(request, fds),
        Err(error) => {
            let message = format!("not a control request: {error}");
            (Reply::Error { message }, After::Nothing)
        }
    }
}

fn carry_out(parts: &mut Parts<'_>, request: Request, queue: &mut FdQueue) -> (Reply, After) {
    let request = match request {
        Request::Save { config, nodes, fds } => {
            let reply = match save(parts, config, nodes, fds, queue) {
                Ok(bytes) => Reply::Saved { bytes },
                Err(message) => Reply::Error { message },
            };
            return (reply, After::Nothing);
        }
        request => request,
    };
    let (machine, devices) = (&mut *parts.machine, parts.devices);
    let reply = match request {
        Request::Status => Reply::Status(Box::new(machine.status())),
        Request::Pause => {
            machine.pause();
            Reply::Ok
        }
        Request::Unpause => done(machine.unpause()),
        Request::Counters => Reply::Counters {
            groups: machine.counters(),
        },
        Request::ConsoleLog => Reply::Text {
            text: lock(&machine.shared().messages).text(),
        },
        Request::Registers => Reply::Text {
            text: machine.registers(),
        },
        Request::SetMaxMemory { kib } => done(machine.set_max_memory(kib)),
        Request::Nmi { vcpu } => done(machine.nmi(vcpu)),
        Request::Subscribe => return (Reply::Ok, After::Subscribe),
        Request::AttachDevice { device, fds } => done(attach(devices, &device, fds, queue)),
        Request::DetachDevice {
            class,
            devid,
            force,
        } => done(devices.detach(DeviceId { class, devid }, force)),
        Request::Devices => Reply::Devices {
            devices: devices.list(),
        },
        Request::Screen { devid } => match devices.display(devid) {
            Ok(display) => Reply::Screen {
                picture: display.take(),
            },
            Err(message) => Reply::Error { message },
        },
        Request::Pixels { devid, part } => {
            let pixels = devices
                .display(devid)
                .and_then(|display| display.pixels(part));
            match pixels {
                Ok(bytes) => Reply::Pixels { hex: hex(&bytes) },
                Err(message) => Reply::Error { message },
            }
        }
        Request::Input { devid, events } => {
            done(devices.keys(devid).and_then(|keys| keys.push(&events)))
        }
        Request::Destroy | Request::Save { .. } => return (Reply::Ok, After::End),
    };
    (reply, After::Nothing)
}

/// Two digits a byte.
fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |value: u8| char::from(DIGITS[usize::from(value)]);
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}

fn save(
    parts: &mut Parts<'_>,
    config: String,
    nodes: Vec<(String, Vec<u8>)>,
    fds: u32,
    queue: &mut FdQueue,
) -> Result<u64, String> {
    let file = match queue.take(fds) {
        Ok(mut fds) if fds.len() == 1 => fds.pop(),
        _ => None,
    };
    let file = file.ok_or("the file to save to did not come along")?;
    let nodes = nodes.into_iter().map(|(path, value)| Node {
        path,
        value: Bytes(value),
    });
    let extras = Extras {
        config,
        nodes: Nodes {
            nodes: nodes.collect(),
        },
    };
    save::save(parts, &extras, File::from(file))
}

fn attach(
    devices: &Devices,
    device: &DeviceSpec,
    fds: u32,
    queue: &mut FdQueue,
) -> Result<(), String> {
    let fds = queue.take(fds).map_err(|there| {
        format!(
            "{}: the request states {fds} descriptors, {there} came along",
            device.id()
        )
    })?;
    devices.attach(device, fds)
}

/// A reply that says only whether it worked.
pub fn done(result: Result<(), String>) -> Reply {
    match result {
        Ok(()) => Reply::Ok,
        Err(message) => Reply::Error { message },
    }
}
