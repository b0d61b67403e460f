//! High precision event timers (IA-PC HPET Specification 1.0a): a counter and three comparators.
//!
//! ```text
//!   guest time / 16 ns - offset = counter, while ENABLE        halted: the counter stands
//!   comparator --arm()--> due, a tick of guest time --next(), tick()--> I/O APIC pin 20 to 23
//!       one-shot: once at equality, again a whole turn of the counter later
//!       periodic: comparator and due move on by the period; what was missed is one interrupt
//!       edge: a pulse        level: up until its bit in the status is written
//! ```
//! There is no legacy replacement route (LEG_RT_CAP is 0): the lines 0 and 8 stay with the 8254 and the clock. No messages (FSB)
//! either. Accesses of less than 32 bits read what is there and write nothing.

#[cfg(test)]
mod tests;

use crate::device::{Device, Effect, Region, Turn, Width, Window};
use crate::state::{self, StateError};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Where its registers are.
pub const ADDRESS: u64 = 0xfed0_0000;
/// Bytes of them.
pub const LENGTH: u64 = 0x400;
/// ns of one count.
const TICK_NS: u64 = 16;
const FEMTOSECONDS: u64 = TICK_NS * 1_000_000;
const TIMERS: usize = 3;
/// Low half of the capabilities: revision 1, three timers, 64 bits; Intel's number.
pub const ID: u32 = 0x8086_0000 | 1 << 13 | (TIMERS as u32 - 1) << 8 | 1;

const WINDOWS: &[Window] = &[Window {
    first: ADDRESS,
    length: LENGTH,
}];
const VERSION: u64 = 1;

/// General configuration: the counter runs.
const ENABLE: u64 = 1;
/// Timer configuration: level-triggered, interrupts, periodic, the next comparator value is its own, 32 bits.
const LEVEL: u64 = 1 << 1;
const INTERRUPTS: u64 = 1 << 2;
const PERIODIC: u64 = 1 << 3;
const SET_VALUE: u64 = 1 << 6;
const SHORT: u64 = 1 << 8;
const ROUTE_SHIFT: u32 = 9;
const ROUTE: u64 = 0x1f << ROUTE_SHIFT;
const WRITABLE: u64 = LEVEL | INTERRUPTS | PERIODIC | SET_VALUE | SHORT | ROUTE;
/// Every timer can be periodic and has 64 bits.
const CAPABLE: u64 = 1 << 4 | 1 << 5;
/// Pins of the I/O APIC that a timer can have; Xen's HPET has the same.
const PINS: std::ops::RangeInclusive<u8> = 20..=23;
const PIN_BITS: u64 = 0x00f0_0000 << 32;
/// A periodic timer interrupts at most every that many ticks (20 kHz): nobody takes more, and the host's thread sleeps between them.
const LEAST_PERIOD: u64 = 50_000 / TICK_NS;

/// The timers.
#[derive(Debug, Default)]
pub struct Hpet {
    state: State,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    enabled: bool,
    /// Counter while it is halted; while it runs, what it is behind the ticks of guest time.
    counter: u64,
    status: u8,
    timers: [Timer; TIMERS],
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Timer {
    config: u64,
    comparator: u64,
    period: u64,
    /// Tick of guest time at which it is due.
    due: Option<u64>,
}

impl Timer {
    fn is(&self, bit: u64) -> bool {
        self.config & bit != 0
    }

    fn mask(&self) -> u64 {
        match self.is(SHORT) {
            true => u64::from(u32::MAX),
            false => u64::MAX,
        }
    }

    /// Counts until the counter shows the same to it again.
    fn turn(&self) -> u64 {
        self.mask().saturating_add(1)
    }

    /// The pin that it interrupts, if that is one that it can.
    fn pin(&self) -> Option<u8> {
        let route = (self.config & ROUTE) >> ROUTE_SHIFT;
        Some(route as u8).filter(|pin| PINS.contains(pin))
    }

