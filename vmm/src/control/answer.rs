//! From a request to its reply.

use crate::core_dump::Core;
use crate::devices::Devices;
use crate::domain::calls::lock;
use crate::save::job::{self, Job, Ways, BUSY};
use crate::save::Parts;
use noxen_control::fds::FdQueue;
use noxen_control::message::Move;
use noxen_control::{DeviceId, DeviceSpec, Event, Reply, Request};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

/// What is not done before the domain is taken over.
pub const COMING: &str =
    "the domain is being handed over to this noxen-vmm; wait until that is over";

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
    /// Carries out a request of connection `asker`; `fds` came along with it or with a later one. No reply: it comes later,
    /// by that number.
    fn carry_out(
        &mut self,
        asker: u64,
        request: Request,
        fds: &mut FdQueue,
    ) -> (Option<Reply>, After);

    /// What a new subscriber is told at once: what happened and still holds.
    fn news(&self) -> Vec<Event>;
}

impl Asked for Parts<'_> {
    fn carry_out(
        &mut self,
        asker: u64,
        request: Request,
        fds: &mut FdQueue,
    ) -> (Option<Reply>, After) {
        let error = |message| (Some(Reply::Error { message }), After::Nothing);
        if self.job.is_some() && !may_while_saved(&request) {
            return error(BUSY.into());
        }
        if self.coming.is_some() && !may_while_coming(&request) {
            return error(COMING.into());
        }
        let later = |begun| match begun {
            Ok(()) => (None, After::Nothing),
            Err(message) => error(message),
        };
        match request {
            Request::Save {
                config,
                directories,
                how,
                fds: count,
            } => later(
                file(fds, count)
                    .and_then(|file| job::begin(self, asker, config, directories, how, file)),
            ),
            Request::DumpCore { live, fds: count } => {
                later(file(fds, count).and_then(|file| dump(self, asker, live, file)))
            }
            Request::HandOver {
                directories,
                fds: count,
            } => later(
                link(fds, count)
                    .and_then(|link| job::begin_handover(self, asker, directories, link)),
            ),
            Request::TakeOver { fds: count } => (Some(take_over(self, fds, count)), After::Nothing),
            Request::Move { how, fds: count } => {
                let ways = ways(fds, count, &how);
                later(ways.and_then(|ways| job::begin_move(self, asker, how, ways)))
            }
            Request::Pages => (job::pages(self, asker), After::Nothing),
            request => {
                let (reply, after) = carry_out(self, request, fds);
                (Some(reply), after)
            }
        }
    }

    fn news(&self) -> Vec<Event> {
        self.machine.over_event().into_iter().collect()
    }
}

/// Carries out one line of connection `asker`; `fds` came along with it or with a later one. No reply: it comes later.
pub fn answer(
    domain: &mut dyn Asked,
    asker: u64,
    line: &[u8],
    fds: &mut FdQueue,
) -> (Option<Reply>, After) {
    match serde_json::from_slice::<Request>(line) {
        Ok(request) => domain.carry_out(asker, request, fds),
        Err(error) => {
            let message = format!("not a control request: {error}");
            (Some(Reply::Error { message }), After::Nothing)
        }
    }
}

/// What touches nothing of a guest that stands still.
pub fn may_while_saved(request: &Request) -> bool {
    matches!(
        request,
        Request::Status
            | Request::Counters
            | Request::ConsoleLog
            | Request::Subscribe
            | Request::Devices
            | Request::Screen { .. }
            | Request::Pixels { .. }
            | Request::Fulfilled { .. }
            | Request::Unpause
            | Request::Hold
            | Request::Pages
            | Request::Destroy
    )
}

/// What is answered for a domain that is still another process's.
pub fn may_while_coming(request: &Request) -> bool {
    matches!(
        request,
        Request::Status
            | Request::Counters
            | Request::ConsoleLog
            | Request::Subscribe
            | Request::Devices
            | Request::TakeOver { .. }
            | Request::Destroy
    )
}

