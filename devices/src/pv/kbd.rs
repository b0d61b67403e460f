//! Keyboard and pointer back end (public/io/kbdif.h): input of a viewer becomes events of the guest.
//!
//! ```text
//!   viewer: key, move, place --> pending (bounded; movements are merged) --> in ring --> guest
//! ```
//! A front end that asks for absolute positions (`request-abs-pointer`) gets them, scaled by itself to
//! the `width` and `height` that we announce; any other gets movements.

use super::events::{Event, EventError, Events, Place, EVENT};
use noxen_pv_abi::codec::AbiValue;
use noxen_pv_abi::kbdif::{
    KbdKey, KbdMotion, KbdPosition, KbdType, IN_RING_LEN, IN_RING_OFFS, OUT_RING_LEN, OUT_RING_OFFS,
};
use std::collections::VecDeque;
use vm_memory::{GuestAddress, GuestMemoryBackend};

/// Events kept for a guest that does not read; later ones are lost.
pub const PENDING: usize = 256;

/// What the back end writes before it waits for a front end, for a screen of that size.
pub fn offered(width: u32, height: u32) -> Vec<(&'static str, String)> {
    vec![
        ("feature-abs-pointer", "1".to_owned()),
        ("width", width.to_string()),
        ("height", height.to_string()),
    ]
}

/// Something that a person did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// A key or button, by its Linux input code.
    Key {
        /// Code.
        code: u32,
        /// Down.
        pressed: bool,
    },
    /// The pointer moved by that much; `wheel` in clicks.
    Motion {
        /// To the right.
        x: i32,
        /// Down.
        y: i32,
        /// Wheel.
        wheel: i32,
    },
    /// The pointer is there.
    Position {
        /// From the left.
        x: i32,
        /// From the top.
        y: i32,
        /// Wheel.
        wheel: i32,
    },
}

/// One keyboard and pointer.
#[derive(Debug)]
pub struct Keyboard {
    events: Events,
    absolute: bool,
    /// The last position told, for front ends that want movements.
    last: Option<(i32, i32)>,
    pending: VecDeque<Input>,
}

impl Keyboard {
    /// On the page at `page`; `absolute`: the front end wrote `request-abs-pointer` = 1.
    pub fn new<M: GuestMemoryBackend>(
        memory: &M,
        page: GuestAddress,
        absolute: bool,
    ) -> Result<Keyboard, EventError> {
        let inward = Place {
            at: IN_RING_OFFS as u64,
            length: IN_RING_LEN,
        };
        let outward = Place {
            at: OUT_RING_OFFS as u64,
            length: OUT_RING_LEN,
        };
        Ok(Keyboard {
            events: Events::new(memory, page, inward, outward)?,
            absolute,
            last: None,
            pending: VecDeque::new(),
        })
    }

    /// The last position told, and what is pending: what another goes on with ([`Self::take_up`]).
    pub fn state(&self) -> (Option<(i32, i32)>, Vec<Input>) {
        (self.last, self.pending.iter().copied().collect())
    }

    /// Goes on where another stood; what is too much to be pending is lost.
    pub fn take_up(&mut self, last: Option<(i32, i32)>, pending: &[Input]) {
        self.last = last;
        self.pending = pending.iter().copied().take(PENDING).collect();
    }

    /// The front end takes positions as they are.
    pub fn is_absolute(&self) -> bool {
        self.absolute
    }

    /// Takes an input; false: too much is pending, it is lost.
    pub fn push(&mut self, input: Input) -> bool {
        let input = self.fit(input);
        if let Some(merged) = self.pending.back().and_then(|last| merge(*last, input)) {
            self.pending.pop_back();
            self.pending.push_back(merged);
            return true;
        }
        if self.pending.len() == PENDING {
            return false;
        }
        self.pending.push_back(input);
        true
    }

    /// A position as the front end wants it.
    fn fit(&mut self, input: Input) -> Input {
        let Input::Position { x, y, wheel } = input else {
            return input;
        };
        let before = self.last.replace((x, y)).unwrap_or((x, y));
        if self.absolute {
            return input;
        }
        Input::Motion {
            x: x.wrapping_sub(before.0),
            y: y.wrapping_sub(before.1),
            wheel,
        }
    }

    /// Hands the guest what fits; true: notify it. Call it after [`Self::push`] and when the guest notified.
    pub fn service<M: GuestMemoryBackend>(&mut self, memory: &M) -> Result<bool, EventError> {
        // No event of this direction has a meaning; what is there is taken so that it does not stop the guest.
        for _ in 0..OUT_RING_LEN {
            if self.events.take(memory)?.is_none() {
                break;
            }
        }
        let mut notify = false;
        while let Some(input) = self.pending.front() {
            if !self.events.put(memory, &encode(*input))? {
                break;
            }
            self.pending.pop_front();
            notify = true;
        }
        Ok(notify)
    }
}

