//! The kernel's file: a plain ELF is mapped; a packed one is unpacked, if possible into a file that xend keeps for the
//! next domain with the same kernel.
//!
//! ```text
//!   kernel file --packed--> empty file given?  yes --> space reserved, mapped, unpacked right into it
//!        \--plain ELF--> mapped, copied once     no, or not to be had --> a buffer of this process
//! ```
//! Mapped rather than written: the pages are those of the page cache, so nothing is copied and nothing of it is this
//! process' own memory. All of the space is reserved first, because a mapped file that finds the disk full kills the
//! process that writes to it. The mapping goes with the kernel, before the domain is ready.
#![allow(unsafe_code)] // mmap of a file as a slice: vm-memory gives volatile access only, which no decoder takes.

use crate::log::{Level, Log};
use noxen_kernel_image::{
    load_file, load_file_into, load_pvh_file_into, ElfBytes, FlatImage, Kernel, KernelError, Room,
};
use rustix::fs::{fallocate, FallocateFlags};
use rustix::mm::{self, MapFlags, ProtFlags};
use std::fs::File;
use std::io;
use std::ptr;

/// Reads the kernel; a packed one goes into `unpacked`, an empty file, if that can be done.
pub fn load<'a>(
    kernel: &'a File,
    unpacked: Option<File>,
    log: &Log,
) -> Result<Kernel<'a>, KernelError> {
    let mut kernel = unpack(kernel, unpacked, log)?;
    if let ElfBytes::File(file, size) = kernel.elf {
        // Read through a buffer it would be copied twice. What cannot be mapped still is.
        if let Ok(mapped) = Mapped::of(file, size) {
            kernel.elf = ElfBytes::Room(Box::new(mapped));
        }
    }
    Ok(kernel)
}

fn unpack<'a>(
    kernel: &'a File,
    unpacked: Option<File>,
    log: &Log,
) -> Result<Kernel<'a>, KernelError> {
    let Some(unpacked) = unpacked else {
        return load_file(kernel);
    };
    load_file_into(kernel, |size| room(unpacked, size, log))
}

/// The same of a kernel that is entered by its PVH entry.
pub fn load_pvh<'a>(
    kernel: &'a File,
    unpacked: Option<File>,
    log: &Log,
) -> Result<(FlatImage, ElfBytes<'a>), KernelError> {
    load_pvh_file_into(kernel, |size| room(unpacked?, size, log))
}

/// Room of `size` bytes in `unpacked`.
fn room(unpacked: File, size: u64, log: &Log) -> Option<Box<dyn Room>> {
    match Mapped::new(unpacked, size) {
        Ok(mapped) => Some(Box::new(mapped)),
        Err(error) => {
            log.line(
                Level::Warning,
                format_args!("the unpacked kernel cannot be kept for other domains: {error}"),
            );
            None
        }
    }
}

/// A file mapped for reading and writing.
#[derive(Debug)]
pub struct Mapped {
    start: *mut u8,
    len: usize,
}

impl Mapped {
    /// Gives the empty `file` `size` bytes and maps it. On failure the file is empty still.
    fn new(file: File, size: u64) -> io::Result<Mapped> {
        let len = usize::try_from(size).map_err(|_| io::ErrorKind::OutOfMemory)?;
        let about = file.metadata()?;
        if !about.is_file() || about.len() != 0 || len == 0 {
            return Err(io::Error::other("it needs an empty regular file"));
        }
        match reserve_and_map(&file, size, len) {
            Ok(start) => Ok(Mapped { start, len }),
            Err(error) => {
                // What is not empty would be taken for a kernel.
                file.set_len(0)?;
                Err(error)
            }
        }
    }
}

fn reserve_and_map(file: &File, size: u64, len: usize) -> io::Result<*mut u8> {
    fallocate(file, FallocateFlags::empty(), 0, size)?;
    // SAFETY: a new mapping at an address of the kernel's choice touches no memory in use. A safe wrapper is not
    // possible in general: others could write to the file or cut it, see `Room for Mapped`.
    let start = unsafe {
        mm::mmap(
            ptr::null_mut(),
            len,
            ProtFlags::READ | ProtFlags::WRITE,
            MapFlags::SHARED,
            file,
            0,
        )
    }?;
    Ok(start.cast())
}

