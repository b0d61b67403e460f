//! The file that `xm save` writes and `xm restore` reads. Knows neither KVM nor where a domain runs.
//!
//! ```text
//!   "LinuxGuestRecord" | length (u32, big-endian) | configuration, an S-expression   as xm's files begin
//!   "NoxenImg" | length, CRC-32 (u32) | header, JSON                                 any version can read it
//!   record*    kind, version, length of the name, of the body, CRC-32 | name | body
//!      unit    a named part of the domain's state, JSON, with its own version
//!      memory  offset in a named space | whole pages; zero pages are left out
//!      zstd    offset, length | the same as a frame of zstd, in an image whose header says so
//!      end     what was written, counted; nothing follows
//! ```
//! Numbers are little-endian but for xm's own length. The first lines are xm's so that `xendomains`, `file` and
//! scripts tell a saved domain by its first 16 bytes and find its configuration.
//!
//! Rules for whoever changes it: a unit's version rises with each change of its structure; a new field needs a
//! new version of its unit; a reader takes exactly the versions that it knows and refuses the rest by name, with
//! the writer's version; nothing is skipped. Only the header may get fields that older readers do not know, and its
//! `reader` says from which format on a reader can do without them.

pub mod device;
pub mod error;
pub mod header;
pub mod hvm;
pub mod read;
pub mod record;
pub mod state;
pub mod write;

pub use device::Device;
pub use error::ImageError;
pub use header::Header;
pub use hvm::{HvmState, Saved};
pub use read::{Place, Reader, Record};
pub use state::{State, Unit};
pub use write::Writer;

/// Page size, bytes: memory records hold whole pages.
pub const PAGE: u64 = 4096;
/// Most bytes of memory in a record.
pub const CHUNK: usize = 256 << 10;
