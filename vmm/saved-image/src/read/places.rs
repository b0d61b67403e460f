//! Where memory lies in a file, so that it can be read in any order, later.
//!
//! ```text
//!   Reader, behind the state --places()--> heads checked, bodies passed over --> the end mark was right and nothing follows
//!   Place --read(file)--> body, its checksum right --> pages
//! ```
//! Where pages lie is in a body, too, whose checksum nobody has looked at by then. So what lies between two neighbours of the file is
//! known to be empty only once both have been read: their order is checked, and so is the number of all.

use super::{Kind, Reader};
use crate::error::{printable, ImageError};
use crate::header;
use crate::record::{checksum, Head, LENGTH, MEMORY_HEAD, PACKED_HEAD};
use crate::CHUNK;
use std::fs::File;
use std::io::{Read, Seek};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use zstd::bulk::Decompressor;

/// Pages in a file, which nobody has looked at yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Which memory.
    pub space: Arc<str>,
    /// Where in it, bytes.
    pub offset: u64,
    /// How many bytes: whole pages, at least one.
    pub length: u64,
    /// Where in the file its body begins.
    at: u64,
    body: u32,
    sum: u32,
    packed: bool,
}

impl<R: Read + Seek> Reader<R> {
    /// The places of all memory from here on, in the order of the file. All of the file is checked but the pages themselves.
    /// Nothing in it may be a stream's.
    pub fn places(mut self) -> Result<Vec<Place>, ImageError> {
        let mut places: Vec<Place> = Vec::new();
        let mut at = self.input.stream_position().map_err(ImageError::Io)?;
        loop {
            let head = Head::read(&mut self.input)?;
            let what = head.kind.what();
            let packed = match head.kind {
                Kind::Memory => false,
                Kind::Packed => true,
                Kind::End => {
                    self.check_version(&head)?;
                    let (_, body) = self.rest(&head)?;
                    return self.end(&body).map(|()| places);
                }
                Kind::Unit | Kind::Zeros => {
                    return Err(ImageError::Structure(format!(
                        "{what} comes after the memory"
                    )))
                }
            };
            self.check_version(&head)?;
            let name = header::bytes(&mut self.input, u64::from(head.name), u64::MAX, what)?;
            let name = printable(&name);
            let start = if packed { PACKED_HEAD } else { MEMORY_HEAD };
            let Some(rest) = u64::from(head.body).checked_sub(start as u64) else {
                return Err(ImageError::Damaged { what });
            };
            let words = header::bytes(&mut self.input, start as u64, u64::MAX, what)?;
            let word = |index: usize| {
                let bytes = words.get(index * 8..).and_then(|rest| rest.first_chunk());
                bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes))
            };
            let (offset, length) = (word(0), if packed { word(1) } else { rest });
            if length > CHUNK as u64 {
                return Err(ImageError::Damaged { what });
            }
            self.take_place(&name, offset, length)?;
            if packed {
                self.totals.packed += rest;
            }
            let space = match places.last().filter(|last| *last.space == *name) {
                Some(last) => last.space.clone(),
                None => name.into(),
            };
            let body = at + LENGTH as u64 + u64::from(head.name);
            places.push(Place {
                space,
                offset,
                length,
                at: body,
                body: head.body,
                sum: head.sum,
                packed,
            });
            at = body + u64::from(head.body);
            let skip = i64::try_from(rest).map_err(|_| ImageError::Damaged { what })?;
            self.input.seek_relative(skip).map_err(ImageError::Io)?;
        }
    }
}

impl Place {
    /// Reads the pages from the file that has them, their checksum and their place checked.
    pub fn read(&self, file: &File) -> Result<Vec<u8>, ImageError> {
        let what = "memory";
        let mut body = vec![0; self.body as usize];
        file.read_exact_at(&mut body, self.at)
            .map_err(ImageError::reading(what))?;
        if checksum(self.space.as_bytes(), &[&body]) != self.sum {
            return Err(ImageError::Damaged { what });
        }
        // Where it lies is in the body: it was read before its checksum was.
        let wrong =
            || ImageError::Structure("memory that has changed since it was looked at".into());
        let word = |at: usize| {
            let bytes = body.get(at..).and_then(|rest| rest.first_chunk());
            bytes.map(|bytes| u64::from_le_bytes(*bytes))
        };
        if word(0) != Some(self.offset) {
            return Err(wrong());
        }
        if !self.packed {
            body.drain(..MEMORY_HEAD);
            return Ok(body);
        }
        if word(8) != Some(self.length) {
            return Err(wrong());
        }
        let frame = body.get(PACKED_HEAD..).unwrap_or_default();
        let pages = Decompressor::new()
            .and_then(|mut unpacker| unpacker.decompress(frame, self.length as usize))
            .map_err(|_| ImageError::Structure("a record of memory does not unpack".into()))?;
        match pages.len() as u64 == self.length {
            true => Ok(pages),
            false => Err(wrong()),
        }
    }
}
