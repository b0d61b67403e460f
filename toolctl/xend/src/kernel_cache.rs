//! Unpacked kernels, kept so that only the first domain of a kernel pays for unpacking it (an xz'd kernel costs
//! billions of instructions).
//!
//! ```text
//!   create --fstat of the open kernel file--> name --> there, ours --> noxen-vmm reads it instead      (and it is
//!             |                                 \--> not there --> nameless file for noxen-vmm          used last)
//!             |                                        ready --> on disk --> room made --> gets its name
//!             \--cached kernel does not build--> once more from the kernel file, its ELF replaces the cached one
//! ```
//! /var/cache/noxen/kernels, mode 0700, may be emptied at any time. A name is the device, inode, size, mtime and ctime
//! of the kernel file: whoever changes the file changes its ctime, and so the name. That is not true within one tick
//! of the file system's clock, so a file which changed in the running tick is not cached.
//! A file here has its name only once it is whole and on disk, and nobody writes to it any more. Whatever fails
//! here is a line in the log; the domain starts as it would without a cache.

use crate::atomic;
use crate::{debug, info, warning};
use noxen_xend_api::paths::Paths;
use rustix::fs::{
    fstat, futimens, linkat, openat, statat, unlinkat, AtFlags, Dir, FileType, Mode, OFlags, Stat,
    Timespec, Timestamps, CWD, UTIME_NOW, UTIME_OMIT,
};
use rustix::io::Errno;
use rustix::time::{clock_gettime, ClockId};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

/// Most kernels that are kept.
const MAX_KERNELS: usize = 8;
/// Most that they take together, bytes.
const MAX_BYTES: u64 = 1 << 30;
/// What a kernel begins with.
const ELF_MAGIC: [u8; 4] = *b"\x7fELF";

/// What the name of a file ends with that is not whole yet.
const UNFINISHED: &str = ".new";
static TEMPORARY: AtomicU32 = AtomicU32::new(0);

/// Held while room is made and a kernel gets its name.
static TURN: Mutex<()> = Mutex::new(());

/// How the kernel of one domain is had.
pub enum Kernel {
    /// Unpacked, from the cache.
    Cached(File),
    /// From its file; what is unpacked is kept.
    New(Entry),
    /// From its file, without the cache.
    Uncached,
}

/// A kernel on its way into the cache.
pub struct Entry {
    directory: OwnedFd,
    name: String,
    /// noxen-vmm writes it.
    file: File,
    /// Its name meanwhile, where the file system knows no files without one (overlayfs before Linux 6.3).
    temporary: Option<String>,
    /// What has the name now is no good.
    replaces: bool,
}

impl Kernel {
    /// Looks for the unpacked form of the open `kernel` file; with `anew` what is cached is to be replaced.
    pub fn look(paths: &Paths, kernel: &File, anew: bool) -> Kernel {
        let path = paths.kernel_cache_dir();
        look(&path, kernel, anew).unwrap_or_else(|e| {
            warning!("the kernel cache {} is not used: {e}", path.display());
            Kernel::Uncached
        })
    }

    /// The descriptor from which noxen-vmm is to read the kernel.
    pub fn fd<'a>(&'a self, original: &'a File) -> BorrowedFd<'a> {
        match self {
            Kernel::Cached(file) => file.as_fd(),
            Kernel::New(_) | Kernel::Uncached => original.as_fd(),
        }
    }

    /// The descriptor to which noxen-vmm is to unpack the kernel.
    pub fn unpacked_fd(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Kernel::New(entry) => Some(entry.file.as_fd()),
            Kernel::Cached(_) | Kernel::Uncached => None,
        }
    }

    /// noxen-vmm gets the cached file.
    pub fn is_cached(&self) -> bool {
        matches!(self, Kernel::Cached(_))
    }

    /// noxen-vmm is ready: keeps what it unpacked, without holding the caller up for the disk.
    pub fn keep(self) {
        let Kernel::New(entry) = self else {
            return;
        };
        let started = std::thread::Builder::new()
            .name("kernel-cache".into())
            .spawn(move || match entry.keep() {
                Ok(true) => info!("the unpacked kernel {} is kept", entry.name),
                Ok(false) => {}
                Err(e) => warning!("the unpacked kernel {} is not kept: {e}", entry.name),
            });
        if let Err(e) = started {
            warning!("the unpacked kernel is not kept: {e}");
        }
    }
}

