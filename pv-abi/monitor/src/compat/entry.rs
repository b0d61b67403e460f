//! Entries from 32-bit guests, and the frames that their kernels get.
//!
//! ```text
//!   handler's stack, lowest address first:     [error] | eip | cs, saved_mask << 16 | eflags [ | esp | ss ]
//!   failsafe callback:              ds | es | fs | gs | eip | cs, saved_mask << 16 | eflags [ | esp | ss ]
//!   SYSENTER's callback:                          eip = 0, cs = 3, esp = 0: the kernel knows where its stub returns to
//!   iret hypercall, at ESP:                       eax | eip | cs | eflags [ | esp | ss ]
//!                                                     ESP and SS only across rings (from or to ring 3)
//! ```
//! The guest changes rings with plain IRET, so the mode is read off CS at each entry.

use crate::bounce::{BadStack, Entry};
use crate::cpu::Cpu;
use crate::machine::Machine;
use crate::regs::{entry, flags, Regs};
use noxen_monitor_abi::counters::other;
use noxen_monitor_abi::layout::compat::{HYPERCALL_VECTOR, USER_CS, USER_DS};

use super::segment::fix_selector;

/// Longest frame, in words.
const WORDS: usize = 9;

/// A frame under construction: words from the lowest address up.
struct Frame {
    bytes: [u8; WORDS * 4],
    len: usize,
}

impl Frame {
    fn new(words: &[u64]) -> Frame {
        let mut frame = Frame {
            bytes: [0; WORDS * 4],
            len: 0,
        };
        frame.add(words);
        frame
    }

    fn add(&mut self, words: &[u64]) {
        for word in words {
            if let Some(slot) = self.bytes.get_mut(self.len..self.len + 4) {
                slot.copy_from_slice(&(*word as u32).to_le_bytes());
                self.len += 4;
            }
        }
    }

    fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&[])
    }
}

