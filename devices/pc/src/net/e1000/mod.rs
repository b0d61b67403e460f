//! Intel's 82540EM (PCI/PCI-X Family of Gigabit Ethernet Controllers Software Developer's Manual; 8086:100e).
//!
//! ```text
//!   TDT written --> transmit.rs: descriptors, contexts, offloads --> cable
//!   cable --> receive.rs: filter, RDH..RDT --> guest memory
//!   ICR & IMS --> INTA      phy.rs: MDIC, EEPROM (microwire.rs)
//! ```
//! Registers are 32 bits wide, in memory (BAR 0) or by address and data ports (BAR 1). Interrupts are not held back (ITR, RDTR, TIDV
//! are kept, of no effect): the machine above takes one exit for each anyway.

mod phy;
mod receive;
mod registers;
#[cfg(any(test, feature = "conformance"))]
pub(crate) mod subject;
#[cfg(test)]
mod tests;
mod transmit;

use super::microwire::Microwire;
use super::{read_rom, with_rom, Cable, Mac, CARD};
use crate::device::{Device, Region, Turn, Width};
use crate::pci::{self, Bar, BarKind, Function, Identity, Pci};
use crate::state::StateError;
use registers::*;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use transmit::Contexts;

const VERSION: u64 = 1;
/// Bytes of the register window.
const WINDOW: u32 = 128 << 10;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    /// Registers by offset; those that are not there are 0.
    kept: BTreeMap<u32, u32>,
    cause: u32,
    mask: u32,
    phy: BTreeMap<u8, u16>,
    wires: Microwire,
    contexts: Contexts,
    /// Which register the data port is for.
    address: u32,
    /// Transmit descriptors wait for another turn.
    again: Option<u64>,
    level: bool,
    /// The link as the driver was told last.
    up: bool,
}

/// The card.
#[derive(Debug)]
pub struct E1000 {
    name: String,
    function: Function,
    mac: Mac,
    cable: Box<dyn Cable>,
    rom: Vec<u8>,
    state: State,
    frame: Vec<u8>,
}

impl E1000 {
    /// Card `number` with an address, at a cable; `rom` is its expansion ROM (network boot), at most 128 KiB, empty for none.
    pub fn new(number: usize, mac: Mac, cable: Box<dyn Cable>, rom: Vec<u8>) -> E1000 {
        let identity = Identity {
            vendor: 0x8086,
            device: 0x100e,
            revision: 0x02,
            subsystem: (0x8086, 0x001e),
            ..CARD
        };
        let mut bars = [None; 6];
        bars[0] = Some(Bar {
            kind: BarKind::Memory,
            size: WINDOW,
        });
        bars[1] = Some(Bar {
            kind: BarKind::Io,
            size: 64,
        });
        let function = with_rom(Function::new(identity, bars), &rom);
        let mut card = E1000 {
            name: format!("e1000-{number}"),
            function,
            mac,
            cable,
            rom,
            state: State::default(),
            frame: Vec::new(),
        };
        card.restart();
        card
    }

    /// Power-on, CTRL.RST: all registers but the interrupt line's as the EEPROM has them (13.4.1).
    fn restart(&mut self) {
        let (level, wires) = (self.state.level, self.state.wires);
        self.state = State {
            level,
            wires,
            phy: phy::defaults(),
            up: self.cable.is_up(),
            ..State::default()
        };
        let [a, b, c, d, e, f] = self.mac;
        self.set(RAL, u32::from_le_bytes([a, b, c, d]));
        self.set(RAL + 4, u32::from_le_bytes([e, f, 0, 0]) | ADDRESS_VALID);
        self.set(PBA, 0x0010_0030);
        self.set(VET, 0x8100);
        self.set(LEDCTL, 0x0706_8302);
    }

    fn get(&self, at: u32) -> u32 {
        self.state.kept.get(&at).copied().unwrap_or(0)
    }

    fn set(&mut self, at: u32, value: u32) {
        if value == 0 {
            self.state.kept.remove(&at);
        } else {
            self.state.kept.insert(at, value);
        }
    }

    fn count(&mut self, at: u32, by: u32) {
        let value = self.get(at).saturating_add(by);
        self.set(at, value);
    }

    fn raise(&mut self, causes: u32) {
        self.state.cause |= causes;
    }

    fn settle(&mut self, turn: &mut Turn) {
        let level = self.state.cause & self.state.mask != 0;
        turn.set_pin(&mut self.state.level, level);
    }

    /// The link came up or went down.
    fn look_at_link(&mut self) {
        let up = self.cable.is_up();
        if up != self.state.up {
            self.state.up = up;
            self.raise(CAUSE_LINK);
        }
    }
}

impl Device for E1000 {
    fn name(&self) -> &str {
        &self.name
    }

    fn pci(&mut self) -> Option<&mut dyn Pci> {
        Some(self)
    }

    fn read(&mut self, region: Region, offset: u64, width: Width, turn: &mut Turn) -> u32 {
        let lane = 8 * (offset as u32 & 3);
        let value = match (region, offset & !3) {
            (Region::Rom, _) => return read_rom(&self.rom, offset, width),
            (Region::Bar(0), at) => self.read_register(at as u32),
            (Region::Bar(1), 0) => self.state.address,
            (Region::Bar(1), 4) => self.read_register(self.state.address & !3),
            _ => 0,
        };
        self.settle(turn);
        value >> lane
    }

    /// Registers are written as a whole (13.2.1); smaller writes are lost.
    fn write(&mut self, region: Region, offset: u64, width: Width, value: u32, turn: &mut Turn) {
        if width != Width::Dword || offset & 3 != 0 {
            return;
        }
        match (region, offset) {
            (Region::Bar(0), at) => self.write_register(at as u32, value, turn),
            (Region::Bar(1), 0) => self.state.address = value & (WINDOW - 1),
            (Region::Bar(1), 4) => self.write_register(self.state.address & !3, value, turn),
            _ => {}
        }
        self.settle(turn);
    }

    fn next(&self) -> Option<u64> {
        self.state.again
    }

    fn tick(&mut self, turn: &mut Turn) {
        self.state.again = None;
        self.transmit(turn);
        self.settle(turn);
    }

    fn attend(&mut self, turn: &mut Turn) {
        self.look_at_link();
        self.receive(turn);
        self.settle(turn);
    }

    fn reset(&mut self, turn: &mut Turn) {
        self.function.reset();
        self.restart();
        self.state.wires = Microwire::default();
        self.settle(turn);
    }

    fn save(&self) -> Value {
        self.function.wrap(VERSION, &self.state)
    }

    fn restore(&mut self, saved: &Value) -> Result<(), StateError> {
        let (config, state): (_, State) = pci::unwrap(&self.name, VERSION, saved)?;
        let sound = state.kept.keys().all(|at| *at < WINDOW && at % 4 == 0)
            && state.phy.keys().all(|at| *at < 32)
            && state.wires.is_sound()
            && state.address < WINDOW
            && state.contexts.is_sound();
        if !sound {
            return Err(StateError::wrong(&self.name, "registers that are none"));
        }
        self.function.restore(&config, &self.name)?;
        self.state = state;
        Ok(())
    }
}

impl Pci for E1000 {
    fn function(&mut self) -> &mut Function {
        &mut self.function
    }

    fn config_written(&mut self, _offset: u8, _bytes: usize, turn: &mut Turn) {
        self.receive(turn);
        self.settle(turn);
    }
}
