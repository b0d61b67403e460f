//! bzip2.

use bzip2::{Decompress, Status};

use super::{cut, too_long, too_short, Outcome};

pub(super) fn unpack(packed: &[u8], out: &mut [u8]) -> Outcome {
    let mut stream = Decompress::new(false);
    loop {
        let (read, written) = (stream.total_in() as usize, stream.total_out() as usize);
        // The library counts what it took, so both are within their slices.
        let status = stream
            .decompress(&packed[read..], &mut out[written..])
            .map_err(|e| e.to_string())?;
        let (now_read, now_written) = (stream.total_in() as usize, stream.total_out() as usize);
        match status {
            Status::StreamEnd if now_written == out.len() => return Ok(()),
            Status::StreamEnd => return Err(too_short(out.len(), now_written)),
            Status::MemNeeded => return Err("no memory for its block buffer".into()),
            _ if (now_read, now_written) != (read, written) => {}
            _ if now_written == out.len() && now_read < packed.len() => {
                return Err(too_long(out.len()))
            }
            _ => return Err(cut(now_written, out.len())),
        }
    }
}
