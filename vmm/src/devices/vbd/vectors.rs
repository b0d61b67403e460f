//! Guest memory as vectors for the kernel.

use crate::vstate::memory::GuestMemory;
use noxen_devices::pv::block::Piece;
use std::io;
use std::ops::Range;
use vm_memory::{Bytes, GuestMemoryBackend, VolatileSlice};

/// `pieces` as slices of this process; `None`: one is not in guest memory.
pub fn slices<'a>(memory: &'a GuestMemory, pieces: &[Piece]) -> Option<Vec<VolatileSlice<'a>>> {
    pieces
        .iter()
        .map(|piece| memory.get_slice(piece.at, piece.len as usize).ok())
        .collect()
}

/// A copy of what is in `slices`.
pub fn gather(slices: &[VolatileSlice<'_>]) -> io::Result<Vec<u8>> {
    let mut data = vec![0; slices.iter().map(VolatileSlice::len).sum()];
    let mut at = 0;
    for slice in slices {
        slice
            .read_slice(&mut data[at..at + slice.len()], 0)
            .map_err(io::Error::other)?;
        at += slice.len();
    }
    Ok(data)
}

/// Copies `data`, as long as all of them, into `slices`.
pub fn scatter(slices: &[VolatileSlice<'_>], data: &[u8]) -> io::Result<()> {
    let mut rest = data;
    for slice in slices {
        let (part, after) = rest.split_at(slice.len().min(rest.len()));
        slice.write_slice(part, 0).map_err(io::Error::other)?;
        rest = after;
    }
    Ok(())
}

/// Calls `act` for each part of a range of a disk that lies in one block of `block` bytes, with where it begins and which
/// bytes of the range's data it is.
pub fn parts(
    offset: u64,
    length: usize,
    block: u64,
    mut act: impl FnMut(u64, Range<usize>) -> io::Result<()>,
) -> io::Result<()> {
    let mut done = 0;
    while done < length {
        let at = offset + done as u64;
        let part = (block - at % block).min((length - done) as u64) as usize;
        act(at, done..done + part)?;
        done += part;
    }
    Ok(())
}

/// Addresses and lengths for readv(2) and its kin. They stay valid as long as the process: guest memory
/// is never unmapped.
#[derive(Debug, Default)]
pub struct Vectors {
    list: Vec<libc::iovec>,
    bytes: usize,
}

// SAFETY: the addresses are those of guest memory, which is shared between all threads anyway and is only
// touched by the kernel on behalf of whoever holds this. `iovec` is not Send merely for its raw pointer.
#[allow(unsafe_code)]
unsafe impl Send for Vectors {}

impl Vectors {
    /// Vectors over `pieces` without their first `skip` bytes.
    pub fn new(memory: &GuestMemory, pieces: &[Piece], skip: usize) -> Option<Vectors> {
        let mut vectors = Vectors::default();
        let mut skip = skip;
        for slice in slices(memory, pieces)? {
            let passed = skip.min(slice.len());
            skip -= passed;
            let len = slice.len() - passed;
            if len > 0 {
                let base = slice.ptr_guard_mut().as_ptr().wrapping_add(passed);
                vectors.list.push(libc::iovec {
                    iov_base: base.cast(),
                    iov_len: len,
                });
                vectors.bytes += len;
            }
        }
        Some(vectors)
    }

    /// All bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// First vector and their number.
    pub fn parts(&self) -> (*const libc::iovec, usize) {
        (self.list.as_ptr(), self.list.len())
    }
}
