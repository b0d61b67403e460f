//! Keys the other way round: from codes of a keyboard to what a terminal sends for them.
//!
//! ```text
//!   code, pressed --held: shift, AltGr, Ctrl, caps lock--> layout --> character --> bytes
//! ```

use super::{Layout, ALT_GR, CAPS, RIGHT_SHIFT, SHIFT};

const CTRL: u16 = 29;
const RIGHT_CTRL: u16 = 97;
const ALT: u16 = 56;
const PAGE_UP: u16 = 104;
const PAGE_DOWN: u16 = 109;
/// Keys of which it matters whether they are held.
const MODIFIERS: [u16; 6] = [SHIFT, RIGHT_SHIFT, CTRL, RIGHT_CTRL, ALT, ALT_GR];

/// What a key is to a terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Typed {
    /// It sends these bytes.
    Bytes(Vec<u8>),
    /// Older lines are to be seen, half a screen further up or down.
    Scroll {
        /// Up.
        up: bool,
    },
    /// Ctrl-Alt with this digit (1 to 9).
    Switch(u8),
}

/// Who types at a terminal of ours.
#[derive(Debug)]
pub struct Typist {
    layout: &'static Layout,
    held: Vec<u16>,
    caps: bool,
    caps_held: bool,
}

impl Typist {
    /// Nothing is held.
    pub fn new(layout: &'static Layout) -> Typist {
        Typist {
            layout,
            held: Vec::new(),
            caps: false,
            caps_held: false,
        }
    }

    fn holds(&self, codes: &[u16]) -> bool {
        codes.iter().any(|code| self.held.contains(code))
    }

    /// A key goes down (again, while it repeats) or up. `application`: arrow keys are an application's.
    pub fn key(&mut self, code: u16, pressed: bool, application: bool) -> Option<Typed> {
        if MODIFIERS.contains(&code) {
            self.held.retain(|held| *held != code);
            if pressed {
                self.held.push(code);
            }
            return None;
        }
        if code == CAPS {
            self.caps ^= pressed && !self.caps_held;
            self.caps_held = pressed;
            return None;
        }
        if !pressed {
            return None;
        }
        let (shift, ctrl) = (
            self.holds(&[SHIFT, RIGHT_SHIFT]),
            self.holds(&[CTRL, RIGHT_CTRL]),
        );
        match code {
            2..=10 if ctrl && self.holds(&[ALT]) => return Some(Typed::Switch(code as u8 - 1)),
            PAGE_UP | PAGE_DOWN if shift => {
                return Some(Typed::Scroll {
                    up: code == PAGE_UP,
                })
            }
            _ => {}
        }
        let mut bytes = Vec::new();
        if self.holds(&[ALT]) {
            bytes.push(0x1b);
        }
        match named(code, application) {
            Some(text) => bytes.extend_from_slice(text.as_bytes()),
            None => {
                let character = self.character(code, shift)?;
                match controlled(character).filter(|_| ctrl) {
                    Some(byte) => bytes.push(byte),
                    None => bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
                }
            }
        }
        Some(Typed::Bytes(bytes))
    }

    fn character(&self, code: u16, shift: bool) -> Option<char> {
        let alt_gr = self.holds(&[ALT_GR]);
        let plain = self.layout.character(code, shift, alt_gr)?;
        if self.caps && plain.is_alphabetic() {
            return self.layout.character(code, !shift, alt_gr);
        }
        Some(plain)
    }
}

/// The control character of a character's key.
fn controlled(character: char) -> Option<u8> {
    match character.to_ascii_uppercase() {
        upper @ '@'..='_' => Some(upper as u8 & 0x1f),
        ' ' => Some(0),
        '?' => Some(0x7f),
        _ => None,
    }
}

