//! The Sound Blaster 16 (Creative, "Sound Blaster Series Hardware Programming Guide"; DSP 4.05, mixer CT1745), an ISA card at port 0x220.
//!
//! ```text
//!   0x224, 0x225 mixer.rs: registers, which interrupt, which DMA channels, what interrupts
//!   0x226 reset   0x22a answers   0x22c commands --dsp.rs--> Job: direction, format, block
//!   Job, each 10 ms of guest time and at the end of a block: samples from the DMA channel --> frames, played
//!      block over --> interrupt, until 0x22e (8 bits) or 0x22f (16 bits) is read
//! ```
//! It hears silence. Volumes are kept and do nothing; there is no FM, MIDI, CD, game port or ADPCM.

mod dsp;
mod mixer;
#[cfg(any(test, feature = "conformance"))]
pub mod subject;
#[cfg(test)]
mod tests;

use super::{Frame, Speaker, RATE};
use crate::device::{Device, Effect, Memory, Ports, Region, Turn, Width};
use crate::isa_dma::{IsaDma, Line};
use crate::state::{self, StateError};
use dsp::Dsp;
use mixer::Mixer;
use serde::{Deserialize, Serialize};
use serde_json::Value;

const VERSION: u64 = 1;
const PORTS: &[Ports] = &[Ports {
    first: 0x220,
    count: 16,
}];
/// ns of guest time between two looks at most, and at least.
const PERIOD: u64 = 10_000_000;
const SHORTEST: u64 = 200_000;
/// Frames played at a time at most: what is more than that late is left out.
const AT_ONCE: u64 = 4410;
/// ns for which a sample that a program wrote itself (command 0x10) is held without another one.
const HELD: u64 = 50_000_000;

/// Samples on their way through a DMA channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Job {
    /// From the card into memory.
    input: bool,
    wide: bool,
    stereo: bool,
    signed: bool,
    /// Begins again at the end of a block.
    again: bool,
    /// Nothing is moved: silence for as long.
    silent: bool,
    /// Bytes of a block, and of this one to come.
    length: u32,
    left: u32,
}

impl Job {
    /// Bytes of a frame.
    fn unit(&self) -> u32 {
        (1 + u32::from(self.wide)) * (1 + u32::from(self.stereo))
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    dsp: Dsp,
    mixer: Mixer,
    job: Option<Job>,
    paused: bool,
    /// Interrupts that are not acknowledged: of 8 bits, of 16 bits.
    pending: [bool; 2],
    /// The ISA line that is up.
    line: Option<u8>,
    /// What a program wrote itself, and until when it is held, ns.
    direct: u64,
    /// What is left of the step to the next sample, in parts of [`RATE`].
    phase: u32,
    /// What it plays now.
    now: Frame,
    /// When it was looked at last, ns; while something plays.
    since: u64,
}

/// The card.
#[derive(Debug)]
pub struct Sb16 {
    state: State,
    /// Its ways to all channels; the mixer says which it uses.
    channels: [Line; 8],
    speaker: Box<dyn Speaker>,
}

impl Sb16 {
    /// Switched on, at the DMA controllers of its machine, with something to play into.
    pub fn new(dma: &IsaDma, speaker: Box<dyn Speaker>) -> Sb16 {
        Sb16 {
            state: State::default(),
            channels: [0, 1, 2, 3, 4, 5, 6, 7].map(|channel| dma.line(channel)),
            speaker,
        }
    }

    /// The job, if it moves now.
    fn running(&self) -> Option<&Job> {
        self.state.job.as_ref().filter(|_| !self.state.paused)
    }

    fn is_active(&self) -> bool {
        self.running().is_some() || self.state.since < self.state.direct
    }

    /// Plays what is due.
    fn catch_up(&mut self, turn: &mut Turn) {
        if !self.is_active() {
            self.state.since = turn.now;
            return;
        }
        let passed = turn.now.saturating_sub(self.state.since);
        let due = passed.saturating_mul(RATE.into()) / 1_000_000_000;
        if due == 0 {
            return;
        }
        let is_held = self.state.since < self.state.direct;
        self.state.since = match due > AT_ONCE {
            true => turn.now,
            // What is left of a frame counts for the next one.
            false => self.state.since + (due * 1_000_000_000).div_ceil(RATE.into()),
        };
        let mut frames = Vec::with_capacity(due.min(AT_ONCE) as usize);
        for _ in 0..due.min(AT_ONCE) {
            let is_heard = match self.running() {
                Some(job) => {
                    let is_heard = !job.input;
                    self.step(turn.memory);
                    is_heard
                }
                None => is_held,
            };
            if is_heard {
                frames.push(self.state.now);
            }
        }
        if !frames.is_empty() {
            self.speaker.play(&frames);
        }
        self.settle(turn);
    }

    /// One frame of time passes.
    fn step(&mut self, memory: &dyn Memory) {
        self.state.phase += self.state.dsp.rate();
        while self.state.phase >= RATE {
            self.state.phase -= RATE;
            match self.running() {
                Some(job) => self.sample(*job, memory),
                None => self.state.now = Frame::default(),
            }
        }
    }