    /// Works out when it is due; `tick` is now, `counter` what the counter shows, if it runs.
    fn arm(&mut self, tick: u64, counter: Option<u64>) {
        self.due = counter.map(|counter| {
            let mask = self.mask();
            let away = self.comparator.wrapping_sub(counter) & mask;
            // It has been equal already: a whole turn.
            let away = if away == 0 { self.turn() } else { away };
            tick.saturating_add(away)
        });
    }

    /// It was due; moves on to its next time.
    fn advance(&mut self, tick: u64, due: u64) {
        let period = self.period & self.mask();
        if !self.is(PERIODIC) || period == 0 {
            self.due = Some(due.saturating_add(self.turn()));
            return;
        }
        // As many whole periods as lie before the next interrupt that may be.
        let earliest = tick.saturating_add(1).max(due.saturating_add(LEAST_PERIOD));
        let periods = (earliest - due).div_ceil(period);
        let ahead = period.saturating_mul(periods);
        self.comparator = self.comparator.wrapping_add(ahead) & self.mask();
        self.due = Some(due.saturating_add(ahead));
    }
}

/// Puts `value` into the low or the high half of `whole`.
fn put(whole: &mut u64, high: bool, value: u32) {
    let shift = if high { 32 } else { 0 };
    *whole = *whole & !(u64::from(u32::MAX) << shift) | u64::from(value) << shift;
}

impl Hpet {
    /// As it is switched on: halted.
    pub fn new() -> Hpet {
        Hpet::default()
    }

    fn counter(&self, tick: u64) -> u64 {
        match self.state.enabled {
            true => tick.wrapping_sub(self.state.counter),
            false => self.state.counter,
        }
    }

    fn arm_all(&mut self, tick: u64) {
        let counter = self.state.enabled.then(|| self.counter(tick));
        for timer in &mut self.state.timers {
            timer.arm(tick, counter);
        }
    }

    fn enable(&mut self, on: bool, tick: u64) {
        if on != self.state.enabled {
            let shown = self.counter(tick);
            self.state.enabled = on;
            self.state.counter = match on {
                true => tick.wrapping_sub(shown),
                false => shown,
            };
            self.arm_all(tick);
        }
    }

    fn set_counter(&mut self, high: bool, value: u32, tick: u64) {
        let mut shown = self.counter(tick);
        put(&mut shown, high, value);
        self.state.counter = match self.state.enabled {
            true => tick.wrapping_sub(shown),
            false => shown,
        };
        self.arm_all(tick);
    }

    /// A level-triggered interrupt is taken back.
    fn lower(&mut self, number: usize, turn: &mut Turn) {
        if self.state.status >> number & 1 == 1 {
            self.state.status &= !(1 << number);
            let pin = self.state.timers[number].pin();
            turn.effects.extend(pin.map(|pin| Effect::Line(pin, false)));
        }
    }

    fn configure(&mut self, number: usize, value: u32, turn: &mut Turn) {
        // A line is let go of by the route that it was raised on.
        self.lower(number, turn);
        let tick = turn.now / TICK_NS;
        let counter = self.state.enabled.then(|| self.counter(tick));
        let timer = &mut self.state.timers[number];
        timer.config = u64::from(value) & WRITABLE;
        timer.comparator &= timer.mask();
        timer.arm(tick, counter);
    }

    fn compare(&mut self, number: usize, high: bool, value: u32, turn: &mut Turn) {
        let tick = turn.now / TICK_NS;
        let counter = self.state.enabled.then(|| self.counter(tick));
        let timer = &mut self.state.timers[number];
        if high && timer.is(SHORT) {
            return;
        }
        if timer.is(PERIODIC) && !timer.is(SET_VALUE) {
            put(&mut timer.period, high, value);
            return;
        }
        put(&mut timer.comparator, high, value);
        // With 64 bits both halves are meant; the bus brings the low one first.
        if high || timer.is(SHORT) {
            timer.config &= !SET_VALUE;
        }
        timer.arm(tick, counter);
    }

