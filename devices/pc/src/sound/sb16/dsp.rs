//! The card's processor: commands with their arguments, answers.
//!
//! ```text
//!   byte --take--> a command that lacks arguments waits for them --> Sb16::command: one entry of the list
//!   answers wait until they are read; a reset answers 0xaa
//! ```

use super::{Job, Sb16, HELD};
use crate::device::{Effect, Turn};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Version, as a card of 1993 told it: the last without surprises.
const DSP_VERSION: [u8; 2] = [4, 5];
/// What command 0xe3 tells.
const COPYRIGHT: &[u8] = b"COPYRIGHT (C) CREATIVE TECHNOLOGY LTD, 1992.\0";
/// A reset that worked.
const READY: u8 = 0xaa;
/// Samples a second, least and most (command 0x41).
const RATES: std::ops::RangeInclusive<u32> = 5000..=45_454;
/// Answers that wait at most.
const ANSWERS: usize = 64;
/// Arguments of a command at most.
const ARGUMENTS: usize = 3;

/// The processor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Dsp {
    /// What was last written to the reset port.
    reset: u8,
    /// A command whose arguments are not all there.
    command: Option<u8>,
    arguments: Vec<u8>,
    answers: VecDeque<u8>,
    /// What a read finds when nothing waits: the last answer.
    last: u8,
    /// Test register.
    test: u8,
    speaker: bool,
    /// Samples a second of one channel.
    rate: u32,
    /// Block of commands that name none, bytes less one (command 0x48).
    block: u16,
}

impl Default for Dsp {
    fn default() -> Dsp {
        Dsp {
            reset: 0,
            command: None,
            arguments: Vec::new(),
            answers: VecDeque::new(),
            last: 0xff,
            test: 0,
            speaker: false,
            rate: 11_025,
            block: 0,
        }
    }
}

/// How many arguments a command has.
fn arguments(command: u8) -> usize {
    match command {
        0x10 | 0x38 | 0x40 | 0xe0 | 0xe4 => 1,
        0x14 | 0x24 | 0x41 | 0x42 | 0x48 | 0x80 => 2,
        0xb0..=0xcf => 3,
        _ => 0,
    }
}

impl Dsp {
    /// Samples a second.
    pub fn rate(&self) -> u32 {
        self.rate
    }

    fn set_rate(&mut self, rate: u32) {
        self.rate = rate.clamp(*RATES.start(), *RATES.end());
    }

    /// A byte at the reset port. True: the processor was reset.
    pub fn reset_port(&mut self, value: u8) -> bool {
        let before = std::mem::replace(&mut self.reset, value);
        let was_reset = before & 1 != 0 && value & 1 == 0;
        if was_reset {
            *self = Dsp {
                reset: value,
                answers: [READY].into(),
                last: self.last,
                test: self.test,
                ..Dsp::default()
            };
        }
        was_reset
    }

    /// A byte for it; a command that has all it needs now.
    pub fn take(&mut self, byte: u8) -> Option<(u8, [u8; ARGUMENTS])> {
        let command = match self.command {
            Some(command) => {
                self.arguments.push(byte);
                command
            }
            None => byte,
        };
        if self.arguments.len() < arguments(command) {
            self.command = Some(command);
            return None;
        }
        self.command = None;
        let mut given = [0; ARGUMENTS];
        for (place, argument) in given.iter_mut().zip(self.arguments.drain(..)) {
            *place = argument;
        }
        Some((command, given))
    }

    fn say(&mut self, bytes: &[u8]) {
        let room = ANSWERS - self.answers.len();
        self.answers.extend(bytes.iter().take(room));
    }

    /// The next answer.
    pub fn answer(&mut self) -> u8 {
        self.last = self.answers.pop_front().unwrap_or(self.last);
        self.last
    }

    /// One waits.
    pub fn has_answer(&self) -> bool {
        !self.answers.is_empty()
    }

