//! A vCPU's registers as `vcpu_guest_context`, in which a debugger looks for them.
//!
//! ```text
//!   PV: stopped in the guest   --> KVM's registers          stopped in the monitor --> what its entry left on the vCPU's stack
//!   HVM: KVM's registers
//! ```

use crate::domain::region::{window_pages, Region};
use crate::vstate::memory::GuestMemory;
use crate::vstate::vcpu::Snapshot;
use noxen_monitor_abi::layout::{entry_frame, window, PAGE_SIZE};
use noxen_monitor_abi::pte::ADDRESS;
use noxen_pv_abi::segment::pfn_to_cr3_32;
use noxen_pv_abi::vcpu_context::{
    CpuUserRegs32, CpuUserRegs64, VcpuGuestContext32, VcpuGuestContext64, CTRLREG_CR3,
    VGCF_IN_KERNEL, VGCF_ONLINE,
};
use vm_memory::{Bytes, GuestAddress};

/// The first L4 entry of the guest kernel's half behind the hypervisor's (public/arch-x86/xen-x86_64.h).
const KERNEL_SLOTS: std::ops::Range<u64> = 272..511;

/// The contexts of a PV domain's vCPUs, which stand still.
pub fn of_pv(vcpus: &[Snapshot], memory: &GuestMemory, region: &Region) -> Vec<u8> {
    // Of a vCPU in a program's page table the kernel's is not known here; any other vCPU's shows the same kernel.
    let kernels = |vcpu: &Snapshot| is_kernel_table(memory, vcpu.registers.system.cr3);
    let known = vcpus.iter().find(|vcpu| kernels(vcpu));
    let mut bytes = Vec::new();
    for (id, vcpu) in (0..).zip(vcpus) {
        let system = &vcpu.registers.system;
        let regs = match system.cs.selector & 3 {
            0 => entry_regs(memory, region, id),
            _ => of_kvm(vcpu),
        };
        let cr3 = match known {
            Some(other) if !kernels(vcpu) => other.registers.system.cr3,
            _ => system.cr3,
        };
        if region.bits32 {
            bytes.extend(context32(vcpu, &regs, cr3_of_32(memory, cr3)).to_bytes());
        } else {
            bytes.extend(context64(vcpu, &regs, cr3).to_bytes());
        }
    }
    bytes
}

/// The same of an HVM domain's.
pub fn of_hvm(vcpus: &[Snapshot]) -> Vec<u8> {
    let context = |vcpu: &Snapshot| {
        let system = &vcpu.registers.system;
        let mut context = context64(vcpu, &of_kvm(vcpu), system.cr3);
        context.ctrlreg[0] = system.cr0;
        context.ctrlreg[2] = system.cr2;
        context.ctrlreg[4] = system.cr4;
        context.to_bytes()
    };
    vcpus.iter().flat_map(context).collect()
}

fn context64(vcpu: &Snapshot, regs: &CpuUserRegs64, cr3: u64) -> VcpuGuestContext64 {
    let mut context = VcpuGuestContext64::ZERO;
    let system = &vcpu.registers.system;
    let in_kernel = regs.rip >> 63 != 0;
    context.flags = VGCF_ONLINE | if in_kernel { VGCF_IN_KERNEL } else { 0 };
    context.user_regs = *regs;
    context.ctrlreg[CTRLREG_CR3] = cr3;
    context.fs_base = system.fs.base;
    (context.gs_base_kernel, context.gs_base_user) = match in_kernel {
        true => (system.gs.base, vcpu.other_gs_base),
        false => (vcpu.other_gs_base, system.gs.base),
    };
    context
}

