//! Guest-physical memory: files mapped so that KVM can use 2 MiB pages.
//!
//! ```text
//!   ram file     [ frames below the hole | frames above the hole | (region, when huge pages serve it) ]
//!   guest-phys   0 ........ 3.5 GiB        4 GiB ........          region_gpa ....
//!   host-virt    each piece mapped MAP_SHARED at an address congruent to its GPA modulo 2 MiB
//! ```
//! Frames lie in the file in pseudo-physical order without the hole, so the file is as long as the
//! domain's memory may become. Nothing is touched here: a page costs memory once it is used.
#![allow(unsafe_code)] // mmap at a chosen alignment: vm-memory maps wherever the kernel likes.

use rustix::fs::{ftruncate, memfd_create, MemfdFlags};
use rustix::mm::{self, Advice, MapFlags, ProtFlags};
use std::fs::File;
use std::io;
use std::ptr;
use std::sync::Arc;
use vm_memory::mmap::{GuestRegionMmap, MmapRegionBuilder};
use vm_memory::{FileOffset, GuestAddress, GuestMemoryMmap, GuestMemoryRegion};

/// All guest-physical memory of a domain.
pub type GuestMemory = GuestMemoryMmap<()>;

/// A huge page of the host.
const HUGE: u64 = 2 << 20;

/// One piece of guest-physical memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// First guest-physical address, a multiple of 2 MiB.
    pub gpa: u64,
    /// Bytes, a multiple of the page size, not 0.
    pub len: u64,
}

/// Why guest memory could not be had.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// No file for it.
    #[error("cannot make a file of {mib} MiB for guest memory: {source}")]
    File {
        /// Size asked for.
        mib: u64,
        /// OS error.
        source: io::Error,
    },
    /// No address space.
    #[error("cannot map {mib} MiB of guest memory: {source}")]
    Map {
        /// Size asked for.
        mib: u64,
        /// OS error.
        source: io::Error,
    },
    /// Pieces that overlap; a fault of the caller's layout.
    #[error("guest memory pieces overlap: {0}")]
    Layout(String),
}

/// A memslot to be registered with KVM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// Where the guest sees it.
    pub piece: Piece,
    /// Where this process sees it.
    pub hva: u64,
}

/// The memory of a domain and the files behind it.
#[derive(Debug)]
pub struct DomainMemory {
    /// Access by guest-physical address.
    pub map: GuestMemory,
    /// What KVM is to be told.
    pub slots: Vec<Slot>,
    /// The file that backs RAM: frame `pfn` is at `pfn * 4096`.
    pub ram_file: Arc<File>,
}

impl DomainMemory {
    /// Maps `ram` (in file order) and the monitor `region`. `ram_file` is an empty file with huge pages
    /// and then carries the region as well; without it both are memfds.
    pub fn new(
        ram_file: Option<File>,
        ram: &[Piece],
        region: Piece,
    ) -> Result<DomainMemory, MemoryError> {
        let total: u64 = ram.iter().map(|piece| piece.len).sum();
        let (ram_file, region_file, region_offset) = match ram_file {
            Some(file) => {
                let offset = total.next_multiple_of(HUGE);
                resize(&file, offset + region.len)?;
                let file = Arc::new(file);
                (file.clone(), file, offset)
            }
            None => (
                Arc::new(memfd("noxen-ram", total)?),
                Arc::new(memfd("noxen-monitor", region.len)?),
                0,
            ),
        };
        let mut slots = Vec::new();
        let mut regions = Vec::new();
        let mut offset = 0;
        for piece in ram {
            let (slot, mapped) = map(&ram_file, offset, *piece)?;
            slots.push(slot);
            regions.push(mapped);
            offset += piece.len;
        }
        let (slot, mapped) = map(&region_file, region_offset, region)?;
        slots.push(slot);
        regions.push(mapped);
        // In address order: the region of a 32-bit guest may lie between two pieces of RAM.
        regions.sort_by_key(|mapped| mapped.start_addr());
        let map = GuestMemory::from_arc_regions(regions.into_iter().map(Arc::new).collect())
            .map_err(|error| MemoryError::Layout(error.to_string()))?;
        Ok(DomainMemory {
            map,
            slots,
            ram_file,
        })
    }
}

fn memfd(name: &str, len: u64) -> Result<File, MemoryError> {
    let file = File::from(memfd_create(name, MemfdFlags::CLOEXEC).map_err(|source| {
        MemoryError::File {
            mib: len >> 20,
            source: source.into(),
        }
    })?);
    resize(&file, len)?;
    Ok(file)
}

fn resize(file: &File, len: u64) -> Result<(), MemoryError> {
    ftruncate(file, len).map_err(|source| MemoryError::File {
        mib: len >> 20,
        source: source.into(),
    })
}

