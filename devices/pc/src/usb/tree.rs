//! What is plugged in where: the controller's ports, hubs, devices.
//!
//! ```text
//!   controller: port 1 --> tablet
//!               port 2 --> hub: port 1 --> mouse, port 2 --> disk, ... port 8 --> hub: ...
//!   plug: the first free port; the last one that is free gets a hub first, as long as there are fewer than HUBS
//!   packet --> the device of that address, if every port on the way to it is enabled
//! ```
//! A hub stays once it is there. Devices stand in the order in which they came, so that a hub is before what is in its ports.

use super::control::Outcome;
use super::hub::{self, Hub};
use super::plugged::{Inside, Plug, Plugged};
use super::uhci;
use serde::{Deserialize, Serialize};

/// Hubs at most.
const HUBS: usize = 3;
/// Devices at most that are no hubs: one port of the controller and seven of each hub but the last, which has all eight.
pub const DEVICES: usize = 1 + 7 * (HUBS - 1) + 8;

/// A port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Socket {
    /// Number of the hub; 0: the controller.
    pub hub: u8,
    /// From 1 on.
    pub port: u8,
}

/// A device as an image has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Saved {
    number: u8,
    at: Socket,
    /// A disk's number.
    disk: Option<u32>,
    inside: Inside,
}

/// A device as a person is told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its number, which stays as long as it is plugged in.
    pub number: u8,
    /// Its ports from the controller on: `2.1`.
    pub port: String,
    /// `tablet`, `mouse`, `keyboard`, `disk` or `hub`.
    pub what: &'static str,
    /// A disk's number.
    pub disk: Option<u32>,
}

/// Why nothing is plugged in or out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PlugError {
    /// Too many.
    #[error("no USB port is free; take something out first")]
    Full,
    /// Nothing of that number.
    #[error("no such USB device")]
    NotThere,
    /// A hub.
    #[error("that is a hub, which stays")]
    Stays,
}

/// All devices.
#[derive(Debug, Default)]
pub struct Tree {
    devices: Vec<Plugged>,
}

impl Tree {
    /// Plugs something in; the ports that something is in from now on.
    pub fn plug(&mut self, plug: Plug) -> Result<Vec<Socket>, PlugError> {
        let mut taken = Vec::new();
        let hubs = self.hubs().count();
        let mut free = self.free();
        if let ([last], true) = (free.as_slice(), hubs < HUBS) {
            taken.push(*last);
            self.insert(Plug::Hub, *last);
            free = self.free();
        }
        let at = *free.first().ok_or(PlugError::Full)?;
        taken.push(at);
        self.insert(plug, at);
        Ok(taken)
    }

    fn insert(&mut self, plug: Plug, at: Socket) {
        let used = |number: &u8| self.devices.iter().any(|device| device.number == *number);
        // There are never that many.
        let number = (1..=127).find(|number| !used(number)).unwrap_or(127);
        self.devices.push(Plugged::new(plug, number, at));
        self.tell_hub(at, true);
    }

    /// Takes something out; the port that it was in.
    pub fn unplug(&mut self, number: u8) -> Result<Socket, PlugError> {
        let found = self.position(number).ok_or(PlugError::NotThere)?;
        if let Inside::Hub(_) = self.devices[found].inside() {
            return Err(PlugError::Stays);
        }
        let at = self.devices.remove(found).at;
        self.tell_hub(at, false);
        Ok(at)
    }

    fn tell_hub(&mut self, at: Socket, there: bool) {
        if let Some(hub) = self.hub(at.hub) {
            hub.plug(at.port, there);
        }
    }

    fn position(&self, number: u8) -> Option<usize> {
        self.devices
            .iter()
            .position(|device| device.number == number)
    }

    fn hubs(&self) -> impl Iterator<Item = &Plugged> {
        let is_hub = |device: &&Plugged| matches!(device.inside(), Inside::Hub(_));
        self.devices.iter().filter(is_hub)
    }

    /// Ports with nothing in them: the controller's first, then the hubs' in their order.
    fn free(&self) -> Vec<Socket> {
        let own = (1..=uhci::PORTS as u8).map(|port| Socket { hub: 0, port });
        let of = |hub: &Plugged| {
            let hub = hub.number;
            (1..=hub::PORTS).map(move |port| Socket { hub, port })
        };
        let mut all: Vec<Socket> = own.chain(self.hubs().flat_map(of)).collect();
        all.retain(|socket| !self.is_taken(*socket));
        all
    }

    /// Something is in that port.
    pub fn is_taken(&self, at: Socket) -> bool {
        self.devices.iter().any(|device| device.at == at)
    }

    /// The hub of that number.
    pub fn hub(&mut self, number: u8) -> Option<&mut Hub> {
        let found = self.position(number)?;
        self.devices[found].hub()
    }

    /// Where the device of that number is.
    pub fn socket_of(&self, number: u8) -> Option<Socket> {
        Some(self.devices[self.position(number)?].at)
    }

    /// The number of the disk's device.
    pub fn number_of_disk(&self, disk: u32) -> Option<u8> {
        let found = self
            .devices
            .iter()
            .find(|device| device.disk == Some(disk))?;
        Some(found.number)
    }

    /// All devices, as after a reset of the bus.
    pub fn reset(&mut self) {
        self.devices.iter_mut().for_each(Plugged::reset);
    }

    /// Has what is in a port of the controller reset.
    pub fn reset_at(&mut self, at: Socket) {
        if let Some(device) = self.devices.iter_mut().find(|device| device.at == at) {
            device.reset();
        }
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Plugged> {
        self.devices.iter()
    }

    /// Each of them.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Plugged> {
        self.devices.iter_mut()
    }

