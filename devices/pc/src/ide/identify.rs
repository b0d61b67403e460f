//! What a drive says of itself: IDENTIFY DEVICE and IDENTIFY PACKET DEVICE (ATA/ATAPI-6, 8.15 and 8.16; obsolete words: ATA-3).

use super::drive::{Drive, MAX_MULTIPLE};

const FIRMWARE: &str = "1.0";
/// Words 80 and on: ATA-1 to ATA-6.
const VERSIONS: u16 = 0x7e;

struct Block([u16; 256]);

impl Block {
    fn set(&mut self, word: usize, value: u16) {
        self.0[word] = value;
    }

    fn set32(&mut self, word: usize, value: u32) {
        self.0[word] = value as u16;
        self.0[word + 1] = (value >> 16) as u16;
    }

    /// Text in ATA's order: the first character of two in the high byte, blanks behind.
    fn text(&mut self, word: usize, words: usize, text: &str) {
        let mut characters = text
            .chars()
            .map(|c| {
                if c.is_ascii_graphic() || c == ' ' {
                    c as u8
                } else {
                    b'_'
                }
            })
            .chain(std::iter::repeat(b' '));
        let mut next = || characters.next().unwrap_or(b' ');
        for at in word..word + words {
            self.0[at] = u16::from_be_bytes([next(), next()]);
        }
    }

    fn bytes(self) -> Vec<u8> {
        self.0.iter().flat_map(|word| word.to_le_bytes()).collect()
    }
}

/// The words that both kinds have.
fn common(drive: &Drive, model: &str) -> Block {
    let mut block = Block([0; 256]);
    block.text(10, 10, &drive.serial);
    block.text(23, 4, FIRMWARE);
    block.text(27, 20, model);
    // Words 64 to 70 count.
    block.set(53, 0x0003);
    let selected = drive.state.dma_mode.map_or(0, |mode| 0x100 << mode);
    block.set(63, selected | 0x0007);
    // PIO modes 3 and 4; cycle times in ns.
    block.set(64, 0x0003);
    for word in 65..=68 {
        block.set(word, 120);
    }
    block.set(80, VERSIONS);
    block
}

/// Cylinders, heads, sectors that a disk of `sectors` is counted in by default (ATA-5, annex C).
fn geometry(sectors: u64) -> (u16, u16, u16) {
    ((sectors / (16 * 63)).clamp(1, 16_383) as u16, 16, 63)
}

/// A hard disk's 512 bytes.
pub(super) fn disk(drive: &Drive) -> Vec<u8> {
    let sectors = drive.capacity();
    let mut block = common(drive, "Noxen hard disk");
    let (cylinders, heads, per_track) = geometry(sectors);
    // Fixed, not removable.
    block.set(0, 0x0040);
    block.set(1, cylinders);
    block.set(3, heads);
    block.set(6, per_track);
    block.set(47, 0x8000 | u16::from(MAX_MULTIPLE));
    // IORDY, LBA, DMA.
    block.set(49, 0x0b00);
    block.set(50, 0x4000);
    let (heads, per_track) = (u16::from(drive.state.heads), u16::from(drive.state.sectors));
    let track = u64::from(heads) * u64::from(per_track);
    let cylinders = (sectors / track).min(65_535) as u16;
    block.set(54, cylinders);
    block.set(55, heads);
    block.set(56, per_track);
    block.set32(57, (u64::from(cylinders) * track) as u32);
    block.set(
        59,
        match drive.state.multiple {
            0 => 0,
            multiple => 0x100 | u16::from(multiple),
        },
    );
    block.set32(60, sectors.min(0x0fff_ffff) as u32);
    // Look-ahead, write cache; FLUSH CACHE (EXT), 48-bit addresses.
    block.set(82, 0x0060);
    block.set(83, 0x7400);
    block.set(84, 0x4000);
    block.set(
        85,
        if drive.state.write_cache {
            0x0060
        } else {
            0x0040
        },
    );
    block.set(86, 0x3400);
    block.set(87, 0x4000);
    let sectors = sectors.min((1 << 48) - 1);
    block.set32(100, sectors as u32);
    block.set32(102, (sectors >> 32) as u32);
    block.bytes()
}

/// A CD reader's.
pub(super) fn cd(drive: &Drive) -> Vec<u8> {
    let mut block = common(drive, "Noxen DVD-ROM");
    // ATAPI, class 5 (CD-ROM), removable, DRQ within 50 us of PACKET, packets of 12 bytes.
    block.set(0, 0x85c0);
    block.set(49, 0x0b00);
    // DEVICE RESET, PACKET.
    block.set(82, 0x0210);
    block.set(83, 0x4000);
    block.set(84, 0x4000);
    block.set(85, 0x0210);
    block.set(87, 0x4000);
    block.bytes()
}
