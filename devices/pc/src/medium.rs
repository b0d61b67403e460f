//! What a drive's medium is to the drive: bytes that are read and written in their own time.
//!
//! ```text
//!   device --begin(Request)--> medium ... works, on threads that are not the device's ...
//!   device <--Device::attend-- machine <-- "something is finished"
//!      '----finished()-------> Answer (one at a time)
//! ```
//! Requests end in any order; a device that no longer wants an answer drops it by its token.

use std::fmt::Debug;

/// Something for the medium to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Comes back with the answer.
    pub token: u32,
    /// What.
    pub what: What,
}

/// What is asked of a medium.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// Read `length` bytes at `offset`.
    Read {
        /// First byte.
        offset: u64,
        /// Bytes.
        length: usize,
    },
    /// Write at `offset`.
    Write {
        /// First byte.
        offset: u64,
        /// The bytes.
        data: Vec<u8>,
    },
    /// Make all finished writes durable.
    Flush,
}

/// The medium did not do it; it has said why in the domain's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the medium failed")]
pub struct Failed;

/// How a request ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The request's.
    pub token: u32,
    /// The bytes that were read; nothing for others.
    pub result: Result<Vec<u8>, Failed>,
}

/// What is in a drive now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Disc {
    /// Bytes; none if there is no medium. A hard disk without one is not there at all.
    pub bytes: Option<u64>,
    /// May be written.
    pub writable: bool,
    /// Counts the times that another medium was put in or this one was taken out.
    pub changes: u64,
}

/// A medium, or the place for one.
pub trait Medium: Send + Debug {
    /// What is there.
    fn disc(&self) -> Disc;

    /// Takes a request without waiting for it. Ranges beyond the end fail.
    fn begin(&mut self, request: Request);

    /// The next request that has ended, if any has.
    fn finished(&mut self) -> Option<Answer>;

    /// The guest opened or closed the tray. An opened one has its medium taken out.
    fn tray(&mut self, _open: bool) {}

    /// The guest keeps the medium in, or lets go of it.
    fn keep(&mut self, _kept: bool) {}
}

/// No medium, ever.
#[derive(Debug, Clone, Copy, Default)]
pub struct Nothing;

impl Medium for Nothing {
    fn disc(&self) -> Disc {
        Disc::default()
    }
    fn begin(&mut self, _request: Request) {}
    fn finished(&mut self) -> Option<Answer> {
        None
    }
}

#[cfg(any(test, feature = "conformance"))]
pub use shelf::{Shelf, Slot};

/// Media in memory for tests: whoever attends the device has it do the next request.
#[cfg(any(test, feature = "conformance"))]
mod shelf {
    use super::*;
    use std::collections::VecDeque;
    use std::sync::{Arc, Mutex, PoisonError};

    #[derive(Debug, Default)]
    struct Inside {
        bytes: Option<Vec<u8>>,
        changes: u64,
        broken: bool,
        flushes: u32,
    }

    /// Bytes that outlive the drive.
    #[derive(Debug, Clone, Default)]
    pub struct Shelf(Arc<Mutex<Inside>>);

    /// The drive's side.
    #[derive(Debug)]
    pub struct Slot {
        shelf: Shelf,
        queue: VecDeque<Request>,
    }

    impl Shelf {
        /// With these bytes.
        pub fn new(bytes: Vec<u8>) -> Shelf {
            let shelf = Shelf::default();
            shelf.with(|inside| inside.bytes = Some(bytes));
            shelf
        }

        fn with<T>(&self, action: impl FnOnce(&mut Inside) -> T) -> T {
            action(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
        }

        /// For a drive that is new.
        pub fn slot(&self) -> Box<Slot> {
            Box::new(Slot {
                shelf: self.clone(),
                queue: VecDeque::new(),
            })
        }

        /// Another medium, or none.
        pub fn change(&self, bytes: Option<Vec<u8>>) {
            self.with(|inside| {
                inside.bytes = bytes;
                inside.changes += 1;
            });
        }

        /// From now on every request fails, or not any more.
        pub fn fail(&self, broken: bool) {
            self.with(|inside| inside.broken = broken);
        }

        /// The bytes now.
        pub fn bytes(&self) -> Vec<u8> {
            self.with(|inside| inside.bytes.clone().unwrap_or_default())
        }

        /// Flushes so far.
        pub fn flushes(&self) -> u32 {
            self.with(|inside| inside.flushes)
        }
    }

    impl Medium for Slot {
        fn disc(&self) -> Disc {
            self.shelf.with(|inside| Disc {
                bytes: inside.bytes.as_ref().map(|bytes| bytes.len() as u64),
                writable: true,
                changes: inside.changes,
            })
        }

        fn begin(&mut self, request: Request) {
            self.queue.push_back(request);
        }

        fn finished(&mut self) -> Option<Answer> {
            let request = self.queue.pop_front()?;
            let result = self.shelf.with(|inside| {
                let bytes = inside
                    .bytes
                    .as_mut()
                    .filter(|_| !inside.broken)
                    .ok_or(Failed)?;
                let range = |offset: u64, length: usize| {
                    let first = usize::try_from(offset).map_err(|_| Failed)?;
                    let end = first.checked_add(length).ok_or(Failed)?;
                    Ok(first..end)
                };
                match request.what {
                    What::Read { offset, length } => {
                        let range = range(offset, length)?;
                        Ok(bytes.get(range).ok_or(Failed)?.to_vec())
                    }
                    What::Write { offset, data } => {
                        let range = range(offset, data.len())?;
                        bytes.get_mut(range).ok_or(Failed)?.copy_from_slice(&data);
                        Ok(Vec::new())
                    }
                    What::Flush => {
                        inside.flushes += 1;
                        Ok(Vec::new())
                    }
                }
            });
            Some(Answer {
                token: request.token,
                result,
            })
        }

        fn tray(&mut self, open: bool) {
            if open {
                self.shelf.change(None);
            }
        }
    }
}
