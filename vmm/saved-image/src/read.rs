//! Reading an image, from front to back, each record checked before it is handed out.
//!
//! ```text
//!   Reader::open -> next() -> Unit | Memory ... -> None: the end mark was right and nothing follows
//! ```
//! A caller that stops before `None` has not seen the whole image and must not use what it has.

use crate::error::{printable, ImageError};
use crate::header::{self, Header};
use crate::record::{checksum, Head, Kind, MEMORY_HEAD, PACKED_HEAD};
use crate::state::{Mark, Unit};
use crate::write::{Totals, VERSION};
use crate::{CHUNK, PAGE};
use std::collections::BTreeMap;
use std::io::Read;
use zstd::bulk::Decompressor;

mod places;

pub use places::Place;

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// A part of the state; [`crate::State`] takes it.
    Unit {
        /// Which.
        name: String,
        /// Version of its structure.
        version: u32,
        /// JSON.
        body: Vec<u8>,
    },
    /// Pages.
    Memory {
        /// Which memory.
        space: String,
        /// Where in it, bytes.
        offset: u64,
        /// What is there: whole pages, at least one.
        bytes: Vec<u8>,
    },
    /// Pages that are zero by now; in a stream only.
    Zeros {
        /// Which memory.
        space: String,
        /// Where in it, bytes.
        offset: u64,
        /// How many bytes: whole pages, at least one.
        length: u64,
    },
}

impl Record {
    /// Is it a [`crate::state::Mark`]?
    pub fn is_mark(&self) -> bool {
        matches!(self, Record::Unit { name, version, .. } if name == Mark::NAME && *version == Mark::VERSION)
    }
}

/// An image that is being read.
pub struct Reader<R> {
    input: R,
    unpacker: Decompressor<'static>,
    config: String,
    header: Header,
    totals: Totals,
    /// Where the next record of each memory may begin.
    next: BTreeMap<String, u64>,
    ended: bool,
}

impl<R> std::fmt::Debug for Reader<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader")
            .field("header", &self.header)
            .field("totals", &self.totals)
            .finish_non_exhaustive()
    }
}

impl<R: Read> Reader<R> {
    /// Reads the beginning.
    pub fn open(mut input: R) -> Result<Reader<R>, ImageError> {
        let (config, header) = header::read(&mut input)?;
        Ok(Reader {
            input,
            unpacker: Decompressor::new().map_err(ImageError::Io)?,
            config,
            header,
            totals: Totals::default(),
            next: BTreeMap::new(),
            ended: false,
        })
    }

    /// The configuration, an S-expression.
    pub fn config(&self) -> &str {
        &self.config
    }

    /// Who wrote it, and when.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Gives the input back, just behind what was read.
    pub fn into_inner(self) -> R {
        self.input
    }

    /// What has been read so far.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// The next record; none at the end.
    #[allow(clippy::should_implement_trait)] // An iterator's error would not end it.
    pub fn next(&mut self) -> Result<Option<Record>, ImageError> {
        if self.ended {
            return Ok(None);
        }
        let head = Head::read(&mut self.input)?;
        let (name, body) = self.rest(&head)?;
        self.check_version(&head)?;
        match head.kind {
            Kind::Unit => {
                self.totals.units += 1;
                Ok(Some(Record::Unit {
                    name,
                    version: head.version,
                    body,
                }))
            }
            Kind::Memory => self.memory(name, body).map(Some),
            Kind::Packed => self.packed(name, &body).map(Some),
            Kind::Zeros => self.zeros(name, &body).map(Some),
            Kind::End => self.end(&body).map(|()| None),
        }
    }

    /// Name and body of the record that begins with `head`, their checksum right.
    fn rest(&mut self, head: &Head) -> Result<(String, Vec<u8>), ImageError> {
        let what = head.kind.what();
        let name = header::bytes(&mut self.input, u64::from(head.name), u64::MAX, what)?;
        let body = header::bytes(&mut self.input, u64::from(head.body), u64::MAX, what)?;
        match checksum(&name, &[&body]) == head.sum {
            true => Ok((printable(&name), body)),
            false => Err(ImageError::Damaged { what }),
        }
    }

    fn check_version(&self, head: &Head) -> Result<(), ImageError> {
        match head.kind == Kind::Unit || head.version == VERSION {
            true => Ok(()),
            false => Err(ImageError::UnknownUnit {
                name: head.kind.what().into(),
                version: head.version,
                writer: self.header.writer.clone(),
            }),
        }
    }

