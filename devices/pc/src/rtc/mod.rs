//! The clock and its battery-backed RAM at ports 0x70 and 0x71 (Motorola MC146818A data sheet; IRQ 8).
//!
//! ```text
//!   0x70 index   0x71 data --> 0x00..0x09 time, alarm     calendar.rs: seconds <-> registers (BCD, 12 hours)
//!                              0x0a..0x0d registers A..D   rates, modes, flags, "RAM is valid"
//!                              0x0e..0x7f RAM              cmos.rs: what firmware finds there
//!
//!   catch_up(now): has a second, an alarm, a period gone by since the last look? --> flags PF, AF, UF
//!   flags & enables in B --> IRQF --> line 8; reading C clears them
//! ```
//! No timer runs for a flag that nobody waits for; flags are found out when somebody looks.

mod calendar;
mod cmos;
#[cfg(test)]
mod tests;

pub use cmos::{Boot, Firmware};

use crate::device::{Device, Effect, Ports, Region, Turn, Width};
use crate::state::{self, StateError};
use calendar::{Registers, CENTURY};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// ISA line.
const IRQ: u8 = 8;
const VERSION: u64 = 1;
const SECOND: u64 = 1_000_000_000;
/// How long before the next second UIP says that the registers are about to change: t_BUC + t_UC at 32.768 kHz (data sheet, table 4).
const UPDATE: u64 = 244_000 + 1_984_000;
/// Ticks of the time base in a second.
const TIME_BASE: u128 = 32_768;

const A: usize = 0x0a;
const B: usize = 0x0b;
const C: usize = 0x0c;
const D: usize = 0x0d;
const A_UIP: u8 = 0x80;
const B_SET: u8 = 0x80;
const B_PIE: u8 = 0x40;
const B_AIE: u8 = 0x20;
const B_UIE: u8 = 0x10;
const B_SQWE: u8 = 0x08;
/// What firmware finds there after a reset, and its answer to having been asleep: it resumes the system in memory.
const SHUTDOWN: usize = 0x0f;
const WOKEN: u8 = 0xfe;
const IRQF: u8 = 0x80;
const PF: u8 = 0x40;
const AF: u8 = 0x20;
const UF: u8 = 0x10;
const D_VRT: u8 = 0x80;

/// How the clock starts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Settings {
    /// What the clock showed when [`Turn::now`] was 0: seconds since 1970, in the time zone that the guest is to see
    /// (`localtime`, `rtc_timeoffset` and what an earlier guest had set are in it).
    pub seconds: i64,
    /// What firmware finds in the RAM.
    pub firmware: Firmware,
}

/// All that changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    index: u8,
    /// 128 bytes; those of the time are current only while the clock stands.
    bytes: Vec<u8>,
    /// The clock's time is `seconds` + (now + phase) / 1 s.
    seconds: i64,
    /// Below one second, ns.
    phase: u64,
    /// What a guest wrote into the weekday, less what it should be, modulo 7.
    weekday: u8,
    /// When the flags were last looked after.
    looked: u64,
    line: bool,
}

/// The clock.
#[derive(Debug)]
pub struct Rtc {
    settings: Settings,
    state: State,
}

impl Rtc {
    /// A clock whose battery never failed.
    pub fn new(settings: Settings) -> Rtc {
        let mut bytes = cmos::bytes(&settings.firmware);
        bytes[A] = 0x26;
        bytes[B] = 0x02;
        bytes[D] = D_VRT;
        Rtc {
            state: State {
                index: 0,
                bytes,
                seconds: settings.seconds,
                phase: 0,
                weekday: 0,
                looked: 0,
                line: false,
            },
            settings,
        }
    }

    /// The time base is held, by SET or by the divider's reset (data sheet, register A, DV2..DV0).
    fn stands(&self) -> bool {
        self.state.bytes[B] & B_SET != 0 || self.state.bytes[A] & 0x60 == 0x60
    }

    fn ticks(&self, now: u64) -> u64 {
        now.saturating_add(self.state.phase)
    }

    /// What the clock shows, in seconds since 1970.
    fn time(&self, now: u64) -> i64 {
        self.state
            .seconds
            .saturating_add((self.ticks(now) / SECOND) as i64)
    }