/// Maps `piece` of `file` so that host-virtual and guest-physical addresses agree modulo 2 MiB.
fn map(
    file: &Arc<File>,
    offset: u64,
    piece: Piece,
) -> Result<(Slot, GuestRegionMmap<()>), MemoryError> {
    let fail = |source: io::Error| MemoryError::Map {
        mib: piece.len >> 20,
        source,
    };
    let len = usize::try_from(piece.len).map_err(|_| fail(io::ErrorKind::OutOfMemory.into()))?;
    let reserved = len + HUGE as usize;
    // SAFETY: a new anonymous mapping at an address of the kernel's choice touches no memory in use.
    // No safe wrapper makes a reservation.
    let base = unsafe {
        mm::mmap_anonymous(
            ptr::null_mut(),
            reserved,
            ProtFlags::empty(),
            MapFlags::PRIVATE | MapFlags::NORESERVE,
        )
    }
    .map_err(|errno| fail(errno.into()))?;
    let skip = (piece.gpa.wrapping_sub(base as u64) % HUGE) as usize;
    let start = base.cast::<u8>().wrapping_add(skip);
    // SAFETY: [start, start + len) lies inside the reservation made above (skip < 2 MiB), which nothing
    // else uses; MAP_FIXED replaces only that. vm-memory cannot map at a given address.
    let mapped = unsafe {
        mm::mmap(
            start.cast(),
            len,
            ProtFlags::READ | ProtFlags::WRITE,
            MapFlags::SHARED | MapFlags::FIXED | MapFlags::NORESERVE,
            file,
            offset,
        )
    }
    .map_err(|errno| fail(errno.into()))?;
    // Advice only: without huge pages the domain is slower, not wrong.
    for advice in [Advice::LinuxHugepage, Advice::LinuxDontDump] {
        // SAFETY: both advices leave the contents of the mapping made above as they are.
        let _ = unsafe { mm::madvise(mapped, len, advice) };
    }
    // SAFETY: the pointer is a live mapping of `len` bytes that is never unmapped: guest memory lives
    // as long as the process, which runs this one domain.
    let built = unsafe { MmapRegionBuilder::<()>::new(len).with_raw_mmap_pointer(mapped.cast()) }
        .with_mmap_prot(libc::PROT_READ | libc::PROT_WRITE)
        .with_mmap_flags(libc::MAP_SHARED | libc::MAP_NORESERVE)
        .with_file_offset(FileOffset::from_arc(file.clone(), offset))
        .build()
        .map_err(|error| fail(io::Error::other(error.to_string())))?;
    let region = GuestRegionMmap::new(built, GuestAddress(piece.gpa))
        .ok_or_else(|| MemoryError::Layout(format!("{:#x}+{:#x} wraps", piece.gpa, piece.len)))?;
    let slot = Slot {
        piece,
        hva: mapped as u64,
    };
    Ok((slot, region))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;
    use vm_memory::Bytes;

    const RAM: [Piece; 2] = [
        Piece {
            gpa: 0,
            len: 4 << 20,
        },
        Piece {
            gpa: 4 << 30,
            len: 3 << 20,
        },
    ];
    const REGION: Piece = Piece {
        gpa: 5 << 30,
        len: 2 << 20,
    };

    #[test]
    fn slots_agree_with_guest_addresses_modulo_huge_pages() {
        let memory = DomainMemory::new(None, &RAM, REGION).unwrap();
        assert_eq!(memory.slots.len(), 3);
        for slot in &memory.slots {
            assert_eq!(slot.hva % HUGE, slot.piece.gpa % HUGE);
        }
    }

    #[test]
    fn ram_file_holds_frames_without_the_hole() {
        let memory = DomainMemory::new(None, &RAM, REGION).unwrap();
        memory
            .map
            .write_obj(0x1122_3344u32, GuestAddress(4 << 30))
            .unwrap();
        let mut bytes = [0u8; 4];
        memory.ram_file.read_exact_at(&mut bytes, 4 << 20).unwrap();
        assert_eq!(u32::from_le_bytes(bytes), 0x1122_3344);
    }

    #[test]
    fn given_file_carries_ram_and_region_apart() {
        let file = memfd("test", 0).unwrap();
        let memory = DomainMemory::new(Some(file), &RAM, REGION).unwrap();
        memory
            .map
            .write_obj(0xffu8, GuestAddress(REGION.gpa))
            .unwrap();
        let last: u8 = memory
            .map
            .read_obj(GuestAddress((4 << 30) + (3 << 20) - 1))
            .unwrap();
        assert_eq!(last, 0);
        assert_eq!(memory.ram_file.metadata().unwrap().len(), 10 << 20);
    }

    #[test]
    fn size_beyond_the_address_space_is_an_error() {
        let piece = Piece {
            gpa: 0,
            len: 1 << 60,
        };
        assert!(DomainMemory::new(None, &[piece], REGION).is_err());
    }
}
