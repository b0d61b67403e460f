//! Guest memory to and from an image: two memories, "ram" by pseudo-physical address and "monitor" from the
//! region's start.
//!
//! ```text
//!   file behind a piece --SEEK_DATA--> extents --pread--> Writer (leaves zero pages out)
//!   Record::Memory --bounds--> pwrite; what no record says is zero, as a fresh file is
//!   a guest that runs meanwhile: Frames that were written since --pread--> Writer, zeros as such --> Sink
//! ```
//! The files are read and written, not the mappings: a hole that is read through a mapping becomes a page.

use crate::save::job::Progress;
use crate::save::missing::Missing;
use crate::vstate::memory::GuestMemory;
use noxen_saved_image::{ImageError, Record, Writer, CHUNK, PAGE};
use rustix::fs::{seek, SeekFrom};
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use vm_memory::{GuestMemoryBackend, GuestMemoryRegion};

/// Name of guest RAM.
pub const RAM: &str = "ram";
/// Name of the monitor's region.
pub const MONITOR: &str = "monitor";
/// Name of a PC's firmware.
pub const BIOS: &str = "bios";
/// Name of the memory of a PC's display.
pub const VIDEO: &str = "video";

/// A part of a memory and the file behind it.
struct Piece<'a> {
    space: &'static str,
    /// Where it begins in that memory.
    start: u64,
    /// Where the guest has it.
    gpa: u64,
    length: u64,
    file: &'a File,
    /// Where it begins in the file.
    at: u64,
}

/// The pieces, in order of their memories; `region` is where the monitor's begins.
fn pieces(memory: &GuestMemory, region: u64) -> io::Result<Vec<Piece<'_>>> {
    pieces_beside(memory, region, MONITOR)
}

/// The same; what begins at `region` is the memory `other`.
fn pieces_beside<'a>(
    memory: &'a GuestMemory,
    region: u64,
    other: &'static str,
) -> io::Result<Vec<Piece<'a>>> {
    let mut ram = 0;
    let mut pieces = Vec::new();
    for part in memory.iter() {
        let file = part
            .file_offset()
            .ok_or_else(|| io::Error::other("guest memory without a file"))?;
        let length = part.len();
        let (space, start) = match part.start_addr().0 == region {
            true => (other, 0),
            false => (RAM, ram),
        };
        if space == RAM {
            ram += length;
        }
        pieces.push(Piece {
            space,
            start,
            gpa: part.start_addr().0,
            length,
            file: file.file(),
            at: file.start(),
        });
    }
    Ok(pieces)
}

/// Writes all memory that holds something.
pub fn write<W: Write>(
    writer: &mut Writer<W>,
    memory: &GuestMemory,
    region: u64,
    progress: &Progress,
) -> io::Result<()> {
    write_beside(writer, memory, (region, MONITOR), progress)
}

/// The same where what begins at `region` is the memory `other`.
pub fn write_beside<W: Write>(
    writer: &mut Writer<W>,
    memory: &GuestMemory,
    (region, other): (u64, &'static str),
    progress: &Progress,
) -> io::Result<()> {
    let pieces = pieces_beside(memory, region, other)?;
    each(&pieces, progress, |space, at, bytes| {
        writer.memory(space, at, bytes)
    })
}

/// The pieces of guest RAM: where each begins in it, where the guest has it, bytes. `region` begins what is no RAM.
pub fn ram(memory: &GuestMemory, region: u64) -> Vec<(u64, u64, u64)> {
    let mut ram = Vec::new();
    let mut start = 0;
    for part in memory.iter().filter(|part| part.start_addr().0 != region) {
        ram.push((start, part.start_addr().0, part.len()));
        start += part.len();
    }
    ram
}

/// Guest RAM, to be read by offsets in it.
pub struct Ram<'a> {
    pieces: Vec<Piece<'a>>,
}