    /// When, in the time of [`Turn::now`], the clock will show `seconds`.
    fn when(&self, seconds: i64) -> Option<u64> {
        let ahead = u64::try_from(seconds.checked_sub(self.state.seconds)?).ok()?;
        ahead.checked_mul(SECOND)?.checked_sub(self.state.phase)
    }

    fn registers(&self, now: u64) -> Registers {
        Registers::of(self.time(now), self.state.weekday, self.state.bytes[B])
    }

    /// Periods that have gone by; none if the rate is 0 (data sheet, table 5).
    fn period(&self, now: u64) -> Option<u128> {
        let rate = self.rate()?;
        Some(u128::from(now) * TIME_BASE / u128::from(SECOND) / rate)
    }

    /// The period in ticks of the time base.
    fn rate(&self) -> Option<u128> {
        match self.state.bytes[A] & 0x0f {
            0 => None,
            // 3.90625 and 7.8125 ms, as rates 8 and 9.
            rate @ 1..=2 => Some(1 << (rate + 6)),
            rate => Some(1 << (rate - 1)),
        }
    }

    fn next_period(&self, now: u64) -> Option<u64> {
        let at = (self.period(now)? + 1) * self.rate()? * u128::from(SECOND);
        u64::try_from(at.div_ceil(TIME_BASE)).ok()
    }

    /// The next time after `now` at which an alarm goes off.
    fn next_alarm(&self, now: u64) -> Option<u64> {
        let alarm = [1, 3, 5].map(|at| self.state.bytes[at]);
        self.when(calendar::next_alarm(
            self.time(now),
            alarm,
            self.state.bytes[B],
        )?)
    }

    fn next_second(&self, now: u64) -> Option<u64> {
        self.when(self.time(now).checked_add(1)?)
    }

    /// Sets the flags of what happened since the last time.
    fn catch_up(&mut self, now: u64) {
        let looked = self.state.looked.min(now);
        let is_past = |at: Option<u64>| at.is_some_and(|at| at <= now);
        let mut flags = 0;
        if is_past(self.next_period(looked)) && self.state.bytes[A] & 0x60 != 0x60 {
            flags |= PF;
        }
        if !self.stands() {
            if is_past(self.next_alarm(looked)) {
                flags |= AF;
            }
            if is_past(self.next_second(looked)) {
                flags |= UF;
            }
        }
        self.state.bytes[C] |= flags;
        self.state.looked = now;
    }

    /// IRQF follows flags and enables, the line follows IRQF.
    fn settle(&mut self, turn: &mut Turn) {
        let level = self.state.bytes[C] & self.state.bytes[B] & (PF | AF | UF) != 0;
        self.state.bytes[C] = (self.state.bytes[C] & !IRQF) | if level { IRQF } else { 0 };
        if level != self.state.line {
            self.state.line = level;
            turn.effects.push(Effect::Line(IRQ, level));
        }
    }

    /// Puts the running time into the registers, where it can be changed.
    fn hold(&mut self, now: u64) {
        self.registers(now).write_to(&mut self.state.bytes);
    }

    /// The clock goes on from what the registers show, `fraction` ns into that second.
    fn release(&mut self, fraction: u64, turn: &mut Turn) {
        let before = self.time(turn.now);
        let registers = Registers::read_from(&self.state.bytes);
        let (seconds, weekday) = registers.meaning(self.state.bytes[B]);
        let into = turn.now % SECOND;
        self.state.phase = (fraction + SECOND - into) % SECOND;
        self.state.weekday = weekday;
        self.state.seconds = seconds.saturating_sub((self.ticks(turn.now) / SECOND) as i64);
        let moved = seconds.saturating_sub(before);
        if moved != 0 {
            turn.effects.push(Effect::ClockMoved(moved));
        }
    }

    fn read_data(&mut self, now: u64) -> u8 {
        let index = usize::from(self.state.index);
        match index {
            A => {
                let rising = !self.stands() && self.ticks(now) % SECOND >= SECOND - UPDATE;
                self.state.bytes[A] & !A_UIP | if rising { A_UIP } else { 0 }
            }
            C => {
                let flags = self.state.bytes[C];
                self.state.bytes[C] = 0;
                flags
            }
            _ if calendar::is_time(index) && !self.stands() => self.registers(now).get(index),
            _ => self.state.bytes[index],
        }
    }

