//! What the end-to-end tests stand on.
//!
//! ```text
//!   tests/lab/*.rs ── Node     xend, xenstored, noxen-vmm under a private NOXEN_ROOT; all gone when dropped
//!        │             ├──── toolctl(...)   status, stdout, stderr
//!        │             └──── Console        a program on a pty: expect, send, with time limits
//!        ├────────────  memory              private pages of a process, guest RAM apart
//!        └────────────  assets              Debian's kernels, grub and gnumach images, our guest initramfs
//! ```
//!
//! Nothing here starts a download or installs a package: `cargo xtask assets` does that, and every
//! function that misses a file says so. Time limits are generous: in the lab a second of work can
//! take ten.

pub mod assets;
pub mod console;
pub mod guest;
pub mod image;
pub mod layout;
pub mod memory;
pub mod node;
pub mod process;
pub mod wait;
