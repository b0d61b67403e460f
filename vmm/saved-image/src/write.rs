//! Writing an image, from front to back.
//!
//! ```text
//!   Writer::begin -> unit(..)* -> memory(..)* -> end -> the output, not yet synced
//! ```

use crate::header::{self, Header};
use crate::record::{checksum, Head, Kind};
use crate::state::{State, Unit};
use crate::{CHUNK, PAGE};
use serde::{Deserialize, Serialize};
use std::io::{self, Write};
use zstd::bulk::Compressor;

/// Version of memory and end records.
pub(crate) const VERSION: u32 = 1;

/// What an end mark says.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Totals {
    /// Units before it.
    pub units: u64,
    /// Memory records before it, those of zeros among them.
    pub chunks: u64,
    /// Bytes of memory in them.
    pub memory: u64,
    /// Bytes that those of them take which are compressed; of an image that has any.
    #[serde(default, skip_serializing_if = "is_none")]
    pub packed: u64,
}

fn is_none(bytes: &u64) -> bool {
    *bytes == 0
}

/// zstd's level: the fastest one; memory is written as fast as it comes.
const LEVEL: i32 = 1;

/// An image that is being written.
pub struct Writer<W> {
    out: W,
    totals: Totals,
    packer: Option<Compressor<'static>>,
}

impl<W> std::fmt::Debug for Writer<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer")
            .field("totals", &self.totals)
            .field("compressed", &self.packer.is_some())
            .finish_non_exhaustive()
    }
}

impl<W: Write> Writer<W> {
    /// Writes the beginning: the configuration and who writes. Memory is compressed if `header` says so.
    pub fn begin(mut out: W, config: &str, header: &Header) -> io::Result<Writer<W>> {
        header::write(&mut out, config, header)?;
        let packer = header.is_compressed().then(|| Compressor::new(LEVEL));
        Ok(Writer {
            out,
            totals: Totals::default(),
            packer: packer.transpose()?,
        })
    }

    /// Writes a part of the state.
    pub fn unit<U: Unit>(&mut self, unit: &U) -> io::Result<()> {
        let body = serde_json::to_vec(unit)?;
        self.totals.units += 1;
        self.record(Kind::Unit, U::VERSION, U::NAME, &[&body])
    }

    /// Writes all parts of `state`, in the order of a file.
    pub fn state(&mut self, state: &State) -> io::Result<()> {
        self.unit(&state.domain)?;
        self.state_but_domain(state)
    }

    /// The same without the first part.
    pub fn state_but_domain(&mut self, state: &State) -> io::Result<()> {
        self.unit(&state.clock)?;
        state.vcpus.iter().try_for_each(|vcpu| self.unit(vcpu))?;
        self.unit(&state.console)?;
        state.store.iter().try_for_each(|store| self.unit(store))?;
        state.nodes.iter().try_for_each(|nodes| self.unit(nodes))?;
        state
            .devices
            .iter()
            .try_for_each(|device| self.device(device))
    }

    /// Writes the pages of `bytes`, which begin at `offset` of the memory called `space`, but for those that are zero.
    /// Offsets must rise; both are whole pages.
    pub fn memory(&mut self, space: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.pages(space, offset, bytes, false)
    }

    /// Writes pages that may have been written before, in a stream: those that are zero now, too.
    pub fn memory_again(&mut self, space: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.pages(space, offset, bytes, true)
    }

    /// What was written so far.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// Has all that was written leave this process.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    fn pages(&mut self, space: &str, offset: u64, bytes: &[u8], again: bool) -> io::Result<()> {
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
                let zero = run.first().is_some_and(|first| is_zero(first));
                if zero && again {
                    self.totals.chunks += 1;
                    let words = [at.to_le_bytes(), (length as u64).to_le_bytes()].concat();
                    self.record(Kind::Zeros, VERSION, space, &[&words])?;
                }
                if !zero {
                    self.totals.chunks += 1;
                    self.totals.memory += length as u64;
                    self.filled(space, at, &bytes[start..start + length])?;
                }
                at += length as u64;
            }
        }
        Ok(())
    }

    /// Writes pages that hold something: compressed, where that is wanted and takes less.
    fn filled(&mut self, space: &str, at: u64, pages: &[u8]) -> io::Result<()> {
        if let Some(packer) = &mut self.packer {
            let frame = packer.compress(pages)?;
            if frame.len() < pages.len() {
                self.totals.packed += frame.len() as u64;
                let words = [at.to_le_bytes(), (pages.len() as u64).to_le_bytes()].concat();
                return self.record(Kind::Packed, VERSION, space, &[&words, &frame]);
            }
        }
        self.record(Kind::Memory, VERSION, space, &[&at.to_le_bytes(), pages])
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
