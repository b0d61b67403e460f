//! The sound card ES1370 (Ensoniq AudioPCI; ES1370 specification, AK4531 data sheet): two DACs and an ADC that hears nothing.
//!
//! ```text
//!   BAR 0: control, status, codec, serial interface, sample counts      page 12, 13: each channel's buffer and place in it
//!   enabled: every 10 ms of guest time samples are taken from the buffers, mixed, played
//!      count of samples at its end --> status, and the interrupt pin while the channel's interrupt is enabled
//! ```
//! Both DACs play at once, each at its own rate. The mixer's registers are kept and do nothing; there is no MIDI and no joystick.

use super::{Frame, Speaker, RATE};
use crate::device::{Device, Memory, Region, Turn, Width};
use crate::pci::{self, Bar, BarKind, Function, Identity, Pci};
use crate::state::StateError;
use serde::{Deserialize, Serialize};
use serde_json::Value;

const VERSION: u64 = 1;
/// ns of guest time between two looks.
const PERIOD: u64 = 10_000_000;
/// Frames played at a time at most: what is more than that late is left out.
const AT_ONCE: u64 = 4410;
/// Channels: DAC 1, DAC 2, ADC.
const CHANNELS: usize = 3;
const ADC: usize = 2;

/// Control register: each channel's enable.
const ENABLE: [u32; CHANNELS] = [1 << 6, 1 << 5, 1 << 4];
/// Serial interface: each channel's interrupt, pause, "stop at the end", format (stereo, 16 bits).
const INTERRUPT: [u32; CHANNELS] = [1 << 8, 1 << 9, 1 << 10];
const PAUSE: [u32; CHANNELS] = [1 << 11, 1 << 12, 0];
const ONCE: [u32; CHANNELS] = [1 << 13, 1 << 14, 1 << 15];
const FORMAT: [u32; CHANNELS] = [0, 2, 4];
/// Status: each channel's, and any.
const STATUS: [u32; CHANNELS] = [1 << 2, 1 << 1, 1];
const ANY: u32 = 1 << 31;
/// The fixed rates of DAC 1.
const FIXED: [u32; 4] = [5512, 11_025, 22_050, 44_100];
/// What the rate of DAC 2 is divided from.
const CLOCK: u32 = 1_411_200;
/// Registers of the codec.
const CODEC: usize = 0x1a;

/// A channel: its buffer in guest memory, and where it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Channel {
    /// Address of the buffer.
    frame: u32,
    /// Dwords of the buffer less one, and how far it is.
    size: u16,
    at: u16,
    /// Bytes taken of the dword that it is at.
    byte: u8,
    /// Samples until the interrupt, less one, as they were written and as they are.
    count: u16,
    left: u16,
    interrupt: bool,
    /// It has come to its end, and stops there.
    over: bool,
    /// What is left of the step to its next sample, in parts of [`RATE`].
    phase: u32,
    /// What it plays now.
    now: Frame,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    control: u32,
    serial: u32,
    page: u8,
    codec: Vec<u8>,
    channels: [Channel; CHANNELS],
    /// When it was looked at last, ns; while a channel is enabled.
    since: u64,
    pin: bool,
}

impl Default for State {
    fn default() -> State {
        State {
            control: 1,
            serial: 0,
            page: 0,
            codec: vec![0; CODEC],
            channels: [Channel::default(); CHANNELS],
            since: 0,
            pin: false,
        }
    }
}

/// The card.
#[derive(Debug)]
pub struct Es1370 {
    function: Function,
    state: State,
    speaker: Box<dyn Speaker>,
}

impl Es1370 {
    /// Switched on, with something to play into.
    pub fn new(speaker: Box<dyn Speaker>) -> Es1370 {
        let identity = Identity {
            vendor: 0x1274,
            device: 0x5000,
            class: 0x04_0100,
            revision: 0,
            subsystem: (0x4942, 0x4c4c),
            pin: 1,
            multifunction: false,
        };
        let ports = Some(Bar {
            kind: BarKind::Io,
            size: 64,
        });
        Es1370 {
            function: Function::new(identity, [ports, None, None, None, None, None]),
            state: State::default(),
            speaker,
        }
    }

    fn runs(&self, channel: usize) -> bool {
        self.state.control & ENABLE[channel] != 0
            && self.state.serial & PAUSE[channel] == 0
            && !self.state.channels[channel].over
    }

    fn is_enabled(&self) -> bool {
        (0..CHANNELS).any(|channel| self.runs(channel))
    }

