//! `vcpu_guest_context`, the argument of `VCPUOP_initialise` (`arch-x86/xen.h`, `xen-x86_64.h`, `xen-x86_32.h`).
//!
//! The context is 5 KiB: do not decode it whole on a small stack. Read single fields with
//! [`AbiValue::read_from`](crate::AbiValue::read_from) and [`offset_of!`](core::mem::offset_of), which follows nested
//! fields:
//!
//! ```
//! use core::mem::offset_of;
//! use noxen_pv_abi::{vcpu_context::VcpuGuestContext64, AbiValue};
//! let bytes = vec![0u8; VcpuGuestContext64::SIZE];
//! let rip = u64::read_from(&bytes, offset_of!(VcpuGuestContext64, user_regs.rip));
//! assert_eq!(rip, Some(0));
//! ```

use crate::trap::{TrapInfo32, TrapInfo64};

abi_enums! {}

abi_consts! {
    /// `flags`: the FPU context is valid.
    VGCF_I387_VALID: u64 = 1 << 0, "VGCF_I387_VALID";
    /// `flags`: starts in kernel mode.
    VGCF_IN_KERNEL: u64 = 1 << 2, "VGCF_IN_KERNEL";
    VGCF_FAILSAFE_DISABLES_EVENTS: u64 = 1 << 3, "VGCF_failsafe_disables_events";
    VGCF_SYSCALL_DISABLES_EVENTS: u64 = 1 << 4, "VGCF_syscall_disables_events";
    VGCF_ONLINE: u64 = 1 << 5, "VGCF_online";
    /// Index in `ctrlreg` of the user page table, 64-bit only.
    CTRLREG_USER_CR3: usize = 1, own "arch-x86/xen.h: user pagetable on x86/64 is placed in ctrlreg[1]";
    /// Index in `ctrlreg` of the kernel page table.
    CTRLREG_CR3: usize = 3, own "ctrlreg[n] is CRn";
}

abi_structs! {
    /// Registers of a 64-bit guest.
    pub struct CpuUserRegs64 [64] 200 "struct cpu_user_regs" {
        0 r15: u64,
        8 r14: u64,
        16 r13: u64,
        24 r12: u64,
        32 rbp: u64,
        40 rbx: u64,
        48 r11: u64,
        56 r10: u64,
        64 r9: u64,
        72 r8: u64,
        80 rax: u64,
        88 rcx: u64,
        96 rdx: u64,
        104 rsi: u64,
        112 rdi: u64,
        120 error_code: u32,
        124 entry_vector: u32,
        128 rip: u64,
        136 cs: u16,
        138 _pad0: u16,
        140 saved_upcall_mask: u8,
        141 _pad1: [u8; 3],
        144 rflags: u64,
        152 rsp: u64,
        160 ss: u16,
        162 _pad2: [u16; 3],
        168 es: u16,
        170 _pad3: [u16; 3],
        176 ds: u16,
        178 _pad4: [u16; 3],
        184 fs: u16,
        186 _pad5: [u16; 3],
        192 gs: u16,
        194 _pad6: [u16; 3],
    }

    /// Registers of a 32-bit guest.
    pub struct CpuUserRegs32 [32] 68 "struct cpu_user_regs" {
        0 ebx: u32,
        4 ecx: u32,
        8 edx: u32,
        12 esi: u32,
        16 edi: u32,
        20 ebp: u32,
        24 eax: u32,
        28 error_code: u16,
        30 entry_vector: u16,
        32 eip: u32,
        36 cs: u16,
        38 saved_upcall_mask: u8,
        39 _pad0: u8,
        40 eflags: u32,
        44 esp: u32,
        48 ss: u16,
        50 _pad1: u16,
        52 es: u16,
        54 _pad2: u16,
        56 ds: u16,
        58 _pad3: u16,
        60 fs: u16,
        62 _pad4: u16,
        64 gs: u16,
        66 _pad5: u16,
    }

    /// Initial state of a 64-bit vCPU.
    pub struct VcpuGuestContext64 [64] 0x1430 "struct vcpu_guest_context" {
        /// FXSAVE image, if [`VGCF_I387_VALID`].
        0 fpu_ctxt: [u8; 512],
        0x200 flags: u64,
        0x208 user_regs: CpuUserRegs64,
        0x2d0 trap_ctxt: [TrapInfo64; 256],
        0x12d0 ldt_base: u64,
        0x12d8 ldt_ents: u64,
        0x12e0 gdt_frames: [u64; 16],
        /// Descriptors; NetBSD passes pages.
        0x1360 gdt_ents: u64,
        0x1368 kernel_ss: u64,
        0x1370 kernel_sp: u64,
        0x1378 ctrlreg: [u64; 8],
        0x13b8 debugreg: [u64; 8],
        0x13f8 event_callback_eip: u64,
        0x1400 failsafe_callback_eip: u64,
        0x1408 syscall_callback_eip: u64,
        0x1410 vm_assist: u64,
        0x1418 fs_base: u64,
        0x1420 gs_base_kernel: u64,
        0x1428 gs_base_user: u64,
    }

    /// Initial state of a 32-bit vCPU.
    pub struct VcpuGuestContext32 [32] 0xaf0 "struct vcpu_guest_context" {
        0 fpu_ctxt: [u8; 512],
        0x200 flags: u32,
        0x204 user_regs: CpuUserRegs32,
        0x248 trap_ctxt: [TrapInfo32; 256],
        0xa48 ldt_base: u32,
        0xa4c ldt_ents: u32,
        0xa50 gdt_frames: [u32; 16],
        0xa90 gdt_ents: u32,
        0xa94 kernel_ss: u32,
        0xa98 kernel_sp: u32,
        0xa9c ctrlreg: [u32; 8],
        0xabc debugreg: [u32; 8],
        0xadc event_callback_cs: u32,
        0xae0 event_callback_eip: u32,
        0xae4 failsafe_callback_cs: u32,
        0xae8 failsafe_callback_eip: u32,
        0xaec vm_assist: u32,
    }
}
