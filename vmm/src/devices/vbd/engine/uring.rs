//! io_uring: the queue's own thread submits, the kernel does the work.
//!
//! ```text
//!   begin(jobs) -> submission entries (as many as fit; the rest waits) -> one io_uring_enter
//!   fd readable -> finished(): completions; a short transfer is finished by preadv/pwritev here
//!   image on tmpfs: done at once
//! ```
#![allow(unsafe_code)] // Submission entries hold addresses.

use super::Engine;
use crate::devices::vbd::image::{failure, Image};
use crate::devices::vbd::vectors::Vectors;
use crate::vstate::memory::GuestMemory;
use io_uring::{opcode, squeue, types, IoUring};
use noxen_devices::pv::block::{Job, JobOp, Outcome};
use rustix::fs::FallocateFlags;
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::Arc;

/// Attempts to submit while the kernel is short of memory.
const ATTEMPTS: usize = 100;

/// One ring of the kernel's for one ring of the guest's.
pub struct Uring {
    ring: IoUring,
    image: Arc<Image>,
    memory: GuestMemory,
    /// By token: what the kernel works on.
    running: Vec<Option<(Job, Vectors)>>,
    waiting: VecDeque<Job>,
    /// Ended without the kernel.
    ended: Vec<(u32, Outcome)>,
}

impl fmt::Debug for Uring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Uring")
            .field("running", &self.running.iter().flatten().count())
            .field("waiting", &self.waiting.len())
            .finish_non_exhaustive()
    }
}

/// Whether the kernel makes rings.
pub fn available() -> io::Result<()> {
    IoUring::new(1).map(drop)
}

impl Uring {
    /// An engine for `entries` jobs at a time.
    pub fn new(image: Arc<Image>, memory: GuestMemory, entries: u32) -> io::Result<Uring> {
        Ok(Uring {
            ring: IoUring::new(entries.clamp(8, 512))?,
            image,
            memory,
            running: Vec::new(),
            waiting: VecDeque::new(),
            ended: Vec::new(),
        })
    }

    /// Puts waiting jobs into the submission queue while there is room.
    fn fill(&mut self) {
        while !self.ring.submission().is_full() {
            let Some(job) = self.waiting.pop_front() else {
                return;
            };
            let token = job.token as usize;
            if self.running.len() <= token {
                self.running.resize_with(token + 1, || None);
            }
            let vectors = Vectors::new(&self.memory, &job.pieces, 0);
            let (Some(vectors), Some(file)) = (vectors, self.image.raw()) else {
                self.ended.push((job.token, Outcome::Failed));
                continue;
            };
            let entry = entry(types::Fd(file.as_raw_fd()), &job, &vectors);
            let entry = entry.user_data(u64::from(job.token));
            self.running[token] = Some((job, vectors));
            // SAFETY: the entry names the image's descriptor, which lives as long as this engine, guest
            // memory, which is never unmapped, and the heap part of the vectors, which stays in `running`
            // until the completion has been seen (dropping the engine waits for all of them).
            if unsafe { self.ring.submission().push(&entry) }.is_err() {
                // There was room.
                debug_assert!(false, "submission queue full");
            }
        }
    }

    fn submit(&self) {
        for _ in 0..ATTEMPTS {
            match self.ring.submit() {
                Err(error) if matches!(error.raw_os_error(), Some(libc::EINTR | libc::EAGAIN)) => {}
                // Done, or out of resources: what is left in the queue goes with the next completion.
                _ => return,
            }
        }
    }
}

fn entry(fd: types::Fd, job: &Job, vectors: &Vectors) -> squeue::Entry {
    let (list, count) = vectors.parts();
    match job.op {
        JobOp::Read => opcode::Readv::new(fd, list.cast(), count as u32)
            .offset(job.offset)
            .build(),
        JobOp::Write => opcode::Writev::new(fd, list.cast(), count as u32)
            .offset(job.offset)
            .build(),
        JobOp::Flush => opcode::Fsync::new(fd)
            .flags(types::FsyncFlags::DATASYNC)
            .build(),
        JobOp::Discard(length) => {
            let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            opcode::Fallocate::new(fd, length)
                .offset(job.offset)
                .mode(flags.bits() as i32)
                .build()
        }
    }
}

impl Engine for Uring {
    fn begin(&mut self, jobs: &mut Vec<Job>, ended: &mut Vec<(u32, Outcome)>) {
        if self.image.is_in_memory() {
            // Such a file never waits, and its file system has the kernel's ring hand each transfer to
            // a helper thread: doing it here is several times cheaper.
            for job in jobs.drain(..) {
                ended.push((job.token, self.image.perform(&self.memory, &job, 0)));
            }
        }
        if jobs.is_empty() {
            return;
        }
        self.waiting.extend(jobs.drain(..));
        self.fill();
        self.submit();
    }

    fn finished(&mut self, ended: &mut Vec<(u32, Outcome)>) {
        ended.append(&mut self.ended);
        let before = ended.len();
        let completions: Vec<(u64, i32)> = self
            .ring
            .completion()
            .map(|entry| (entry.user_data(), entry.result()))
            .collect();
        for (token, result) in completions {
            let slot = self.running.get_mut(token as usize);
            let Some((job, vectors)) = slot.and_then(Option::take) else {
                continue;
            };
            let moves = matches!(job.op, JobOp::Read | JobOp::Write);
            let outcome = match usize::try_from(result) {
                Ok(count) if moves && count < vectors.bytes() => {
                    self.image.perform(&self.memory, &job, count)
                }
                Ok(_) => Outcome::Done,
                Err(_) if matches!(-result, libc::EAGAIN | libc::EINTR) => {
                    self.image.perform(&self.memory, &job, 0)
                }
                Err(_) => failure(-result),
            };
            ended.push((job.token, outcome));
        }
        if ended.len() > before {
            self.fill();
            if !self.ring.submission().is_empty() {
                self.submit();
            }
        }
    }

    fn fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the descriptor stays open while its owner is borrowed. io-uring has only the raw accessor.
        unsafe { BorrowedFd::borrow_raw(self.ring.as_raw_fd()) }
    }
}

impl Drop for Uring {
    /// The kernel still reads the vectors of what it has taken.
    fn drop(&mut self) {
        self.waiting.clear();
        while self.running.iter().any(Option::is_some) {
            match self.ring.submit_and_wait(1) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                    // It cannot be waited for: leak what it may still use.
                    self.running.drain(..).for_each(std::mem::forget);
                    return;
                }
                _ => self.finished(&mut Vec::new()),
            }
        }
    }
}
