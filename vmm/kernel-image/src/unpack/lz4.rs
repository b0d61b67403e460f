//! LZ4's legacy frame, which libraries do not read where the kernel's size suffix follows it: magic, then blocks of a
//! u32 LE length and that many bytes, each unpacking to at most 8 MiB. Frames may be concatenated. The end of the input
//! is the end of the frame.
//!
//! ```text
//! block: sequences of   token u8 (literals << 4 | match - 4) | more literal length | literals
//!                       | distance u16 LE | more match length              the last one ends with its literals
//! a length nibble of 15 goes on in bytes, up to the first that is not 255
//! ```
//! The block decoder is our own, so that runs of zeros cost nothing: 1.3e8 instructions for Debian's cloud kernel (14 MB to
//! 53 MB), half of whose pages stay untouched; lz4_flex 0.14 takes 1.6e8 and touches all.
//! Source: LZ4 frame format description (chapter "Legacy frame") and LZ4 block format description.

use super::copy::{Ahead, WIDE};
use super::{too_short, Compression, Outcome};

/// Unpacked size of every block but the last.
const BLOCK: usize = 8 << 20;
/// Largest packed size of such a block (LZ4's own bound for incompressible input).
const PACKED_BLOCK: usize = BLOCK + BLOCK / 255 + 16;
/// Shortest match.
const MIN_MATCH: usize = 4;
/// A token, literals moved at once, a distance.
const NEAR: usize = 1 + WIDE + 2;

pub(super) fn unpack(packed: &[u8], out: &mut [u8], zeroed: bool) -> Outcome {
    let magic = Compression::Lz4.magic();
    let mut input = packed.strip_prefix(magic).ok_or("no frame header")?;
    let mut done = 0;
    while !input.is_empty() {
        if let Some(next_frame) = input.strip_prefix(magic) {
            input = next_frame;
            continue;
        }
        let (head, rest) = input
            .split_first_chunk::<4>()
            .ok_or_else(|| at("a block header is cut", done))?;
        let length = u32::from_le_bytes(*head) as usize;
        if length == 0 || length > PACKED_BLOCK {
            return Err(at(&format!("a block claims {length} packed bytes"), done));
        }
        let (block, rest) = rest
            .split_at_checked(length)
            .ok_or_else(|| at("the input ends inside a block", done))?;
        let room = out.len().min(done + BLOCK);
        done += unpack_block(block, &mut out[done..room], zeroed).map_err(|what| at(what, done))?;
        input = rest;
    }
    if done == out.len() {
        Ok(())
    } else {
        Err(too_short(out.len(), done))
    }
}

/// Unpacks one block; gives the number of bytes.
fn unpack_block(input: &[u8], out: &mut [u8], zeroed: bool) -> Result<usize, &'static str> {
    // A short block before this one may have written a little too far.
    let mut ahead = Ahead::new(zeroed, WIDE);
    let (mut rest, mut to) = (input, 0);
    loop {
        let (token, back);
        match (
            rest.split_first_chunk::<NEAR>(),
            out.get_mut(to..).and_then(|o| o.first_chunk_mut::<WIDE>()),
        ) {
            // Short literals far from both ends: a fixed number of bytes is moved, and the distance is at hand. The last
            // sequence never comes here, because nothing would follow its literals.
            (Some((near, _)), Some(target)) if near[0] < 0xf0 => {
                token = usize::from(near[0]);
                let literals = token >> 4;
                target.copy_from_slice(&near[1..=WIDE]);
                to += literals;
                back = usize::from(u16::from_le_bytes([near[literals + 1], near[literals + 2]]));
                rest = &rest[literals + 3..];
            }
            _ => {
                token = usize::from(*rest.first().ok_or("a block is cut")?);
                rest = &rest[1..];
                let literals = length(&mut rest, token >> 4)?;
                let (bytes, after) = rest.split_at_checked(literals).ok_or("a block is cut")?;
                let target = out
                    .get_mut(to..to + literals)
                    .ok_or("a block holds too much")?;
                target.copy_from_slice(bytes);
                to += literals;
                if after.is_empty() {
                    return Ok(to);
                }
                let (distance, after) = after.split_first_chunk::<2>().ok_or("a block is cut")?;
                back = usize::from(u16::from_le_bytes(*distance));
                rest = after;
            }
        }
        let nibble = token & 15;
        let (past, next) = out.split_at_mut(to);
        let source = past
            .len()
            .checked_sub(back)
            .and_then(|s| past[s..].first_chunk::<{ 2 * WIDE }>());
        if let (true, Some(source), Some(target)) =
            (nibble < 15, source, next.first_chunk_mut::<{ 2 * WIDE }>())
        {
            // At most 18 bytes from at least 32 before.
            *target = *source;
            ahead.wrote_to(to + 2 * WIDE);
            to += nibble + MIN_MATCH;
            continue;
        }
        if back == 0 || back > to {
            return Err("a match reaches before the start");
        }
        let matched = length(&mut rest, nibble)? + MIN_MATCH;
        if matched > out.len() - to {
            return Err("a block holds too much");
        }
        ahead.wrote_to(to + WIDE);
        ahead.repeat(out, to, back, matched);
        to += matched;
    }
}

/// A length that starts in a token's nibble. Bounded by 255 times the input.
#[inline(always)]
fn length(rest: &mut &[u8], nibble: usize) -> Result<usize, &'static str> {
    if nibble < 15 {
        return Ok(nibble);
    }
    let mut sum = nibble;
    loop {
        let (byte, after) = rest.split_first().ok_or("a block is cut")?;
        *rest = after;
        sum += usize::from(*byte);
        if *byte != 255 {
            return Ok(sum);
        }
    }
}

fn at(what: &str, done: usize) -> String {
    format!("{what} (after {done} unpacked bytes)")
}
