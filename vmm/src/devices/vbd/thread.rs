//! The thread of one ring.
//!
//! ```text
//!   poll {event channel, engine, stop} -> service ring -> engine -> responses -> doorbell
//!   stop: no more requests, wait for what the engine has, answer it, give the grants back
//! ```

use crate::devices::backend::Reporter;
use crate::devices::vbd::engine::Engine;
use crate::devices::vbd::rings::RingPages;
use crate::vstate::irq::Channel;
use crate::vstate::memory::GuestMemory;
use noxen_devices::pv::block::{Broken, Job, Outcome, Queue};
use rustix::event::{eventfd, poll, EventfdFlags, PollFd, PollFlags, Timespec};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread::JoinHandle;

/// Looks at the ring before the descriptors are looked at again.
const ROUNDS: usize = 64;
const NOT_AT_ALL: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

/// All that the thread needs.
#[derive(Debug)]
pub struct Work {
    /// Thread name.
    pub name: String,
    /// Guest memory.
    pub memory: GuestMemory,
    /// The ring.
    pub queue: Queue,
    /// Its event channel.
    pub channel: Channel,
    /// Does the jobs.
    pub engine: Box<dyn Engine>,
    /// Says that the ring is broken.
    pub reporter: Reporter,
    /// The ring's pages, given back at the end.
    pub pages: RingPages,
}

/// A running thread; dropping it stops the ring in order.
#[derive(Debug)]
pub struct QueueThread {
    stop: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl QueueThread {
    /// Starts it.
    pub fn start(work: Work) -> io::Result<QueueThread> {
        let stop = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let told = stop.clone();
        let thread = std::thread::Builder::new()
            .name(work.name.clone())
            .stack_size(256 << 10)
            .spawn(move || run(work, &told))?;
        Ok(QueueThread {
            stop,
            thread: Some(thread),
        })
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

fn run(mut work: Work, stop: &OwnedFd) {
    let mut broken = false;
    // The first turn is not waited for: what came before the channel was bound was not notified.
    let mut ready = Ready::default();
    let mut jobs = Vec::new();
    let mut ended = Vec::new();
    while !ready.stop {
        if !broken {
            match turn(&mut work, ready, &mut jobs, &mut ended) {
                // Others are looked at after a while even if the front end never pauses.
                Ok(true) => {
                    ready = wait(&work, stop, false, Some(&NOT_AT_ALL));
                    continue;
                }
                Ok(false) => {}
                Err(error) => {
                    // The bus disconnects the device soon; until then only the stop is waited for.
                    work.reporter.broken(error);
                    broken = true;
                }
            }
        }
        ready = wait(&work, stop, broken, None);
    }
    finish(work, broken);
}

/// One look at everything; true: there may be more at once.
fn turn(
    work: &mut Work,
    ready: Ready,
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
        for (token, outcome) in ended.drain(..) {
            work.queue.complete(&work.memory, token, outcome, jobs)?;
        }
        more = work.queue.service(&work.memory, jobs)?;
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
fn wait(work: &Work, stop: &OwnedFd, broken: bool, limit: Option<&Timespec>) -> Ready {
    let mut fds = vec![PollFd::new(stop, PollFlags::IN)];
    if !broken {
        fds.push(PollFd::new(&work.channel, PollFlags::IN));
        fds.push(PollFd::from_borrowed_fd(work.engine.fd(), PollFlags::IN));
    }
    // An interrupted wait only looks earlier.
    let _ = poll(&mut fds, limit);
    let is = |index: usize| fds.get(index).is_some_and(|fd| !fd.revents().is_empty());
    Ready {
        stop: is(0),
        channel: is(1),
        engine: is(2),
    }
}

/// Lets the engine end what it has, answers it, and gives everything back.
fn finish(mut work: Work, mut broken: bool) {
    let (mut jobs, mut ended) = (Vec::new(), Vec::new());
    while work.queue.running() > 0 && !broken {
        work.engine.finished(&mut ended);
        for (token, outcome) in ended.drain(..) {
            let done = work.queue.complete(&work.memory, token, outcome, &mut jobs);
            broken |= done.is_err();
        }
        work.engine.begin(&mut jobs, &mut ended);
        if work.queue.running() > 0 && !broken && ended.is_empty() {
            let mut fds = [PollFd::from_borrowed_fd(work.engine.fd(), PollFlags::IN)];
            let _ = poll(&mut fds, None);
        }
    }
    if let Ok(true) = work.queue.publish(&work.memory) {
        work.channel.kick();
    }
    // Waits for what a broken ring left in it.
    drop(work.engine);
    work.queue.abandon(&work.memory);
    // Only now does nobody look at the ring any more.
    drop(work.pages);
}
