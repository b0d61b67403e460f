//! Privileged instructions of a kernel that runs in ring 3.
//!
//! ```text
//!   #GP(0) --> fetch 15 bytes --> decode --> may this mode do it? --> cpuid | msr | control | io --> rip += length
//!   #UD    --> ud2 'x' 'e' 'n' cpuid (forced emulation) ------------> cpuid --------------------> rip += 7
//!   #GP(n) --> int 0x83, nopl: its form in a tuned kernel ----------> cpuid --------------------> rip += 7
//! ```
//!
//! `No` means that the guest gets the exception itself: the instruction is not ours, the mode may not use
//! it, or it would fault on a real machine too.

mod control;
mod cpuid;
mod decode;
#[cfg(test)]
mod decode_tests;
mod io;
mod msr;

use crate::cpu::Cpu;
use crate::machine::{Base, Machine};
use crate::regs::Regs;
use core::sync::atomic::Ordering;
use decode::{decode, Bases, Code, Instruction, Kind, MAX_LENGTH};
use noxen_monitor_abi::layout::{selector, FORCED_CPUID, TUNED_CPUID};

/// What became of a faulting instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Emulated {
    /// Done; RIP and registers are set.
    Done,
    /// Not done, nothing changed: the guest gets its exception.
    No,
}

/// Indices into `noxen_monitor_abi::counters::EMULATED_NAMES`.
mod count {
    pub const CPUID: usize = 0;
    pub const RDMSR: usize = 1;
    pub const WRMSR: usize = 2;
    pub const CR_READ: usize = 3;
    pub const CR_WRITE: usize = 4;
    pub const DR: usize = 5;
    pub const IO_IN: usize = 6;
    pub const IO_OUT: usize = 7;
    pub const CLI_STI: usize = 8;
    pub const HLT: usize = 9;
    pub const INVLPG: usize = 10;
    pub const WBINVD: usize = 11;
    pub const XSETBV: usize = 12;
    pub const TSC: usize = 13;
    pub const UNKNOWN: usize = 14;
}

/// CR4.TSD: user space may not read the TSC.
const CR4_TSD: u64 = 1 << 2;
/// Descriptor bits: default operand size, long mode, code.
const DESCRIPTOR_D: u64 = 1 << 54;
const DESCRIPTOR_L: u64 = 1 << 53;
const DESCRIPTOR_CODE: u64 = 3 << 43;
/// Base address bits of a descriptor.
const DESCRIPTOR_BASE: u64 = 0xff00_00ff_ffff_0000;

