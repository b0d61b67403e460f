//! The seven compressions that Linux uses for its payload.
//!
//! Each unpacker gets the stream (without the size suffix) and a buffer of exactly the declared size. It must fill the
//! buffer to the last byte, see the end of the stream there, and verify the checksum that the format carries:
//!
//! | format | checksum verified | damage that no unpacker can see |
//! |---|---|---|
//! | gzip, bzip2, xz, lzop, zstd | CRC-32, CRC-32 per block, CRC-32/64, Adler-32, XXH64 | none |
//! | lzma, lz4 legacy | the format has none | a flipped literal; only the size and the structure are checked |
//!
//! Bytes after the end of the stream are ignored, as Linux and libxc do.

mod bzip2;
mod copy;
mod gzip;
mod lz4;
mod lzma;
mod lzo;
mod xz;
mod zstd;

use std::fmt;

use crate::KernelError;

/// How a payload is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// RFC 1952.
    Gzip,
    /// bzip2.
    Bzip2,
    /// xz container with LZMA2 and mostly the x86 branch filter.
    Xz,
    /// "LZMA alone".
    Lzma,
    /// lzop container with LZO1X.
    Lzo,
    /// LZ4's legacy frame: 8 MiB blocks, no checksum.
    Lz4,
    /// Zstandard.
    Zstd,
}

/// One result of an unpacker: the reason of a failure without its context.
type Outcome = Result<(), String>;

impl Compression {
    /// Every compression, in the order in which they are looked for.
    pub const ALL: [Compression; 7] = [
        Compression::Gzip,
        Compression::Bzip2,
        Compression::Xz,
        Compression::Lzma,
        Compression::Lzo,
        Compression::Lz4,
        Compression::Zstd,
    ];

    /// The bytes with which such a stream starts.
    pub fn magic(self) -> &'static [u8] {
        match self {
            Compression::Gzip => &[0x1f, 0x8b],
            Compression::Bzip2 => b"BZh",
            Compression::Xz => &[0xfd, b'7', b'z', b'X', b'Z', 0],
            Compression::Lzma => &[0x5d, 0, 0],
            Compression::Lzo => &[0x89, b'L', b'Z', b'O'],
            Compression::Lz4 => &[0x02, 0x21, 0x4c, 0x18],
            Compression::Zstd => &[0x28, 0xb5, 0x2f, 0xfd],
        }
    }

    /// The compression whose magic number the bytes start with.
    pub fn detect(bytes: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|c| bytes.starts_with(c.magic()))
    }

    /// Most bytes that `packed` bytes can unpack to, by the format's own bounds; a sanity check of the size suffix.
    pub(crate) fn largest_from(self, packed: u64) -> u64 {
        let ratio = match self {
            Compression::Gzip => 1_040,
            Compression::Lzo | Compression::Lz4 => 256,
            // A match of 273 bytes costs at least about 13 events of 0.02 bit.
            Compression::Xz | Compression::Lzma => 8_192,
            Compression::Zstd => 65_536,
            // 900,000 zeros pack into some 40 bytes.
            Compression::Bzip2 => 65_536,
        };
        packed.saturating_mul(ratio)
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Compression::Gzip => "gzip",
            Compression::Bzip2 => "bzip2",
            Compression::Xz => "xz",
            Compression::Lzma => "lzma",
            Compression::Lzo => "lzo",
            Compression::Lz4 => "lz4",
            Compression::Zstd => "zstd",
        })
    }
}

/// Unpacks `packed` into the whole of `out`, which the caller knows to be `zeroed` or not.
pub(crate) fn unpack(
    compression: Compression,
    packed: &[u8],
    out: &mut [u8],
    zeroed: bool,
) -> Result<(), KernelError> {
    let done = match compression {
        Compression::Gzip => gzip::unpack(packed, out),
        Compression::Bzip2 => bzip2::unpack(packed, out),
        Compression::Xz => xz::unpack(packed, out, zeroed),
        Compression::Lzma => lzma::unpack(packed, out, zeroed),
        Compression::Lzo => lzo::unpack(packed, out),
        Compression::Lz4 => lz4::unpack(packed, out, zeroed),
        Compression::Zstd => zstd::unpack(packed, out),
    };
    done.map_err(|reason| KernelError::unpack(compression, reason))
}

/// The stream goes on past the declared size.
fn too_long(declared: usize) -> String {
    format!("it holds more than the {declared} bytes that it declares")
}

/// The stream ended properly, but early.
fn too_short(declared: usize, got: usize) -> String {
    format!("it holds {got} bytes but declares {declared}")
}

/// The input ran out in the middle of the stream.
fn cut(got: usize, declared: usize) -> String {
    format!("the input ends after {got} of {declared} unpacked bytes")
}
