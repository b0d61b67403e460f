//! An image as the medium of an emulated drive (IDE, floppy): the same formats as PV disks, one thread that does the work.
//!
//! ```text
//!   drive (vCPU's thread) --begin--> queue (bounded) --> thread: image.perform() on a buffer --> answers --> notify()
//!   administrator --insert--> another image, or none      drive <--finished()-- attend <-- machine <---------'
//! ```
//! Emulated drives have one request under way at a time, so one thread is enough; data goes through a buffer, because a
//! guest may take its memory to anything while an emulated drive is at work.

use crate::devices::vbd::image::Image;
use crate::devices::vbd::{open_image, Config};
use crate::domain::calls::lock;
use crate::vstate::memory::GuestMemory;
use noxen_devices::pv::block::{Job, JobOp, Outcome, Piece, SECTOR};
use noxen_pc::medium::{Answer, Disc, Failed, Medium, Request, What};
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use vm_memory::{Bytes, GuestAddress};

/// Requests that wait at most; a guest that resets its drive over and over leaves some behind.
const MAX_WAITING: usize = 64;
/// Bytes moved in one go.
const BUFFER: usize = 64 << 10;
const STACK: usize = 512 << 10;

/// An image that can be put into a drive.
#[derive(Debug)]
pub struct Loaded {
    image: Image,
    bytes: u64,
    writable: bool,
}

impl Loaded {
    /// Opens the image behind `fds`; an error line says why it cannot be a medium.
    pub fn open(config: &Config, fds: Vec<OwnedFd>) -> Result<Loaded, String> {
        let [fd] = <[OwnedFd; 1]>::try_from(fds).map_err(|fds| {
            format!(
                "a drive takes one descriptor, the image's; {} came along",
                fds.len()
            )
        })?;
        let path = &config.image.path;
        let opened = open_image(config, fd)?;
        if u64::from(opened.sector_size) != SECTOR {
            return Err(format!(
                "{path}: sectors of {} bytes; an emulated drive has {SECTOR}: use a PV disk (xvd) for it",
                opened.sector_size
            ));
        }
        Ok(Loaded {
            image: opened.image,
            bytes: opened.sectors * SECTOR,
            writable: !config.readonly,
        })
    }
}

impl Loaded {
    /// It has no sector.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }
}

#[derive(Debug, Default)]
struct State {
    inside: Option<Arc<Loaded>>,
    changes: u64,
    waiting: VecDeque<Request>,
    answers: VecDeque<Answer>,
    /// Answers have come without the thread's doing.
    nudged: bool,
    /// The guest keeps the medium in.
    kept: bool,
    /// A request is being done.
    busy: bool,
    /// Requests wait, and the image is another process's.
    away: bool,
    over: bool,
}