fn context32(vcpu: &Snapshot, regs: &CpuUserRegs64, cr3: u32) -> VcpuGuestContext32 {
    let mut context = VcpuGuestContext32::ZERO;
    let system = &vcpu.registers.system;
    // A 32-bit kernel runs in ring 1.
    let in_kernel = regs.cs & 3 == 1;
    context.flags = (VGCF_ONLINE | if in_kernel { VGCF_IN_KERNEL } else { 0 }) as u32;
    context.user_regs = CpuUserRegs32 {
        ebx: regs.rbx as u32,
        ecx: regs.rcx as u32,
        edx: regs.rdx as u32,
        esi: regs.rsi as u32,
        edi: regs.rdi as u32,
        ebp: regs.rbp as u32,
        eax: regs.rax as u32,
        eip: regs.rip as u32,
        cs: regs.cs,
        eflags: regs.rflags as u32,
        esp: regs.rsp as u32,
        ss: regs.ss,
        es: system.es.selector,
        ds: system.ds.selector,
        fs: system.fs.selector,
        gs: system.gs.selector,
        ..CpuUserRegs32::ZERO
    };
    context.ctrlreg[CTRLREG_CR3] = cr3;
    context
}

fn of_kvm(vcpu: &Snapshot) -> CpuUserRegs64 {
    let (general, system) = (&vcpu.registers.general, &vcpu.registers.system);
    CpuUserRegs64 {
        r15: general.r15,
        r14: general.r14,
        r13: general.r13,
        r12: general.r12,
        rbp: general.rbp,
        rbx: general.rbx,
        r11: general.r11,
        r10: general.r10,
        r9: general.r9,
        r8: general.r8,
        rax: general.rax,
        rcx: general.rcx,
        rdx: general.rdx,
        rsi: general.rsi,
        rdi: general.rdi,
        rip: general.rip,
        cs: system.cs.selector,
        rflags: general.rflags,
        rsp: general.rsp,
        ss: system.ss.selector,
        es: system.es.selector,
        ds: system.ds.selector,
        fs: system.fs.selector,
        gs: system.gs.selector,
        ..CpuUserRegs64::ZERO
    }
}

/// What the monitor's entry code left of the guest on the stack of vCPU `id`; zeros of one that never ran.
fn entry_regs(memory: &GuestMemory, region: &Region, id: u64) -> CpuUserRegs64 {
    let mut before = 0;
    for (offset, bytes, _) in window::RANGES {
        if *offset == window::STACK {
            break;
        }
        before += bytes;
    }
    let top = region.windows + id * window_pages() * PAGE_SIZE + before + window::STACK_SIZE;
    let mut words = [0u64; entry_frame::WORDS];
    for (index, word) in (0..).zip(&mut words) {
        let at = GuestAddress(top - entry_frame::BYTES + index * 8);
        // The stack is memory of the region, whose layout was checked.
        *word = memory.read_obj(at).unwrap_or(0);
    }
    let [r15, r14, r13, r12, rbp, rbx, r11, r10, r9, r8, rax, rcx, rdx, rsi, rdi, vector, error, rip, cs, rflags, rsp, ss] =
        words;
    CpuUserRegs64 {
        r15,
        r14,
        r13,
        r12,
        rbp,
        rbx,
        r11,
        r10,
        r9,
        r8,
        rax,
        rcx,
        rdx,
        rsi,
        rdi,
        error_code: error as u32,
        entry_vector: vector as u32,
        rip,
        cs: cs as u16,
        rflags,
        rsp,
        ss: ss as u16,
        ..CpuUserRegs64::ZERO
    }
}

/// Has the L4 at `cr3` a kernel in it? Linux' tables for programs have none of the kernel's half but a page at its end.
fn is_kernel_table(memory: &GuestMemory, cr3: u64) -> bool {
    let l4 = cr3 & ADDRESS;
    KERNEL_SLOTS
        .into_iter()
        .any(|slot| memory.read_obj(GuestAddress(l4 + slot * 8)).unwrap_or(0u64) & 1 != 0)
}

/// CR3 as a 32-bit guest knows it: the first entry of the L4 that its vCPU runs on is the guest's own table.
fn cr3_of_32(memory: &GuestMemory, cr3: u64) -> u32 {
    let entry: u64 = memory.read_obj(GuestAddress(cr3 & ADDRESS)).unwrap_or(0);
    pfn_to_cr3_32(((entry & ADDRESS) >> 12) as u32)
}
