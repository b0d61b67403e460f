//! Realtek's RTL8139C+ (data sheet RTL8139C(L)+ 1.6; 10ec:8139 revision 0x20), Xen's card if none is named.
//!
//! ```text
//!   C mode:  TSD0..3/TSAD0..3 --> cable       cable --> one ring of bytes (RBSTART), CAPR and CBR
//!   C+ mode: descriptor rings (ring.rs): checksums, large segments, VLAN tags
//!   ISR & IMR --> INTA      EEPROM: microwire.rs
//! ```
//! Registers lie in 256 bytes, in I/O space (BAR 0) and memory (BAR 1) alike. An access of any width is cut into the registers
//! that it covers.

mod byte_ring;
mod registers;
mod ring;
#[cfg(any(test, feature = "conformance"))]
pub(crate) mod subject;
#[cfg(test)]
mod tests;

use super::microwire::{Microwire, WORDS};
use super::{with_rom, Cable, Mac, CARD, FRAMES};
use crate::device::{Device, Region, Turn, Width};
use crate::pci::{self, Bar, BarKind, Function, Identity, Pci};
use crate::state::StateError;
use registers::*;
use serde::{Deserialize, Serialize};
use serde_json::Value;

const VERSION: u64 = 1;
/// Bytes of registers.
const REGISTERS: usize = 256;
/// The timer's clock, that of the PCI bus: 33 MHz (data sheet, 5.21 "TCTR").
const HERTZ: u128 = 33_000_000;
const SECOND: u128 = 1_000_000_000;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    /// What is simply kept.
    bytes: Vec<u8>,
    /// Interrupt status and mask.
    status: u16,
    mask: u16,
    /// Next descriptor of each C+ ring: normal and high priority, receive.
    next: [u32; 3],
    /// Time of the timer's 0, ns, and whether it has told that it reached TimerInt since.
    timer: u64,
    timer_told: bool,
    missed: u32,
    wires: Microwire,
    level: bool,
}

/// The card.
#[derive(Debug)]
pub struct Rtl8139 {
    name: String,
    function: Function,
    mac: Mac,
    cable: Box<dyn Cable>,
    rom: Vec<u8>,
    state: State,
    frame: Vec<u8>,
}

impl Rtl8139 {
    /// Card `number` with an address, at a cable; `rom` is its expansion ROM (network boot), at most 128 KiB, empty for none.
    pub fn new(number: usize, mac: Mac, cable: Box<dyn Cable>, rom: Vec<u8>) -> Rtl8139 {
        let identity = Identity {
            vendor: 0x10ec,
            device: 0x8139,
            revision: 0x20,
            subsystem: (0x10ec, 0x8139),
            ..CARD
        };
        let mut bars = [None; 6];
        bars[0] = Some(Bar {
            kind: BarKind::Io,
            size: REGISTERS as u32,
        });
        bars[1] = Some(Bar {
            kind: BarKind::Memory,
            size: REGISTERS as u32,
        });
        let function = with_rom(Function::new(identity, bars), &rom);
        let mut card = Rtl8139 {
            name: format!("rtl8139-{number}"),
            function,
            mac,
            cable,
            rom,
            state: State {
                bytes: vec![0; REGISTERS],
                status: 0,
                mask: 0,
                next: [0; 3],
                timer: 0,
                timer_told: false,
                missed: 0,
                wires: Microwire::default(),
                level: false,
            },
            frame: Vec::new(),
        };
        card.power_on();
        card
    }

    /// Registers after power-on (5, "Register descriptions", defaults).
    fn power_on(&mut self) {
        self.state.bytes.fill(0);
        self.state.bytes[..6].copy_from_slice(&self.mac);
        self.state.bytes[CONFIG1] = 0x0c;
        self.state.bytes[CONFIG3] = 0x01;
        self.put16(BMCR, 0x3100);
        self.put16(ANAR, 0x05e1);
        self.put16(CSCR, 0x0000);
        self.restart();
    }

    /// RST in the command register: addresses and configuration stay.
    fn restart(&mut self) {
        let state = &mut self.state;
        state.status = 0;
        state.mask = 0;
        state.next = [0; 3];
        state.missed = 0;
        for range in [TSD..TSAD, TSAD..RBSTART, RBSTART..RBSTART + 4] {
            state.bytes[range].fill(0);
        }
        for slot in 0..4 {
            self.put32(TSD + 4 * slot, TSD_OWN);
        }
        self.state.bytes[COMMAND] = 0;
        self.put16(CAPR, 0xfff0);
        self.put16(CBR, 0);
        self.put16(CPLUS, 0);
        self.put32(TCR, TCR_VERSION | TCR_DMA);
        self.put32(RCR, 0);
        self.put32(TIMER_INT, 0);
    }

    fn get16(&self, at: usize) -> u16 {
        u16::from_le_bytes([self.state.bytes[at], self.state.bytes[at + 1]])
    }

    fn get32(&self, at: usize) -> u32 {
        u32::from(self.get16(at)) | u32::from(self.get16(at + 2)) << 16
    }

    fn put16(&mut self, at: usize, value: u16) {
        self.state.bytes[at..at + 2].copy_from_slice(&value.to_le_bytes());
    }

    fn put32(&mut self, at: usize, value: u32) {
        self.state.bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }

