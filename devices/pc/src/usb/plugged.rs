//! What is plugged into a port.

use super::control::Outcome;
use super::hid::{Hid, Kind};
use super::hub::Hub;
use super::storage::Storage;
use super::tree::Socket;
use crate::device::{Pointing, Touch};
use crate::medium::{Medium, Nothing};
use serde::{Deserialize, Serialize};

/// What is to be plugged in.
#[derive(Debug)]
pub enum Plug {
    /// A tablet, mouse or keyboard.
    Hid(Kind),
    /// A disk: its number, by which it is known outside, and its medium.
    Disk(u32, Box<dyn Medium>),
    /// A hub.
    Hub,
}

/// A device as an image has it. Images of before there were disks have the first kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Inside {
    /// A tablet, mouse or keyboard.
    Hid(Hid),
    /// A disk.
    Disk(Box<Storage>),
    /// A hub.
    Hub(Box<Hub>),
}

impl Inside {
    /// No device has such; a disk's medium has `bytes`.
    pub fn is_wild(&self, bytes: u64) -> bool {
        match self {
            Inside::Hid(hid) => hid.is_wild(),
            Inside::Disk(disk) => disk.is_wild(bytes),
            Inside::Hub(hub) => hub.is_wild(),
        }
    }
}

/// A device at its port.
#[derive(Debug)]
pub struct Plugged {
    /// Its number, 1 to 127, as long as it is plugged in.
    pub number: u8,
    /// Its port.
    pub at: Socket,
    /// A disk's number.
    pub disk: Option<u32>,
    inside: Inside,
    /// A disk's.
    medium: Box<dyn Medium>,
}

impl Plugged {
    /// One that was just plugged in.
    pub fn new(plug: Plug, number: u8, at: Socket) -> Plugged {
        let (disk, inside, medium): (_, _, Box<dyn Medium>) = match plug {
            Plug::Hid(kind) => (None, Inside::Hid(Hid::new(kind)), Box::new(Nothing)),
            Plug::Disk(disk, medium) => (Some(disk), Inside::Disk(Box::default()), medium),
            Plug::Hub => (None, Inside::Hub(Box::default()), Box::new(Nothing)),
        };
        Plugged {
            number,
            at,
            disk,
            inside,
            medium,
        }
    }

    /// One out of an image, with the medium that it has here; what a disk was at is asked again.
    pub fn restored(
        number: u8,
        at: Socket,
        disk: Option<u32>,
        inside: Inside,
        medium: Option<Box<dyn Medium>>,
    ) -> Plugged {
        let mut plugged = Plugged {
            number,
            at,
            disk,
            inside,
            medium: medium.unwrap_or_else(|| Box::new(Nothing)),
        };
        if let Inside::Disk(disk) = &mut plugged.inside {
            disk.ask_again(&mut *plugged.medium);
        }
        plugged
    }

    /// For an image.
    pub fn inside(&self) -> &Inside {
        &self.inside
    }

    /// Only its medium goes on.
    pub fn into_medium(self) -> Box<dyn Medium> {
        self.medium
    }

    /// Bytes of its medium.
    pub fn bytes(&self) -> u64 {
        self.medium.disc().bytes.unwrap_or(0)
    }

    /// In a word.
    pub fn what(&self) -> &'static str {
        match &self.inside {
            Inside::Hid(hid) => match hid.kind() {
                Kind::Tablet => "tablet",
                Kind::Mouse => "mouse",
                Kind::Keyboard => "keyboard",
            },
            Inside::Disk(_) => "disk",
            Inside::Hub(_) => "hub",
        }
    }

    /// If it is a hub.
    pub fn hub(&mut self) -> Option<&mut Hub> {
        match &mut self.inside {
            Inside::Hub(hub) => Some(hub),
            _ => None,
        }
    }

    /// Its address on the bus.
    pub fn address(&self) -> u8 {
        match &self.inside {
            Inside::Hid(hid) => hid.address(),
            Inside::Disk(disk) => disk.address(),
            Inside::Hub(hub) => hub.address(),
        }
    }

    /// Its port was reset.
    pub fn reset(&mut self) {
        match &mut self.inside {
            Inside::Hid(hid) => hid.reset(),
            Inside::Disk(disk) => disk.reset(),
            Inside::Hub(hub) => hub.reset(),
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
            Inside::Disk(_) | Inside::Hub(_) => false,
        }
    }

    /// A SETUP packet.
    pub fn setup(&mut self, bytes: [u8; 8]) -> Outcome {
        match &mut self.inside {
            Inside::Hid(hid) => hid.setup(bytes),
            Inside::Disk(disk) => disk.setup(bytes),
            Inside::Hub(hub) => hub.setup(bytes),
        }
    }

    /// The guest wants up to `room` bytes of an endpoint at `now`.
    pub fn input(&mut self, endpoint: u8, room: usize, now: u64) -> Outcome {
        match &mut self.inside {
            Inside::Hid(hid) => hid.input(endpoint, room, now),
            Inside::Disk(disk) => disk.input(endpoint, room, &mut *self.medium),
            Inside::Hub(hub) => hub.input(endpoint, room),
        }
    }

    /// The guest brings bytes to an endpoint.
    pub fn output(&mut self, endpoint: u8, bytes: &[u8]) -> Outcome {
        match &mut self.inside {
            Inside::Hid(hid) => hid.output(endpoint, bytes),
            Inside::Disk(disk) => disk.output(endpoint, bytes, &mut *self.medium),
            Inside::Hub(hub) => hub.output(endpoint, bytes),
        }
    }
}
