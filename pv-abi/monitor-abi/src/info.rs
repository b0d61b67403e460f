//! [`MonInfo`]: what noxen-vmm tells the monitor before the first entry.

/// In [`MonInfo::flags`]: the guest is a 32-bit (PAE) kernel, see [`crate::layout::compat`].
pub const FLAG_BITS32: u32 = 1;
/// Bit of [`MonInfo::flags`]: the host's AMD-V is QEMU's TCG, which delivers an injected interrupt a second time, whether
/// interrupts are on or not, unless the guest raises an exception first (`helper_vmrun` leaves the vector behind as a pending one).
pub const FLAG_REPEATS_INTERRUPTS: u32 = 1 << 1;
/// Bit of [`MonInfo::flags`]: KVM says in its steal-time record which vCPUs do not run, and flushes the TLB of one where
/// the record asks for it (KVM_FEATURE_STEAL_TIME, KVM_FEATURE_PV_TLB_FLUSH; Linux, Documentation/virt/kvm/x86/cpuid.rst).
pub const FLAG_HOST_FLUSHES: u32 = 1 << 2;

/// Entries in the CPUID table page(s).
pub const MAX_CPUID: usize = 160;

/// One row of the CPUID table that the monitor answers guests from (already filtered for PV).
/// 28 bytes, little-endian, array at [`MonInfo::cpuid_gpa`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuidEntry {
    /// Leaf (EAX in).
    pub leaf: u32,
    /// Subleaf (ECX in); ignored unless `indexed` is 1.
    pub subleaf: u32,
    /// 1 when the leaf depends on ECX.
    pub indexed: u32,
    /// EAX out.
    pub eax: u32,
    /// EBX out.
    pub ebx: u32,
    /// ECX out.
    pub ecx: u32,
    /// EDX out.
    pub edx: u32,
}

/// Written by noxen-vmm at [`MonInfo`]'s page, read by the monitor. All addresses are guest-physical
/// bytes, page-aligned; all sizes are bytes unless said otherwise.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct MonInfo {
    /// [`crate::layout::MAGIC`].
    pub magic: u64,
    /// [`crate::layout::ABI_VERSION`].
    pub abi_version: u32,
    /// vCPUs of the domain (1..=MAX_VCPUS).
    pub nr_vcpus: u32,
    /// Domain id.
    pub domid: u32,
    /// [`FLAG_BITS32`], [`FLAG_REPEATS_INTERRUPTS`], [`FLAG_HOST_FLUSHES`].
    pub flags: u32,
    /// Frames given at boot.
    pub nr_pages: u64,
    /// Most frames the domain may ever have (pseudo-physical frames are below this).
    pub max_pages: u64,
    /// First machine frame above guest RAM (for `max_pages` frames, hole included).
    pub ram_end_mfn: u64,
    /// Start of the monitor region.
    pub region_gpa: u64,
    /// Bytes of the monitor region; the direct map covers `[0, region_gpa + region_size)`.
    pub region_size: u64,
    /// The monitor's own L4 (slots 256..271 only): CR3 of idle vCPUs and template of the slots.
    pub l4_gpa: u64,
    /// L1 entries of the per-vCPU windows: entry of page `p` of vCPU `v` at `+ (v * 256 + p) * 8`.
    pub window_l1_gpa: u64,
    /// A page of zeros that pads the GDT windows.
    pub zero_gpa: u64,
    /// Machine-to-physical table: 8 bytes per entry, 4 for a 32-bit guest.
    pub m2p_gpa: u64,
    /// Entries in the M2P (= `ram_end_mfn`).
    pub m2p_entries: u64,
    /// shared_info page.
    pub shared_info_gpa: u64,
    /// Grant table frames (v1, zeroed but for entries 0 and 1).
    pub grant_gpa: u64,
    /// Frames at `grant_gpa`.
    pub nr_grant_frames: u32,
    /// Event-channel ports the table at `evtchn_gpa` has room for.
    pub nr_evtchns: u32,
    /// One byte per machine frame, `ram_end_mfn` bytes, zeroed.
    pub frame_table_gpa: u64,
    /// Event-channel table, zeroed: 32 bytes per port.
    pub evtchn_gpa: u64,
    /// Domain-wide monitor state, zeroed.
    pub domain_gpa: u64,
    /// Bytes at `domain_gpa`.
    pub domain_size: u64,
    /// [`crate::pages::Doorbell`] page.
    pub doorbell_gpa: u64,
    /// Call pages, one per vCPU ([`crate::pages::Call`]).
    pub call_gpa: u64,
    /// Counter pages, one per vCPU ([`crate::counters`]).
    pub counters_gpa: u64,
    /// Crash record page ([`crate::pages::Crash`]).
    pub crash_gpa: u64,
    /// Public vCPU states ([`crate::pages::VcpuPublic`], 64 bytes each).
    pub public_gpa: u64,
    /// CPUID table.
    pub cpuid_gpa: u64,
    /// Rows in the CPUID table.
    pub nr_cpuid: u32,
    /// XENVER_version answer: (major << 16) | minor.
    pub xen_version: u32,
    /// Domain UUID (XENVER_guest_handle).
    pub uuid: [u8; 16],

    /// Entry point (virtual).
    pub start_rip: u64,
    /// Top of the boot stack (virtual).
    pub start_rsp: u64,
    /// start_info (virtual), goes to RSI.
    pub start_rsi: u64,
    /// Boot L4 of the guest.
    pub start_cr3: u64,

    /// Event-channel port of the xenstore ring (pre-bound to domain 0).
    pub store_port: u32,
    /// Event-channel port of the console ring (pre-bound to domain 0).
    pub console_port: u32,

    /// TSC frequency in kHz.
    pub tsc_khz: u64,
    /// pvclock multiplier: ns = ((tsc << shift) * mul) >> 32.
    pub tsc_mul: u32,
    /// pvclock shift, may be negative.
    pub tsc_shift: i32,
    /// Guest TSC value at `base_ns`.
    pub base_tsc: u64,
    /// system_time at `base_tsc`, ns.
    pub base_ns: u64,
    /// Unix seconds at system_time 0.
    pub wc_sec: u64,
    /// Nanoseconds part.
    pub wc_nsec: u32,
    /// APIC id of vCPU `n` is `n` (x2APIC); reserved.
    pub reserved0: u32,
    /// XCR0 bits the guest may set.
    pub xcr0_mask: u64,
    /// CR4 bits that noxen-vmm set for the monitor (OSXSAVE, PGE ... as the host offers).
    pub cr4: u64,
    /// [`crate::layout::compat::PAGES_PER_VCPU`] zeroed pages for each vCPU of a 32-bit guest, else 0.
    pub compat_gpa: u64,
    /// The console's ring, a page of guest RAM (public/io/console.h); 0: none is watched.
    pub console_gpa: u64,
}

const _: () = assert!(core::mem::size_of::<MonInfo>() <= 2048);
const _: () = assert!(core::mem::size_of::<CpuidEntry>() == 28);