/// Two movements in a row are as good as one.
fn merge(first: Input, second: Input) -> Option<Input> {
    match (first, second) {
        (
            Input::Motion { x, y, wheel },
            Input::Motion {
                x: x2,
                y: y2,
                wheel: wheel2,
            },
        ) => Some(Input::Motion {
            x: x.checked_add(x2)?,
            y: y.checked_add(y2)?,
            wheel: wheel.checked_add(wheel2)?,
        }),
        (Input::Position { wheel, .. }, Input::Position { x, y, wheel: more }) => {
            Some(Input::Position {
                x,
                y,
                wheel: wheel.checked_add(more)?,
            })
        }
        _ => None,
    }
}

fn encode(input: Input) -> Event {
    let mut event = [0; EVENT];
    match input {
        Input::Key { code, pressed } => {
            let mut key = KbdKey::ZERO;
            key.kind = KbdType::KEY.0;
            key.pressed = u8::from(pressed);
            key.keycode = code;
            key.encode(&mut event);
        }
        Input::Motion { x, y, wheel } => {
            let mut motion = KbdMotion::ZERO;
            motion.kind = KbdType::MOTION.0;
            (motion.rel_x, motion.rel_y, motion.rel_z) = (x, y, wheel);
            motion.encode(&mut event);
        }
        Input::Position { x, y, wheel } => {
            let mut position = KbdPosition::ZERO;
            position.kind = KbdType::POS.0;
            (position.abs_x, position.abs_y, position.rel_z) = (x, y, wheel);
            position.encode(&mut event);
        }
    }
    event
}

#[cfg(test)]
mod tests {
    use super::*;
    use vm_memory::{Bytes, GuestMemoryMmap};

    fn keyboard(absolute: bool) -> (GuestMemoryMmap, Keyboard) {
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x1000)]).unwrap();
        let keyboard = Keyboard::new(&memory, GuestAddress(0), absolute).unwrap();
        (memory, keyboard)
    }

    fn event(memory: &GuestMemoryMmap, index: u64) -> Event {
        let mut event = [0; EVENT];
        let at = GuestAddress(1024 + index * EVENT as u64);
        memory.read_slice(&mut event, at).unwrap();
        event
    }

    #[test]
    fn key_and_position_reach_the_ring_as_kbdif_has_them() {
        let (memory, mut keyboard) = keyboard(true);
        let key = Input::Key {
            code: 30,
            pressed: true,
        };
        assert!(keyboard.push(key));
        assert!(keyboard.push(Input::Position {
            x: 400,
            y: 300,
            wheel: -1
        }));
        assert!(keyboard.service(&memory).unwrap());
        assert_eq!(event(&memory, 0)[..8], [3, 1, 0, 0, 30, 0, 0, 0]);
        let position = KbdPosition::decode(&event(&memory, 1));
        assert_eq!((position.kind, position.rel_z), (4, -1));
        assert_eq!((position.abs_x, position.abs_y), (400, 300));
        assert!(!keyboard.service(&memory).unwrap());
    }

    #[test]
    fn front_end_without_absolute_pointer_gets_movements() {
        let (memory, mut keyboard) = keyboard(false);
        for (x, y) in [(100, 100), (110, 95), (120, 95)] {
            keyboard.push(Input::Position { x, y, wheel: 0 });
        }
        keyboard.service(&memory).unwrap();
        let motion = KbdMotion::decode(&event(&memory, 0));
        assert_eq!((motion.kind, motion.rel_x, motion.rel_y), (1, 20, -5));
        assert_eq!(memory.read_obj::<u32>(GuestAddress(4)).unwrap(), 1);
    }

    #[test]
    fn guest_that_does_not_read_loses_only_what_exceeds_the_bound() {
        let (memory, mut keyboard) = keyboard(true);
        let mut taken = 0;
        for code in 0..1000 {
            let pressed = code % 2 == 0;
            taken += usize::from(keyboard.push(Input::Key { code, pressed }));
            keyboard.service(&memory).unwrap();
        }
        assert_eq!(taken, PENDING + IN_RING_LEN as usize);
        memory.write_obj(IN_RING_LEN, GuestAddress(0)).unwrap();
        assert!(keyboard.service(&memory).unwrap());
        assert_eq!(KbdKey::decode(&event(&memory, 0)).keycode, IN_RING_LEN);
    }
}
