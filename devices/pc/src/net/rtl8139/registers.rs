//! Where the registers lie and what a write does (RTL8139C+ data sheet, 5 "Register descriptions").

use super::Rtl8139;
use crate::device::Turn;
use crate::net::microwire::Wires;

pub(super) const MAR: usize = 0x08;
pub(super) const TSD: usize = 0x10;
pub(super) const TSAD: usize = 0x20;
/// In C+ mode: the transmit rings' addresses, normal and high priority.
pub(super) const TNPDS: usize = 0x20;
pub(super) const RBSTART: usize = 0x30;
pub(super) const COMMAND: usize = 0x37;
pub(super) const CAPR: usize = 0x38;
pub(super) const CBR: usize = 0x3a;
pub(super) const IMR: usize = 0x3c;
pub(super) const ISR: usize = 0x3e;
pub(super) const TCR: usize = 0x40;
pub(super) const RCR: usize = 0x44;
pub(super) const TCTR: usize = 0x48;
pub(super) const MPC: usize = 0x4c;
pub(super) const EEPROM: usize = 0x50;
pub(super) const CONFIG0: usize = 0x51;
pub(super) const CONFIG1: usize = 0x52;
pub(super) const TIMER_INT: usize = 0x54;
pub(super) const MEDIA: usize = 0x58;
pub(super) const CONFIG3: usize = 0x59;
pub(super) const CONFIG4: usize = 0x5a;
pub(super) const MULTIPLE: usize = 0x5c;
pub(super) const TX_SUMMARY: usize = 0x60;
pub(super) const BMCR: usize = 0x62;
pub(super) const BMSR: usize = 0x64;
pub(super) const ANAR: usize = 0x66;
pub(super) const ANLPAR: usize = 0x68;
pub(super) const CSCR: usize = 0x74;
pub(super) const CONFIG5: usize = 0xd8;
pub(super) const POLL: usize = 0xd9;
pub(super) const CPLUS: usize = 0xe0;
pub(super) const RDSAR: usize = 0xe4;

pub(super) const TRANSMIT: u8 = 0x04;
pub(super) const RECEIVE: u8 = 0x08;
const RESET: u8 = 0x10;
const EMPTY: u8 = 0x01;

pub(super) const ISR_ROK: u16 = 0x0001;
pub(super) const ISR_TOK: u16 = 0x0004;
pub(super) const ISR_RXOVW: u16 = 0x0010;
pub(super) const ISR_TDU: u16 = 0x0080;
pub(super) const ISR_TIMEOUT: u16 = 0x4000;
/// Interrupts that there are.
const ISR_BITS: u16 = 0xc1ff;

pub(super) const TSD_OWN: u32 = 1 << 13;
const TSD_TOK: u32 = 1 << 15;
const TSD_ABORTED: u32 = 1 << 30;
const TSD_SIZE: u32 = 0x1fff;

/// Hardware version: RTL8139C+ (5.8, "HWVERID").
pub(super) const TCR_VERSION: u32 = 0x7480_0000;
pub(super) const TCR_DMA: u32 = 0x0000_0600;
const TCR_WRITABLE: u32 = 0x0307_07f1;
const TCR_LOOPBACK: u32 = 0x0006_0000;
const CPLUS_TRANSMIT: u16 = 0x0001;
pub(super) const CPLUS_RECEIVE: u16 = 0x0002;
pub(super) const CPLUS_CHECKSUM: u16 = 0x0020;
pub(super) const CPLUS_VLAN: u16 = 0x0040;
const POLL_NORMAL: u8 = 0x40;
const POLL_HIGH: u8 = 0x80;
const MEDIA_LINK_DOWN: u8 = 0x04;
/// EEPROM register: mode bits, and the mode in which configuration can be written.
const EEPROM_MODE: u8 = 0xc0;
const EEPROM_PROGRAM: u8 = 0x80;

/// Registers of more than one byte: offset, bytes.
const WIDE: [(usize, usize); 24] = [
    (TSD, 4),
    (TSD + 4, 4),
    (TSD + 8, 4),
    (TSD + 12, 4),
    (TSAD, 4),
    (TSAD + 4, 4),
    (TSAD + 8, 4),
    (TSAD + 12, 4),
    (RBSTART, 4),
    (CAPR, 2),
    (IMR, 2),
    (ISR, 2),
    (TCR, 4),
    (RCR, 4),
    (TCTR, 4),
    (MPC, 4),
    (TIMER_INT, 4),
    (MULTIPLE, 2),
    (BMCR, 2),
    (ANAR, 2),
    (CSCR, 2),
    (CPLUS, 2),
    (RDSAR, 4),
    (RDSAR + 4, 4),
];

