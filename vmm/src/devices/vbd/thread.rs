//! The thread of one ring.
//!
//! ```text
//!   poll {event channel, engine, stop} -> service ring -> engine -> responses -> doorbell
//!   stop: what is under way is ended and answered, and whatever an answer sets free in the guest;
//!         then the grants are given back
//!   stop of a guest that stands still: what was taken is ended and answered; what is in the ring stays there
//! ```
//! A front end that closes in the middle of its work (Linux, when a disk is detached) stops its queue at once, and its
//! next interrupt starts it again: requests may follow that only our last answers had room for. Nobody would ever
//! answer them later, and the guest's thread for all its devices would wait for them.

use crate::devices::gathering::Gathering;
use crate::devices::port::Port;
use crate::devices::vbd::counts::Counts;
use crate::devices::vbd::engine::Engine;
use crate::devices::vbd::rings::RingPages;
use crate::vstate::memory::GuestMemory;
use noxen_devices::pv::block::{Broken, Job, Outcome, Queue};
use rustix::event::{eventfd, poll, EventfdFlags, PollFd, PollFlags, Timespec};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Looks at the ring before the descriptors are looked at again.
const ROUNDS: usize = 64;
const NOT_AT_ALL: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};
/// After a stop in the middle of work: how long a guest may take to send what the last answers gave room for. Long enough for
/// one whose host is busy: what it sends too late hangs for good.
const QUIET: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 500_000_000,
};
/// How long after a stop requests are taken at all.
const LAST_CALL: Duration = Duration::from_secs(5);

/// All that the thread needs.
pub struct Work<P> {
    /// Thread name.
    pub name: String,
    /// Guest memory.
    pub memory: GuestMemory,
    /// The ring.
    pub queue: Queue,
    /// Its event channel.
    pub channel: P,
    /// Does the jobs.
    pub engine: Box<dyn Engine>,
    /// Of the disk.
    pub counts: Arc<Counts>,
    /// Told that the ring is broken.
    pub report: Box<dyn Fn(&Broken) + Send>,
    /// The ring's pages, given back at the end; a test has none.
    pub pages: Option<RingPages>,
}

/// A running thread; dropping it stops the ring in order.
#[derive(Debug)]
pub struct QueueThread {
    stop: Arc<OwnedFd>,
    /// The guest stands still: nothing follows from an answer.
    still: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl QueueThread {
    /// Starts it.
    pub fn start<P: Port + Send + 'static>(work: Work<P>) -> io::Result<QueueThread> {
        let stop = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let still = Arc::new(AtomicBool::new(false));
        let (told, silent) = (stop.clone(), still.clone());
        let thread = std::thread::Builder::new()
            .name(work.name.clone())
            .stack_size(256 << 10)
            .spawn(move || run(work, &told, &silent))?;
        Ok(QueueThread {
            stop,
            still,
            thread: Some(thread),
        })
    }

    /// Has it stop soon, for a guest that stands still: what was taken is answered, and what is in the ring stays there.
    /// Dropping it waits for that.
    pub fn stop_still(&self) {
        self.still.store(true, Ordering::Release);
        let _ = rustix::io::write(&self.stop, &1u64.to_ne_bytes());
    }
}

impl Drop for QueueThread {
    fn drop(&mut self) {
        let _ = rustix::io::write(&self.stop, &1u64.to_ne_bytes());
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has nothing more in flight: the engine's drop waited for it.
            let _ = thread.join();
        }
    }
}

/// What a wait found.
#[derive(Debug, Clone, Copy, Default)]
struct Ready {
    stop: bool,
    channel: bool,
    engine: bool,
}

