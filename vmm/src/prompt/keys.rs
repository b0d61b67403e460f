//! Keys by the names that `sendkey` has for them.

/// Names and Linux' codes (linux/input-event-codes.h), besides letters and digits.
#[rustfmt::skip]
const NAMED: &[(&str, u16)] = &[
    ("shift", 42), ("shift_r", 54), ("alt", 56), ("alt_r", 100), ("altgr", 100), ("ctrl", 29), ("ctrl_r", 97), ("menu", 127),
    ("meta_l", 125), ("meta_r", 126), ("esc", 1), ("minus", 12), ("equal", 13), ("backspace", 14), ("tab", 15), ("ret", 28), ("spc", 57),
    ("bracket_left", 26), ("bracket_right", 27), ("semicolon", 39), ("apostrophe", 40), ("grave_accent", 41), ("backslash", 43),
    ("comma", 51), ("dot", 52), ("slash", 53), ("less", 86), ("caps_lock", 58), ("num_lock", 69), ("scroll_lock", 70),
    ("f1", 59), ("f2", 60), ("f3", 61), ("f4", 62), ("f5", 63), ("f6", 64), ("f7", 65), ("f8", 66), ("f9", 67), ("f10", 68),
    ("f11", 87), ("f12", 88), ("print", 99), ("sysrq", 99), ("pause", 119), ("home", 102), ("pgup", 104), ("pgdn", 109), ("end", 107),
    ("left", 105), ("up", 103), ("down", 108), ("right", 106), ("insert", 110), ("delete", 111),
    ("kp_0", 82), ("kp_1", 79), ("kp_2", 80), ("kp_3", 81), ("kp_4", 75), ("kp_5", 76), ("kp_6", 77), ("kp_7", 71), ("kp_8", 72),
    ("kp_9", 73), ("kp_decimal", 83), ("kp_divide", 98), ("kp_multiply", 55), ("kp_subtract", 74), ("kp_add", 78), ("kp_enter", 96),
];

/// Letters and digits as they lie on the keyboard: code of the first, then one by one.
const ROWS: [(u16, &str); 4] = [
    (2, "1234567890"),
    (16, "qwertyuiop"),
    (30, "asdfghjkl"),
    (44, "zxcvbnm"),
];

/// Linux' code of a key, by its name or by its place as the PC's first scan codes have it (`0x1e`).
pub fn code(name: &str) -> Option<u16> {
    if let Some((_, code)) = NAMED.iter().find(|(known, _)| *known == name) {
        return Some(*code);
    }
    if let Some(hex) = name.strip_prefix("0x") {
        // Up to F12 scan codes of set 1 and Linux' codes are the same.
        let code = u16::from_str_radix(hex, 16).ok()?;
        return (1..=88).contains(&code).then_some(code);
    }
    let mut characters = name.chars();
    let (character, None) = (characters.next()?, characters.next()) else {
        return None;
    };
    ROWS.iter().find_map(|(first, row)| {
        let at = row.find(character)?;
        Some(first + at as u16)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_their_keys() {
        let codes = ["ctrl", "a", "0", "m", "ret", "0x1e", "f12"].map(code);
        assert_eq!(codes, [29, 30, 11, 50, 28, 30, 88].map(Some));
        assert_eq!(
            ["", "aa", "ä", "0x", "0x0", "0xff", "A"].map(code),
            [None; 7]
        );
    }
}
