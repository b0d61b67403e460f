//! The thread that runs all devices' state machines.
//!
//! ```text
//!   commands (attach, detach, broken, stop) \
//!   watch events (front ends' states)       -> poll --> Slot::feed --> store, back end, news to the main loop
//!   retry timer (store lost)                /
//! ```

use crate::devices::backend::Backend;
use crate::devices::list::Listing;
use crate::devices::session::{Door, Session, RETRY};
use crate::devices::slot::Slot;
use crate::domain::hub::{lock, Hub, Report};
use crate::log::Level;
use noxen_control::{DeviceId, DeviceSpec, DeviceState, DeviceStatus};
use noxen_devices::pv::xenbus::Input;
use noxen_saved_image::Device;
use noxen_xenstore::client::{subtree, Nodes};
use rustix::event::{eventfd, poll, EventfdFlags, PollFd, PollFlags, Timespec};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::mpsc::{channel, Receiver, Sender};
use std::sync::Arc;
use std::time::Instant;

/// What the bus thread is asked.
pub enum Command {
    /// Serve one more device.
    Attach {
        /// Which.
        id: DeviceId,
        /// The front end's directory in the store.
        frontend: String,
        /// The back end's.
        backend_path: String,
        /// As it was asked for; none: it is never handed over.
        spec: Option<Box<DeviceSpec>>,
        /// Its behaviour.
        backend: Box<dyn Backend>,
    },
    /// Let go of the rings of all devices: the guest stands still. Their state is the answer, by class and number.
    Freeze(Sender<Vec<Device>>),
    /// Take them into use again, and answer once they are.
    Thaw(Sender<()>),
    /// Close the images of devices that are frozen, which another process is to go on with: all of them, with what they were made
    /// of, or an error line, and none was closed. They are opened again by [`Command::Thaw`].
    PutAway(Sender<Result<Vec<Given>, String>>),
    /// Answer once all before is done.
    Reach(Sender<()>),
    /// Read the store below a domain's home.
    Nodes {
        /// The home.
        home: String,
        /// Directories below it.
        directories: Vec<String>,
        /// Path below the home and value, parents before children.
        answer: Sender<Result<Vec<(String, String)>, String>>,
    },
    /// Write a node of the store.
    Write {
        /// Its path.
        path: String,
        /// Its value.
        value: String,
        /// Whether it is written.
        answer: Sender<Result<(), String>>,
    },
    /// Let one go.
    Detach {
        /// Which.
        id: DeviceId,
        /// Without asking the front end.
        force: bool,
    },
    /// A device's front end broke a rule.
    Broken {
        /// Which.
        id: DeviceId,
        /// Of which rings.
        generation: u64,
        /// How.
        reason: String,
    },
    /// Disconnect all and end.
    Stop,
}

/// A device as it was attached, and what it was made of.
pub type Given = (DeviceSpec, Vec<OwnedFd>);

/// The way to the bus thread.
#[derive(Debug, Clone)]
pub struct Commands {
    sender: Sender<Command>,
    wake: Arc<OwnedFd>,
}

impl Commands {
    /// Sends `command`; nobody waits for it.
    pub fn send(&self, command: Command) {
        // A bus that is gone has no devices.
        let _ = self.sender.send(command);
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
    }
}

/// Starts the thread; the channel ends with it.
pub fn start(
    hub: Arc<Hub>,
    door: Door,
    listing: Arc<Listing>,
) -> io::Result<(Commands, Receiver<()>)> {
    let (sender, received) = channel();
    let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
    let commands = Commands {
        sender,
        wake: Arc::new(wake),
    };
    let mut bus = Bus {
        hub,
        session: Session::new(door),
        slots: BTreeMap::new(),
        specs: BTreeMap::new(),
        listing,
        commands: commands.clone(),
        received,
    };
    let (alive, ended) = channel();
    std::thread::Builder::new()
        .name("devices".into())
        .stack_size(256 << 10)
        .spawn(move || {
            bus.run();
            // The process may end as soon as it is told: an image has to be closed before.
            drop(bus);
            drop(alive);
        })?;
    Ok((commands, ended))
}

struct Bus {
    hub: Arc<Hub>,
    session: Session,
    slots: BTreeMap<DeviceId, Slot>,
    /// As they were asked for.
    specs: BTreeMap<DeviceId, DeviceSpec>,
    listing: Arc<Listing>,
    commands: Commands,
    received: Receiver<Command>,
}

impl Bus {
    fn run(&mut self) {
        loop {
            self.wait();
            if self.session.renew(Instant::now()) {
                self.resume_all();
            }
            while let Ok(command) = self.received.try_recv() {
                if !self.obey(command) {
                    return;
                }
            }
            while let Some(event) = self.session.event() {
                if let Some(id) = self.find(&event.token) {
                    self.with(id, |slot, session, log| slot.look(session, log));
                }
            }
        }
    }

    /// Until there is a command or an event, or the store is to be looked for.
    fn wait(&self) {
        let mut fds = vec![PollFd::new(&*self.commands.wake, PollFlags::IN)];
        fds.extend(
            self.session
                .connected()
                .map(|client| PollFd::new(client, PollFlags::IN)),
        );
        let lost = self.session.connected().is_none() && !self.slots.is_empty();
        let retry = Timespec {
            tv_sec: 0,
            tv_nsec: RETRY.as_nanos() as i64,
        };
        // An interrupted wait only looks earlier.
        let _ = poll(&mut fds, lost.then_some(&retry));
        let _ = rustix::io::read(&self.commands.wake, &mut [0u8; 8]);
    }