    fn write_data(&mut self, value: u8, turn: &mut Turn) {
        let index = usize::from(self.state.index);
        let stood = self.stands();
        let fraction = self.ticks(turn.now) % SECOND;
        match index {
            A | B => {
                if !stood {
                    self.hold(turn.now);
                }
                let divider = self.state.bytes[A] & 0x60 == 0x60;
                let writable = if index == A { !A_UIP } else { 0xff };
                self.state.bytes[index] = value & writable;
                if self.state.bytes[B] & B_SET != 0 {
                    // Data sheet, register B: SET clears UIE.
                    self.state.bytes[B] &= !B_UIE;
                }
                // Half a second after the divider's reset comes the first update.
                let fraction = if divider { SECOND / 2 } else { fraction };
                if stood && !self.stands() {
                    self.release(fraction, turn);
                }
            }
            C | D => {}
            _ if calendar::is_time(index) && !stood => {
                self.hold(turn.now);
                self.state.bytes[index] = value;
                self.release(fraction, turn);
            }
            _ => self.state.bytes[index] = value,
        }
    }
}

impl Device for Rtc {
    fn name(&self) -> &str {
        "rtc"
    }

    fn ports(&self) -> &[Ports] {
        &[Ports {
            first: 0x70,
            count: 2,
        }]
    }

    fn read(&mut self, _region: Region, offset: u64, width: Width, turn: &mut Turn) -> u32 {
        if offset == 0 || width != Width::Byte {
            // The index cannot be read back.
            return width.mask();
        }
        self.catch_up(turn.now);
        let value = self.read_data(turn.now);
        self.settle(turn);
        value.into()
    }

    fn write(&mut self, _region: Region, offset: u64, width: Width, value: u32, turn: &mut Turn) {
        let [low, high, ..] = value.to_le_bytes();
        if offset == 0 {
            // Bit 7 masks NMI on a PC; nothing here raises one.
            self.state.index = low & 0x7f;
        }
        let data = match (offset, width) {
            (0, Width::Byte) => return,
            (0, _) => high,
            _ => low,
        };
        self.catch_up(turn.now);
        self.write_data(data, turn);
        self.settle(turn);
    }

    fn next(&self) -> Option<u64> {
        let waits =
            |enable, flag| self.state.bytes[B] & enable != 0 && self.state.bytes[C] & flag == 0;
        let looked = self.state.looked;
        let runs = !self.stands();
        [
            self.next_period(looked)
                .filter(|_| waits(B_PIE, PF) && self.state.bytes[A] & 0x60 != 0x60),
            self.next_alarm(looked).filter(|_| waits(B_AIE, AF) && runs),
            self.next_second(looked)
                .filter(|_| waits(B_UIE, UF) && runs),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn tick(&mut self, turn: &mut Turn) {
        self.catch_up(turn.now);
        self.settle(turn);
    }

    fn wake(&mut self, turn: &mut Turn, processors: u16) {
        self.state.bytes[SHUTDOWN] = WOKEN;
        self.state.bytes[cmos::PROCESSORS] = cmos::processors(processors);
        self.reset(turn);
    }

    /// RESET clears enables and flags, nothing else: the battery keeps the rest (data sheet, RESET pin).
    fn reset(&mut self, turn: &mut Turn) {
        self.catch_up(turn.now);
        self.state.bytes[B] &= !(B_PIE | B_AIE | B_UIE | B_SQWE);
        self.state.bytes[C] = 0;
        self.settle(turn);
    }

    fn save(&self) -> Value {
        state::wrap(VERSION, &self.state)
    }

    fn restore(&mut self, saved: &Value) -> Result<(), StateError> {
        let (_, state): (u64, State) = state::unwrap(self.name(), VERSION, saved)?;
        let wrong = |why: &str| StateError::wrong("rtc", why);
        if state.bytes.len() != self.state.bytes.len() {
            return Err(wrong("its RAM has not 128 bytes"));
        }
        if state.index > 0x7f || state.phase >= SECOND || state.weekday > 6 {
            return Err(wrong("a number beyond its range"));
        }
        self.state = state;
        Ok(())
    }
}

impl Rtc {
    /// How it was made.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }
}

const _: () = assert!(CENTURY < 0x80);
