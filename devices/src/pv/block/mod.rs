//! Block devices: what is on the ring and what is to be done about it (public/io/blkif.h).
//!
//! ```text
//!   ring entry --request.rs--> Request --queue.rs--> grants, ranges checked --> Job --> engine (in noxen-vmm)
//!   ring entry <-- response <-- last step of the request done <-- complete(token, result) <-'
//! ```
//! An engine is whatever moves bytes between guest memory and an image; it is not part of this crate, and
//! a test stands in for it with a vector.

pub mod queue;
pub mod request;

pub use queue::{Broken, Disk, Job, JobOp, Outcome, Piece, Queue};
pub use request::{Protocol, Request};

/// Bytes of the unit in which requests count, whatever the disk's sectors are.
pub const SECTOR: u64 = 512;
/// Segments of an indirect request that are served (node `feature-max-indirect-segments`).
pub const MAX_INDIRECT_SEGMENTS: u16 = 256;