    /// Samples a second.
    fn rate(&self, channel: usize) -> u32 {
        match channel {
            0 => FIXED[(self.state.control >> 12 & 3) as usize],
            _ => CLOCK / ((self.state.control >> 16 & 0x1fff) + 2),
        }
    }

    /// Plays what is due.
    fn catch_up(&mut self, turn: &mut Turn) {
        if !self.is_enabled() {
            self.state.since = turn.now;
            return;
        }
        let passed = turn.now.saturating_sub(self.state.since);
        let due = passed.saturating_mul(RATE.into()) / 1_000_000_000;
        if due == 0 {
            return;
        }
        self.state.since = match due > AT_ONCE {
            true => turn.now,
            // What is left of a frame counts for the next one.
            false => self.state.since + (due * 1_000_000_000).div_ceil(RATE.into()),
        };
        let mut frames = vec![Frame::default(); due.min(AT_ONCE) as usize];
        let mut plays = false;
        for channel in 0..CHANNELS {
            if !self.runs(channel) {
                continue;
            }
            plays |= channel != ADC;
            for frame in &mut frames {
                self.step(channel, turn.memory);
                if channel != ADC {
                    let now = self.state.channels[channel].now;
                    for (sum, sample) in frame.iter_mut().zip(now) {
                        *sum = sum.saturating_add(sample);
                    }
                }
            }
        }
        if plays {
            self.speaker.play(&frames);
        }
        self.settle(turn);
    }

    /// One frame of time passes for a channel.
    fn step(&mut self, channel: usize, memory: &dyn Memory) {
        // Faster than its clock no converter is, and no step takes more than a few samples.
        let rate = self.rate(channel).min(4 * RATE);
        self.state.channels[channel].phase += rate;
        while self.state.channels[channel].phase >= RATE {
            self.state.channels[channel].phase -= RATE;
            match self.runs(channel) && self.function.is_master() {
                true => self.sample(channel, memory),
                false => self.state.channels[channel].now = Frame::default(),
            }
        }
    }

    /// A channel's next sample.
    fn sample(&mut self, number: usize, memory: &dyn Memory) {
        let format = self.state.serial >> FORMAT[number] & 3;
        let (stereo, wide) = (format & 1 != 0, format & 2 != 0);
        let length = (1 + usize::from(stereo)) * (1 + usize::from(wide));
        let channel = &mut self.state.channels[number];
        let at = u64::from(channel.frame) + u64::from(channel.at) * 4 + u64::from(channel.byte);
        let mut bytes = [0; 4];
        let bytes = &mut bytes[..length];
        if number == ADC {
            // Silence: the middle of eight bits is 128.
            bytes.fill(if wide { 0 } else { 0x80 });
            // A guest that records beyond its memory records nothing.
            let _ = memory.write(at, bytes);
        } else {
            if memory.read(at, bytes).is_err() {
                bytes.fill(if wide { 0 } else { 0x80 });
            }
            let one = |place: usize| match wide {
                true => i16::from_le_bytes([bytes[place * 2], bytes[place * 2 + 1]]),
                false => (i16::from(bytes[place]) - 128) * 256,
            };
            channel.now = [one(0), one(usize::from(stereo))];
        }
        channel.byte += length as u8;
        if channel.byte >= 4 {
            channel.byte = 0;
            channel.at = match channel.at >= channel.size {
                true => 0,
                false => channel.at + 1,
            };
        }
        match channel.left.checked_sub(1) {
            Some(left) => channel.left = left,
            None => {
                channel.left = channel.count;
                channel.over = self.state.serial & ONCE[number] != 0;
                channel.interrupt |= self.state.serial & INTERRUPT[number] != 0;
            }
        }
    }

    fn status(&self) -> u32 {
        let pairs = self.state.channels.iter().zip(STATUS);
        let bits = pairs.fold(0, |bits, (channel, status)| match channel.interrupt {
            true => bits | status,
            false => bits,
        });
        match bits {
            0 => 0,
            bits => bits | ANY,
        }
    }

    fn settle(&mut self, turn: &mut Turn) {
        let level = self.status() != 0;
        turn.set_pin(&mut self.state.pin, level);
    }

    fn set_control(&mut self, value: u32) {
        let begins = value & !self.state.control;
        self.state.control = value;
        for (channel, enable) in self.state.channels.iter_mut().zip(ENABLE) {
            if begins & enable != 0 {
                (channel.left, channel.over, channel.phase) = (channel.count, false, 0);
                channel.now = Frame::default();
            }
        }
    }

    fn set_serial(&mut self, value: u32) {
        self.state.serial = value & 0x3f_ffff;
        for (number, channel) in self.state.channels.iter_mut().enumerate() {
            // So an interrupt is taken back.
            channel.interrupt &= value & INTERRUPT[number] != 0;
        }
    }

