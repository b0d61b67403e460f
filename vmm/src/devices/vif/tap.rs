//! One queue of a tap, as the protocol core sees it.
#![allow(unsafe_code)] // Frames leave from guest memory, which safe writev does not take.

use noxen_devices::pv::net::Host;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use vm_memory::VolatileSlice;

/// Most pieces of a frame: its head and what is left of 19 slots.
const PIECES: usize = 24;

/// A queue; the descriptor is shared with the device that owns it.
#[derive(Debug)]
pub struct TapQueue {
    fd: Arc<OwnedFd>,
}

impl TapQueue {
    /// Of a tap in non-blocking mode.
    pub fn new(fd: Arc<OwnedFd>) -> TapQueue {
        TapQueue { fd }
    }
}

impl AsFd for TapQueue {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Host for TapQueue {
    fn send(&mut self, head: &[u8], rest: &[VolatileSlice<'_>]) -> io::Result<()> {
        if rest.is_empty() {
            rustix::io::write(&*self.fd, head)?;
            return Ok(());
        }
        if rest.len() >= PIECES {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let empty = libc::iovec {
            iov_base: std::ptr::null_mut(),
            iov_len: 0,
        };
        let mut pieces = [empty; PIECES];
        pieces[0] = libc::iovec {
            iov_base: head.as_ptr().cast_mut().cast(),
            iov_len: head.len(),
        };
        let guards: [_; PIECES] =
            std::array::from_fn(|i| rest.get(i).map(VolatileSlice::ptr_guard));
        for (piece, guard) in pieces[1..].iter_mut().zip(guards.iter().flatten()) {
            *piece = libc::iovec {
                iov_base: guard.as_ptr().cast_mut().cast(),
                iov_len: guard.len(),
            };
        }
        let count = rest.len() + 1;
        // SAFETY: each of the first `count` pieces is memory that is mapped as long as `head` and `rest` are
        // borrowed, and the kernel only reads it. The guest may write meanwhile: then the frame holds what
        // it wrote, which is its own affair. No safe call takes guest memory without a copy.
        let written =
            unsafe { libc::writev(self.fd.as_raw_fd(), pieces.as_ptr(), count as libc::c_int) };
        if written < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }

    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        loop {
            return match rustix::io::read(&*self.fd, &mut *buffer) {
                Ok(length) => Ok(Some(length)),
                Err(rustix::io::Errno::AGAIN) => Ok(None),
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => Err(error.into()),
            };
        }
    }
}
