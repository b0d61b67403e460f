//! What images of blocks have in common: a transfer is cut at the borders of blocks, and data goes through a buffer.
//!
//! ```text
//!   job ── pieces of guest memory ── one buffer ── a part for each block ── write_part, read_part of the format
//! ```

use crate::devices::vbd::vectors::{gather, parts, scatter, slices};
use crate::vstate::memory::GuestMemory;
use noxen_devices::pv::block::{Job, JobOp};
use rustix::fs::fdatasync;
use std::fmt::Debug;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

/// An image of blocks in one file.
pub trait Blocks: Debug + Send + Sync {
    /// The file, which a flush has reach the disk.
    fn file(&self) -> &File;
    /// Bytes of a block.
    fn block(&self) -> u64;
    /// Fills `data`, which are zeros, with what is at `at` of the disk, within one block.
    fn read_part(&self, at: u64, data: &mut [u8]) -> io::Result<()>;
    /// Writes `data` to `at` of the disk, within one block.
    fn write_part(&self, at: u64, data: &[u8]) -> io::Result<()>;
}

/// Does `job`; blocks. Nothing is discarded.
pub fn perform(image: &dyn Blocks, memory: &GuestMemory, job: &Job) -> io::Result<()> {
    let slices = slices(memory, &job.pieces).ok_or(io::ErrorKind::InvalidInput)?;
    let block = image.block();
    match job.op {
        JobOp::Flush => Ok(fdatasync(image.file())?),
        JobOp::Discard(_) => Err(io::Error::from_raw_os_error(libc::EOPNOTSUPP)),
        JobOp::Write => {
            let data = gather(&slices)?;
            parts(job.offset, data.len(), block, |at, range| {
                image.write_part(at, &data[range])
            })
        }
        JobOp::Read => {
            let length = slices.iter().map(|slice| slice.len()).sum();
            let mut data = vec![0; length];
            parts(job.offset, length, block, |at, range| {
                image.read_part(at, &mut data[range])
            })?;
            scatter(&slices, &data)
        }
    }
}

/// The structure at the start of `bytes`, by a copy.
pub fn head<T: FromBytes + KnownLayout + Immutable + Unaligned>(bytes: &[u8]) -> Result<T, String> {
    let (value, _) = T::read_from_prefix(bytes).map_err(|_| "it ends early".to_owned())?;
    Ok(value)
}

/// `length` bytes at `at`.
pub fn read(file: &File, at: u64, length: usize) -> Result<Vec<u8>, String> {
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, at)
        .map_err(|error| format!("{length} bytes at {at}: {error}"))?;
    Ok(bytes)
}

/// Runs Debian's qemu-img, which must succeed.
#[cfg(test)]
pub fn qemu_img(args: &[&str]) {
    let out = std::process::Command::new("qemu-img").args(args).output();
    let out = out.expect("qemu-img (package qemu-utils)");
    assert!(out.status.success(), "qemu-img {args:?}: {out:?}");
}