fn look(path: &Path, kernel: &File, anew: bool) -> io::Result<Kernel> {
    // The clock first: what changes after this has another ctime, or is not cached.
    let now = clock_gettime(ClockId::RealtimeCoarse);
    let about = fstat(kernel)?;
    if FileType::from_raw_mode(about.st_mode) != FileType::RegularFile {
        return Ok(Kernel::Uncached);
    }
    if !is_settled(&about, now) {
        debug!("the kernel file changed just now, not cached");
        return Ok(Kernel::Uncached);
    }
    let directory = open_directory(path)?;
    let name = name_of(&about);
    let mut replaces = anew;
    if !anew {
        match open_cached(&directory, &name) {
            Ok(file) => return Ok(Kernel::Cached(file)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => {
                warning!("the unpacked kernel {name} is not used, but replaced: {e}");
                replaces = true;
            }
        }
    }
    let (file, temporary) = empty_file(&directory, &name)?;
    Ok(Kernel::New(Entry {
        directory,
        name,
        file,
        temporary,
        replaces,
    }))
}

/// An empty file in `directory`, without a name if that can be had.
fn empty_file(directory: &OwnedFd, name: &str) -> io::Result<(File, Option<String>)> {
    let mode = Mode::RUSR | Mode::WUSR;
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    match openat(directory, ".", flags | OFlags::TMPFILE, mode) {
        Ok(file) => Ok((file.into(), None)),
        Err(Errno::OPNOTSUPP | Errno::ISDIR) => named_file(directory, name),
        Err(e) => Err(e.into()),
    }
}

fn named_file(directory: &OwnedFd, name: &str) -> io::Result<(File, Option<String>)> {
    let number = TEMPORARY.fetch_add(1, Ordering::Relaxed);
    let temporary = format!("{name}.{}.{number}{UNFINISHED}", std::process::id());
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::CREATE | OFlags::EXCL;
    let file = openat(directory, &temporary, flags, Mode::RUSR | Mode::WUSR)?;
    Ok((file.into(), Some(temporary)))
}

/// Removes the files that a xend which was killed has not finished.
pub fn sweep(paths: &Paths) {
    let entries = std::fs::read_dir(paths.kernel_cache_dir());
    for entry in entries.into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().ends_with(UNFINISHED) {
            // What stays takes room until the next start, nothing else.
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary {
            // It has its right name by now, or was not kept; `sweep` tries again.
            let _ = unlinkat(&self.directory, temporary, AtFlags::empty());
        }
    }
}

/// Opens the cache's directory; makes it if need be.
fn open_directory(path: &Path) -> io::Result<OwnedFd> {
    atomic::make_directory(path, 0o700)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = openat(CWD, path, flags, Mode::empty())?;
    let about = fstat(&directory)?;
    if about.st_uid != rustix::process::geteuid().as_raw() || about.st_mode & 0o077 != 0 {
        let why = "it must be xend's own, with mode 0700";
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
    }
    Ok(directory)
}

/// Opens a cached kernel and marks it as used now.
fn open_cached(directory: &OwnedFd, name: &str) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = openat(directory, name, flags, Mode::empty())?;
    let about = fstat(&file)?;
    if !is_whole(&about, rustix::process::geteuid().as_raw()) {
        let why = "it is not a file of xend's own with mode 0600, or empty";
        return Err(io::Error::other(why));
    }
    let at = |tv_nsec| Timespec { tv_sec: 0, tv_nsec };
    let used = Timestamps {
        last_access: at(UTIME_OMIT),
        last_modification: at(UTIME_NOW),
    };
    if let Err(e) = futimens(&file, &used) {
        debug!("the unpacked kernel {name} cannot be marked as used: {e}");
    }
    Ok(file.into())
}

