//! The beginning of an image: xm's container, then Noxen's own header.
//!
//! ```text
//!   "LinuxGuestRecord" | u32 BE | configuration     "NoxenImg" | u32 length | u32 CRC-32 | JSON
//! ```

use crate::error::{printable, ImageError};
use serde::{Deserialize, Serialize};
use std::io::{self, Read, Write};

/// First bytes of every file that xm's `save` writes (tools/python/xen/xend, XendCheckpoint).
pub const SIGNATURE: &[u8; 16] = b"LinuxGuestRecord";
/// First bytes of what follows the configuration.
pub const MAGIC: &[u8; 8] = b"NoxenImg";
/// The format that this version writes, and the latest that it reads. 2: the configuration has a checksum, memory may be
/// compressed.
pub const FORMAT: u32 = 2;
/// Readers of this format can do with an image whose memory is not compressed.
const PLAIN: u32 = 1;
/// First format whose images have the configuration's checksum in their header.
const CHECKED: u32 = 2;
/// Longest configuration, bytes.
pub const MAX_CONFIG: u64 = 1 << 20;
/// Longest header, bytes.
pub const MAX_HEADER: u64 = 64 << 10;

/// What every later version can read. Unknown fields are left aside; nothing else in an image may have any.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Header {
    /// The writer's format.
    pub format: u32,
    /// Readers of this format and later ones can read it.
    pub reader: u32,
    /// Program and version that wrote it.
    pub writer: String,
    /// When, seconds since the epoch.
    pub created: u64,
    /// CRC-32 of the configuration before it, filled in by who writes; of format 2 and later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_sum: Option<u32>,
    /// Of a stream to another host: the name of this move, which no other has. Memory comes before most of the state
    /// then, and may come again. A file has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moving: Option<String>,
}

impl Header {
    /// The header of an image that `writer` writes now.
    pub fn new(writer: &str, created: u64) -> Header {
        Header {
            format: FORMAT,
            reader: PLAIN,
            writer: writer.to_owned(),
            created,
            config_sum: None,
            moving: None,
        }
    }

    /// The header of an image whose memory is compressed.
    pub fn compressed(writer: &str, created: u64) -> Header {
        Header {
            reader: FORMAT,
            ..Header::new(writer, created)
        }
    }

    /// Can only readers of compressed memory read it?
    pub fn is_compressed(&self) -> bool {
        self.reader > PLAIN
    }

    /// The header of a stream.
    pub fn of_stream(writer: &str, created: u64, token: &str) -> Header {
        Header {
            moving: Some(token.to_owned()),
            ..Header::new(writer, created)
        }
    }
}

/// Writes both beginnings.
pub(crate) fn write(out: &mut impl Write, config: &str, header: &Header) -> io::Result<()> {
    let too_long = |what| io::Error::other(format!("the {what} is too long for an image"));
    let length = config.len() as u64;
    if length > MAX_CONFIG {
        return Err(too_long("configuration"));
    }
    out.write_all(SIGNATURE)?;
    out.write_all(&(length as u32).to_be_bytes())?;
    out.write_all(config.as_bytes())?;
    let sum = (header.format >= CHECKED).then(|| crc32fast::hash(config.as_bytes()));
    let body = serde_json::to_vec(&Header {
        config_sum: sum,
        ..header.clone()
    })?;
    if body.len() as u64 > MAX_HEADER {
        return Err(too_long("header"));
    }
    out.write_all(MAGIC)?;
    out.write_all(&(body.len() as u32).to_le_bytes())?;
    out.write_all(&crc32fast::hash(&body).to_le_bytes())?;
    out.write_all(&body)
}

/// Reads both; an image that needs a later reader is refused here.
pub(crate) fn read(input: &mut impl Read) -> Result<(String, Header), ImageError> {
    let mut signature = [0; 16];
    let got = fill(input, &mut signature).map_err(ImageError::Io)?;
    if got < signature.len() {
        return Err(ImageError::Short {
            what: "its signature",
        });
    }
    if &signature != SIGNATURE {
        return Err(ImageError::Foreign {
            found: printable(&signature),
        });
    }
    let length = u32::from_be_bytes(array(input, "the configuration's length")?);
    let config = bytes(input, u64::from(length), MAX_CONFIG, "the configuration")?;
    let damaged = || ImageError::Damaged {
        what: "the configuration",
    };
    let read_sum = crc32fast::hash(&config);
    let config = String::from_utf8(config).map_err(|_| damaged())?;
    let magic: [u8; 8] = array(input, "its header")?;
    if &magic != MAGIC {
        return Err(ImageError::ForeignMemory);
    }
    let length = u32::from_le_bytes(array(input, "its header")?);
    let sum = u32::from_le_bytes(array(input, "its header")?);
    let body = bytes(input, u64::from(length), MAX_HEADER, "its header")?;
    if crc32fast::hash(&body) != sum {
        return Err(ImageError::Damaged { what: "its header" });
    }
    let mut header: Header = serde_json::from_slice(&body)
        .map_err(|error| ImageError::Structure(format!("its header: {error}")))?;
    header.writer = printable(header.writer.as_bytes());
    if header.reader > FORMAT {
        return Err(ImageError::Future {
            writer: header.writer,
            format: header.format,
            needs: header.reader,
            ours: FORMAT,
        });
    }
    match header.config_sum {
        Some(sum) if sum != read_sum => return Err(damaged()),
        None if header.format >= CHECKED => {
            let text = "its header has no checksum of the configuration";
            return Err(ImageError::Structure(text.into()));
        }
        Some(_) | None => {}
    }
    Ok((config, header))
}

/// Reads until `buffer` is full or the input ends.
fn fill(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut got = 0;
    while got < buffer.len() {
        match input.read(&mut buffer[got..]) {
            Ok(0) => break,
            Ok(n) => got += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(got)
}

pub(crate) fn array<const N: usize>(
    input: &mut impl Read,
    what: &'static str,
) -> Result<[u8; N], ImageError> {
    let mut bytes = [0; N];
    input
        .read_exact(&mut bytes)
        .map_err(ImageError::reading(what))?;
    Ok(bytes)
}

/// `length` bytes, not more than `most`; memory is taken as they come, not as they are promised.
pub(crate) fn bytes(
    input: &mut impl Read,
    length: u64,
    most: u64,
    what: &'static str,
) -> Result<Vec<u8>, ImageError> {
    if length > most {
        return Err(ImageError::TooLong { what, length, most });
    }
    let mut bytes = Vec::new();
    input
        .take(length)
        .read_to_end(&mut bytes)
        .map_err(ImageError::Io)?;
    if bytes.len() as u64 != length {
        return Err(ImageError::Short { what });
    }
    Ok(bytes)
}