    fn raise(&mut self, bits: u16) {
        self.state.status |= bits;
    }

    /// What the EEPROM holds (7, "EEPROM contents"): the address in words 7 to 9.
    fn eeprom(&self) -> [u16; WORDS] {
        let mut words = [0; WORDS];
        words[0] = 0x8129;
        words[1] = 0x10ec;
        words[2] = 0x8139;
        words[3] = 0x10ec;
        words[4] = 0x8139;
        for (index, pair) in self.mac.chunks(2).enumerate() {
            words[7 + index] = u16::from_le_bytes([pair[0], pair[1]]);
        }
        words
    }

    fn timer_ticks(&self, now: u64) -> u128 {
        u128::from(now.saturating_sub(self.state.timer)) * HERTZ / SECOND
    }

    /// When the timer reaches TimerInt, if it is still to tell so.
    fn timer_due(&self) -> Option<u64> {
        let limit = self.get32(TIMER_INT);
        if limit == 0 || self.state.timer_told {
            return None;
        }
        let after = (u128::from(limit) * SECOND).div_ceil(HERTZ);
        self.state.timer.checked_add(u64::try_from(after).ok()?)
    }

    fn look_at_timer(&mut self, now: u64) {
        if self.timer_due().is_some_and(|at| at <= now) {
            self.state.timer_told = true;
            self.raise(ISR_TIMEOUT);
        }
    }

    /// Takes frames while there is room for them.
    fn receive(&mut self, turn: &mut Turn) {
        let on = self.state.bytes[COMMAND] & RECEIVE != 0 && self.function.is_master();
        if !on {
            return super::lose(self.cable.as_mut());
        }
        for _ in 0..FRAMES {
            if !self.has_room(turn) {
                return;
            }
            let mut frame = std::mem::take(&mut self.frame);
            let came = self.cable.receive(&mut frame);
            if came && frame.len() >= 14 && frame.len() <= super::MAX_FRAME && self.accepts(&frame)
            {
                super::pad(&mut frame);
                match self.is_plus_receive() {
                    true => self.receive_plus(&frame, turn),
                    false => self.receive_bytes(&frame, turn),
                }
            }
            self.frame = frame;
            if !came {
                return;
            }
        }
    }

    fn has_room(&self, turn: &Turn) -> bool {
        match self.is_plus_receive() {
            true => self.has_descriptor(turn),
            false => self.has_byte_room(),
        }
    }

    fn is_plus_receive(&self) -> bool {
        self.get16(CPLUS) & CPLUS_RECEIVE != 0
    }

    fn settle(&mut self, turn: &mut Turn) {
        let level = self.state.status & self.state.mask != 0;
        turn.set_pin(&mut self.state.level, level);
    }
}

impl Device for Rtl8139 {
    fn name(&self) -> &str {
        &self.name
    }

    fn pci(&mut self) -> Option<&mut dyn Pci> {
        Some(self)
    }

    fn read(&mut self, region: Region, offset: u64, width: Width, turn: &mut Turn) -> u32 {
        self.look_at_timer(turn.now);
        let mut value = 0;
        for index in 0..width.bytes() as u64 {
            let byte = match region {
                Region::Rom => self
                    .rom
                    .get((offset + index) as usize)
                    .copied()
                    .unwrap_or(0xff),
                _ => self.read_byte((offset + index) as usize % REGISTERS, turn.now),
            };
            value |= u32::from(byte) << (8 * index);
        }
        self.settle(turn);
        value
    }

    fn write(&mut self, region: Region, offset: u64, width: Width, value: u32, turn: &mut Turn) {
        if region == Region::Rom {
            return;
        }
        self.look_at_timer(turn.now);
        self.write_bytes(
            offset as usize % REGISTERS,
            &value.to_le_bytes()[..width.bytes()],
            turn,
        );
        self.receive(turn);
        self.settle(turn);
    }

    fn next(&self) -> Option<u64> {
        self.timer_due()
            .filter(|_| self.state.mask & ISR_TIMEOUT != 0)
    }

    fn tick(&mut self, turn: &mut Turn) {
        self.look_at_timer(turn.now);
        self.settle(turn);
    }

    fn attend(&mut self, turn: &mut Turn) {
        self.receive(turn);
        self.settle(turn);
    }

    fn reset(&mut self, turn: &mut Turn) {
        self.function.reset();
        self.power_on();
        self.state.timer = turn.now;
        self.state.timer_told = false;
        self.state.wires = Microwire::default();
        self.settle(turn);
    }

    fn save(&self) -> Value {
        self.function.wrap(VERSION, &self.state)
    }

    fn restore(&mut self, saved: &Value) -> Result<(), StateError> {
        let (config, state): (_, State) = pci::unwrap(&self.name, VERSION, saved)?;
        if state.bytes.len() != REGISTERS || !state.wires.is_sound() {
            return Err(StateError::wrong(&self.name, "registers that are none"));
        }
        self.function.restore(&config, &self.name)?;
        self.state = state;
        Ok(())
    }
}

impl Pci for Rtl8139 {
    fn function(&mut self) -> &mut Function {
        &mut self.function
    }

    fn config_written(&mut self, _offset: u8, _bytes: usize, turn: &mut Turn) {
        self.receive(turn);
        self.settle(turn);
    }
}
