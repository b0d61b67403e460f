//! Addresses, vectors and ports fixed by the ABI.

/// Version of this ABI; a monitor refuses a [`crate::MonInfo`] of another version.
pub const ABI_VERSION: u32 = 1;
/// `b"NOXENMON"` little-endian: first eight bytes of [`crate::MonInfo`].
pub const MAGIC: u64 = u64::from_le_bytes(*b"NOXENMON");
/// Most vCPUs of one domain.
pub const MAX_VCPUS: usize = 32;
/// Page size in bytes.
pub const PAGE_SIZE: u64 = 4096;

/// First L4 slot that belongs to the hypervisor (0xffff800000000000).
pub const FIRST_SLOT: usize = 256;
/// Number of L4 slots that belong to the hypervisor.
pub const NR_SLOTS: usize = 16;
/// Lowest address of the hypervisor's hole in every address space.
pub const HOLE_START: u64 = 0xffff_8000_0000_0000;
/// First address above the hypervisor's hole.
pub const HOLE_END: u64 = 0xffff_8800_0000_0000;

/// Machine-to-physical table as guests see it: read-only, U=1, 8 bytes per machine frame.
pub const M2P_VA: u64 = 0xffff_8000_0000_0000;
/// Direct map of guest-physical memory (slots 264..=269): address = this + GPA; U=0, NX, 2 MiB pages.
pub const DIRECT_MAP_VA: u64 = 0xffff_8400_0000_0000;
/// Bytes that the direct map can cover.
pub const DIRECT_MAP_MAX: u64 = 6 << 39;
/// Link address of the monitor image (slot 270).
pub const IMAGE_VA: u64 = 0xffff_8700_0000_0000;
/// Bytes reserved for the image.
pub const IMAGE_MAX: u64 = 2 << 20;
/// Per-vCPU windows: window of vCPU `n` starts at `VCPU_VA + n * VCPU_WINDOW`.
pub const VCPU_VA: u64 = 0xffff_8700_4000_0000;
/// Bytes of one per-vCPU window (256 pages; L1 entries of all windows are contiguous).
pub const VCPU_WINDOW: u64 = 1 << 20;

/// Offsets inside a per-vCPU window. Pages not named here are not present (guards).
pub mod window {
    /// GDT, 16 pages, RW: 0..14 guest frames or the zero page, 14 the monitor's page, 15 zero page.
    pub const GDT: u64 = 0;
    /// LDT window, 16 pages, not present until the guest sets an LDT.
    pub const LDT: u64 = 0x1_0000;
    /// Entry stubs for LSTAR and CSTAR, one page, RX (written through the direct map).
    pub const STUBS: u64 = 0x2_0000;
    /// Main stack, lowest byte.
    pub const STACK: u64 = 0x2_4000;
    /// Bytes of the main stack. `STACK + STACK_SIZE` is its top; naturally aligned.
    pub const STACK_SIZE: u64 = 0x4000;
    /// IST stacks, one page each at these offsets: #DF, NMI, #MC.
    pub const IST_DF: u64 = 0x2_a000;
    /// NMI stack.
    pub const IST_NMI: u64 = 0x2_c000;
    /// Machine-check stack.
    pub const IST_MC: u64 = 0x2_e000;
    /// TSS, one page.
    pub const TSS: u64 = 0x3_0000;
    /// IDT, one page (per vCPU so that a guest's gate choices stay its own).
    pub const IDT: u64 = 0x3_2000;
    /// Monitor-private per-vCPU state, RW, this many bytes.
    pub const STATE: u64 = 0x4_0000;
    /// Bytes of per-vCPU state.
    pub const STATE_SIZE: u64 = 0x8000;
    /// Every mapped range of a window as (offset, bytes, executable, backed):
    /// `backed = false` maps the shared zero page (GDT) and gets no memory of its own.
    pub const RANGES: &[(u64, u64, bool)] = &[
        (STUBS, 0x1000, true),
        (STACK, STACK_SIZE, false),
        (IST_DF, 0x1000, false),
        (IST_NMI, 0x1000, false),
        (IST_MC, 0x1000, false),
        (TSS, 0x1000, false),
        (IDT, 0x1000, false),
        (STATE, STATE_SIZE, false),
    ];
}

/// What every entry into the monitor leaves at the top of the vCPU's main stack, lowest address first: r15 r14 r13 r12 rbp rbx r11
/// r10 r9 r8 rax rcx rdx rsi rdi, vector, error code, rip cs rflags rsp ss.
pub mod entry_frame {
    /// 64-bit words.
    pub const WORDS: usize = 22;
    /// Bytes.
    pub const BYTES: u64 = WORDS as u64 * 8;
}

