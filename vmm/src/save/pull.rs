//! Post-copy at the target: the guest runs before all of its memory is here, and what it touches of the rest is asked for.
//!
//! ```text
//!   prepare: RAM watched (userfaultfd), nobody has touched it --> note: the stream's bitmap of what is missing
//!     --> begin, a thread:  touch of a page that is here ----> mapped
//!                           touch of one that is missing ----> asked for (push.rs), once
//!                           pages come, asked for or not ----> those still missing: into the file, mapped; others left aside
//!     all is here --> touches wait no more --> the source is told --> FILLING is over
//!     connection or checksum broken --> the process ends: what the guest lacks would be wrong
//! ```
//! Post-copy as QEMU's: from the guest's first instruction here until all is here, its memory is in two hosts, and the loss of either or
//! of the connection is the loss of the domain.

use crate::log::{Level, Log};
use crate::save::lazy::{Watched, FILLING};
use crate::save::memory::{self, Sink, RAM};
use crate::save::missing::{Missing, MISSING};
use crate::save::push::ALL;
use crate::vstate::memory::GuestMemory;
use noxen_saved_image::{ImageError, Reader, Record, PAGE};
use rustix::event::{poll, PollFd, PollFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Write};
use std::ops::Range;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Instant;

/// Pages around a touch that are mapped with it.
const AROUND: u64 = 16;

/// Memory that is to run before it is whole.
pub struct Pull {
    memory: GuestMemory,
    other: (u64, &'static str),
    watched: Watched,
    missing: Missing,
    /// Those of them that were asked for.
    asked: Missing,
    link: File,
    log: Arc<Log>,
}

impl std::fmt::Debug for Pull {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pull")
            .field("missing", &self.missing.left())
            .finish_non_exhaustive()
    }
}

