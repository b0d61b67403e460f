//! PCI configuration space, as far as it is the same for every device (PCI Local Bus Specification 3.0, chapter 6).
//!
//! ```text
//!   0xcf8/0xcfc --> Bus --> Function::read / write   command register, BARs, interrupt line: here
//!                              |  offsets from 0x40, and whatever the device changes itself
//!                              v
//!                           Pci::config_written
//! ```

use crate::device::{Ports, Turn};
use crate::state::{self, StateError};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Bytes of configuration space that a conventional PCI device has.
pub const CONFIG_BYTES: usize = 256;

const COMMAND: usize = 0x04;
const BARS: usize = 0x10;
const ROM: usize = 0x30;
const CAPABILITIES: usize = 0x34;
const LINE: usize = 0x3c;
const PIN: usize = 0x3d;

/// Command register: answers I/O.
pub const COMMAND_IO: u16 = 1;
/// Command register: answers memory accesses.
pub const COMMAND_MEMORY: u16 = 2;
/// Command register: may move data by itself.
pub const COMMAND_MASTER: u16 = 4;
/// Command register: raises no INTx.
pub const COMMAND_NO_INTX: u16 = 1 << 10;

/// What a device says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// Vendor.
    pub vendor: u16,
    /// Device.
    pub device: u16,
    /// Class, subclass, programming interface: `0xCCSSPP`.
    pub class: u32,
    /// Revision.
    pub revision: u8,
    /// Subsystem vendor and device.
    pub subsystem: (u16, u16),
    /// Interrupt pin: 0 none, 1 to 4 for A to D.
    pub pin: u8,
    /// More than one function in this slot.
    pub multifunction: bool,
}

/// What a base address register decodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BarKind {
    /// I/O ports.
    Io,
    /// Memory below 4 GiB.
    Memory,
    /// The same, prefetchable.
    Prefetchable,
}

/// A base address register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bar {
    /// What.
    pub kind: BarKind,
    /// Bytes: a power of two, at least 4 for I/O and 16 for memory.
    pub size: u32,
}

impl Bar {
    fn flags(self) -> u32 {
        match self.kind {
            BarKind::Io => 1,
            BarKind::Memory => 0,
            BarKind::Prefetchable => 8,
        }
    }

    fn mask(self) -> u32 {
        !(self.size - 1)
    }
}

/// One function's configuration space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Function {
    identity: Identity,
    bars: [Option<Bar>; 6],
    rom: Option<Bar>,
    bytes: [u8; CONFIG_BYTES],
    /// Which bits a guest can write.
    writable: [u8; CONFIG_BYTES],
}

/// What of a function is saved: the bytes that can change.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub struct SavedConfig(Vec<u8>);

impl Function {
    /// A function just switched on: no BAR set, answers nothing.
    pub fn new(identity: Identity, bars: [Option<Bar>; 6]) -> Function {
        let mut function = Function {
            identity,
            bars,
            rom: None,
            bytes: [0; CONFIG_BYTES],
            writable: [0; CONFIG_BYTES],
        };
        function.writable[COMMAND] = 0x07;
        function.writable[COMMAND + 1] = 0x04;
        function.writable[0x0c] = 0xff;
        function.writable[0x0d] = 0xff;
        function.writable[LINE] = 0xff;
        for (index, bar) in bars.iter().enumerate() {
            if let Some(bar) = bar {
                function.allow32(BARS + 4 * index, bar.mask());
            }
        }
        function.power_on();
        function
    }

    /// With an expansion ROM of `size` bytes, a power of two of at least 2 KiB.
    pub fn with_rom(mut self, size: u32) -> Function {
        let bar = Bar {
            kind: BarKind::Memory,
            size,
        };
        self.rom = Some(bar);
        self.allow32(ROM, bar.mask() | 1);
        self
    }

    fn allow32(&mut self, offset: usize, mask: u32) {
        self.writable[offset..offset + 4].copy_from_slice(&mask.to_le_bytes());
    }

