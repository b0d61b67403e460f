//! What a person does, as reports of a human interface device (USB HID 1.11, usage tables 1.12).
//!
//! ```text
//!   touch --> queue, neighbours with the same buttons put together --take()--> report, at most 8 bytes
//! ```

use super::hid::Kind;
use crate::device::Touch;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Most changes that wait for the guest.
const QUEUE: usize = 16;
/// Largest value of a place.
pub const RANGE: i32 = 0x7fff;
/// A coordinate or a movement is never beyond that.
const LIMIT: i32 = 1 << 20;

/// Buttons by their Linux codes, in the order of their bits: left, right, middle.
const BUTTONS: [u16; 3] = [0x110, 0x111, 0x112];
/// First code that is no key of a keyboard.
const FIRST_BUTTON: u16 = 0x100;

/// Linux codes of usages 4 to 103 (keyboard page); 0: none.
const CODES: [u8; 100] = [
    30, 48, 46, 32, 18, 33, 34, 35, 23, 36, 37, 38, 50, 49, 24, 25, 16, 19, 31, 20, 22, 47, 17, 45,
    21, 44, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 28, 1, 14, 15, 57, 12, 13, 26, 27, 43, 0, 39, 40, 41,
    51, 52, 53, 58, 59, 60, 61, 62, 63, 64, 65, 66, 67, 68, 87, 88, 99, 70, 119, 110, 102, 104,
    111, 107, 109, 106, 105, 108, 103, 69, 98, 55, 74, 78, 96, 79, 80, 81, 75, 76, 77, 71, 72, 73,
    82, 83, 86, 127, 116, 117,
];
/// Those of Japanese and Korean keyboards: usage, code.
const FAR_CODES: [(u8, u8); 7] = [
    (135, 89),
    (136, 93),
    (137, 124),
    (138, 92),
    (139, 94),
    (144, 122),
    (145, 123),
];
/// Codes of the modifiers, in the order of their bits: usages 224 to 231.
const MODIFIERS: [u8; 8] = [29, 42, 56, 125, 97, 54, 100, 126];
/// The last one's usage; no key has a higher one.
const LAST_USAGE: u8 = 231;
/// In place of six keys when more are down.
const ROLL_OVER: u8 = 1;

/// A change: of a pointer (x, y, wheel, buttons), or a keyboard's whole report.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Change {
    x: i32,
    y: i32,
    wheel: i32,
    buttons: u8,
    keys: [u8; 8],
}

/// What a device has to tell.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reports {
    queue: VecDeque<Change>,
    /// As the last report told.
    told: Change,
    /// As it is now.
    now: Change,
    /// Keys that are down, by usage.
    down: Vec<u8>,
    /// Where a viewer's pointer was, for movements.
    pointer: Option<(i32, i32)>,
}

impl Reports {
    /// Takes what a person did; false if a device of this kind does not.
    pub fn touch(&mut self, kind: Kind, touch: Touch) -> bool {
        match (kind, touch) {
            (Kind::Keyboard, Touch::Key { code, pressed }) if code < FIRST_BUTTON => {
                self.key(code, pressed);
                true
            }
            (Kind::Keyboard, _) => false,
            (_, Touch::Key { code, pressed }) => {
                let Some(bit) = BUTTONS.iter().position(|button| *button == code) else {
                    return false;
                };
                let buttons = self.now.buttons & !(1 << bit) | u8::from(pressed) << bit;
                self.now.buttons = buttons;
                self.pointed(kind, None, 0);
                true
            }
            (
                Kind::Tablet,
                Touch::Position {
                    x,
                    y,
                    wheel,
                    width,
                    height,
                },
            ) => {
                let place = (scaled(x, width), scaled(y, height));
                self.pointed(kind, Some(place), wheel);
                true
            }
            (Kind::Tablet, Touch::Motion { .. }) => false,
            (Kind::Mouse, Touch::Motion { x, y, wheel }) => {
                self.pointed(kind, Some((x, y)), wheel);
                true
            }
            (Kind::Mouse, Touch::Position { x, y, wheel, .. }) => {
                let before = self.pointer.replace((x, y)).unwrap_or((x, y));
                let moved = (x.saturating_sub(before.0), y.saturating_sub(before.1));
                self.pointed(kind, Some(moved), wheel);
                true
            }
        }
    }

