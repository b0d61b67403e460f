//! RAM out of a file while the guest runs: what it touches first, the rest in the background.
//!
//! ```text
//!   places in the file (heads, end checked) --> all but RAM read now
//!   [thread]  a touch of a page --> its place read, checked, put into RAM's file, mapped; none has it: both neighbours, then zeros
//!             else the next place --> ... --> all read: no touch waits any more, FILLING is over
//!             \--damaged, or gone--> a line in the log, and this process ends: nothing that is wrong is run or written
//! ```
//! What is between two neighbours of the file is empty for certain only when the checksums of both were right (`noxen_saved_image::Place`).
//! Whoever reads the memory's files instead of the memory waits for [`FILLING`].

use crate::log::{Level, Log};
use crate::save::memory::{self, Sink, RAM};
use crate::vstate::faults::Faults;
use crate::vstate::memory::GuestMemory;
use noxen_saved_image::{ImageError, Place, Record, CHUNK, PAGE};
use rustix::event::Timespec;
use rustix::fs::{fallocate, FallocateFlags};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Instant;

/// Whether RAM is still being filled. A process has one domain.
#[derive(Debug)]
pub struct Filling {
    open: Mutex<bool>,
    over: Condvar,
}

/// That of this process.
pub static FILLING: Filling = Filling {
    open: Mutex::new(false),
    over: Condvar::new(),
};

impl Filling {
    /// Waits until RAM is whole in its file.
    pub fn wait(&self) {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let over = self.over.wait_while(open, |open| *open);
        drop(over.unwrap_or_else(PoisonError::into_inner));
    }

    /// It is from now on, or no more.
    pub(super) fn set(&self, open: bool) {
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) = open;
        self.over.notify_all();
    }
}

/// Where RAM is filled from.
struct Source {
    /// The file.
    image: File,
    /// Where it has pages of RAM, in order.
    places: Vec<Place>,
    /// What begins there in the guest is no RAM, and is called so.
    other: (u64, &'static str),
    /// For what goes wrong.
    log: Log,
}

/// A piece of RAM: where it begins in the memory and in this process, and its file.
struct Piece {
    range: Range<u64>,
    hva: u64,
    file: File,
    at: u64,
}

/// Fills memory: what is no RAM now, by `put`, and RAM as well unless `lazy` is a log for what is to come: then as it is touched.
pub fn fill(
    memory: &GuestMemory,
    image: File,
    places: Vec<Place>,
    other: (u64, &'static str),
    lazy: Option<Log>,
    mut put: impl FnMut(Record) -> Result<(), ImageError>,
) -> Result<(), ImageError> {
    let of_ram = |place: &Place| lazy.is_some() && *place.space == *RAM;
    let (ram, now): (Vec<Place>, Vec<Place>) = places.into_iter().partition(of_ram);
    let mut at_once = |image: &File, places: &[Place]| {
        places.iter().try_for_each(|place| {
            put(Record::Memory {
                space: place.space.to_string(),
                offset: place.offset,
                bytes: place.read(image)?,
            })
        })
    };
    at_once(&image, &now)?;
    let Some(log) = lazy else {
        return Ok(());
    };
    let source = Source {
        image,
        places: ram,
        other,
        log,
    };
    match begin(memory, source)? {
        None => Ok(()),
        Some(source) => at_once(&source.image, &source.places),
    }
}

/// Begins to fill RAM, of which nothing was touched yet. Where this kernel or its settings do not let that be, `source` comes back.
fn begin(memory: &GuestMemory, source: Source) -> Result<Option<Source>, ImageError> {
    let pieces = memory::ram(memory, source.other.0);
    let total: u64 = pieces.iter().map(|(_, _, length)| length).sum();
    let mut places = source.places.iter();
    if let Some(place) = places.find(|place| place.offset + place.length > total) {
        return Err(ImageError::Structure(format!(
            "it has memory {RAM:?} at {:#x}, where the domain has none",
            place.offset
        )));
    }
    let filler = match Filler::new(memory, &source) {
        Ok(filler) => filler,
        Err(error) => {
            let text = format_args!("memory is read at once: userfaultfd: {error}");
            source.log.line(Level::Info, text);
            return Ok(Some(source));
        }
    };
    let memory = memory.clone();
    FILLING.set(true);
    let thread = std::thread::Builder::new().name("fill".into());
    let started = thread.spawn(move || {
        let begun = Instant::now();
        let log = &source.log;
        match filler.run(&memory, &source) {
            Ok(bytes) => log.line(
                Level::Info,
                format_args!("all memory is here: {} MiB in {:?}", bytes >> 20, begun.elapsed()),
            ),
            Err(error) => {
                log.line(
                    Level::Error,
                    format_args!(
                        "the file that this domain is restored from is of no use any more: {error}; the domain ends here, for what it lacks would be wrong"
                    ),
                );
                // Not one more instruction of the guest, nor one more write of a device.
                std::process::abort();
            }
        }
        FILLING.set(false);
    });
    started.map_err(ImageError::Io)?;
    Ok(None)
}

/// RAM whose touches wait, and its files.
pub(super) struct Watched {
    faults: Faults,
    pieces: Vec<Piece>,
}

impl Watched {
    /// All of `memory` but what begins at `other`. Nobody has touched it yet.
    pub(super) fn new(memory: &GuestMemory, other: u64) -> io::Result<Watched> {
        use vm_memory::{GuestMemoryBackend, GuestMemoryRegion};
        let mut faults = Faults::new()?;
        let (mut pieces, mut start) = (Vec::new(), 0);
        for part in memory.iter() {
            if part.start_addr().0 == other {
                continue;
            }
            let (length, hva) = (part.len(), part.as_ptr() as u64);
            let file = part
                .file_offset()
                .ok_or_else(|| io::Error::other("guest memory without a file"))?;
            faults.watch(hva, length)?;
            pieces.push(Piece {
                range: start..start + length,
                hva,
                file: file.file().try_clone()?,
                at: file.start(),
            });
            start += length;
        }
        Ok(Watched { faults, pieces })
    }

    /// The address of a touch that waits, if there is one now.
    pub(super) fn next(&self) -> io::Result<Option<u64>> {
        const NOW: Timespec = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        self.faults.next(NOW)
    }

    /// Where in RAM `address` is.
    pub(super) fn offset(&self, address: u64) -> Option<u64> {
        let holds = |piece: &&Piece| {
            let length = piece.range.end - piece.range.start;
            (piece.hva..piece.hva + length).contains(&address)
        };
        let piece = self.pieces.iter().find(holds)?;
        Some(piece.range.start + (address - piece.hva))
    }

    /// Has the files have pages in `range`: zeros where there was nothing.
    pub(super) fn allocate(&self, range: Range<u64>) -> io::Result<()> {
        self.each_piece(range, |piece, range| {
            let (skipped, length) = (range.start - piece.range.start, range.end - range.start);
            let flags = FallocateFlags::empty();
            Ok(fallocate(&piece.file, flags, piece.at + skipped, length)?)
        })
    }

    /// Maps what the files have in `range`: touches of that go on.
    pub(super) fn map(&self, range: Range<u64>) -> io::Result<()> {
        self.each_piece(range, |piece, range| {
            let (skipped, length) = (range.start - piece.range.start, range.end - range.start);
            self.faults.resolve(piece.hva + skipped, length)
        })
    }

    /// Touches wait no more.
    pub(super) fn release(self) -> io::Result<()> {
        self.faults.release()
    }

    fn each_piece(
        &self,
        range: Range<u64>,
        mut act: impl FnMut(&Piece, Range<u64>) -> io::Result<()>,
    ) -> io::Result<()> {
        for piece in &self.pieces {
            let part = range.start.max(piece.range.start)..range.end.min(piece.range.end);
            if !part.is_empty() {
                act(piece, part)?;
            }
        }
        Ok(())
    }
}

impl AsFd for Watched {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.faults.as_fd()
    }
}

/// The thread.
struct Filler {
    watched: Watched,
    done: Vec<bool>,
}

impl Filler {
    fn new(memory: &GuestMemory, source: &Source) -> io::Result<Filler> {
        Ok(Filler {
            watched: Watched::new(memory, source.other.0)?,
            done: vec![false; source.places.len()],
        })
    }

