//! Bounce frames: entering the guest kernel for a trap, a system call or an event.
//!
//! ```text
//!   guest kernel stack after a bounce, 16-byte aligned at the top (pv-abi, arch-x86/xen.h):
//!     ss | rsp | rflags | saved_mask << 32 , cs | rip | [error code] | r11 | rcx   <- rsp at the handler
//! ```

use crate::cpu::Cpu;
use crate::machine::Machine;
use crate::regs::{flags, Regs};
use noxen_monitor_abi::layout::selector;

/// How to enter the guest kernel.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Handler.
    pub address: u64,
    /// Code selector (32-bit guests).
    pub cs: u16,
    /// Mask event delivery on entry.
    pub mask: bool,
    /// Error code to push.
    pub error: Option<u64>,
}

/// The stack could not take the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadStack;

/// The part that all frames share.
struct Saved {
    /// Where the frame ends, aligned.
    top: u64,
    /// Selector as the guest sees it, event mask in the upper half.
    cs: u64,
    /// Flags as the guest sees them: IF stands for unmasked events.
    rflags: u64,
    /// Events were masked.
    masked: bool,
}

impl<M: Machine> Cpu<'_, M> {
    /// Builds the frame for `regs` and points them at the handler. On error nothing but the mode changed.
    pub fn bounce(&mut self, regs: &mut Regs, entry: Entry) -> Result<(), BadStack> {
        if self.dom.shape.bits32 {
            return self.bounce32(regs, entry);
        }
        let Saved {
            top,
            cs,
            rflags,
            masked,
        } = self.save(regs);
        // Lowest address first; without an error code the frame starts one word later.
        let words = [
            regs.rcx,
            regs.r11,
            entry.error.unwrap_or(0),
            regs.rip,
            cs,
            rflags,
            regs.rsp,
            regs.ss,
        ];
        let mut bytes = [0u8; 64];
        let mut at = 0;
        for (index, word) in words.iter().enumerate() {
            if index == 2 && entry.error.is_none() {
                continue;
            }
            bytes[at..at + 8].copy_from_slice(&word.to_le_bytes());
            at += 8;
        }
        let sp = top.wrapping_sub(at as u64);
        self.write(sp, &bytes[..at]).map_err(|_| BadStack)?;
        if entry.mask && !masked {
            self.mask_events(true);
        }
        self.enter_kernel_at(regs, entry.address, sp);
        Ok(())
    }

    /// The failsafe callback: the guest's own return frame could not be loaded.
    ///
    /// ```text
    ///   rcx r11 ds es fs gs rip cs|mask rflags rsp ss   (lowest address first; data selectors read 0,
    ///                                                    because the faulting ones are already gone)
    /// ```
    pub fn bounce_failsafe(&mut self, regs: &mut Regs) -> Result<(), BadStack> {
        if self.dom.shape.bits32 {
            return self.bounce_failsafe32(regs);
        }
        let Saved {
            top, cs, rflags, ..
        } = self.save(regs);
        let words = [
            regs.rcx, regs.r11, 0, 0, 0, 0, regs.rip, cs, rflags, regs.rsp, regs.ss,
        ];
        let mut bytes = [0u8; 88];
        for (slot, word) in bytes.chunks_exact_mut(8).zip(words) {
            slot.copy_from_slice(&word.to_le_bytes());
        }
        let sp = top.wrapping_sub(88);
        self.write(sp, &bytes).map_err(|_| BadStack)?;
        self.m.null_segments();
        let failsafe = self.v.callbacks.failsafe;
        if failsafe.mask {
            self.mask_events(true);
        }
        self.enter_kernel_at(regs, failsafe.address, sp);
        Ok(())
    }

    /// Turns to the guest kernel and works out what every frame says of `regs`.
    fn save(&mut self, regs: &Regs) -> Saved {
        let from_user = !self.v.kernel_mode;
        self.to_kernel();
        let top = if from_user {
            self.v.kernel_sp
        } else {
            regs.rsp
        } & !15;
        let masked = self.events_masked();
        let mut rflags = regs.rflags & !(flags::IF | flags::IOPL);
        if !masked {
            rflags |= flags::IF;
        }
        let cs = if from_user {
            regs.cs & 0xffff
        } else {
            regs.cs & 0xfffc
        } | u64::from(masked) << 32;
        Saved {
            top,
            cs,
            rflags,
            masked,
        }
    }

    fn enter_kernel_at(&mut self, regs: &mut Regs, rip: u64, rsp: u64) {
        regs.rip = rip;
        regs.rsp = rsp;
        regs.cs = u64::from(selector::GUEST_CS);
        regs.ss = u64::from(selector::GUEST_SS);
        regs.rflags = regs.rflags
            & !(flags::AC | flags::VM | flags::RF | flags::NT | flags::TF | flags::IOPL)
            | flags::IF
            | 2;
    }
}
