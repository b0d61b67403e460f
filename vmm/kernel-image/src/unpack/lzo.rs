//! The lzop container around LZO1X.
//!
//! ```text
//! magic 9 bytes | version u16 | library u16 | needed u16 * | method u8 | level u8 * | flags u32 | filter u32 if flagged
//! | mode u32 | mtime u32 | mtime high u32 * | name length u8, name | checksum u32           * = version >= 0x940
//! then blocks: unpacked u32 (0 = end) | packed u32 | checksums as flagged | packed bytes (stored if both sizes agree)
//! ```
//! All numbers are big-endian. Source: the file format of lzop 1.04.

use super::{cut, too_long, too_short, Outcome};

const MAGIC: [u8; 9] = [0x89, b'L', b'Z', b'O', 0, 0x0d, 0x0a, 0x1a, 0x0a];
/// First version with the fields marked * above.
const VERSION_EXTENDED: u16 = 0x940;
/// lzop's largest block.
const MAX_BLOCK: usize = 64 << 20;

const ADLER32_UNPACKED: u32 = 0x1;
const ADLER32_PACKED: u32 = 0x2;
const CRC32_UNPACKED: u32 = 0x100;
const CRC32_PACKED: u32 = 0x200;
const MULTIPART: u32 = 0x400;
const FILTER: u32 = 0x800;
const HEADER_CRC32: u32 = 0x1000;

pub(super) fn unpack(packed: &[u8], out: &mut [u8]) -> Outcome {
    let mut input = Input { rest: packed };
    let flags = header(&mut input)?;
    let mut done = 0;
    loop {
        let size = input.u32().ok_or_else(|| cut(done, out.len()))? as usize;
        if size == 0 {
            break;
        }
        let length = input.u32().ok_or_else(|| cut(done, out.len()))? as usize;
        if size > MAX_BLOCK || length > size || length == 0 {
            return Err(format!("a block claims to unpack {length} bytes to {size}"));
        }
        let mut sum = |wanted: bool| {
            if wanted {
                input.u32().map(Some).ok_or_else(|| cut(done, out.len()))
            } else {
                Ok(None)
            }
        };
        let adler = sum(flags & ADLER32_UNPACKED != 0)?;
        let crc = sum(flags & CRC32_UNPACKED != 0)?;
        // lzop leaves the packed sums out for stored blocks.
        let adler_packed = sum(flags & ADLER32_PACKED != 0 && length < size)?;
        let crc_packed = sum(flags & CRC32_PACKED != 0 && length < size)?;
        let block = input.take(length).ok_or_else(|| cut(done, out.len()))?;
        if done + size > out.len() {
            return Err(too_long(out.len()));
        }
        check("packed", block, adler_packed, crc_packed)?;
        let target = &mut out[done..done + size];
        if length == size {
            target.copy_from_slice(block);
        } else {
            let wrote = lzo::decompress_into(block, target)
                .map_err(|e| format!("{e:?} in a block (after {done} unpacked bytes)"))?;
            if wrote != size {
                return Err(format!("a block holds {wrote} bytes but declares {size}"));
            }
        }
        check("unpacked", target, adler, crc)?;
        done += size;
    }
    if done == out.len() {
        Ok(())
    } else {
        Err(too_short(out.len(), done))
    }
}

/// Reads the file header; gives its flags.
fn header(input: &mut Input<'_>) -> Result<u32, String> {
    let short = || String::from("its header is cut short");
    if input.take(MAGIC.len()).ok_or_else(short)? != MAGIC {
        return Err("its header is not lzop's".into());
    }
    let start = input.rest;
    let version = input.u16().ok_or_else(short)?;
    input.take(2).ok_or_else(short)?;
    let extended = version >= VERSION_EXTENDED;
    if extended {
        input.take(2).ok_or_else(short)?;
    }
    let method = input.take(1).ok_or_else(short)?[0];
    if !(1..=3).contains(&method) {
        return Err(format!("method {method} is not LZO1X"));
    }
    if extended {
        input.take(1).ok_or_else(short)?;
    }
    let flags = input.u32().ok_or_else(short)?;
    if flags & (MULTIPART | FILTER) != 0 {
        return Err("multi-part and filtered lzop files are not taken".into());
    }
    input
        .take(if extended { 12 } else { 8 })
        .ok_or_else(short)?;
    let name = input.take(1).ok_or_else(short)?[0];
    input.take(usize::from(name)).ok_or_else(short)?;
    let summed = &start[..start.len() - input.rest.len()];
    let stated = input.u32().ok_or_else(short)?;
    let (adler, crc) = if flags & HEADER_CRC32 != 0 {
        (None, Some(stated))
    } else {
        (Some(stated), None)
    };
    check("header", summed, adler, crc)?;
    Ok(flags)
}

fn check(what: &str, bytes: &[u8], adler: Option<u32>, crc: Option<u32>) -> Outcome {
    if adler.is_some_and(|a| a != adler32(bytes))
        || crc.is_some_and(|c| c != crc32fast::hash(bytes))
    {
        return Err(format!("the checksum of its {what} bytes does not match"));
    }
    Ok(())
}

/// Adler-32 (RFC 1950).
fn adler32(bytes: &[u8]) -> u32 {
    const BASE: u32 = 65_521;
    // Most additions before the sums can overflow 32 bits.
    const RUN: usize = 5_552;
    let (mut a, mut b) = (1_u32, 0_u32);
    for run in bytes.chunks(RUN) {
        for &byte in run {
            a += u32::from(byte);
            b += a;
        }
        a %= BASE;
        b %= BASE;
    }
    b << 16 | a
}

/// Big-endian reader that never reads past its end.
struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(head)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2)?.try_into().ok().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take(4)?.try_into().ok().map(u32::from_be_bytes)
    }
}
