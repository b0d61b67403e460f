//! The xz container.
//!
//! ```text
//! stream header: magic 6 | flags 2 (0, check) | CRC-32
//! block:         header size u8 (0 = index follows), flags, [packed size] [unpacked size], filters, zeros, CRC-32
//!                | LZMA2 chunks | zeros to a multiple of 4 | check
//! index:         0 | number of blocks | (unpadded, unpacked size) of each | zeros | CRC-32
//! footer:        CRC-32 | size of index u32 | flags 2 | "YZ"
//! ```
//! Filters: LZMA2, and before it x86 branches. Checks: none, CRC-32 (what Linux uses), CRC-64.
//! Source: The .xz File Format 1.1.0.

mod branch;
mod crc64;
mod lzma2;

use super::{too_long, too_short, Compression, Outcome};

const FOOTER_MAGIC: [u8; 2] = *b"YZ";
const FILTER_X86: u64 = 0x04;
const FILTER_LZMA2: u64 = 0x21;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Check {
    None,
    Crc32,
    Crc64,
}

pub(super) fn unpack(packed: &[u8], out: &mut [u8], zeroed: bool) -> Outcome {
    let mut input = Input {
        bytes: packed,
        at: 0,
    };
    if input.take(6)? != Compression::Xz.magic() {
        return Err("no stream header".into());
    }
    let flags: [u8; 2] = input.array()?;
    input.crc32(6)?;
    let check = match flags {
        [0, 0] => Check::None,
        [0, 1] => Check::Crc32,
        [0, 4] => Check::Crc64,
        [0, 10] => {
            return Err("its check is SHA-256; repack with --check=crc32, as Linux does".into())
        }
        _ => return Err(format!("its stream flags are {flags:02x?}")),
    };
    let mut done = 0;
    let mut sizes = Vec::new();
    while input.peek()? != 0 {
        let (unpadded, unpacked) = block(&mut input, check, &mut out[done..], zeroed)?;
        sizes.push((unpadded, unpacked));
        done += unpacked as usize;
    }
    index(&mut input, flags, &sizes)?;
    if done == out.len() {
        Ok(())
    } else {
        Err(too_short(out.len(), done))
    }
}

/// One block; gives its unpadded and its unpacked size.
fn block(
    input: &mut Input<'_>,
    check: Check,
    out: &mut [u8],
    zeroed: bool,
) -> Result<(u64, u64), String> {
    let start = input.at;
    let header_size = (usize::from(input.take(1)?[0]) + 1) * 4;
    let mut header = Input {
        bytes: &input.bytes[..input.bytes.len().min(start + header_size - 4)],
        at: input.at,
    };
    let flags = header.take(1)?[0];
    if flags & 0x3c != 0 {
        return Err("a block header has unknown flags".into());
    }
    let packed_size = if flags & 0x40 != 0 {
        Some(header.number()?)
    } else {
        None
    };
    let unpacked_size = if flags & 0x80 != 0 {
        Some(header.number()?)
    } else {
        None
    };
    let mut x86_start = None;
    for n in 0..=flags & 3 {
        let id = header.number()?;
        let size =
            usize::try_from(header.number()?).map_err(|_| "a filter has absurd properties")?;
        let properties = header.take(size)?;
        match (id, properties) {
            (FILTER_X86, []) if n == 0 && flags & 3 == 1 => x86_start = Some(0),
            (FILTER_X86, [a, b, c, d]) if n == 0 && flags & 3 == 1 => {
                x86_start = Some(u32::from_le_bytes([*a, *b, *c, *d]))
            }
            // The dictionary size does not matter: all output is at hand.
            (FILTER_LZMA2, [_]) if n == flags & 3 => {}
            _ => {
                return Err(format!(
                    "filter {id:#x} is not one that kernels use (x86 branches, then LZMA2)"
                ))
            }
        }
    }
    let rest = header.bytes.get(header.at..).unwrap_or_default();
    if rest.iter().any(|b| *b != 0) {
        return Err("a block header has bytes after its end".into());
    }
    input.at = start;
    input.take(header_size - 4)?;
    input.crc32(start)?;

    let body = input.at;
    let unpacked = lzma2::unpack(input, out, zeroed)?;
    if packed_size.is_some_and(|s| s != (input.at - body) as u64)
        || unpacked_size.is_some_and(|s| s != unpacked as u64)
    {
        return Err("a block's sizes are not those of its header".into());
    }
    let end = input.at;
    while !(input.at - start).is_multiple_of(4) {
        input.zero()?;
    }
    let out = &mut out[..unpacked];
    if let Some(position) = x86_start {
        branch::decode_x86(out, position);
    }
    let check_size = match check {
        Check::None => 0,
        Check::Crc32 => {
            verify(u32::from_le_bytes(input.array()?) == crc32fast::hash(out))?;
            4
        }
        Check::Crc64 => {
            verify(u64::from_le_bytes(input.array()?) == crc64::hash(out))?;
            8
        }
    };
    Ok(((end - start + check_size) as u64, unpacked as u64))
}

