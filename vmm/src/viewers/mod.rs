//! People who look at a screen over the network: a thread per screen that serves their sockets.
//!
//! ```text
//!   xend: listening socket --SCM_RIGHTS--> server.rs: poll {stop, wake, listener, clients}
//!                                            |   client.rs: socket <--(tls.rs)--> noxen_display::Session (RFB)
//!   Picture: changed parts, pixels ----------'         '--> Touch: keys, pointer --> the guest
//!   guard.rs: who guesses passwords waits      windows.rs: Ctrl-Alt-1/2/3, text windows beside the guest's picture
//! ```
//! What shows a picture and what takes input are traits, so that a PV frame buffer and an emulated display adapter are
//! served alike. Nothing here runs on a vCPU's thread.

mod client;
mod guard;
mod guestbook;
mod server;
mod tls;
mod windows;

pub use guestbook::Guestbook;
pub use server::{Report, Server};
pub use windows::{Console, Hands, Windows};

use noxen_control::device::VncSpec;
use noxen_control::screen::{Input, Part};
use noxen_display::{Layout, Settings, Size, Surface};
use rustls::ServerConfig;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

/// A picture that people look at.
pub trait Picture: Surface + Send + Sync {
    /// What has changed since this was called last.
    fn take_changes(&self) -> Vec<Part>;

    /// An eventfd to be written when something changes.
    fn tell(&self, wake: Arc<OwnedFd>);

    /// How often to look while somebody wants to see, where nobody tells of changes.
    fn period(&self) -> Option<Duration> {
        None
    }
}

/// What is the same for all viewers of a screen.
#[derive(Debug, Clone)]
pub struct House {
    /// What they are told. What they have to know is in the book.
    pub settings: Settings,
    /// Who is there, and the password.
    pub book: Arc<Guestbook>,
    /// The screen's side of TLS, if they are served by that.
    pub tls: Option<Arc<ServerConfig>>,
}

/// What a description says of a screen's viewers; the line says what in it is wrong.
pub fn house(spec: &VncSpec) -> Result<House, String> {
    let layout = match spec.keymap.as_deref() {
        Some(name) => Layout::named(name).map_err(|error| error.to_string())?,
        None => Layout::english(),
    };
    let tls = spec.tls.as_ref().map(tls::config).transpose()?;
    let settings = Settings {
        name: spec.title.clone(),
        password: None,
        layout,
        tls: tls.is_some(),
    };
    let book = Arc::new(Guestbook::new(spec.password.clone()));
    Ok(House {
        settings,
        book,
        tls,
    })
}

/// What takes what people do.
pub trait Touch: Send {
    /// Hands the guest `inputs`; positions are on a screen of `size`. What the guest does not take is lost.
    fn push(&self, inputs: &[Input], size: Size);

    /// The guest takes positions; otherwise movements.
    fn is_absolute(&self) -> bool;
}