    fn fire(&mut self, number: usize, turn: &mut Turn) {
        let timer = &self.state.timers[number];
        let Some(pin) = timer.pin().filter(|_| timer.is(INTERRUPTS)) else {
            return;
        };
        if !timer.is(LEVEL) {
            turn.effects.push(Effect::Line(pin, true));
            turn.effects.push(Effect::Line(pin, false));
        } else if self.state.status >> number & 1 == 0 {
            self.state.status |= 1 << number;
            turn.effects.push(Effect::Line(pin, true));
        }
    }

    /// Both halves of the register at `offset`, a multiple of 8.
    fn register(&self, offset: u64, tick: u64) -> u64 {
        match offset {
            0x000 => FEMTOSECONDS << 32 | u64::from(ID),
            0x010 => u64::from(self.state.enabled),
            0x020 => self.state.status.into(),
            0x0f0 => self.counter(tick),
            _ => match (timer_at(offset), offset % 0x20) {
                (Some(number), 0) => self.state.timers[number].config | CAPABLE | PIN_BITS,
                (Some(number), 8) => self.state.timers[number].comparator,
                _ => 0,
            },
        }
    }
}

/// The timer whose registers are at `offset`.
fn timer_at(offset: u64) -> Option<usize> {
    let number = (offset.checked_sub(0x100)? / 0x20) as usize;
    (number < TIMERS).then_some(number)
}

impl Device for Hpet {
    fn name(&self) -> &str {
        "hpet"
    }

    fn windows(&self) -> &[Window] {
        WINDOWS
    }

    fn read(&mut self, _region: Region, offset: u64, width: Width, turn: &mut Turn) -> u32 {
        let whole = self.register(offset & !7, turn.now / TICK_NS);
        (whole >> (8 * (offset & 7))) as u32 & width.mask()
    }

    fn write(&mut self, _region: Region, offset: u64, width: Width, value: u32, turn: &mut Turn) {
        if width != Width::Dword || !offset.is_multiple_of(4) {
            return;
        }
        let tick = turn.now / TICK_NS;
        let high = offset & 4 != 0;
        match (offset & !7, high) {
            (0x010, false) => self.enable(u64::from(value) & ENABLE != 0, tick),
            (0x020, false) => {
                for number in 0..TIMERS {
                    if value >> number & 1 == 1 {
                        self.lower(number, turn);
                    }
                }
            }
            (0x0f0, _) => self.set_counter(high, value, tick),
            (register, _) => match (timer_at(register), register % 0x20, high) {
                (Some(number), 0, false) => self.configure(number, value, turn),
                (Some(number), 8, _) => self.compare(number, high, value, turn),
                _ => {}
            },
        }
    }

    fn next(&self) -> Option<u64> {
        let wanted = |timer: &&Timer| timer.is(INTERRUPTS) && timer.pin().is_some();
        let due = self.state.timers.iter().filter(wanted);
        // One that is due beyond the end of time never is.
        let due = due.filter_map(|timer| timer.due?.checked_mul(TICK_NS));
        due.min()
    }

    fn tick(&mut self, turn: &mut Turn) {
        let tick = turn.now / TICK_NS;
        for number in 0..TIMERS {
            if let Some(due) = self.state.timers[number].due.filter(|due| *due <= tick) {
                self.fire(number, turn);
                self.state.timers[number].advance(tick, due);
            }
        }
    }

    fn reset(&mut self, turn: &mut Turn) {
        for number in 0..TIMERS {
            self.lower(number, turn);
        }
        self.state = State::default();
    }

    fn save(&self) -> Value {
        state::wrap(VERSION, &self.state)
    }

    fn restore(&mut self, saved: &Value) -> Result<(), StateError> {
        let (_, mut state) = state::unwrap::<State>(self.name(), VERSION, saved)?;
        let enabled = state.enabled;
        state.status &= (1 << TIMERS) - 1;
        for timer in &mut state.timers {
            timer.config &= WRITABLE;
            timer.comparator &= timer.mask();
            if timer.due.is_some() != enabled {
                return Err(StateError::wrong(
                    self.name(),
                    "a timer that is due while the counter is halted, or the reverse",
                ));
            }
        }
        self.state = state;
        Ok(())
    }
}
