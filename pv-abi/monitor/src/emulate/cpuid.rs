//! CPUID from the table that noxen-vmm filtered for PV guests.
//!
//! Three things are not constant and are put in here: the APIC id (vCPU number * 2, so that ids are
//! distinct), OSXSAVE (mirrors the real CR4), and the XSAVE area's size (depends on XCR0).

use crate::cpu::Cpu;
use crate::machine::Machine;
use crate::regs::Regs;
use core::sync::atomic::Ordering;
use noxen_monitor_abi::info::MAX_CPUID;
use noxen_monitor_abi::CpuidEntry;

/// CR4.OSXSAVE.
const CR4_OSXSAVE: u64 = 1 << 18;
/// Leaf 1 ECX: OSXSAVE.
const ECX_OSXSAVE: u32 = 1 << 27;
/// Bytes of the legacy region and header of an XSAVE area (SDM volume 1, 13.4).
const XSAVE_LEGACY: u32 = 576;
/// Bytes of a table row.
const ROW: u64 = core::mem::size_of::<CpuidEntry>() as u64;

impl<M: Machine> Cpu<'_, M> {
    /// CPUID with the leaf in EAX and the subleaf in ECX. Leaves that the table lacks read as zeros.
    pub(super) fn cpuid(&mut self, regs: &mut Regs) {
        let (leaf, subleaf) = (regs.rax as u32, regs.rcx as u32);
        let mut row = self.cpuid_row(leaf, subleaf).unwrap_or_default();
        let apic_id = self.v.id * 2;
        match leaf {
            1 => {
                row.ebx = row.ebx & 0x00ff_ffff | (apic_id & 0xff) << 24;
                row.ecx &= !ECX_OSXSAVE;
                if self.m.cr4() & CR4_OSXSAVE != 0 {
                    row.ecx |= ECX_OSXSAVE;
                }
            }
            0xb | 0x1f => row.edx = apic_id,
            0xd if subleaf == 0 && row.eax != 0 => row.ebx = self.xsave_size(false),
            0xd if subleaf == 1 && row.eax != 0 => row.ebx = self.xsave_size(true),
            0x8000_001e => row.eax = apic_id,
            _ => {}
        }
        regs.rax = u64::from(row.eax);
        regs.rbx = u64::from(row.ebx);
        regs.rcx = u64::from(row.ecx);
        regs.rdx = u64::from(row.edx);
    }

    /// The row for a leaf and subleaf.
    fn cpuid_row(&self, leaf: u32, subleaf: u32) -> Option<CpuidEntry> {
        let rows = u64::from(self.dom.info.nr_cpuid).min(MAX_CPUID as u64);
        for index in 0..rows {
            let at = self.dom.info.cpuid_gpa + index * ROW;
            let word = |field: u64| {
                self.m
                    .word32(at + field * 4)
                    .map_or(0, |word| word.load(Ordering::Relaxed))
            };
            if word(0) != leaf || (word(2) != 0 && word(1) != subleaf) {
                continue;
            }
            return Some(CpuidEntry {
                leaf,
                subleaf: word(1),
                indexed: word(2),
                eax: word(3),
                ebx: word(4),
                ecx: word(5),
                edx: word(6),
            });
        }
        None
    }

    /// Bytes of the XSAVE area for what XCR0 enables, in standard or compacted format.
    fn xsave_size(&self, compacted: bool) -> u32 {
        let mut size = XSAVE_LEGACY;
        for component in 2..63u32 {
            if self.v.xcr0 >> component & 1 == 0 {
                continue;
            }
            let Some(row) = self.cpuid_row(0xd, component) else {
                continue;
            };
            if compacted {
                // ECX bit 1: the component starts on a 64-byte boundary.
                let start = if row.ecx & 2 != 0 {
                    size.wrapping_add(63) & !63
                } else {
                    size
                };
                size = start.wrapping_add(row.eax);
            } else {
                size = size.max(row.ebx.wrapping_add(row.eax));
            }
        }
        size
    }
}
