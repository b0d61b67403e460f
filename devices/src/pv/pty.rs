//! The host end of a console: a pseudo-terminal that outlives its readers.

use rustix::fs::{Mode, OFlags};
use rustix::pty::{grantpt, openpt, ptsname, unlockpt, OpenptFlags};
use rustix::termios::{tcgetattr, tcsetattr, OptionalActions};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

/// A pty pair in raw mode.
#[derive(Debug)]
pub struct Pty {
    /// Our side, non-blocking.
    pub master: File,
    /// The other side's path, /dev/pts/N.
    pub path: String,
    /// Held open: without any open slave the master reports hang-up and forgets what it buffered.
    _slave: OwnedFd,
}

impl Pty {
    /// Opens a new pair.
    pub fn open() -> io::Result<Pty> {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        Pty::of(master)
    }

    /// Goes on with the pair of which another process has handed over the master: whoever has the other side open notices nothing.
    pub fn of(master: OwnedFd) -> io::Result<Pty> {
        let path = ptsname(&master, Vec::new())?
            .into_string()
            .map_err(|_| io::Error::other("the pty's name is not text"))?;
        let slave = rustix::fs::open(
            path.as_str(),
            OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        let mut mode = tcgetattr(&slave)?;
        mode.make_raw();
        tcsetattr(&slave, OptionalActions::Now, &mode)?;
        let flags = rustix::fs::fcntl_getfl(&master)?;
        rustix::fs::fcntl_setfl(&master, flags | OFlags::NONBLOCK)?;
        Ok(Pty {
            master: File::from(master),
            path,
            _slave: slave,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    #[test]
    fn pty_keeps_what_was_written_before_anybody_attached() {
        let mut pty = Pty::open().unwrap();
        pty.master.write_all(b"early\n").unwrap();
        let mut reader = File::open(&pty.path).unwrap();
        let mut text = [0u8; 6];
        reader.read_exact(&mut text).unwrap();
        assert_eq!(&text, b"early\n");
    }

    #[test]
    fn pty_master_survives_a_reader_that_leaves() {
        let mut pty = Pty::open().unwrap();
        drop(File::open(&pty.path).unwrap());
        let error = pty.master.read(&mut [0u8; 4]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }
}
