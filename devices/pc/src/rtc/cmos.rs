//! What firmware finds in the clock's RAM.
//!
//! The places are the PC AT's (IBM PC AT Technical Reference, "CMOS RAM"), and beyond those the ones that SeaBIOS documents:
//! 0x34 and 0x5b for memory, 0x38 and 0x3d for the boot order, 0x5f for processors.

/// Where to boot from, one of `boot='acdn'`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Boot {
    /// `a`.
    Floppy,
    /// `c`.
    Disk,
    /// `d`.
    Cd,
    /// `n`.
    Network,
}

impl Boot {
    /// That of a letter.
    pub fn of(letter: char) -> Option<Boot> {
        match letter {
            'a' => Some(Boot::Floppy),
            'c' => Some(Boot::Disk),
            'd' => Some(Boot::Cd),
            'n' => Some(Boot::Network),
            _ => None,
        }
    }

    fn code(self) -> u8 {
        match self {
            Boot::Floppy => 1,
            Boot::Disk => 2,
            Boot::Cd => 3,
            Boot::Network => 4,
        }
    }
}

/// What the machine is, for its firmware.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Firmware {
    /// RAM below 4 GiB, bytes.
    pub low: u64,
    /// RAM from 4 GiB on, bytes.
    pub high: u64,
    /// Processors; 0 counts as 1.
    pub cpus: u8,
    /// In this order; more than three are left out.
    pub boot: Vec<Boot>,
    /// 1.44 MB floppy drives, 0 to 2.
    pub floppies: u8,
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// Where the number of processors is.
pub(super) const PROCESSORS: usize = 0x5f;

/// What is there for so many.
pub(super) fn processors(count: u16) -> u8 {
    count.saturating_sub(1).min(0xff) as u8
}

/// 128 bytes; those of the time are left zero.
pub(super) fn bytes(firmware: &Firmware) -> Vec<u8> {
    let mut bytes = vec![0; 0x80];
    let mut word = |at: usize, value: u64| {
        let value = value.min(0xffff) as u16;
        bytes[at..at + 2].copy_from_slice(&value.to_le_bytes());
    };
    let extended = firmware.low.saturating_sub(MIB) / KIB;
    word(0x15, 640.min(firmware.low / KIB));
    word(0x17, extended);
    word(0x30, extended);
    word(0x34, firmware.low.saturating_sub(16 * MIB) / (64 * KIB));
    let high = (firmware.high / (64 * KIB)).min(0xff_ffff) as u32;
    bytes[0x5b..0x5e].copy_from_slice(&high.to_le_bytes()[..3]);
    bytes[PROCESSORS] = processors(firmware.cpus.into());

    let floppies = firmware.floppies.min(2);
    // Type 4 is 3.5 inch, 1.44 MB; drive A in the high half.
    bytes[0x10] = [0x00, 0x40, 0x44][usize::from(floppies)];
    // Coprocessor and pointing device; floppies from bit 6 on, one less than there are.
    bytes[0x14] = 0x06
        | if floppies > 0 {
            (floppies - 1) << 6 | 1
        } else {
            0
        };

    let order = |index: usize| firmware.boot.get(index).map_or(0, |boot| boot.code());
    // Bit 0: a floppy need not carry a boot signature.
    bytes[0x38] = order(2) << 4 | 1;
    bytes[0x3d] = order(1) << 4 | order(0);

    let sum: u16 = bytes[0x10..0x2e].iter().map(|byte| u16::from(*byte)).sum();
    bytes[0x2e..0x30].copy_from_slice(&sum.to_be_bytes());
    bytes
}
