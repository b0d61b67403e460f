//! Zstandard.

use std::io::Read;

use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use super::{cut, too_long, too_short, Outcome};

/// Unpacked bytes decoded between two copies out of the decoder's window.
const STEP: usize = 256 << 10;
/// Linux packs its payload with a window of at most 128 MiB.
const MAX_WINDOW: u64 = 128 << 20;

pub(super) fn unpack(packed: &[u8], out: &mut [u8]) -> Outcome {
    let mut input = packed;
    let mut frame = FrameDecoder::new();
    frame.set_max_window_size(MAX_WINDOW);
    frame.init(&mut input).map_err(|e| e.to_string())?;
    let mut done = 0;
    while !frame.is_finished() {
        frame
            .decode_blocks(&mut input, BlockDecodingStrategy::UptoBytes(STEP))
            .map_err(|e| {
                if input.is_empty() {
                    cut(done, out.len())
                } else {
                    e.to_string()
                }
            })?;
        loop {
            let wrote = frame.read(&mut out[done..]).map_err(|e| e.to_string())?;
            done += wrote;
            if wrote == 0 {
                break;
            }
        }
        if frame.can_collect() > 0 {
            return Err(too_long(out.len()));
        }
    }
    if done != out.len() {
        return Err(too_short(out.len(), done));
    }
    match (
        frame.get_checksum_from_data(),
        frame.get_calculated_checksum(),
    ) {
        (Some(stated), Some(found)) if stated != found => Err("its checksum does not match".into()),
        _ => Ok(()),
    }
}
