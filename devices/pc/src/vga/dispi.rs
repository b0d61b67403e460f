//! Bochs' VBE extensions (Bochs, "VBE DISPI interface"): index at 0x1ce, data at 0x1cf, sixteen bits each.
//!
//! ```text
//!   XRES, YRES, BPP --> ENABLE --> mode: size, bits, pitch (VIRT_WIDTH), start (X_OFFSET, Y_OFFSET), bank
//! ```
//! What a guest asks for is fitted into the memory when it enables it and whenever it changes something afterwards.

use serde::{Deserialize, Serialize};

const ID: usize = 0;
const XRES: usize = 1;
const YRES: usize = 2;
const BPP: usize = 3;
const ENABLE: usize = 4;
const BANK: usize = 5;
const VIRT_WIDTH: usize = 6;
const VIRT_HEIGHT: usize = 7;
const X_OFFSET: usize = 8;
const Y_OFFSET: usize = 9;
const MEMORY: usize = 10;
const REGISTERS: usize = 11;

/// ENABLE: on; reads give limits; palette of eight bits; memory is left as it is.
const ON: u16 = 1;
const LIMITS: u16 = 2;
const WIDE_DAC: u16 = 0x20;
const KEEP: u16 = 0x80;

/// First and last version that a guest may name.
const VERSIONS: std::ops::RangeInclusive<u16> = 0xb0c0..=0xb0c5;
const MAX_WIDTH: u16 = 4096;
const MAX_HEIGHT: u16 = 4096;

/// Registers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Dispi {
    index: u16,
    registers: [u16; REGISTERS],
}

/// A mode that is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mode {
    pub(super) width: u32,
    pub(super) height: u32,
    /// 4, 8, 15, 16, 24 or 32.
    pub(super) bits: u32,
    /// Bytes of a line; of each plane's, times four, with 4 bits.
    pub(super) pitch: u32,
    /// First byte shown.
    pub(super) start: u64,
}

/// What a write was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wrote {
    /// Nothing that shows.
    Nothing,
    /// The picture lies elsewhere.
    Moved,
    /// A mode was switched on; the memory is to be cleared, or not.
    On { clear: bool },
    /// VBE was switched off.
    Off,
}

impl Dispi {
    pub(super) fn new() -> Dispi {
        let mut registers = [0; REGISTERS];
        registers[ID] = *VERSIONS.end();
        Dispi {
            index: 0,
            registers,
        }
    }

    pub(super) fn index(&self) -> u16 {
        self.index
    }

    pub(super) fn set_index(&mut self, index: u16) {
        self.index = index;
    }

    pub(super) fn is_on(&self) -> bool {
        self.registers[ENABLE] & ON != 0
    }

    /// The palette has eight bits a colour.
    pub(super) fn has_wide_dac(&self) -> bool {
        self.registers[ENABLE] & WIDE_DAC != 0
    }

    /// Where the window at 0xa0000 begins in the memory.
    pub(super) fn bank(&self) -> u64 {
        u64::from(self.registers[BANK]) << 16
    }

    pub(super) fn read(&self, memory: u64) -> u16 {
        let limits = self.registers[ENABLE] & LIMITS != 0;
        match usize::from(self.index) {
            XRES if limits => MAX_WIDTH,
            YRES if limits => MAX_HEIGHT,
            BPP if limits => 32,
            MEMORY => (memory >> 16) as u16,
            register => self.registers.get(register).copied().unwrap_or(0),
        }
    }

    /// Writes the register chosen, with `memory` bytes to show from.
    pub(super) fn write(&mut self, value: u16, memory: u64) -> Wrote {
        let register = usize::from(self.index);
        match register {
            ID if VERSIONS.contains(&value) => self.registers[ID] = value,
            XRES | YRES | BPP | VIRT_WIDTH | X_OFFSET | Y_OFFSET => {
                self.registers[register] = value;
                if self.is_on() {
                    self.fit(memory);
                    return Wrote::Moved;
                }
            }
            BANK => self.registers[BANK] = value & (memory >> 16).saturating_sub(1) as u16,
            ENABLE => {
                let was_on = self.is_on();
                self.registers[ENABLE] = value;
                if !self.is_on() {
                    self.registers[BANK] = 0;
                    return if was_on { Wrote::Off } else { Wrote::Nothing };
                }
                if was_on {
                    return Wrote::Moved;
                }
                self.registers[VIRT_WIDTH] = 0;
                self.registers[X_OFFSET] = 0;
                self.registers[Y_OFFSET] = 0;
                self.fit(memory);
                return Wrote::On {
                    clear: value & KEEP == 0,
                };
            }
            _ => {}
        }
        Wrote::Nothing
    }

