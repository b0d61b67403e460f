//! Bits of a page-table entry (SDM volume 3, 4.5; APM volume 2, 5.4), as both sides write them.

/// Present.
pub const P: u64 = 1;
/// Writable.
pub const RW: u64 = 2;
/// User.
pub const US: u64 = 4;
/// Accessed.
pub const A: u64 = 0x20;
/// Dirty.
pub const D: u64 = 0x40;
/// Page size (L2, L3).
pub const PS: u64 = 0x80;
/// Global (L1).
pub const G: u64 = 0x100;
/// Not executable.
pub const NX: u64 = 1 << 63;
/// Frame address.
pub const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
