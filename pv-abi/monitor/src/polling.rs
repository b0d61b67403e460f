//! [`Polling`]: a vCPU that blocks looks around for a while before it halts, if it is likely to be woken soon.
//!
//! ```text
//!   blocks --window, somebody at work--> POLLING --event, attention--> goes on: no halt, and whoever woke it sent no IPI
//!     |                                    |
//!     | no window; nobody who could        | time is up; nobody is at work any more; the host has taken the processor
//!     +------------------> HALTED <--------+
//! ```
//! Only another vCPU that runs is waited for: what devices and timers announce comes as an interrupt either way. The host
//! says which vCPUs run ([`crate::machine::Machine::preempted`]), and noxen-vmm whether they all share one processor
//! ([`crate::sharing`]): those never wait for each other. The window grows with blocks that end soon and shrinks with others, as in Linux's governor *haltpoll*
//! (Documentation/virt/guest-halt-polling.rst).

use crate::cpu::Cpu;
use crate::domain::place;
use crate::machine::Machine;
use core::sync::atomic::Ordering;
use noxen_monitor_abi::counters::other;

/// The first window, and the least one after a poll that paid, ns.
pub const START: u64 = 50_000;
/// The longest window, ns; blocks that last longer shrink it.
pub const MAX: u64 = 200_000;
/// A shorter window is none, ns.
const LEAST: u64 = 2_000;
/// How long a vCPU may take to come out of its halt, ns, while nobody else runs.
pub const GRACE: u64 = 50_000;
/// After n polls in a row that the host did not let be, 2^n blocks go without; at most 2^this.
const MOST_DISTRUST: u32 = 8;

/// How a poll ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// With what the vCPU waits for.
    Woken,
    /// The window is over.
    Elapsed,
    /// Nobody is left who could wake it.
    Alone,
    /// The host had something else to run: it took the processor, or has none for the vCPU that is waited for.
    Taken,
}

/// What a vCPU knows of its blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Polling {
    /// How long the next poll may last, ns; 0: none.
    window: u64,
    /// Blocks that are still to go without a poll.
    skip: u32,
    /// Polls in a row that ended with [`Outcome::Taken`].
    taken: u32,
}

/// Who could wake a vCPU that polls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waker {
    /// Nobody.
    None,
    /// One that was woken and is not there yet.
    Coming,
    /// One that runs.
    AtWork,
}

impl Polling {
    /// Nothing known: no poll.
    pub const NEW: Polling = Polling {
        window: 0,
        skip: 0,
        taken: 0,
    };

    /// How long the poll of the block that begins may last, ns; 0: none.
    pub fn begin(&mut self) -> u64 {
        if self.skip > 0 {
            self.skip -= 1;
            return 0;
        }
        self.window
    }

    /// A poll ended.
    pub fn ended(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Woken => {
                self.window = self.window.max(START);
                self.taken = 0;
            }
            Outcome::Taken => {
                self.taken = (self.taken + 1).min(MOST_DISTRUST);
                self.skip = 1 << self.taken;
            }
            Outcome::Elapsed | Outcome::Alone => {}
        }
    }

    /// A block that went as far as a halt ended after `ns`.
    pub fn halted(&mut self, ns: u64) {
        if ns <= MAX {
            self.window = (self.window * 2).clamp(START, MAX);
        } else {
            self.window /= 2;
            if self.window < LEAST {
                self.window = 0;
            }
        }
    }
}

