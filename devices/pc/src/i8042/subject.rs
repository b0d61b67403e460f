//! The controller for the conformance suite: keys, movements, and what drivers do.

use super::I8042;
use crate::conformance::{Step, Subject};
use crate::device::{Device, Region, Touch, Turn, Width};

/// Somebody at the keyboard.
#[derive(Debug, Clone, Copy)]
pub struct Somebody;

/// The guest writes a byte: 0 to 0x60, 1 to 0x64.
pub fn out(port: usize, value: u8) -> Step {
    Step::Write(Region::Ports(port), 0, Width::Byte, value.into())
}

/// The guest reads a byte.
pub fn take(port: usize) -> Step {
    Step::Read(Region::Ports(port), 0, Width::Byte)
}

impl Subject for Somebody {
    type Device = I8042;

    fn make(&self) -> I8042 {
        I8042::new()
    }

    fn happen(&self, device: &mut I8042, choice: u8, turn: &mut Turn) {
        let away = i32::from(choice) - 128;
        let touch = match choice % 4 {
            0 => Touch::Key {
                code: u16::from(choice / 4) * 2,
                pressed: choice & 0x40 != 0,
            },
            1 => Touch::Key {
                code: 0x110 + u16::from(choice / 4 % 5),
                pressed: choice & 0x40 != 0,
            },
            2 => Touch::Motion {
                x: away * 5,
                y: away,
                wheel: away % 3,
            },
            _ => Touch::Position {
                x: away * 5,
                y: away,
                wheel: 0,
                width: 640,
                height: 480,
            },
        };
        device.touch(touch, turn);
    }

    fn moves(&self) -> Vec<Vec<Step>> {
        let mouse = |value| [out(1, 0xd4), out(0, value), take(0), take(1)];
        let wheel = [0xf3, 200, 0xf3, 100, 0xf3, 80, 0xf2, 0xf4];
        vec![
            wheel.into_iter().flat_map(mouse).collect(),
            vec![
                out(0, 0xff),
                take(0),
                take(0),
                out(0, 0xf4),
                take(0),
                Step::Happen(0x44),
                take(0),
            ],
            vec![
                out(1, 0x60),
                out(0, 0x03),
                out(0, 0xf0),
                out(0, 1),
                take(0),
                take(0),
            ],
            vec![
                out(1, 0xaa),
                take(0),
                out(1, 0xd1),
                out(0, 0xdd),
                out(1, 0xdf),
                out(1, 0xd0),
                take(0),
            ],
            vec![
                Step::Happen(0x22),
                Step::Happen(0x41),
                take(1),
                take(0),
                take(0),
                take(0),
                take(0),
            ],
        ]
    }
}
