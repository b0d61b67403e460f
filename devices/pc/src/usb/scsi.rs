//! Commands of SCSI that drivers of USB disks send (SPC-2, SBC-2), judged: what is to move, or why not.

use super::storage::SECTOR;
use serde::{Deserialize, Serialize};

/// Why a command failed: sense key, additional sense code and its qualifier.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sense {
    key: u8,
    code: u8,
    qualifier: u8,
}

const fn sense(key: u8, code: u8) -> Sense {
    Sense {
        key,
        code,
        qualifier: 0,
    }
}

/// The medium failed.
pub const UNREADABLE: Sense = sense(3, 0x11);
/// ... at writing.
pub const UNWRITABLE: Sense = sense(3, 0x0c);
const INVALID_COMMAND: Sense = sense(5, 0x20);
const BEYOND_END: Sense = sense(5, 0x21);
const INVALID_FIELD: Sense = sense(5, 0x24);
const PROTECTED: Sense = sense(7, 0x27);

/// What a command wants moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// Nothing; it is done.
    Nothing,
    /// These bytes to the guest.
    Answer(Vec<u8>),
    /// Bytes of the medium to the guest.
    Read {
        /// The first.
        offset: u64,
        /// How many.
        length: u64,
    },
    /// Bytes of the guest's to the medium.
    Write {
        /// The first.
        offset: u64,
        /// How many.
        length: u64,
    },
    /// What was written is to be durable.
    Flush,
}

/// Judges a command to a disk of `sectors`; `last` is why the one before failed.
pub fn command(
    block: &[u8; 16],
    sectors: u64,
    writable: bool,
    last: &mut Sense,
) -> Result<Wanted, Sense> {
    let before = std::mem::take(last);
    let (six, ten) = (usize::from(block[4]), word(block, 7));
    let range = |first: u64, count: u64| match first.checked_add(count) {
        Some(end) if end <= sectors => Ok((first * SECTOR, count * SECTOR)),
        _ => Err(BEYOND_END),
    };
    let of_ten = || range(long(block, 2), ten as u64);
    match block[0] {
        // TEST UNIT READY, START STOP UNIT, PREVENT ALLOW MEDIUM REMOVAL.
        0x00 | 0x1b | 0x1e => Ok(Wanted::Nothing),
        0x03 => Ok(cut(request_sense(before), six)),
        0x12 => inquiry(block).map(|bytes| cut(bytes, six)),
        // MODE SENSE of 6 and of 10 bytes: no pages, the device-specific byte alone.
        0x1a => Ok(cut(vec![3, 0, protection(writable), 0], six)),
        0x5a => Ok(cut(vec![0, 6, 0, protection(writable), 0, 0, 0, 0], ten)),
        // READ FORMAT CAPACITIES.
        0x23 => Ok(cut(format_capacities(sectors), ten)),
        0x25 => Ok(Wanted::Answer(capacity(sectors))),
        0x28 => of_ten().map(|(offset, length)| Wanted::Read { offset, length }),
        0x2a if !writable => Err(PROTECTED),
        0x2a => of_ten().map(|(offset, length)| Wanted::Write { offset, length }),
        // VERIFY, without data.
        0x2f if block[1] & 2 == 0 => of_ten().map(|_| Wanted::Nothing),
        0x2f => Err(INVALID_FIELD),
        0x35 => Ok(Wanted::Flush),
        _ => Err(INVALID_COMMAND),
    }
}

fn word(block: &[u8; 16], at: usize) -> usize {
    usize::from(u16::from_be_bytes([block[at], block[at + 1]]))
}

fn long(block: &[u8; 16], at: usize) -> u64 {
    u32::from_be_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]]).into()
}

fn cut(mut bytes: Vec<u8>, most: usize) -> Wanted {
    bytes.truncate(most);
    Wanted::Answer(bytes)
}

fn protection(writable: bool) -> u8 {
    match writable {
        true => 0,
        false => 0x80,
    }
}

fn request_sense(sense: Sense) -> Vec<u8> {
    let mut bytes = vec![0; 18];
    bytes[0] = 0x70;
    bytes[2] = sense.key;
    bytes[7] = 10;
    bytes[12] = sense.code;
    bytes[13] = sense.qualifier;
    bytes
}

fn inquiry(block: &[u8; 16]) -> Result<Vec<u8>, Sense> {
    match (block[1] & 1, block[2]) {
        (0, 0) => {
            // A disk, SPC-2.
            let head: [u8; 8] = [0, 0, 4, 2, 31, 0, 0, 0];
            Ok([&head[..], b"NOXEN   ", b"USB DISK        ", b"1.0 "].concat())
        }
        // Vital product data: the list of its pages, the serial number.
        (1, 0x00) => Ok(vec![0, 0, 0, 2, 0, 0x80]),
        (1, 0x80) => Ok([&[0, 0x80, 0, 12][..], b"000000000001"].concat()),
        _ => Err(INVALID_FIELD),
    }
}

fn capacity(sectors: u64) -> Vec<u8> {
    let last = u32::try_from(sectors.saturating_sub(1)).unwrap_or(u32::MAX);
    [last.to_be_bytes(), (SECTOR as u32).to_be_bytes()].concat()
}

fn format_capacities(sectors: u64) -> Vec<u8> {
    let count = u32::try_from(sectors).unwrap_or(u32::MAX);
    let [_, high, middle, low] = (SECTOR as u32).to_be_bytes();
    // One descriptor, of formatted media.
    [
        &[0, 0, 0, 8][..],
        &count.to_be_bytes(),
        &[2, high, middle, low],
    ]
    .concat()
}
