//! What xend does where systemd runs it (sd_listen_fds(3), sd_notify(3)).
//!
//! ```text
//!   xend.socket --LISTEN_FDS--> activation: the listening socket, which outlives each xend
//!   xend.service <--READY, STOPPING-- notify
//!   noxen-vmm of domain N --systemd-run--> scope noxen-N.scope   (scope)
//! ```
//! Elsewhere all of this does nothing.

pub mod activation;
pub mod scope;

use crate::warning;
use sd_notify::NotifyState;

/// Variables that are for xend alone and not for what it starts.
pub const PRIVATE_VARIABLES: [&str; 4] = [
    "LISTEN_PID",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
    "NOTIFY_SOCKET",
];

/// Says that requests are answered from now on.
pub fn ready() {
    tell(NotifyState::Ready);
}

/// Says that xend is ending.
pub fn stopping() {
    tell(NotifyState::Stopping);
}

fn tell(state: NotifyState) {
    // Without NOTIFY_SOCKET nothing is sent and nothing fails.
    if let Err(e) = sd_notify::notify(&[state]) {
        warning!("systemd could not be told: {e}");
    }
}