struct Shared {
    state: Mutex<State>,
    work: Condvar,
    /// A request has been done.
    done: Condvar,
    /// Has the device attended to.
    notify: Box<dyn Fn() + Send + Sync>,
    /// A line for the domain's log.
    log: Box<dyn Fn(String) + Send + Sync>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

/// The place for a medium in a drive; dropping it ends its thread after what it is at and closes the image.
#[derive(Debug)]
pub struct Tray {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// The drive's side of a [`Tray`].
#[derive(Debug)]
struct Head {
    shared: Arc<Shared>,
}

impl Tray {
    /// A tray with `inside`. `notify` is called whenever the drive should be attended to, from the tray's thread or that of
    /// [`Self::insert`], never within a call of the drive's; `log` with lines for the domain's log.
    pub fn new(
        name: &str,
        inside: Option<Loaded>,
        notify: impl Fn() + Send + Sync + 'static,
        log: impl Fn(String) + Send + Sync + 'static,
    ) -> io::Result<Tray> {
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                inside: inside.map(Arc::new),
                ..State::default()
            }),
            work: Condvar::new(),
            done: Condvar::new(),
            notify: Box::new(notify),
            log: Box::new(log),
        });
        let memory = GuestMemory::from_ranges(&[(GuestAddress(0), BUFFER)])
            .map_err(|error| io::Error::other(error.to_string()))?;
        let served = shared.clone();
        let thread = std::thread::Builder::new()
            .name(name.into())
            .stack_size(STACK)
            .spawn(move || serve(&served, &memory))?;
        Ok(Tray {
            shared,
            thread: Some(thread),
        })
    }

    /// For the drive.
    pub fn medium(&self) -> Box<dyn Medium> {
        Box::new(Head {
            shared: self.shared.clone(),
        })
    }

    /// Puts another medium in, or takes the one that is there out.
    pub fn insert(&self, inside: Option<Loaded>) {
        let mut state = lock(&self.shared.state);
        state.inside = inside.map(Arc::new);
        state.changes += 1;
        drop(state);
        (self.shared.notify)();
    }

    /// Takes the medium out for good, and comes back when nothing is done to it any more.
    pub fn take_out(&self) {
        let mut state = lock(&self.shared.state);
        let inside = state.inside.take();
        state.changes += 1;
        while state.busy {
            let done = self.shared.done.wait(state);
            state = done.unwrap_or_else(PoisonError::into_inner);
        }
        drop(state);
        // Its file is closed before somebody else opens it.
        drop(inside);
        (self.shared.notify)();
    }

    /// Closes the image, of which the drive notices nothing, and comes back when nothing is done to it any more: requests wait until
    /// [`Self::bring_back`]. Whether there was one.
    pub fn put_away(&self) -> bool {
        let mut state = lock(&self.shared.state);
        state.away = true;
        while state.busy {
            let done = self.shared.done.wait(state);
            state = done.unwrap_or_else(PoisonError::into_inner);
        }
        let inside = state.inside.take();
        drop(state);
        inside.is_some()
    }

    /// Has requests wait until [`Self::bring_back`]; the image stays open.
    pub fn hold(&self) {
        lock(&self.shared.state).away = true;
    }

    /// Goes on, with the same image, opened again where it was put away.
    pub fn bring_back(&self, inside: Option<Loaded>) {
        let mut state = lock(&self.shared.state);
        if let Some(inside) = inside {
            state.inside = Some(Arc::new(inside));
        }
        state.away = false;
        drop(state);
        self.shared.work.notify_all();
    }

    /// Whether the guest keeps the medium in.
    pub fn is_kept(&self) -> bool {
        lock(&self.shared.state).kept
    }

    /// Whether there is a medium.
    pub fn is_loaded(&self) -> bool {
        lock(&self.shared.state).inside.is_some()
    }
}

impl Drop for Tray {
    fn drop(&mut self) {
        lock(&self.shared.state).over = true;
        self.shared.work.notify_all();
        if let Some(thread) = self.thread.take() {
            // A thread that panicked is over as well.
            let _ = thread.join();
        }
        // The drive's side stays with a machine that ends with the process: the image has to be closed before.
        let inside = lock(&self.shared.state).inside.take();
        drop(inside);
    }
}

impl Medium for Head {
    fn disc(&self) -> Disc {
        let state = lock(&self.shared.state);
        Disc {
            bytes: state.inside.as_ref().map(|inside| inside.bytes),
            writable: state.inside.as_ref().is_some_and(|inside| inside.writable),
            changes: state.changes,
        }
    }

    fn begin(&mut self, request: Request) {
        let mut state = lock(&self.shared.state);
        if state.waiting.len() < MAX_WAITING {
            state.waiting.push_back(request);
            drop(state);
            self.shared.work.notify_one();
            return;
        }
        state.answers.push_back(Answer {
            token: request.token,
            result: Err(Failed),
        });
        if state.answers.len() > MAX_WAITING {
            // The oldest is of a request that the drive has long forgotten.
            state.answers.pop_front();
        }
        // The machine is in the midst of an access: the thread tells it later.
        state.nudged = true;
        drop(state);
        self.shared.work.notify_one();
    }

