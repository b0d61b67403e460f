//! Exceptions and system calls of the guest.
//!
//! ```text
//!   vector   kernel mode                           user mode
//!   #PF      heal (user bit, promote, stale),      bounce
//!            else bounce
//!   #GP      int n by DPL | emulate | bounce       int n by DPL | emulate | bounce     (int 0x83: tuned CPUID)
//!   #UD      'xen' cpuid prefix | bounce           same
//!   #NM      clear TS, bounce
//!   others   bounce; no handler: the domain crashes
//! ```

use crate::bounce::Entry;
use crate::cpu::Cpu;
use crate::emulate::Emulated;
use crate::machine::Machine;
use crate::pagetable::{fault, pte, Healed};
use crate::regs::{entry, flags, Regs};
use noxen_monitor_abi::counters::other;
use noxen_monitor_abi::layout::{selector, window, VCPU_VA, VCPU_WINDOW};

/// Vectors with an error code.
const WITH_ERROR: u32 =
    1 << 8 | 1 << 10 | 1 << 11 | 1 << 12 | 1 << 13 | 1 << 14 | 1 << 17 | 1 << 21;

impl<M: Machine> Cpu<'_, M> {
    /// Any entry from the guest; `cr2` is the faulting address of a #PF.
    pub fn on_entry(&mut self, regs: &mut Regs, cr2: u64) {
        if self.dom.shape.bits32 && self.enter32(regs, cr2) {
            self.leave(regs);
            return;
        }
        match regs.vector {
            entry::SYSCALL => {
                if self.v.kernel_mode {
                    self.hypercall(regs);
                } else {
                    self.user_syscall(regs, false);
                }
            }
            entry::SYSCALL32 => self.user_syscall(regs, true),
            entry::SYSENTER => self.user_sysenter(regs),
            14 => self.page_fault(regs, cr2),
            13 => self.protection_fault(regs, cr2),
            6 => {
                if self.emulate_ud(regs) == Emulated::No {
                    self.trap(regs, 6, 0, cr2);
                } else {
                    self.after_emulation(regs);
                }
            }
            7 => {
                self.v.ts = false;
                self.m.set_ts(false);
                self.trap(regs, 7, 0, cr2);
            }
            2 => self.v.nmi_pending = true,
            vector @ 0..=31 => self.trap(regs, vector as u32, regs.error, cr2),
            // A gate that the guest opened (int 0x80): a trap without error code.
            vector @ 32..=0xef => self.trap(regs, vector as u32, 0, cr2),
            _ => {}
        }
        self.leave(regs);
    }

    /// Delivers trap `vector` to the guest kernel, or ends the domain when it has no handler.
    pub fn trap(&mut self, regs: &mut Regs, vector: u32, error: u64, cr2: u64) {
        let handler = self.v.traps[vector as usize & 255];
        self.count_trap(u64::from(vector));
        if handler.address == 0 {
            self.crash(
                regs,
                vector,
                error,
                cr2,
                "it has no handler for this exception",
            );
            return;
        }
        let error = (vector < 32 && WITH_ERROR >> vector & 1 != 0).then_some(error);
        self.bounce_or_crash(
            regs,
            vector,
            Entry {
                address: handler.address,
                cs: handler.cs,
                mask: handler.flags & 4 != 0,
                error,
            },
        );
    }

    fn page_fault(&mut self, regs: &mut Regs, cr2: u64) {
        let error = regs.error;
        if self.is_ldt_window(cr2) && self.fill_ldt_window(cr2) {
            return;
        }
        if self.v.kernel_mode && error & fault::P != 0 {
            match self.tables().heal(self.v.kernel_cr3, cr2, error) {
                Healed::No => {}
                healed => {
                    self.count_other(match healed {
                        Healed::UserBit => other::PF_USER_BIT,
                        Healed::Promoted => other::PF_PROMOTE,
                        _ => other::PF_SPURIOUS,
                    });
                    return;
                }
            }
        }
        // Ring 3 is all the hardware knows; the guest wants to know which of its modes it was.
        let seen = if self.v.kernel_mode {
            error & !fault::U
        } else {
            error | fault::U
        } & 0x1f;
        self.set_cr2(cr2);
        self.trap(regs, 14, seen, cr2);
    }

    fn protection_fault(&mut self, regs: &mut Regs, cr2: u64) {
        let error = regs.error;
        if error & 0xffff == 0 {
            if self.emulate_gp(regs) == Emulated::Done {
                self.after_emulation(regs);
            } else {
                self.trap(regs, 13, 0, cr2);
            }
            return;
        }
        // Error code (n << 3) | 2 and not external: `int n` through a closed gate (SDM volume 3, 6.13).
        if error & 3 == 2 {
            // Whatever the vector: QEMU's emulated processor (7.2, tested) says n << 4 instead.
            if self.emulate_tuned(regs) == Emulated::Done {
                self.after_emulation(regs);
                return;
            }
            let vector = (error >> 3 & 255) as usize;
            let handler = self.v.traps[vector];
            let needed = match self.v.kernel_mode {
                true => u8::from(self.dom.shape.bits32),
                false => 3,
            };
            if handler.address != 0 && handler.flags & 3 >= needed {
                regs.rip = regs.rip.wrapping_add(2);
                self.count_trap(vector as u64);
                let entry = Entry {
                    address: handler.address,
                    cs: handler.cs,
                    mask: handler.flags & 4 != 0,
                    error: None,
                };
                self.bounce_or_crash(regs, vector as u32, entry);
                return;
            }
        }
        self.trap(regs, 13, error & 0xffff, cr2);
    }

    /// An emulated instruction is done: single-stepping guests want their #DB.
    fn after_emulation(&mut self, regs: &mut Regs) {
        if regs.rflags & flags::TF != 0 {
            let dr6 = self.m.dr(6);
            self.m.set_dr(6, dr6 | 1 << 14);
            self.trap(regs, 1, 0, 0);
        }
    }

    /// SYSCALL from guest user space.
    fn user_syscall(&mut self, regs: &mut Regs, compat: bool) {
        self.count_other(other::SYSCALL);
        let callback = if compat {
            self.v.callbacks.syscall32
        } else {
            self.v.callbacks.syscall
        };
        if callback.address == 0 {
            // SYSCALL is two bytes long: the guest sees an invalid opcode at the instruction.
            regs.rip = regs.rip.wrapping_sub(2);
            self.trap(regs, 6, 0, 0);
            return;
        }
        if !self.dom.shape.bits32 {
            regs.cs = u64::from(if compat {
                selector::USER_CS32
            } else {
                selector::GUEST_CS
            });
        }
        regs.rflags &= !flags::DF;
        let entry = Entry {
            address: callback.address,
            cs: callback.cs,
            mask: callback.mask,
            error: None,
        };
        self.bounce_or_crash(regs, 0x80, entry);
    }

    /// SYSENTER from guest user space: hardware saved nothing, the frame says so.
    fn user_sysenter(&mut self, regs: &mut Regs) {
        let callback = self.v.callbacks.sysenter;
        regs.cs = 3;
        regs.rip = 0;
        regs.rsp = 0;
        regs.rflags &= !flags::TF;
        if callback.address == 0 {
            self.trap(regs, 13, 0, 0);
            return;
        }
        let entry = Entry {
            address: callback.address,
            cs: callback.cs,
            mask: callback.mask,
            error: None,
        };
        self.bounce_or_crash(regs, 0x80, entry);
    }

    /// The return to the guest faulted at the monitor's own `iretq`: bad selectors or a bad address.
    pub fn on_failed_return(&mut self, regs: &mut Regs) {
        if self.v.callbacks.failsafe.address == 0 || self.bounce_failsafe(regs).is_err() {
            self.crash(
                regs,
                13,
                0,
                0,
                "its return frame cannot be loaded and it has no usable failsafe callback",
            );
        }
        self.leave(regs);
    }

    /// True for an address inside this vCPU's LDT window.
    pub fn is_ldt_window(&self, va: u64) -> bool {
        let start = VCPU_VA + u64::from(self.v.id) * VCPU_WINDOW + window::LDT;
        (start..start + 0x1_0000).contains(&va)
    }

    /// Maps the guest's LDT page that the access at `va` needs; false when the guest has none there.
    pub fn fill_ldt_window(&self, va: u64) -> bool {
        let offset = (va - VCPU_VA - u64::from(self.v.id) * VCPU_WINDOW - window::LDT) & !0xfff;
        if offset >= u64::from(self.v.ldt_entries) * 8 {
            return false;
        }
        let walk = self
            .tables()
            .walk(self.v.kernel_cr3, self.v.ldt_base.wrapping_add(offset));
        if !walk.mapped || walk.depth != 4 {
            return false;
        }
        let mfn = (walk.value[3] & pte::ADDRESS) >> 12;
        // No gate or system segment may get there, and ring 3 needs DPL 3 (as in a GDT).
        if self.fix_descriptor_page(mfn).is_err() {
            return false;
        }
        self.m.set_ldt_page((offset >> 12) as usize, Some(mfn));
        true
    }
}
