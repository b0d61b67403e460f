//! The xenstore: a small hierarchical database through which the tools, the
//! back ends and the guests of one host find each other.
//!
//! ```text
//!  guest ring page        unix socket clients (tools, xend, noxen-vmm)
//!        | ring                 | client
//!        v                      v
//!   bytes <-> wire (header, decoder)                    transport: the daemon
//!        --------------------------------------------------------------------
//!   server   requests in, replies and events out        pure: no sockets,
//!     |  \                                              no clock, no files
//!     |   watch   who is told of which path
//!     |   quota   what one domain may hold
//!     v
//!   store    immutable tree, transactions, permissions
//!     |
//!   dump     the whole state as bytes, and back
//! ```
//!
//! Behaviour follows the public header `xen/io/xs_wire.h`, the protocol text
//! `docs/misc/xenstore.txt` of the Xen tree and, where those are silent, what
//! Xen 4.17's daemon was seen to answer.

pub mod client;
pub mod dump;
pub mod errno;
pub mod holdings;
pub mod locations;
pub mod path;
pub mod perms;
pub mod quota;
pub mod ring;
pub mod server;
pub mod session;
pub mod store;
pub mod watch;
pub mod wire;

pub use errno::Errno;
pub use perms::{Access, DomId, Perms};