    fn finished(&mut self) -> Option<Answer> {
        lock(&self.shared.state).answers.pop_front()
    }

    fn tray(&mut self, open: bool) {
        if open {
            let mut state = lock(&self.shared.state);
            state.inside = None;
            state.changes += 1;
        }
    }

    fn keep(&mut self, kept: bool) {
        lock(&self.shared.state).kept = kept;
    }
}

/// What the thread finds to do.
enum Found {
    Request(Request, Option<Arc<Loaded>>),
    Nudge,
    Over,
}

fn next(shared: &Shared) -> Found {
    let mut state = lock(&shared.state);
    loop {
        if std::mem::take(&mut state.nudged) {
            return Found::Nudge;
        }
        let request = match state.away {
            true => None,
            false => state.waiting.pop_front(),
        };
        if let Some(request) = request {
            state.busy = true;
            return Found::Request(request, state.inside.clone());
        }
        if state.over {
            return Found::Over;
        }
        state = shared
            .work
            .wait(state)
            .unwrap_or_else(PoisonError::into_inner);
    }
}

fn serve(shared: &Shared, memory: &GuestMemory) {
    loop {
        match next(shared) {
            Found::Request(Request { token, what }, inside) => {
                let result = match inside {
                    // Let go of before it is said to be done.
                    Some(inside) => perform(&inside, memory, what),
                    None => Err("there is no medium any more".into()),
                };
                let result = result.map_err(|line| {
                    (shared.log)(line);
                    Failed
                });
                let mut state = lock(&shared.state);
                state.answers.push_back(Answer { token, result });
                state.busy = false;
                drop(state);
                shared.done.notify_all();
                (shared.notify)();
            }
            Found::Nudge => (shared.notify)(),
            Found::Over => return,
        }
    }
}

/// Does a request; an error line says what it could not do.
fn perform(inside: &Loaded, memory: &GuestMemory, what: What) -> Result<Vec<u8>, String> {
    let within = |offset: u64, length: usize| {
        let end = offset.checked_add(length as u64);
        match end {
            Some(end) if end <= inside.bytes => Ok(()),
            _ => Err(format!(
                "{length} bytes at {offset} are asked of a medium of {} bytes",
                inside.bytes
            )),
        }
    };
    let step = |op: JobOp, offset: u64, length: usize| {
        let job = Job {
            token: 0,
            op,
            offset,
            pieces: match op {
                JobOp::Read | JobOp::Write => vec![Piece {
                    at: GuestAddress(0),
                    len: length as u32,
                }],
                JobOp::Flush | JobOp::Discard(_) => Vec::new(),
            },
        };
        match inside.image.perform(memory, &job, 0) {
            Outcome::Done => Ok(()),
            outcome => Err(format!("{op:?} of {length} bytes at {offset}: {outcome:?}")),
        }
    };
    match what {
        What::Read { offset, length } => {
            within(offset, length)?;
            let mut data = vec![0; length];
            for (index, part) in data.chunks_mut(BUFFER).enumerate() {
                step(JobOp::Read, offset + (index * BUFFER) as u64, part.len())?;
                memory
                    .read_slice(part, GuestAddress(0))
                    .map_err(|error| error.to_string())?;
            }
            Ok(data)
        }
        What::Write { .. } if !inside.writable => Err("a write to a read-only medium".into()),
        What::Write { offset, data } => {
            within(offset, data.len())?;
            for (index, part) in data.chunks(BUFFER).enumerate() {
                memory
                    .write_slice(part, GuestAddress(0))
                    .map_err(|error| error.to_string())?;
                step(JobOp::Write, offset + (index * BUFFER) as u64, part.len())?;
            }
            Ok(Vec::new())
        }
        What::Flush => step(JobOp::Flush, 0, 0).map(|()| Vec::new()),
    }
}

#[cfg(test)]
#[path = "medium_tests.rs"]
mod tests;