    fn obey(&mut self, command: Command) -> bool {
        match command {
            Command::Attach {
                id,
                frontend,
                backend_path,
                spec,
                backend,
            } => {
                let commands = self.commands.clone();
                let slot = Slot::new(id, frontend, backend_path, backend, commands);
                self.specs.extend(spec.map(|spec| (id, *spec)));
                self.slots.insert(id, slot);
                if self.session.renew(Instant::now()) {
                    self.resume_all();
                } else if self.session.connected().is_some() {
                    self.with(id, |slot, session, log| slot.resume(session, log));
                }
            }
            Command::Freeze(answer) => {
                let states = self.slots.values_mut().map(Slot::freeze).collect();
                // Whoever does not wait for it any more has no use for it.
                let _ = answer.send(states);
            }
            Command::PutAway(answer) => {
                let _ = answer.send(self.put_away());
            }
            Command::Reach(answer) => {
                let _ = answer.send(());
            }
            Command::Thaw(answer) => {
                let ids: Vec<DeviceId> = self.slots.keys().copied().collect();
                for id in ids {
                    self.with(id, |slot, session, log| slot.thaw(session, log));
                }
                let _ = answer.send(());
            }
            Command::Nodes {
                home,
                directories,
                answer,
            } => {
                let read = self
                    .session
                    .with(|client| subtree(client, &home, &directories));
                let nodes = match read {
                    None => Err("xenstored does not answer; is it running?".into()),
                    Some(nodes) => nodes.map_err(|error| format!("xenstored: {error}")),
                };
                let _ = answer.send(nodes);
            }
            Command::Write {
                path,
                value,
                answer,
            } => {
                let written = match self.session.with(|client| client.write(&path, &value)) {
                    None => Err("xenstored does not answer; is it running?".into()),
                    Some(written) => written.map_err(|error| format!("xenstored: {error}")),
                };
                let _ = answer.send(written);
            }
            Command::Detach { id, force } => self.with(id, |slot, session, log| {
                slot.feed(Input::Detach { force }, session, log);
            }),
            Command::Broken {
                id,
                generation,
                reason,
            } => self.with(id, |slot, session, log| {
                if slot.is_current(generation) {
                    slot.feed(Input::Broken(reason), session, log);
                }
            }),
            Command::Stop => {
                self.slots.values_mut().for_each(Slot::stop);
                return false;
            }
        }
        true
    }

    fn put_away(&mut self) -> Result<Vec<Given>, String> {
        let mut all = Vec::new();
        for (id, slot) in &self.slots {
            let spec = self.specs.get(id).cloned();
            let spec = spec.ok_or_else(|| format!("{id} cannot be handed over"))?;
            let fds = slot.again().map_err(|line| format!("{id}: {line}"))?;
            all.push((spec, fds));
        }
        self.slots.values_mut().for_each(Slot::put_away);
        Ok(all)
    }

    fn find(&self, token: &str) -> Option<DeviceId> {
        self.slots
            .keys()
            .find(|id| id.to_string() == token)
            .copied()
    }

    fn resume_all(&mut self) {
        let ids: Vec<DeviceId> = self.slots.keys().copied().collect();
        for id in ids {
            self.with(id, |slot, session, log| slot.resume(session, log));
        }
    }

    /// Lets `work` loose on a device and tells what came of it.
    fn with(&mut self, id: DeviceId, work: impl FnOnce(&mut Slot, &mut Session, &crate::log::Log)) {
        let Some(slot) = self.slots.get_mut(&id) else {
            return;
        };
        let was_there = self.session.connected().is_some();
        let before = slot.state();
        work(slot, &mut self.session, &self.hub.log);
        let after = slot.state();
        if was_there && self.session.connected().is_none() {
            let log = &self.hub.log;
            log.line(
                Level::Warning,
                "the back ends lost xenstored; they look for it",
            );
        }
        if after == before {
            return;
        }
        let (state, reason) = after;
        let closed = state == DeviceState::Closed;
        if closed {
            slot.forget(&mut self.session);
            self.slots.remove(&id);
            self.specs.remove(&id);
        }
        let status = DeviceStatus {
            id,
            state,
            reason,
            disk: None,
        };
        self.tell(status, closed);
    }

    fn tell(&self, status: DeviceStatus, closed: bool) {
        if closed {
            lock(&self.listing.heads).remove(&status.id);
        }
        match closed {
            true => lock(&self.listing.devices).remove(&status.id),
            false => lock(&self.listing.devices).insert(status.id, status.clone()),
        };
        let log = &self.hub.log;
        log.guest_line(
            Level::Info,
            format_args!("{} is {:?}", status.id, status.state),
        );
        self.hub.report(Report::Device(status));
    }
}

#[cfg(test)]
#[path = "hostile_tests.rs"]
mod hostile_tests;
#[cfg(test)]
#[path = "bus_tests.rs"]
mod tests;
