//! What the end-to-end tests stand on.
//!
//! ```text
//!   tests/*.rs ── assets::*   paths of Debian's kernels, grub and gnumach images, our guest initramfs
//!        │
//!        └────── cargo xtask test ── lab (QEMU TCG, or this host's KVM) ── the test binary
//! ```
//!
//! Nothing here starts a download or installs a package: `cargo xtask assets` does that, and every
//! function that misses a file says so.

pub mod assets;
pub mod layout;