    /// No processor is so.
    pub fn is_wild(&self) -> bool {
        let waits_for_nothing = match self.command {
            Some(command) => self.arguments.len() >= arguments(command),
            None => !self.arguments.is_empty(),
        };
        waits_for_nothing || self.answers.len() > ANSWERS || !RATES.contains(&self.rate)
    }
}

impl Sb16 {
    /// Does what a program asks for.
    pub(super) fn command(&mut self, command: u8, [a, b, c]: [u8; ARGUMENTS], turn: &mut Turn) {
        let low_first = u16::from_le_bytes([a, b]);
        let dsp = &mut self.state.dsp;
        match command {
            // One sample, by hand.
            0x10 => {
                let level = (i16::from(a) - 128) * 256;
                self.state.now = [level; 2];
                self.state.direct = turn.now.saturating_add(HELD);
            }
            // One sample of silence.
            0x20 => dsp.say(&[0x80]),
            // 8 bits by DMA: one block of that length, or over and over blocks of the length of 0x48.
            0x14 | 0x24 => self.begin(narrow(command, false, low_first)),
            0x1c | 0x2c | 0x90 | 0x98 => {
                let block = dsp.block;
                self.begin(narrow(command, true, block));
            }
            0x91 | 0x99 => {
                let block = dsp.block;
                self.begin(narrow(command, false, block));
            }
            // MIDI leads nowhere.
            0x38 => {}
            0x40 => dsp.set_rate(1_000_000 / (256 - u32::from(a))),
            0x41 | 0x42 => dsp.set_rate(u16::from_be_bytes([a, b]).into()),
            0x48 => dsp.block = low_first,
            0x80 => self.begin(Job {
                silent: true,
                ..narrow(0x14, false, low_first)
            }),
            0xb0..=0xcf => {
                let wide = command < 0xc0;
                let samples = u32::from(u16::from_le_bytes([b, c])) + 1;
                let length = samples * (1 + u32::from(wide));
                self.begin(Job {
                    input: command & 8 != 0,
                    wide,
                    stereo: a & 0x20 != 0,
                    signed: a & 0x10 != 0,
                    again: command & 4 != 0,
                    silent: false,
                    length,
                    left: length,
                });
            }
            0xd0 | 0xd5 => self.state.paused = true,
            0xd4 | 0xd6 => self.state.paused = false,
            0xd1 => dsp.speaker = true,
            0xd3 => dsp.speaker = false,
            0xd8 => {
                let on = if dsp.speaker { 0xff } else { 0 };
                dsp.say(&[on]);
            }
            // Go on over and over; end with this block.
            0x45 | 0x47 | 0xd9 | 0xda => {
                if let Some(job) = &mut self.state.job {
                    job.again = matches!(command, 0x45 | 0x47);
                }
            }
            0xe0 => dsp.say(&[!a]),
            0xe1 => dsp.say(&DSP_VERSION),
            0xe3 => dsp.say(COPYRIGHT),
            0xe4 => dsp.test = a,
            0xe8 => {
                let test = dsp.test;
                dsp.say(&[test]);
            }
            // Programs ask for an interrupt to find its line.
            0xf2 => self.state.pending[0] = true,
            0xf3 => self.state.pending[1] = true,
            0xf8 => dsp.say(&[0]),
            other => turn.effects.push(Effect::Log(format!(
                "sb16: command {other:#04x} is not built, and does nothing"
            ))),
        }
    }

    fn begin(&mut self, job: Job) {
        self.state.job = Some(job);
        self.state.paused = false;
        self.state.phase = 0;
        self.state.now = Default::default();
    }
}

/// A job of 8 unsigned bits; the length is bytes less one.
fn narrow(command: u8, again: bool, length: u16) -> Job {
    let length = u32::from(length) + 1;
    Job {
        input: matches!(command, 0x24 | 0x2c | 0x98 | 0x99),
        wide: false,
        stereo: false,
        signed: false,
        again,
        silent: false,
        length,
        left: length,
    }
}