fn run<P: Port>(mut work: Work<P>, stop: &OwnedFd, still: &AtomicBool) {
    let mut broken = false;
    let (mut gathering, mut gathers) = (Gathering::default(), false);
    // The first turn is not waited for: what came before the channel was bound was not notified.
    let mut ready = Ready::default();
    let mut jobs = Vec::new();
    let mut ended = Vec::new();
    let mut worked = None;
    while !ready.stop {
        if !broken {
            let before = work.queue.taken();
            let outcome = turn(&mut work, ready, true, &mut jobs, &mut ended);
            if work.queue.taken() != before {
                worked = Some(Instant::now());
            }
            if gathers && ready.channel {
                gathering.found(work.queue.taken().wrapping_sub(before));
            }
            match outcome {
                // Others are looked at after a while even if the front end never pauses.
                Ok(true) => {
                    ready = wait(&work, Some(stop), false, Some(&NOT_AT_ALL));
                    continue;
                }
                Ok(false) => {}
                Err(error) => {
                    // The bus disconnects the device soon; until then only the stop is waited for.
                    (work.report)(&error);
                    broken = true;
                }
            }
        }
        gathers = gathering.prepare();
        ready = wait(&work, Some(stop), broken, None);
    }
    // An engine that answers at once leaves nothing under way, and what its answers set free comes all the same.
    let lately = worked.is_some_and(|at| at.elapsed() < LAST_CALL);
    finish(work, broken, still.load(Ordering::Acquire), lately);
}

/// One look at everything, at new requests if `taking`; true: there may be more at once.
fn turn<P: Port>(
    work: &mut Work<P>,
    ready: Ready,
    taking: bool,
    jobs: &mut Vec<Job>,
    ended: &mut Vec<(u32, Outcome)>,
) -> Result<bool, Broken> {
    if ready.channel {
        work.channel.acknowledge();
    }
    if ready.engine {
        work.engine.finished(ended);
    }
    let mut more = false;
    for _ in 0..ROUNDS {
        more = false;
        for (token, outcome) in ended.drain(..) {
            work.queue.complete(&work.memory, token, outcome, jobs)?;
        }
        match taking {
            true => more = work.queue.service(&work.memory, jobs)?,
            false => work.queue.settle(&work.memory, jobs)?,
        }
        work.counts.add(jobs);
        work.engine.begin(jobs, ended);
        if work.queue.publish(&work.memory)? {
            work.channel.kick();
        }
        more |= !ended.is_empty();
        if !more {
            break;
        }
    }
    Ok(more)
}

/// Waits for at most `limit`.
fn wait<P: Port>(
    work: &Work<P>,
    stop: Option<&OwnedFd>,
    broken: bool,
    limit: Option<&Timespec>,
) -> Ready {
    let mut fds = Vec::with_capacity(3);
    if !broken {
        fds.push(PollFd::new(&work.channel, PollFlags::IN));
        fds.push(PollFd::from_borrowed_fd(work.engine.fd(), PollFlags::IN));
    }
    let at = fds.len();
    fds.extend(stop.map(|stop| PollFd::new(stop, PollFlags::IN)));
    // An interrupted wait only looks earlier.
    let _ = poll(&mut fds, limit);
    let is = |index: usize| fds.get(index).is_some_and(|fd| !fd.revents().is_empty());
    Ready {
        stop: is(at),
        channel: !broken && is(0),
        engine: !broken && is(1),
    }
}

/// Ends what is under way and gives everything back; `lately`: the guest sent requests a short while ago.
fn finish<P: Port>(mut work: Work<P>, broken: bool, still: bool, lately: bool) {
    if !broken {
        let over = match still {
            true => Instant::now(),
            false => Instant::now() + LAST_CALL,
        };
        // Nobody is told any more that it is broken.
        let _ = last_call(&mut work, over, lately);
    }
    // Waits for what a broken ring left in it.
    drop(work.engine);
    work.queue.abandon(&work.memory);
    // Only now does nobody look at the ring any more.
    drop(work.pages);
}

/// Answers what is under way, and what follows from the answers until the guest falls silent or `over` has come.
fn last_call<P: Port>(work: &mut Work<P>, over: Instant, lately: bool) -> Result<(), Broken> {
    let (mut jobs, mut ended) = (Vec::new(), Vec::new());
    let mut ready = Ready::default();
    let mut active = lately || work.queue.running() > 0;
    loop {
        let taken = work.queue.taken();
        let taking = Instant::now() < over;
        let more = turn(work, ready, taking, &mut jobs, &mut ended)?;
        active |= work.queue.taken() != taken;
        let running = work.queue.is_open();
        let expecting = active && taking;
        if !running && !expecting {
            return Ok(());
        }
        let limit = match (more, running) {
            (true, _) => Some(&NOT_AT_ALL),
            (false, true) => None,
            (false, false) => Some(&QUIET),
        };
        ready = wait(work, None, false, limit);
        active = ready.channel || ready.engine || more;
    }
}

#[cfg(test)]
#[path = "thread_tests.rs"]
mod tests;
