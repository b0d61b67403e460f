//! Scancodes: Linux' codes of keys, the keyboard's set 2, and set 1, into which the controller translates.
//!
//! ```text
//!   Linux code --(up to 0x58 the same)--> set 1 --TRANSLATION read backwards--> set 2 --controller--> set 1
//! ```

/// What the controller makes of a byte of set 2 (8042 data sheet as IBM's PS/2 Technical Reference has it); those from 0x80 on
/// are left as they are but for [`F7`] and [`SYS_RQ`].
#[rustfmt::skip]
const TRANSLATION: [u8; 128] = [
    0xff, 0x43, 0x41, 0x3f, 0x3d, 0x3b, 0x3c, 0x58, 0x64, 0x44, 0x42, 0x40, 0x3e, 0x0f, 0x29, 0x59,
    0x65, 0x38, 0x2a, 0x70, 0x1d, 0x10, 0x02, 0x5a, 0x66, 0x71, 0x2c, 0x1f, 0x1e, 0x11, 0x03, 0x5b,
    0x67, 0x2e, 0x2d, 0x20, 0x12, 0x05, 0x04, 0x5c, 0x68, 0x39, 0x2f, 0x21, 0x14, 0x13, 0x06, 0x5d,
    0x69, 0x31, 0x30, 0x23, 0x22, 0x15, 0x07, 0x5e, 0x6a, 0x72, 0x32, 0x24, 0x16, 0x08, 0x09, 0x5f,
    0x6b, 0x33, 0x25, 0x17, 0x18, 0x0b, 0x0a, 0x60, 0x6c, 0x34, 0x35, 0x26, 0x27, 0x19, 0x0c, 0x61,
    0x6d, 0x73, 0x28, 0x74, 0x1a, 0x0d, 0x62, 0x6e, 0x3a, 0x36, 0x1c, 0x1b, 0x75, 0x2b, 0x63, 0x76,
    0x55, 0x56, 0x77, 0x78, 0x79, 0x7a, 0x0e, 0x7b, 0x7c, 0x4f, 0x7d, 0x4b, 0x47, 0x7e, 0x7f, 0x6f,
    0x52, 0x53, 0x50, 0x4c, 0x4d, 0x48, 0x01, 0x45, 0x57, 0x4e, 0x51, 0x4a, 0x37, 0x49, 0x46, 0x54,
];
/// F7 in set 2, and in set 1.
const F7: (u8, u8) = (0x83, 0x41);
/// Alt and Print in set 2, and in set 1.
const SYS_RQ: (u8, u8) = (0x84, 0x54);

/// Keys with 0xe0 before their code: Linux code, code of set 1.
#[rustfmt::skip]
const EXTENDED: &[(u16, u8)] = &[
    (96, 0x1c), (97, 0x1d), (98, 0x35), (99, 0x37), (100, 0x38), (102, 0x47), (103, 0x48), (104, 0x49), (105, 0x4b), (106, 0x4d),
    (107, 0x4f), (108, 0x50), (109, 0x51), (110, 0x52), (111, 0x53), (113, 0x20), (114, 0x2e), (115, 0x30), (116, 0x5e), (125, 0x5b),
    (126, 0x5c), (127, 0x5d), (140, 0x21), (142, 0x5f), (143, 0x63), (163, 0x19), (164, 0x22), (165, 0x10), (166, 0x24), (172, 0x32),
];
/// Keys beyond 0x58 without 0xe0.
#[rustfmt::skip]
const OTHER: &[(u16, u8)] = &[(89, 0x73), (92, 0x79), (93, 0x70), (94, 0x7b), (117, 0x59), (121, 0x7e), (124, 0x7d)];

const PAUSE: u16 = 119;

/// A set of scancodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Set {
    /// The PC's and XT's.
    One,
    /// The AT's.
    Two,
}

/// What the controller makes of `byte`.
pub fn translate(byte: u8) -> u8 {
    match byte {
        0..=0x7f => TRANSLATION[usize::from(byte)],
        _ if byte == F7.0 => F7.1,
        _ if byte == SYS_RQ.0 => SYS_RQ.1,
        _ => byte,
    }
}

/// What the controller translates into `code` of set 1.
fn untranslate(code: u8) -> u8 {
    for (two, one) in [F7, SYS_RQ] {
        if one == code {
            return two;
        }
    }
    let at = TRANSLATION.iter().position(|one| *one == code);
    // Every code up to 0x7f is there.
    at.unwrap_or(0) as u8
}

/// The bytes that a keyboard sends when key `code` goes down or up; none for keys that it does not have.
pub fn bytes(set: Set, code: u16, pressed: bool) -> Vec<u8> {
    if code == PAUSE {
        // It has no code for going up: both come at once.
        return match (pressed, set) {
            (false, _) => Vec::new(),
            (true, Set::One) => vec![0xe1, 0x1d, 0x45, 0xe1, 0x9d, 0xc5],
            (true, Set::Two) => vec![0xe1, 0x14, 0x77, 0xe1, 0xf0, 0x14, 0xf0, 0x77],
        };
    }
    let find = |list: &[(u16, u8)]| {
        let hit = list.iter().find(|(known, _)| *known == code);
        hit.map(|(_, one)| *one)
    };
    let (extended, one) = match code {
        1..=88 if code != 84 && code != 85 => (false, code as u8),
        _ => match (find(EXTENDED), find(OTHER)) {
            (Some(one), _) => (true, one),
            (None, Some(one)) => (false, one),
            (None, None) => return Vec::new(),
        },
    };
    let mut bytes = Vec::new();
    if extended {
        bytes.push(0xe0);
    }
    match (set, pressed) {
        (Set::One, true) => bytes.push(one),
        (Set::One, false) => bytes.push(one | 0x80),
        (Set::Two, true) => bytes.push(untranslate(one)),
        (Set::Two, false) => bytes.extend([0xf0, untranslate(one)]),
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the controller passes bytes on.
    fn translated(bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut up = 0;
        for byte in bytes {
            match byte {
                0xf0 => up = 0x80,
                byte => out.push(translate(*byte) | std::mem::take(&mut up)),
            }
        }
        out
    }

    #[test]
    fn every_key_is_the_same_in_set_1_and_translated_from_set_2() {
        for code in 0..256 {
            for pressed in [true, false] {
                let one = bytes(Set::One, code, pressed);
                let two = bytes(Set::Two, code, pressed);
                assert_eq!(translated(&two), one, "key {code}");
            }
        }
    }

    #[test]
    fn well_known_keys_have_their_well_known_codes() {
        assert_eq!(bytes(Set::Two, 30, true), [0x1c]);
        assert_eq!(bytes(Set::Two, 28, false), [0xf0, 0x5a]);
        assert_eq!(bytes(Set::Two, 65, true), [0x83]);
        assert_eq!(bytes(Set::Two, 103, true), [0xe0, 0x75]);
        assert_eq!(bytes(Set::One, 100, false), [0xe0, 0xb8]);
        assert!(bytes(Set::One, 0x110, true).is_empty());
    }
}
