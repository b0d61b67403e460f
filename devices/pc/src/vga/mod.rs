//! The standard display adapter: a VGA with Bochs' VBE extensions (PCI 1234:1111), as QEMU's and Bochs' stdvga.
//!
//! ```text
//!   0x3b0..0x3df registers.rs    0x1ce, 0x1cf dispi.rs    0xa0000 window.rs        --> memory
//!   BAR 0: all of the memory, which the machine may map there (backing.rs)
//!   BAR 2: 0x400 registers from 0x3c0 on, 0x500 dispi      ROM: the VGA BIOS, if there is one
//!   view() --> view.rs, text.rs: the picture, made without the device
//! ```

pub mod cirrus;
mod dispi;
mod registers;
#[cfg(any(test, feature = "conformance"))]
pub mod subject;
#[cfg(test)]
mod tests;
mod text;
mod view;
mod window;

use crate::backing::Backing;
use crate::device::{Device, Effect, Ports, Region, Turn, Width, Window};
use crate::pci::{self, Bar, BarKind, Function, Identity, Pci};
use crate::state::StateError;
use dispi::{Dispi, Wrote};
use registers::Registers;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;
pub use view::{Area, View, Watcher};

const VERSION: u64 = 1;
const NAME: &str = "vga";
const PORTS: [Ports; 2] = [
    Ports {
        first: 0x3b0,
        count: 0x30,
    },
    // A word at 0x1cf is one register.
    Ports {
        first: 0x1ce,
        count: 3,
    },
];
const WINDOWS: [Window; 1] = [Window {
    first: 0xa_0000,
    length: 0x2_0000,
}];
const IDENTITY: Identity = Identity {
    vendor: 0x1234,
    device: 0x1111,
    class: 0x03_0000,
    revision: 2,
    subsystem: (0x1af4, 0x1100),
    pin: 0,
    multifunction: false,
};
const MMIO: u32 = 4096;
/// Least and most of the memory, bytes; a power of two.
pub const MEMORY: std::ops::RangeInclusive<u64> = 1 << 20..=256 << 20;

/// The adapter.
#[derive(Debug)]
pub struct Vga {
    function: Function,
    memory: Arc<dyn Backing>,
    rom: Vec<u8>,
    registers: Registers,
    dispi: Dispi,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Saved {
    registers: Registers,
    dispi: Dispi,
}

impl Vga {
    /// One with `memory` (its length within [`MEMORY`], a power of two) and the VGA BIOS `rom`, which may be empty.
    pub fn new(memory: Arc<dyn Backing>, rom: Vec<u8>) -> Vga {
        let mut bars = [None; 6];
        bars[0] = Some(Bar {
            kind: BarKind::Prefetchable,
            size: memory.length() as u32,
        });
        bars[2] = Some(Bar {
            kind: BarKind::Memory,
            size: MMIO,
        });
        let mut function = Function::new(IDENTITY, bars);
        if !rom.is_empty() {
            let size = rom.len().next_power_of_two().max(2048);
            function = function.with_rom(size as u32);
        }
        Vga {
            function,
            memory,
            rom,
            registers: Registers::new(),
            dispi: Dispi::new(),
        }
    }

    /// What it shows at `now`, ns.
    pub fn view(&self, now: u64) -> View {
        let wide = self.dispi.is_on() && self.dispi.has_wide_dac();
        let memory = self.memory.clone();
        View::new(&self.registers, self.dispi.mode(), wide, memory, now)
    }

    /// Its memory.
    pub fn memory(&self) -> &Arc<dyn Backing> {
        &self.memory
    }

    fn read_dispi(&self, offset: u64) -> u16 {
        match offset {
            0 => self.dispi.index(),
            _ => self.dispi.read(self.memory.length()),
        }
    }

    fn write_dispi(&mut self, offset: u64, value: u16) {
        if offset == 0 {
            return self.dispi.set_index(value);
        }
        if let Wrote::On { clear } = self.dispi.write(value, self.memory.length()) {
            self.registers
                .for_vbe(self.dispi.mode().is_some_and(|mode| mode.bits == 4));
            if clear {
                self.clear();
            }
        }
    }

    /// Clears what the mode that was switched on can show.
    fn clear(&self) {
        let Some(mode) = self.dispi.mode() else {
            return;
        };
        let length = u64::from(mode.pitch) * u64::from(mode.height);
        let zeros = [0; 4096];
        let mut at = 0;
        while at < length.min(self.memory.length()) {
            let count = (length - at).min(4096) as usize;
            self.memory.write(at, &zeros[..count]);
            at += count as u64;
        }
    }

    fn bank(&self) -> u64 {
        if self.dispi.is_on() {
            self.dispi.bank()
        } else {
            0
        }
    }

