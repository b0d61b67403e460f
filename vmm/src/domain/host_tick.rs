//! Ticks of a guest that come together with the host's own: one interrupt, and one exit, serves both.
//!
//! ```text
//!   monitor: the guest's ticks are due at D + n * P --Report::Ticks--> main loop: all vCPUs stop
//!      vCPU 0: its TSC and the host's clock read together --> by how much the guest's clock is to go forward --> TSC set
//!      the others: their TSCs follow vCPU 0's                                                                --> all go on
//! ```
//! The host's ticks are due at the multiples of their period on CLOCK_MONOTONIC (Linux, kernel/time/tick-sched.c,
//! `tick_init_jiffy_update`; unless it was started with skew_tick=1). A guest's are due at multiples on a clock of its own,
//! and nobody knows where that one has its zero before it has booted so far that it goes by its vCPUs' TSCs, directly or by Xen's clock. From a step forward of its TSCs,
//! by less than two of the host's ticks, a guest learns no more than that it did not run for so long.

/// How long after the host's tick a guest's should be due, ns. KVM has the timer of a deadline expire a little earlier (Linux,
/// arch/x86/kvm/lapic.c, `lapic_timer_advance_ns`), and the host's interrupt serves what expires while it is at work.
const AFTER: u64 = 4_000;
/// Ticks that come as close to where they should need no step, ns.
const CLOSE: u64 = 1_000;
/// The least step, ns: what is less cannot be told from the time that the setting takes, and no clock may go back.
const LEAST: u64 = 20_000;

/// A guest's time-stamp counter and the host's CLOCK_MONOTONIC, read together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reading {
    /// TSC.
    pub tsc: u64,
    /// ns.
    pub ns: u64,
}

/// When a guest's ticks are due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticks {
    /// TSC value of one of them.
    pub due: u64,
    /// From one to the next, ns.
    pub period: u64,
}

impl Reading {
    /// CLOCK_MONOTONIC, ns, when the TSC of `khz` has the value `tsc`, which may be long ago.
    fn ns_at(self, tsc: u64, khz: u32) -> i128 {
        let cycles = i128::from(tsc) - i128::from(self.tsc);
        i128::from(self.ns) + cycles * 1_000_000 / i128::from(khz.max(1))
    }

    /// The TSC of `khz` at `ns` on CLOCK_MONOTONIC.
    pub fn tsc_at(self, ns: u64, khz: u32) -> u64 {
        let cycles = (i128::from(ns) - i128::from(self.ns)) * i128::from(khz) / 1_000_000;
        (i128::from(self.tsc) + cycles).clamp(0, i128::from(u64::MAX)) as u64
    }
}

/// What of two tick periods a shift can bring together: the shorter one, where the longer one is a multiple of it.
pub fn common(guest: u64, host: u64) -> Option<u64> {
    let (short, long) = (guest.min(host), guest.max(host));
    (short > 2 * LEAST && long % short == 0).then_some(short)
}

/// By how many ns the guest's clock is to go forward for its ticks to come with the host's, which are `host` ns apart; `None` where
/// they do so already, or cannot.
pub fn step(ticks: Ticks, host: u64, reading: Reading, khz: u32) -> Option<u64> {
    let every = i128::from(common(ticks.period, host)?);
    let late = (reading.ns_at(ticks.due, khz) - i128::from(AFTER)).rem_euclid(every);
    match late {
        late if late <= i128::from(CLOSE) || late >= every - i128::from(CLOSE) => None,
        late if late < i128::from(LEAST) => u64::try_from(late + every).ok(),
        late => u64::try_from(late).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;
    const KHZ: u32 = 2_000_000;

    /// A guest with ticks each 4 ms, whose TSC was 0 at `zero` ns of the host's clock, and one tick due `at` ns.
    fn shifted(zero: u64, at: u64, now: u64) -> Option<u64> {
        let ticks = Ticks {
            due: (at - zero) * 2,
            period: 4 * MS,
        };
        let reading = Reading {
            tsc: (now - zero) * 2,
            ns: now,
        };
        step(ticks, 4 * MS, reading, KHZ)
    }

    #[test]
    fn deadlines_fall_just_behind_a_tick_of_the_host_after_the_step() {
        for (zero, at) in [
            (123, 5_000 * MS + 777_777),
            (77 * MS, 8_003 * MS),
            (0, 9 * MS),
        ] {
            // Asked before and long after the tick.
            for now in [at - MS, at + 40, at + 3_600_000 * MS] {
                let step = shifted(zero, at, now).unwrap();
                assert!((LEAST..4 * MS + LEAST).contains(&step), "{step}");
                // The clock goes forward, so what is due comes earlier.
                assert_eq!((at - step) % (4 * MS), AFTER, "{zero} {at} {now}");
            }
        }
    }

    #[test]
    fn ticks_that_meet_already_are_left_alone() {
        for late in [AFTER - CLOSE, AFTER, AFTER + CLOSE] {
            assert_eq!(shifted(99, 4_000 * MS + late, 5_000 * MS), None, "{late}");
        }
    }

    #[test]
    fn tick_that_is_a_little_late_goes_one_round_further() {
        let at = 4_000 * MS + AFTER + 2 * CLOSE;
        assert_eq!(shifted(99, at, 5_000 * MS), Some(4 * MS + 2 * CLOSE));
        let at = 4_000 * MS + AFTER + LEAST;
        assert_eq!(shifted(99, at, 5_000 * MS), Some(LEAST));
    }

    #[test]
    fn periods_meet_where_one_is_a_multiple_of_the_other() {
        assert_eq!(common(4 * MS, 4 * MS), Some(4 * MS));
        assert_eq!(common(10 * MS, MS), Some(MS));
        assert_eq!(common(MS, 4 * MS), Some(MS));
        assert_eq!(common(10 * MS, 4 * MS), None);
        assert_eq!(common(4 * MS, 3_333_333), None);
        assert_eq!(common(0, 4 * MS), None);
        assert_eq!(common(4 * MS, 0), None);
    }

    #[test]
    fn numbers_of_a_hostile_guest_do_not_panic() {
        for due in [0, 1, u64::MAX] {
            for period in [0, 1, u64::MAX] {
                for khz in [0, 1, u32::MAX] {
                    let reading = Reading {
                        tsc: u64::MAX,
                        ns: 1,
                    };
                    let found = step(Ticks { due, period }, 4 * MS, reading, khz);
                    assert!(found.is_none_or(|step| step < 5 * MS));
                    reading.tsc_at(u64::MAX, khz);
                }
            }
        }
    }
}