    /// Lets the guest write `mask` of the device's own byte at `offset`, which starts as `value`.
    pub fn own_byte(&mut self, offset: u8, value: u8, mask: u8) {
        self.bytes[usize::from(offset)] = value;
        self.writable[usize::from(offset)] = mask;
    }

    /// Where the list of capabilities begins (0x40 and up); sets the status bit, too.
    pub fn set_capabilities(&mut self, first: u8) {
        self.bytes[CAPABILITIES] = first;
        self.bytes[0x06] |= 0x10;
    }

    fn power_on(&mut self) {
        let Identity {
            vendor,
            device,
            class,
            revision,
            subsystem,
            pin,
            multifunction,
        } = self.identity;
        for (byte, writable) in self.bytes.iter_mut().zip(&self.writable).take(0x40) {
            *byte &= !writable;
        }
        self.put16(0x00, vendor);
        self.put16(0x02, device);
        self.bytes[0x08] = revision;
        self.bytes[0x09..0x0c].copy_from_slice(&class.to_le_bytes()[..3]);
        self.bytes[0x0e] = if multifunction { 0x80 } else { 0 };
        self.put16(0x2c, subsystem.0);
        self.put16(0x2e, subsystem.1);
        self.bytes[PIN] = pin;
        for index in 0..6 {
            if let Some(bar) = self.bars[index] {
                self.bytes[BARS + 4 * index] = bar.flags() as u8;
            }
        }
    }

    /// The machine was reset: nothing decoded, no line. What the device keeps from 0x40 on it resets itself.
    pub fn reset(&mut self) {
        self.power_on();
    }

    fn put16(&mut self, offset: usize, value: u16) {
        self.bytes[offset..offset + 2].copy_from_slice(&value.to_le_bytes());
    }

    fn get32(&self, offset: usize) -> u32 {
        let mut bytes = [0; 4];
        bytes.copy_from_slice(&self.bytes[offset..offset + 4]);
        u32::from_le_bytes(bytes)
    }

    /// Byte at `offset`.
    pub fn byte(&self, offset: u8) -> u8 {
        self.bytes[usize::from(offset)]
    }

    /// Sets a byte that the guest does not write itself, or whose meaning the device keeps.
    pub fn set_byte(&mut self, offset: u8, value: u8) {
        self.bytes[usize::from(offset)] = value;
    }

    /// What the device says of itself.
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// Its base address registers.
    pub fn bars(&self) -> &[Option<Bar>; 6] {
        &self.bars
    }

    /// Command register.
    pub fn command(&self) -> u16 {
        u16::from_le_bytes([self.bytes[COMMAND], self.bytes[COMMAND + 1]])
    }

    /// The device may read and write guest memory.
    pub fn is_master(&self) -> bool {
        self.command() & COMMAND_MASTER != 0
    }

    /// Where BAR `index` lies now, if the command register lets it answer and the guest has given it a place.
    pub fn base(&self, index: usize) -> Option<u64> {
        let bar = (*self.bars.get(index)?)?;
        let enabled = match bar.kind {
            BarKind::Io => self.command() & COMMAND_IO != 0,
            BarKind::Memory | BarKind::Prefetchable => self.command() & COMMAND_MEMORY != 0,
        };
        let base = self.get32(BARS + 4 * index) & bar.mask();
        // All ones is what sizing leaves behind.
        (enabled && base != 0 && base != bar.mask()).then_some(u64::from(base))
    }

    /// Where the expansion ROM answers and how many bytes it has, if the guest has enabled it.
    pub fn rom(&self) -> Option<(u64, u32)> {
        let rom = self.rom?;
        let word = self.get32(ROM);
        let base = word & rom.mask();
        let enabled = word & 1 != 0 && self.command() & COMMAND_MEMORY != 0;
        (enabled && base != 0 && base != rom.mask()).then_some((u64::from(base), rom.size))
    }

    /// Puts BAR `index` at `base`, as firmware does.
    pub fn set_base(&mut self, index: usize, base: u32) {
        if let Some(bar) = self.bars.get(index).copied().flatten() {
            let value = (base & bar.mask()) | bar.flags();
            let at = BARS + 4 * index;
            self.bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        }
    }

