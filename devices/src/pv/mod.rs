//! PV back ends.
//!
//! ```text
//!   console.rs   ring page <-> buffers        pty.rs   buffers <-> pseudo-terminal
//!   xenstore.rs  ring page <-> store connection
//!   ring.rs      the byte ring that both pages are made of
//!
//!   xenbus.rs    store states of a device's two ends -> what its back end does
//!   grant.rs     pages that a guest grants            sring.rs   the request rings on them
//!   block/       disks on such rings               net/       network interfaces
//!
//!   events.rs    rings of events in one page --> fb.rs (screen), kbd.rs (keyboard and pointer)
//!   damage.rs    what of a screen has changed
//!   written.rs   which of the guest's pages all of them have written
//! ```

pub mod block;
pub mod console;
pub mod damage;
pub mod events;
pub mod fb;
pub mod grant;
pub mod kbd;
pub mod net;
pub mod pty;
pub mod ring;
pub mod sring;
pub mod written;
pub mod xenbus;
pub mod xenstore;
