//! A domain's console on this terminal.
//!
//! ```text
//!   stdin --(Ctrl-] leaves)--> pump --> tty of the domain (pty slave; noxen-vmm holds the master)
//!   stdout <------------------ pump <-- tty; hang-up = the domain is gone
//!   SIGTERM SIGHUP SIGINT ---> pump ends, the terminal is restored; SIGWINCH --> size of the tty
//! ```
//! One at a time: `/var/lock/xenconsole.<domid>` is held locked, as xenconsole does, so the two also exclude each other.

mod lock;
mod pump;
pub(crate) mod terminal;

pub use pump::Outcome;

use crate::cli::failure::reason;
use lock::Lock;
use noxen_xend_api::paths::Paths;
use rustix::fs::{Mode, OFlags};
use std::io;
use std::os::fd::OwnedFd;
use terminal::{RawTerminal, Signals};

/// Why a console could not be attached, or was lost. One line each.
#[derive(Debug, thiserror::Error)]
pub enum ConsoleError {
    /// Somebody else has it.
    #[error("Console of domain '{name}' is already taken{}; leave it there with Ctrl-] first", by(.pid))]
    Taken {
        /// Domain.
        name: String,
        /// By which process, when it says so.
        pid: Option<u32>,
    },
    /// The lock file cannot be had.
    #[error("Cannot lock the console with {path}: {}", reason(.error))]
    Lock {
        /// File.
        path: String,
        /// Why.
        error: io::Error,
    },
    /// The tty cannot be opened.
    #[error("Cannot open console {path} of domain '{name}': {}", reason(.error))]
    Tty {
        /// Domain.
        name: String,
        /// Device.
        path: String,
        /// Why.
        error: io::Error,
    },
    /// Input or output failed in the middle.
    #[error("Console of domain '{name}' was lost: {}", reason(.error))]
    Lost {
        /// Domain.
        name: String,
        /// Why.
        error: io::Error,
    },
}

fn by(pid: &Option<u32>) -> String {
    pid.map(|pid| format!(" by process {pid}"))
        .unwrap_or_default()
}

/// An opened console: locked, its tty raw. Nothing the guest prints from now on is lost.
pub struct Console {
    name: String,
    tty: OwnedFd,
    _lock: Lock,
}

impl Console {
    /// Locks and opens the console of domain `domid`, called `name` in messages.
    pub fn open(paths: &Paths, name: &str, domid: u32, tty: &str) -> Result<Console, ConsoleError> {
        let lock = Lock::take(paths, name, domid)?;
        let failed = |error: rustix::io::Errno| ConsoleError::Tty {
            name: name.to_owned(),
            path: tty.to_owned(),
            error: error.into(),
        };
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = rustix::fs::open(tty, flags, Mode::empty()).map_err(failed)?;
        // Echo or line editing here would answer the guest's own output back to it.
        let mut settings = rustix::termios::tcgetattr(&fd).map_err(failed)?;
        settings.make_raw();
        rustix::termios::tcsetattr(&fd, rustix::termios::OptionalActions::Now, &settings)
            .map_err(failed)?;
        Ok(Console {
            name: name.to_owned(),
            tty: fd,
            _lock: lock,
        })
    }

    /// Connects standard input and output to it until the user leaves, a signal ends it or the domain is gone.
    pub fn attach(self) -> Result<Outcome, ConsoleError> {
        let lost = |error: io::Error| ConsoleError::Lost {
            name: self.name.clone(),
            error,
        };
        let signals = Signals::register().map_err(lost)?;
        let _raw = RawTerminal::enter().map_err(lost)?;
        pump::run(&self.tty, &signals).map_err(lost)
    }
}
