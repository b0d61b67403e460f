//! The card for the conformance suite: what its driver does to play and to record.

use super::es1370::Es1370;
use super::Silence;
use crate::conformance::{Step, Subject};
use crate::device::{Device, Region, Turn, Width};

/// A card that nobody listens to.
#[derive(Debug, Clone, Copy)]
pub struct Card;

/// Where the samples are.
pub const SAMPLES: u64 = 0x4000;

/// The guest writes a register.
pub fn out(offset: u64, value: u32) -> Step {
    Step::Write(Region::Bar(0), offset, Width::Dword, value)
}

/// DAC 2 plays `dwords` from [`SAMPLES`] over and over: format (1 stereo, 2 wide), rate, samples to an interrupt.
pub fn play(dwords: u16, format: u32, rate: u32, samples: u16) -> Vec<Step> {
    vec![
        out(0x0c, 0xc),
        out(0x38, SAMPLES as u32),
        out(0x3c, u32::from(dwords) - 1),
        out(0x28, u32::from(samples) - 1),
        out(0x20, 1 << 9 | format << 2),
        out(0x00, (1_411_200 / rate - 2) << 16 | 1 << 5 | 3),
    ]
}

impl Subject for Card {
    type Device = Es1370;

    fn make(&self) -> Es1370 {
        Es1370::new(Box::new(Silence))
    }

    fn happen(&self, device: &mut Es1370, _choice: u8, turn: &mut Turn) {
        device.attend(turn);
    }

    fn moves(&self) -> Vec<Vec<Step>> {
        let record = vec![
            out(0x0c, 0xd),
            out(0x30, 0x8000),
            out(0x34, 63),
            out(0x2c, 99),
            out(0x20, 1 << 10 | 3 << 4),
            out(0x00, 30 << 16 | 1 << 4),
            Step::Pass(30_000_000),
        ];
        let mut played = play(64, 3, 44_100, 200);
        played.extend([
            Step::Pass(25_000_000),
            out(0x20, 3 << 2),
            out(0x20, 1 << 9 | 3 << 2),
        ]);
        vec![play(3, 0, 8000, 1), played, record]
    }
}
