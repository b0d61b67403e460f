//! The transceiver behind MDIC and the EEPROM behind EECD and EERD (Software Developer's Manual, 13.4.3 to 13.4.7; 5.6 "EEPROM
//! map"; Marvell 88E1011 for what the transceiver adds to IEEE 802.3, 22.2.4).

use super::registers::CAUSE_MDIO;
use super::E1000;
use crate::net::microwire::{Wires, WORDS};
use std::collections::BTreeMap;

/// MDIC: operations and answers.
const READ: u32 = 2 << 26;
const WRITE: u32 = 1 << 26;
const OPERATION: u32 = 3 << 26;
const READY: u32 = 1 << 28;
const INTERRUPT: u32 = 1 << 29;
const ERROR: u32 = 1 << 30;
/// The transceiver's address.
const ADDRESS: u32 = 1;
const BMCR: u8 = 0;
const BMSR: u8 = 1;
/// Marvell: specific status.
const SPECIFIC: u8 = 17;

/// EECD: clock, select, data in, data out, request, grant, present.
const CLOCK: u32 = 0x01;
const SELECT: u32 = 0x02;
const IN: u32 = 0x04;
const OUT: u32 = 0x08;
const REQUEST: u32 = 0x40;
const GRANT: u32 = 0x80;
const PRESENT: u32 = 0x100;
const EECD: u32 = 0x0010;
/// What all words of the EEPROM add up to (5.6.35).
const SUM: u16 = 0xbaba;

/// The transceiver's registers after a reset.
pub(super) fn defaults() -> BTreeMap<u8, u16> {
    // Control; identifiers; what we and the other side can do; 1000 Mbit/s control and status; Marvell's control.
    let values = [
        (BMCR, 0x1140),
        (2, 0x0141),
        (3, 0x0c20),
        (4, 0x0de1),
        (5, 0x45e1),
        (6, 0x0001),
        (9, 0x0e00),
        (10, 0x3c00),
        (15, 0x3000),
        (16, 0x0360),
        (20, 0x0d60),
    ];
    values.into_iter().collect()
}

impl E1000 {
    fn read_phy(&self, register: u8) -> u16 {
        let up = self.state.up;
        match register {
            // Negotiation is complete as soon as there is a link.
            BMSR => {
                if up {
                    0x796d
                } else {
                    0x7949
                }
            }
            // 1000 Mbit/s, both ways, resolved, link.
            SPECIFIC => {
                if up {
                    0xac00
                } else {
                    0
                }
            }
            _ => self.state.phy.get(&register).copied().unwrap_or(0),
        }
    }

    pub(super) fn write_mdic(&mut self, value: u32, at: u32) {
        let register = (value >> 16 & 31) as u8;
        let mut answer = value & !(READY | ERROR);
        match (value >> 21 & 31, value & OPERATION) {
            (ADDRESS, READ) => answer = answer & !0xffff | u32::from(self.read_phy(register)),
            (ADDRESS, WRITE) => {
                let word = value as u16;
                match register {
                    // Reset and restart of negotiation are over at once.
                    BMCR if word & 0x8000 != 0 => self.state.phy = defaults(),
                    BMCR => drop(self.state.phy.insert(BMCR, word & !0x0200)),
                    4 | 9 | 16 | 18 | 20 | 29 | 30 => drop(self.state.phy.insert(register, word)),
                    _ => {}
                }
            }
            // Nobody at that address.
            _ => answer |= ERROR,
        }
        self.set(at, answer | READY);
        if value & INTERRUPT != 0 {
            self.raise(CAUSE_MDIO);
        }
    }

    /// The EEPROM's words.
    pub(super) fn eeprom(&self) -> [u16; WORDS] {
        let mut words = [0; WORDS];
        for (index, pair) in self.mac.chunks(2).enumerate() {
            words[index] = u16::from_le_bytes([pair[0], pair[1]]);
        }
        // Compatibility; init control 1; subsystem, device and vendor; power and LEDs.
        words[3] = 0x0000;
        words[0x0a] = 0x4408;
        words[0x0b] = 0x001e;
        words[0x0c] = 0x8086;
        words[0x0d] = 0x100e;
        words[0x0e] = 0x8086;
        words[0x0f] = 0x3040;
        let sum = words.iter().fold(0u16, |sum, word| sum.wrapping_add(*word));
        words[WORDS - 1] = SUM.wrapping_sub(sum);
        words
    }

    pub(super) fn eecd(&self) -> u32 {
        let kept = self.get(EECD);
        let grant = if kept & REQUEST != 0 { GRANT } else { 0 };
        let out = if self.state.wires.output() { OUT } else { 0 };
        kept | grant | out | PRESENT
    }

    pub(super) fn write_eecd(&mut self, value: u32) {
        self.set(EECD, value & (CLOCK | SELECT | IN | REQUEST | 0x30));
        let wires = Wires {
            select: value & SELECT != 0,
            clock: value & CLOCK != 0,
            data: value & IN != 0,
        };
        let words = self.eeprom();
        self.state.wires.drive(wires, &words);
    }

    /// EERD: address in, word out, at once.
    pub(super) fn read_eeprom(&mut self, value: u32, at: u32) {
        if value & 1 == 0 {
            return self.set(at, value);
        }
        let word = self.eeprom()[(value >> 8 & 0xff) as usize % WORDS];
        self.set(at, u32::from(word) << 16 | value & 0xff00 | 0x10);
    }
}
