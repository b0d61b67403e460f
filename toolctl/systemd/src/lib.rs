//! What a daemon does where systemd runs it (sd_listen_fds(3), sd_notify(3)).
//!
//! ```text
//!   NAME.socket  --LISTEN_FDS--> activation: listening sockets, which outlive each daemon
//!   NAME.service <--READY, STOPPING-- ready, stopping
//! ```
//! Elsewhere all of this does nothing.

pub mod activation;

use sd_notify::NotifyState;
use std::io;

/// Variables that are for the daemon alone and not for what it starts.
pub const PRIVATE_VARIABLES: [&str; 4] = [
    "LISTEN_PID",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
    "NOTIFY_SOCKET",
];

/// Whether this host was started by systemd.
pub fn booted() -> bool {
    sd_notify::booted().unwrap_or(false)
}

/// Says that requests are answered from now on. Without `NOTIFY_SOCKET` nothing is sent and nothing fails.
pub fn ready() -> io::Result<()> {
    sd_notify::notify(&[NotifyState::Ready])
}

/// Says in a line what the service is or does, for `systemctl status`.
pub fn status(line: &str) -> io::Result<()> {
    sd_notify::notify(&[NotifyState::Status(line)])
}

/// Says that the daemon is ending.
pub fn stopping() -> io::Result<()> {
    sd_notify::notify(&[NotifyState::Stopping])
}
