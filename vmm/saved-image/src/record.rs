//! A record's fixed part.
//!
//! ```text
//!   kind | version | name length | body length | CRC-32 of name and body | CRC-32 of the five before     u32 each
//! ```

use crate::error::ImageError;
use crate::header::array;
use crate::CHUNK;
use std::io::Read;

/// Bytes of the fixed part.
pub const LENGTH: usize = 24;
/// Longest name, bytes.
pub const MAX_NAME: u64 = 64;
/// Longest body of a unit, bytes.
pub const MAX_UNIT: u64 = 16 << 20;
/// Bytes before the pages in a memory record's body: the offset.
pub const MEMORY_HEAD: usize = 8;

/// Bytes before the frame of zstd in a compressed record's body: offset and length of the pages.
pub const PACKED_HEAD: usize = 16;
/// Bytes of a body that says where zeros are: offset and length.
pub const ZEROS: usize = 16;

/// What a record holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A part of the state.
    Unit,
    /// Pages.
    Memory,
    /// Pages, compressed.
    Packed,
    /// Pages of zeros where there was something: in a stream only.
    Zeros,
    /// The end.
    End,
}

impl Kind {
    fn number(self) -> u32 {
        match self {
            Kind::Unit => u32::from_le_bytes(*b"UNIT"),
            Kind::Memory => u32::from_le_bytes(*b"MEMO"),
            Kind::Packed => u32::from_le_bytes(*b"ZSTD"),
            Kind::Zeros => u32::from_le_bytes(*b"ZERO"),
            Kind::End => u32::from_le_bytes(*b"END."),
        }
    }

    fn of(number: u32) -> Option<Kind> {
        let kinds = [
            Kind::Unit,
            Kind::Memory,
            Kind::Packed,
            Kind::Zeros,
            Kind::End,
        ];
        kinds.into_iter().find(|kind| kind.number() == number)
    }

    /// For messages.
    pub(crate) fn what(self) -> &'static str {
        match self {
            Kind::Unit => "a part of the state",
            Kind::Memory | Kind::Packed | Kind::Zeros => "memory",
            Kind::End => "its end mark",
        }
    }

    fn most(self) -> u64 {
        match self {
            Kind::Unit => MAX_UNIT,
            Kind::Memory => (MEMORY_HEAD + CHUNK) as u64,
            // One that is not smaller than its pages is written as they are.
            Kind::Packed => (PACKED_HEAD + CHUNK) as u64,
            Kind::Zeros => ZEROS as u64,
            Kind::End => 4096,
        }
    }
}

/// The fixed part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Kind.
    pub kind: Kind,
    /// Version of the body's structure.
    pub version: u32,
    /// Bytes of the name.
    pub name: u32,
    /// Bytes of the body.
    pub body: u32,
    /// CRC-32 of name and body.
    pub sum: u32,
}

impl Head {
    /// As it is written.
    pub fn encode(&self) -> [u8; LENGTH] {
        let words = [
            self.kind.number(),
            self.version,
            self.name,
            self.body,
            self.sum,
        ];
        let mut bytes = [0; LENGTH];
        for (place, word) in bytes.chunks_exact_mut(4).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        let sum = crc32fast::hash(&bytes[..LENGTH - 4]);
        bytes[LENGTH - 4..].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// Reads and checks one.
    pub(crate) fn read(input: &mut impl Read) -> Result<Head, ImageError> {
        let bytes: [u8; LENGTH] = array(input, "the next record; its end is missing")?;
        let mut words = [0; LENGTH / 4];
        for (word, part) in words.iter_mut().zip(bytes.chunks_exact(4)) {
            *word = part.iter().rev().fold(0, |w, b| w << 8 | u32::from(*b));
        }
        let [kind, version, name, body, sum, own] = words;
        if crc32fast::hash(&bytes[..LENGTH - 4]) != own {
            return Err(ImageError::Damaged {
                what: "a record's head",
            });
        }
        let kind = Kind::of(kind)
            .ok_or_else(|| ImageError::Structure(format!("a record of unknown kind {kind:#x}")))?;
        let too_long = |length: u32, most| ImageError::TooLong {
            what: kind.what(),
            length: u64::from(length),
            most,
        };
        if u64::from(name) > MAX_NAME {
            return Err(too_long(name, MAX_NAME));
        }
        if u64::from(body) > kind.most() {
            return Err(too_long(body, kind.most()));
        }
        Ok(Head {
            kind,
            version,
            name,
            body,
            sum,
        })
    }
}

/// CRC-32 of a name and the parts of a body.
pub(crate) fn checksum(name: &[u8], body: &[&[u8]]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(name);
    for part in body {
        hasher.update(part);
    }
    hasher.finalize()
}
