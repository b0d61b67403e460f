//! VCPUOP_initialise: a vcpu_guest_context becomes a vCPU that has never run.

use super::{efault, Answer};
use crate::cpu::Cpu;
use crate::machine::Machine;
use crate::regs::{canonical, flags, Regs};
use crate::vcpu::{Callback, FirstEntry, Trap};
use core::mem::offset_of;
use core::sync::atomic::Ordering;
use noxen_pv_abi::errno::Errno;
use noxen_pv_abi::trap::TrapInfo64;
use noxen_pv_abi::vcpu_context::{
    CpuUserRegs64, VcpuGuestContext64 as Context, CTRLREG_CR3, CTRLREG_USER_CR3,
    VGCF_FAILSAFE_DISABLES_EVENTS, VGCF_SYSCALL_DISABLES_EVENTS,
};

impl<M: Machine> Cpu<'_, M> {
    /// Reads the context at `arg` into vCPU `id`.
    pub(super) fn initialise(&mut self, id: u32, arg: u64) -> Answer {
        let target = self.dom.vcpu(id).ok_or(Errno::ENOENT)?;
        let _lock = self.lock_vcpus();
        if target.initialised.load(Ordering::SeqCst) {
            return Err(Errno::EEXIST);
        }
        let word = |offset: usize| {
            self.read_u64(arg.wrapping_add(offset as u64))
                .map_err(efault)
        };
        let user = CpuUserRegs64::from_bytes(
            &self
                .read_array(arg.wrapping_add(offset_of!(Context, user_regs) as u64))
                .map_err(efault)?,
        );
        let mode = word(offset_of!(Context, flags))?;
        let control = |n: usize| word(offset_of!(Context, ctrlreg) + n * 8);
        let (cr3, user_cr3) = (control(CTRLREG_CR3)?, control(CTRLREG_USER_CR3)?);
        let mut gdt = [0u64; 14];
        for (index, frame) in gdt.iter_mut().enumerate() {
            *frame = word(offset_of!(Context, gdt_frames) + index * 8)?;
        }
        let callback = |offset: usize, mask: bool| {
            let address = word(offset)?;
            if canonical(address) {
                Ok(Callback {
                    address,
                    cs: 0,
                    mask,
                })
            } else {
                Err(Errno::EINVAL)
            }
        };
        let event = callback(offset_of!(Context, event_callback_eip), true)?;
        let failsafe = callback(
            offset_of!(Context, failsafe_callback_eip),
            mode & VGCF_FAILSAFE_DISABLES_EVENTS != 0,
        )?;
        let syscall = callback(
            offset_of!(Context, syscall_callback_eip),
            mode & VGCF_SYSCALL_DISABLES_EVENTS != 0,
        )?;
        let bases = [
            word(offset_of!(Context, fs_base))?,
            word(offset_of!(Context, gs_base_kernel))?,
            word(offset_of!(Context, gs_base_user))?,
        ];
        let (ldt_base, ldt_entries) = (
            word(offset_of!(Context, ldt_base))?,
            word(offset_of!(Context, ldt_ents))?,
        );
        let mut dr = [0u64; 8];
        for (index, value) in dr.iter_mut().enumerate() {
            *value = word(offset_of!(Context, debugreg) + index * 8)?;
        }
        let (kernel_ss, kernel_sp) = (
            word(offset_of!(Context, kernel_ss))?,
            word(offset_of!(Context, kernel_sp))?,
        );
        let bad_base = !bases.into_iter().all(canonical)
            || !canonical(user.rip)
            || !super::segment::is_guest_stack(kernel_sp);
        let tables = [cr3 >> 12, user_cr3 >> 12];
        if bad_base
            || ldt_entries > 8192
            || tables
                .into_iter()
                .any(|mfn| mfn >= self.dom.info.ram_end_mfn)
        {
            return Err(Errno::EINVAL);
        }
        if !self.tables().install_l4(tables[0])
            || (tables[1] != 0 && !self.tables().install_l4(tables[1]))
        {
            return Err(Errno::EINVAL);
        }
        let mut faulted = false;
        self.m.with_fresh_vcpu(id, &mut |vcpu| {
            for (vector, trap) in vcpu.traps.iter_mut().enumerate() {
                let at = arg.wrapping_add(
                    (offset_of!(Context, trap_ctxt) + vector * TrapInfo64::SIZE) as u64,
                );
                match self
                    .read_array(at)
                    .map(|bytes| TrapInfo64::from_bytes(&bytes))
                {
                    Ok(info) if canonical(info.address) => {
                        *trap = Trap {
                            address: info.address,
                            flags: info.flags,
                            cs: info.cs,
                        };
                    }
                    _ => faulted = true,
                }
            }
            vcpu.kernel_cr3 = tables[0] << 12;
            vcpu.user_cr3 = tables[1] << 12;
            vcpu.gdt = gdt;
            vcpu.callbacks.event = event;
            vcpu.callbacks.failsafe = failsafe;
            vcpu.callbacks.syscall = syscall;
            vcpu.ldt_base = ldt_base;
            vcpu.ldt_entries = ldt_entries as u32;
            (vcpu.kernel_ss, vcpu.kernel_sp) = (kernel_ss, kernel_sp);
            // Linux asks for I/O rights of its other vCPUs only here.
            vcpu.iopl = ((user.rflags & flags::IOPL) >> 12) as u8;
            vcpu.first = FirstEntry {
                regs: first_regs(&user),
                selectors: [user.ds, user.es, user.fs, user.gs],
                bases,
                dr,
            };
        });
        if faulted {
            return Err(Errno::EFAULT);
        }
        target.initialised.store(true, Ordering::SeqCst);
        Ok(0)
    }
}

/// Registers of the first entry: the kernel in ring 3, interrupts on.
fn first_regs(user: &CpuUserRegs64) -> Regs {
    Regs {
        r15: user.r15,
        r14: user.r14,
        r13: user.r13,
        r12: user.r12,
        rbp: user.rbp,
        rbx: user.rbx,
        r11: user.r11,
        r10: user.r10,
        r9: user.r9,
        r8: user.r8,
        rax: user.rax,
        rcx: user.rcx,
        rdx: user.rdx,
        rsi: user.rsi,
        rdi: user.rdi,
        vector: 0,
        error: 0,
        rip: user.rip,
        cs: u64::from(user.cs) | 3,
        rflags: user.rflags & flags::GUEST | flags::IF | 2,
        rsp: user.rsp,
        ss: u64::from(user.ss) | 3,
    }
}
