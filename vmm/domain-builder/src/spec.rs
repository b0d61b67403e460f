//! What the caller decides about a domain.

use std::io::BufRead;

use noxen_monitor_abi::layout::NR_SLOTS;
use noxen_pv_abi::start_info::MAX_GUEST_CMDLINE;

/// Longest command line in bytes; start_info keeps one more for the NUL.
pub const MAX_CMDLINE: usize = MAX_GUEST_CMDLINE - 1;
/// Largest domain in pages: 4 TiB.
pub const MAX_PAGES: u64 = 1 << 30;

/// Everything about a domain but its kernel and its ramdisk's contents.
#[derive(Debug, Clone)]
pub struct DomainSpec<'a> {
    /// Memory at start, in pages of 4 KiB: pseudo-physical frames `0..nr_pages`.
    pub nr_pages: u64,
    /// Memory that the domain may grow to, in pages; at least `nr_pages`.
    pub max_pages: u64,
    /// Length of the ramdisk in bytes, 0 if there is none.
    pub ramdisk_len: u64,
    /// Kernel command line, at most [`MAX_CMDLINE`] bytes without a NUL.
    pub cmdline: &'a [u8],
    /// Guest-physical address of the shared_info page.
    pub shared_info_gpa: u64,
    /// Event channel of the console ring.
    pub console_port: u32,
    /// Event channel of the xenstore ring; not 0, which means "xenstored is here" to Linux.
    pub store_port: u32,
    /// `SIF_` flags to add to those that the builder sets itself.
    pub flags: u32,
    /// Entries for slots 256..=271 of the boot L4, which belong to the monitor.
    pub monitor_slots: [u64; NR_SLOTS],
    /// Shorten the start of kernels we know (module `tune`); changes the domain's copy of the kernel.
    pub tune: bool,
}

/// Where the ramdisk's bytes come from. They are read once, front to back, and copied from the reader's own buffer, which is the whole ramdisk
/// where that is in memory.
pub struct Ramdisk<'a> {
    /// Length in bytes, as given in [`DomainSpec::ramdisk_len`].
    pub len: u64,
    /// The bytes; more than `len` are left unread.
    pub reader: &'a mut dyn BufRead,
}
