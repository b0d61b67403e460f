//! Where a layout has its characters.

use super::layouts::LAYOUTS;

/// A layout of keys: four rows, each plain, with shift, with AltGr, with both.
#[derive(Debug, PartialEq, Eq)]
pub struct Layout {
    /// As `keymap=` has it.
    pub name: &'static str,
    pub(super) rows: [[&'static str; 4]; 4],
    /// Further characters: which, code, shift, AltGr.
    pub(super) more: &'static [(char, u16, bool, bool)],
}

/// Codes of the rows: from left of 1; from q; from a, with the key left of Enter; from the key right of left shift.
const ROWS: [&[u16]; 4] = [
    &[41, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13],
    &[16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27],
    &[30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 43],
    &[86, 44, 45, 46, 47, 48, 49, 50, 51, 52, 53],
];

/// A `keymap=` that is not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("keymap {name:?} is not known; these are: {known}")]
pub struct UnknownLayout {
    name: String,
    known: String,
}

/// How to type a character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) code: u16,
    pub(super) shift: bool,
    pub(super) alt_gr: bool,
}

impl Layout {
    /// The one that is meant unless another is named.
    pub fn english() -> &'static Layout {
        &LAYOUTS[0]
    }

    /// By name.
    pub fn named(name: &str) -> Result<&'static Layout, UnknownLayout> {
        let found = LAYOUTS.iter().find(|layout| layout.name == name);
        found.ok_or_else(|| UnknownLayout {
            name: name.chars().take(40).collect(),
            known: LAYOUTS.each_ref().map(|layout| layout.name).join(" "),
        })
    }

    /// How to type `character` here; where it cannot be typed, as on an English keyboard, so that commands go through.
    pub(super) fn find(&self, character: char) -> Option<Place> {
        self.own(character)
            .or_else(|| Layout::english().own(character))
    }

    /// What the key `code` gives here.
    pub(super) fn character(&self, code: u16, shift: bool, alt_gr: bool) -> Option<char> {
        if code == 57 {
            return Some(' ');
        }
        // A dead key is what it is without a letter.
        let is = |(_, known, with, and): &&(char, u16, bool, bool)| {
            (*known, *with, *and) == (code, shift, alt_gr)
        };
        if let Some((character, ..)) = self.more.iter().find(is) {
            return Some(*character);
        }
        let level = usize::from(shift) | usize::from(alt_gr) << 1;
        let rows = self.rows.iter().zip(ROWS);
        let mut found = rows.filter_map(|(row, codes)| {
            let at = codes.iter().position(|known| *known == code)?;
            row[level].chars().nth(at)
        });
        found.find(|character| *character != ' ')
    }

    fn own(&self, character: char) -> Option<Place> {
        if character == ' ' {
            return Some(Place {
                code: 57,
                shift: false,
                alt_gr: false,
            });
        }
        for level in 0..4 {
            for (row, codes) in self.rows.iter().zip(ROWS) {
                let at = row[level].chars().position(|known| known == character);
                if let Some(code) = at.and_then(|at| codes.get(at)) {
                    return Some(Place {
                        code: *code,
                        shift: level & 1 != 0,
                        alt_gr: level & 2 != 0,
                    });
                }
            }
        }
        let more = self.more.iter().find(|(known, ..)| *known == character);
        more.map(|(_, code, shift, alt_gr)| Place {
            code: *code,
            shift: *shift,
            alt_gr: *alt_gr,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_as_long_as_keyboards_have_them() {
        for layout in &LAYOUTS {
            for (row, codes) in layout.rows.iter().zip(ROWS) {
                for level in &row[..2] {
                    let count = level.chars().count();
                    assert_eq!(count, codes.len(), "{}: {level:?}", layout.name);
                }
                for level in &row[2..] {
                    assert!(level.chars().count() <= codes.len(), "{}", layout.name);
                }
            }
        }
    }

    #[test]
    fn letters_and_digits_can_be_typed_everywhere() {
        for layout in &LAYOUTS {
            for character in ('0'..='9').chain("/.-:".chars()) {
                assert!(
                    layout.own(character).is_some(),
                    "{}: {character}",
                    layout.name
                );
            }
            for character in ('a'..='z').chain('A'..='Z') {
                assert!(
                    layout.find(character).is_some(),
                    "{}: {character}",
                    layout.name
                );
            }
        }
    }

    #[test]
    fn unknown_layout_is_named_beside_the_known_ones() {
        let line = Layout::named("klingon").unwrap_err().to_string();
        assert!(
            line.contains("klingon") && line.contains("en-us de"),
            "{line}"
        );
    }
}