/// What keys without a character send (xterm's sequences, of VT220s).
fn named(code: u16, application: bool) -> Option<&'static str> {
    let arrow = |plain, of_application| match application {
        true => of_application,
        false => plain,
    };
    Some(match code {
        1 => "\x1b",
        14 => "\x7f",
        15 => "\t",
        28 | 96 => "\r",
        103 => arrow("\x1b[A", "\x1bOA"),
        108 => arrow("\x1b[B", "\x1bOB"),
        106 => arrow("\x1b[C", "\x1bOC"),
        105 => arrow("\x1b[D", "\x1bOD"),
        102 => "\x1b[1~",
        110 => "\x1b[2~",
        111 => "\x1b[3~",
        107 => "\x1b[4~",
        PAGE_UP => "\x1b[5~",
        PAGE_DOWN => "\x1b[6~",
        59 => "\x1bOP",
        60 => "\x1bOQ",
        61 => "\x1bOR",
        62 => "\x1bOS",
        63 => "\x1b[15~",
        64 => "\x1b[17~",
        65 => "\x1b[18~",
        66 => "\x1b[19~",
        67 => "\x1b[20~",
        68 => "\x1b[21~",
        87 => "\x1b[23~",
        88 => "\x1b[24~",
        // The keypad, with its digits.
        55 => "*",
        74 => "-",
        78 => "+",
        98 => "/",
        71 => "7",
        72 => "8",
        73 => "9",
        75 => "4",
        76 => "5",
        77 => "6",
        79 => "1",
        80 => "2",
        81 => "3",
        82 => "0",
        83 => ".",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::Keyboard;
    use super::*;
    use noxen_control::screen::Input;

    /// What a terminal gets of keysyms that a viewer sends.
    fn typed(layout: &str, keysyms: &[(u32, bool)]) -> Vec<Typed> {
        let layout = Layout::named(layout).unwrap();
        let (mut keyboard, mut typist) = (Keyboard::new(layout), Typist::new(layout));
        let mut inputs = Vec::new();
        for (keysym, pressed) in keysyms {
            keyboard.keysym(*keysym, *pressed, &mut inputs);
        }
        let key = |input: &Input| match *input {
            Input::Key { code, pressed } => typist.key(code as u16, pressed, false),
            _ => None,
        };
        inputs.iter().filter_map(key).collect()
    }

    fn text(layout: &str, text: &str) -> String {
        let keysym = |character: char| match character {
            '\n' => 0xff0d,
            '\u{8}' => 0xff08,
            other if (other as u32) < 0x100 => other as u32,
            other => 0x0100_0000 + other as u32,
        };
        let keys: Vec<_> = text
            .chars()
            .map(keysym)
            .flat_map(|keysym| [(keysym, true), (keysym, false)])
            .collect();
        let bytes = typed(layout, &keys)
            .into_iter()
            .flat_map(|typed| match typed {
                Typed::Bytes(bytes) => bytes,
                other => panic!("{other:?}"),
            });
        String::from_utf8(bytes.collect()).unwrap()
    }

    #[test]
    fn what_is_typed_arrives_whatever_the_layout() {
        let line = "info Block; change hdc /srv/a_b-c.iso \"x\" @{}~|<>";
        for layout in ["en-us", "de", "fr"] {
            assert_eq!(text(layout, line), line, "{layout}");
        }
        assert_eq!(text("de", "äÖß€"), "äÖß€");
        assert_eq!(text("en-us", "a\u{8}\n"), "a\x7f\r");
    }

    #[test]
    fn control_and_alt_make_what_terminals_send() {
        let ctrl_c = typed("en-us", &[(0xffe3, true), (0x63, true), (0x63, false)]);
        assert_eq!(ctrl_c, [Typed::Bytes(vec![3])]);
        let alt_f = typed("en-us", &[(0xffe9, true), (0x66, true)]);
        assert_eq!(alt_f, [Typed::Bytes(b"\x1bf".to_vec())]);
        let up = typed("en-us", &[(0xff52, true)]);
        assert_eq!(up, [Typed::Bytes(b"\x1b[A".to_vec())]);
    }

    #[test]
    fn digits_with_control_and_alt_switch() {
        for layout in ["en-us", "fr"] {
            let held = [(0xffe3, true), (0xffe9, true)];
            // A French keyboard has the digits with shift; viewers send them with the keys held as they are.
            let keys = [&held[..], &[(0x32, true), (0x32, false)]].concat();
            assert_eq!(typed(layout, &keys), [Typed::Switch(2)], "{layout}");
        }
        let scroll = typed("en-us", &[(0xffe1, true), (0xff55, true)]);
        assert_eq!(scroll, [Typed::Scroll { up: true }]);
    }

    #[test]
    fn caps_lock_is_followed_as_the_guest_follows_it() {
        let keys = [
            (0xffe5, true),
            (0xffe5, false),
            (0x41, true),
            (0x41, false),
            (0x61, true),
            (0x31, true),
        ];
        let bytes = |text: &str| Typed::Bytes(text.as_bytes().to_vec());
        assert_eq!(typed("en-us", &keys), [bytes("A"), bytes("a"), bytes("1")]);
    }
}
