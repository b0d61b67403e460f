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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::devices::vif::testing;
    use std::time::{Duration, Instant};
    use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap};

    /// Asks the host's own stack, as a guest would: an ARP request in two pieces, and its answer.
    #[test]
    fn frame_in_pieces_reaches_the_host_and_its_answer_comes_back() {
        let name = format!("nq{}", std::process::id());
        let Some(fds) = testing::tap_at(&name, 1, "198.51.100.1") else {
            return;
        };
        let mut queue = TapQueue::new(Arc::new(fds.into_iter().next().unwrap()));

        let mut request = vec![0u8; 10];
        request.extend(testing::arp_request([198, 51, 100, 2], [198, 51, 100, 1]));
        let memory = GuestMemoryMmap::<()>::from_ranges(&[(GuestAddress(0), 0x2000)]).unwrap();
        // The rest of the frame lies in two places of the guest's memory.
        memory
            .write_slice(&request[30..40], GuestAddress(0xff6))
            .unwrap();
        memory
            .write_slice(&request[40..], GuestAddress(0x1800))
            .unwrap();
        let rest = [
            memory.get_slice(GuestAddress(0xff6), 10).unwrap(),
            memory
                .get_slice(GuestAddress(0x1800), request.len() - 40)
                .unwrap(),
        ];
        queue.send(&request[..30], &rest).unwrap();

        let deadline = Instant::now() + Duration::from_secs(10);
        let mut buffer = vec![0; 70_000];
        loop {
            assert!(Instant::now() < deadline, "no answer to an ARP request");
            match queue.receive(&mut buffer).unwrap() {
                // An ARP reply to us, from the address that was asked for.
                Some(length) if length >= 52 && buffer[22..24] == [8, 6] && buffer[31] == 2 => {
                    assert_eq!(buffer[10..16], testing::SENDER);
                    assert_eq!(buffer[38..42], [198, 51, 100, 1]);
                    return;
                }
                Some(_) => {}
                None => std::thread::sleep(Duration::from_millis(1)),
            }
        }
    }
}
