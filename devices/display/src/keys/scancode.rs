//! Scancodes of set 1, as QEMU's extension of RFB has them: up to 0x58 they are Linux' codes, which were made after them.

/// Those with 0xe0 before them (0x80 added here): scancode, code.
#[rustfmt::skip]
const EXTENDED: &[(u32, u16)] = &[
    (0x10, 165), (0x19, 163), (0x1c, 96), (0x1d, 97), (0x20, 113), (0x21, 140), (0x22, 164), (0x24, 166), (0x2e, 114), (0x30, 115),
    (0x32, 172), (0x35, 98), (0x37, 99), (0x38, 100), (0x45, 69), (0x46, 119), (0x47, 102), (0x48, 103), (0x49, 104), (0x4b, 105),
    (0x4d, 106), (0x4f, 107), (0x50, 108), (0x51, 109), (0x52, 110), (0x53, 111), (0x5b, 125), (0x5c, 126), (0x5d, 127), (0x5e, 116),
    (0x5f, 142), (0x63, 143),
];

/// Those above 0x58 that keyboards of Japan and Brazil have.
const OTHER: &[(u32, u16)] = &[
    (0x54, 99),
    (0x59, 117),
    (0x70, 93),
    (0x73, 89),
    (0x79, 92),
    (0x7b, 94),
    (0x7d, 124),
    (0x7e, 121),
];

/// Linux' code of `scancode`.
pub(super) fn code(scancode: u32) -> Option<u16> {
    let find = |list: &[(u32, u16)], wanted| {
        let hit = list.iter().find(|(known, _)| *known == wanted);
        hit.map(|(_, code)| *code)
    };
    match scancode {
        0x80..=0xff => find(EXTENDED, scancode & 0x7f),
        0x54 | 0x59..=0x7f => find(OTHER, scancode),
        1..=0x58 => Some(scancode as u16),
        _ => None,
    }
}
