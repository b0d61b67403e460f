//! What is plugged into a port.

use super::control::Outcome;
use super::hid::{Hid, Kind};
use super::storage::Storage;
use crate::device::{Pointing, Touch};
use crate::medium::{Medium, Nothing};
use serde::{Deserialize, Serialize};

/// What is to be plugged in.
#[derive(Debug)]
pub enum Plug {
    /// A tablet, mouse or keyboard.
    Hid(Kind),
    /// A disk with this medium.
    Disk(Box<dyn Medium>),
}

/// A device as an image has it. Images of before there were disks have the first kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Inside {
    /// A tablet, mouse or keyboard.
    Hid(Hid),
    /// A disk.
    Disk(Box<Storage>),
}

/// A device at its port.
#[derive(Debug)]
pub struct Plugged {
    inside: Inside,
    /// A disk's.
    medium: Box<dyn Medium>,
}

impl Plugged {
    /// One that was just plugged in.
    pub fn new(plug: Plug) -> Plugged {
        let (inside, medium): (_, Box<dyn Medium>) = match plug {
            Plug::Hid(kind) => (Inside::Hid(Hid::new(kind)), Box::new(Nothing)),
            Plug::Disk(medium) => (Inside::Disk(Box::default()), medium),
        };
        Plugged { inside, medium }
    }

    /// For an image.
    pub fn inside(&self) -> &Inside {
        &self.inside
    }

    /// Whether `inside` can be this device's.
    pub fn fits(&self, inside: &Inside) -> bool {
        match (&self.inside, inside) {
            (Inside::Hid(here), Inside::Hid(there)) => here.kind() == there.kind(),
            (Inside::Disk(_), Inside::Disk(_)) => true,
            _ => false,
        }
    }

    /// No device has such.
    pub fn is_wild(&self, inside: &Inside) -> bool {
        match inside {
            Inside::Hid(hid) => hid.is_wild(),
            Inside::Disk(disk) => disk.is_wild(self.medium.disc().bytes.unwrap_or(0)),
        }
    }

    /// Goes on from there; what a disk was at is asked again.
    pub fn take_up(&mut self, inside: Inside) {
        self.inside = inside;
        if let Inside::Disk(disk) = &mut self.inside {
            disk.ask_again(&mut *self.medium);
        }
    }

    /// Its address on the bus.
    pub fn address(&self) -> u8 {
        match &self.inside {
            Inside::Hid(hid) => hid.address(),
            Inside::Disk(disk) => disk.address(),
        }
    }

    /// Its port was reset.
    pub fn reset(&mut self) {
        match &mut self.inside {
            Inside::Hid(hid) => hid.reset(),
            Inside::Disk(disk) => disk.reset(),
        }
    }

    /// Its medium has done something.
    pub fn attend(&mut self) {
        if let Inside::Disk(disk) = &mut self.inside {
            disk.look(&mut *self.medium);
        }
    }

    /// What it makes of a pointer, if the guest uses it for one.
    pub fn pointing(&self) -> Option<Pointing> {
        match &self.inside {
            Inside::Hid(hid) if hid.is_used() => match hid.kind() {
                Kind::Tablet => Some(Pointing::Absolute),
                Kind::Mouse => Some(Pointing::Relative),
                Kind::Keyboard => None,
            },
            _ => None,
        }
    }

    /// A person did something; true if the guest uses it and it is this device's.
    pub fn touch(&mut self, touch: Touch) -> bool {
        match &mut self.inside {
            Inside::Hid(hid) => hid.touch(touch),
            Inside::Disk(_) => false,
        }
    }

    /// A SETUP packet.
    pub fn setup(&mut self, bytes: [u8; 8]) -> Outcome {
        match &mut self.inside {
            Inside::Hid(hid) => hid.setup(bytes),
            Inside::Disk(disk) => disk.setup(bytes),
        }
    }

    /// The guest wants up to `room` bytes of an endpoint at `now`.
    pub fn input(&mut self, endpoint: u8, room: usize, now: u64) -> Outcome {
        match &mut self.inside {
            Inside::Hid(hid) => hid.input(endpoint, room, now),
            Inside::Disk(disk) => disk.input(endpoint, room, &mut *self.medium),
        }
    }

    /// The guest brings bytes to an endpoint.
    pub fn output(&mut self, endpoint: u8, bytes: &[u8]) -> Outcome {
        match &mut self.inside {
            Inside::Hid(hid) => hid.output(endpoint, bytes),
            Inside::Disk(disk) => disk.output(endpoint, bytes, &mut *self.medium),
        }
    }
}
