//! Threads that do jobs by blocking calls; started as jobs pile up, at most [`MAX_THREADS`] per ring.
//!
//! ```text
//!   begin(jobs) -> deque -> threads: image.perform() -> list of ended jobs, eventfd
//! ```

use super::Engine;
use crate::devices::vbd::image::Image;
use crate::domain::calls::lock;
use crate::vstate::memory::GuestMemory;
use noxen_devices::pv::block::{Job, Outcome};
use rustix::event::{eventfd, EventfdFlags};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

/// Threads of one ring.
const MAX_THREADS: usize = 8;
const STACK: usize = 512 << 10;

#[derive(Debug, Default)]
struct State {
    jobs: VecDeque<Job>,
    idle: usize,
    over: bool,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    work: Condvar,
    ended: Mutex<Vec<(u32, Outcome)>>,
    event: OwnedFd,
    image: Arc<Image>,
    memory: GuestMemory,
}

/// A pool for one ring.
#[derive(Debug)]
pub struct Pool {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Pool {
    /// A pool with one thread.
    pub fn new(image: Arc<Image>, memory: GuestMemory) -> io::Result<Pool> {
        let mut pool = Pool {
            shared: Arc::new(Shared {
                state: Mutex::default(),
                work: Condvar::new(),
                ended: Mutex::default(),
                event: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
                image,
                memory,
            }),
            threads: Vec::new(),
        };
        pool.grow()?;
        Ok(pool)
    }

    fn grow(&mut self) -> io::Result<()> {
        let shared = self.shared.clone();
        let thread = std::thread::Builder::new()
            .name("vbd-io".into())
            .stack_size(STACK)
            .spawn(move || shared.serve())?;
        self.threads.push(thread);
        Ok(())
    }
}

impl Shared {
    fn next(&self) -> Option<Job> {
        let mut state = lock(&self.state);
        loop {
            if let Some(job) = state.jobs.pop_front() {
                return Some(job);
            }
            if state.over {
                return None;
            }
            state.idle += 1;
            state = self
                .work
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
        }
    }

    fn serve(&self) {
        while let Some(job) = self.next() {
            let outcome = self.image.perform(&self.memory, &job, 0);
            lock(&self.ended).push((job.token, outcome));
            // A counter at its limit is readable all the same.
            let _ = rustix::io::write(&self.event, &1u64.to_ne_bytes());
        }
    }
}

impl Engine for Pool {
    fn begin(&mut self, jobs: &mut Vec<Job>, _ended: &mut Vec<(u32, Outcome)>) {
        if jobs.is_empty() {
            return;
        }
        let mut state = lock(&self.shared.state);
        state.jobs.extend(jobs.drain(..));
        let wanted = state.jobs.len().saturating_sub(state.idle);
        drop(state);
        self.shared.work.notify_all();
        if wanted > 0 && self.threads.len() < MAX_THREADS {
            // The threads there are do the work if another cannot be had.
            let _ = self.grow();
        }
    }

    fn finished(&mut self, ended: &mut Vec<(u32, Outcome)>) {
        let _ = rustix::io::read(&self.shared.event, &mut [0u8; 8]);
        ended.append(&mut lock(&self.shared.ended));
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.shared.event.as_fd()
    }
}

impl Drop for Pool {
    /// Jobs that have been taken are finished.
    fn drop(&mut self) {
        lock(&self.shared.state).over = true;
        self.shared.work.notify_all();
        for thread in self.threads.drain(..) {
            // A thread that panicked is over as well.
            let _ = thread.join();
        }
    }
}