    /// The dword at `offset`, a multiple of 4.
    fn register(&self, offset: u64) -> u32 {
        let state = &self.state;
        match offset {
            0x00 => state.control,
            0x04 => self.status(),
            0x0c => state.page.into(),
            0x20 => state.serial,
            0x24 | 0x28 | 0x2c => {
                let channel = &state.channels[(offset as usize - 0x24) / 4];
                u32::from(channel.left) << 16 | u32::from(channel.count)
            }
            0x30..=0x3f => match self.paged(offset) {
                Some((number, false)) => state.channels[number].frame,
                Some((number, true)) => {
                    let channel = &state.channels[number];
                    u32::from(channel.at) << 16 | u32::from(channel.size)
                }
                None => 0,
            },
            _ => 0,
        }
    }

    /// The channel whose buffer is at `offset` of the page, and whether it is its size.
    fn paged(&self, offset: u64) -> Option<(usize, bool)> {
        match (self.state.page, offset & !3) {
            (0xc, 0x30) => Some((0, false)),
            (0xc, 0x34) => Some((0, true)),
            (0xc, 0x38) => Some((1, false)),
            (0xc, 0x3c) => Some((1, true)),
            (0xd, 0x30) => Some((ADC, false)),
            (0xd, 0x34) => Some((ADC, true)),
            _ => None,
        }
    }

    fn put(&mut self, offset: u64, value: u32) {
        match offset {
            0x00 => self.set_control(value),
            0x0c => self.state.page = value as u8 & 0xf,
            0x10 => {
                let [data, register, ..] = value.to_le_bytes();
                if let Some(kept) = self.state.codec.get_mut(usize::from(register)) {
                    *kept = data;
                }
            }
            0x20 => self.set_serial(value),
            0x24 | 0x28 | 0x2c => {
                let channel = &mut self.state.channels[(offset as usize - 0x24) / 4];
                (channel.count, channel.left) = (value as u16, value as u16);
            }
            0x30..=0x3f => {
                if let Some((number, is_size)) = self.paged(offset) {
                    let channel = &mut self.state.channels[number];
                    match is_size {
                        false => channel.frame = value & !3,
                        true => {
                            (channel.size, channel.at) = (value as u16, (value >> 16) as u16);
                            channel.byte = 0;
                        }
                    }
                }
            }
            _ => {}
        }
    }
}

impl Pci for Es1370 {
    fn function(&mut self) -> &mut Function {
        &mut self.function
    }
}

impl Device for Es1370 {
    fn name(&self) -> &str {
        "es1370"
    }

    fn pci(&mut self) -> Option<&mut dyn Pci> {
        Some(self)
    }

    fn read(&mut self, _region: Region, offset: u64, width: Width, turn: &mut Turn) -> u32 {
        self.catch_up(turn);
        let whole = self.register(offset & !3);
        (whole >> (8 * (offset & 3))) & width.mask()
    }

    fn write(&mut self, _region: Region, offset: u64, width: Width, value: u32, turn: &mut Turn) {
        self.catch_up(turn);
        let (first, shift) = (offset & !3, 8 * (offset & 3));
        // An access of four bytes may begin anywhere; what crosses into the next register is left out.
        let mask = width.mask() << shift;
        let before = match first {
            // Not read back.
            0x10 => 0,
            _ => self.register(first),
        };
        self.put(first, before & !mask | value << shift);
        self.settle(turn);
    }

    fn next(&self) -> Option<u64> {
        let at = self.state.since.saturating_add(PERIOD);
        self.is_enabled().then_some(at)
    }

    fn tick(&mut self, turn: &mut Turn) {
        self.catch_up(turn);
    }

    fn reset(&mut self, turn: &mut Turn) {
        self.function.reset();
        let pin = self.state.pin;
        self.state = State {
            pin,
            since: turn.now,
            ..State::default()
        };
        self.settle(turn);
    }

    fn save(&self) -> Value {
        self.function.wrap(VERSION, &self.state)
    }

    fn restore(&mut self, saved: &Value) -> Result<(), StateError> {
        let (config, state) = pci::unwrap::<State>(self.name(), VERSION, saved)?;
        let wild =
            |channel: &Channel| channel.byte > 3 || channel.phase >= RATE || channel.frame & 3 != 0;
        if state.codec.len() != CODEC || state.page > 0xf || state.channels.iter().any(wild) {
            return Err(StateError::wrong("es1370", "registers that cannot be so"));
        }
        self.function.restore(&config, "es1370")?;
        self.state = state;
        Ok(())
    }
}