impl<M: Machine> Cpu<'_, M> {
    /// The instruction at `regs.rip` raised #GP(0): emulates it if it is a privileged one of ours.
    pub fn emulate_gp(&mut self, regs: &mut Regs) -> Emulated {
        let Some(instruction) = self.fetch(regs) else {
            if self.v.kernel_mode {
                self.count_emulated(count::UNKNOWN);
            }
            return Emulated::No;
        };
        let next = regs.rip.wrapping_add(u64::from(instruction.length));
        self.count_emulated(kind_of(instruction.kind));
        // RIP is right before anything that waits (hlt): whoever looks meanwhile sees the guest there.
        let before = *regs;
        regs.rip = next;
        let done = self.execute(regs, &instruction, before.rip);
        if done == Emulated::No {
            *regs = before;
        }
        done
    }

    /// An undefined instruction: CPUID behind Xen's forced-emulation prefix is ours.
    pub fn emulate_ud(&mut self, regs: &mut Regs) -> Emulated {
        match self.read_array::<7>(self.code_at(regs)) {
            Ok(FORCED_CPUID) => {
                self.count_emulated(count::CPUID);
                self.cpuid(regs);
                regs.rip = regs.rip.wrapping_add(FORCED_CPUID.len() as u64);
                Emulated::Done
            }
            _ => Emulated::No,
        }
    }

    /// `int 0x83` through the closed gate: what a tuned kernel has for CPUID behind the prefix
    /// (`noxen_domain_builder`, tune/cpuid.rs). User space has no part in it.
    pub fn emulate_tuned(&mut self, regs: &mut Regs) -> Emulated {
        if !self.v.kernel_mode || self.read_array::<7>(regs.rip) != Ok(TUNED_CPUID) {
            return Emulated::No;
        }
        self.count_emulated(count::CPUID);
        self.cpuid(regs);
        regs.rip = regs.rip.wrapping_add(TUNED_CPUID.len() as u64);
        Emulated::Done
    }

    fn execute(&mut self, regs: &mut Regs, instruction: &Instruction, start: u64) -> Emulated {
        // What user space may do, given the privilege level that the guest kernel lent it.
        match instruction.kind {
            Kind::Cpuid => {
                self.cpuid(regs);
                return Emulated::Done;
            }
            Kind::In { port, width } => return self.port_in(regs, port, width),
            Kind::Out { port, width } => return self.port_out(regs, port, width),
            Kind::Ins { width, rep } => {
                return self.string_in(regs, instruction, width, rep, start)
            }
            Kind::Outs { width, rep } => return self.string_out(regs, instruction, width, rep),
            Kind::CliSti => return self.cli_sti(),
            Kind::Rdtsc | Kind::Rdtscp => {
                return self.read_tsc(regs, instruction.kind == Kind::Rdtscp)
            }
            _ => {}
        }
        if !self.v.kernel_mode {
            return Emulated::No;
        }
        match instruction.kind {
            Kind::Rdmsr => self.rdmsr(regs),
            Kind::Wrmsr => self.wrmsr(regs),
            Kind::ReadCr { cr, gpr } => self.read_cr(regs, cr, gpr),
            Kind::WriteCr { cr, gpr } => self.write_cr(regs.gpr(gpr), cr),
            Kind::ReadDr { dr, gpr } => match self.read_debugreg(u32::from(dr)) {
                Ok(value) => {
                    regs.set_gpr(gpr, value);
                    Emulated::Done
                }
                Err(_) => Emulated::No,
            },
            Kind::WriteDr { dr, gpr } => match self.write_debugreg(u32::from(dr), regs.gpr(gpr)) {
                Ok(_) => Emulated::Done,
                Err(_) => Emulated::No,
            },
            Kind::Clts => {
                self.switch_ts(false);
                Emulated::Done
            }
            Kind::Smsw { gpr, width } => self.smsw(regs, gpr, width),
            Kind::Lmsw { gpr } => self.lmsw(regs.gpr(gpr)),
            Kind::Xsetbv => self.xsetbv(regs),
            Kind::Invlpg { va } => {
                self.m.invlpg(va);
                Emulated::Done
            }
            Kind::Wbinvd => {
                self.m.wbinvd();
                Emulated::Done
            }
            Kind::Hlt => {
                self.block();
                Emulated::Done
            }
            _ => Emulated::No,
        }
    }

    /// RDTSC traps only while CR4.TSD is set; the guest kernel, being in ring 3, traps then too.
    fn read_tsc(&mut self, regs: &mut Regs, with_aux: bool) -> Emulated {
        if !self.v.kernel_mode && self.v.cr4 & CR4_TSD != 0 {
            return Emulated::No;
        }
        let tsc = self.m.tsc();
        regs.rax = tsc & 0xffff_ffff;
        regs.rdx = tsc >> 32;
        if with_aux {
            regs.rcx = u64::from(self.v.tsc_aux);
        }
        Emulated::Done
    }

    /// Reads and decodes the instruction at RIP. An unmapped next page only shortens what is seen.
    fn fetch(&self, regs: &Regs) -> Option<Instruction> {
        let code = self.code_width(regs.cs as u16)?;
        let at = match (code, self.dom.shape.bits32) {
            (_, true) => self.code_at(regs),
            (Code::Bits32, false) => regs.rip & 0xffff_ffff,
            (Code::Bits64, false) => regs.rip,
        };
        let mut bytes = [0u8; MAX_LENGTH];
        let on_page = (4096 - (at & 0xfff) as usize).min(MAX_LENGTH);
        let (head, tail) = bytes.split_at_mut_checked(on_page)?;
        self.read(at, head).ok()?;
        let seen = if !tail.is_empty() && self.read(at.wrapping_add(on_page as u64), tail).is_ok() {
            MAX_LENGTH
        } else {
            on_page
        };
        let bases = Bases {
            fs: self.m.base(Base::Fs),
            gs: self.m.base(Base::Gs),
        };
        decode(bytes.get(..seen)?, code, regs, bases)
    }

    /// Linear address of the instruction at CS:RIP.
    fn code_at(&self, regs: &Regs) -> u64 {
        if self.dom.shape.bits32 {
            self.linear32(regs.cs as u16, regs.rip)
        } else {
            regs.rip
        }
    }

    /// Width of the code that runs with selector `cs`; `None` for 16-bit or non-flat code.
    fn code_width(&self, cs: u16) -> Option<Code> {
        if self.dom.shape.bits32 {
            return self.is_code32(cs).then_some(Code::Bits32);
        }
        match cs {
            selector::GUEST_CS => return Some(Code::Bits64),
            selector::USER_CS32 => return Some(Code::Bits32),
            _ => {}
        }
        let descriptor = self.descriptor(cs)?;
        if descriptor & DESCRIPTOR_CODE != DESCRIPTOR_CODE {
            return None;
        }
        if descriptor & DESCRIPTOR_L != 0 {
            Some(Code::Bits64)
        } else if descriptor & DESCRIPTOR_D != 0 && descriptor & DESCRIPTOR_BASE == 0 {
            Some(Code::Bits32)
        } else {
            None
        }
    }

    /// A descriptor of the guest's own GDT. (Code in an LDT segment is emulated by nobody.)
    fn descriptor(&self, selector: u16) -> Option<u64> {
        if selector & 4 != 0 {
            return None;
        }
        let offset = u64::from(selector & !7);
        let mfn = *self.v.gdt.get((offset >> 12) as usize)?;
        if mfn == 0 {
            return None;
        }
        Some(
            self.m
                .word(mfn << 12 | offset & 0xfff)?
                .load(Ordering::Relaxed),
        )
    }
}

fn kind_of(kind: Kind) -> usize {
    match kind {
        Kind::Cpuid => count::CPUID,
        Kind::Rdmsr => count::RDMSR,
        Kind::Wrmsr => count::WRMSR,
        Kind::Rdtsc | Kind::Rdtscp => count::TSC,
        Kind::ReadCr { .. } | Kind::Smsw { .. } => count::CR_READ,
        Kind::WriteCr { .. } | Kind::Lmsw { .. } | Kind::Clts => count::CR_WRITE,
        Kind::ReadDr { .. } | Kind::WriteDr { .. } => count::DR,
        Kind::In { .. } | Kind::Ins { .. } => count::IO_IN,
        Kind::Out { .. } | Kind::Outs { .. } => count::IO_OUT,
        Kind::CliSti => count::CLI_STI,
        Kind::Hlt => count::HLT,
        Kind::Invlpg { .. } => count::INVLPG,
        Kind::Wbinvd => count::WBINVD,
        Kind::Xsetbv => count::XSETBV,
    }
}
