//! PV back ends.
//!
//! ```text
//!   console.rs   ring page <-> buffers        pty.rs   buffers <-> pseudo-terminal
//!   xenstore.rs  ring page <-> store connection
//!   ring.rs      the byte ring that both pages are made of
//! ```

pub mod console;
pub mod pty;
pub mod ring;
pub mod xenstore;
