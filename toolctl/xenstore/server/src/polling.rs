//! Looking for the next request for a moment before going to sleep.
//!
//! ```text
//!   turn over, somebody was served, nothing in hand, window > 0
//!     look: receive from the one who was served, or ask epoll without waiting; give way; look again
//!       something came          -> next turn: neither slept nor woken
//!       the window is over      -> sleep
//!       the clock has jumped    -> sleep; the processor was somebody else's: no looks for a while
//!   sleep shorter than the limit -> a look would have paid: window grows
//!   sleep longer                 -> window 0
//! ```
//!
//! As KVM does before it halts a vCPU (its `halt_poll_ns`). Between two looks
//! the processor is given away: a client that waits for this very processor
//! gets it and does not wait for the window's end.
//!
//! The calls are few: a client that asks one thing after the other costs one
//! receive and one send each, with epoll asked every [`OTHERS`] for whoever
//! else there is.

use std::io::{self, Read};
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, Event, EventFlags};
use rustix::event::Timespec;

use crate::connection::Peer;
use crate::event_loop::Daemon;

/// Longest window unless set by `--poll-us`: no looking, since a scheduler that
/// puts client and daemon on one processor leaves nothing to gain by it.
pub const DEFAULT_LIMIT: Duration = Duration::ZERO;
/// Longest window that may be set.
pub const GREATEST_LIMIT: Duration = Duration::from_millis(1);
/// The first window.
const FIRST: Duration = Duration::from_micros(10);
/// More than this between two looks, and somebody else had the processor:
/// a client between two requests does not take as long, a scheduler's slice
/// is longer.
const JUMP: Duration = Duration::from_micros(200);
/// No looks for so long after a jump; twice as long if the next one follows
/// soon.
const LEAST_BAR: Duration = Duration::from_millis(10);
const GREATEST_BAR: Duration = Duration::from_secs(1);
/// How long others may go unseen while one is looked after.
const OTHERS: Duration = Duration::from_micros(50);

const AT_ONCE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

/// What looking did, for `memreport`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Windows in which something came.
    pub hits: u64,
    /// Windows in which nothing came.
    pub misses: u64,
    /// Windows that ended because the processor had been somebody else's.
    pub jumps: u64,
    /// Time spent in windows, nanoseconds.
    pub spent_ns: u64,
    /// Waits that could sleep.
    pub sleeps: u64,
}

impl Figures {
    /// As rows of a report.
    pub fn rows(&self) -> [(&'static str, u64); 5] {
        [
            ("sleeps", self.sleeps),
            ("poll hits", self.hits),
            ("poll misses", self.misses),
            ("poll lost processor", self.jumps),
            ("poll us", self.spent_ns / 1000),
        ]
    }
}

/// How long to look, by what it was good for so far.
#[derive(Debug)]
pub struct Polling {
    limit: Duration,
    window: Duration,
    bar: Duration,
    barred_until: Option<Instant>,
    /// Processors that this process may use.
    cpus: fn() -> usize,
    pub figures: Figures,
}

impl Polling {
    /// Looks for at most `limit` at once; never if that is 0.
    pub fn new(limit: Duration) -> Polling {
        Polling {
            limit,
            window: Duration::ZERO,
            bar: Duration::ZERO,
            barred_until: None,
            cpus: usable_cpus,
            figures: Figures::default(),
        }
    }

    /// How long to look now.
    pub fn window(&self) -> Option<Duration> {
        (!self.window.is_zero()).then_some(self.window)
    }

    /// Something came, `spent` after the first look.
    fn came(&mut self, spent: Duration) {
        self.figures.hits += 1;
        self.spend(spent);
    }

    /// Nothing came. What follows says whether a longer window would be better.
    fn nothing_came(&mut self, spent: Duration) {
        self.figures.misses += 1;
        self.spend(spent);
    }

    fn spend(&mut self, spent: Duration) {
        let ns = u64::try_from(spent.as_nanos()).unwrap_or(u64::MAX);
        self.figures.spent_ns = self.figures.spent_ns.saturating_add(ns);
    }

    /// Somebody else had the processor between two looks.
    fn lost_processor(&mut self, now: Instant) {
        self.figures.jumps += 1;
        self.window = Duration::ZERO;
        let soon = self
            .barred_until
            .is_some_and(|until| now < until + self.bar);
        self.bar = match soon {
            true => (self.bar * 2).min(GREATEST_BAR),
            false => LEAST_BAR,
        };
        self.barred_until = Some(now + self.bar);
    }