impl Mapped {
    /// Maps the first `size` bytes, not 0, of a file that is only read; what is written to the mapping stays here.
    pub fn of(file: &File, size: u64) -> io::Result<Mapped> {
        let len = usize::try_from(size).map_err(|_| io::ErrorKind::OutOfMemory)?;
        // SAFETY: as in `reserve_and_map`.
        let start = unsafe {
            mm::mmap(
                ptr::null_mut(),
                len,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE | MapFlags::NORESERVE,
                file,
                0,
            )
        }?;
        Ok(Mapped {
            start: start.cast(),
            len,
        })
    }
}

impl Room for Mapped {
    fn bytes(&self) -> &[u8] {
        // SAFETY: `start` is a live mapping of `len` bytes until drop. The file has no name and is open in xend and
        // here only; xend neither writes nor cuts it before this process has said "ready", and the mapping is gone
        // by then. So nobody changes the bytes under the slice, and it cannot end early (SIGBUS). A plain ELF is a
        // kernel (or its ramdisk) installed by root, who replaces such files by renaming; one that is cut short while a
        // domain is built of it ends this process, that is this domain, which does not exist yet.
        unsafe { std::slice::from_raw_parts(self.start, self.len) }
    }

    fn is_zeroed(&self) -> bool {
        // Fresh space of a file reads as zero; nobody unpacks into the mapping of an ELF.
        true
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above; the borrow of self is exclusive, and this process has no second mapping.
        unsafe { std::slice::from_raw_parts_mut(self.start, self.len) }
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `new`, and slices of it borrow self. Failing would only leave it mapped.
        let _ = unsafe { mm::munmap(self.start.cast(), self.len) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use noxen_kernel_image::Source;
    use rustix::fs::{memfd_create, MemfdFlags};
    use std::io::{Read, Seek, Write};
    use std::path::Path;

    fn file(bytes: &[u8]) -> File {
        let fd = memfd_create("test", MemfdFlags::CLOEXEC).unwrap();
        let mut file = File::from(fd);
        file.write_all(bytes).unwrap();
        file.rewind().unwrap();
        file
    }

    fn content(mut file: File) -> Vec<u8> {
        let mut bytes = Vec::new();
        file.rewind().unwrap();
        file.read_to_end(&mut bytes).unwrap();
        bytes
    }

    fn quiet() -> Log {
        Log::new(None, 1, "test")
    }

    fn asset(name: &str) -> File {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/assets");
        File::open(path.join(name)).expect("run `cargo xtask assets` first")
    }

    #[test]
    fn packed_kernel_is_left_unpacked_in_the_file() {
        let kernel = asset("linux-cloud/vmlinuz");
        let kept = file(b"");
        let loaded = load(&kernel, Some(kept.try_clone().unwrap()), &quiet()).unwrap();
        let plain = load_file(&kernel).unwrap();
        assert_eq!(loaded.image.entry, plain.image.entry);
        let size = plain.elf.size() as usize;
        assert_eq!(loaded.elf.slice(0, size), plain.elf.slice(0, size));
        assert!(matches!(loaded.elf, noxen_kernel_image::ElfBytes::Room(_)));
        drop(loaded);
        assert!(Some(&content(kept)[..]) == plain.elf.slice(0, size));
    }

    #[test]
    fn plain_elf_is_mapped_and_leaves_the_file_empty() {
        let kept = file(b"");
        let kernel = asset("linux-cloud/vmlinux");
        let loaded = load(&kernel, Some(kept.try_clone().unwrap()), &quiet()).unwrap();
        assert!(content(kept).is_empty());
        let size = loaded.elf.size();
        assert_eq!(size, kernel.metadata().unwrap().len());
        assert!(loaded.elf.slice(0, size as usize) == Some(&content(kernel.try_clone().unwrap())));
    }

    #[test]
    fn file_that_cannot_be_mapped_is_one_line_and_the_kernel_is_loaded() {
        let kernel = asset("linux-cloud/vmlinuz");
        let lines = file(b"");
        let log = Log::new(Some(lines.try_clone().unwrap()), 1, "test");
        let read_only = File::open("/dev/null").unwrap();
        load(&kernel, Some(read_only), &log).unwrap();
        let text = String::from_utf8(content(lines)).unwrap();
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.contains("cannot be kept"), "{text}");
    }

    #[test]
    fn file_that_is_only_readable_stays_empty() {
        let path = std::env::temp_dir().join(format!("noxen-unpacked-{}", std::process::id()));
        File::create(&path).unwrap();
        let read_only = File::open(&path).unwrap();
        assert!(Mapped::new(read_only, 4096).is_err());
        let len = std::fs::metadata(&path).unwrap().len();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(len, 0);
    }
}
