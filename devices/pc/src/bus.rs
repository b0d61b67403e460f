//! Finds the device that an access is for.
//!
//! ```text
//!   ports 0xcf8, 0xcfc..0xcff --> configuration space of bus 0
//!   other ports, addresses    --> fixed regions first, then PCI regions --> one device, offset
//!   nobody                    --> reads are all ones, writes are lost, both are counted
//! ```

use crate::device::{Button, Device, Effect, Memory, Pointing, Region, Touch, Turn, Width};
use crate::pci::BarKind;
use crate::state::StateError;
use crate::vga::View;
use serde_json::Value;
use std::collections::BTreeSet;

const ADDRESS: u16 = 0xcf8;
const DATA: u16 = 0xcfc;
/// Slots on bus 0.
const SLOTS: usize = 32;
/// Functions in a slot.
const FUNCTIONS: usize = 8;

/// Where a device sits on PCI bus 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Slot, 0 to 31.
    pub slot: u8,
    /// Function, 0 to 7.
    pub function: u8,
}

/// What came of an access, to be acted on: effects with the device that had them.
pub type Happened = Vec<(usize, Effect)>;

/// Space that an address is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Space {
    Io,
    Memory,
}

#[derive(Debug, Clone, Copy)]
struct Mapping {
    space: Space,
    first: u64,
    length: u64,
    device: usize,
    region: Region,
}

/// The devices of one PC and where they answer.
#[derive(Debug, Default)]
pub struct Bus {
    devices: Vec<Box<dyn Device>>,
    places: Vec<Option<Place>>,
    /// Numbers of devices that are no longer on the bus.
    gone: BTreeSet<usize>,
    fixed: Vec<Mapping>,
    moving: Vec<Mapping>,
    /// CONFIG_ADDRESS (i440fx data sheet, 3.2.1).
    address: u32,
    strays: u64,
    looks: u64,
}

impl Bus {
    /// No device yet.
    pub fn new() -> Bus {
        Bus::default()
    }

    /// Adds a device; its number stays. `place` for those with a PCI side.
    pub fn add(&mut self, device: Box<dyn Device>, place: Option<Place>) -> usize {
        let number = self.devices.len();
        for (index, ports) in device.ports().iter().enumerate() {
            self.fixed.push(Mapping {
                space: Space::Io,
                first: ports.first.into(),
                length: ports.count.into(),
                device: number,
                region: Region::Ports(index),
            });
        }
        for (index, window) in device.windows().iter().enumerate() {
            self.fixed.push(Mapping {
                space: Space::Memory,
                first: window.first,
                length: window.length,
                device: number,
                region: Region::Window(index),
            });
        }
        self.devices.push(device);
        self.places.push(place);
        self.look_again();
        number
    }

    /// Takes a device off the bus, which nobody finds there any more; its interrupt lines are the caller's to let go of first.
    pub fn unplug(&mut self, number: usize) {
        if let Some(place) = self.places.get_mut(number) {
            *place = None;
            self.gone.insert(number);
            self.fixed.retain(|mapping| mapping.device != number);
            self.look_again();
        }
    }

    /// A device by its number.
    pub fn device(&mut self, number: usize) -> Option<&mut dyn Device> {
        match self.devices.get_mut(number) {
            Some(device) => Some(device.as_mut()),
            None => None,
        }
    }

    /// How many devices there are; their numbers are below that.
    pub fn len(&self) -> usize {
        self.devices.len()
    }

    /// No device.
    pub fn is_empty(&self) -> bool {
        self.devices.is_empty()
    }

    /// Where a device sits on the PCI bus.
    pub fn place(&self, number: usize) -> Option<Place> {
        self.places.get(number).copied().flatten()
    }

    /// Accesses that no device answered.
    pub fn strays(&self) -> u64 {
        self.strays
    }

    /// What an image has of it: CONFIG_ADDRESS, and each device by its name, in order.
    pub fn save(&self) -> (u32, Vec<(String, Value)>) {
        let devices = self.devices.iter();
        let saved = devices.map(|device| (device.name().to_owned(), device.save()));
        (self.address, saved.collect())
    }