    /// Fills all; the bytes that it had.
    fn run(mut self, memory: &GuestMemory, source: &Source) -> Result<u64, ImageError> {
        let sink = Sink::beside(memory, source.other)?;
        for index in 0..source.places.len() {
            while let Some(page) = self.watched.next().map_err(ImageError::Io)? {
                self.answer(page, &sink, source)?;
            }
            self.fill(index, &sink, source)?;
        }
        self.watched.release().map_err(ImageError::Io)?;
        Ok(source.places.iter().map(|place| place.length).sum())
    }

    /// Lets the touch of the page at `address` go on.
    fn answer(&mut self, address: u64, sink: &Sink<'_>, source: &Source) -> Result<(), ImageError> {
        let Some(offset) = self.watched.offset(address) else {
            return Ok(());
        };
        let (neighbours, gap) = around(&source.places, offset);
        for index in neighbours {
            self.fill(index, sink, source)?;
        }
        // A place that was filled already has been mapped; its page may have gone from the file since, by the guest's ballooning.
        let gap = gap.unwrap_or(offset..offset + PAGE);
        let allocated = self.watched.allocate(gap.clone());
        allocated
            .and_then(|()| self.watched.map(gap))
            .map_err(ImageError::Io)
    }

    /// Reads a place, and puts it where it belongs.
    fn fill(&mut self, index: usize, sink: &Sink<'_>, source: &Source) -> Result<(), ImageError> {
        if std::mem::replace(&mut self.done[index], true) {
            return Ok(());
        }
        let place = &source.places[index];
        sink.put(Record::Memory {
            space: RAM.into(),
            offset: place.offset,
            bytes: place.read(&source.image)?,
        })?;
        let filled = place.offset..place.offset + place.length;
        self.watched.map(filled).map_err(ImageError::Io)
    }
}

/// The places that have to be read before the page at `offset` is known, and the part of the gap between them that it is in, if it is in
/// none.
fn around(places: &[Place], offset: u64) -> (Range<usize>, Option<Range<u64>>) {
    let after = places.partition_point(|place| place.offset + place.length <= offset);
    if places
        .get(after)
        .is_some_and(|place| place.offset <= offset)
    {
        return (after..after + 1, None);
    }
    let before = after.saturating_sub(1);
    let window = offset / CHUNK as u64 * CHUNK as u64;
    let end = |place: &Place| place.offset + place.length;
    let first = places[..after].last().map_or(0, end).max(window);
    let next = places.get(after).map_or(u64::MAX, |place| place.offset);
    let gap = first..next.min(window + CHUNK as u64);
    (before..(after + 1).min(places.len()), Some(gap))
}

#[cfg(test)]
#[path = "lazy_tests.rs"]
mod tests;