/// Selectors in the monitor's GDT page (page 14 of the GDT, byte offset 0xe000).
pub mod selector {
    /// Monitor code, ring 0, 64-bit.
    pub const MON_CS: u16 = 0xe008;
    /// Monitor data, ring 0.
    pub const MON_SS: u16 = 0xe010;
    /// Guest 32-bit user code (FLAT_USER_CS32).
    pub const USER_CS32: u16 = 0xe023;
    /// Guest data (FLAT_KERNEL_SS, FLAT_USER_SS).
    pub const GUEST_SS: u16 = 0xe02b;
    /// Guest 64-bit code (FLAT_KERNEL_CS, FLAT_USER_CS).
    pub const GUEST_CS: u16 = 0xe033;
    /// TSS descriptor (16 bytes).
    pub const TSS: u16 = 0xe040;
    /// LDT descriptor (16 bytes).
    pub const LDT: u16 = 0xe050;
}

/// What is different for 32-bit guests: their address space ends at 4 GiB, their kernel runs in ring 1.
///
/// ```text
///   per vCPU, at `MonInfo::compat_gpa`:   L4 | scratch x 3        L4[0] -> the guest's own L3, L4[256..272] -> monitor
/// ```
pub mod compat {
    /// First address that belongs to the hypervisor; the M2P starts there, read-only, 4 bytes per machine frame.
    pub const M2P_VA: u64 = 0xf580_0000;
    /// First address behind the M2P.
    pub const M2P_END: u64 = 0xf680_0000;
    /// Machine frames that the M2P has room for; 32-bit domains have none above.
    pub const MAX_FRAMES: u64 = (M2P_END - M2P_VA) / 4;
    /// Pages per vCPU: the L4 that CR3 points to, and [`SCRATCH_SIZE`].
    pub const PAGES_PER_VCPU: u64 = 4;
    /// Where hypercall arguments stand in 64-bit layout: an address in the hypervisor's hole that no page table maps.
    pub const SCRATCH_VA: u64 = 0xffff_8780_0000_0000;
    /// Bytes there.
    pub const SCRATCH_SIZE: u64 = (PAGES_PER_VCPU - 1) * 4096;
    /// Vector of hypercalls.
    pub const HYPERCALL_VECTOR: u8 = 0x82;
    /// Kernel code (FLAT_RING1_CS), in the monitor's GDT page like all four.
    pub const KERNEL_CS: u16 = 0xe019;
    /// Kernel data (FLAT_RING1_DS, FLAT_RING1_SS).
    pub const KERNEL_DS: u16 = 0xe021;
    /// User code (FLAT_RING3_CS).
    pub const USER_CS: u16 = 0xe02b;
    /// User data (FLAT_RING3_DS, FLAT_RING3_SS).
    pub const USER_DS: u16 = 0xe033;
}

/// Interrupt vectors that the local APIC delivers to the monitor.
pub mod vector {
    /// Doorbell: noxen-vmm's irqfd MSI (any vCPU; vCPU 0 by default).
    pub const DOORBELL: u8 = 0xf0;
    /// TSC-deadline timer.
    pub const TIMER: u8 = 0xf1;
    /// Monitor-to-monitor IPI.
    pub const IPI: u8 = 0xf2;
    /// Spurious.
    pub const SPURIOUS: u8 = 0xff;
}

/// I/O ports of the VM. No other port exists.
pub mod port {
    /// 32-bit OUT of an event-channel port number: notification to the outside.
    /// noxen-vmm registers one ioeventfd with datamatch per bound port.
    pub const NOTIFY: u16 = 0x4e50;
    /// 32-bit OUT of the vCPU id: a synchronous call, described in that vCPU's call page.
    pub const CALL: u16 = 0x4e54;
}

/// CPUID behind Xen's forced-emulation prefix: `ud2; .ascii "xen"; cpuid` (public/arch-x86/xen.h, XEN_CPUID).
pub const FORCED_CPUID: [u8; 7] = [0x0f, 0x0b, b'x', b'e', b'n', 0x0f, 0xa2];
/// Vector in [`TUNED_CPUID`].
pub const TUNED_CPUID_VECTOR: u8 = 0x83;
/// What the domain builder may write in its place: `int $0x83; nopl 0(%rax,%rax,1)`.
pub const TUNED_CPUID: [u8; 7] = [0xcd, TUNED_CPUID_VECTOR, 0x0f, 0x1f, 0x44, 0, 0];

/// First pseudo-physical frame above the hole: frames from here on live `HOLE_PAGES` higher.
pub const HOLE_START_PFN: u64 = 0xe_0000;
/// Machine frames in the hole (3.5 GiB to 4 GiB).
pub const HOLE_PAGES: u64 = 0x2_0000;

/// Machine frame that backs pseudo-physical frame `pfn` of a fresh domain.
pub const fn mfn_of_pfn(pfn: u64) -> u64 {
    if pfn < HOLE_START_PFN {
        pfn
    } else {
        pfn + HOLE_PAGES
    }
}

/// Inverse of [`mfn_of_pfn`]; `None` inside the hole.
pub const fn pfn_of_mfn(mfn: u64) -> Option<u64> {
    if mfn < HOLE_START_PFN {
        Some(mfn)
    } else if mfn < HOLE_START_PFN + HOLE_PAGES {
        None
    } else {
        Some(mfn - HOLE_PAGES)
    }
}
