//! Guest memory to and from an image: two memories, "ram" by pseudo-physical address and "monitor" from the
//! region's start.
//!
//! ```text
//!   file behind a piece --SEEK_DATA--> extents --pread--> Writer (leaves zero pages out)
//!   Record::Memory --bounds--> pwrite; what no record says is zero, as a fresh file is
//! ```
//! The files are read and written, not the mappings: a hole that is read through a mapping becomes a page.

use crate::vstate::memory::GuestMemory;
use noxen_saved_image::{ImageError, Reader, Record, Writer, CHUNK, PAGE};
use rustix::fs::{seek, SeekFrom};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Read, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use vm_memory::{GuestMemoryBackend, GuestMemoryRegion};

/// Name of guest RAM.
pub const RAM: &str = "ram";
/// Name of the monitor's region.
pub const MONITOR: &str = "monitor";

/// A part of a memory and the file behind it.
struct Piece<'a> {
    space: &'static str,
    /// Where it begins in that memory.
    start: u64,
    length: u64,
    file: &'a File,
    /// Where it begins in the file.
    at: u64,
}

/// The pieces, in order of their memories; `region` is where the monitor's begins.
fn pieces(memory: &GuestMemory, region: u64) -> io::Result<Vec<Piece<'_>>> {
    let mut ram = 0;
    let mut pieces = Vec::new();
    for part in memory.iter() {
        let file = part
            .file_offset()
            .ok_or_else(|| io::Error::other("guest memory without a file"))?;
        let length = part.len();
        let (space, start) = match part.start_addr().0 == region {
            true => (MONITOR, 0),
            false => (RAM, ram),
        };
        if space == RAM {
            ram += length;
        }
        pieces.push(Piece {
            space,
            start,
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
) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    for piece in pieces(memory, region)? {
        let end = piece.at + piece.length;
        let mut at = piece.at;
        while let Some(extent) = extent(piece.file, at, end)? {
            at = extent.start;
            while at < extent.end {
                let length = (extent.end - at).min(CHUNK as u64) as usize;
                let part = &mut buffer[..length];
                piece.file.read_exact_at(part, at)?;
                writer.memory(piece.space, piece.start + (at - piece.at), part)?;
                at += length as u64;
            }
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

/// Fills fresh memory from `first` and the records after it, up to the image's end.
pub fn read<R: Read>(
    reader: &mut Reader<R>,
    first: Option<Record>,
    memory: &GuestMemory,
    region: u64,
) -> Result<(), ImageError> {
    let pieces = pieces(memory, region).map_err(ImageError::Io)?;
    let mut record = first;
    while let Some(now) = record {
        let Record::Memory {
            space,
            offset,
            bytes,
        } = now
        else {
            return Err(ImageError::Structure(
                "a part of the state comes after the memory".into(),
            ));
        };
        put(&pieces, &space, offset, &bytes)?;
        record = reader.next()?;
    }
    Ok(())
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
