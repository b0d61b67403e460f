//! From a request to its reply.

use crate::devices::Devices;
use crate::domain::calls::lock;
use crate::domain::machine::Machine;
use noxen_control::fds::FdQueue;
use noxen_control::{DeviceId, DeviceSpec, Reply, Request};

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

/// Carries out one line; `fds` came along with it or with a later one.
pub fn answer(
    machine: &mut Machine,
    devices: &Devices,
    line: &[u8],
    fds: &mut FdQueue,
) -> (Reply, After) {
    match serde_json::from_slice::<Request>(line) {
        Ok(request) => carry_out(machine, devices, request, fds),
        Err(error) => {
            let message = format!("not a control request: {error}");
            (Reply::Error { message }, After::Nothing)
        }
    }
}

fn carry_out(
    machine: &mut Machine,
    devices: &Devices,
    request: Request,
    queue: &mut FdQueue,
) -> (Reply, After) {
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
        Request::Destroy => return (Reply::Ok, After::End),
    };
    (reply, After::Nothing)
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

fn done(result: Result<(), String>) -> Reply {
    match result {
        Ok(()) => Reply::Ok,
        Err(message) => Reply::Error { message },
    }
}
