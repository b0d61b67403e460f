//! Keys: from what a viewer says (a keysym of X, or a scancode) to Linux' codes of a keyboard.
//!
//! ```text
//!   scancode (QEMU's extension) ----------------------------> code       the viewer knows which key it was
//!   keysym --keysym.rs--> named key, or character --layout--> code, level
//!                                                     shift or AltGr held otherwise? pressed or let go around the key
//! ```
//! A key that goes up is the one that went down, whatever its keysym has become meanwhile.

mod keysym;
mod layout;
mod layouts;
mod scancode;
mod typist;

pub use layout::{Layout, UnknownLayout};
pub use typist::{Typed, Typist};

use noxen_control::screen::Input;

/// Left shift.
const SHIFT: u16 = 42;
/// Right shift.
const RIGHT_SHIFT: u16 = 54;
/// Right Alt, AltGr.
const ALT_GR: u16 = 100;
/// Caps lock.
const CAPS: u16 = 58;
/// Keys that one viewer can hold at a time.
const HELD: usize = 32;

/// What a keysym stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    /// A key that is the same everywhere.
    Key(u16),
    /// A character; where its key is, the layout knows.
    Character(char),
}

/// The keyboard of one viewer.
#[derive(Debug)]
pub struct Keyboard {
    layout: &'static Layout,
    /// What the viewer called it, and its code. A scancode's name is 0.
    held: Vec<(u32, u16)>,
    caps: bool,
}

impl Keyboard {
    /// No key is down.
    pub fn new(layout: &'static Layout) -> Keyboard {
        Keyboard {
            layout,
            held: Vec::new(),
            caps: false,
        }
    }

    fn holds(&self, code: u16) -> bool {
        self.held.iter().any(|(_, held)| *held == code)
    }

    fn send(&mut self, code: u16, pressed: bool, inputs: &mut Vec<Input>) {
        inputs.push(Input::Key {
            code: code.into(),
            pressed,
        });
    }

    /// A key by its keysym; what the layout does not have is lost.
    pub fn keysym(&mut self, keysym: u32, pressed: bool, inputs: &mut Vec<Input>) {
        if !pressed {
            if let Some(at) = self.held.iter().position(|(name, _)| *name == keysym) {
                let (_, code) = self.held.remove(at);
                self.release(code, inputs);
            }
            return;
        }
        match keysym::meaning(keysym) {
            Some(Meaning::Key(code)) => self.press(keysym, code, inputs),
            Some(Meaning::Character(character)) => {
                if let Some(place) = self.layout.find(character) {
                    self.type_at(keysym, place, character, inputs);
                }
            }
            None => {}
        }
    }

    /// A key by its scancode of set 1, 0x80 added where 0xe0 comes first; unknown ones are lost.
    pub fn scancode(&mut self, scancode: u32, pressed: bool, inputs: &mut Vec<Input>) {
        let Some(code) = scancode::code(scancode) else {
            return;
        };
        if pressed {
            self.press(0, code, inputs);
        } else if let Some(at) = self.held.iter().position(|(_, held)| *held == code) {
            self.held.remove(at);
            self.release(code, inputs);
        }
    }

    fn press(&mut self, name: u32, code: u16, inputs: &mut Vec<Input>) {
        // A key that is held repeats.
        let known = self.held.contains(&(name, code));
        if !known {
            if self.held.len() == HELD {
                return;
            }
            if code == CAPS && !self.holds(CAPS) {
                self.caps = !self.caps;
            }
            self.held.push((name, code));
        }
        self.send(code, true, inputs);
    }

    /// Up, unless the same key is held under another name.
    fn release(&mut self, code: u16, inputs: &mut Vec<Input>) {
        if !self.holds(code) {
            self.send(code, false, inputs);
        }
    }

    /// Presses the key at `place` in such a way that it gives `character`, whatever the viewer holds.
    fn type_at(
        &mut self,
        name: u32,
        place: layout::Place,
        character: char,
        inputs: &mut Vec<Input>,
    ) {
        let shifted = self.holds(SHIFT) || self.holds(RIGHT_SHIFT);
        let wanted = place.shift ^ (self.caps && character.is_alphabetic());
        // Ctrl-a and Alt-F are no characters: what is held with them is meant as it is.
        let plain = ![29, 97, 56].into_iter().any(|code| self.holds(code));
        let mut around = Vec::new();
        if plain && wanted && !shifted {
            around.push((SHIFT, true));
        }
        if plain && !wanted && shifted {
            let held = [SHIFT, RIGHT_SHIFT]
                .into_iter()
                .filter(|code| self.holds(*code));
            around.extend(held.map(|code| (code, false)));
        }
        if plain && place.alt_gr != self.holds(ALT_GR) {
            around.push((ALT_GR, place.alt_gr));
        }
        for (code, pressed) in &around {
            self.send(*code, *pressed, inputs);
        }
        self.press(name, place.code, inputs);
        for (code, pressed) in around.iter().rev() {
            self.send(*code, !*pressed, inputs);
        }
    }

