//! iret (hypercall 23, 64-bit): the guest kernel returns to where it was entered from.

use crate::cpu::Cpu;
use crate::machine::Machine;
use crate::regs::{canonical, flags, Regs};
use noxen_pv_abi::hypercall::{IretContext64, VGCF_IN_SYSCALL};

impl<M: Machine> Cpu<'_, M> {
    /// Loads the context on the guest kernel's stack.
    pub(super) fn hypercall_iret(&mut self, regs: &mut Regs) {
        let Ok(bytes) = self.read_array(regs.rsp) else {
            let before = *regs;
            self.crash(&before, 14, 0, regs.rsp, "its iret frame cannot be read");
            return;
        };
        let frame = IretContext64::from_bytes(&bytes);
        if frame.cs & 3 == 3 && !self.to_user() {
            let before = *regs;
            let reason = "it returns to user space but has set no user page table";
            self.crash(&before, 13, 0, 0, reason);
            return;
        }
        regs.rip = frame.rip;
        regs.cs = frame.cs & 0xffff | 3;
        regs.rsp = frame.rsp;
        regs.ss = frame.ss & 0xffff | 3;
        regs.rflags = frame.rflags & flags::GUEST | flags::IF | 2;
        regs.rax = frame.rax;
        if frame.flags & VGCF_IN_SYSCALL == 0 {
            regs.r11 = frame.r11;
            regs.rcx = frame.rcx;
        } else {
            regs.r11 = regs.rflags;
            regs.rcx = regs.rip;
        }
        self.v.nmi_active = false;
        self.mask_events(frame.rflags & flags::IF == 0);
        if !canonical(regs.rip) {
            // IRETQ would fault in the monitor; the guest hears of it the same way.
            self.on_failed_return(regs);
        }
    }
}