/// Index and footer must repeat what the blocks were.
fn index(input: &mut Input<'_>, flags: [u8; 2], sizes: &[(u64, u64)]) -> Outcome {
    let start = input.at;
    input.zero()?;
    let wrong = || String::from("its index does not fit its blocks");
    if input.number()? != sizes.len() as u64 {
        return Err(wrong());
    }
    for size in sizes {
        if (input.number()?, input.number()?) != *size {
            return Err(wrong());
        }
    }
    while !(input.at - start).is_multiple_of(4) {
        input.zero()?;
    }
    input.crc32(start)?;
    let index_size = input.at - start;
    let crc = u32::from_le_bytes(input.array()?);
    let fields = input.take(6)?;
    verify(crc32fast::hash(fields) == crc)?;
    let backward: u32 = fields[..4].try_into().map_or(0, u32::from_le_bytes);
    if (u64::from(backward) + 1) * 4 != index_size as u64 || fields[4..] != flags {
        return Err("its footer does not fit its header and index".into());
    }
    if input.array()? != FOOTER_MAGIC {
        return Err("it has no footer".into());
    }
    Ok(())
}

fn verify(good: bool) -> Outcome {
    if good {
        Ok(())
    } else {
        Err("a checksum does not match".into())
    }
}

/// Bounded reader.
struct Input<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Input<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        let end = self
            .at
            .checked_add(count)
            .filter(|end| *end <= self.bytes.len());
        let end = end.ok_or_else(|| {
            format!(
                "the input ends after {} bytes, inside a structure",
                self.bytes.len()
            )
        })?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let taken = self.take(N)?;
        let mut array = [0; N];
        array.copy_from_slice(taken);
        Ok(array)
    }

    fn peek(&self) -> Result<u8, String> {
        Input { ..*self }.take(1).map(|b| b[0])
    }

    fn zero(&mut self) -> Outcome {
        match self.take(1)? {
            [0] => Ok(()),
            _ => Err("padding is not zero".into()),
        }
    }

    /// A number in 7-bit groups, at most 9 of them, without superfluous zeros.
    fn number(&mut self) -> Result<u64, String> {
        let mut value = 0;
        for group in 0..9 {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7f) << (7 * group);
            if byte & 0x80 == 0 {
                return if byte == 0 && group > 0 {
                    Err("a number is badly coded".into())
                } else {
                    Ok(value)
                };
            }
        }
        Err("a number is badly coded".into())
    }

    /// Reads a CRC-32 and compares it with that of the bytes from `start` to here.
    fn crc32(&mut self, start: usize) -> Outcome {
        let found = crc32fast::hash(&self.bytes[start..self.at]);
        verify(u32::from_le_bytes(self.array()?) == found)
    }
}