    /// Takes that over; the devices must be the same, in the same order. After an error nothing is promised of any.
    pub fn restore(&mut self, address: u32, saved: &[(String, Value)]) -> Result<(), StateError> {
        let there = saved.iter().map(|(name, _)| name.as_str());
        // What came later than the image is not in it.
        let lacks = |device: &dyn Device| {
            device.came_later() && there.clone().all(|name| name != device.name())
        };
        let known: Vec<bool> = self.devices.iter().map(|d| !lacks(d.as_ref())).collect();
        let devices = self.devices.iter().zip(&known);
        let here = devices
            .filter(|(_, known)| **known)
            .map(|(device, _)| device.name());
        if !here.clone().eq(there.clone()) {
            let other = there.clone().find(|name| here.clone().all(|n| n != *name));
            let lacks = here.clone().find(|name| there.clone().all(|n| n != *name));
            let (name, why) = match (other, lacks) {
                (Some(name), _) => (name, "this machine has no such device"),
                (None, Some(name)) => (name, "it is missing, and this machine has one"),
                (None, None) => ("bus", "the devices come in another order"),
            };
            let shown: String = name.escape_debug().take(32).collect();
            return Err(StateError::wrong(&shown, why));
        }
        let devices = self.devices.iter_mut().zip(known);
        let devices = devices.filter_map(|(device, known)| known.then_some(device));
        for (device, (_, state)) in devices.zip(saved) {
            device.restore(state)?;
        }
        self.address = address;
        self.look_again();
        Ok(())
    }

    /// Finds out anew where the PCI regions lie.
    pub fn look_again(&mut self) {
        self.looks += 1;
        self.moving.clear();
        for (number, device) in self.devices.iter_mut().enumerate() {
            if self.gone.contains(&number) {
                continue;
            }
            let Some(pci) = device.pci() else { continue };
            let mut add = |space, first, length, region| {
                self.moving.push(Mapping {
                    space,
                    first,
                    length,
                    device: number,
                    region,
                });
            };
            if let Some(ports) = pci.placed() {
                let (first, length) = (ports.first.into(), ports.count.into());
                add(Space::Io, first, length, Region::Placed);
            }
            let function = pci.function();
            for (index, bar) in function.bars().iter().enumerate() {
                let (Some(bar), Some(first)) = (bar, function.base(index)) else {
                    continue;
                };
                let space = match bar.kind {
                    BarKind::Io => Space::Io,
                    BarKind::Memory | BarKind::Prefetchable => Space::Memory,
                };
                add(space, first, bar.size.into(), Region::Bar(index));
            }
            if let Some((first, size)) = function.rom() {
                add(Space::Memory, first, size.into(), Region::Rom);
            }
        }
    }

    fn find(&self, space: Space, at: u64) -> Option<(Mapping, u64)> {
        let hit = |mapping: &&Mapping| {
            mapping.space == space
                && at
                    .checked_sub(mapping.first)
                    .is_some_and(|offset| offset < mapping.length)
        };
        let mapping = self
            .fixed
            .iter()
            .find(hit)
            .or_else(|| self.moving.iter().find(hit))?;
        Some((*mapping, at - mapping.first))
    }

    /// Reads I/O port `port`.
    pub fn read_port(
        &mut self,
        port: u16,
        width: Width,
        now: u64,
        memory: &dyn Memory,
    ) -> (u32, Happened) {
        if let Some(value) = self.config_read(port, width) {
            return (value, Vec::new());
        }
        self.read(Space::Io, port.into(), width, now, memory)
    }

    /// Writes I/O port `port`.
    pub fn write_port(
        &mut self,
        port: u16,
        width: Width,
        value: u32,
        now: u64,
        memory: &dyn Memory,
    ) -> Happened {
        if let Some(happened) = self.config_write(port, width, value, now, memory) {
            return happened;
        }
        self.write(Space::Io, port.into(), width, value, now, memory)
    }

    /// Reads guest-physical addresses that are no RAM; at most 8 bytes.
    pub fn read_memory(
        &mut self,
        address: u64,
        into: &mut [u8],
        now: u64,
        memory: &dyn Memory,
    ) -> Happened {
        let mut happened = Vec::new();
        for (at, width, range) in pieces(address, into.len()) {
            let (value, more) = self.read(Space::Memory, at, width, now, memory);
            into[range.clone()].copy_from_slice(&value.to_le_bytes()[..range.len()]);
            happened.extend(more);
        }
        happened
    }

    /// Writes guest-physical addresses that are no RAM; at most 8 bytes.
    pub fn write_memory(
        &mut self,
        address: u64,
        from: &[u8],
        now: u64,
        memory: &dyn Memory,
    ) -> Happened {
        let mut happened = Vec::new();
        for (at, width, range) in pieces(address, from.len()) {
            let mut bytes = [0; 4];
            bytes[..range.len()].copy_from_slice(&from[range]);
            let value = u32::from_le_bytes(bytes);
            happened.extend(self.write(Space::Memory, at, width, value, now, memory));
        }
        happened
    }

