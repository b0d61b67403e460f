//! RDMSR and WRMSR of the guest kernel.
//!
//! Segment bases are real. Registers that configure a machine the guest does not have read as plausible
//! constants and ignore writes; everything else is a #GP, as kernels expect of an unknown register.
//! Reads of unknown registers before the guest registered a #GP handler answer 0, because there is nobody
//! to take the exception yet.

use super::Emulated;
use crate::cpu::Cpu;
use crate::crash::{level, Hex};
use crate::machine::{Base, Machine};
use crate::regs::{canonical, Regs};

/// Numbers (SDM volume 4; AMD APM volume 2, appendix A).
mod nr {
    pub const TSC: u32 = 0x10;
    pub const PLATFORM_ID: u32 = 0x17;
    pub const APIC_BASE: u32 = 0x1b;
    pub const TSC_ADJUST: u32 = 0x3b;
    pub const UCODE_REV: u32 = 0x8b;
    pub const SYSENTER_CS: u32 = 0x174;
    pub const SYSENTER_EIP: u32 = 0x176;
    pub const MCG_CAP: u32 = 0x179;
    pub const MCG_STATUS: u32 = 0x17a;
    pub const MISC_ENABLE: u32 = 0x1a0;
    pub const DEBUGCTL: u32 = 0x1d9;
    pub const PAT: u32 = 0x277;
    pub const EFER: u32 = 0xc000_0080;
    pub const STAR: u32 = 0xc000_0081;
    pub const SYSCALL_MASK: u32 = 0xc000_0084;
    pub const FS_BASE: u32 = 0xc000_0100;
    pub const GS_BASE: u32 = 0xc000_0101;
    pub const KERNEL_GS_BASE: u32 = 0xc000_0102;
    pub const TSC_AUX: u32 = 0xc000_0103;
    pub const AMD_SYSCFG: u32 = 0xc001_0010;
    pub const AMD_HWCR: u32 = 0xc001_0015;
    pub const AMD_NB_CFG: u32 = 0xc001_001f;
    pub const AMD_DE_CFG: u32 = 0xc001_1029;
}

/// EFER.SVME: not shown.
const EFER_SVME: u64 = 1 << 12;
/// Xen's PAT: WB WT UC- UC WC WP UC UC. The real register has it too, page tables carry its indices.
pub const PAT: u64 = 0x0000_0501_0007_0406;
/// Local APIC at its usual place, enabled; bit 8 marks the boot processor.
const APIC_BASE: u64 = 0xfee0_0000 | 1 << 11;
/// Fast strings on; branch trace storage and PEBS not available.
const MISC_ENABLE: u64 = 1 | 1 << 11 | 1 << 12;
/// AMD: LFENCE is serialising.
const DE_CFG: u64 = 1 << 1;

impl<M: Machine> Cpu<'_, M> {
    pub(super) fn rdmsr(&mut self, regs: &mut Regs) -> Emulated {
        let value = match self.msr_value(regs.rcx as u32) {
            Some(value) => value,
            None if self.v.traps[13].address == 0 => 0,
            None => return Emulated::No,
        };
        regs.rax = value & 0xffff_ffff;
        regs.rdx = value >> 32;
        Emulated::Done
    }

    fn msr_value(&self, msr: u32) -> Option<u64> {
        Some(match msr {
            nr::FS_BASE => self.m.base(Base::Fs),
            nr::GS_BASE => self.m.base(Base::Gs),
            nr::KERNEL_GS_BASE => self.m.base(Base::OtherGs),
            nr::EFER => self.m.efer() & !EFER_SVME,
            nr::TSC => self.m.tsc(),
            nr::TSC_AUX => u64::from(self.v.tsc_aux),
            nr::PAT => PAT,
            nr::APIC_BASE => APIC_BASE | u64::from(self.v.id == 0) << 8,
            nr::MISC_ENABLE => MISC_ENABLE,
            nr::AMD_DE_CFG => DE_CFG,
            nr::PLATFORM_ID
            | nr::TSC_ADJUST
            | nr::UCODE_REV
            | nr::SYSENTER_CS..=nr::SYSENTER_EIP
            | nr::MCG_CAP
            | nr::MCG_STATUS
            | nr::DEBUGCTL
            | nr::STAR..=nr::SYSCALL_MASK
            | nr::AMD_SYSCFG
            | nr::AMD_HWCR
            | nr::AMD_NB_CFG => 0,
            _ => return None,
        })
    }

    pub(super) fn wrmsr(&mut self, regs: &mut Regs) -> Emulated {
        let msr = regs.rcx as u32;
        let value = regs.rdx << 32 | regs.rax & 0xffff_ffff;
        let base = match msr {
            nr::FS_BASE => Some(Base::Fs),
            nr::GS_BASE => Some(Base::Gs),
            nr::KERNEL_GS_BASE => Some(Base::OtherGs),
            _ => None,
        };
        if let Some(base) = base {
            if !canonical(value) {
                return Emulated::No;
            }
            self.m.set_base(base, value);
            return Emulated::Done;
        }
        match msr {
            nr::TSC_AUX => {
                let Ok(aux) = u32::try_from(value) else {
                    return Emulated::No;
                };
                self.v.tsc_aux = aux;
                self.m.set_tsc_aux(aux);
                Emulated::Done
            }
            // System calls enter the monitor; how the guest would have liked to be entered does not matter.
            nr::STAR..=nr::SYSCALL_MASK
            | nr::SYSENTER_CS..=nr::SYSENTER_EIP
            | nr::TSC
            | nr::TSC_ADJUST
            | nr::UCODE_REV
            | nr::MISC_ENABLE
            | nr::AMD_SYSCFG
            | nr::AMD_HWCR
            | nr::AMD_NB_CFG
            | nr::AMD_DE_CFG => Emulated::Done,
            // Writing back what was read is harmless everywhere.
            _ if self.msr_value(msr) == Some(value) => Emulated::Done,
            _ => {
                let (msr, value) = (Hex::new(u64::from(msr)), Hex::new(value));
                self.log(
                    level::WARN,
                    &[
                        "guest wrote MSR ",
                        msr.as_str(),
                        " := ",
                        value.as_str(),
                        ": refused",
                    ],
                );
                Emulated::No
            }
        }
    }
}