    /// Bits of a pixel in memory.
    fn bits(&self) -> u64 {
        match self.registers[BPP] {
            15 => 16,
            bits => bits.into(),
        }
    }

    /// Makes everything such that all of the picture lies within `memory` bytes.
    fn fit(&mut self, memory: u64) {
        let r = &mut self.registers;
        if !matches!(r[BPP], 4 | 8 | 15 | 16 | 24 | 32) {
            r[BPP] = 8;
        }
        r[XRES] = (r[XRES] & !7).clamp(8, MAX_WIDTH);
        let bits = self.bits();
        let r = &mut self.registers;
        r[VIRT_WIDTH] = (r[VIRT_WIDTH] & !7).clamp(r[XRES], MAX_WIDTH * 2 - 8);
        if u64::from(r[VIRT_WIDTH]) * bits / 8 > memory {
            r[VIRT_WIDTH] = r[XRES];
        }
        let line = (u64::from(r[VIRT_WIDTH]) * bits / 8).max(1);
        let lines = (memory / line).min(u16::MAX.into()) as u16;
        r[YRES] = r[YRES].clamp(1, MAX_HEIGHT).min(lines.max(1));
        r[VIRT_HEIGHT] = lines;
        r[X_OFFSET] = r[X_OFFSET].min(r[VIRT_WIDTH] - r[XRES]);
        r[Y_OFFSET] = r[Y_OFFSET].min(lines.saturating_sub(r[YRES]));
    }

    pub(super) fn mode(&self) -> Option<Mode> {
        let r = &self.registers;
        let pitch = (u64::from(r[VIRT_WIDTH]) * self.bits() / 8) as u32;
        self.is_on().then(|| Mode {
            width: r[XRES].into(),
            height: r[YRES].into(),
            bits: r[BPP].into(),
            pitch,
            start: u64::from(r[Y_OFFSET]) * u64::from(pitch)
                + u64::from(r[X_OFFSET]) * self.bits() / 8,
        })
    }

    /// What was saved by nobody: a mode that does not fit.
    pub(super) fn is_wild(&self, memory: u64) -> bool {
        let mut fitted = self.clone();
        if self.is_on() {
            fitted.fit(memory);
        }
        fitted != *self || u64::from(self.registers[BANK]) << 16 >= memory.max(1 << 16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(dispi: &mut Dispi, register: usize, value: u16) -> Wrote {
        dispi.set_index(register as u16);
        dispi.write(value, 1 << 22)
    }

    #[test]
    fn mode_is_fitted_into_the_memory() {
        let mut dispi = Dispi::new();
        assert_eq!(dispi.mode(), None);
        for (register, value) in [(XRES, 1283), (YRES, 0xffff), (BPP, 32)] {
            assert_eq!(set(&mut dispi, register, value), Wrote::Nothing);
        }
        assert_eq!(
            set(&mut dispi, ENABLE, ON | KEEP),
            Wrote::On { clear: false }
        );
        let mode = dispi.mode().unwrap();
        assert_eq!((mode.width, mode.bits, mode.pitch), (1280, 32, 5120));
        assert_eq!(mode.height, (1 << 22) / 5120);
        assert_eq!(set(&mut dispi, YRES, 400), Wrote::Moved);
        set(&mut dispi, Y_OFFSET, 400);
        assert_eq!(dispi.mode().unwrap().start, 400 * 5120);
        set(&mut dispi, Y_OFFSET, 0xffff);
        assert!(dispi.mode().unwrap().start + 400 * 5120 <= 1 << 22);
        assert!(!dispi.is_wild(1 << 22));
        assert!(dispi.is_wild(1 << 20));
        assert_eq!(set(&mut dispi, ENABLE, 0), Wrote::Off);
    }

    #[test]
    fn guest_learns_limits_and_memory() {
        let mut dispi = Dispi::new();
        assert_eq!(dispi.read(1 << 24), 0xb0c5);
        set(&mut dispi, ID, 0xb0c2);
        set(&mut dispi, ID, 0x1234);
        assert_eq!(dispi.read(1 << 24), 0xb0c2);
        set(&mut dispi, ENABLE, LIMITS);
        dispi.set_index(XRES as u16);
        assert_eq!(dispi.read(1 << 24), MAX_WIDTH);
        dispi.set_index(MEMORY as u16);
        assert_eq!(dispi.read(1 << 24), 256);
        dispi.set_index(77);
        assert_eq!(dispi.read(1 << 24), 0);
    }
}