    fn read(
        &mut self,
        space: Space,
        at: u64,
        width: Width,
        now: u64,
        memory: &dyn Memory,
    ) -> (u32, Happened) {
        let Some((mapping, offset)) = self.find(space, at) else {
            self.strays += 1;
            return (width.mask(), Vec::new());
        };
        let length = mapping.length;
        self.call(mapping.device, now, memory, |device, turn| {
            if offset + width.bytes() as u64 <= length {
                return device.read(mapping.region, offset, width, turn) & width.mask();
            }
            // Over the end of the region: byte by byte, as far as it goes.
            (0..width.bytes() as u64).rev().fold(0, |value, index| {
                let at = offset + index;
                let byte = if at < length {
                    device.read(mapping.region, at, Width::Byte, turn) & 0xff
                } else {
                    0xff
                };
                value << 8 | byte
            })
        })
    }

    fn write(
        &mut self,
        space: Space,
        at: u64,
        width: Width,
        value: u32,
        now: u64,
        memory: &dyn Memory,
    ) -> Happened {
        let Some((mapping, offset)) = self.find(space, at) else {
            self.strays += 1;
            return Vec::new();
        };
        let value = value & width.mask();
        let length = mapping.length;
        let ((), happened) = self.call(mapping.device, now, memory, |device, turn| {
            if offset + width.bytes() as u64 <= length {
                return device.write(mapping.region, offset, width, value, turn);
            }
            for index in 0..width.bytes() as u64 {
                if offset + index < length {
                    let byte = (value >> (8 * index)) & 0xff;
                    device.write(mapping.region, offset + index, Width::Byte, byte, turn);
                }
            }
        });
        happened
    }

    /// Calls one device; what it wants done comes back, but for [`Effect::Remap`], which is done.
    pub fn call<T>(
        &mut self,
        number: usize,
        now: u64,
        memory: &dyn Memory,
        action: impl FnOnce(&mut dyn Device, &mut Turn) -> T,
    ) -> (T, Happened) {
        let mut effects = Vec::new();
        let mut turn = Turn {
            now,
            memory,
            effects: &mut effects,
        };
        let value = action(self.devices[number].as_mut(), &mut turn);
        if effects.contains(&Effect::Remap) {
            effects.retain(|effect| *effect != Effect::Remap);
            self.look_again();
        }
        (
            value,
            effects.into_iter().map(|effect| (number, effect)).collect(),
        )
    }

    /// When the first device wants its tick.
    pub fn next(&self) -> Option<u64> {
        self.devices.iter().filter_map(|device| device.next()).min()
    }

    /// Gives every device its tick whose time has come.
    pub fn tick(&mut self, now: u64, memory: &dyn Memory) -> Happened {
        let mut happened = Vec::new();
        for number in 0..self.devices.len() {
            if self.devices[number].next().is_some_and(|at| at <= now) {
                happened.extend(
                    self.call(number, now, memory, |device, turn| device.tick(turn))
                        .1,
                );
            }
        }
        happened
    }

    /// Somebody presses a button; false if no device has it.
    pub fn press(&mut self, button: Button, now: u64, memory: &dyn Memory) -> (bool, Happened) {
        for number in 0..self.devices.len() {
            let (pressed, happened) = self.call(number, now, memory, |device, turn| {
                device.press(button, turn)
            });
            if pressed {
                return (true, happened);
            }
        }
        (false, Vec::new())
    }

    /// A person did something; false if no device takes it.
    pub fn touch(&mut self, touch: Touch, now: u64, memory: &dyn Memory) -> (bool, Happened) {
        // Who is asked for places comes before the others.
        let places = |number: &usize| self.devices[*number].pointing() == Some(Pointing::Absolute);
        let (first, others): (Vec<_>, Vec<_>) = (0..self.devices.len()).partition(places);
        for number in first.into_iter().chain(others) {
            let (taken, happened) = self.call(number, now, memory, |device, turn| {
                device.touch(touch, turn)
            });
            if taken {
                return (true, happened);
            }
        }
        (false, Vec::new())
    }

    /// Somebody wants these processors to be there, a bit for each; false if no device knows of them.
    pub fn want_processors(
        &mut self,
        wanted: u64,
        now: u64,
        memory: &dyn Memory,
    ) -> (bool, Happened) {
        for number in 0..self.devices.len() {
            let (known, happened) = self.call(number, now, memory, |device, turn| {
                device.want_processors(wanted, turn)
            });
            if known {
                return (true, happened);
            }
        }
        (false, Vec::new())
    }

