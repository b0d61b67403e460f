//! Waiting for many descriptors of a loop at once.

use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use std::io;
use std::os::fd::BorrowedFd;

/// Waits until one of `interests` is ready, at most for `limit`: the ready ones with their flags, in order; none after a
/// signal, too.
pub fn ready<'fd, Source>(
    interests: impl IntoIterator<Item = (Source, BorrowedFd<'fd>, PollFlags)>,
    limit: Option<&Timespec>,
) -> io::Result<Vec<(Source, PollFlags)>> {
    let (mut sources, mut fds) = (Vec::new(), Vec::new());
    for (source, fd, flags) in interests {
        sources.push(source);
        fds.push(PollFd::from_borrowed_fd(fd, flags));
    }
    match poll(&mut fds, limit) {
        Ok(_) => {}
        Err(Errno::INTR) => return Ok(Vec::new()),
        Err(errno) => return Err(errno.into()),
    }
    Ok(sources
        .into_iter()
        .zip(fds.iter().map(PollFd::revents))
        .filter(|(_, flags)| !flags.is_empty())
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{eventfd, EventfdFlags};
    use std::os::fd::AsFd;

    #[test]
    fn only_what_is_ready_is_told() {
        let (quiet, rung) = (
            eventfd(0, EventfdFlags::CLOEXEC).unwrap(),
            eventfd(1, EventfdFlags::CLOEXEC).unwrap(),
        );
        let interests = [
            ("quiet", quiet.as_fd(), PollFlags::IN),
            ("rung", rung.as_fd(), PollFlags::IN),
        ];
        assert_eq!(ready(interests, None).unwrap(), [("rung", PollFlags::IN)]);
        let at_once = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let none = ready([("quiet", quiet.as_fd(), PollFlags::IN)], Some(&at_once));
        assert!(none.unwrap().is_empty());
    }
}
