//! [`Tick`]: a guest whose timer ticks asks for every deadline by itself. The local APIC can repeat one, without an exit.
//!
//! ```text
//!                  four equal gaps, the next deadline in line
//!   one by one  ------------------------------------------------>  ticking: the local APIC fires every `every` ns
//!   (TSC deadline) <---------------------------------------------
//!                  an earlier deadline, one that it would miss by more than LATE, a tick for nothing (idle guest)
//! ```
//! While it ticks, a deadline that its next tick meets needs nothing, and a later one is left alone until a tick finds
//! nothing to do. Each tick comes as late as the guest was with asking when the ticking began: some microseconds.

/// Deadlines are as far apart as before if they differ by no more than this, ns: guests compute them from two clocks.
const JITTER: u64 = 20_000;
/// Periods that are taken for a tick, ns.
const PERIODS: core::ops::RangeInclusive<u64> = 900_000..=21_000_000;
/// Equal gaps before the local APIC ticks; twice as many after each time that it did not pay, up to the second number.
const GAPS: (u32, u32) = (4, 64);
/// Ticks that pay for beginning and ending.
const PAYS: u32 = 8;
/// How late a tick may be, ns.
pub const LATE: u64 = 150_000;
/// How early a tick may be, ns: the monitor waits for the rest.
pub const EARLY: u64 = 20_000;
/// How far one tick may correct the guess when the next one comes, ns: 250 ppm of 4 ms.
const SLEW: u64 = 1_000;

/// What is known of a guest's tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tick {
    /// Period of the local APIC, ns; 0: it fires deadlines one by one.
    pub every: u64,
    /// The last deadline that fired.
    last: u64,
    /// Where the series of equal gaps began.
    start: u64,
    /// Gaps in it.
    gaps: u32,
    /// Gaps wanted.
    wanted: u32,
    /// Deadlines that ticks have served since the ticking began.
    served: u32,
}

impl Tick {
    /// Nothing known.
    pub const NEW: Tick = Tick {
        every: 0,
        last: 0,
        start: 0,
        gaps: 0,
        wanted: GAPS.0,
        served: 0,
    };

    /// The deadline `at` fired.
    pub fn fired(&mut self, at: u64) {
        let gap = at.saturating_sub(self.last);
        if self.gaps > 0 && gap.abs_diff(self.gap()) <= JITTER {
            self.gaps = self.gaps.saturating_add(1);
        } else {
            self.start = self.last;
            self.gaps = u32::from(PERIODS.contains(&gap));
        }
        self.last = at;
        if self.every != 0 {
            self.served = self.served.saturating_add(1);
        }
    }

    /// The ticking begins.
    pub fn begin(&mut self, period: u64) {
        (self.every, self.served) = (period, 0);
    }

    /// The ticking ends: the series is to be found anew.
    pub fn end(&mut self) {
        let wanted = if self.served < PAYS {
            (self.wanted * 2).min(GAPS.1)
        } else {
            GAPS.0
        };
        *self = Tick {
            wanted,
            ..Tick::NEW
        };
    }

    /// The mean gap of the series (which has one).
    fn gap(&self) -> u64 {
        self.last.saturating_sub(self.start) / u64::from(self.gaps.max(1))
    }

    /// The period, if `next` continues a series and ticking from `now` on would not be too late for it.
    pub fn period(&self, now: u64, next: u64) -> Option<u64> {
        let gap = self.gap();
        // Whole microseconds: all ticks in use, and what is measured has noise.
        let period = (gap + 500) / 1000 * 1000;
        let regular =
            self.gaps >= self.wanted && next.saturating_sub(self.last).abs_diff(gap) <= JITTER;
        (regular && meets(now + period, next)).then_some(period)
    }

    /// The next tick after one that was expected at `expected` and noticed at `now`.
    pub fn following(&self, expected: u64, now: u64) -> u64 {
        let corrected = if now < expected {
            now
        } else {
            expected + (now - expected).min(SLEW)
        };
        // Ticks that were missed while the vCPU did not run came as one.
        let missed = (now - corrected) / self.every.max(1);
        corrected + (missed + 1) * self.every
    }
}

/// A tick at `tick` serves the deadline `next`.
pub fn meets(tick: u64, next: u64) -> bool {
    tick + EARLY >= next && tick <= next + LATE
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn after(deadlines: &[u64]) -> Tick {
        let mut tick = Tick::NEW;
        for at in deadlines {
            tick.fired(*at);
        }
        tick
    }

    #[test]
    fn series_of_equal_gaps_is_a_tick() {
        let tick = after(&[100 * MS, 104 * MS + 900, 108 * MS, 112 * MS + 300, 116 * MS]);
        assert_eq!(tick.period(116 * MS + 40_000, 120 * MS), Some(4 * MS));
    }

    #[test]
    fn short_series_is_not_yet_one() {
        let tick = after(&[104 * MS, 108 * MS, 112 * MS, 116 * MS]);
        assert_eq!(tick.period(116 * MS, 120 * MS), None);
    }

    #[test]
    fn gap_that_differs_begins_a_new_series() {
        let mut tick = after(&[100 * MS, 104 * MS, 108 * MS, 112 * MS, 116 * MS, 123 * MS]);
        assert_eq!(tick.period(123 * MS, 127 * MS), None);
        for n in 1..=5 {
            tick.fired(123 * MS + n * 4 * MS);
        }
        assert_eq!(tick.period(143 * MS, 147 * MS), Some(4 * MS));
    }

    #[test]
    fn deadline_out_of_line_or_asked_for_too_late_is_armed_by_itself() {
        let tick = after(&[100 * MS, 104 * MS, 108 * MS, 112 * MS, 116 * MS]);
        assert_eq!(tick.period(116 * MS, 117 * MS), None);
        assert_eq!(tick.period(116 * MS, 148 * MS), None);
        assert_eq!(tick.period(116 * MS + LATE + 1, 120 * MS), None);
    }

    #[test]
    fn ticking_that_does_not_pay_is_begun_later_and_later() {
        let mut tick = Tick::NEW;
        let mut now = 1000 * MS;
        for wanted in [4, 8, 16, 32, 64, 64] {
            let mut seen = 0;
            while tick.period(now, now + 4 * MS).is_none() {
                now += 4 * MS;
                tick.fired(now);
                seen += 1;
            }
            // One deadline more than gaps.
            assert_eq!(seen, wanted + 1);
            tick.begin(4 * MS);
            tick.end();
        }
        tick.begin(4 * MS);
        for _ in 0..8 {
            tick.fired(now);
        }
        tick.end();
        assert_eq!(tick, Tick::NEW);
    }

    #[test]
    fn gaps_of_microseconds_or_seconds_are_no_tick() {
        for gap in [50_000, 1000 * MS] {
            let series: Vec<u64> = (1..20).map(|n| n * gap).collect();
            assert_eq!(after(&series).period(19 * gap, 20 * gap), None, "{gap}");
        }
    }

    #[test]
    fn expectation_follows_the_ticks_slowly_and_at_once_when_they_come_early() {
        let tick = Tick {
            every: 4 * MS,
            ..Tick::NEW
        };
        assert_eq!(tick.following(100 * MS, 100 * MS), 104 * MS);
        assert_eq!(
            tick.following(100 * MS, 100 * MS + 300_000),
            104 * MS + 1_000
        );
        assert_eq!(tick.following(100 * MS, 100 * MS - 700), 104 * MS - 700);
        // The vCPU did not run for 11 ms: the next one is the third.
        assert_eq!(tick.following(100 * MS, 111 * MS), 112 * MS + 1_000);
    }
}
