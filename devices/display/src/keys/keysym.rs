//! Keysyms of X (X11/keysymdef.h): keys by name, and the characters that the others stand for.

use super::Meaning;

/// Named keys: keysym, Linux' code.
#[rustfmt::skip]
const NAMED: &[(u32, u16)] = &[
    (0xff08, 14), (0xff09, 15), (0xfe20, 15), (0xff0d, 28), (0xff13, 119), (0xff14, 70), (0xff15, 99), (0xff1b, 1),
    (0xff22, 94), (0xff23, 92), (0xff27, 93), (0xff2a, 85),
    (0xff50, 102), (0xff51, 105), (0xff52, 103), (0xff53, 106), (0xff54, 108), (0xff55, 104), (0xff56, 109), (0xff57, 107),
    (0xff61, 99), (0xff63, 110), (0xff67, 127), (0xff6b, 119), (0xff7e, 100), (0xff7f, 69),
    // Keypad: without digits, then with.
    (0xff8d, 96), (0xff95, 71), (0xff96, 75), (0xff97, 72), (0xff98, 77), (0xff99, 80), (0xff9a, 73), (0xff9b, 81),
    (0xff9c, 79), (0xff9d, 76), (0xff9e, 82), (0xff9f, 83), (0xffbd, 117),
    (0xffaa, 55), (0xffab, 78), (0xffac, 121), (0xffad, 74), (0xffae, 83), (0xffaf, 98),
    (0xffb0, 82), (0xffb1, 79), (0xffb2, 80), (0xffb3, 81), (0xffb4, 75), (0xffb5, 76), (0xffb6, 77), (0xffb7, 71), (0xffb8, 72), (0xffb9, 73),
    (0xffbe, 59), (0xffbf, 60), (0xffc0, 61), (0xffc1, 62), (0xffc2, 63), (0xffc3, 64), (0xffc4, 65), (0xffc5, 66), (0xffc6, 67), (0xffc7, 68),
    (0xffc8, 87), (0xffc9, 88),
    (0xffe1, 42), (0xffe2, 54), (0xffe3, 29), (0xffe4, 97), (0xffe5, 58), (0xffe7, 125), (0xffe8, 126), (0xffe9, 56), (0xffea, 100),
    (0xffeb, 125), (0xffec, 126), (0xfe03, 100), (0xffff, 111),
];

/// Characters outside of Latin 1 that have keysyms of their own, older than Unicode; dead keys are combining characters.
#[rustfmt::skip]
const OLD: &[(u32, char)] = &[
    (0x1a1, 'Ą'), (0x1a3, 'Ł'), (0x1a6, 'Ś'), (0x1a9, 'Š'), (0x1ab, 'Ť'), (0x1ac, 'Ź'), (0x1ae, 'Ž'), (0x1af, 'Ż'),
    (0x1b1, 'ą'), (0x1b3, 'ł'), (0x1b6, 'ś'), (0x1b9, 'š'), (0x1bb, 'ť'), (0x1bc, 'ź'), (0x1be, 'ž'), (0x1bf, 'ż'),
    (0x1c6, 'Ć'), (0x1c8, 'Č'), (0x1ca, 'Ę'), (0x1cc, 'Ě'), (0x1cf, 'Ď'), (0x1d1, 'Ń'), (0x1d2, 'Ň'), (0x1d5, 'Ő'), (0x1d8, 'Ř'),
    (0x1d9, 'Ů'), (0x1db, 'Ű'), (0x1e6, 'ć'), (0x1e8, 'č'), (0x1ea, 'ę'), (0x1ec, 'ě'), (0x1ef, 'ď'), (0x1f1, 'ń'), (0x1f2, 'ň'),
    (0x1f5, 'ő'), (0x1f8, 'ř'), (0x1f9, 'ů'), (0x1fb, 'ű'), (0x13bc, 'Œ'), (0x13bd, 'œ'), (0x20ac, '€'), (0x6a3, 'ё'), (0x6b3, 'Ё'),
    (0x6b0, '№'), (0xad0, '‘'), (0xad1, '’'), (0xad2, '“'), (0xad3, '”'), (0xaa9, '—'), (0xaaa, '–'), (0xae6, '•'),
    (0xfe50, '\u{300}'), (0xfe51, '\u{301}'), (0xfe52, '\u{302}'), (0xfe53, '\u{303}'), (0xfe57, '\u{308}'), (0xfe58, '\u{30a}'),
    (0xfe59, '\u{30b}'), (0xfe5a, '\u{30c}'), (0xfe5b, '\u{327}'), (0xfe5c, '\u{328}'),
];

/// Lower-case Cyrillic from 0x6c0 on, in the order of KOI8-R; upper case 0x20 later.
const CYRILLIC: &str = "юабцдефгхийклмнопярстужвьызшэщчъ";

/// What `keysym` stands for, if anything.
pub(super) fn meaning(keysym: u32) -> Option<Meaning> {
    if let Some((_, code)) = NAMED.iter().find(|(known, _)| *known == keysym) {
        return Some(Meaning::Key(*code));
    }
    if let Some((_, character)) = OLD.iter().find(|(known, _)| *known == keysym) {
        return Some(Meaning::Character(*character));
    }
    let character = match keysym {
        0x20..=0x7e | 0xa0..=0xff => char::from_u32(keysym),
        0x6c0..=0x6df => CYRILLIC.chars().nth((keysym - 0x6c0) as usize),
        0x6e0..=0x6ff => CYRILLIC
            .chars()
            .nth((keysym - 0x6e0) as usize)
            .and_then(|lower| lower.to_uppercase().next()),
        0x0100_0000..=0x0110_ffff => char::from_u32(keysym - 0x0100_0000),
        _ => None,
    };
    character.map(Meaning::Character)
}
