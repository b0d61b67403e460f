//! A screen for people far away: the RFB protocol (RFC 6143 and the community's extensions), without sockets and threads.
//!
//! ```text
//!   viewer's bytes --feed--> Session --> Input{key, motion, position} --> the guest's keyboard and pointer
//!                              |
//!   Surface --changed parts----+--update--> bytes for the viewer, never more than one bounded update ahead
//! ```
//! Whoever owns the sockets calls; nothing here waits. Viewers are hostile: each message is read in bounded pieces.

mod auth;
pub mod encode;
pub mod keys;
mod message;
pub mod pixel;
mod pointer;
pub mod session;
pub mod surface;
pub mod text;

pub use keys::Layout;
pub use session::{Ended, Session, Settings};
pub use surface::{Size, Surface};
pub use text::Text;