impl<M: Machine> Cpu<'_, M> {
    /// Polls before a halt; true when `done`, which is what the vCPU waits for. Events may be masked.
    ///
    /// Who finds the vCPU in [`place::POLLING`] sets its flags and sends no interrupt, so after each change of place the
    /// flags are looked at, and who changes them looks at the place afterwards: one of the two sees the other's step.
    pub(crate) fn look_around(&mut self, done: &mut impl FnMut(&mut Self) -> bool) -> bool {
        let window = self.v.polling.begin();
        if window == 0 || self.waker() == Waker::None {
            return false;
        }
        self.count_other(other::POLL);
        let (began, stolen) = (self.now(), self.m.stolen_ns());
        self.shared().place.store(place::POLLING, Ordering::SeqCst);
        let outcome = loop {
            if self.shared().attention.load(Ordering::SeqCst) != 0 {
                self.come_back();
                self.shared().place.store(place::POLLING, Ordering::SeqCst);
            }
            if done(self) {
                break Outcome::Woken;
            }
            if self.m.stolen_ns() != stolen {
                break Outcome::Taken;
            }
            let spent = self.now().saturating_sub(began);
            match self.waker() {
                _ if spent >= window => break Outcome::Elapsed,
                Waker::None => break Outcome::Alone,
                Waker::Coming if spent >= GRACE => break Outcome::Taken,
                Waker::Coming | Waker::AtWork => self.m.breathe(),
            }
        };
        self.come_back();
        self.v.polling.ended(outcome);
        match outcome {
            Outcome::Woken => self.count_other(other::POLL_WOKEN),
            Outcome::Taken => self.count_other(other::POLL_TAKEN),
            Outcome::Elapsed | Outcome::Alone => {}
        }
        outcome == Outcome::Woken
    }

    /// Out of a wait: a vCPU that runs again does first what it was asked for meanwhile, above all flushes, for nobody has
    /// waited for them.
    pub(crate) fn come_back(&mut self) {
        self.shared().place.store(place::RUNNING, Ordering::SeqCst);
        while self.shared().attention.load(Ordering::SeqCst) != 0 {
            self.attend();
        }
    }

    /// Who could wake this vCPU. One that lost its processor could not while this one keeps the host busy.
    fn waker(&self) -> Waker {
        let mut waker = Waker::None;
        if self.shares_processor() {
            return waker;
        }
        for (id, vcpu) in (0..self.dom.info.nr_vcpus).zip(&self.dom.vcpus) {
            if id == self.v.id {
                continue;
            }
            let runs = vcpu.place.load(Ordering::SeqCst) == place::RUNNING;
            if !runs && vcpu.attention.load(Ordering::SeqCst) == 0 {
                continue;
            }
            match self.m.preempted(id) {
                Some(false) if runs => return Waker::AtWork,
                // Marked or not: KVM does not mark a vCPU that it takes out to halt (Linux 5.19 and later).
                Some(_) if !runs => waker = Waker::Coming,
                Some(_) | None => {}
            }
        }
        waker
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn window_opens_with_a_block_that_ends_soon_and_grows_to_its_bound() {
        let mut polling = Polling::NEW;
        assert_eq!(polling.begin(), 0);
        let mut windows = Vec::new();
        for _ in 0..4 {
            polling.halted(MAX);
            windows.push(polling.begin());
        }
        assert_eq!(windows, [START, 2 * START, MAX, MAX]);
    }

    #[test]
    fn blocks_that_last_close_it() {
        let mut polling = Polling::NEW;
        polling.halted(MAX);
        polling.halted(MAX + 1);
        assert_eq!(polling.begin(), START / 2);
        for _ in 0..4 {
            polling.halted(u64::MAX);
        }
        assert_eq!(polling, Polling::NEW);
    }

    #[test]
    fn poll_that_paid_keeps_it_open() {
        let mut polling = Polling::NEW;
        polling.halted(MAX);
        for _ in 0..20 {
            polling.halted(MAX + 1);
            polling.ended(Outcome::Woken);
        }
        assert_eq!(polling.begin(), START);
    }

    #[test]
    fn polls_on_a_busy_host_become_rare() {
        let mut polling = Polling::NEW;
        let mut polls = 0;
        for _ in 0..10_000 {
            polling.halted(1_000);
            if polling.begin() > 0 {
                polls += 1;
                polling.ended(Outcome::Taken);
            }
        }
        assert!((10..60).contains(&polls), "{polls}");
        // One that pays is enough for more.
        while polling.begin() == 0 {}
        polling.ended(Outcome::Woken);
        assert_eq!(polling.begin(), MAX);
    }
}