    /// Lets go of everything: the viewer is gone.
    pub fn release_all(&mut self, inputs: &mut Vec<Input>) {
        let mut codes: Vec<u16> = self.held.drain(..).map(|(_, code)| code).collect();
        codes.sort_unstable();
        codes.dedup();
        for code in codes {
            self.send(code, false, inputs);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(layout: &str, keys: &[(u32, bool)]) -> Vec<(u32, bool)> {
        let mut keyboard = Keyboard::new(Layout::named(layout).unwrap());
        let mut inputs = Vec::new();
        for (keysym, pressed) in keys {
            keyboard.keysym(*keysym, *pressed, &mut inputs);
        }
        keyboard.release_all(&mut inputs);
        let key = |input| match input {
            Input::Key { code, pressed } => (code, pressed),
            other => panic!("{other:?}"),
        };
        inputs.into_iter().map(key).collect()
    }

    #[test]
    fn letters_lie_where_the_layout_has_them() {
        for (layout, code) in [("en-us", 44), ("de", 21), ("fr", 17)] {
            let z = typed(layout, &[('z' as u32, true), ('z' as u32, false)]);
            assert_eq!(z, [(code, true), (code, false)], "{layout}");
        }
    }

    #[test]
    fn shift_is_added_and_taken_away_where_the_viewer_holds_it_otherwise() {
        // "A" without shift, as programs type it.
        let a = typed("en-us", &[(0x41, true), (0x41, false)]);
        assert_eq!(a, [(42, true), (30, true), (42, false), (30, false)]);
        // A viewer with an English keyboard and a guest with a German one: " is shift and 2 there, shift and ' here.
        let quote = typed(
            "de",
            &[(0xffe1, true), (0x22, true), (0x22, false), (0xffe1, false)],
        );
        assert_eq!(quote, [(42, true), (3, true), (3, false), (42, false)]);
        // ; without shift, shift and , in German.
        let semicolon = typed("de", &[(0x3b, true)]);
        assert_eq!(
            semicolon,
            [(42, true), (51, true), (42, false), (51, false)]
        );
        // / is shift and 7 in German, but ' held with shift in English gives " without a shift of its own in French.
        let at = typed("de", &[(0x40, true), (0x40, false)]);
        assert_eq!(at, [(100, true), (16, true), (100, false), (16, false)]);
    }

    #[test]
    fn key_that_goes_up_is_the_one_that_went_down() {
        // Shift goes up first, so the viewer calls the key "a" then.
        let keys = typed(
            "en-us",
            &[(0xffe1, true), (0x41, true), (0xffe1, false), (0x61, false)],
        );
        assert_eq!(keys, [(42, true), (30, true), (42, false), (30, false)]);
    }

    #[test]
    fn control_takes_keys_as_they_are() {
        let keys = typed(
            "en-us",
            &[(0xffe3, true), (0x43, true), (0x43, false), (0xffe3, false)],
        );
        assert_eq!(keys, [(29, true), (46, true), (46, false), (29, false)]);
    }

    #[test]
    fn caps_lock_of_the_guest_is_followed() {
        let keys = typed(
            "en-us",
            &[(0xffe5, true), (0xffe5, false), (0x41, true), (0x41, false)],
        );
        assert_eq!(keys, [(58, true), (58, false), (30, true), (30, false)]);
    }

    #[test]
    fn scancodes_need_no_layout() {
        let mut keyboard = Keyboard::new(Layout::named("de").unwrap());
        let mut inputs = Vec::new();
        for scancode in [0x1e, 0xc8, 0xb8, 0, 0x1234_5678] {
            keyboard.scancode(scancode, true, &mut inputs);
        }
        keyboard.scancode(0xc8, false, &mut inputs);
        let codes: Vec<_> = inputs
            .iter()
            .map(|input| match input {
                Input::Key { code, pressed } => (*code, *pressed),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(codes, [(30, true), (103, true), (100, true), (103, false)]);
    }

    #[test]
    fn viewer_holds_no_more_keys_than_a_keyboard_has_fingers() {
        let down: Vec<_> = (0..200).map(|index| (0xffbe + index % 20, true)).collect();
        let keys = typed("en-us", &down);
        assert!(keys.iter().filter(|(_, pressed)| !pressed).count() <= HELD);
        let letters: Vec<_> = (0x21..0x7f).map(|keysym| (keysym, true)).collect();
        let up = typed("en-us", &letters);
        assert!(
            up.iter()
                .filter(|(code, pressed)| !pressed && *code != 42)
                .count()
                <= HELD
        );
    }
}
