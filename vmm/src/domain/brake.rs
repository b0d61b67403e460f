//! vCPUs that are held back: a part of each [`PERIOD`] they do not enter the guest.
//!
//! ```text
//!   set(percent) --> a thread:  |held....|runs............|held....|runs............|     PERIOD each, held first
//!                               at each edge: Hub::held, then each vCPU's thread looks (Guest::may_run, runner.rs)
//!   dropped --> the thread ends, and nothing is held
//! ```
//! A vCPU that is held obeys commands as one that waits: pausing, saving and ending it go as ever. Devices are not held back.

use crate::domain::hub::Hub;
use crate::domain::runner::Nudge;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{channel, Receiver, RecvTimeoutError, Sender};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A time in which they are held once. Long enough that getting them out of the guest costs little, short enough for a network's
/// patience at 99 %.
pub const PERIOD: Duration = Duration::from_millis(100);

/// Holds vCPUs back for as long as it is there.
#[derive(Debug)]
pub struct Brake {
    percent: Option<Sender<u32>>,
    worker: Option<JoinHandle<()>>,
}

impl Brake {
    /// On the vCPUs of `nudges`, which share `hub`; they are not held yet.
    pub fn new(hub: Arc<Hub>, nudges: Vec<Nudge>) -> io::Result<Brake> {
        Brake::with(hub, move || nudges.iter().for_each(Nudge::look))
    }

    /// The same; `look` has each vCPU see whether it may run.
    fn with(hub: Arc<Hub>, look: impl Fn() + Send + 'static) -> io::Result<Brake> {
        let (percent, inbox) = channel();
        let thread = std::thread::Builder::new().name("brake".into());
        let worker = thread.spawn(move || {
            let edge = Edge { hub: &hub, look };
            hold(&inbox, &edge);
        })?;
        Ok(Brake {
            percent: Some(percent),
            worker: Some(worker),
        })
    }

    /// They are held for so much of the time from now on, per cent, at most 99.
    pub fn set(&self, percent: u32) {
        if let Some(sender) = &self.percent {
            // The thread lives as long as this.
            let _ = sender.send(percent.min(99));
        }
    }
}

impl Drop for Brake {
    fn drop(&mut self) {
        self.percent = None;
        if let Some(worker) = self.worker.take() {
            // One that has failed has let go, too.
            let _ = worker.join();
        }
    }
}

/// What holds and lets go; lets go whatever happens.
struct Edge<'a, F: Fn()> {
    hub: &'a Hub,
    look: F,
}

impl<F: Fn()> Edge<'_, F> {
    fn set(&self, held: bool) {
        if self.hub.held.swap(held, Ordering::SeqCst) != held {
            (self.look)();
        }
    }
}

impl<F: Fn()> Drop for Edge<'_, F> {
    fn drop(&mut self) {
        self.set(false);
    }
}

fn hold<F: Fn()>(inbox: &Receiver<u32>, edge: &Edge<'_, F>) {
    let (mut percent, begun) = (0, Instant::now());
    loop {
        let (held, rest) = phase(percent, begun.elapsed());
        edge.set(held);
        match inbox.recv_timeout(rest) {
            Ok(wanted) => percent = wanted,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Whether they are held at `time` since the beginning, and how long that lasts.
fn phase(percent: u32, time: Duration) -> (bool, Duration) {
    let period = PERIOD.as_nanos();
    let at = time.as_nanos() % period;
    let held = period * u128::from(percent) / 100;
    let (is_held, until) = match at < held {
        true => (true, held),
        false => (false, period),
    };
    // A period has far fewer nanoseconds than fit.
    (is_held, Duration::from_nanos((until - at) as u64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::Log;
    use crate::vstate::memory::GuestMemory;
    use vm_memory::GuestAddress;
    use vmm_sys_util::eventfd::{EventFd, EFD_NONBLOCK};

    fn hub() -> Arc<Hub> {
        let memory = GuestMemory::from_ranges(&[(GuestAddress(0), 4096)]).unwrap();
        let wake = EventFd::new(EFD_NONBLOCK).unwrap();
        let log = Log::new(None, 1, "test");
        Arc::new(Hub::new(log, memory, channel().0, wake))
    }

    #[test]
    fn they_are_held_for_their_part_of_each_period_by_any_clock() {
        for percent in [0, 1, 20, 50, 99] {
            let (mut time, mut held) = (Duration::ZERO, Duration::ZERO);
            while time < PERIOD * 7 {
                let (is_held, rest) = phase(percent, time);
                assert!(!rest.is_zero());
                if is_held {
                    held += rest;
                }
                time += rest;
            }
            assert_eq!(time, PERIOD * 7);
            assert_eq!(held, PERIOD * 7 * percent / 100);
        }
        // In the midst of a part.
        let ms = Duration::from_millis;
        assert_eq!(phase(20, ms(105)), (true, ms(15)));
        assert_eq!(phase(20, ms(120)), (false, ms(80)));
    }

    #[test]
    fn vcpus_are_told_at_each_edge_and_let_go_at_the_end() {
        let (hub, (edges, seen)) = (hub(), channel());
        let shared = hub.clone();
        let look = move || {
            let _ = edges.send(shared.held.load(Ordering::SeqCst));
        };
        let brake = Brake::with(hub.clone(), look).unwrap();
        assert!(!hub.held.load(Ordering::SeqCst));
        brake.set(50);
        let next = || seen.recv_timeout(Duration::from_secs(20)).unwrap();
        assert_eq!([next(), next(), next()], [true, false, true]);
        // Held, and let go of in the midst of it.
        brake.set(1000);
        drop(brake);
        assert!(!hub.held.load(Ordering::SeqCst));
        let last = seen.iter().last();
        assert!(matches!(last, Some(false)), "{last:?}");
    }
}