/// The domain is this process's from now on.
fn take_over(parts: &mut Parts<'_>, queue: &mut FdQueue, fds: u32) -> Reply {
    let store = link(queue, fds);
    let Some(coming) = parts.coming else {
        return Reply::Ok;
    };
    done(store.map(|store| coming.grant(store)))
}

fn unpause(parts: &mut Parts<'_>) -> Result<(), String> {
    job::give_up_written(parts)?;
    parts.machine.unpause()
}

fn carry_out(parts: &mut Parts<'_>, request: Request, queue: &mut FdQueue) -> (Reply, After) {
    match request {
        Request::Unpause => return (done(unpause(parts)), After::Nothing),
        Request::Hold => return (done(job::hold(parts)), After::Nothing),
        _ => {}
    }
    let (machine, devices) = (&mut *parts.machine, parts.devices);
    let reply = match request {
        Request::Status => {
            let mut status = machine.status();
            status.saving = parts.job.as_ref().map(Job::saving);
            status.paused |= parts.job.as_ref().is_some_and(Job::is_still);
            Reply::Status(Box::new(status))
        }
        Request::Pause => {
            machine.pause();
            Reply::Ok
        }
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
        Request::Init { .. } => Reply::Error {
            message: "a PV domain's vCPUs know no INIT".into(),
        },
        Request::SetVcpus { .. } => Reply::Error {
            message: "a paravirtual domain brings its vCPUs up and down by the store".into(),
        },
        Request::Press { .. } => Reply::Error {
            message: "a PV domain has no buttons; use its control/shutdown node".into(),
        },
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
        Request::Screendump { .. } | Request::Fulfilled { .. } => Reply::Error {
            message: "only an HVM domain has a monitor window".into(),
        },
        Request::Arrived => match parts.arrived.clone() {
            Some(arrived) => Reply::Arrived {
                nodes: arrived.nodes,
                connected: arrived.connected,
            },
            None => Reply::Error {
                message: "the domain did not come from another host".into(),
            },
        },
        Request::Destroy
        | Request::Unpause
        | Request::Hold
        | Request::DumpCore { .. }
        | Request::Pages
        | Request::Move { .. }
        | Request::HandOver { .. }
        | Request::TakeOver { .. }
        | Request::Save { .. } => return (Reply::Ok, After::End),
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

/// Begins a core dump.
fn dump(parts: &mut Parts<'_>, asker: u64, live: bool, file: File) -> Result<(), String> {
    parts.machine.stop();
    let begun = Core::of_pv(parts.machine)
        .and_then(|core| job::begin_dump(parts, asker, core, !live, file));
    if live || begun.is_err() {
        parts.machine.go_on();
    }
    begun
}

/// The one descriptor that came along, if it is one.
fn only(queue: &mut FdQueue, fds: u32) -> Option<OwnedFd> {
    match queue.take(fds) {
        Ok(mut fds) if fds.len() == 1 => fds.pop(),
        _ => None,
    }
}

/// The one file that came along.
pub fn file(queue: &mut FdQueue, fds: u32) -> Result<File, String> {
    let file = only(queue, fds).ok_or("the file to write to did not come along")?;
    Ok(File::from(file))
}

/// The one socket that came along.
pub fn link(queue: &mut FdQueue, fds: u32) -> Result<UnixStream, String> {
    let socket = only(queue, fds).ok_or("the socket did not come along")?;
    Ok(UnixStream::from(socket))
}

/// The connections for a move, as many as it needs.
pub fn ways(queue: &mut FdQueue, fds: u32, how: &Move) -> Result<Ways, String> {
    let mut taken = queue
        .take(fds)
        .map_err(|there| format!("{fds} descriptors were announced, {there} came"))?;
    let pages = match how.postcopy {
        true => taken.pop().map(File::from),
        false => None,
    };
    match (
        taken.pop(),
        taken.is_empty(),
        pages.is_some() == how.postcopy,
    ) {
        (Some(stream), true, true) => Ok(Ways {
            stream: File::from(stream),
            pages,
        }),
        _ => Err(format!(
            "a move needs {} connections, {fds} came",
            1 + u32::from(how.postcopy)
        )),
    }
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
