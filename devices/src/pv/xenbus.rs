//! The back end's half of a device's life in the store (public/io/xenbus.h): a pure state machine.
//!
//! ```text
//!   store:  frontend/state --Input::Frontend--> +---------+ --Action--> back end, backend/state
//!   tools:  detach         --Input::Detach----> | Xenbus  |
//!   rings:  broken         --Input::Broken----> +---------+
//!
//!   back end's state                         front end's state that moves it
//!   InitWait  ------ Initialised | Connected ------> Connected
//!   Connected ------ Closing | Closed | gone ------> Closing, Closed    (rings released at the first)
//!   Closed    ------ Initialising (driver again) --> InitWait
//!   any       ------ detach: Closing, until the front end is Closed (or gone, or force) --> released
//! ```
//! A front end may write any state at any time; what does not fit the table changes nothing.

use noxen_pv_abi::xenstore::XenbusState;

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// The device was attached: its nodes are there.
    Attached,
    /// The front end's state is this now; `None`: it has no such node, or no state in it.
    Frontend(Option<XenbusState>),
    /// What [`Action::Connect`] came to.
    Connected(Result<(), String>),
    /// The front end broke a rule of the ring.
    Broken(String),
    /// The tools want the device away; `force`: without waiting.
    Detach {
        /// Without waiting for the front end.
        force: bool,
    },
}

/// What is to be done, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Write the back end's features, and nothing of the rings.
    Announce,
    /// Write `state`.
    State(XenbusState),
    /// Write `online` = 0: the front end is to go for good.
    Offline,
    /// Read the front end's nodes, take its rings into use, answer with [`Input::Connected`].
    Connect,
    /// Let go of the rings; all requests taken are finished or dropped.
    Disconnect,
    /// Write the error node and a line into the log.
    Error(String),
    /// Forget the device.
    Release,
}

/// Where the back end stands, for the tools.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// Attached; no rings.
    Waiting,
    /// Rings in use.
    Connected,
    /// To be released; waits for the front end.
    Closing,
    /// Given up, with the reason; only a detach ends that.
    Broken(String),
    /// Over.
    Released,
}

/// One device.
#[derive(Debug, Clone)]
pub struct Xenbus {
    phase: Phase,
    state: XenbusState,
    frontend: Option<XenbusState>,
    /// The rings are in use.
    rings: bool,
}

impl Default for Xenbus {
    fn default() -> Xenbus {
        Xenbus::new()
    }
}

impl Xenbus {
    /// A device that is not attached yet.
    pub fn new() -> Xenbus {
        Xenbus {
            phase: Phase::Waiting,
            state: XenbusState::INITIALISING,
            frontend: None,
            rings: false,
        }
    }

    /// Where it stands.
    pub fn phase(&self) -> &Phase {
        &self.phase
    }

    /// Are rings in use?
    pub fn has_rings(&self) -> bool {
        self.rings
    }

    /// The state to be found in the back end's node (written anew after the store came back).
    pub fn state(&self) -> XenbusState {
        self.state
    }

    fn set(&mut self, state: XenbusState, actions: &mut Vec<Action>) {
        if self.state != state {
            self.state = state;
            actions.push(Action::State(state));
        }
    }

    /// Moves on.
    pub fn step(&mut self, input: Input) -> Vec<Action> {
        let mut actions = Vec::new();
        if self.phase == Phase::Released {
            return actions;
        }
        match input {
            Input::Attached => {
                if self.state == XenbusState::INITIALISING {
                    actions.push(Action::Announce);
                    self.set(XenbusState::INIT_WAIT, &mut actions);
                }
            }
            Input::Frontend(state) => {
                // Watches repeat themselves.
                if self.frontend != state {
                    self.frontend = state;
                    self.follow(state, &mut actions);
                }
            }
            Input::Connected(Ok(())) => {
                self.rings = true;
                if self.phase == Phase::Waiting {
                    self.phase = Phase::Connected;
                    self.set(XenbusState::CONNECTED, &mut actions);
                }
            }
            Input::Connected(Err(reason)) | Input::Broken(reason) => {
                self.give_up(reason, &mut actions);
            }
            Input::Detach { force } => self.detach(force, &mut actions),
        }
        actions
    }

    fn follow(&mut self, state: Option<XenbusState>, actions: &mut Vec<Action>) {
        match state {
            Some(XenbusState::INITIALISING) => {
                // A new driver (after unload, reboot of the kernel alone or kexec) starts over.
                if matches!(self.phase, Phase::Waiting | Phase::Connected) {
                    self.let_go(actions);
                    actions.push(Action::Announce);
                    self.set(XenbusState::INIT_WAIT, actions);
                }
            }
            Some(XenbusState::INITIALISED | XenbusState::CONNECTED) => {
                if self.phase == Phase::Waiting && self.state == XenbusState::INIT_WAIT {
                    actions.push(Action::Connect);
                }
            }
            Some(XenbusState::CLOSING) => {
                self.let_go(actions);
                self.set(XenbusState::CLOSING, actions);
            }
            Some(XenbusState::CLOSED) | None => {
                self.let_go(actions);
                // A front end whose nodes were never there has not closed anything.
                if state.is_some() || self.state != XenbusState::INIT_WAIT {
                    self.set(XenbusState::CLOSED, actions);
                }
                if self.phase == Phase::Closing {
                    self.release(actions);
                }
            }
            Some(_) => {}
        }
    }

    /// Rings away; the device waits for a driver again unless it is on its way out.
    fn let_go(&mut self, actions: &mut Vec<Action>) {
        if self.rings {
            self.rings = false;
            actions.push(Action::Disconnect);
        }
        if self.phase == Phase::Connected {
            self.phase = Phase::Waiting;
        }
    }

    fn give_up(&mut self, reason: String, actions: &mut Vec<Action>) {
        self.let_go(actions);
        if self.phase == Phase::Waiting {
            actions.push(Action::Error(reason.clone()));
            self.phase = Phase::Broken(reason);
            self.set(XenbusState::CLOSING, actions);
        }
    }

    fn detach(&mut self, force: bool, actions: &mut Vec<Action>) {
        if self.phase != Phase::Closing {
            actions.push(Action::Offline);
        }
        let gone = matches!(
            self.frontend,
            None | Some(XenbusState::CLOSED | XenbusState::UNKNOWN)
        );
        if force || gone {
            self.let_go(actions);
            return self.release(actions);
        }
        // The front end sees Closing, finishes what it has, and closes; only then do the rings go.
        self.phase = Phase::Closing;
        self.set(XenbusState::CLOSING, actions);
    }

    fn release(&mut self, actions: &mut Vec<Action>) {
        self.set(XenbusState::CLOSED, actions);
        actions.push(Action::Release);
        self.phase = Phase::Released;
    }
}

/// What a guest wrote into a node, fit for a message.
pub(crate) fn shown(text: &str) -> String {
    text.chars()
        .take(32)
        .flat_map(char::escape_default)
        .collect()
}

#[cfg(test)]
#[path = "xenbus_tests.rs"]
mod tests;