impl<M: Machine> Cpu<'_, M> {
    /// What is special about an entry from a 32-bit guest; true when that was all there was to do.
    pub(crate) fn enter32(&mut self, regs: &mut Regs, cr2: u64) -> bool {
        truncate(regs);
        // The processor has kept no selectors: a program's are told, or that nothing is known (SYSENTER).
        match regs.vector {
            entry::SYSCALL32 => (regs.cs, regs.ss) = (u64::from(USER_CS), u64::from(USER_DS)),
            entry::SYSENTER => (regs.cs, regs.ss) = (3, u64::from(USER_DS)),
            _ => {}
        }
        self.v.kernel_mode = regs.cs & 3 == 1;
        match regs.vector {
            vector if vector == u64::from(HYPERCALL_VECTOR) => {
                self.hypercall32(regs);
                true
            }
            14 if self.tables().repair_l3(self.v.kernel_cr3, cr2) => {
                self.m.invlpg(cr2);
                self.count_other(other::PF_USER_BIT);
                true
            }
            _ => false,
        }
    }

    /// Builds the frame for `regs` on the guest kernel's stack and points them at the handler.
    pub(crate) fn bounce32(&mut self, regs: &mut Regs, entry: Entry) -> Result<(), BadStack> {
        let masked = self.events_masked();
        let mut frame = Frame::new(&[]);
        if let Some(error) = entry.error {
            frame.add(&[error]);
        }
        self.push_frame(regs, frame, masked)?;
        if entry.mask && !masked {
            self.mask_events(true);
        }
        enter_kernel(regs, entry.cs, entry.address);
        Ok(())
    }

    /// The failsafe callback: the guest's own return frame could not be loaded. The data selectors read 0, because
    /// they are gone.
    pub(crate) fn bounce_failsafe32(&mut self, regs: &mut Regs) -> Result<(), BadStack> {
        let failsafe = self.v.callbacks.failsafe;
        let target = (u64::from(fix_selector(failsafe.cs)), failsafe.address);
        if (regs.cs, regs.rip) == target {
            // It is the callback itself that cannot be entered.
            return Err(BadStack);
        }
        let masked = self.events_masked();
        self.push_frame(regs, Frame::new(&[0; 4]), masked)?;
        self.m.null_segments();
        if failsafe.mask {
            self.mask_events(true);
        }
        enter_kernel(regs, failsafe.cs, failsafe.address);
        Ok(())
    }

    /// Writes `frame` and the interrupted context behind it; `regs` then have the kernel's stack. Nothing is changed
    /// on error.
    fn push_frame(
        &mut self,
        regs: &mut Regs,
        mut frame: Frame,
        masked: bool,
    ) -> Result<(), BadStack> {
        let crosses = !self.v.kernel_mode;
        let (ss, top) = if crosses {
            (self.v.kernel_ss, self.v.kernel_sp)
        } else {
            (regs.ss, regs.rsp)
        };
        let mut eflags = regs.rflags & !(flags::IF | flags::IOPL);
        if !masked {
            eflags |= flags::IF;
        }
        let cs = regs.cs & 0xffff | u64::from(masked) << 16;
        frame.add(&[regs.rip, cs, eflags]);
        if crosses {
            frame.add(&[regs.rsp, regs.ss]);
        }
        let sp = (top as u32).wrapping_sub(frame.len as u32);
        let base = self.segment_base(ss as u16).ok_or(BadStack)?;
        let at = base.wrapping_add(u64::from(sp)) & 0xffff_ffff;
        self.write(at, frame.bytes()).map_err(|_| BadStack)?;
        regs.ss = ss & 0xffff;
        regs.rsp = u64::from(sp);
        self.v.kernel_mode = true;
        Ok(())
    }

    /// iret (hypercall 23): the guest kernel returns to where it was entered from.
    pub(super) fn iret32(&mut self, regs: &mut Regs) {
        let word = |cpu: &Self, index: u64| {
            cpu.read_u32(regs.rsp.wrapping_add(index * 4) & 0xffff_ffff)
                .map(u64::from)
        };
        let inner = [word(self, 0), word(self, 1), word(self, 2), word(self, 3)];
        let [Ok(eax), Ok(eip), Ok(cs), Ok(eflags)] = inner else {
            return self.unreadable_frame(regs);
        };
        let cs = fix_selector(cs as u16);
        let (esp, ss) = if cs & 3 == 1 {
            // Within the ring: the stack stays, less the frame.
            (regs.rsp.wrapping_add(16) & 0xffff_ffff, regs.ss)
        } else {
            let (Ok(esp), Ok(ss)) = (word(self, 4), word(self, 5)) else {
                return self.unreadable_frame(regs);
            };
            (esp, u64::from(fix_selector(ss as u16)))
        };
        regs.rax = eax;
        regs.rip = eip;
        regs.cs = u64::from(cs);
        // Virtual-8086 mode does not exist below a 64-bit monitor: the bit is dropped, the selectors decide.
        regs.rflags = eflags & flags::GUEST | flags::IF | 2;
        regs.rsp = esp;
        regs.ss = ss;
        self.v.kernel_mode = cs & 3 == 1;
        self.v.nmi_active = false;
        self.mask_events(eflags & flags::IF == 0);
    }

    fn unreadable_frame(&mut self, regs: &Regs) {
        self.crash(regs, 14, 0, regs.rsp, "its iret frame cannot be read");
    }
}

fn enter_kernel(regs: &mut Regs, cs: u16, eip: u64) {
    regs.cs = u64::from(fix_selector(cs));
    regs.rip = eip;
    regs.rflags = regs.rflags
        & !(flags::VM | flags::RF | flags::NT | flags::TF | flags::AC | flags::IOPL)
        | flags::IF
        | 2;
}

/// Upper halves of registers mean nothing in compatibility mode (SDM volume 1, 3.4.1.1).
fn truncate(regs: &mut Regs) {
    for register in [
        &mut regs.rax,
        &mut regs.rbx,
        &mut regs.rcx,
        &mut regs.rdx,
        &mut regs.rsi,
        &mut regs.rdi,
        &mut regs.rbp,
        &mut regs.rsp,
        &mut regs.rip,
    ] {
        *register &= 0xffff_ffff;
    }
}
