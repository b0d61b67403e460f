//! `shared_info` and what it is made of (`xen.h`, `arch-x86/xen.h`).
//!
//! Both sides change these fields at any time: access single fields atomically by
//! [`offset_of!`](core::mem::offset_of); the structures as values are for tests, dumps and first filling.

abi_enums! {}

abi_consts! {
    /// vCPUs that have a place in `shared_info`; others must register one.
    LEGACY_MAX_VCPUS: usize = 32, "XEN_LEGACY_MAX_VCPUS";
    /// `flags` of [`VcpuTimeInfo`]: readings agree across vCPUs.
    PVCLOCK_TSC_STABLE_BIT: u8 = 1 << 0, "XEN_PVCLOCK_TSC_STABLE_BIT";
    /// `flags` of [`VcpuTimeInfo`]: the guest was stopped, do not complain of a lockup.
    PVCLOCK_GUEST_STOPPED: u8 = 1 << 1, "XEN_PVCLOCK_GUEST_STOPPED";
}

abi_structs! {
    /// A vCPU's clock: ns = system_time + (((tsc - tsc_timestamp) << tsc_shift) * tsc_to_system_mul >> 32).
    pub struct VcpuTimeInfo [both] 32 "struct vcpu_time_info" {
        /// Odd while being changed.
        0 version: u32,
        4 pad0: u32,
        8 tsc_timestamp: u64,
        /// ns since boot at `tsc_timestamp`.
        16 system_time: u64,
        24 tsc_to_system_mul: u32,
        28 tsc_shift: i8,
        29 flags: u8,
        30 pad1: [u8; 2],
    }

    /// A 64-bit vCPU's event state.
    pub struct VcpuInfo64 [64] 64 "struct vcpu_info" {
        0 evtchn_upcall_pending: u8,
        /// Any value but 0 masks.
        1 evtchn_upcall_mask: u8,
        2 _pad0: [u8; 6] = _,
        8 evtchn_pending_sel: u64,
        /// Address of the last page fault.
        16 arch_cr2: u64 = "arch.cr2",
        24 arch_pad: u64 = "arch.pad",
        32 time: VcpuTimeInfo,
    }

    /// A 32-bit vCPU's event state.
    pub struct VcpuInfo32 [32] 64 "struct vcpu_info" {
        0 evtchn_upcall_pending: u8,
        1 evtchn_upcall_mask: u8,
        2 _pad0: [u8; 2] = _,
        4 evtchn_pending_sel: u32,
        8 arch_cr2: u32 = "arch.cr2",
        12 arch_pad: [u32; 5] = "arch.pad",
        32 time: VcpuTimeInfo,
    }

    /// Architecture's part of [`SharedInfo64`].
    pub struct ArchSharedInfo64 [64] 48 "struct arch_shared_info" {
        /// Entries of the p2m list.
        0 max_pfn: u64,
        /// 0 not set up, all ones never.
        8 pfn_to_mfn_frame_list_list: u64,
        /// `XEN_NMIREASON_` flags.
        16 nmi_reason: u64,
        24 p2m_cr3: u64,
        32 p2m_vaddr: u64,
        /// Odd while the guest changes its p2m mapping.
        40 p2m_generation: u64,
    }

    /// Architecture's part of [`SharedInfo32`].
    pub struct ArchSharedInfo32 [32] 28 "struct arch_shared_info" {
        0 max_pfn: u32,
        4 pfn_to_mfn_frame_list_list: u32,
        8 nmi_reason: u32,
        12 p2m_cr3: u32,
        16 p2m_vaddr: u32,
        20 p2m_generation: u32,
        24 wc_sec_hi: u32,
    }

    /// The page that a 64-bit domain and its hypervisor share.
    pub struct SharedInfo64 [64] 0xc40 "struct shared_info" {
        0 vcpu_info: [VcpuInfo64; 32],
        0x800 evtchn_pending: [u64; 64],
        0xa00 evtchn_mask: [u64; 64],
        /// Odd while the wall clock is being changed.
        0xc00 wc_version: u32,
        /// Wall clock at system time 0, seconds since 1970.
        0xc04 wc_sec: u32,
        0xc08 wc_nsec: u32,
        0xc0c wc_sec_hi: u32,
        0xc10 arch: ArchSharedInfo64,
    }

    /// The page that a 32-bit domain and its hypervisor share.
    pub struct SharedInfo32 [32] 0x928 "struct shared_info" {
        0 vcpu_info: [VcpuInfo32; 32],
        0x800 evtchn_pending: [u32; 32],
        0x880 evtchn_mask: [u32; 32],
        0x900 wc_version: u32,
        0x904 wc_sec: u32,
        0x908 wc_nsec: u32,
        0x90c arch: ArchSharedInfo32,
    }
}