    /// Unpacks pages. Its checksum was right, so what does not fit was never written so.
    fn packed(&mut self, space: String, body: &[u8]) -> Result<Record, ImageError> {
        let wrong =
            |reason: &str| ImageError::Structure(format!("a record of memory {space:?} {reason}"));
        if !self.header.is_compressed() {
            return Err(wrong("is compressed, which its header does not say"));
        }
        let (Some((offset, rest)), head) = (body.split_first_chunk::<8>(), PACKED_HEAD) else {
            return Err(wrong("has no offset"));
        };
        let length = rest
            .first_chunk::<8>()
            .map(|bytes| u64::from_le_bytes(*bytes));
        let length = length.ok_or_else(|| wrong("has no length"))?;
        if length > CHUNK as u64 {
            return Err(wrong("has more pages than a record has"));
        }
        let frame = &body[head..];
        let pages = self.unpacker.decompress(frame, length as usize);
        let pages = pages.map_err(|_| wrong("does not unpack"))?;
        if pages.len() as u64 != length {
            return Err(wrong("unpacks to another length than it says"));
        }
        self.totals.packed += frame.len() as u64;
        self.pages(space, u64::from_le_bytes(*offset), pages)
    }

    fn memory(&mut self, space: String, mut body: Vec<u8>) -> Result<Record, ImageError> {
        let wrong =
            |reason: &str| ImageError::Structure(format!("a record of memory {space:?} {reason}"));
        let offset = body
            .first_chunk::<MEMORY_HEAD>()
            .map(|bytes| u64::from_le_bytes(*bytes))
            .ok_or_else(|| wrong("has no offset"))?;
        body.drain(..MEMORY_HEAD);
        self.pages(space, offset, body)
    }

    fn pages(&mut self, space: String, offset: u64, body: Vec<u8>) -> Result<Record, ImageError> {
        self.take_place(&space, offset, body.len() as u64)?;
        Ok(Record::Memory {
            space,
            offset,
            bytes: body,
        })
    }

    /// Counts pages, which in a file must lie behind those before them.
    fn take_place(&mut self, space: &str, offset: u64, length: u64) -> Result<(), ImageError> {
        let end = end_of(space, offset, length)?;
        self.totals.chunks += 1;
        self.totals.memory += length;
        if self.header.moving.is_some() {
            return Ok(());
        }
        let next = self.next.entry(space.to_owned()).or_default();
        if offset < *next {
            return Err(ImageError::Structure(format!(
                "a record of memory {space:?} lies before the one before it"
            )));
        }
        *next = end;
        Ok(())
    }

    fn zeros(&mut self, space: String, body: &[u8]) -> Result<Record, ImageError> {
        let wrong =
            |reason: &str| ImageError::Structure(format!("a record of memory {space:?} {reason}"));
        if self.header.moving.is_none() {
            return Err(wrong("has zeros, which a file leaves out"));
        }
        let (offset, length) = match body.as_chunks::<8>() {
            ([offset, length], []) => (u64::from_le_bytes(*offset), u64::from_le_bytes(*length)),
            _ => return Err(wrong("has no offset and length")),
        };
        end_of(&space, offset, length)?;
        self.totals.chunks += 1;
        Ok(Record::Zeros {
            space,
            offset,
            length,
        })
    }

    fn end(&mut self, body: &[u8]) -> Result<(), ImageError> {
        let totals: Totals = serde_json::from_slice(body)
            .map_err(|error| ImageError::Structure(format!("its end mark: {error}")))?;
        if totals != self.totals {
            return Err(ImageError::Structure(format!(
                "its end mark counts {totals:?}, read were {:?}",
                self.totals
            )));
        }
        // A stream's other end waits for an answer now.
        let mut more = [0];
        if self.header.moving.is_none() && self.input.read(&mut more).map_err(ImageError::Io)? != 0
        {
            return Err(ImageError::Structure("there is more after its end".into()));
        }
        self.ended = true;
        Ok(())
    }
}

/// Where pages end.
fn end_of(space: &str, offset: u64, length: u64) -> Result<u64, ImageError> {
    let wrong =
        |reason: &str| ImageError::Structure(format!("a record of memory {space:?} {reason}"));
    if length == 0 || !length.is_multiple_of(PAGE) || !offset.is_multiple_of(PAGE) {
        return Err(wrong("is not of whole pages"));
    }
    offset
        .checked_add(length)
        .ok_or_else(|| wrong("lies beyond all memory"))
}
