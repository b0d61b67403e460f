//! xz.

use std::io::Read;

use lzma_rust2::XzReader;

use super::{too_long, Outcome};

pub(super) fn unpack(packed: &[u8], out: &mut [u8]) -> Outcome {
    let mut stream = XzReader::new(packed, false);
    stream.read_exact(out).map_err(|e| e.to_string())?;
    match stream.read(&mut [0]).map_err(|e| e.to_string())? {
        0 => Ok(()),
        _ => Err(too_long(out.len())),
    }
}