impl<'a> Ram<'a> {
    /// Of `memory`; what begins at the first of `region` is none.
    pub fn of(memory: &'a GuestMemory, region: (u64, &'static str)) -> io::Result<Ram<'a>> {
        let mut pieces = pieces_beside(memory, region.0, region.1)?;
        pieces.retain(|piece| piece.space == RAM);
        Ok(Ram { pieces })
    }

    /// What is at `offset`.
    pub fn read(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        let (mut at, mut rest) = (offset, bytes);
        while !rest.is_empty() {
            let holds =
                |piece: &&Piece<'_>| (piece.start..piece.start + piece.length).contains(&at);
            let piece = self.pieces.iter().find(holds);
            let piece = piece.ok_or_else(|| io::Error::other("no RAM is there"))?;
            let room = piece.start + piece.length - at;
            let length = room.min(rest.len() as u64) as usize;
            let (now, later) = rest.split_at_mut(length);
            piece
                .file
                .read_exact_at(now, piece.at + (at - piece.start))?;
            (at, rest) = (at + length as u64, later);
        }
        Ok(())
    }
}

/// Hands what guest RAM holds to `take`, with where it is in that memory: whole pages; what is left out is zero.
pub fn each_of_ram(
    memory: &GuestMemory,
    region: u64,
    progress: &Progress,
    mut take: impl FnMut(u64, &[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut pieces = pieces(memory, region)?;
    pieces.retain(|piece| piece.space == RAM);
    each(&pieces, progress, |_, at, bytes| take(at, bytes))
}

fn each(
    pieces: &[Piece<'_>],
    progress: &Progress,
    mut take: impl FnMut(&'static str, u64, &[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    progress.begin(pieces.iter().map(|piece| piece.length).sum());
    for piece in pieces {
        let end = piece.at + piece.length;
        let mut at = piece.at;
        while let Some(extent) = extent(piece.file, at, end)? {
            progress.pass(extent.start - at)?;
            at = extent.start;
            while at < extent.end {
                let length = (extent.end - at).min(CHUNK as u64) as usize;
                let part = &mut buffer[..length];
                piece.file.read_exact_at(part, at)?;
                take(piece.space, piece.start + (at - piece.at), part)?;
                at += length as u64;
                progress.pass(length as u64)?;
            }
        }
        progress.pass(end.saturating_sub(at))?;
    }
    Ok(())
}

/// Pages by their guest-physical frame numbers.
#[derive(Debug, Default)]
pub struct Frames {
    frames: BTreeSet<u64>,
}

impl Frames {
    /// Adds those of a bitmap that begins at `gpa`.
    pub fn add_bits(&mut self, gpa: u64, words: &[u64]) {
        for (index, word) in (0u64..).zip(words) {
            let mut bits = *word;
            while bits != 0 {
                let bit = u64::from(bits.trailing_zeros());
                self.frames.insert(gpa / PAGE + index * 64 + bit);
                bits &= bits - 1;
            }
        }
    }

    /// Adds those.
    pub fn add(&mut self, frames: impl IntoIterator<Item = u64>) {
        self.frames.extend(frames);
    }

    /// Takes those of RAM out, but for those that are in `staying`: as pages of RAM. What begins at `region` is none.
    pub fn take_ram(&mut self, memory: &GuestMemory, region: u64, staying: &Frames) -> Missing {
        let ram = ram(memory, region);
        let pages = ram.iter().map(|(_, _, length)| length / PAGE).sum();
        let mut missing = Missing::new(pages);
        for (start, gpa, length) in ram {
            let (first, end) = (gpa / PAGE, (gpa + length) / PAGE);
            for frame in self
                .frames
                .range(first..end)
                .filter(|f| !staying.frames.contains(f))
            {
                missing.add(start / PAGE + (frame - first));
            }
            self.frames
                .retain(|f| !(first..end).contains(f) || staying.frames.contains(f));
        }
        missing
    }

    /// Bytes in them.
    pub fn bytes(&self) -> u64 {
        self.frames.len() as u64 * PAGE
    }

    /// Runs of neighbours in `first..end`, no longer than a record.
    fn runs(&self, first: u64, end: u64) -> Vec<Range<u64>> {
        let most = CHUNK as u64 / PAGE;
        let mut runs: Vec<Range<u64>> = Vec::new();
        for frame in self.frames.range(first..end) {
            match runs.last_mut() {
                Some(run) if run.end == *frame && run.end - run.start < most => run.end += 1,
                _ => runs.push(*frame..*frame + 1),
            }
        }
        runs
    }
}

/// Writes these pages, which may have been written before, into a stream; what begins at `region` is the memory `other`. Frames
/// that are no memory are left out.
pub fn write_again<W: Write>(
    writer: &mut Writer<W>,
    memory: &GuestMemory,
    (region, other): (u64, &'static str),
    frames: &Frames,
    progress: &Progress,
) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    for piece in pieces_beside(memory, region, other)? {
        let (first, end) = (piece.gpa / PAGE, (piece.gpa + piece.length) / PAGE);
        for run in frames.runs(first, end) {
            let offset = (run.start - first) * PAGE;
            let length = (run.end - run.start) * PAGE;
            let part = &mut buffer[..length as usize];
            piece.file.read_exact_at(part, piece.at + offset)?;
            writer.memory_again(piece.space, piece.start + offset, part)?;
            progress.pass(length)?;
        }
    }
    Ok(())
}

/// The next extent with data in `at..end`, to page boundaries.
fn extent(file: &File, at: u64, end: u64) -> io::Result<Option<Range<u64>>> {
    if at >= end {
        return Ok(None);
    }
    let start = match seek(file, SeekFrom::Data(at)) {
        Ok(start) => start.max(at) / PAGE * PAGE,
        Err(Errno::NXIO) => return Ok(None),
        Err(errno) => return Err(errno.into()),
    };
    if start >= end {
        return Ok(None);
    }
    let hole = seek(file, SeekFrom::Hole(start))?;
    Ok(Some(
        start..hole.next_multiple_of(PAGE).clamp(start + PAGE, end),
    ))
}

/// Where the memory of an image goes, record by record.
pub struct Sink<'a> {
    pieces: Vec<Piece<'a>>,
}

impl<'a> Sink<'a> {
    /// Into `memory`; what begins at the first of `other` is the memory of that name.
    pub fn beside(
        memory: &'a GuestMemory,
        (at, name): (u64, &'static str),
    ) -> Result<Sink<'a>, ImageError> {
        let pieces = pieces_beside(memory, at, name).map_err(ImageError::Io)?;
        Ok(Sink { pieces })
    }

    /// Puts one there.
    pub fn put(&self, record: Record) -> Result<(), ImageError> {
        put_record(&self.pieces, record)
    }
}

fn put_record(pieces: &[Piece<'_>], record: Record) -> Result<(), ImageError> {
    match record {
        Record::Memory {
            space,
            offset,
            bytes,
        } => put(pieces, &space, offset, &bytes),
        Record::Zeros {
            space,
            offset,
            length,
        } => {
            let zeros = vec![0; CHUNK];
            let (mut at, mut left) = (offset, length);
            while left > 0 {
                let part = left.min(CHUNK as u64);
                put(pieces, &space, at, &zeros[..part as usize])?;
                (at, left) = (at + part, left - part);
            }
            Ok(())
        }
        Record::Unit { .. } => Err(ImageError::Structure(
            "a part of the state comes after the memory".into(),
        )),
    }
}

fn put(pieces: &[Piece<'_>], space: &str, offset: u64, bytes: &[u8]) -> Result<(), ImageError> {
    let (mut offset, mut bytes) = (offset, bytes);
    while !bytes.is_empty() {
        let piece = pieces
            .iter()
            .find(|p| p.space == space && (p.start..p.start + p.length).contains(&offset));
        let Some(piece) = piece else {
            return Err(ImageError::Structure(format!(
                "it has memory {space:?} at {offset:#x}, where the domain has none"
            )));
        };
        let room = piece.start + piece.length - offset;
        let length = room.min(bytes.len() as u64) as usize;
        let (now, rest) = bytes.split_at(length);
        piece
            .file
            .write_all_at(now, piece.at + (offset - piece.start))
            .map_err(ImageError::Io)?;
        (offset, bytes) = (offset + length as u64, rest);
    }
    Ok(())
}

#[cfg(test)]
#[path = "memory_tests.rs"]
mod tests;