    /// A pointer is at `place`, or moved by it.
    fn pointed(&mut self, kind: Kind, place: Option<(i32, i32)>, wheel: i32) {
        let clamp = |value: i32| value.clamp(-LIMIT, LIMIT);
        let (x, y) = match (kind, place) {
            (Kind::Tablet, None) => (self.now.x, self.now.y),
            (_, None) => (0, 0),
            (_, Some((x, y))) => (clamp(x), clamp(y)),
        };
        if kind == Kind::Tablet {
            (self.now.x, self.now.y) = (x, y);
        }
        let change = Change {
            x,
            y,
            wheel: clamp(wheel),
            buttons: self.now.buttons,
            keys: [0; 8],
        };
        let full = self.queue.len() >= QUEUE;
        match self.queue.back_mut() {
            Some(last) if full || last.buttons == change.buttons => {
                if kind == Kind::Tablet {
                    (last.x, last.y) = (x, y);
                } else {
                    (last.x, last.y) = (clamp(last.x + x), clamp(last.y + y));
                }
                last.wheel = clamp(last.wheel + change.wheel);
                last.buttons = change.buttons;
            }
            _ => self.queue.push_back(change),
        }
    }

    fn key(&mut self, code: u16, pressed: bool) {
        let Some(usage) = usage(code) else { return };
        let was = self.down.contains(&usage);
        match (pressed, was) {
            (true, false) => self.down.push(usage),
            (false, true) => self.down.retain(|other| *other != usage),
            _ => return,
        }
        let mut keys = [0; 8];
        let mut next = 2;
        for usage in &self.down {
            match usage {
                224.. => keys[0] |= 1 << (usage - 224),
                _ if next < keys.len() => {
                    keys[next] = *usage;
                    next += 1;
                }
                _ => keys[2..].fill(ROLL_OVER),
            }
        }
        self.now.keys = keys;
        if self.queue.len() >= QUEUE {
            self.queue.pop_back();
        }
        self.queue.push_back(self.now);
    }

    /// The next report, if there is something new.
    pub fn take(&mut self, kind: Kind) -> Option<Vec<u8>> {
        let first = self.queue.front_mut()?;
        // A report holds movements up to 127; the rest is the next one's.
        let part = |left: &mut i32| {
            let part = (*left).clamp(-127, 127);
            *left -= part;
            part
        };
        let mut told = *first;
        told.wheel = part(&mut first.wheel);
        let mut done = first.wheel == 0;
        if kind == Kind::Mouse {
            (told.x, told.y) = (part(&mut first.x), part(&mut first.y));
            done &= (first.x, first.y) == (0, 0);
        }
        if done {
            self.queue.pop_front();
        }
        self.told = told;
        Some(bytes(kind, told))
    }

    /// The last report once more, without its movements.
    pub fn again(&self, kind: Kind) -> Vec<u8> {
        let mut told = self.told;
        told.wheel = 0;
        if kind == Kind::Mouse {
            (told.x, told.y) = (0, 0);
        }
        bytes(kind, told)
    }

    /// The device was reset: what waits is gone, what is down stays so.
    pub fn reset(&mut self) {
        self.queue.clear();
        self.told = Change::default();
    }

    /// No device has such.
    pub fn is_wild(&self) -> bool {
        let wild = |change: &Change| {
            [change.x, change.y, change.wheel]
                .iter()
                .any(|value| value.unsigned_abs() > LIMIT as u32)
        };
        self.queue.len() > QUEUE
            || self.down.len() > 256
            || self.down.iter().any(|usage| *usage > LAST_USAGE)
            || self.queue.iter().chain([&self.told, &self.now]).any(wild)
    }
}

/// A pixel of `of` as a place from 0 to [`RANGE`].
fn scaled(at: i32, of: u32) -> i32 {
    let last = i64::from(of.max(2)) - 1;
    let at = i64::from(at).clamp(0, last);
    (at * i64::from(RANGE) / last) as i32
}

fn usage(code: u16) -> Option<u8> {
    let code = u8::try_from(code).ok().filter(|code| *code != 0)?;
    let near = CODES.iter().position(|other| *other == code);
    let far = || FAR_CODES.iter().find(|(_, other)| *other == code);
    let held = || MODIFIERS.iter().position(|other| *other == code);
    near.map(|at| at as u8 + 4)
        .or_else(|| far().map(|(usage, _)| *usage))
        .or_else(|| held().map(|at| at as u8 + 224))
}

