//! Registers (Software Developer's Manual, 13 "Register descriptions").

use super::E1000;
use crate::device::Turn;

pub(super) const CTRL: u32 = 0x0000;
const STATUS: u32 = 0x0008;
const EECD: u32 = 0x0010;
const EERD: u32 = 0x0014;
const MDIC: u32 = 0x0020;
pub(super) const VET: u32 = 0x0038;
const ICR: u32 = 0x00c0;
const ITR: u32 = 0x00c4;
const ICS: u32 = 0x00c8;
const IMS: u32 = 0x00d0;
const IMC: u32 = 0x00d8;
pub(super) const RCTL: u32 = 0x0100;
pub(super) const TCTL: u32 = 0x0400;
pub(super) const LEDCTL: u32 = 0x0e00;
pub(super) const PBA: u32 = 0x1000;
pub(super) const RDBAL: u32 = 0x2800;
pub(super) const RDLEN: u32 = 0x2808;
pub(super) const RDH: u32 = 0x2810;
pub(super) const RDT: u32 = 0x2818;
pub(super) const TDBAL: u32 = 0x3800;
pub(super) const TDLEN: u32 = 0x3808;
pub(super) const TDH: u32 = 0x3810;
pub(super) const TDT: u32 = 0x3818;
pub(super) const MTA: u32 = 0x5200;
pub(super) const RAL: u32 = 0x5400;
pub(super) const VFTA: u32 = 0x5600;

/// Statistics: good frames and all frames received, sent (13.7). They are cleared when read.
pub(super) const GPRC: u32 = 0x4074;
pub(super) const GPTC: u32 = 0x4080;
pub(super) const TPR: u32 = 0x40d0;
pub(super) const TPT: u32 = 0x40d4;
const STATISTICS: std::ops::Range<u32> = 0x4000..0x4100;

const CTRL_RESET: u32 = 1 << 26;
const CTRL_PHY_RESET: u32 = 1 << 31;
pub(super) const CTRL_VLAN: u32 = 1 << 30;
/// Full duplex, 1000 Mbit/s; link up.
const STATUS_FIXED: u32 = 0x81;
const STATUS_UP: u32 = 0x02;

/// Interrupt causes (13.4.17).
pub(super) const CAUSE_SENT: u32 = 0x01;
pub(super) const CAUSE_SENT_ALL: u32 = 0x02;
pub(super) const CAUSE_LINK: u32 = 0x04;
pub(super) const CAUSE_FEW: u32 = 0x10;
pub(super) const CAUSE_RECEIVED: u32 = 0x80;
pub(super) const CAUSE_MDIO: u32 = 0x200;
const CAUSES: u32 = 0x1_ffff;

pub(super) const ADDRESS_VALID: u32 = 1 << 31;

/// Whether the register is one that keeps what is written.
fn is_kept(at: u32) -> bool {
    matches!(
        at,
        0x0018 | 0x0028 | 0x002c | 0x0030 | VET | ITR | 0x0170 | 0x0178 | 0x0410 | 0x0458 | LEDCTL | PBA | 0x2160 | 0x2168
            | 0x2820 | 0x2828 | 0x282c | 0x2c00 | 0x3000 | 0x3820 | 0x3828 | 0x382c | 0x3830 | 0x5000 | 0x5800 | 0x5808
            | 0x5820 | MTA..=0x53fc | RAL..=0x547c | VFTA..=0x57fc
    )
}

impl E1000 {
    pub(super) fn read_register(&mut self, at: u32) -> u32 {
        match at {
            STATUS => STATUS_FIXED | if self.state.up { STATUS_UP } else { 0 },
            EECD => self.eecd(),
            ICR => {
                let causes = self.state.cause;
                self.state.cause = 0;
                causes
            }
            IMS => self.state.mask,
            // Write-only.
            ICS | IMC => 0,
            at if STATISTICS.contains(&at) => {
                let value = self.get(at);
                self.set(at, 0);
                value
            }
            _ => self.get(at),
        }
    }

    pub(super) fn write_register(&mut self, at: u32, value: u32, turn: &mut Turn) {
        match at {
            CTRL if value & CTRL_RESET != 0 => self.restart(),
            CTRL => {
                if value & CTRL_PHY_RESET != 0 {
                    self.state.phy = super::phy::defaults();
                }
                self.set(CTRL, value & !CTRL_PHY_RESET);
            }
            EECD => self.write_eecd(value),
            EERD => self.read_eeprom(value, EERD),
            MDIC => self.write_mdic(value, MDIC),
            ICR => self.state.cause &= !value,
            ICS => self.raise(value & CAUSES),
            IMS => self.state.mask |= value & CAUSES,
            IMC => self.state.mask &= !value,
            RCTL => {
                self.set(RCTL, value);
                self.receive(turn);
            }
            TCTL => {
                self.set(TCTL, value);
                self.transmit(turn);
            }
            // Rings begin at multiples of 16 bytes and are multiples of 128 bytes long (13.4.25, 13.4.27).
            RDBAL | TDBAL => self.set(at, value & !15),
            0x2804 | 0x3804 => self.set(at, value),
            RDLEN | TDLEN => self.set(at, value & 0x000f_ff80),
            RDH | TDH => self.set(at, value & 0xffff),
            RDT => {
                self.set(RDT, value & 0xffff);
                self.receive(turn);
            }
            TDT => {
                self.set(TDT, value & 0xffff);
                self.transmit(turn);
            }
            _ if is_kept(at) => self.set(at, value),
            _ => {}
        }
    }

    /// A ring's first address and number of descriptors, by its base register.
    pub(super) fn ring(&self, base: u32) -> (u64, u32) {
        let start = u64::from(self.get(base)) | u64::from(self.get(base + 4)) << 32;
        (start, self.get(base + 8) / 16)
    }
}