/// The register that byte `at` belongs to.
fn register(at: usize) -> (usize, usize) {
    WIDE.into_iter()
        .find(|(first, bytes)| (*first..first + bytes).contains(&at))
        .unwrap_or((at, 1))
}

impl Rtl8139 {
    /// A byte of a register.
    pub(super) fn read_byte(&self, at: usize, now: u64) -> u8 {
        let state = &self.state;
        let (first, _) = register(at);
        let of = |value: u32| value.to_le_bytes()[at - first];
        let status = |value: u16, base: usize| value.to_le_bytes()[at - base];
        match at {
            COMMAND => state.bytes[COMMAND] | if self.is_empty() { EMPTY } else { 0 },
            _ if first == IMR => of(state.mask.into()),
            _ if first == ISR => of(state.status.into()),
            _ if first == TCTR => of(self.timer_ticks(now) as u32),
            _ if first == MPC => of(state.missed & 0xff_ffff),
            EEPROM => state.bytes[EEPROM] & !1 | u8::from(state.wires.output()),
            MEDIA => {
                state.bytes[MEDIA] & 0xc0
                    | if self.cable.is_up() {
                        0
                    } else {
                        MEDIA_LINK_DOWN
                    }
            }
            TX_SUMMARY | 0x61 => status(self.summary(), TX_SUMMARY),
            // 100 Mbit/s and 10, both ways; complete; the link as it is.
            BMSR | 0x65 => status(if self.cable.is_up() { 0x782d } else { 0x7809 }, BMSR),
            ANLPAR | 0x69 => status(0x45e1, ANLPAR),
            _ => state.bytes[at],
        }
    }

    /// TSAD: for each of the four transmit slots owned, aborted, underrun, done (5.24).
    fn summary(&self) -> u16 {
        (0..4).fold(0, |summary, slot| {
            let status = self.get32(TSD + 4 * slot);
            let bit = |mask: u32, at: usize| u16::from(status & mask != 0) << (at + slot);
            summary | bit(TSD_OWN, 0) | bit(TSD_ABORTED, 4) | bit(1 << 14, 8) | bit(TSD_TOK, 12)
        })
    }

    /// Writes consecutive bytes, register by register.
    pub(super) fn write_bytes(&mut self, at: usize, bytes: &[u8], turn: &mut Turn) {
        let mut index = 0;
        while index < bytes.len() && at + index < super::REGISTERS {
            let (first, length) = register(at + index);
            let (mut value, mut mask) = ([0; 4], [0; 4]);
            while index < bytes.len() && at + index < first + length {
                value[at + index - first] = bytes[index];
                mask[at + index - first] = 0xff;
                index += 1;
            }
            self.write_register(
                first,
                u32::from_le_bytes(value),
                u32::from_le_bytes(mask),
                turn,
            );
        }
    }