    /// They as a person is told of them.
    pub fn listed(&self) -> Vec<Listed> {
        let listed = |device: &Plugged| {
            let mut port = device.at.port.to_string();
            let mut hub = device.at.hub;
            while let Some(at) = self.socket_of(hub) {
                port = format!("{}.{port}", at.port);
                hub = at.hub;
            }
            Listed {
                number: device.number,
                port,
                what: device.what(),
                disk: device.disk,
            }
        };
        self.devices.iter().map(listed).collect()
    }

    /// Whether every port on the way to a device is enabled; `roots`: those of the controller.
    fn is_reached(&self, device: &Plugged, roots: &[bool]) -> bool {
        let mut at = device.at;
        // No way is longer than there are hubs.
        for _ in 0..=HUBS {
            if at.hub == 0 {
                return roots.get(usize::from(at.port) - 1) == Some(&true);
            }
            let hub = self.hubs().find(|hub| hub.number == at.hub);
            match hub.map(|hub| (hub.inside(), hub.at)) {
                Some((Inside::Hub(hub), above)) if hub.passes(at.port) => at = above,
                _ => return false,
            }
        }
        false
    }

    /// What the device at `address` makes of a packet.
    pub fn packet(
        &mut self,
        roots: &[bool],
        address: u8,
        act: impl FnOnce(&mut Plugged) -> Outcome,
    ) -> Outcome {
        let answers =
            |device: &Plugged| device.address() == address && self.is_reached(device, roots);
        let Some(found) = self.devices.iter().position(answers) else {
            return Outcome::Silence;
        };
        let device = &mut self.devices[found];
        let outcome = act(device);
        let hub = device.number;
        let resets = device.hub().map_or(0, Hub::take_resets);
        for port in (1..=hub::PORTS).filter(|port| resets >> (port - 1) & 1 != 0) {
            self.reset_at(Socket { hub, port });
        }
        outcome
    }

    /// For an image.
    pub fn saved(&self) -> Vec<Saved> {
        let saved = |device: &Plugged| Saved {
            number: device.number,
            at: device.at,
            disk: device.disk,
            inside: device.inside().clone(),
        };
        self.devices.iter().map(saved).collect()
    }

    /// The devices of an image of before there were hubs: at the controller's ports, in order; disks as they are here.
    pub fn of_ports(&self, devices: Vec<Inside>) -> Vec<Saved> {
        let mut disks = self.devices.iter().filter_map(|device| device.disk);
        let saved = |(number, inside): (u8, Inside)| Saved {
            number,
            at: Socket {
                hub: 0,
                port: number,
            },
            disk: match inside {
                Inside::Disk(_) => disks.next(),
                _ => None,
            },
            inside,
        };
        (1..=u8::MAX).zip(devices).map(saved).collect()
    }

    /// What cannot be of `saved`, if anything.
    pub fn refuses(&self, saved: &[Saved]) -> Option<&'static str> {
        let mut numbers = vec![0];
        let mut hubs: Vec<(u8, u8)> = Vec::new();
        let (mut sockets, mut disks) = (Vec::new(), Vec::new());
        for device in saved {
            let ports = match device.at.hub {
                0 => uhci::PORTS as u8,
                hub if hubs.iter().any(|(number, _)| *number == hub) => hub::PORTS,
                _ => return Some("a USB device at a hub that is none"),
            };
            let port = device.at.port;
            if device.number > 127
                || numbers.contains(&device.number)
                || sockets.contains(&device.at)
                || !(1..=ports).contains(&port)
            {
                return Some("USB devices in places that cannot be");
            }
            numbers.push(device.number);
            sockets.push(device.at);
            match (&device.inside, device.disk) {
                (Inside::Hub(hub), None) => hubs.push((device.number, hub.there())),
                (Inside::Hid(_), None) => {}
                (Inside::Disk(_), Some(disk)) => disks.push(disk),
                _ => return Some("a USB disk without a number, or a number without a disk"),
            }
        }
        let filled = |(number, there): &(u8, u8)| {
            let there = *there;
            (1..=hub::PORTS).all(|port| {
                let at = Socket { hub: *number, port };
                sockets.contains(&at) == (there >> (port - 1) & 1 != 0)
            })
        };
        if hubs.len() > HUBS || !hubs.iter().all(filled) {
            return Some("hubs that know other devices than there are");
        }
        let mut here: Vec<u32> = self.devices.iter().filter_map(|d| d.disk).collect();
        here.sort_unstable();
        disks.sort_unstable();
        if here != disks {
            return Some("other USB disks are plugged in");
        }
        let medium = |saved: &Saved| {
            let here = self
                .devices
                .iter()
                .find(|d| d.disk == saved.disk && d.disk.is_some());
            here.map_or(0, Plugged::bytes)
        };
        let wild = |device: &Saved| device.inside.is_wild(medium(device));
        saved
            .iter()
            .any(wild)
            .then_some("USB devices that cannot be so")
    }

    /// Takes over what [`Tree::refuses`] has nothing against; disks keep the media that they have here.
    pub fn take_up(&mut self, saved: Vec<Saved>) {
        let mut before = std::mem::take(&mut self.devices);
        for saved in saved {
            let same = |device: &Plugged| device.disk == saved.disk && device.disk.is_some();
            let medium = before.iter().position(same);
            let medium = medium.map(|found| before.swap_remove(found).into_medium());
            let device =
                Plugged::restored(saved.number, saved.at, saved.disk, saved.inside, medium);
            self.devices.push(device);
        }
    }
}