/// Nobody but `uid` can have put it there.
fn is_whole(about: &Stat, uid: u32) -> bool {
    FileType::from_raw_mode(about.st_mode) == FileType::RegularFile
        && about.st_mode & 0o7777 == 0o600
        && about.st_uid == uid
        && about.st_size > 0
}

/// A later change would give another ctime: the file's is of an earlier tick than `now`.
fn is_settled(about: &Stat, now: Timespec) -> bool {
    let changed = (about.st_ctime, about.st_ctime_nsec as i64);
    changed < (now.tv_sec, now.tv_nsec)
}

/// The name under which the kernel in this file is cached.
fn name_of(about: &Stat) -> String {
    format!(
        "{:x}-{:x}-{:x}-{:x}-{:x}-{:x}-{:x}.elf",
        about.st_dev,
        about.st_ino,
        about.st_size,
        about.st_mtime,
        about.st_mtime_nsec,
        about.st_ctime,
        about.st_ctime_nsec
    )
}

/// It is a name of [`name_of`]'s kind.
fn is_name(name: &str) -> bool {
    let hex = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_hexdigit());
    name.strip_suffix(".elf")
        .is_some_and(|stem| stem.split('-').count() == 7 && stem.split('-').all(hex))
}

impl Entry {
    /// Puts the file under its name. False when there is nothing to keep, or it is there already.
    fn keep(&self) -> io::Result<bool> {
        let size = fstat(&self.file)?.st_size as u64;
        let mut magic = [0; 4];
        // noxen-vmm writes nothing where there is nothing to unpack.
        let wanted = (4..=MAX_BYTES).contains(&size) && {
            self.file.read_exact_at(&mut magic, 0)?;
            magic == ELF_MAGIC
        };
        if wanted {
            self.file.sync_all()?;
        }
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        if self.replaces {
            remove(&self.directory, &self.name)?;
        }
        if !wanted || statat(&self.directory, &self.name, AtFlags::SYMLINK_NOFOLLOW).is_ok() {
            return Ok(false);
        }
        make_room(&self.directory, size)?;
        let linked = match &self.temporary {
            Some(temporary) => {
                let flags = AtFlags::empty();
                linkat(
                    &self.directory,
                    temporary,
                    &self.directory,
                    &self.name,
                    flags,
                )
            }
            None => {
                let nameless = format!("/proc/self/fd/{}", self.file.as_fd().as_raw_fd());
                let flags = AtFlags::SYMLINK_FOLLOW;
                linkat(CWD, nameless, &self.directory, &self.name, flags)
            }
        };
        match linked {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) => Ok(false),
            Err(e) => Err(e.into()),
        }
    }
}

/// Removes the kernels that were not used for longest until one of `size` bytes fits in. A domain that reads one of
/// them meanwhile has it open.
fn make_room(directory: &OwnedFd, size: u64) -> io::Result<()> {
    let mut kernels = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let Some(name) = entry.file_name().to_str().ok().filter(|n| is_name(n)) else {
            continue;
        };
        let about = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let used = (about.st_mtime, about.st_mtime_nsec);
        kernels.push((used, about.st_size as u64, name.to_owned()));
    }
    kernels.sort();
    let mut count = kernels.len();
    let mut bytes: u64 = kernels.iter().map(|kernel| kernel.1).sum();
    for (_, length, name) in kernels {
        if count < MAX_KERNELS && bytes + size <= MAX_BYTES {
            break;
        }
        remove(directory, &name)?;
        count -= 1;
        bytes -= length;
    }
    Ok(())
}

/// Removes `name`; it need not exist.
fn remove(directory: &OwnedFd, name: &str) -> io::Result<()> {
    match unlinkat(directory, name, AtFlags::empty()) {
        Err(e) if e != Errno::NOENT => Err(e.into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
#[path = "kernel_cache_tests.rs"]
mod tests;
