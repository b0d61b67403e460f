//! Descriptors along with bytes of the control socket (SCM_RIGHTS).
//!
//! ```text
//!   send_with_fds(line, fds) ==one sendmsg==> receive(): bytes -> LineBuffer, fds -> FdQueue
//!                                             line that states `fds: n` takes the n oldest
//! ```

use rustix::net::{
    recvmsg, sendmsg, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};
use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Most descriptors of one request, and most that a connection may have waiting.
pub const MAX_FDS: usize = 16;

/// Sends some of `bytes`, and all of `fds` with the first of them; returns how many bytes went.
pub fn send_with_fds(socket: impl AsFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
    if fds.len() > MAX_FDS {
        return Err(io::Error::other(format!(
            "{} descriptors in one request; at most {MAX_FDS} are passed",
            fds.len()
        )));
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::Error::other("no room for the descriptors"));
    }
    loop {
        let flags = SendFlags::NOSIGNAL;
        match sendmsg(&socket, &[IoSlice::new(bytes)], &mut control, flags) {
            Err(rustix::io::Errno::INTR) => {}
            result => return Ok(result?),
        }
    }
}

/// Receives bytes, and descriptors into `queue`; 0 at the end of the stream. Descriptors beyond
/// [`MAX_FDS`] waiting are an error: the peer does not keep to the protocol.
pub fn receive(socket: impl AsFd, bytes: &mut [u8], queue: &mut FdQueue) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC;
    let received = recvmsg(&socket, &mut [IoSliceMut::new(bytes)], &mut control, flags)?;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(fds) = message {
            queue.fds.extend(fds);
        }
    }
    if queue.fds.len() > MAX_FDS {
        queue.fds.clear();
        return Err(io::Error::other("more descriptors than requests take"));
    }
    Ok(received.bytes)
}

/// Descriptors that came and whose line has not been acted upon yet.
#[derive(Debug, Default)]
pub struct FdQueue {
    fds: VecDeque<OwnedFd>,
}

impl FdQueue {
    /// How many wait.
    pub fn len(&self) -> usize {
        self.fds.len()
    }

    /// None waits.
    pub fn is_empty(&self) -> bool {
        self.fds.is_empty()
    }

    /// The `count` oldest, or how many there were instead (those are closed).
    pub fn take(&mut self, count: u32) -> Result<Vec<OwnedFd>, usize> {
        let there = self.fds.len();
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        if count > there {
            self.fds.clear();
            return Err(there);
        }
        Ok(self.fds.drain(..count).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    #[test]
    fn descriptor_sent_with_a_line_arrives_with_it() {
        let (left, right) = UnixStream::pair().unwrap();
        let file = File::open("/dev/zero").unwrap();
        assert_eq!(send_with_fds(&left, b"plain\n", &[]).unwrap(), 6);
        assert_eq!(send_with_fds(&left, b"x\n", &[file.as_fd()]).unwrap(), 2);
        let (mut queue, mut bytes) = (FdQueue::default(), [0u8; 64]);
        let mut count = 0;
        while count < 8 {
            count += receive(&right, &mut bytes, &mut queue).unwrap();
        }
        let fds = queue.take(1).unwrap();
        let mut byte = [9u8; 1];
        File::from(fds.into_iter().next().unwrap())
            .read_exact(&mut byte)
            .unwrap();
        assert_eq!(byte, [0]);
        assert_eq!(queue.take(1).unwrap_err(), 0);
    }

    #[test]
    fn descriptors_that_nobody_takes_are_refused() {
        let (left, right) = UnixStream::pair().unwrap();
        let file = File::open("/dev/null").unwrap();
        let fds = [file.as_fd(); MAX_FDS];
        send_with_fds(&left, b"a", &fds).unwrap();
        send_with_fds(&left, b"b", &fds[..1]).unwrap();
        let (mut queue, mut bytes) = (FdQueue::default(), [0u8; 64]);
        assert_eq!(receive(&right, &mut bytes, &mut queue).unwrap(), 1);
        assert!(receive(&right, &mut bytes, &mut queue).is_err());
        assert!(send_with_fds(&left, b"c", &[file.as_fd(); MAX_FDS + 1]).is_err());
    }
}
