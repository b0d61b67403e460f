//! Control registers and XCR0.
//!
//! ```text
//!   CR0   reads as a fixed value with the guest's TS; only TS may change
//!   CR2   vcpu_info.arch.cr2
//!   CR3   kernel page table; writing one is MMUEXT_NEW_BASEPTR
//!   CR4   TSD, DE, OSXSAVE are the guest's; PAE, MCE, OSFXSR, OSXMMEXCPT show the real ones
//!   CR8   0
//! ```

use super::Emulated;
use crate::cpu::Cpu;
use crate::machine::Machine;
use crate::regs::Regs;

/// CR0 as guests see it: PG, AM, WP, NE, ET, MP, PE.
const CR0: u64 = 0x8005_0033;
const CR0_TS: u64 = 1 << 3;
/// CR4 bits.
mod cr4 {
    pub const TSD: u64 = 1 << 2;
    pub const DE: u64 = 1 << 3;
    pub const PAE: u64 = 1 << 5;
    pub const MCE: u64 = 1 << 6;
    pub const OSFXSR: u64 = 1 << 9;
    pub const OSXMMEXCPT: u64 = 1 << 10;
    pub const OSXSAVE: u64 = 1 << 18;
    /// What the guest sets for itself.
    pub const GUEST: u64 = TSD | DE | OSXSAVE;
    /// What it sees of the real register.
    pub const SHOWN: u64 = PAE | MCE | OSFXSR | OSXMMEXCPT;
}
/// XCR0 components that come together (SDM volume 1, 13.3).
mod xcr0 {
    pub const X87: u64 = 1;
    pub const SSE: u64 = 1 << 1;
    pub const AVX: u64 = 1 << 2;
    pub const MPX: u64 = 3 << 3;
    pub const AVX512: u64 = 7 << 5;
    pub const AMX: u64 = 3 << 17;
}

impl<M: Machine> Cpu<'_, M> {
    fn cr0(&self) -> u64 {
        CR0 | if self.v.ts { CR0_TS } else { 0 }
    }

    pub(super) fn read_cr(&mut self, regs: &mut Regs, cr: u8, gpr: u8) -> Emulated {
        let value = match cr {
            0 => self.cr0(),
            2 => self.cr2(),
            3 if self.dom.shape.bits32 => self.cr3_of_guest32(),
            3 => self.v.kernel_cr3,
            4 => self.m.cr4() & cr4::SHOWN | self.v.cr4 & cr4::GUEST,
            8 => 0,
            _ => return Emulated::No,
        };
        regs.set_gpr(gpr, value);
        Emulated::Done
    }

    pub(super) fn write_cr(&mut self, value: u64, cr: u8) -> Emulated {
        match cr {
            0 => return self.write_cr0(value),
            2 => self.set_cr2(value),
            3 => return self.write_cr3(value),
            4 => self.write_cr4(value),
            // Priorities of interrupts that the guest does not get.
            8 => {}
            _ => return Emulated::No,
        }
        Emulated::Done
    }

    fn write_cr0(&mut self, value: u64) -> Emulated {
        if (value ^ CR0) & !CR0_TS != 0 {
            return Emulated::No;
        }
        self.switch_ts(value & CR0_TS != 0);
        Emulated::Done
    }

    fn write_cr3(&mut self, value: u64) -> Emulated {
        if self.dom.shape.bits32 {
            return match self.write_cr3_of_guest32(value) {
                true => Emulated::Done,
                false => Emulated::No,
            };
        }
        let mfn = value >> 12;
        if !self.tables().install_l4(mfn) {
            return Emulated::No;
        }
        self.v.kernel_cr3 = mfn << 12;
        self.m.set_cr3(self.v.kernel_cr3);
        Emulated::Done
    }

    /// Bits that are not the guest's are dropped: kernels set what their CPUID shows, which is little.
    /// OSXSAVE is always on in the real register, the rest of the guest's bits goes there.
    fn write_cr4(&mut self, value: u64) {
        self.v.cr4 = value & cr4::GUEST;
        let real = self.m.cr4();
        let wanted = real & !(cr4::TSD | cr4::DE) | value & (cr4::TSD | cr4::DE);
        if wanted != real {
            self.m.set_cr4(wanted);
        }
    }

    /// SMSW to a register: like a read of CR0; 16-bit operands keep the rest of the register.
    pub(super) fn smsw(&mut self, regs: &mut Regs, gpr: u8, width: u8) -> Emulated {
        let value = match width {
            2 => regs.gpr(gpr) & !0xffff | self.cr0() & 0xffff,
            4 => self.cr0() & 0xffff_ffff,
            _ => self.cr0(),
        };
        regs.set_gpr(gpr, value);
        Emulated::Done
    }

    /// LMSW writes the low four bits of CR0, of which only TS can change (PE cannot be cleared by it).
    pub(super) fn lmsw(&mut self, value: u64) -> Emulated {
        self.write_cr0(CR0 & !0xf | value & 0xf | 1)
    }

    pub(super) fn xsetbv(&mut self, regs: &mut Regs) -> Emulated {
        let value = regs.rdx << 32 | regs.rax & 0xffff_ffff;
        if regs.rcx as u32 != 0 || value & !self.dom.info.xcr0_mask != 0 || !consistent(value) {
            return Emulated::No;
        }
        if !self.m.set_xcr0(value) {
            return Emulated::No;
        }
        self.v.xcr0 = value;
        Emulated::Done
    }
}

/// Rules of XSETBV: x87 always, AVX needs SSE, AVX-512 needs AVX and all its parts, pairs stay together.
fn consistent(value: u64) -> bool {
    let all_or_none = |group: u64| value & group == 0 || value & group == group;
    value & xcr0::X87 != 0
        && (value & xcr0::AVX == 0 || value & xcr0::SSE != 0)
        && (value & xcr0::AVX512 == 0 || value & xcr0::AVX != 0)
        && all_or_none(xcr0::AVX512)
        && all_or_none(xcr0::MPX)
        && all_or_none(xcr0::AMX)
}
