//! AMD's PCnet-PCI II (Am79C970A data sheet; 1022:2000).
//!
//! ```text
//!   registers.rs: CSR0 (INIT, STRT, STOP, TDMD), rings' places, mode, filter; BCRs
//!   INIT --> block in memory --> rings, address, mode         ring.rs: ring of frames to send --> cable --> ring of buffers
//!   CSR0 and CSR4, less their masks, and IENA --> INTA
//! ```
//! Registers lie in 32 bytes, in I/O space (BAR 0) and memory (BAR 1) alike. A frame to send is looked for when the guest says so (TDMD, STRT), not
//! by polling; a card without a free buffer looks for one each millisecond.

mod registers;
mod ring;
#[cfg(any(test, feature = "conformance"))]
pub(crate) mod subject;
#[cfg(test)]
mod tests;

use super::{read_rom, with_rom, Cable, Mac, CARD, FRAMES, MAX_FRAME};
use crate::device::{Device, Region, Turn, Width};
use crate::pci::{self, Bar, BarKind, Function, Identity, Pci};
use crate::state::StateError;
use registers::{BCRS, CSRS, ENABLE};
use serde::{Deserialize, Serialize};
use serde_json::Value;

const VERSION: u64 = 1;
/// Bytes of registers.
const REGISTERS: u32 = 32;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    csr: Vec<u16>,
    bcr: Vec<u16>,
    /// The register that is chosen (RAP).
    number: u8,
    /// The next descriptor of each ring: receive, send.
    at: [u32; 2],
    level: bool,
    /// No buffer is free; when it looks again, ns.
    hungry: Option<u64>,
}

/// The card.
#[derive(Debug)]
pub struct Pcnet {
    name: String,
    function: Function,
    mac: Mac,
    cable: Box<dyn Cable>,
    rom: Vec<u8>,
    state: State,
    frame: Vec<u8>,
}

impl Pcnet {
    /// Card `number` with an address, at a cable; `rom` is its expansion ROM (network boot), at most 128 KiB, empty for none.
    pub fn new(number: usize, mac: Mac, cable: Box<dyn Cable>, rom: Vec<u8>) -> Pcnet {
        let identity = Identity {
            vendor: 0x1022,
            device: 0x2000,
            revision: 0x10,
            ..CARD
        };
        let bar = |kind| {
            Some(Bar {
                kind,
                size: REGISTERS,
            })
        };
        let mut bars = [None; 6];
        bars[0] = bar(BarKind::Io);
        bars[1] = bar(BarKind::Memory);
        Pcnet {
            name: format!("pcnet-{number}"),
            function: with_rom(Function::new(identity, bars), &rom),
            mac,
            cable,
            rom,
            state: State::new(&mac),
            frame: Vec::new(),
        }
    }

    fn settle(&mut self, turn: &mut Turn) {
        let level = self.state.csr[0] & ENABLE != 0 && self.state.interrupts();
        turn.set_pin(&mut self.state.level, level);
    }
}

impl Device for Pcnet {
    fn name(&self) -> &str {
        &self.name
    }

    fn pci(&mut self) -> Option<&mut dyn Pci> {
        Some(self)
    }

    fn read(&mut self, region: Region, offset: u64, width: Width, turn: &mut Turn) -> u32 {
        if region == Region::Rom {
            return read_rom(&self.rom, offset, width);
        }
        let value = self.read_ports(offset as usize, width, turn);
        self.settle(turn);
        value
    }

    fn write(&mut self, region: Region, offset: u64, width: Width, value: u32, turn: &mut Turn) {
        if region == Region::Rom {
            return;
        }
        self.write_ports(offset as usize, width, value, turn);
        self.receive(turn);
        self.settle(turn);
    }

    fn next(&self) -> Option<u64> {
        self.state.hungry
    }

    fn tick(&mut self, turn: &mut Turn) {
        self.receive(turn);
        self.settle(turn);
    }

    fn attend(&mut self, turn: &mut Turn) {
        self.receive(turn);
        self.settle(turn);
    }

    fn reset(&mut self, turn: &mut Turn) {
        self.function.reset();
        let level = self.state.level;
        self.state = State::new(&self.mac);
        self.state.level = level;
        self.settle(turn);
    }

    fn save(&self) -> Value {
        self.function.wrap(VERSION, &self.state)
    }

    fn restore(&mut self, saved: &Value) -> Result<(), StateError> {
        let (config, state): (_, State) = pci::unwrap(&self.name, VERSION, saved)?;
        let is_sound = state.csr.len() == CSRS && state.bcr.len() == BCRS && state.number < 128;
        let in_ring = |ring: usize| state.at[ring] < state.entries(ring).max(1);
        if !is_sound || !(0..2).all(in_ring) {
            return Err(StateError::wrong(&self.name, "registers that are none"));
        }
        self.function.restore(&config, &self.name)?;
        self.state = state;
        Ok(())
    }
}

impl Pci for Pcnet {
    fn function(&mut self) -> &mut Function {
        &mut self.function
    }

    fn config_written(&mut self, _offset: u8, _bytes: usize, turn: &mut Turn) {
        self.receive(turn);
        self.settle(turn);
    }
}
