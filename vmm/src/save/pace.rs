//! When the rounds of a move are over, and how much the guest is held back meanwhile. No clock of its own: it is told what each
//! round came to.
//!
//! ```text
//!   after a round: time that what is left needs <= downtime, and no further round would make it much less --> Last
//!                  left more than half of what the round sent, [`SLOW`] times on end --> held back: 20 %, and each time again 10 % more, to 99 %
//!                  the same once, by post-copy --> Switch: it goes on over there, and what is left goes after it
//!                  [`MOST_ROUNDS`], or more than [`MOST_TIMES`] the memory, since it was held back last --> Last, whatever is left
//! ```
//! Holding back (QEMU calls it auto-converge) is what a guest pays for its move to end: one that writes faster than is sent would
//! stand still for all that it writes in a round.

use noxen_control::message::Round;
use noxen_saved_image::PAGE;

/// Rounds after which the guest is stopped whatever is left (Xen's number).
const MOST_ROUNDS: usize = 29;
/// How many times its memory is sent before the same (Xen's number).
const MOST_TIMES: u64 = 3;
/// Slow rounds on end after which the guest is held back first; then each one holds it back more.
const SLOW: u32 = 2;
/// How much it is held back first, per cent, how much more each time, and at most.
const FIRST: u32 = 20;
const STEP: u32 = 10;
const MOST: u32 = 99;

/// Rounds that are made beyond the one that would do, as long as each leaves less than three quarters of what it sent: they cost little, and
/// the guest stands still for less.
const FURTHER: u32 = 8;
/// What is short enough, µs: other parts of a stop take longer.
const SHORT_US: u128 = 2_000;

/// What comes after a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Another one.
    Round,
    /// Another one, with the guest held back for so much of the time, per cent.
    Slower(u32),
    /// The guest stands still, and what is left is sent.
    Last,
    /// The guest stands still, and what is left is sent once it runs over there.
    Switch,
}

/// What is done about a guest that writes faster than is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Means {
    /// It is held back.
    Throttle,
    /// It goes on over there before its memory is.
    PostCopy,
    /// Nothing.
    Patience,
}

/// How a move goes on.
#[derive(Debug)]
pub struct Pace {
    downtime_us: u128,
    whole: u64,
    means: Means,
    percent: u32,
    slow: u32,
    further: u32,
    /// Rounds and bytes sent when the guest was held back last.
    rounds: usize,
    sent: u64,
}

impl Pace {
    /// Of a domain of `whole` bytes that may stand still for `downtime_ms`.
    pub fn new(downtime_ms: u32, whole: u64, means: Means) -> Pace {
        Pace {
            downtime_us: u128::from(downtime_ms) * 1000,
            whole,
            means,
            percent: 0,
            slow: 0,
            further: 0,
            rounds: 0,
            sent: 0,
        }
    }

    /// How much the guest is held back, per cent.
    pub fn percent(&self) -> u32 {
        self.percent
    }

    /// The rounds are over whatever is left.
    pub fn forced(&self) -> Next {
        match self.means {
            Means::PostCopy => Next::Switch,
            Means::Throttle | Means::Patience => Next::Last,
        }
    }

    /// After the round `last`, the `rounds`-th; `sent` bytes have been sent in all.
    pub fn next(&mut self, last: &Round, rounds: usize, sent: u64) -> Next {
        let needed = needed_us(last);
        if needed <= self.downtime_us {
            let shrinks = last.written < last.bytes / 4 * 3;
            if needed <= SHORT_US || !shrinks || self.further >= FURTHER {
                return Next::Last;
            }
            self.further += 1;
            return Next::Round;
        }
        match last.written > last.bytes / 2 {
            true => self.slow += 1,
            false => self.slow = 0,
        }
        if self.means == Means::PostCopy && self.slow > 0 {
            return Next::Switch;
        }
        let patience = if self.percent == 0 { SLOW } else { 1 };
        if self.means == Means::Throttle && self.percent < MOST && self.slow >= patience {
            self.percent = match self.percent {
                0 => FIRST,
                percent => (percent + STEP).min(MOST),
            };
            (self.slow, self.rounds, self.sent) = (0, rounds, sent);
            return Next::Slower(self.percent);
        }
        let since = sent.saturating_sub(self.sent);
        match rounds - self.rounds >= MOST_ROUNDS || since > self.whole.saturating_mul(MOST_TIMES) {
            true => self.forced(),
            false => Next::Round,
        }
    }
}

