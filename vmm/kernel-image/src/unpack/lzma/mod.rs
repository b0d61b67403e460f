//! LZMA: the "alone" format here, the decoder in [`model`], shared with xz.
//!
//! The decoder is our own, because a kernel's start waits for it: no window to copy out of, no filter buffers. For Debian's
//! kernel (8 MB to 66 MB) `load` takes 2.4e9 instructions; with lzma-rust2 0.25 it took 4.2e9, with liblzma 5.8 3.3e9.
//!
//! ```text
//! parameters u8 | dictionary size u32 | unpacked size u64, all ones = unknown (then an end marker follows) | stream
//! ```

mod model;
mod range;

pub(super) use model::{Model, Parameters, Stop};
pub(super) use range::Range;

use super::{cut, too_long, too_short, Outcome};

/// Length of the header.
const HEADER: usize = 13;

pub(super) fn unpack(packed: &[u8], out: &mut [u8], zeroed: bool) -> Outcome {
    let (header, stream) = packed
        .split_first_chunk::<HEADER>()
        .ok_or("its header is cut short")?;
    let parameters = Parameters::from_byte(header[0]).ok_or("its parameters are out of range")?;
    let size = header[5..].try_into().map_or(0, u64::from_le_bytes);
    if size != u64::MAX && size != out.len() as u64 {
        return Err(format!(
            "its header declares {size} bytes, its suffix {}",
            out.len()
        ));
    }
    let mut range = Range::new(stream).ok_or("its stream has no start")?;
    let mut model = Model::new(parameters);
    let declared = out.len();
    match model.decode(&mut range, out, 0..declared, zeroed) {
        Ok(()) => {}
        Err((Stop::Marker, got)) => return Err(too_short(declared, got)),
        Err((stop, got)) => return Err(describe(stop, got, declared)),
    }
    // A marker may also follow a known size.
    if size != u64::MAX && range.finished() {
        return Ok(());
    }
    match (model.takes_marker(&mut range, out), range.overrun()) {
        (true, _) if range.finished() => Ok(()),
        (_, true) => Err(cut(declared, declared)),
        _ => Err(too_long(declared)),
    }
}

/// One line for a stop.
pub(super) fn describe(stop: Stop, got: usize, declared: usize) -> String {
    match stop {
        Stop::Cut => cut(got, declared),
        Stop::TooLong => too_long(declared),
        Stop::Distance => format!("a match reaches before the start (after {got} unpacked bytes)"),
        Stop::Marker => {
            format!("an end marker stands where none belongs (after {got} unpacked bytes)")
        }
    }
}
