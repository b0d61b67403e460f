//! Port I/O: the domain owns no port. Reads give all ones, writes vanish, as on a bus without devices,
//! if the virtual I/O privilege allows the access at all; else the guest gets its #GP.

use super::decode::{Instruction, Port};
use super::Emulated;
use crate::cpu::Cpu;
use crate::machine::Machine;
use crate::regs::{flags, Regs};

/// The interval timer's ports.
const PIT: core::ops::RangeInclusive<u16> = 0x40..=0x43;
/// Elements of a string instruction done per trap; the rest comes with the next one.
const STRING_BURST: u64 = 1024;

impl<M: Machine> Cpu<'_, M> {
    /// The virtual IOPL lets the present mode do I/O: 1 is enough for the kernel, user space needs 3.
    fn iopl_allows(&self) -> bool {
        self.v.iopl >= if self.v.kernel_mode { 1 } else { 3 }
    }

    /// The access is allowed by the privilege level or by the I/O bitmap (a clear bit allows).
    fn io_allowed(&self, port: u16, width: u8) -> bool {
        if self.iopl_allows() {
            return true;
        }
        if self.v.iobitmap == 0 {
            return false;
        }
        // The bitmap is the guest kernel's; its page table may be another than the one in force.
        let user = !self.v.kernel_mode;
        if user {
            self.m.set_cr3(self.v.kernel_cr3);
        }
        let allowed = (0..u32::from(width)).all(|i| self.bitmap_allows(u32::from(port) + i));
        if user {
            self.m.set_cr3(self.v.user_cr3);
        }
        allowed
    }

    fn bitmap_allows(&self, port: u32) -> bool {
        let at = self.v.iobitmap.wrapping_add(u64::from(port / 8));
        port < self.v.iobitmap_ports
            && self
                .read_array::<1>(at)
                .is_ok_and(|[bits]| bits >> (port % 8) & 1 == 0)
    }

    pub(super) fn port_in(&mut self, regs: &mut Regs, port: Port, width: u8) -> Emulated {
        let port = number(port, regs);
        if !self.io_allowed(port, width) {
            return Emulated::No;
        }
        regs.rax = match width {
            // A timer that stands still: Linux gives up calibrating by it at once. All ones look like
            // a count that it waits 50,000 reads for.
            1 if PIT.contains(&port) => regs.rax & !0xff,
            1 => regs.rax | 0xff,
            2 => regs.rax | 0xffff,
            // A 32-bit result clears the upper half.
            _ => 0xffff_ffff,
        };
        Emulated::Done
    }

    pub(super) fn port_out(&mut self, regs: &mut Regs, port: Port, width: u8) -> Emulated {
        if self.io_allowed(number(port, regs), width) {
            Emulated::Done
        } else {
            Emulated::No
        }
    }

    /// INS: all ones to memory. `start` is where RIP goes back to while a repetition is not finished.
    pub(super) fn string_in(
        &mut self,
        regs: &mut Regs,
        instruction: &Instruction,
        width: u8,
        rep: bool,
        start: u64,
    ) -> Emulated {
        if !self.io_allowed(number(Port::Dx, regs), width) {
            return Emulated::No;
        }
        let mask = instruction.address_mask;
        let total = if rep { regs.rcx & mask } else { 1 };
        let burst = total.min(STRING_BURST);
        let ones = [0xffu8; 4];
        let element = ones.get(..usize::from(width)).unwrap_or(&ones);
        let mut done = 0;
        while done < burst {
            if self.write(regs.rdi & mask, element).is_err() {
                if done == 0 {
                    return Emulated::No;
                }
                break;
            }
            regs.rdi = step(regs.rdi, 1, width, regs.rflags, mask);
            done += 1;
        }
        if rep {
            regs.rcx = narrow(regs.rcx, total - done, mask);
            if done < total {
                regs.rip = start;
            }
        }
        Emulated::Done
    }

    /// OUTS: nobody reads it, so the memory is not read either.
    pub(super) fn string_out(
        &mut self,
        regs: &mut Regs,
        instruction: &Instruction,
        width: u8,
        rep: bool,
    ) -> Emulated {
        if !self.io_allowed(number(Port::Dx, regs), width) {
            return Emulated::No;
        }
        let mask = instruction.address_mask;
        let total = if rep { regs.rcx & mask } else { 1 };
        regs.rsi = step(regs.rsi, total, width, regs.rflags, mask);
        if rep {
            regs.rcx = narrow(regs.rcx, 0, mask);
        }
        Emulated::Done
    }

    /// CLI and STI: real interrupts stay on in any case; whether it faults is a matter of privilege.
    pub(super) fn cli_sti(&mut self) -> Emulated {
        if self.iopl_allows() {
            Emulated::Done
        } else {
            Emulated::No
        }
    }
}

fn number(port: Port, regs: &Regs) -> u16 {
    match port {
        Port::Immediate(port) => u16::from(port),
        Port::Dx => regs.rdx as u16,
    }
}

/// An index register after `count` elements, upwards or (DF) downwards.
fn step(register: u64, count: u64, width: u8, rflags: u64, mask: u64) -> u64 {
    let bytes = count.wrapping_mul(u64::from(width));
    let moved = if rflags & flags::DF != 0 {
        register.wrapping_sub(bytes)
    } else {
        register.wrapping_add(bytes)
    };
    narrow(register, moved, mask)
}

/// Writes `value` into `register` at the address size: 32-bit results clear the upper half, 16-bit ones keep it.
fn narrow(register: u64, value: u64, mask: u64) -> u64 {
    if mask == 0xffff {
        register & !mask | value & mask
    } else {
        value & mask
    }
}
