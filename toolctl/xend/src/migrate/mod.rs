//! Domains that go to another host, or come from one.
//!
//! ```text
//!   source (source.rs)                              target (target.rs), on xend-relocation-port
//!     receive ------------------------------------>   may this address? is there room?
//!     <------------------------------- (ready receive)
//!     the stream, by noxen-vmm ------------------->   head read here: admitted, devices opened; the rest by noxen-vmm
//!     stands still, all is sent
//!     <--------------------------------- (ok prepared)  restored, paused, devices joined
//!     record: moving; held
//!     go ----------------------------------------->   record: it is here; unpaused
//!     <------------------------------------- (ok runs)
//!     torn down
//!   By post-copy, before all this, on a connection of its own: pages VERSION TOKEN --> (ready pages); noxen-vmm has both its ends. After
//!     (ok runs) the source waits until all pages are over there. If they cannot get there the domain is lost: it is torn down here, too.
//!   Any error before `go`, or an (err ..) after it: the target takes its part apart, the source runs on.
//!   Silence after `go`: moved TOKEN on a new connection --> (ok yes) torn down | (ok no) runs on; without an answer it
//!     stays as it is, paused: it is never let run twice.
//! ```
//! The words are xm's as far as xm's xend had any; it took the end of the connection for success.

mod pages;
mod source;
mod target;
mod tunnel;
mod wire;

pub use source::{migrate, settle};
pub use target::{serve, Moves};

use crate::settings::Settings;
use noxen_xend_http::tls::Mutual;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// What TLS needs, as the settings name it; the line says what is missing or wrong.
pub fn tls(settings: &Settings) -> Result<Mutual, String> {
    let keys = [
        "xend-relocation-server-ssl-key-file",
        "xend-relocation-server-ssl-cert-file",
        "xend-relocation-ssl-ca-file",
    ];
    if let Some(key) = keys.iter().find(|key| settings.text(key).is_empty()) {
        return Err(format!(
            "{key} is not set in xend-config.sxp; TLS needs this host's key, its certificate, and the certificate of who signs those of the hosts"
        ));
    }
    let [key, cert, ca] = keys.map(|key| Path::new(settings.text(key)));
    Mutual::load(key, cert, ca)
}

/// A domain that has been sent away, from before `go` until it is known where it runs.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Moving {
    /// Name of the move.
    pub token: String,
    /// Host.
    pub host: String,
    /// Port of its relocation server.
    pub port: u16,
    /// It is asked by TLS.
    #[serde(default)]
    pub tls: bool,
    /// Pages go after it: they are waited for before it is torn down here.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub postcopy: bool,
    /// The other host has said that it runs there: it never may here again, whatever that host knows of it later.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ran: bool,
}

/// A domain that has come here.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Came {
    /// Name of the move.
    pub token: String,
    /// It is still to be unpaused.
    pub due: bool,
}
