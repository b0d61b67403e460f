//! "LZMA alone".

use std::io::Read;

use lzma_rust2::LzmaReader;

use super::{too_long, Outcome};

pub(super) fn unpack(packed: &[u8], out: &mut [u8]) -> Outcome {
    let mut stream =
        LzmaReader::new_mem_limit(packed, u32::MAX, None).map_err(|e| e.to_string())?;
    stream.read_exact(out).map_err(|e| e.to_string())?;
    match stream.read(&mut [0]).map_err(|e| e.to_string())? {
        0 => Ok(()),
        _ => Err(too_long(out.len())),
    }
}
