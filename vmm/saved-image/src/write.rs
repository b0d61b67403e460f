//! Writing an image, from front to back.
//!
//! ```text
//!   Writer::begin -> unit(..)* -> memory(..)* -> end -> the output, not yet synced
//! ```

use crate::header::{self, Header};
use crate::record::{checksum, Head, Kind};
use crate::state::Unit;
use crate::{CHUNK, PAGE};
use serde::{Deserialize, Serialize};
use std::io::{self, Write};

/// Version of memory and end records.
pub(crate) const VERSION: u32 = 1;

/// What an end mark says.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Totals {
    /// Units before it.
    pub units: u64,
    /// Memory records before it.
    pub chunks: u64,
    /// Bytes of memory in them.
    pub memory: u64,
}

/// An image that is being written.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    totals: Totals,
}

impl<W: Write> Writer<W> {
    /// Writes the beginning: the configuration and who writes.
    pub fn begin(mut out: W, config: &str, header: &Header) -> io::Result<Writer<W>> {
        header::write(&mut out, config, header)?;
        Ok(Writer {
            out,
            totals: Totals::default(),
        })
    }

    /// Writes a part of the state.
    pub fn unit<U: Unit>(&mut self, unit: &U) -> io::Result<()> {
        let body = serde_json::to_vec(unit)?;
        self.totals.units += 1;
        self.record(Kind::Unit, U::VERSION, U::NAME, &[&body])
    }

    /// Writes the pages of `bytes`, which begin at `offset` of the memory called `space`, but for those that are zero.
    /// Offsets must rise; both are whole pages.
    pub fn memory(&mut self, space: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let page = PAGE as usize;
        if !offset.is_multiple_of(PAGE) || !bytes.len().is_multiple_of(page) {
            return Err(io::Error::other("memory is saved by whole pages"));
        }
        let mut at = offset;
        for chunk in bytes.chunks(CHUNK) {
            // Runs of pages that hold something, and runs of those that do not.
            for run in chunk
                .chunks(page)
                .collect::<Vec<_>>()
                .chunk_by(|a, b| is_zero(a) == is_zero(b))
            {
                let length = run.len() * page;
                let start = (at - offset) as usize;
                if !run.first().is_some_and(|first| is_zero(first)) {
                    self.totals.chunks += 1;
                    self.totals.memory += length as u64;
                    let pages = &bytes[start..start + length];
                    self.record(Kind::Memory, VERSION, space, &[&at.to_le_bytes(), pages])?;
                }
                at += length as u64;
            }
        }
        Ok(())
    }

    /// Writes the end; gives back the output and what was written.
    pub fn end(mut self) -> io::Result<(W, Totals)> {
        let body = serde_json::to_vec(&self.totals)?;
        self.record(Kind::End, VERSION, "", &[&body])?;
        self.out.flush()?;
        Ok((self.out, self.totals))
    }

    fn record(&mut self, kind: Kind, version: u32, name: &str, body: &[&[u8]]) -> io::Result<()> {
        let length: usize = body.iter().map(|part| part.len()).sum();
        let head = Head {
            kind,
            version,
            name: name.len() as u32,
            body: u32::try_from(length).map_err(io::Error::other)?,
            sum: checksum(name.as_bytes(), body),
        };
        self.out.write_all(&head.encode())?;
        self.out.write_all(name.as_bytes())?;
        for part in body {
            self.out.write_all(part)?;
        }
        Ok(())
    }
}

fn is_zero(page: &[u8]) -> bool {
    // By 16 bytes at a time: the compiler makes vector instructions of it.
    page.chunks_exact(16)
        .all(|part| part.iter().fold(0, |all, byte| all | byte) == 0)
}