    /// The next sample of the job.
    fn sample(&mut self, mut job: Job, memory: &dyn Memory) {
        let unit = job.unit() as usize;
        let mut bytes = [0; 4];
        let bytes = &mut bytes[..unit];
        bytes.fill(match (job.wide, job.signed) {
            (false, false) => 0x80,
            _ => 0,
        });
        if !job.silent {
            let channel = self.state.mixer.channel(job.wide);
            let Some(channel) = channel.map(|channel| &self.channels[usize::from(channel)]) else {
                return;
            };
            let moved = match job.input {
                true => channel.give(bytes, memory),
                false => channel.take(bytes, memory),
            };
            if moved.bytes == 0 {
                // The channel is not ready: the card waits for it.
                self.state.now = Frame::default();
                return;
            }
        }
        self.state.now = match job.input || job.silent {
            true => Frame::default(),
            false => heard(&job, bytes),
        };
        job.left = job.left.saturating_sub(unit as u32);
        if job.left == 0 {
            self.state.pending[usize::from(job.wide)] = true;
            job.left = job.length;
        }
        let over = job.left == job.length && !job.again;
        self.state.job = (!over).then_some(job);
    }

    /// Brings its interrupt line to what is pending.
    fn settle(&mut self, turn: &mut Turn) {
        let wanted = match self.state.pending.contains(&true) {
            true => self.state.mixer.line(),
            false => None,
        };
        if wanted == self.state.line {
            return;
        }
        if let Some(line) = std::mem::replace(&mut self.state.line, wanted) {
            turn.effects.push(Effect::Line(line, false));
        }
        if let Some(line) = wanted {
            turn.effects.push(Effect::Line(line, true));
        }
    }

    fn read_byte(&mut self, offset: u64) -> u8 {
        match offset {
            0x4 => self.state.mixer.index,
            0x5 => self.state.mixer.read(self.state.pending),
            0xa => self.state.dsp.answer(),
            // Never busy.
            0xc => 0x7f,
            0xe => {
                self.state.pending[0] = false;
                match self.state.dsp.has_answer() {
                    true => 0xff,
                    false => 0x7f,
                }
            }
            0xf => {
                self.state.pending[1] = false;
                0xff
            }
            _ => 0xff,
        }
    }

    fn write_byte(&mut self, offset: u64, value: u8, turn: &mut Turn) {
        match offset {
            0x4 => self.state.mixer.index = value,
            0x5 => self.state.mixer.write(value),
            0x6 if self.state.dsp.reset_port(value) => {
                self.state.job = None;
                self.state.paused = false;
                self.state.pending = [false; 2];
                self.state.direct = 0;
                self.state.now = Frame::default();
            }
            0xc => {
                if let Some((command, arguments)) = self.state.dsp.take(value) {
                    self.command(command, arguments, turn);
                }
            }
            _ => {}
        }
    }
}

/// What bytes of a job sound like.
fn heard(job: &Job, bytes: &[u8]) -> Frame {
    let one = |place: usize| match (job.wide, job.signed) {
        (true, true) => i16::from_le_bytes([bytes[place * 2], bytes[place * 2 + 1]]),
        (true, false) => {
            (u16::from_le_bytes([bytes[place * 2], bytes[place * 2 + 1]]) ^ 0x8000) as i16
        }
        (false, true) => i16::from(bytes[place] as i8) * 256,
        (false, false) => (i16::from(bytes[place]) - 128) * 256,
    };
    [one(0), one(usize::from(job.stereo))]
}

impl Device for Sb16 {
    fn name(&self) -> &str {
        "sb16"
    }

    fn ports(&self) -> &[Ports] {
        PORTS
    }

    fn read(&mut self, _region: Region, offset: u64, width: Width, turn: &mut Turn) -> u32 {
        self.catch_up(turn);
        let value = (0..width.bytes() as u64).fold(0, |value, index| {
            value | u32::from(self.read_byte(offset + index)) << (8 * index)
        });
        self.settle(turn);
        value
    }

    fn write(&mut self, _region: Region, offset: u64, width: Width, value: u32, turn: &mut Turn) {
        self.catch_up(turn);
        for (at, byte) in (offset..).zip(&value.to_le_bytes()[..width.bytes()]) {
            self.write_byte(at, *byte, turn);
        }
        self.settle(turn);
    }

    fn next(&self) -> Option<u64> {
        let wait = match self.running() {
            Some(job) => {
                let samples = u64::from(job.left.div_ceil(job.unit()));
                let over = (samples * 1_000_000_000).div_ceil(self.state.dsp.rate().into());
                over.clamp(SHORTEST, PERIOD)
            }
            None => PERIOD,
        };
        self.is_active()
            .then_some(self.state.since.saturating_add(wait))
    }

    fn tick(&mut self, turn: &mut Turn) {
        self.catch_up(turn);
    }

    fn reset(&mut self, turn: &mut Turn) {
        self.state = State {
            line: self.state.line,
            since: turn.now,
            ..State::default()
        };
        self.settle(turn);
    }

    fn save(&self) -> Value {
        state::wrap(VERSION, &self.state)
    }

    fn restore(&mut self, saved: &Value) -> Result<(), StateError> {
        let (_, state): (_, State) = state::unwrap(self.name(), VERSION, saved)?;
        let wild = |job: &Job| {
            // 64 Ki samples of two bytes.
            !(1..=0x2_0000).contains(&job.length) || !(1..=job.length).contains(&job.left)
        };
        if state.job.as_ref().is_some_and(wild)
            || state.phase >= RATE
            || state.line.is_some_and(|line| line > 15)
            || state.dsp.is_wild()
            || state.mixer.is_wild()
        {
            return Err(StateError::wrong("sb16", "registers that cannot be so"));
        }
        self.state = state;
        Ok(())
    }
}