    /// Writes the bits `mask` of a register.
    fn write_register(&mut self, at: usize, value: u32, mask: u32, turn: &mut Turn) {
        let byte = value as u8;
        let mixed = |old: u32| (old & !mask) | value;
        match at {
            0..=5 if self.may_configure() => self.state.bytes[at] = byte,
            MAR..=0x0f => self.state.bytes[at] = byte,
            TSD..=0x1f => {
                let value = mixed(self.get32(at));
                self.put32(at, value);
                // The command is in the second byte.
                if mask & TSD_OWN != 0 && value & TSD_OWN == 0 {
                    self.transmit((at - TSD) / 4, turn);
                }
            }
            TSAD..=0x33 => {
                let value = mixed(self.get32(at));
                self.put32(at, value);
                // A ring that moves begins at its start.
                match at {
                    TNPDS | 0x24 => self.state.next[0] = 0,
                    0x28 | 0x2c => self.state.next[1] = 0,
                    _ => self.put16(CBR, 0),
                }
            }
            COMMAND => self.command(byte),
            CAPR => {
                let value = mixed(self.get16(CAPR).into());
                self.put16(CAPR, value as u16);
            }
            IMR => self.state.mask = mixed(self.state.mask.into()) as u16 & ISR_BITS,
            ISR => self.state.status &= !(value as u16),
            TCR => {
                let value = mixed(self.get32(TCR)) & TCR_WRITABLE;
                self.put32(TCR, value | TCR_VERSION);
            }
            RCR => {
                let value = mixed(self.get32(RCR));
                self.put32(RCR, value);
            }
            TCTR => {
                self.state.timer = turn.now;
                self.state.timer_told = false;
            }
            MPC => self.state.missed = 0,
            EEPROM => self.eeprom_wires(byte),
            CONFIG0 | CONFIG1 | CONFIG3 | CONFIG4 | CONFIG5 | MEDIA if self.may_configure() => {
                self.state.bytes[at] = byte;
            }
            TIMER_INT => {
                let value = mixed(self.get32(TIMER_INT));
                self.put32(TIMER_INT, value);
                self.state.timer_told = u128::from(value) <= self.timer_ticks(turn.now);
            }
            BMCR => {
                // Reset and restart of negotiation are over at once.
                let value = mixed(self.get16(BMCR).into()) & 0x7dff;
                self.put16(BMCR, value as u16);
            }
            MULTIPLE | ANAR | CSCR => {
                let value = mixed(self.get16(at).into());
                self.put16(at, value as u16);
            }
            CPLUS => {
                let value = mixed(self.get16(CPLUS).into()) & 0x007b;
                self.put16(CPLUS, value as u16);
            }
            RDSAR | 0xe8 => {
                let value = mixed(self.get32(at));
                self.put32(at, value);
                self.state.next[2] = 0;
            }
            POLL => {
                if byte & POLL_HIGH != 0 {
                    self.transmit_plus(1, turn);
                }
                if byte & POLL_NORMAL != 0 {
                    self.transmit_plus(0, turn);
                }
            }
            _ => {}
        }
    }

    fn may_configure(&self) -> bool {
        self.state.bytes[EEPROM] & EEPROM_MODE == EEPROM_MODE
    }

    fn command(&mut self, value: u8) {
        if value & RESET != 0 {
            self.restart();
            return;
        }
        let before = self.state.bytes[COMMAND];
        self.state.bytes[COMMAND] = value & (TRANSMIT | RECEIVE);
        if before & RECEIVE == 0 && value & RECEIVE != 0 {
            self.put16(CBR, 0);
            self.state.next[2] = 0;
        }
        if before & TRANSMIT == 0 && value & TRANSMIT != 0 {
            self.state.next[..2].fill(0);
        }
    }

    fn eeprom_wires(&mut self, value: u8) {
        self.state.bytes[EEPROM] = value & 0xce;
        let programming = value & EEPROM_MODE == EEPROM_PROGRAM;
        let wires = Wires {
            select: programming && value & 8 != 0,
            clock: value & 4 != 0,
            data: value & 2 != 0,
        };
        let words = self.eeprom();
        self.state.wires.drive(wires, &words);
    }

    /// C mode: slot `slot` has a frame.
    fn transmit(&mut self, slot: usize, turn: &mut Turn) {
        if self.state.bytes[COMMAND] & TRANSMIT == 0 || !self.function.is_master() {
            return;
        }
        let status = self.get32(TSD + 4 * slot);
        let length = (status & TSD_SIZE) as usize;
        let address = self.get32(TSAD + 4 * slot);
        let mut frame = vec![0; length];
        let read = turn.memory.read(address.into(), &mut frame);
        let good = length <= super::super::MAX_FRAME && read.is_ok();
        if good {
            self.send(&frame);
        }
        let ended = if good { TSD_TOK } else { TSD_ABORTED };
        self.put32(
            TSD + 4 * slot,
            status & !(TSD_TOK | TSD_ABORTED) | TSD_OWN | ended,
        );
        self.raise(ISR_TOK);
    }

    pub(super) fn is_plus_transmit(&self) -> bool {
        self.get16(CPLUS) & CPLUS_TRANSMIT != 0
    }

    /// Onto the cable, or with loopback back to the host.
    pub(super) fn send(&mut self, frame: &[u8]) {
        if self.get32(TCR) & TCR_LOOPBACK == 0 {
            self.cable.send(frame);
        }
    }
}
