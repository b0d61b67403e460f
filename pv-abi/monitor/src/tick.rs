//! [`Tick`]: a guest whose timer ticks asks for every deadline by itself. The local APIC can repeat one, without an exit.
//!
//! ```text
//!                  three equal gaps
//!   one by one  ------------------------------------------------>  ticking: the local APIC fires every `every` ns
//!   (TSC deadline) <---------------------------------------------
//!                  an earlier deadline, one that it would miss by more than LATE, ticks that come later than that
//!                  (the host's clock drifts from the TSC, or the host is busy), ticks for nothing (idle guest)
//! ```
//! Once it is known where the guest's ticks lie ([`crate::phase`]), the gaps need not be equal: one may have been slept through.
//! While it ticks, a deadline that its next tick meets needs nothing, and a later one is left alone until a tick finds
//! nothing to do, which may happen a few times. The ticks come where they belong (`Machine::start_ticking`); no deadline is served
//! early.

/// Deadlines are as far apart as before if they differ by no more than this, ns: guests compute them from two clocks.
const JITTER: u64 = 20_000;
/// Periods that are taken for a tick, ns.
const PERIODS: core::ops::RangeInclusive<u64> = 900_000..=21_000_000;
/// Equal gaps before the local APIC ticks; twice as many after each time that it did not pay, up to the second number.
const GAPS: (u32, u32) = (3, 64);
/// Ticks for nothing in a row that a vCPU which runs bears, and one that is blocked. The first have an exit only where they do not
/// meet a tick of the host, the others wake the vCPU; each end and new beginning has half a dozen.
const SPARE: (u32, u32) = (8, 1);
/// Ticks that pay for beginning and ending.
const PAYS: u32 = 8;
/// How late a tick may be, ns.
pub const LATE: u64 = 100_000;
/// Later ticks in a row that end the ticking.
const TOO_LATE: u32 = 3;
/// How late a deadline may be noticed at which the ticking begins, ns.
const PROMPT: u64 = 50_000;
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
    /// Ticks in a row that were later than [`LATE`].
    late: u32,
    /// Ticks in a row for which there was nothing to do.
    spare: u32,
    /// Period of the series where that is known; 0: its mean gap is.
    known: u64,
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
        late: 0,
        spare: 0,
        known: 0,
    };

    /// The deadline `at` fired, which was noticed at `now`, and is one of the guest's ticks if their period is `known`. False: what
    /// ticks comes too late, and should end.
    #[must_use]
    pub fn fired(&mut self, at: u64, now: u64, known: Option<u64>) -> bool {
        let gap = at.saturating_sub(self.last);
        let known = known.filter(|every| PERIODS.contains(every)).unwrap_or(0);
        let goes_on = match known {
            0 => self.known == 0 && self.gaps > 0 && gap.abs_diff(self.gap()) <= JITTER,
            every => self.known == every && gap <= 2 * every + JITTER,
        };
        if goes_on {
            self.gaps = self.gaps.saturating_add(1);
        } else {
            self.start = self.last;
            self.gaps = u32::from(PERIODS.contains(&gap));
            self.known = known;
        }
        self.spare = 0;
        self.last = at;
        if now.saturating_sub(at) > LATE {
            self.late += 1;
        } else {
            self.late = 0;
        }
        if self.every == 0 {
            return true;
        }
        self.served = self.served.saturating_add(1);
        self.late < TOO_LATE
    }

    /// A tick came for nothing, to a vCPU that is `blocked` or runs. False: the ticking should end.
    #[must_use]
    pub fn spared(&mut self, blocked: bool) -> bool {
        self.spare += 1;
        let (running, waiting) = SPARE;
        self.spare <= if blocked { waiting } else { running }
    }

    /// The ticking begins.
    pub fn begin(&mut self, period: u64) {
        (self.every, self.served) = (period, 0);
        (self.late, self.spare) = (0, 0);
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

    /// The period, if the last deadline continued a series and is noticed `now` early enough for the local APIC to begin.
    pub fn period(&self, now: u64) -> Option<u64> {
        let period = match self.known {
            // Whole microseconds: all ticks in use, and what is measured has noise.
            0 => (self.gap() + 500) / 1000 * 1000,
            known => known,
        };
        (self.gaps >= self.wanted && now.saturating_sub(self.last) <= PROMPT).then_some(period)
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

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn after(deadlines: &[u64]) -> Tick {
        let mut tick = Tick::NEW;
        for at in deadlines {
            assert!(tick.fired(*at, *at, None));
        }
        tick
    }

    #[test]
    fn series_of_equal_gaps_is_a_tick() {
        let tick = after(&[100 * MS, 104 * MS + 900, 108 * MS, 112 * MS + 300, 116 * MS]);
        assert_eq!(tick.period(116 * MS + 10_000), Some(4 * MS));
    }

    #[test]
    fn short_series_is_not_yet_one() {
        let tick = after(&[108 * MS, 112 * MS, 116 * MS]);
        assert_eq!(tick.period(116 * MS), None);
    }

    #[test]
    fn gap_that_differs_begins_a_new_series() {
        let mut tick = after(&[100 * MS, 104 * MS, 108 * MS, 112 * MS, 116 * MS, 123 * MS]);
        assert_eq!(tick.period(123 * MS), None);
        for n in 1..=4 {
            assert!(tick.fired(123 * MS + n * 4 * MS, 123 * MS + n * 4 * MS, None));
        }
        assert_eq!(tick.period(139 * MS), Some(4 * MS));
    }

    #[test]
    fn deadline_that_is_noticed_late_begins_nothing() {
        let tick = after(&[100 * MS, 104 * MS, 108 * MS, 112 * MS, 116 * MS]);
        assert_eq!(tick.period(116 * MS + PROMPT), Some(4 * MS));
        assert_eq!(tick.period(116 * MS + PROMPT + 1), None);
    }

    #[test]
    fn ticks_that_come_late_again_and_again_should_end() {
        let mut tick = after(&[100 * MS, 104 * MS, 108 * MS, 112 * MS, 116 * MS]);
        tick.begin(4 * MS);
        let mut at = 120 * MS;
        for late in [LATE + 1, LATE + 1, LATE, LATE + 1, LATE + 1] {
            assert!(tick.fired(at, at + late, None), "{at}");
            at += 4 * MS;
        }
        assert!(!tick.fired(at, at + LATE + 1, None));
    }

    #[test]
    fn ticking_that_does_not_pay_is_begun_later_and_later() {
        let mut tick = Tick::NEW;
        let mut now = 1000 * MS;
        for wanted in [3, 6, 12, 24, 48, 64] {
            let mut seen = 0;
            while tick.period(now).is_none() {
                now += 4 * MS;
                assert!(tick.fired(now, now, None));
                seen += 1;
            }
            // One deadline more than gaps.
            assert_eq!(seen, wanted + 1);
            tick.begin(4 * MS);
            tick.end();
        }
        tick.begin(4 * MS);
        for _ in 0..8 {
            assert!(tick.fired(now, now, None));
        }
        tick.end();
        assert_eq!(tick, Tick::NEW);
    }

    #[test]
    fn ticks_that_are_known_may_be_slept_through_but_not_for_long() {
        let mut tick = Tick::NEW;
        for at in [100 * MS, 104 * MS, 112 * MS, 116 * MS] {
            assert_eq!(tick.period(at), None);
            assert!(tick.fired(at, at, Some(4 * MS)));
        }
        assert_eq!(tick.period(116 * MS), Some(4 * MS));
        assert!(tick.fired(128 * MS, 128 * MS, Some(4 * MS)));
        assert_eq!(tick.period(128 * MS), None);
        // One that is no tick ends the series as well.
        for at in [132 * MS, 136 * MS, 140 * MS] {
            assert!(tick.fired(at, at, Some(4 * MS)));
        }
        assert_eq!(tick.period(140 * MS), Some(4 * MS));
        assert!(tick.fired(141 * MS, 141 * MS, None));
        assert_eq!(tick.period(141 * MS), None);
    }

    #[test]
    fn ticks_for_nothing_are_borne_for_a_while_by_a_vcpu_that_runs() {
        let mut tick = after(&[100 * MS, 104 * MS, 108 * MS, 112 * MS]);
        tick.begin(4 * MS);
        assert!(tick.spared(true));
        assert!(!tick.spared(true));
        for _ in 2..8 {
            assert!(tick.spared(false));
        }
        assert!(!tick.spared(false));
        assert!(tick.fired(200 * MS, 200 * MS, None));
        assert!(tick.spared(true));
    }

    #[test]
    fn gaps_of_microseconds_or_seconds_are_no_tick() {
        for gap in [50_000, 1000 * MS] {
            let series: Vec<u64> = (1..20).map(|n| n * gap).collect();
            assert_eq!(after(&series).period(19 * gap), None, "{gap}");
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
