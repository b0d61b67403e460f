//! When a vCPU's Xen timer is to fire: one thread waits for all of them.
//!
//! ```text
//!   core: set_deadline, start_ticking --> Alarms --thread, when it is time--> Xen::alarm(vCPU)
//! ```

use crate::domain::hub::lock;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Alarm {
    at: Option<Instant>,
    every: Option<Duration>,
}

/// The alarms of all vCPUs.
#[derive(Debug)]
pub struct Alarms {
    all: Mutex<Vec<Alarm>>,
    changed: Condvar,
}

impl Alarms {
    /// None set, for `vcpus` vCPUs.
    pub fn new(vcpus: u32) -> Alarms {
        Alarms {
            all: Mutex::new(vec![Alarm::default(); vcpus as usize]),
            changed: Condvar::new(),
        }
    }

    fn change(&self, vcpu: u32, alarm: Alarm) {
        if let Some(slot) = lock(&self.all).get_mut(vcpu as usize) {
            *slot = alarm;
        }
        self.changed.notify_one();
    }

    /// Fires once at `at`, or not at all, in place of what was set.
    pub fn set(&self, vcpu: u32, at: Option<Instant>) {
        self.change(vcpu, Alarm { at, every: None });
    }

    /// Fires after `first`, and then every `period`.
    pub fn repeat(&self, vcpu: u32, first: Duration, period: Duration) {
        let at = Some(Instant::now() + first);
        let every = Some(period);
        self.change(vcpu, Alarm { at, every });
    }

    /// Waits until an alarm is due; that one is set anew or taken off, and its vCPU is the answer.
    pub fn next(&self) -> u32 {
        let mut all = lock(&self.all);
        loop {
            let now = Instant::now();
            let first = (0u32..)
                .zip(all.iter())
                .filter_map(|(vcpu, alarm)| Some((alarm.at?, vcpu)))
                .min();
            all = match first {
                Some((at, vcpu)) if at <= now => {
                    take(&mut all[vcpu as usize], now);
                    return vcpu;
                }
                Some((at, _)) => {
                    let woken = self.changed.wait_timeout(all, at - now);
                    woken.unwrap_or_else(PoisonError::into_inner).0
                }
                None => {
                    let woken = self.changed.wait(all);
                    woken.unwrap_or_else(PoisonError::into_inner)
                }
            };
        }
    }
}

/// It fired at `now`: when it does next. Times that were missed are not made up for.
fn take(alarm: &mut Alarm, now: Instant) {
    alarm.at = match (alarm.at, alarm.every) {
        (Some(at), Some(every)) if !every.is_zero() => {
            let next = at + every;
            Some(if next > now { next } else { now + every })
        }
        _ => None,
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn earliest_comes_first_and_one_that_is_taken_back_does_not_come() {
        let alarms = Alarms::new(3);
        let now = Instant::now();
        alarms.set(0, Some(now + Duration::from_millis(2)));
        alarms.set(1, Some(now));
        alarms.set(2, Some(now));
        alarms.set(2, None);
        alarms.set(9, Some(now));
        assert_eq!((alarms.next(), alarms.next()), (1, 0));
        assert!(now.elapsed() >= Duration::from_millis(2));
    }

    #[test]
    fn repeated_one_comes_again_and_does_not_make_up_for_what_was_missed() {
        let start = Instant::now();
        let every = Duration::from_millis(4);
        let at = Some(start + every);
        let mut alarm = Alarm {
            at,
            every: Some(every),
        };
        take(&mut alarm, start + every);
        assert_eq!(alarm.at, Some(start + 2 * every));
        take(&mut alarm, start + 10 * every);
        assert_eq!(alarm.at, Some(start + 11 * every));
    }
}