    /// A wait of this length has ended with something to do.
    fn slept(&mut self, length: Duration, now: Instant) {
        if length > self.limit {
            self.window = Duration::ZERO;
        } else if self.barred_until.is_none_or(|until| now >= until) {
            // With one processor whoever is to ask next cannot run meanwhile.
            if !self.window.is_zero() || (self.cpus)() > 1 {
                self.window = (self.window * 2).clamp(FIRST.min(self.limit), self.limit);
            }
        }
    }
}

fn usable_cpus() -> usize {
    rustix::thread::sched_getaffinity(None).map_or(1, |set| set.count() as usize)
}

impl Daemon {
    /// Waits for something to do; what epoll knows of it is in `events`.
    pub(crate) fn wait(&mut self, events: &mut Vec<Event>) -> anyhow::Result<()> {
        let served = std::mem::take(&mut self.served);
        // Who is held back has to be let go in time.
        let may_look = served > 0 && self.run_queue.is_empty() && self.held.is_empty();
        if let Some(window) = self.polling.window().filter(|_| may_look) {
            if self.look(events, window)? {
                return Ok(());
            }
        }
        let timeout = self.timeout();
        if timeout == Some(AT_ONCE) {
            return self.ask_epoll(events, timeout);
        }
        self.polling.figures.sleeps += 1;
        let start = Instant::now();
        self.ask_epoll(events, timeout)?;
        if served > 0 {
            let now = self.epoll_asked;
            self.polling.slept(now - start, now);
        }
        Ok(())
    }

    fn ask_epoll(
        &mut self,
        events: &mut Vec<Event>,
        timeout: Option<Timespec>,
    ) -> anyhow::Result<()> {
        let waited = epoll::wait(&self.epoll, spare_capacity(events), timeout.as_ref());
        self.epoll_asked = Instant::now();
        match waited {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(e) => Err(e).context("cannot wait for events"),
        }
    }

    /// Looks for `window`; whether there is something to do now.
    fn look(&mut self, events: &mut Vec<Event>, window: Duration) -> anyhow::Result<bool> {
        let start = Instant::now();
        let mut last = start;
        loop {
            let hot = self
                .last_served
                .and_then(|token| self.table.by_token(token));
            let came = hot.is_some_and(|index| self.receive_early(index));
            if hot.is_none() || last.duration_since(self.epoll_asked) >= OTHERS {
                self.ask_epoll(events, Some(AT_ONCE))?;
            }
            let now = Instant::now();
            let lost = now - last > JUMP;
            if lost {
                self.polling.lost_processor(now);
            }
            if came || !events.is_empty() {
                self.polling.came(now - start);
                return Ok(true);
            }
            if lost || now - start >= window {
                self.polling.nothing_came(now - start);
                return Ok(false);
            }
            last = now;
            rustix::thread::sched_yield();
        }
    }

    /// Takes what a connection has sent, if it has; it is then in the queue.
    fn receive_early(&mut self, index: usize) -> bool {
        let Some(peer) = &mut self.table.peers[index] else {
            return false;
        };
        if peer.held || peer.ended || !peer.interest.contains(EventFlags::IN) {
            return false;
        }
        let came = receive(peer, &mut self.received);
        if came {
            self.enqueue(index);
        }
        came
    }
}

/// Takes what a connection has sent or notes its end; false if there is
/// nothing yet.
pub fn receive(peer: &mut Peer, buffer: &mut [u8]) -> bool {
    match peer.stream.read(buffer) {
        Ok(0) => peer.ended = true,
        Ok(n) => peer.input.feed(&buffer[..n]),
        Err(e) => match e.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => return false,
            _ => peer.ended = true,
        },
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: Duration = Duration::from_micros(1);

    fn polling(cpus: fn() -> usize) -> Polling {
        Polling {
            cpus,
            ..Polling::new(50 * US)
        }
    }

    #[test]
    fn window_grows_with_short_sleeps_and_goes_with_a_long_one() {
        let now = Instant::now();
        let mut polling = polling(|| 2);
        assert_eq!(polling.window(), None);
        let mut seen = Vec::new();
        for _ in 0..5 {
            polling.slept(20 * US, now);
            seen.extend(polling.window());
        }
        assert_eq!(seen, [10 * US, 20 * US, 40 * US, 50 * US, 50 * US]);
        polling.slept(51 * US, now);
        assert_eq!(polling.window(), None);
    }

    #[test]
    fn one_processor_or_a_limit_of_nothing_never_looks() {
        let now = Instant::now();
        let mut alone = polling(|| 1);
        let mut never = Polling {
            cpus: || 2,
            ..Polling::new(Duration::ZERO)
        };
        for _ in 0..10 {
            alone.slept(US, now);
            never.slept(Duration::ZERO, now);
        }
        assert_eq!((alone.window(), never.window()), (None, None));
    }

    #[test]
    fn processor_lost_again_and_again_bars_looking_for_longer() {
        let mut now = Instant::now();
        let mut polling = polling(|| 2);
        let mut bars = Vec::new();
        for _ in 0..9 {
            polling.slept(US, now);
            assert!(polling.window().is_some());
            polling.lost_processor(now);
            let began = now;
            loop {
                now += Duration::from_millis(1);
                polling.slept(US, now);
                if polling.window().is_some() {
                    break;
                }
            }
            bars.push((now - began).as_millis());
        }
        assert_eq!(bars, [10, 20, 40, 80, 160, 320, 640, 1000, 1000]);
        // A long while without: as at first.
        now += Duration::from_secs(3);
        polling.lost_processor(now);
        polling.slept(US, now + LEAST_BAR);
        assert_eq!(polling.window(), Some(FIRST));
        assert_eq!(polling.figures.jumps, 10);
    }
}
