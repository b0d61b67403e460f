//! The thread of one queue.
//!
//! ```text
//!          +--------------- poll ----------------+
//!   stop   |  tx port      rx port      tap      |  time of the next credit
//!   end    v  send         room again   deliver  v  send
//! ```
//! The tap is left out of the poll while the guest has no room for a frame that was read already.

use crate::devices::gathering::Gathering;
use crate::devices::port::Port;
use crate::devices::vif::tap::TapQueue;
use noxen_devices::pv::net::receive::Receive;
use noxen_devices::pv::net::transmit::Transmit;
use noxen_devices::pv::net::{Effect, Memory, NetError, Shared};
use rustix::event::{poll, PollFd, PollFlags, Timespec};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};
use vmm_sys_util::eventfd::EventFd;

/// A queue in use.
pub struct Queue<P> {
    pub(super) memory: Memory,
    pub(super) transmit: Transmit,
    pub(super) receive: Receive,
    pub(super) tap: TapQueue,
    /// Of both rings, unless there is another one.
    pub(super) tx_channel: P,
    pub(super) rx_channel: Option<P>,
    pub(super) shared: Arc<Shared>,
}

/// What a poll found.
#[derive(Debug, Clone, Copy, Default)]
struct Ready {
    stop: bool,
    tx: bool,
    rx: bool,
    tap: bool,
}

impl<P: Port> Queue<P> {
    /// Serves the queue until `stop` is readable; an error is the front end's, or the end of the tap.
    pub fn run(&mut self, stop: &EventFd, started: Instant) -> Result<(), NetError> {
        // Notifications before the ports were bound are lost: begin with a look at everything.
        let mut ready = Ready {
            tx: true,
            rx: true,
            tap: true,
            stop: false,
        };
        let (mut tx, mut rx) = (Effect::default(), Effect::default());
        let (mut gathering, mut gathers) = (Gathering::default(), false);
        loop {
            let now = started.elapsed();
            if ready.tx || tx.again || tx.at.is_some_and(|at| at <= now) {
                tx = self
                    .transmit
                    .service(&self.memory, &self.shared, &mut self.tap, now)?;
                if tx.notify {
                    self.tx_channel.kick();
                }
                if gathers && ready.tx {
                    gathering.found(tx.packets);
                }
            }
            if (ready.rx && rx.stalled) || (ready.tap && !rx.stalled) || rx.again {
                rx = self
                    .receive
                    .service(&self.memory, &self.shared, &mut self.tap)?;
                if rx.notify {
                    self.rx_channel.as_ref().unwrap_or(&self.tx_channel).kick();
                }
            }
            let wait = match (tx.again || rx.again, tx.at) {
                (true, _) => Some(Duration::ZERO),
                (false, Some(at)) => Some(at.saturating_sub(started.elapsed())),
                (false, None) => None,
            };
            // Who does not sleep is not woken.
            if wait != Some(Duration::ZERO) {
                gathers = gathering.prepare();
            }
            ready = self.wait(stop, wait, !rx.stalled);
            if ready.stop {
                return Ok(());
            }
        }
    }

    fn wait(&self, stop: &EventFd, wait: Option<Duration>, tap: bool) -> Ready {
        let stop = borrowed(stop);
        let rx_channel = self.rx_channel.as_ref().unwrap_or(&self.tx_channel);
        let mut fds = [
            PollFd::new(&stop, PollFlags::IN),
            PollFd::new(&self.tx_channel, PollFlags::IN),
            PollFd::new(rx_channel, PollFlags::IN),
            PollFd::new(&self.tap, PollFlags::IN),
        ];
        let timeout = wait.map(|wait| Timespec {
            tv_sec: wait.as_secs() as i64,
            tv_nsec: i64::from(wait.subsec_nanos()),
        });
        let polled = if tap { 4 } else { 3 };
        // Interrupted: nothing is ready, and the caller comes back.
        let _ = poll(&mut fds[..polled], timeout.as_ref());
        let is = |index: usize| !fds[index].revents().is_empty();
        let ready = Ready {
            stop: is(0),
            tx: is(1),
            rx: is(2),
            tap: is(3),
        };
        if ready.tx {
            self.tx_channel.acknowledge();
        }
        if ready.rx {
            rx_channel.acknowledge();
        }
        ready
    }
}

#[allow(unsafe_code)]
pub(super) fn borrowed(event: &EventFd) -> BorrowedFd<'_> {
    // SAFETY: the descriptor stays open while `event`, its owner, is borrowed. vmm-sys-util's EventFd has
    // only the raw accessor.
    unsafe { BorrowedFd::borrow_raw(event.as_raw_fd()) }
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
