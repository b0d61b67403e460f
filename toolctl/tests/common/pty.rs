//! A pseudo-terminal with a test at its other end.
#![allow(dead_code, reason = "each test binary uses a part")]

use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::pty::{grantpt, openpt, ptsname, unlockpt, OpenptFlags};
use rustix::termios::{tcgetattr, tcsetwinsize, Termios, Winsize};
use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(20);

pub struct Pty {
    pub master: File,
    pub path: String,
}

impl Pty {
    pub fn new() -> Pty {
        let master =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let path = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        Pty {
            master: File::from(master),
            path,
        }
    }

    pub fn slave(&self) -> OwnedFd {
        const O_NOCTTY: i32 = 0o400;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(O_NOCTTY)
            .open(&self.path);
        OwnedFd::from(file.unwrap())
    }

    /// Reads until `wanted` has come; all that was read.
    #[track_caller]
    pub fn read_until(&mut self, wanted: &str) -> String {
        self.read_until_it(wanted, |seen| seen.contains(wanted))
    }

    /// The same with any condition, which `wanted` describes.
    #[track_caller]
    pub fn read_until_it(&mut self, wanted: &str, holds: impl Fn(&str) -> bool) -> String {
        let mut seen = Vec::new();
        let end = Instant::now() + PATIENCE;
        while !holds(&String::from_utf8_lossy(&seen)) {
            assert!(
                Instant::now() < end,
                "{wanted:?} did not come, only {:?}",
                String::from_utf8_lossy(&seen)
            );
            let mut fds = [PollFd::new(&self.master, PollFlags::IN)];
            let tick = Timespec {
                tv_sec: 0,
                tv_nsec: 100_000_000,
            };
            if poll(&mut fds, Some(&tick)).unwrap() > 0 {
                let mut piece = [0; 1024];
                // EIO while the other side is not open yet.
                let n = self.master.read(&mut piece).unwrap_or(0);
                seen.extend(&piece[..n]);
            }
        }
        String::from_utf8(seen).unwrap()
    }
}

/// A program at a terminal.
pub struct Session {
    pub user: Pty,
    /// Kept open so that the settings can be looked at after the program has ended.
    pub slave: OwnedFd,
    pub before: Termios,
    pub child: Child,
}

impl Session {
    /// Starts it at one of that size.
    pub fn spawn(program: &mut Command, rows: u16, columns: u16) -> Session {
        let user = Pty::new();
        let slave = user.slave();
        resize(&slave, rows, columns);
        let before = tcgetattr(&slave).unwrap();
        let end = || Stdio::from(slave.try_clone().unwrap());
        let program = program.stdin(end()).stdout(end()).stderr(end());
        let child = program.spawn().unwrap();
        Session {
            user,
            slave,
            before,
            child,
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Gives the terminal a size.
pub fn resize(slave: &OwnedFd, rows: u16, columns: u16) {
    let size = Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(slave, size).unwrap();
}

/// Looks again and again until `condition` holds.
#[track_caller]
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < end, "{what}");
        std::thread::yield_now();
    }
}

pub fn finish(child: &mut Child) -> Option<i32> {
    let mut status = None;
    until("toolctl does not end", || {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    status.unwrap().code()
}
