//! One device on the bus: carries out what its state machine says.

use crate::devices::backend::{Backend, ConnectError, Frontend, Published, Reporter};
use crate::devices::bus::Commands;
use crate::devices::session::Session;
use crate::log::{Level, Log};
use noxen_control::{DeviceId, DeviceState};
use noxen_devices::pv::xenbus::{Action, Input, Phase, Xenbus};
use noxen_pv_abi::xenstore::XenbusState;
use noxen_saved_image::Device;
use noxen_xenstore::client::Nodes;
use std::collections::VecDeque;
use std::os::fd::OwnedFd;

/// A device and where its nodes are.
pub struct Slot {
    id: DeviceId,
    frontend: String,
    backend_path: String,
    backend: Box<dyn Backend>,
    bus: Xenbus,
    published: Published,
    generation: u64,
    commands: Commands,
    /// The store was lost in the middle of something: repeat it once it is back.
    unsaved: bool,
    unconnected: bool,
    /// The rings were in use when the guest was stopped, and are to be again.
    frozen: bool,
}

impl Slot {
    /// A device whose nodes have been written by xend.
    pub fn new(
        id: DeviceId,
        frontend: String,
        backend_path: String,
        backend: Box<dyn Backend>,
        commands: Commands,
    ) -> Slot {
        Slot {
            id,
            frontend,
            backend_path,
            backend,
            bus: Xenbus::new(),
            published: Vec::new(),
            generation: 0,
            commands,
            unsaved: false,
            unconnected: false,
            frozen: false,
        }
    }

    /// Lets go of the rings of a guest that stands still.
    pub fn freeze(&mut self) -> Device {
        self.generation += 1;
        self.frozen = self.bus.has_rings();
        self.backend.freeze()
    }

    /// What it was made of, once more.
    pub fn again(&self) -> Result<Vec<OwnedFd>, String> {
        self.backend.again()
    }

    /// Closes what only one process may have open.
    pub fn put_away(&mut self) {
        self.backend.put_away();
    }

    /// Takes the rings into use again.
    pub fn thaw(&mut self, session: &mut Session, log: &Log) {
        if !std::mem::take(&mut self.frozen) {
            return;
        }
        match self.connect(session, log) {
            Some(Input::Connected(Ok(()))) | None => {}
            Some(input) => self.feed(input, session, log),
        }
    }

    /// Whether `generation` is that of the rings in use.
    pub fn is_current(&self, generation: u64) -> bool {
        self.generation == generation
    }

    /// Where the device stands, and why if broken.
    pub fn state(&self) -> (DeviceState, Option<String>) {
        match self.bus.phase() {
            Phase::Waiting => (DeviceState::Waiting, None),
            Phase::Connected => (DeviceState::Connected, None),
            Phase::Closing => (DeviceState::Closing, None),
            Phase::Broken(reason) => (DeviceState::Broken, Some(reason.clone())),
            Phase::Released => (DeviceState::Closed, None),
        }
    }

    /// Lets go of the rings, for the end of the process.
    pub fn stop(&mut self) {
        if *self.bus.phase() != Phase::Released {
            self.backend.disconnect();
        }
    }

    /// The store is there (again): watches the front end and makes good what could not be written.
    pub fn resume(&mut self, session: &mut Session, log: &Log) {
        let (path, token) = (self.watched(), self.id.to_string());
        if session.with(|client| client.watch(&path, &token)).is_none() {
            return;
        }
        if self.unsaved {
            self.unsaved = false;
            self.write_all(session, self.backend.features(), log);
            self.write_all(session, self.published.clone(), log);
            self.write_state(session, self.bus.state(), log);
        }
        self.feed(Input::Attached, session, log);
        if self.unconnected {
            self.unconnected = false;
            let result = self.connect(session, log);
            if let Some(input) = result {
                self.feed(input, session, log);
            }
        }
        self.look(session, log);
    }

    /// Ends the watch.
    pub fn forget(&self, session: &mut Session) {
        let (path, token) = (self.watched(), self.id.to_string());
        // A store that is gone has no watch.
        let _ = session.with(|client| client.unwatch(&path, &token));
    }

    fn watched(&self) -> String {
        format!("{}/state", self.frontend)
    }

    /// Reads the front end's state and acts upon it.
    pub fn look(&mut self, session: &mut Session, log: &Log) {
        let path = self.watched();
        let state = match session.with(|client| client.read_if_present(&path)) {
            None => return,
            Some(Ok(text)) => text.and_then(|text| text.trim().parse().ok()),
            Some(Err(error)) => {
                return log.line(Level::Warning, format_args!("{}: {error}", self.id))
            }
        };
        self.feed(Input::Frontend(state.map(XenbusState)), session, log);
    }

    /// Takes `input` and what follows from it.
    pub fn feed(&mut self, input: Input, session: &mut Session, log: &Log) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            for action in self.bus.step(input) {
                match action {
                    Action::Announce => self.write_all(session, self.backend.features(), log),
                    Action::State(state) => self.write_state(session, state, log),
                    Action::Offline => self.write(session, "online", "0", log),
                    Action::Connect => inputs.extend(self.connect(session, log)),
                    Action::Disconnect => {
                        self.generation += 1;
                        self.published.clear();
                        self.backend.disconnect();
                    }
                    Action::Error(reason) => {
                        log.guest_line(
                            Level::Warning,
                            format_args!("{} closed: {reason}", self.id),
                        );
                        self.write_error(session, &reason, log);
                    }
                    Action::Release => {}
                }
            }
        }
    }

    fn connect(&mut self, session: &mut Session, log: &Log) -> Option<Input> {
        let reporter = Reporter {
            id: self.id,
            generation: self.generation,
            commands: self.commands.clone(),
        };
        let Some(client) = session.client() else {
            self.unconnected = true;
            return None;
        };
        let mut frontend = Frontend::new(client, &self.frontend);
        match self.backend.connect(&mut frontend, reporter) {
            Ok(nodes) => {
                self.published.clone_from(&nodes);
                self.write_all(session, nodes, log);
                Some(Input::Connected(Ok(())))
            }
            Err(ConnectError::Store(error)) if error.errno().is_none() => {
                session.lose();
                self.unconnected = true;
                None
            }
            Err(error) => Some(Input::Connected(Err(error.to_string()))),
        }
    }

    fn write_all(&mut self, session: &mut Session, nodes: Published, log: &Log) {
        for (name, value) in nodes {
            self.write(session, name, &value, log);
        }
    }

    fn write_state(&mut self, session: &mut Session, state: XenbusState, log: &Log) {
        self.write(session, "state", &state.0.to_string(), log);
    }

    fn write(&mut self, session: &mut Session, name: &str, value: &str, log: &Log) {
        let path = format!("{}/{name}", self.backend_path);
        self.write_path(session, &path, value, log);
    }

    /// Xen's place for it: /local/domain/0/error/backend/CLASS/DOMID/DEVID/error.
    fn write_error(&mut self, session: &mut Session, reason: &str, log: &Log) {
        if let Some((home, rest)) = self.backend_path.split_once("/backend/") {
            let path = format!("{home}/error/backend/{rest}/error");
            self.write_path(session, &path, reason, log);
        }
    }

    fn write_path(&mut self, session: &mut Session, path: &str, value: &str, log: &Log) {
        match session.with(|client| client.write(path, value)) {
            None => self.unsaved = true,
            Some(Ok(())) => {}
            Some(Err(error)) => log.line(Level::Error, format_args!("{}: {error}", self.id)),
        }
    }
}
