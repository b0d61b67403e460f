//! How much memory a domain has: read from the monitor, bounded for it, and taken back where a guest took more.
//!
//! ```text
//!   monitor --pages--> status, list            mem-max --ceiling--> monitor: populate stops there
//!   RELEASE_FRAMES --> release(): holes in the RAM file
//!   touched without populate --> file larger than the reservation --> reclaim(): holes again
//! ```
//! A frame that was given back stays mapped, because a memory slot can have no gaps that cost nothing; a guest that
//! touches it gets a fresh page of zeros. So the file is compared with the reservation from time to time, and what
//! lies in frames that the domain does not have is thrown away again: an honest guest never has data there.

use crate::domain::calls::Shared;
use noxen_monitor_abi::layout::{mfn_of_pfn, pfn_of_mfn, PAGE_SIZE};
use noxen_monitor_abi::pages::{DomainPublic, DOMAIN_PUBLIC, FRAME_BALLOONED};
use rustix::fs::{fallocate, fstat, FallocateFlags};
use std::fs::File;
use std::io;
use std::mem::offset_of;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, VolatileMemory};

/// What the file may hold beyond the reservation: huge pages of which only a part was given back, and the like.
const SLACK: u64 = 16 << 20;
/// Frame-table bytes read at a time.
const CHUNK: u64 = 64 << 10;

/// Acts on a word of [`DomainPublic`]; none when the page is not there.
pub fn with_public<R>(
    shared: &Shared,
    offset: usize,
    act: impl FnOnce(&AtomicU64) -> R,
) -> Option<R> {
    let at = GuestAddress(shared.region.public + DOMAIN_PUBLIC + offset as u64);
    let slice = shared.memory.get_slice(at, 8).ok()?;
    slice.get_atomic_ref::<AtomicU64>(0).ok().map(act)
}

/// Frames that the domain has; none before the monitor has started.
pub fn pages(shared: &Shared) -> Option<u64> {
    with_public(shared, offset_of!(DomainPublic, pages), |word| {
        word.load(Ordering::Relaxed)
    })
    .filter(|pages| (1..=shared.max_pages).contains(pages))
}

/// Bounds what the domain may populate from now on. What it has it keeps, even if that is more.
pub fn set_ceiling(shared: &Shared, kib: u64) -> Result<(), String> {
    let pages = kib.div_ceil(PAGE_SIZE >> 10);
    if pages == 0 || pages > shared.max_pages {
        return Err(format!(
            "a limit of {} MiB: this domain was built to have 1 to {} MiB; raise maxmem in its configuration and \
             create it again",
            kib >> 10,
            (shared.max_pages * PAGE_SIZE) >> 20
        ));
    }
    with_public(shared, offset_of!(DomainPublic, ceiling), |word| {
        word.store(pages, Ordering::Relaxed);
    })
    .ok_or_else(|| "the monitor's public page is not in guest memory".to_owned())
}

/// Makes holes at the frames of `list` (u64, little endian); false when one of them is no frame of RAM.
pub fn release(file: &File, max_pages: u64, list: &[u8]) -> bool {
    let mut good = true;
    let mut pfns: Vec<u64> = Vec::with_capacity(list.len() / 8);
    for bytes in list.chunks_exact(8) {
        let mfn = bytes.try_into().map_or(u64::MAX, u64::from_le_bytes);
        match pfn_of_mfn(mfn).filter(|pfn| *pfn < max_pages) {
            Some(pfn) => pfns.push(pfn),
            None => good = false,
        }
    }
    pfns.sort_unstable();
    for run in pfns.chunk_by(|a, b| b - a <= 1) {
        let (first, last) = (run[0], run[run.len() - 1]);
        good &= punch(file, first..last + 1).is_ok();
    }
    good
}

fn punch(file: &File, pfns: Range<u64>) -> io::Result<()> {
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    let bytes = (pfns.end - pfns.start) * PAGE_SIZE;
    Ok(fallocate(file, flags, pfns.start * PAGE_SIZE, bytes)?)
}

/// Bytes of memory behind `file`.
fn backed(file: &File) -> u64 {
    fstat(file).map_or(0, |stat| {
        u64::try_from(stat.st_blocks)
            .unwrap_or(0)
            .saturating_mul(512)
    })
}

/// Bytes behind the domain beyond its reservation and what its monitor needs, which may lie in the same file.
fn excess(shared: &Shared) -> u64 {
    pages(shared)
        .filter(|pages| *pages < shared.max_pages)
        .map_or(0, |pages| {
            backed(&shared.ram_file).saturating_sub(pages * PAGE_SIZE + shared.region.size)
        })
}

/// Is there more memory behind the domain than it may have? `kept` is what [`reclaim`] could not free before: huge
/// pages that the host does not split.
pub fn overrun(shared: &Shared, kept: u64) -> bool {
    excess(shared) > kept.saturating_add(SLACK)
}

/// Throws away what lies in frames that the domain, which had `boot_pages` at boot, does not have; returns how many
/// bytes that freed, and how many are too many still. The vCPUs must stand still: then no frame becomes the domain's while it is looked at.
pub fn reclaim(shared: &Shared, boot_pages: u64) -> (u64, u64) {
    let before = backed(&shared.ram_file);
    for run in missing(shared, boot_pages) {
        // A hole that cannot be made leaves the guest what it has; the next look tries again.
        let _ = punch(&shared.ram_file, run);
    }
    let freed = before.saturating_sub(backed(&shared.ram_file));
    (freed, excess(shared))
}

/// The pseudo-physical frames that the domain does not have, as runs.
fn missing(shared: &Shared, boot_pages: u64) -> Vec<Range<u64>> {
    let mut runs: Vec<Range<u64>> = Vec::new();
    let mut bytes = vec![0; CHUNK as usize];
    for first in (0..shared.max_pages).step_by(CHUNK as usize) {
        let mfn = mfn_of_pfn(first);
        let length = CHUNK.min(shared.max_pages - first);
        // The hole below 4 GiB is a multiple of the chunk, so a chunk lies on one side of it.
        let Some(part) = bytes.get_mut(..length as usize) else {
            break;
        };
        let at = GuestAddress(shared.region.frame_table + mfn);
        if shared.memory.read_slice(part, at).is_err() {
            break;
        }
        for (pfn, flags) in (first..).zip(part.iter()) {
            let had_at_boot = pfn < boot_pages;
            if had_at_boot == (flags & FRAME_BALLOONED == 0) {
                continue;
            }
            match runs.last_mut() {
                Some(run) if run.end == pfn => run.end += 1,
                _ => runs.push(pfn..pfn + 1),
            }
        }
    }
    runs
}

#[cfg(test)]
#[path = "reservation_tests.rs"]
mod tests;
