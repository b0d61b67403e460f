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

use rustix::fs::{
    fcntl_add_seals, fcntl_get_seals, fcntl_getfl, fstat, ftruncate, memfd_create, MemfdFlags,
    OFlags, SealFlags,
};
use rustix::io::Errno;
use rustix::mm::{self, Advice, MapFlags, ProtFlags};
use std::fs::File;
use std::io;
use std::ptr;
use std::sync::Arc;
use vm_memory::mmap::{GuestRegionMmap, MmapRegionBuilder};
use vm_memory::{FileOffset, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion};

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

/// Why files that another process handed over cannot be a domain's memory.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // The messages say it.
pub enum HandedError {
    #[error("{0} files for a domain's memory; it has 1 or 2")]
    Count(usize),
    #[error("{what} has {there} bytes where the domain has {wanted}")]
    Size {
        what: &'static str,
        there: u64,
        wanted: u64,
    },
    #[error("{0} is no memory: neither a memfd nor a file of a tmpfs")]
    NoMemory(&'static str),
    #[error("{0} cannot be written to")]
    ReadOnly(&'static str),
    #[error("{0} can be shortened by whoever else has it, which would end the domain: it has to be sealed (F_SEAL_SHRINK)")]
    NotSealed(&'static str),
    #[error("{what} cannot be looked at: {source}")]
    Os {
        what: &'static str,
        source: io::Error,
    },
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
    /// What was handed over is none.
    #[error(transparent)]
    Handed(#[from] HandedError),
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
        DomainMemory::of(ram_file, region_file, region_offset, ram, region)
    }

    /// Maps memory that another process has made, with all that is in it: the file of RAM, and that of `region` unless it is in the
    /// same. The files may be anybody's: each is looked at before it is mapped.
    pub fn handed(
        files: Vec<File>,
        ram: &[Piece],
        region: Piece,
    ) -> Result<DomainMemory, MemoryError> {
        let total: u64 = ram.iter().map(|piece| piece.len).sum();
        let mut files = files.into_iter();
        let (ram_file, region_file, region_offset) = match (files.next(), files.next(), files.len())
        {
            (Some(ram), None, 0) => {
                let offset = total.next_multiple_of(HUGE);
                check_handed("the file of its memory", &ram, offset + region.len)?;
                let file = Arc::new(ram);
                (file.clone(), file, offset)
            }
            (Some(ram), Some(other), 0) => {
                check_handed("the file of its memory", &ram, total)?;
                check_handed("the file of what is no RAM", &other, region.len)?;
                (Arc::new(ram), Arc::new(other), 0)
            }
            (None, ..) => return Err(HandedError::Count(0).into()),
            (_, _, more) => return Err(HandedError::Count(2 + more).into()),
        };
        DomainMemory::of(ram_file, region_file, region_offset, ram, region)
    }

    /// The files behind it, to be handed over.
    pub fn files(memory: &GuestMemory) -> io::Result<Vec<File>> {
        let mut files: Vec<&Arc<File>> = Vec::new();
        // RAM begins at 0.
        let first = memory.iter().filter(|part| part.start_addr().0 == 0);
        for part in first.chain(memory.iter()) {
            let offset = part.file_offset();
            let file = offset.ok_or_else(|| io::Error::other("guest memory without a file"))?;
            if !files.iter().any(|known| Arc::ptr_eq(known, file.arc())) {
                files.push(file.arc());
            }
        }
        files.into_iter().map(|file| file.try_clone()).collect()
    }

    fn of(
        ram_file: Arc<File>,
        region_file: Arc<File>,
        region_offset: u64,
        ram: &[Piece],
        region: Piece,
    ) -> Result<DomainMemory, MemoryError> {
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
    let failed = |source: Errno| MemoryError::File {
        mib: len >> 20,
        source: source.into(),
    };
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let file = File::from(memfd_create(name, flags).map_err(failed)?);
    resize(&file, len)?;
    // A process that it is handed to can rely on its length; holes can still be made.
    let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
    fcntl_add_seals(&file, seals).map_err(failed)?;
    Ok(file)
}

/// May `file`, which another process has made, be a domain's memory of `len` bytes?
fn check_handed(what: &'static str, file: &File, len: u64) -> Result<(), HandedError> {
    let os = |source: Errno| HandedError::Os {
        what,
        source: source.into(),
    };
    // Only memory knows of seals: memfds and the files of a tmpfs.
    let seals = fcntl_get_seals(file).map_err(|_| HandedError::NoMemory(what))?;
    let about = fstat(file).map_err(os)?;
    let there = u64::try_from(about.st_size).unwrap_or(0);
    if there != len {
        return Err(HandedError::Size {
            what,
            there,
            wanted: len,
        });
    }
    let mode = fcntl_getfl(file).map_err(os)? & OFlags::RWMODE;
    if mode != OFlags::RDWR || seals.intersects(SealFlags::WRITE | SealFlags::FUTURE_WRITE) {
        return Err(HandedError::ReadOnly(what));
    }
    // Files of a tmpfs cannot be sealed. The one that xend makes for huge pages has no name in a mount without a path: nobody has
    // it but those that it was given to.
    let own = memfd_create("noxen-look", MemfdFlags::CLOEXEC).map_err(os)?;
    let is_memfd = fstat(&own).map_err(os)?.st_dev == about.st_dev;
    let is_ours = !is_memfd && about.st_nlink == 0;
    match seals.contains(SealFlags::SHRINK) || is_ours {
        true => Ok(()),
        false => Err(HandedError::NotSealed(what)),
    }
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
    use std::os::fd::AsRawFd;
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
        let file = File::from(memfd_create("test", MemfdFlags::CLOEXEC).unwrap());
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

    fn handed(files: Vec<File>) -> String {
        match DomainMemory::handed(files, &RAM, REGION) {
            Ok(_) => "ok".into(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn memory_that_is_handed_over_is_the_same_memory() {
        for single in [false, true] {
            let one = single.then(|| {
                let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
                File::from(memfd_create("test", flags).unwrap())
            });
            let first = DomainMemory::new(one, &RAM, REGION).unwrap();
            let places = [0, 4 << 30, REGION.gpa].map(GuestAddress);
            for place in places {
                first.map.write_obj(place.0 ^ 0x55, place).unwrap();
            }
            let files = DomainMemory::files(&first.map).unwrap();
            for file in &files {
                // What is not sealed yet.
                let _ = fcntl_add_seals(file, SealFlags::SHRINK);
            }
            let second = DomainMemory::handed(files, &RAM, REGION).unwrap();
            for place in places {
                let word: u64 = second.map.read_obj(place).unwrap();
                assert_eq!(word, place.0 ^ 0x55);
            }
            second.map.write_obj(9u64, places[1]).unwrap();
            assert_eq!(first.map.read_obj::<u64>(places[1]).unwrap(), 9);
        }
    }

    #[test]
    fn files_that_cannot_be_a_domains_memory_are_refused_in_one_line() {
        let sealed = |len| memfd("test", len).unwrap();
        let plain = |len: u64| {
            let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
            let file = File::from(memfd_create("test", flags).unwrap());
            file.set_len(len).unwrap();
            file
        };
        let (ram, region) = (7 << 20, 2 << 20);
        let path = std::env::temp_dir().join(format!("noxen-handed-{}", std::process::id()));
        let disk = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)
            .unwrap();
        disk.set_len(ram).unwrap();
        std::fs::remove_file(&path).unwrap();
        let written = plain(ram);
        fcntl_add_seals(&written, SealFlags::SHRINK | SealFlags::FUTURE_WRITE).unwrap();
        let whole = sealed(ram);
        let read = File::open(format!("/proc/self/fd/{}", whole.as_raw_fd()));
        for (files, expected) in [
            (vec![sealed(ram), sealed(region)], "ok"),
            (vec![], "0 files"),
            (vec![sealed(ram), sealed(region), sealed(region)], "3 files"),
            (
                vec![sealed(ram)],
                "has 7340032 bytes where the domain has 10485760",
            ),
            (
                vec![sealed(ram), sealed(region + 4096)],
                "what is no RAM has 2101248 bytes",
            ),
            (vec![sealed(ram - 4096), sealed(region)], "memory has"),
            (
                vec![File::open("/dev/zero").unwrap(), sealed(region)],
                "no memory",
            ),
            (vec![plain(ram), sealed(region)], "sealed"),
            (vec![written, sealed(region)], "written to"),
            (vec![read.unwrap(), sealed(region)], "written to"),
        ] {
            let line = handed(files);
            assert!(line.contains(expected) && !line.contains('\n'), "{line}");
        }
        // Where the temporary directory is a tmpfs, an unlinked file there is as good as xend's.
        let line = handed(vec![disk, sealed(region)]);
        assert!(line.contains("no memory") || line == "ok", "{line}");
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