/// Bytes per second that were written during `round`.
pub fn dirty_rate(round: &Round) -> u64 {
    u64::try_from(per_second(round.written, round)).unwrap_or(u64::MAX)
}

fn per_second(bytes: u64, round: &Round) -> u128 {
    u128::from(bytes) * 1_000_000 / u128::from(round.micros.max(1))
}

/// How long what was written during `round` takes to be sent at its rate, µs.
fn needed_us(round: &Round) -> u128 {
    let rate = per_second(round.bytes.max(PAGE), round);
    u128::from(round.written) * 1_000_000 / rate.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    /// A made-up guest and network: bytes per second each, and how much the guest writes over and over.
    struct Made {
        writes: u64,
        sends: u64,
        works_on: u64,
        whole: u64,
    }

    impl Made {
        /// Moves it: the rounds, how much it was held back in each, and what was left.
        fn run(&self, pace: &mut Pace) -> (Vec<(Round, u32)>, u64) {
            let (mut rounds, mut bytes, mut sent): (Vec<(Round, u32)>, _, _) =
                (Vec::new(), self.whole, 0);
            loop {
                let micros = bytes * 1_000_000 / self.sends;
                let runs = u64::from(100 - pace.percent());
                let written = self.writes * micros / 1_000_000 * runs / 100;
                let round = Round {
                    bytes,
                    micros,
                    written: written.min(self.works_on) / PAGE * PAGE,
                    throttle: pace.percent(),
                };
                rounds.push((round, pace.percent()));
                sent += bytes;
                assert!(rounds.len() < 500, "it does not end");
                if pace.next(&round, rounds.len(), sent) == Next::Last {
                    return (rounds, round.written);
                }
                bytes = round.written;
            }
        }
    }

    #[test]
    fn guest_that_writes_less_than_is_sent_is_not_held_back() {
        let made = Made {
            writes: 20 * MIB,
            sends: 100 * MIB,
            works_on: 64 * MIB,
            whole: 256 * MIB,
        };
        let (rounds, left) = made.run(&mut Pace::new(60, made.whole, Means::Throttle));
        assert!(rounds.iter().all(|(_, percent)| *percent == 0));
        assert!(left <= 6 * MIB, "{left}");
    }

    #[test]
    fn guest_that_writes_faster_is_held_back_in_steps_until_little_is_left() {
        for times in [1, 2, 5, 20] {
            let made = Made {
                writes: 100 * MIB * times,
                sends: 100 * MIB,
                works_on: 128 * MIB,
                whole: 256 * MIB,
            };
            let (rounds, left) = made.run(&mut Pace::new(60, made.whole, Means::Throttle));
            assert!(left <= 6 * MIB, "{times}: {left}");
            let mut percents: Vec<u32> = rounds.iter().map(|(_, percent)| *percent).collect();
            assert!(
                percents.is_sorted() && percents[..2] == [0, 0],
                "{percents:?}"
            );
            percents.dedup();
            let steps = [0, 20, 30, 40, 50, 60, 70, 80, 90, 99];
            assert_eq!(percents[..], steps[..percents.len()]);

            // Left alone, it would have stood still for long.
            let (rounds, left) = made.run(&mut Pace::new(60, made.whole, Means::Patience));
            assert!(
                rounds.len() <= MOST_ROUNDS && left > 50 * MIB,
                "{times}: {left}"
            );
            assert!(rounds.iter().all(|(_, percent)| *percent == 0));
        }
    }

    #[test]
    fn by_post_copy_it_goes_on_over_there_once_a_round_does_not_help_and_not_before() {
        let round = |bytes, written| Round {
            bytes,
            micros: 1_000_000,
            written,
            throttle: 0,
        };
        let mut pace = Pace::new(60, 256 * MIB, Means::PostCopy);
        assert_eq!(
            pace.next(&round(256 * MIB, 64 * MIB), 1, 256 * MIB),
            Next::Round
        );
        assert_eq!(
            pace.next(&round(64 * MIB, 40 * MIB), 2, 320 * MIB),
            Next::Switch
        );
        // One that gets there needs no post-copy.
        let mut pace = Pace::new(60, 256 * MIB, Means::PostCopy);
        assert_eq!(pace.next(&round(256 * MIB, PAGE), 1, 256 * MIB), Next::Last);
        assert_eq!(pace.forced(), Next::Switch);
        assert_eq!(Pace::new(60, MIB, Means::Throttle).forced(), Next::Last);
    }

    #[test]
    fn move_ends_also_of_a_guest_that_nothing_holds_back() {
        // Its devices write it all: holding its vCPUs back does not help.
        let mut pace = Pace::new(60, 256 * MIB, Means::Throttle);
        let round = Round {
            bytes: 100 * MIB,
            micros: 1_000_000,
            written: 100 * MIB,
            throttle: 0,
        };
        let (mut rounds, mut sent) = (0, 0);
        let slower: Vec<u32> = std::iter::from_fn(|| {
            (rounds, sent) = (rounds + 1, sent + round.bytes);
            match pace.next(&round, rounds, sent) {
                Next::Last | Next::Switch => None,
                Next::Slower(percent) => Some(percent),
                Next::Round => Some(0),
            }
        })
        .collect();
        let steps: Vec<u32> = slower.iter().copied().filter(|p| *p > 0).collect();
        assert_eq!(steps, [20, 30, 40, 50, 60, 70, 80, 90, 99]);
        // Three times the memory since the last step.
        assert_eq!(rounds, 10 + 8);
    }

    #[test]
    fn what_is_left_is_foreseen_by_the_last_rounds_rate() {
        let round = |bytes, written| Round {
            bytes,
            micros: 1_000_000,
            written,
            throttle: 0,
        };
        assert_eq!(dirty_rate(&round(MIB, 3 * PAGE)), 3 * PAGE);
        assert_eq!(needed_us(&round(MIB, MIB / 2)), 500_000);
        // A round that had nothing to send.
        assert_eq!(needed_us(&round(0, PAGE)), 1_000_000);
        let mut pace = Pace::new(500, 256 * MIB, Means::Throttle);
        assert_eq!(pace.next(&round(MIB, MIB / 2), 1, MIB), Next::Round);
    }

    #[test]
    fn rounds_go_on_while_they_shorten_the_stop_and_not_for_ever() {
        let round = |bytes, written| Round {
            bytes,
            micros: bytes * 1_000_000 / (100 * MIB),
            written,
            throttle: 0,
        };
        let mut pace = Pace::new(60, 256 * MIB, Means::Throttle);
        // 4 MiB would do, at 100 MiB/s.
        assert_eq!(
            pace.next(&round(256 * MIB, 4 * MIB), 1, 256 * MIB),
            Next::Round
        );
        assert_eq!(pace.next(&round(4 * MIB, MIB), 2, 260 * MIB), Next::Round);
        // A guest that writes as much whatever the time.
        assert_eq!(pace.next(&round(MIB, MIB), 3, 261 * MIB), Next::Last);
        let mut pace = Pace::new(60, 256 * MIB, Means::Throttle);
        assert_eq!(
            pace.next(&round(256 * MIB, PAGE), 1, 256 * MIB),
            Next::Last,
            "too little to be worth it"
        );
        // It swings for ever.
        let mut pace = Pace::new(60, 256 * MIB, Means::Throttle);
        let swings = |at: usize| match at % 2 {
            0 => round(4 * MIB, MIB),
            _ => round(MIB, MIB / 2),
        };
        let made = (1..)
            .take_while(|at| pace.next(&swings(*at), *at, 0) == Next::Round)
            .count();
        assert_eq!(made, FURTHER as usize);
    }
}
