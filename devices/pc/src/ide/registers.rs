//! A drive's task file (ATA/ATAPI-6, chapter 7) and its bits.

use serde::{Deserialize, Serialize};

/// Status.
pub(super) const BSY: u8 = 0x80;
pub(super) const DRDY: u8 = 0x40;
pub(super) const DF: u8 = 0x20;
pub(super) const DSC: u8 = 0x10;
pub(super) const DRQ: u8 = 0x08;
pub(super) const ERR: u8 = 0x01;
/// Error.
pub(super) const UNC: u8 = 0x40;
pub(super) const IDNF: u8 = 0x10;
pub(super) const ABRT: u8 = 0x04;
/// Device: addresses are sectors, not cylinders.
pub(super) const LBA: u8 = 0x40;
/// Interrupt reason (sector count) of packet commands: command, not data; to the host.
pub(super) const COMMAND: u8 = 0x01;
pub(super) const TO_HOST: u8 = 0x02;

/// Registers; of pairs the first is the current one, the second the one written before (48-bit commands).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Registers {
    pub(super) feature: [u8; 2],
    pub(super) count: [u8; 2],
    pub(super) low: [u8; 2],
    pub(super) mid: [u8; 2],
    pub(super) high: [u8; 2],
    pub(super) device: u8,
    pub(super) status: u8,
    pub(super) error: u8,
}

impl Registers {
    /// The host writes register 1 to 6.
    pub(super) fn write(&mut self, offset: u64, value: u8) {
        let pair = match offset {
            1 => &mut self.feature,
            2 => &mut self.count,
            3 => &mut self.low,
            4 => &mut self.mid,
            5 => &mut self.high,
            _ => {
                self.device = value;
                return;
            }
        };
        *pair = [value, pair[0]];
    }

    /// The host reads register 1 to 6; `previous`: the older of a pair (HOB).
    pub(super) fn read(&self, offset: u64, previous: bool) -> u8 {
        let which = usize::from(previous);
        match offset {
            1 => self.error,
            2 => self.count[which],
            3 => self.low[which],
            4 => self.mid[which],
            5 => self.high[which],
            _ => self.device | 0xa0,
        }
    }

    /// Sectors that a command asks for.
    pub(super) fn sectors(&self, extended: bool) -> u32 {
        let [low, high] = self.count.map(u32::from);
        match (extended, low, high) {
            (false, 0, _) => 256,
            (false, ..) => low,
            (true, 0, 0) => 65_536,
            (true, ..) => high << 8 | low,
        }
    }

    /// First sector, by `heads` and `sectors` per track where the host counts cylinders; none if there is no such one.
    pub(super) fn lba(&self, extended: bool, heads: u8, sectors: u8) -> Option<u64> {
        let [low, mid, high] = [self.low, self.mid, self.high].map(|pair| pair.map(u64::from));
        let current = high[0] << 16 | mid[0] << 8 | low[0];
        if extended {
            return Some(high[1] << 40 | mid[1] << 32 | low[1] << 24 | current);
        }
        let head = u64::from(self.device & 0x0f);
        if self.device & LBA != 0 {
            return Some(head << 24 | current);
        }
        let cylinder = high[0] << 8 | mid[0];
        let sector = low[0]
            .checked_sub(1)
            .filter(|sector| *sector < sectors.into())?;
        (head < heads.into())
            .then(|| (cylinder * u64::from(heads) + head) * u64::from(sectors) + sector)
    }

    /// Bytes that the host takes in one go (packet commands: byte count limit).
    pub(super) fn byte_limit(&self) -> usize {
        match usize::from(u16::from_le_bytes([self.mid[0], self.high[0]])) {
            0 | 0xffff => 0xfffe,
            1 => 2,
            limit => limit & !1,
        }
    }

    /// Tells the host how many bytes come.
    pub(super) fn set_byte_count(&mut self, bytes: usize) {
        let [low, high, ..] = bytes.to_le_bytes();
        self.mid[0] = low;
        self.high[0] = high;
    }

    /// What a drive shows after a reset (ATA/ATAPI-6, 9.12 "Signature").
    pub(super) fn signature(&mut self, packet: bool) {
        *self = Registers {
            count: [1, 0],
            low: [1, 0],
            mid: [if packet { 0x14 } else { 0 }, 0],
            high: [if packet { 0xeb } else { 0 }, 0],
            error: 1,
            status: if packet { 0 } else { DRDY | DSC },
            ..Registers::default()
        };
    }
}