    fn read_byte(&mut self, region: Region, offset: u64, now: u64) -> u8 {
        match region {
            Region::Ports(0) => self.registers.read(offset, now),
            Region::Window(_) => {
                let bank = self.bank();
                window::read(&mut self.registers, &*self.memory, offset, bank)
            }
            Region::Bar(2) => match offset {
                0x400..=0x41f => self.registers.read(offset - 0x400 + 0x10, now),
                _ => 0xff,
            },
            Region::Rom => self.rom.get(offset as usize).copied().unwrap_or(0xff),
            _ => 0xff,
        }
    }

    fn write_byte(&mut self, region: Region, offset: u64, value: u8) {
        match region {
            Region::Ports(0) => {
                self.registers.write(offset, value);
            }
            Region::Window(_) => {
                let bank = self.bank();
                window::write(&self.registers, &*self.memory, offset, bank, value);
            }
            Region::Bar(2) if (0x400..=0x41f).contains(&offset) => {
                self.registers.write(offset - 0x400 + 0x10, value);
            }
            _ => {}
        }
    }

    /// A dispi register that a word at `offset` of `region` is: 0 the index, 1 the data.
    fn dispi_at(&self, region: Region, offset: u64) -> Option<u64> {
        match region {
            Region::Ports(1) => Some(offset.min(1)),
            _ => None,
        }
    }
}

impl Device for Vga {
    fn name(&self) -> &str {
        NAME
    }

    fn ports(&self) -> &[Ports] {
        &PORTS
    }

    fn windows(&self) -> &[Window] {
        &WINDOWS
    }

    fn pci(&mut self) -> Option<&mut dyn Pci> {
        Some(self)
    }

    fn backing(&self) -> Option<(usize, Arc<dyn Backing>)> {
        Some((0, self.memory.clone()))
    }

    fn view(&self, now: u64) -> Option<View> {
        Some(Vga::view(self, now))
    }

    fn read(&mut self, region: Region, offset: u64, width: Width, turn: &mut Turn) -> u32 {
        if let Some(register) = self.dispi_at(region, offset) {
            return self.read_dispi(register).into();
        }
        match region {
            Region::Bar(0) => {
                let mut bytes = [0; 4];
                self.memory.read(offset, &mut bytes[..width.bytes()]);
                u32::from_le_bytes(bytes)
            }
            // The registers in a row, sixteen bits each.
            Region::Bar(2) if (0x500..0x516).contains(&offset) => {
                let index = self.dispi.index();
                self.dispi.set_index(((offset - 0x500) / 2) as u16);
                let value = self.dispi.read(self.memory.length());
                self.dispi.set_index(index);
                u32::from(value) >> (8 * (offset & 1))
            }
            _ => (0..width.bytes() as u64).fold(0, |value, byte| {
                let read = self.read_byte(region, offset + byte, turn.now);
                value | u32::from(read) << (8 * byte)
            }),
        }
    }

    fn write(&mut self, region: Region, offset: u64, width: Width, value: u32, _: &mut Turn) {
        if let Some(register) = self.dispi_at(region, offset) {
            return self.write_dispi(register, value as u16);
        }
        match region {
            Region::Bar(0) => self
                .memory
                .write(offset, &value.to_le_bytes()[..width.bytes()]),
            Region::Bar(2) if (0x500..0x516).contains(&offset) => {
                let index = self.dispi.index();
                self.dispi.set_index(((offset - 0x500) / 2) as u16);
                self.write_dispi(1, value as u16);
                self.dispi.set_index(index);
            }
            _ => {
                for byte in 0..width.bytes() as u64 {
                    self.write_byte(region, offset + byte, (value >> (8 * byte)) as u8);
                }
            }
        }
    }

    fn reset(&mut self, turn: &mut Turn) {
        self.function.reset();
        self.registers = Registers::new();
        self.dispi = Dispi::new();
        turn.effects.push(Effect::Remap);
    }

    fn save(&self) -> Value {
        let saved = Saved {
            registers: self.registers.clone(),
            dispi: self.dispi.clone(),
        };
        self.function.wrap(VERSION, &saved)
    }

    fn restore(&mut self, saved: &Value) -> Result<(), StateError> {
        let (config, saved): (_, Saved) = pci::unwrap(NAME, VERSION, saved)?;
        if saved.registers.is_wild() || saved.dispi.is_wild(self.memory.length()) {
            return Err(StateError::wrong(
                NAME,
                "registers that it does not have, or a mode that its memory does not hold",
            ));
        }
        self.function.restore(&config, NAME)?;
        self.registers = saved.registers;
        self.dispi = saved.dispi;
        Ok(())
    }
}

impl Pci for Vga {
    fn function(&mut self) -> &mut Function {
        &mut self.function
    }
}