fn bytes(kind: Kind, told: Change) -> Vec<u8> {
    match kind {
        Kind::Keyboard => told.keys.to_vec(),
        Kind::Mouse => vec![
            told.buttons,
            told.x as u8,
            told.y as u8,
            // The wheel turns up with positive values (usage tables, 4.2).
            (-told.wheel) as u8,
        ],
        Kind::Tablet => {
            let [x, more_x, ..] = told.x.clamp(0, RANGE).to_le_bytes();
            let [y, more_y, ..] = told.y.clamp(0, RANGE).to_le_bytes();
            vec![told.buttons, x, more_x, y, more_y, (-told.wheel) as u8]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(x: i32, y: i32) -> Touch {
        Touch::Position {
            x,
            y,
            wheel: 0,
            width: 640,
            height: 480,
        }
    }

    fn key(code: u16, pressed: bool) -> Touch {
        Touch::Key { code, pressed }
    }

    #[test]
    fn corners_of_the_screen_are_those_of_the_tablet() {
        let mut reports = Reports::default();
        for (at, told) in [
            ((0, 0), [0, 0, 0, 0]),
            ((639, 479), [0xff, 0x7f, 0xff, 0x7f]),
        ] {
            assert!(reports.touch(Kind::Tablet, place(at.0, at.1)));
            let report = reports.take(Kind::Tablet).unwrap();
            assert_eq!(report[1..5], told);
        }
        assert_eq!(reports.take(Kind::Tablet), None);
        reports.touch(Kind::Tablet, place(-5, 9999));
        assert_eq!(
            reports.take(Kind::Tablet).unwrap()[1..5],
            [0, 0, 0xff, 0x7f]
        );
    }

    #[test]
    fn a_click_between_two_looks_is_told_whole() {
        let mut reports = Reports::default();
        reports.touch(Kind::Tablet, place(1, 1));
        reports.touch(Kind::Tablet, key(0x110, true));
        reports.touch(Kind::Tablet, key(0x110, false));
        let buttons: Vec<u8> = std::iter::from_fn(|| reports.take(Kind::Tablet))
            .map(|report| report[0])
            .collect();
        assert_eq!(buttons, [0, 1, 0]);
        assert!(!reports.touch(Kind::Tablet, key(30, true)));
    }

    #[test]
    fn far_movement_comes_in_parts() {
        let mut reports = Reports::default();
        let moved = Touch::Motion {
            x: 300,
            y: -1,
            wheel: 1,
        };
        assert!(reports.touch(Kind::Mouse, moved));
        let all: Vec<Vec<u8>> = std::iter::from_fn(|| reports.take(Kind::Mouse)).collect();
        assert_eq!(all, [[0, 127, 0xff, 0xff], [0, 127, 0, 0], [0, 46, 0, 0]]);
    }

    #[test]
    fn keys_have_their_usages_and_more_than_six_roll_over() {
        let mut reports = Reports::default();
        for code in [42, 30] {
            assert!(reports.touch(Kind::Keyboard, key(code, true)));
        }
        assert_eq!(reports.take(Kind::Keyboard).unwrap()[0], 2);
        let shifted = reports.take(Kind::Keyboard).unwrap();
        assert_eq!(shifted, [2, 0, 4, 0, 0, 0, 0, 0]);
        assert_eq!(reports.again(Kind::Keyboard), shifted);
        for code in 31..=36 {
            reports.touch(Kind::Keyboard, key(code, true));
        }
        let last = std::iter::from_fn(|| reports.take(Kind::Keyboard)).last();
        assert_eq!(last.unwrap(), [2, 0, 1, 1, 1, 1, 1, 1]);
        assert!(!reports.touch(Kind::Keyboard, key(0x110, true)));
        // A repeated key is down already.
        reports.touch(Kind::Keyboard, key(30, true));
        assert_eq!(reports.take(Kind::Keyboard), None);
    }

    #[test]
    fn queue_is_bounded_and_ends_with_how_things_are() {
        let mut reports = Reports::default();
        for turn in 0..100 {
            reports.touch(Kind::Mouse, key(0x110, turn % 2 == 0));
            reports.touch(Kind::Keyboard, key(30, turn % 2 == 0));
        }
        assert!(!reports.is_wild());
        assert_eq!(reports.queue.len(), QUEUE);
        assert_eq!(reports.queue.back().unwrap().keys[2], 0);
    }
}
