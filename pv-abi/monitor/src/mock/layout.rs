//! Where everything of the test domain lies, and its [`MonInfo`].
//!
//! ```text
//!   RAM (frames)     1 L4  2-4 tables of the kernel half  5 user L4  6-8 its tables  10 GDT
//!                    16..32 kernel stack   32..64 scratch for arguments   64.. free for tests
//!                    0..384 at boot, 384..512 balloon
//!   kernel linear    KERNEL + frame * 4096, all frames of the boot reservation
//!   user linear      USER .. USER + 16 pages = frames 300..316
//! ```

use noxen_monitor_abi::layout::{ABI_VERSION, MAGIC};
use noxen_monitor_abi::MonInfo;

/// First kernel address: frame 0.
pub const KERNEL: u64 = 0xffff_8880_0000_0000;
/// First user address.
pub const USER: u64 = 0x0040_0000;
/// Frame at [`USER`].
pub const USER_FRAME: u64 = 300;
/// User pages.
pub const USER_PAGES: u64 = 16;
/// Frames at boot.
pub const BOOT_PAGES: u64 = 384;
/// Frames of the ceiling, and of the memory.
pub const MAX_PAGES: u64 = 512;
/// Kernel L4.
pub const L4: u64 = 1;
/// L1 of the kernel half.
pub const L1: u64 = 4;
/// User L4.
pub const USER_L4: u64 = 5;
/// Top of the kernel stack (linear).
pub const STACK: u64 = KERNEL + 32 * 4096;
/// Scratch memory for arguments (linear).
pub const ARGS: u64 = KERNEL + 32 * 4096;
/// Frame of the GDT of `World::running`: Linux's first eight descriptors.
pub const GDT_FRAME: u64 = 10;
/// A guest-linear address that nothing maps.
pub const UNMAPPED: u64 = KERNEL + BOOT_PAGES * 4096;
/// An address in the hypervisor's hole.
pub const HOLE: u64 = 0xffff_8300_0000_0000;
/// A selector that does not load.
pub const BAD_SELECTOR: u16 = 0xfff3;

/// The monitor region.
pub const REGION: u64 = 1 << 30;
/// Bytes of it.
pub const REGION_SIZE: u64 = 176 << 12;
/// Ports the event-channel table has room for.
pub const NR_EVTCHNS: u32 = 8192;
/// Store and console ports.
pub const STORE_PORT: u32 = 1;
/// Console port.
pub const CONSOLE_PORT: u32 = 2;
/// Domain id.
pub const DOMID: u16 = 7;
/// CR4 at start: PAE, MCE, PGE, OSFXSR, OSXMMEXCPT, OSXSAVE.
pub const CR4: u64 = 1 << 5 | 1 << 6 | 1 << 7 | 1 << 9 | 1 << 10 | 1 << 18;
/// EFER: SCE, LME, LMA, NXE, and SVME, which guests do not see.
pub const EFER: u64 = 1 | 1 << 8 | 1 << 10 | 1 << 11 | 1 << 12;
/// XCR0 bits offered: x87, SSE, AVX, AVX-512.
pub const XCR0_MASK: u64 = 0xe7;

const fn page(n: u64) -> u64 {
    REGION + (n << 12)
}

/// A valid `MonInfo`: one vCPU, 2 GHz TSC that starts at 0.
pub fn info() -> MonInfo {
    MonInfo {
        magic: MAGIC,
        abi_version: ABI_VERSION,
        nr_vcpus: 1,
        domid: u32::from(DOMID),
        flags: 0,
        nr_pages: BOOT_PAGES,
        max_pages: MAX_PAGES,
        ram_end_mfn: MAX_PAGES,
        region_gpa: REGION,
        region_size: REGION_SIZE,
        l4_gpa: page(1),
        window_l1_gpa: page(161),
        zero_gpa: page(2),
        m2p_gpa: page(80),
        m2p_entries: MAX_PAGES,
        shared_info_gpa: page(3),
        grant_gpa: page(4),
        nr_grant_frames: 4,
        nr_evtchns: NR_EVTCHNS,
        frame_table_gpa: page(81),
        evtchn_gpa: page(96),
        domain_gpa: page(160),
        domain_size: 4096,
        doorbell_gpa: page(9),
        call_gpa: page(16),
        counters_gpa: page(48),
        crash_gpa: page(10),
        public_gpa: page(11),
        cpuid_gpa: page(12),
        nr_cpuid: 0,
        xen_version: 4 << 16 | 17,
        uuid: *b"0123456789abcdef",
        start_rip: KERNEL + 0x10_0000,
        start_rsp: STACK,
        start_rsi: KERNEL + 0x9000,
        start_cr3: L4 << 12,
        store_port: STORE_PORT,
        console_port: CONSOLE_PORT,
        tsc_khz: 2_000_000,
        tsc_mul: 1 << 31,
        tsc_shift: 0,
        base_tsc: 0,
        base_ns: 0,
        wc_sec: 1_700_000_000,
        wc_nsec: 5,
        reserved0: 0,
        xcr0_mask: XCR0_MASK,
        cr4: CR4,
        compat_gpa: 0,
        console_gpa: 0,
    }
}
