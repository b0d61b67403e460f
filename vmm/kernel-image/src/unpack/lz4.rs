//! LZ4's legacy frame, which no LZ4 library reads when the kernel's size suffix follows it: magic, then blocks of a
//! u32 LE length and that many bytes, each unpacking to at most 8 MiB. Frames may be concatenated. The end of the input
//! is the end of the frame.
//!
//! Source: LZ4 frame format description, chapter "Legacy frame".

use super::{too_short, Compression, Outcome};

/// Unpacked size of every block but the last.
const BLOCK: usize = 8 << 20;
/// Largest packed size of such a block (LZ4's own bound for incompressible input).
const PACKED_BLOCK: usize = BLOCK + BLOCK / 255 + 16;

pub(super) fn unpack(packed: &[u8], out: &mut [u8]) -> Outcome {
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
        let wrote = lz4_flex::block::decompress_into(block, &mut out[done..room])
            .map_err(|e| at(&e.to_string(), done))?;
        done += wrote;
        input = rest;
    }
    if done == out.len() {
        Ok(())
    } else {
        Err(too_short(out.len(), done))
    }
}

fn at(what: &str, done: usize) -> String {
    format!("{what} (after {done} unpacked bytes)")
}
