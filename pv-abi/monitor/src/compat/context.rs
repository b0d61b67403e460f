//! VCPUOP_initialise of a 32-bit guest: a vcpu_guest_context becomes a vCPU that has never run.

use super::callback::wide_trap;
use super::segment::fix_selector;
use crate::cpu::Cpu;
use crate::hypercall::{efault, Answer};
use crate::machine::Machine;
use crate::regs::{flags, Regs};
use crate::vcpu::{Callback, FirstEntry, Trap};
use core::mem::offset_of;
use core::sync::atomic::Ordering;
use noxen_pv_abi::errno::Errno;
use noxen_pv_abi::segment::cr3_to_pfn_32;
use noxen_pv_abi::trap::TrapInfo32;
use noxen_pv_abi::vcpu_context::{
    CpuUserRegs32, VcpuGuestContext32 as Context, CTRLREG_CR3, VGCF_FAILSAFE_DISABLES_EVENTS,
};

/// LDT entries that a processor can have.
const MAX_LDT: u64 = 8192;

impl<M: Machine> Cpu<'_, M> {
    /// Reads the context at `arg` into vCPU `id`.
    pub(super) fn initialise32(&mut self, id: u32, arg: u64) -> Answer {
        let target = self.dom.vcpu(id).ok_or(Errno::ENOENT)?;
        let _lock = self.lock_vcpus();
        if target.initialised.load(Ordering::SeqCst) {
            return Err(Errno::EEXIST);
        }
        let word = |offset: usize| {
            self.read_u32(arg.wrapping_add(offset as u64))
                .map(u64::from)
                .map_err(efault)
        };
        let user = CpuUserRegs32::from_bytes(
            &self
                .read_array(arg.wrapping_add(offset_of!(Context, user_regs) as u64))
                .map_err(efault)?,
        );
        let mode = word(offset_of!(Context, flags))?;
        let callback = |cs: usize, eip: usize, mask: bool| {
            Ok::<_, Errno>(Callback {
                address: word(eip)?,
                cs: fix_selector(word(cs)? as u16),
                mask,
            })
        };
        let event = callback(
            offset_of!(Context, event_callback_cs),
            offset_of!(Context, event_callback_eip),
            true,
        )?;
        let failsafe = callback(
            offset_of!(Context, failsafe_callback_cs),
            offset_of!(Context, failsafe_callback_eip),
            mode & VGCF_FAILSAFE_DISABLES_EVENTS != 0,
        )?;
        let mut gdt = [0u64; 14];
        for (index, frame) in gdt.iter_mut().enumerate() {
            *frame = word(offset_of!(Context, gdt_frames) + index * 4)?;
        }
        let mut dr = [0u64; 8];
        for (index, value) in dr.iter_mut().enumerate() {
            *value = word(offset_of!(Context, debugreg) + index * 4)?;
        }
        let (ldt_base, ldt_entries) = (
            word(offset_of!(Context, ldt_base))?,
            word(offset_of!(Context, ldt_ents))?,
        );
        let (kernel_ss, kernel_sp) = (
            word(offset_of!(Context, kernel_ss))?,
            word(offset_of!(Context, kernel_sp))?,
        );
        let cr3 = word(offset_of!(Context, ctrlreg) + CTRLREG_CR3 * 4)? as u32;
        if ldt_entries > MAX_LDT {
            return Err(Errno::EINVAL);
        }
        let mut traps = [Trap::default(); 256];
        for (vector, trap) in traps.iter_mut().enumerate() {
            let at = offset_of!(Context, trap_ctxt) + vector * TrapInfo32::SIZE;
            let bytes = self.read_array(arg.wrapping_add(at as u64));
            let info = wide_trap(&TrapInfo32::from_bytes(&bytes.map_err(efault)?));
            *trap = Trap {
                address: info.address,
                flags: info.flags,
                cs: info.cs,
            };
        }
        let l4 = self
            .root_vcpu(id, u64::from(cr3_to_pfn_32(cr3)))
            .ok_or(Errno::EINVAL)?;
        self.m.with_fresh_vcpu(id, &mut |vcpu| {
            vcpu.traps = traps;
            vcpu.kernel_cr3 = l4;
            vcpu.user_cr3 = l4;
            vcpu.gdt = gdt;
            vcpu.callbacks.event = event;
            vcpu.callbacks.failsafe = failsafe;
            vcpu.ldt_base = ldt_base;
            vcpu.ldt_entries = ldt_entries as u32;
            vcpu.kernel_ss = u64::from(fix_selector(kernel_ss as u16));
            vcpu.kernel_sp = kernel_sp;
            vcpu.iopl = ((u64::from(user.eflags) & flags::IOPL) >> 12) as u8;
            vcpu.first = FirstEntry {
                regs: first_regs(&user),
                selectors: [user.ds, user.es, user.fs, user.gs].map(fix_selector),
                bases: [0; 3],
                dr,
            };
        });
        target.initialised.store(true, Ordering::SeqCst);
        Ok(0)
    }
}

/// Registers of the first entry: the kernel in ring 1, interrupts on.
fn first_regs(user: &CpuUserRegs32) -> Regs {
    Regs {
        rax: u64::from(user.eax),
        rbx: u64::from(user.ebx),
        rcx: u64::from(user.ecx),
        rdx: u64::from(user.edx),
        rsi: u64::from(user.esi),
        rdi: u64::from(user.edi),
        rbp: u64::from(user.ebp),
        rip: u64::from(user.eip),
        rsp: u64::from(user.esp),
        cs: u64::from(fix_selector(user.cs)),
        ss: u64::from(fix_selector(user.ss)),
        rflags: u64::from(user.eflags) & flags::GUEST | flags::IF | 2,
        ..Regs::default()
    }
}
