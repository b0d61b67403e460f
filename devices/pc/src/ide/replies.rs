//! What a CD reader sends back (SFF-8020i and MMC-2; MMC-3 for GET CONFIGURATION).

use super::atapi::{News, Sense, PACKET_BYTES};

/// Blocks from which on a medium is a DVD: more than 80 minutes of 75 blocks a second.
const CD_BLOCKS: u64 = 80 * 60 * 75;

fn is_dvd(blocks: u64) -> bool {
    blocks > CD_BLOCKS
}

/// REQUEST SENSE (SFF-8020i, table 137).
pub(super) fn sense(sense: Sense) -> Vec<u8> {
    let mut bytes = vec![0; 18];
    bytes[0] = 0x70;
    bytes[2] = sense.key;
    bytes[7] = 10;
    bytes[12] = sense.code;
    bytes[13] = sense.qualifier;
    bytes
}

/// INQUIRY (table 45).
pub(super) fn inquiry() -> Vec<u8> {
    let mut bytes = vec![0x05, 0x80, 0x00, 0x21, 31, 0, 0, 0];
    bytes.extend(b"Noxen   DVD-ROM         1.0 ");
    bytes
}

/// READ CAPACITY: last block, bytes of a block.
pub(super) fn capacity(blocks: u64) -> Vec<u8> {
    let last = u32::try_from(blocks.saturating_sub(1)).unwrap_or(u32::MAX);
    [last.to_be_bytes(), 2048u32.to_be_bytes()].concat()
}

/// An address as the packet wants it: blocks, or minutes, seconds, frames from -2 s on.
fn address(block: u64, msf: bool) -> [u8; 4] {
    if !msf {
        return u32::try_from(block).unwrap_or(u32::MAX).to_be_bytes();
    }
    let frames = block + 150;
    let minutes = (frames / 75 / 60).min(255) as u8;
    [0, minutes, (frames / 75 % 60) as u8, (frames % 75) as u8]
}

/// READ TOC/PMA/ATIP (MMC-2, 6.1.20): one data track; none if the format or the track is not there.
pub(super) fn toc(packet: &[u8; PACKET_BYTES], blocks: u64) -> Option<Vec<u8>> {
    let msf = packet[1] & 2 != 0;
    // SFF-8020i has the format in the last byte.
    let format = match packet[2] & 0x0f {
        0 => packet[9] >> 6,
        format => format,
    };
    let mut bytes = vec![0, 0, 1, 1];
    match format {
        0 => {
            let first = packet[6];
            if first > 1 && first != 0xaa {
                return None;
            }
            if first <= 1 {
                bytes.extend([0, 0x14, 1, 0]);
                bytes.extend(address(0, msf));
            }
            bytes.extend([0, 0x14, 0xaa, 0]);
            bytes.extend(address(blocks, msf));
        }
        // One session.
        1 => {
            bytes.extend([0, 0x14, 1, 0]);
            bytes.extend(address(0, msf));
        }
        // The lead-in's own entries: first track, last track, lead-out, track 1 (table 148); always as minutes.
        2 => {
            let entries = [
                (0xa0, [0, 1, 0, 0]),
                (0xa1, [0, 1, 0, 0]),
                (0xa2, address(blocks, true)),
                (1, address(0, true)),
            ];
            for (point, place) in entries {
                bytes.extend([1, 0x14, 0, point, 0, 0, 0]);
                bytes.extend(place);
            }
        }
        _ => return None,
    }
    let length = (bytes.len() as u16 - 2).to_be_bytes();
    bytes[..2].copy_from_slice(&length);
    Some(bytes)
}