    /// The processors that are there, a bit for each; all of them where no device knows.
    pub fn processors(&self) -> u64 {
        let known = self.devices.iter().find_map(|device| device.processors());
        known.unwrap_or(u64::MAX)
    }

    /// What the first device that has a pointer makes of it.
    pub fn pointing(&self) -> Option<Pointing> {
        let all = || self.devices.iter().filter_map(|device| device.pointing());
        let absolute = all().find(|pointing| *pointing == Pointing::Absolute);
        absolute.or_else(|| all().next())
    }

    /// What the first display shows.
    pub fn view(&self, now: u64) -> Option<View> {
        self.devices.iter().find_map(|device| device.view(now))
    }

    /// How often regions have been looked for anew; if it is the same, they lie where they lay.
    pub fn looks(&self) -> u64 {
        self.looks
    }

    /// Tells each memory that lies behind a BAR where that is now; lines say which could not be mapped there.
    pub fn place_backings(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        for device in &mut self.devices {
            let Some((bar, backing)) = device.backing() else {
                continue;
            };
            let at = match device.is_mappable() {
                true => device.pci().and_then(|pci| pci.function().base(bar)),
                false => None,
            };
            if let Err(error) = backing.place(at) {
                lines.push(format!(
                    "{}: its memory cannot be mapped: {error}",
                    device.name()
                ));
            }
        }
        lines
    }

    /// Wakes every device.
    pub fn wake(&mut self, now: u64, memory: &dyn Memory) -> Happened {
        let processors = self.processors().count_ones() as u16;
        let mut happened = Vec::new();
        for number in 0..self.devices.len() {
            happened.extend(
                self.call(number, now, memory, |device, turn| {
                    device.wake(turn, processors)
                })
                .1,
            );
        }
        self.look_again();
        happened
    }

    /// Resets every device.
    pub fn reset(&mut self, now: u64, memory: &dyn Memory) -> Happened {
        self.address = 0;
        let mut happened = Vec::new();
        for number in 0..self.devices.len() {
            happened.extend(
                self.call(number, now, memory, |device, turn| device.reset(turn))
                    .1,
            );
        }
        self.look_again();
        happened
    }

    /// The device in a PCI place.
    pub fn at(&self, place: Place) -> Option<usize> {
        self.places.iter().position(|other| *other == Some(place))
    }

    fn selected(&self) -> Option<(usize, u8)> {
        let address = self.address;
        if address & 0x8000_0000 == 0 || address & 0x00ff_0000 != 0 {
            return None;
        }
        let slot = (address >> 11) as usize % SLOTS;
        let function = (address >> 8) as usize % FUNCTIONS;
        let place = Place {
            slot: slot as u8,
            function: function as u8,
        };
        Some((self.at(place)?, (address & 0xfc) as u8))
    }

    fn config_read(&mut self, port: u16, width: Width) -> Option<u32> {
        if port == ADDRESS && width == Width::Dword {
            return Some(self.address);
        }
        let lane = port.checked_sub(DATA).filter(|lane| *lane < 4)?;
        let Some((device, offset)) = self.selected() else {
            return Some(width.mask());
        };
        let pci = self.devices[device].pci()?;
        Some(pci.function().read(offset + lane as u8, width.bytes()) & width.mask())
    }

    fn config_write(
        &mut self,
        port: u16,
        width: Width,
        value: u32,
        now: u64,
        memory: &dyn Memory,
    ) -> Option<Happened> {
        if port == ADDRESS && width == Width::Dword {
            self.address = value & 0x80ff_fffc;
            return Some(Vec::new());
        }
        let lane = port.checked_sub(DATA).filter(|lane| *lane < 4)?;
        let Some((number, offset)) = self.selected() else {
            return Some(Vec::new());
        };
        let offset = offset + lane as u8;
        let ((), happened) = self.call(number, now, memory, |device, turn| {
            let Some(pci) = device.pci() else { return };
            if pci.function().write(offset, width.bytes(), value) {
                turn.effects.push(Effect::Remap);
            }
            pci.config_written(offset, width.bytes(), turn);
        });
        Some(happened)
    }
}

/// Cuts `length` bytes at `address` into naturally aligned pieces of 1, 2 or 4 bytes.
fn pieces(
    address: u64,
    length: usize,
) -> impl Iterator<Item = (u64, Width, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let left = length - done;
        let at = address.wrapping_add(done as u64);
        let width = match left {
            0 => return None,
            4.. if at.is_multiple_of(4) => Width::Dword,
            2.. if at.is_multiple_of(2) => Width::Word,
            _ => Width::Byte,
        };
        let range = done..done + width.bytes();
        done = range.end;
        Some((at, width, range))
    })
}