    /// Interrupt line, as firmware left it there for drivers.
    pub fn set_line(&mut self, line: u8) {
        self.bytes[LINE] = line;
    }

    /// Reads `bytes` (1, 2 or 4) from `offset`; beyond the end, ones.
    pub fn read(&self, offset: u8, bytes: usize) -> u32 {
        let mut value = 0;
        for index in 0..bytes.min(4) {
            let byte = self
                .bytes
                .get(usize::from(offset) + index)
                .copied()
                .unwrap_or(0xff);
            value |= u32::from(byte) << (8 * index);
        }
        value
    }

    /// Writes `bytes` (1, 2 or 4) to `offset`, as far as the guest may. True if BARs, the ROM's or the
    /// command register changed.
    pub fn write(&mut self, offset: u8, bytes: usize, value: u32) -> bool {
        let before = (self.command(), self.bases(), self.get32(ROM));
        for index in 0..bytes.min(4) {
            let at = usize::from(offset) + index;
            if at >= CONFIG_BYTES {
                break;
            }
            let mask = self.writable[at];
            let byte = (value >> (8 * index)) as u8;
            self.bytes[at] = (self.bytes[at] & !mask) | (byte & mask);
        }
        before != (self.command(), self.bases(), self.get32(ROM))
    }

    fn bases(&self) -> [u32; 6] {
        std::array::from_fn(|index| self.get32(BARS + 4 * index))
    }

    /// What is saved.
    pub fn save(&self) -> SavedConfig {
        SavedConfig(self.bytes.to_vec())
    }

    /// The unit of the device whose function this is: configuration space and its own `state`.
    pub fn wrap(&self, version: u64, state: &impl Serialize) -> Value {
        let config = self.save();
        state::wrap(version, &WithConfig { config, state })
    }

    /// Takes saved bytes over; another device's are refused.
    pub fn restore(&mut self, saved: &SavedConfig, device: &str) -> Result<(), StateError> {
        let wrong = |why: &str| StateError::wrong(device, why);
        if saved.0.len() != CONFIG_BYTES {
            return Err(wrong("configuration space of another size than 256 bytes"));
        }
        if saved.0[..4] != self.bytes[..4] {
            return Err(wrong("configuration space of another device"));
        }
        self.bytes.copy_from_slice(&saved.0);
        // Below 0x40 only what the guest could have written may differ.
        for at in 0..0x40 {
            let mask = self.writable[at];
            let own = self.fresh(at);
            self.bytes[at] = (own & !mask) | (saved.0[at] & mask);
        }
        Ok(())
    }

    fn fresh(&self, at: usize) -> u8 {
        let mut fresh = self.clone();
        fresh.bytes[..0x40].fill(0);
        fresh.bytes[CAPABILITIES] = self.bytes[CAPABILITIES];
        fresh.bytes[0x06] = if self.bytes[CAPABILITIES] != 0 {
            0x10
        } else {
            0
        };
        fresh.power_on();
        fresh.bytes[at]
    }
}

#[derive(Serialize, Deserialize)]
struct WithConfig<T> {
    config: SavedConfig,
    state: T,
}

/// Configuration space and own state inside a unit that [`Function::wrap`] made, of version 1 to `newest`.
pub fn unwrap<T: DeserializeOwned>(
    device: &str,
    newest: u64,
    unit: &Value,
) -> Result<(SavedConfig, T), StateError> {
    let (_, saved): (u64, WithConfig<T>) = state::unwrap(device, newest, unit)?;
    Ok((saved.config, saved.state))
}

/// A device's PCI side.
pub trait Pci {
    /// Its configuration space.
    fn function(&mut self) -> &mut Function;

    /// I/O ports that registers of the device's own place, such as the power management registers of the PIIX4: the
    /// first and how many. After a change the device asks for [`crate::Effect::Remap`].
    fn placed(&self) -> Option<Ports> {
        None
    }

    /// The guest wrote `bytes` at `offset`, after [`Function::write`] took them: registers of the device's own.
    fn config_written(&mut self, _offset: u8, _bytes: usize, _turn: &mut Turn) {}
}
