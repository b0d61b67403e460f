//! Guest memory whose first touches wait until somebody has filled it: userfaultfd on shared files, Linux 5.14 and later.
//!
//! ```text
//!   vCPU, device or kernel touches a page that is not mapped --> waits; its address --> next()
//!     page of the file filled by pwrite, or allocated --> resolve(): mapped, whoever waits goes on
//!   release(): touches wait no more
//! ```
//! A page is mapped by `resolve` alone, also one that the file has already (the MINOR mode): so files may use huge pages, of which
//! but a part is filled. Linux, Documentation/admin-guide/mm/userfaultfd.rst and linux/userfaultfd.h.
#![allow(unsafe_code)] // The interface is ioctls with addresses in them; rustix has the descriptor alone.

use noxen_saved_image::PAGE;
use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::ioctl::{ioctl, opcode, Opcode, Setter, Updater};
use rustix::mm::{self, Advice, UserfaultfdFlags};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// `UFFDIO`, and `UFFD_API`.
const GROUP: u8 = 0xaa;
/// `UFFD_FEATURE_MISSING_SHMEM` and `UFFD_FEATURE_MINOR_SHMEM`.
const FEATURES: u64 = 1 << 5 | 1 << 10;
/// `UFFDIO_REGISTER_MODE_MISSING` and `UFFDIO_REGISTER_MODE_MINOR`.
const MODES: u64 = 1 | 1 << 2;
/// `UFFD_EVENT_PAGEFAULT`.
const PAGEFAULT: u8 = 0x12;
/// Bytes of a `struct uffd_msg`, and where the address is in one.
const MESSAGE: usize = 32;
const ADDRESS: usize = 16;

#[repr(C)]
#[derive(Debug, Clone, Copy)]
struct Range {
    start: u64,
    length: u64,
}

#[repr(C)]
struct Api {
    api: u64,
    features: u64,
    ioctls: u64,
}

#[repr(C)]
struct Register {
    range: Range,
    mode: u64,
    ioctls: u64,
}

#[repr(C)]
struct Continue {
    range: Range,
    mode: u64,
    mapped: i64,
}

const API: Opcode = opcode::read_write::<Api>(GROUP, 0x3f);
const REGISTER: Opcode = opcode::read_write::<Register>(GROUP, 0x00);
const UNREGISTER: Opcode = opcode::read::<Range>(GROUP, 0x01);
const WAKE: Opcode = opcode::read::<Range>(GROUP, 0x02);
const CONTINUE: Opcode = opcode::read_write::<Continue>(GROUP, 0x07);

impl AsFd for Faults {
    /// Readable while a touch waits that was not told yet.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Ranges of this process whose first touches are told.
#[derive(Debug)]
pub struct Faults {
    fd: OwnedFd,
    ranges: Vec<Range>,
}

impl Faults {
    /// None yet. An error: this kernel has no such thing, or not for this process.
    pub fn new() -> io::Result<Faults> {
        let flags = UserfaultfdFlags::CLOEXEC | UserfaultfdFlags::NONBLOCK;
        // SAFETY: what it can do to this process's memory is done by the methods below, each of which says why it may.
        let fd = unsafe { mm::userfaultfd(flags) }?;
        let mut api = Api {
            api: GROUP.into(),
            features: FEATURES,
            ioctls: 0,
        };
        // SAFETY: UFFDIO_API takes and gives a `struct uffdio_api`, which `Api` is.
        unsafe { ioctl(&fd, Updater::<API, _>::new(&mut api)) }?;
        Ok(Faults {
            fd,
            ranges: Vec::new(),
        })
    }

    /// Has touches of `start..start + length` wait, a shared mapping of a file that nobody has touched.
    pub fn watch(&mut self, start: u64, length: u64) -> io::Result<()> {
        let range = Range { start, length };
        let mut register = Register {
            range,
            mode: MODES,
            ioctls: 0,
        };
        // SAFETY: UFFDIO_REGISTER takes and gives a `struct uffdio_register`, which `Register` is. It makes threads wait, and changes
        // no memory; the kernel refuses a range that is no mapping.
        unsafe { ioctl(&self.fd, Updater::<REGISTER, _>::new(&mut register)) }?;
        self.ranges.push(range);
        Ok(())
    }

    /// The page of a touch that waits; none if there is none now, or within `time`.
    pub fn next(&self, time: Timespec) -> io::Result<Option<u64>> {
        let mut fds = [PollFd::new(&self.fd, PollFlags::IN)];
        match poll(&mut fds, Some(&time)) {
            Ok(0) | Err(Errno::INTR) => return Ok(None),
            Ok(_) => {}
            Err(errno) => return Err(errno.into()),
        }
        let mut message = [0; MESSAGE];
        match rustix::io::read(&self.fd, &mut message) {
            Ok(MESSAGE) if message[0] == PAGEFAULT => {}
            Ok(_) | Err(Errno::AGAIN | Errno::INTR) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        }
        let address = message[ADDRESS..].first_chunk();
        Ok(address.map(|bytes| u64::from_le_bytes(*bytes) / PAGE * PAGE))
    }

    /// Maps pages that their file has by now; whoever waits for one goes on. One that is mapped already, or has gone from the file
    /// again, is left as it is.
    pub fn resolve(&self, start: u64, length: u64) -> io::Result<()> {
        let end = start + length;
        let mut at = start;
        while at < end {
            let mut more = Continue {
                range: Range {
                    start: at,
                    length: end - at,
                },
                mode: 0,
                mapped: 0,
            };
            // SAFETY: UFFDIO_CONTINUE takes and gives a `struct uffdio_continue`, which `Continue` is. It maps pages that the file behind
            // the range has, in a range that `watch` took; the kernel refuses any other.
            let done = unsafe { ioctl(&self.fd, Updater::<CONTINUE, _>::new(&mut more)) };
            at += u64::try_from(more.mapped).unwrap_or(0);
            match done {
                Ok(()) => return Ok(()),
                Err(Errno::AGAIN) => {}
                Err(Errno::EXIST | Errno::FAULT) => {
                    self.wake(at, PAGE)?;
                    at += PAGE;
                }
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    fn wake(&self, start: u64, length: u64) -> io::Result<()> {
        let range = Range { start, length };
        // SAFETY: UFFDIO_WAKE takes a `struct uffdio_range`, which `Range` is; it lets threads try again.
        unsafe { ioctl(&self.fd, Setter::<WAKE, _>::new(range)) }?;
        Ok(())
    }

    /// Touches of what is not mapped yet are as of any memory from now on.
    pub fn release(self) -> io::Result<()> {
        for range in &self.ranges {
            // SAFETY: UFFDIO_UNREGISTER takes a `struct uffdio_range`, which `Range` is; it lets threads try again.
            unsafe { ioctl(&self.fd, Setter::<UNREGISTER, _>::new(*range)) }?;
            // Pages were mapped one by one; the next touch maps a huge page where the file has one.
            // SAFETY: the range is a shared mapping of a file, which keeps all that was written; this takes the mapping of its pages away.
            let _ = unsafe {
                mm::madvise(
                    range.start as *mut _,
                    range.length as usize,
                    Advice::LinuxDontNeed,
                )
            };
        }
        Ok(())
    }
}
