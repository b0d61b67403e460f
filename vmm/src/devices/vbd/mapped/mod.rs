//! Raw images on a file system in memory: the file mapped, its bytes copied without a system call.
//!
//! ```text
//!   tmpfs file without holes --Mapped::new--> mapping <── copied, page by page ──> guest memory
//!        has holes, or a range was discarded: preadv and pwritev as everywhere (a mapping would fill a hole by looking at it)
//!   somebody cut the file short: the transfer fails, as every one after it      (watch.rs)
//! ```
//! What it spares is the call, the look-up of each page of the file, and the kernel's way of copying.

mod watch;

use crate::devices::vbd::vectors::slices;
use crate::vstate::memory::GuestMemory;
use noxen_devices::pv::block::{Job, JobOp, SECTOR};
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicBool, Ordering};
use vm_memory::mmap::MmapRegionBuilder;
use vm_memory::{FileOffset, MmapRegion, VolatileMemory};
use watch::Watch;

/// Bytes that are copied at a time.
const PAGE: usize = 4096;

/// A mapped image.
#[derive(Debug)]
pub struct Mapped {
    /// Before the region: it goes first.
    watch: Watch,
    region: MmapRegion<()>,
    /// There are holes now.
    holes: AtomicBool,
}

impl Mapped {
    /// Maps `bytes` of `file`; `None`: it is to be read and written, being empty, with holes, or more than can be mapped.
    pub fn new(file: &File, bytes: u64, readonly: bool) -> Option<Mapped> {
        let about = file.metadata().ok()?;
        if bytes == 0 || about.blocks() * SECTOR < bytes {
            return None;
        }
        let protection = match readonly {
            true => libc::PROT_READ,
            false => libc::PROT_READ | libc::PROT_WRITE,
        };
        let whole = FileOffset::new(file.try_clone().ok()?, 0);
        let region = MmapRegionBuilder::new(usize::try_from(bytes).ok()?)
            .with_file_offset(whole)
            .with_mmap_prot(protection)
            .with_mmap_flags(libc::MAP_SHARED | libc::MAP_NORESERVE)
            .build()
            .ok()?;
        Some(Mapped {
            watch: Watch::new(region.as_ptr() as usize, region.size())?,
            region,
            holes: AtomicBool::new(false),
        })
    }

    /// Whether transfers go through the mapping.
    pub fn serves(&self) -> bool {
        !self.holes.load(Ordering::Relaxed)
    }

    /// A range is about to be discarded.
    pub fn discards(&self) {
        self.holes.store(true, Ordering::Relaxed);
    }

    /// Does `job`, a read or a write.
    ///
    /// # Errors
    /// It is not within the file, or the file was cut short.
    pub fn transfer(&self, memory: &GuestMemory, job: &Job) -> io::Result<()> {
        let mut at = usize::try_from(job.offset).map_err(io::Error::other)?;
        for slice in slices(memory, &job.pieces).ok_or(io::ErrorKind::InvalidInput)? {
            let mut left = slice;
            while !left.is_empty() {
                let part = left.len().min(PAGE);
                let here = self.region.get_slice(at, part).map_err(io::Error::other)?;
                match job.op {
                    JobOp::Read => here.copy_to_volatile_slice(left),
                    _ => left
                        .subslice(0, part)
                        .map_err(io::Error::other)?
                        .copy_to_volatile_slice(here),
                }
                at += part;
                left = left.offset(part).map_err(io::Error::other)?;
            }
        }
        match self.watch.has_struck() {
            true => Err(io::ErrorKind::UnexpectedEof.into()),
            false => Ok(()),
        }
    }
}
