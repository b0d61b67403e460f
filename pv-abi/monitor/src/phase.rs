//! [`Phase`]: where between two milliseconds a guest's ticks lie, once its clock has settled.
//!
//! ```text
//!   deadline that fired --within NOISE of the series' earliest, counted in whole milliseconds--> one more of the series
//!        |                                                                                         | AGREE of them
//!        +--another phase--> a new series                                                          v
//!                                                                                               settled
//! ```
//! Linux ticks at the multiples of its period on its own clock, whatever the period: 1, 4 or 10 ms, all of them whole
//! milliseconds. While it boots that clock is made of its ticks, each a little late, and their phase moves; from its switch to
//! Xen's clock or the TSC on it stays. Who knows it can have the ticks come with the host's own (`noxen_monitor_abi::pages::call::TICKS`).

/// What all periods are multiples of, ns.
const UNIT: u64 = 1_000_000;
/// How much later than the earliest of its series a deadline may lie, ns: the guest reads its clock twice to compute it, with
/// some work in between.
const NOISE: u64 = 8_000;
/// Deadlines in a series before it is taken for settled. Fewer would be met by a clock that is made of ticks.
const AGREE: u32 = 16;
/// The longest period that is looked for, in units.
const LONGEST: u64 = 20;

/// What is known of a guest's ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Phase {
    /// The series' earliest phase, ns behind a multiple of [`UNIT`].
    earliest: u64,
    /// Its last deadline.
    last: u64,
    /// Deadlines in it; 0: none.
    count: u32,
    /// What all gaps in it are multiples of, in units; 0: there are none.
    every: u64,
    /// A tick of the last series that was long enough, where it belongs.
    due: u64,
    /// Period of that series, ns; 0: there was none.
    period: u64,
}

impl Phase {
    /// Nothing known.
    pub const NEW: Phase = Phase {
        earliest: 0,
        last: 0,
        count: 0,
        every: 0,
        due: 0,
        period: 0,
    };

    /// The deadline `at` fired.
    pub fn fired(&mut self, at: u64) {
        let phase = at % UNIT;
        // Signed distance on a circle of one unit.
        let ahead = (phase + UNIT - self.earliest) % UNIT;
        let behind = UNIT - ahead;
        if self.count == 0 || (ahead > NOISE && behind > NOISE) || at <= self.last {
            (self.earliest, self.last) = (phase, at);
            (self.count, self.every) = (1, 0);
            return;
        }
        if behind <= NOISE {
            self.earliest = phase;
        }
        let units = (at - self.last + UNIT / 2) / UNIT;
        if units > 0 {
            self.every = gcd(self.every, units);
            self.count = self.count.saturating_add(1);
        }
        self.last = at;
        if self.count > AGREE && (1..=LONGEST).contains(&self.every) {
            let late = (phase + UNIT - self.earliest) % UNIT;
            self.due = at.saturating_sub(late);
            self.period = self.every * UNIT;
        }
    }

    /// When one of the ticks was due, and how far they are apart, ns; `None` before they have settled.
    pub fn settled(&self) -> Option<(u64, u64)> {
        (self.period > 0).then_some((self.due, self.period))
    }

    /// If the deadline `at` is one of the ticks: their period, and how much later than it belongs this one lies, ns.
    pub fn tick(&self, at: u64) -> Option<(u64, u64)> {
        let (due, period) = self.settled()?;
        let ahead = at.abs_diff(due) % period;
        let ahead = match at < due {
            true => (period - ahead) % period,
            false => ahead,
        };
        match ahead {
            ahead if ahead <= NOISE => Some((period, ahead)),
            ahead if period - ahead <= NOISE => Some((period, 0)),
            _ => None,
        }
    }
}

fn gcd(a: u64, b: u64) -> u64 {
    match a {
        0 => b,
        a => gcd(b % a, a),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn after(deadlines: impl IntoIterator<Item = u64>) -> Phase {
        let mut phase = Phase::NEW;
        deadlines.into_iter().for_each(|at| phase.fired(at));
        phase
    }

    #[test]
    fn ticks_of_any_usual_period_settle_at_the_earliest_phase() {
        for period in [1, 4, 10] {
            let at = |n: u64| 500 * MS + 205_000 + n * period * MS + n * 7 % 5 * 1_000;
            let phase = after((0..=16).map(at));
            let (due, every) = phase.settled().unwrap();
            assert_eq!(every, period * MS);
            assert_eq!(
                (due % MS, due % every),
                (205_000, (500 * MS + 205_000) % every)
            );
            assert_eq!(phase.tick(at(17)), Some((every, at(17) % MS - 205_000)));
            assert_eq!(phase.tick(due - 3 * every - 2_000), Some((every, 0)));
            assert_eq!(phase.tick(due + every / 2), None);
        }
    }

    #[test]
    fn series_that_is_short_is_not_settled() {
        assert_eq!(after((0..16).map(|n| n * 4 * MS + 77)).settled(), None);
        assert_eq!(after((0..16).map(|n| n * 4 * MS)).tick(4 * MS), None);
    }

    #[test]
    fn ticks_that_the_guest_slept_through_change_nothing() {
        let slept = [0, 1, 2, 5, 6, 7, 8, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29];
        let phase = after(slept.map(|n| n * 4 * MS + 300_000));
        assert_eq!(phase.settled(), Some((29 * 4 * MS + 300_000, 4 * MS)));
    }

    #[test]
    fn clock_that_is_made_of_ticks_never_settles() {
        // Each tick is noticed two microseconds late, and the next one asked for 4 ms from then.
        assert_eq!(
            after((0..1000).map(|n| n * (4 * MS + 2_000))).settled(),
            None
        );
    }

    #[test]
    fn phase_before_the_turn_of_the_millisecond_is_none_far_off() {
        let at = |n: u64| (n + 1) * 4 * MS - 2_000 + n % 2 * 4_000;
        let (due, every) = after((0..20).map(at)).settled().unwrap();
        assert_eq!((due % (4 * MS), every), (4 * MS - 2_000, 4 * MS));
        // Also when the later one came first.
        let (due, _) = after((1..21).map(at)).settled().unwrap();
        assert_eq!(due % (4 * MS), 4 * MS - 2_000);
    }

    #[test]
    fn another_timer_in_between_begins_anew_and_changes_nothing_that_is_known() {
        let ticks = |count: u64| (0..count).map(|n| n * 4 * MS);
        let other = 99 * 4 * MS + 1_234_567;
        assert_eq!(after(ticks(16).chain([other, 400 * MS])).settled(), None);
        let phase = after(ticks(17).chain([other]));
        assert_eq!(phase.settled(), Some((64 * MS, 4 * MS)));
        assert_eq!(phase.tick(other), None);
    }

    #[test]
    fn ticks_that_have_moved_are_known_anew() {
        let at = |n: u64| n * 4 * MS + if n < 20 { 100_000 } else { 700_000 };
        let phase = after((0..36).map(at));
        assert_eq!(phase.settled().unwrap().0 % MS, 100_000);
        let phase = after((0..37).map(at));
        assert_eq!(phase.settled().unwrap().0 % MS, 700_000);
    }

    #[test]
    fn deadlines_of_any_value_do_not_panic() {
        let phase = after([u64::MAX, 0, u64::MAX, u64::MAX - 1, 1, 2, u64::MAX]);
        assert_eq!(phase.settled(), None);
        assert_eq!(after((0..20).map(|n| n * 100 * MS)).settled(), None);
    }
}
