//! gzip, unpacked in one call: the output buffer is the window, nothing is copied twice.

use flate2::{Decompress, FlushDecompress, Status};

use super::{cut, too_long, too_short, Outcome};

/// zlib's largest window, which every gzip file may use.
const WINDOW_BITS: u8 = 15;

pub(super) fn unpack(packed: &[u8], out: &mut [u8]) -> Outcome {
    let mut stream = Decompress::new_gzip(WINDOW_BITS);
    let status = stream
        .decompress(packed, out, FlushDecompress::Finish)
        .map_err(|e| e.to_string())?;
    let got = stream.total_out() as usize;
    match status {
        Status::StreamEnd if got == out.len() => Ok(()),
        Status::StreamEnd => Err(too_short(out.len(), got)),
        _ if got < out.len() || stream.total_in() as usize == packed.len() => {
            Err(cut(got, out.len()))
        }
        _ => Err(too_long(out.len())),
    }
}
