//! When a ring's thread (of a disk, of an interface) lets the guest run on before it looks at a request: many at once cost one
//! notification each way.
//!
//! ```text
//!   before a wait --gathers()?--> SCHED_BATCH: woken, it takes no vCPU's place --found(n)--> n > 1: again
//!                       no -----> SCHED_OTHER                                               n = 1: not for EVERY waits
//! ```
//! It matters where thread and vCPU share a CPU: there the first of a burst of requests puts the thread in the vCPU's
//! place, which answers it at once, and then each of the burst costs an exit and an interrupt. A thread that finds a free
//! CPU runs at once under both policies (sched(7)).
#![allow(unsafe_code)] // rustix has no sched_setscheduler.

/// Waits from one trial to the next.
const EVERY: u32 = 32;

/// Decides by what the last look found.
#[derive(Debug, Default)]
pub struct Gathering {
    bursts: bool,
    left: u32,
    policy: Policy,
}

impl Gathering {
    /// Before a wait: sets this thread's policy; whether it gathers.
    pub fn prepare(&mut self) -> bool {
        let gathers = self.gathers();
        self.policy.set(gathers);
        gathers
    }

    fn gathers(&mut self) -> bool {
        if self.bursts {
            return true;
        }
        if self.left == 0 {
            self.left = EVERY;
            return true;
        }
        self.left -= 1;
        false
    }

    /// What the guest's notification was about, after a wait that gathered.
    pub fn found(&mut self, requests: u32) {
        self.bursts = requests > 1;
    }
}

/// The policy that this thread has.
#[derive(Debug, Default)]
struct Policy {
    batch: bool,
}

impl Policy {
    fn set(&mut self, batch: bool) {
        if self.batch == batch {
            return;
        }
        self.batch = batch;
        let policy = match batch {
            true => libc::SCHED_BATCH,
            false => libc::SCHED_OTHER,
        };
        let param = libc::sched_param { sched_priority: 0 };
        // SAFETY: the parameter lives during the call, and 0 is the calling thread. Where it is refused (seccomp, a real-time
        // policy set from outside), the thread stays as it is and does the same work. No crate of ours has the call.
        unsafe { libc::sched_setscheduler(0, policy, &param) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bursts_are_gathered_as_long_as_they_come() {
        let mut gathering = Gathering::default();
        for _ in 0..100 {
            assert!(gathering.prepare());
            gathering.found(7);
        }
        assert!(gathering.prepare());
        gathering.found(1);
        assert!(!gathering.prepare());
    }

    #[test]
    fn single_requests_are_looked_at_at_once_but_for_a_trial_now_and_then() {
        let mut gathering = Gathering::default();
        let mut trials = 0;
        for _ in 0..(EVERY + 1) * 10 {
            if gathering.prepare() {
                trials += 1;
                gathering.found(1);
            }
        }
        assert_eq!(trials, 10);
    }

    #[test]
    fn policy_of_the_thread_follows() {
        // SAFETY: 0 is the calling thread; nothing is handed over.
        let policy = || unsafe { libc::sched_getscheduler(0) };
        let mut gathering = Gathering::default();
        gathering.prepare();
        assert_eq!(policy(), libc::SCHED_BATCH);
        gathering.found(1);
        gathering.prepare();
        assert_eq!(policy(), libc::SCHED_OTHER);
    }
}