impl Pull {
    /// For `memory`, of which nothing was touched yet; pages will come over `link`. What begins at the first of `other` is no RAM.
    pub fn prepare(
        memory: &GuestMemory,
        other: (u64, &'static str),
        link: File,
        log: Log,
    ) -> Result<Pull, ImageError> {
        let watched = Watched::new(memory, other.0).map_err(|error| {
            ImageError::Structure(format!(
                "post-copy needs userfaultfd for shared memory, which this host's kernel lacks (before Linux 5.14) or denies ({error}); leave --postcopy out"
            ))
        })?;
        let ram = memory::ram(memory, other.0);
        let pages = ram.iter().map(|(_, _, length)| length / PAGE).sum();
        Ok(Pull {
            memory: memory.clone(),
            other,
            watched,
            missing: Missing::new(pages),
            asked: Missing::new(pages),
            link,
            log: Arc::new(log),
        })
    }

    /// Takes what a record says of pages that are missing; gives any other back.
    pub fn note(&mut self, record: Record) -> Result<Option<Record>, ImageError> {
        match record {
            Record::Memory {
                space,
                offset,
                bytes,
            } if space == MISSING => self.missing.read(offset, &bytes).map(|()| None),
            record => Ok(Some(record)),
        }
    }

    /// Begins to serve touches and to take pages, for the move `token`; the stream was read to its end.
    pub fn begin(self, token: Option<String>) -> Result<(), ImageError> {
        FILLING.set(true);
        let thread = std::thread::Builder::new().name("pull".into());
        let started = thread.spawn(move || {
            let (begun, log, missing) = (Instant::now(), self.log.clone(), self.missing.left());
            match self.run(token) {
                Ok(asked) => log.line(
                    Level::Info,
                    format_args!(
                        "all memory is here: {} KiB came after the domain, {asked} pages of it asked for, in {:?}",
                        (missing * PAGE) >> 10,
                        begun.elapsed()
                    ),
                ),
                Err(error) => {
                    log.line(
                        Level::Error,
                        format_args!(
                            "post-copy: the rest of this domain's memory does not come from the other host: {error}; the domain ends here, for what it lacks would be wrong"
                        ),
                    );
                    // Not one more instruction of the guest, nor one more write of a device.
                    std::process::abort();
                }
            }
            FILLING.set(false);
        });
        started.map(drop).map_err(ImageError::Io)
    }

    /// The thread: how many pages were asked for.
    fn run(mut self, token: Option<String>) -> Result<u64, ImageError> {
        let memory = self.memory.clone();
        let sink = Sink::beside(&memory, self.other)?;
        let mut reader = Reader::open(self.link.try_clone().map_err(ImageError::Io)?)?;
        if token.is_none() || reader.header().moving != token {
            return Err(ImageError::Structure("its pages are another move's".into()));
        }
        let mut count = 0;
        loop {
            let comes = self.wait().map_err(ImageError::Io)?;
            while let Some(address) = self.watched.next().map_err(ImageError::Io)? {
                count += u64::from(self.answer(address).map_err(ImageError::Io)?);
            }
            if !comes {
                continue;
            }
            match reader.next()? {
                Some(record) => self.take(record, &sink)?,
                None => break,
            }
        }
        if self.missing.left() > 0 {
            let text = format!("its end came, and {} pages did not", self.missing.left());
            return Err(ImageError::Structure(text));
        }
        self.watched.release().map_err(ImageError::Io)?;
        if let Err(error) = (&self.link).write_all(&ALL.to_le_bytes()) {
            // All is here: who does not hear of it lets the domain run nowhere else.
            let line =
                format_args!("the other host does not hear that all memory is here: {error}");
            self.log.line(Level::Warning, line);
        }
        Ok(count)
    }

    /// Waits for a touch or for pages; true: pages.
    fn wait(&self) -> io::Result<bool> {
        let mut fds = [
            PollFd::new(&self.watched, PollFlags::IN),
            PollFd::from_borrowed_fd(self.link.as_fd(), PollFlags::IN),
        ];
        match poll(&mut fds, None) {
            Ok(_) => Ok(!fds[1].revents().is_empty()),
            Err(Errno::INTR) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Lets the touch of the page at `address` go on, or asks for it: then true.
    fn answer(&mut self, address: u64) -> io::Result<bool> {
        let Some(offset) = self.watched.offset(address) else {
            return Ok(false);
        };
        let page = offset / PAGE;
        if self.missing.has(page) {
            if !self.asked.has(page) {
                self.asked.add(page);
                (&self.link).write_all(&(page * PAGE).to_le_bytes())?;
                return Ok(true);
            }
            return Ok(false);
        }
        // It may have nothing there: then it is zero.
        self.watched.allocate(offset..offset + PAGE)?;
        let around = page / AROUND * AROUND;
        let here = |page: &u64| !self.missing.has(*page);
        let first = (around..page).rev().take_while(here).last();
        let last = (page..around + AROUND).take_while(here).last();
        let (first, last) = (first.unwrap_or(page), last.unwrap_or(page));
        self.watched.map(first * PAGE..(last + 1) * PAGE)?;
        Ok(false)
    }

    /// Puts pages where they belong, if they are missing; the guest may have written others since.
    fn take(&mut self, record: Record, sink: &Sink<'_>) -> Result<(), ImageError> {
        let (space, offset, length) = match &record {
            Record::Memory {
                space,
                offset,
                bytes,
            } => (space, *offset, bytes.len() as u64),
            Record::Zeros {
                space,
                offset,
                length,
            } => (space, *offset, *length),
            Record::Unit { name, .. } => {
                let text = format!("part {name:?} comes where pages should");
                return Err(ImageError::Structure(text));
            }
        };
        let end = offset.checked_add(length);
        let end = end.filter(|end| space == RAM && *end <= self.missing.pages() * PAGE);
        let Some(end) = end else {
            return Err(ImageError::Structure(format!(
                "it has memory {space:?} at {offset:#x}, where the domain has none"
            )));
        };
        let mut at = offset / PAGE;
        while let Some(run) = self
            .missing
            .run(at, end / PAGE - at)
            .filter(|run| run.start < end / PAGE)
        {
            let run = run.start..run.end.min(end / PAGE);
            sink.put(part(&record, offset, run.start * PAGE..run.end * PAGE))?;
            run.clone().for_each(|page| {
                self.missing.take(page);
            });
            let bytes = run.start * PAGE..run.end * PAGE;
            self.watched.map(bytes).map_err(ImageError::Io)?;
            at = run.end;
        }
        Ok(())
    }
}

/// What `record`, which begins at `offset`, has of `range`.
fn part(record: &Record, offset: u64, range: Range<u64>) -> Record {
    match record {
        Record::Memory { space, bytes, .. } => Record::Memory {
            space: space.clone(),
            offset: range.start,
            bytes: bytes[(range.start - offset) as usize..(range.end - offset) as usize].to_vec(),
        },
        _ => Record::Zeros {
            space: RAM.into(),
            offset: range.start,
            length: range.end - range.start,
        },
    }
}

#[cfg(test)]
#[path = "pull_tests.rs"]
mod tests;