/// GET CONFIGURATION (MMC-3, 5.2 and 6.6): profiles CD-ROM and DVD-ROM and what belongs to them.
pub(super) fn configuration(packet: &[u8; PACKET_BYTES], blocks: u64) -> Vec<u8> {
    let (cd, dvd) = (blocks > 0 && !is_dvd(blocks), is_dvd(blocks));
    let profile: u16 = match (cd, dvd) {
        (_, true) => 0x10,
        (true, _) => 0x08,
        _ => 0,
    };
    let present = blocks > 0;
    let flag = u8::from;
    // Code, version and flags (bit 1 persistent, bit 0 current), data.
    let features: [(u16, u8, Vec<u8>); 8] = [
        (
            0x00,
            0x03,
            vec![0, 0x10, flag(dvd), 0, 0, 0x08, flag(cd), 0],
        ),
        (0x01, 0x03, vec![0, 0, 0, 2]),
        (0x03, 0x03, vec![0x29, 0, 0, 0]),
        (0x10, flag(present), vec![0, 0, 8, 0, 0, 1, 0, 0]),
        (0x1e, flag(cd), Vec::new()),
        (0x1f, flag(dvd), Vec::new()),
        (0x100, 0x03, Vec::new()),
        (0x105, 0x03, Vec::new()),
    ];
    let start = u16::from_be_bytes([packet[2], packet[3]]);
    let wanted = |code: u16, flags: u8| match packet[1] & 3 {
        0 => code >= start,
        1 => code >= start && flags & 1 != 0,
        _ => code == start,
    };
    let mut bytes = vec![0; 8];
    bytes[6..8].copy_from_slice(&profile.to_be_bytes());
    for (code, flags, data) in features {
        if wanted(code, flags) {
            bytes.extend(code.to_be_bytes());
            bytes.extend([flags, data.len() as u8]);
            bytes.extend(data);
        }
    }
    let length = (bytes.len() as u32 - 4).to_be_bytes();
    bytes[..4].copy_from_slice(&length);
    bytes
}

/// GET EVENT STATUS NOTIFICATION (MMC-2, 6.1.4): of the classes only media (4).
pub(super) fn event(classes: u8, news: News, present: bool, open: bool) -> Vec<u8> {
    if classes & 0x10 == 0 {
        // No class of these: header only.
        return vec![0, 2, 0x80, 0x10];
    }
    let event = match news {
        News::None => 0,
        News::New => 2,
        News::Removed => 3,
    };
    let status = u8::from(open) | u8::from(present) << 1;
    vec![0, 6, 4, 0x10, event, status, 0, 0]
}

/// READ DISC INFORMATION (MMC-2, 6.1.16): complete, one session.
pub(super) fn disc_information() -> Vec<u8> {
    let mut bytes = vec![0; 34];
    bytes[1] = 32;
    bytes[2] = 0x0e;
    (bytes[3], bytes[4], bytes[5], bytes[6]) = (1, 1, 1, 1);
    bytes[7] = 0x20;
    bytes
}

/// MODE SENSE(10) (SFF-8020i, 10.8.6): error recovery (1) and capabilities (0x2a); none for other pages.
pub(super) fn mode(packet: &[u8; PACKET_BYTES], locked: bool) -> Option<Vec<u8>> {
    let changeable = packet[2] >> 6 == 1;
    let page = packet[2] & 0x3f;
    if packet[2] >> 6 == 3 {
        // Nothing is saved.
        return None;
    }
    let mut bytes = vec![0; 8];
    let mut add = |mut data: Vec<u8>| {
        if changeable {
            data[2..].fill(0);
        }
        bytes.extend(data);
    };
    if matches!(page, 0x01 | 0x3f) {
        add(vec![0x01, 6, 0, 5, 0, 0, 0, 0]);
    }
    if matches!(page, 0x2a | 0x3f) {
        let mut data = vec![0; 20];
        (data[0], data[1]) = (0x2a, 18);
        // Reads CD-R, CD-RW, DVD-ROM; multisession, mode 2; locks, ejects, has a tray.
        data[2] = 0x0b;
        data[4] = 0x70;
        data[6] = 0x29 | u8::from(locked) << 1;
        // Speeds in KB/s, volume levels, buffer in KiB.
        data[8..10].copy_from_slice(&(24 * 176u16).to_be_bytes());
        data[11] = 2;
        data[12..14].copy_from_slice(&512u16.to_be_bytes());
        data[14..16].copy_from_slice(&(24 * 176u16).to_be_bytes());
        add(data);
    }
    if bytes.len() == 8 {
        return None;
    }
    let length = (bytes.len() as u16 - 2).to_be_bytes();
    bytes[..2].copy_from_slice(&length);
    Some(bytes)
}

/// MECHANISM STATUS (SFF-8020i, 10.8.5): one slot.
pub(super) fn mechanism(open: bool) -> Vec<u8> {
    vec![0, u8::from(open) << 4, 0, 0, 0, 1, 0, 0]
}
