//! Segments of 32-bit guests: which descriptors they may have, and where a segment starts.

use crate::cpu::Cpu;
use crate::machine::Machine;
use core::sync::atomic::Ordering;
use noxen_monitor_abi::layout::compat::{KERNEL_CS, KERNEL_DS, M2P_VA, USER_CS, USER_DS};

/// Descriptor bits (SDM volume 3, 3.4.5).
mod bit {
    pub const TYPE: u64 = 0xf << 40;
    pub const TYPE_CALL_GATE: u64 = 0xc << 40;
    pub const CODE: u64 = 1 << 43;
    pub const S: u64 = 1 << 44;
    pub const DPL: u64 = 3 << 45;
    pub const DPL_1: u64 = 1 << 45;
    pub const P: u64 = 1 << 47;
    pub const L: u64 = 1 << 53;
    pub const D: u64 = 1 << 54;
    pub const G: u64 = 1 << 55;
    pub const LIMIT: u64 = 0xf_0000_0000_ffff;
}

/// Base address of a descriptor.
fn base(d: u64) -> u64 {
    d >> 16 & 0xff_ffff | d >> 32 & 0xff00_0000
}

/// Last offset of a descriptor.
fn limit(d: u64) -> u64 {
    let limit = d & 0xffff | d >> 32 & 0xf_0000;
    if d & bit::G != 0 {
        limit << 12 | 0xfff
    } else {
        limit
    }
}

/// The descriptor that may stand where a 32-bit guest wants `d`; `None` for a kind it may not have.
///
/// Ring 0 is the monitor's, so DPL 0 becomes 1. Long-mode code is refused: it would reach beyond 4 GiB. A flat segment
/// that ends where old kernels expect the hypervisor is made whole, so that it reaches all of the M2P. Call gates
/// get DPL 0, so that using one is a #GP that the monitor sees; TSS, LDT and other gates are refused.
pub fn check_descriptor(d: u64) -> Option<u64> {
    if d & bit::P == 0 {
        return Some(d);
    }
    if d & bit::S == 0 {
        return match d & bit::TYPE {
            0 => Some(d),
            bit::TYPE_CALL_GATE => Some(d & !bit::DPL),
            _ => None,
        };
    }
    if d & bit::L != 0 {
        return None;
    }
    let ringed = if d & bit::DPL == 0 { d | bit::DPL_1 } else { d };
    if base(ringed) == 0 && ringed & bit::G != 0 && limit(ringed) >= M2P_VA {
        return Some(ringed | bit::LIMIT);
    }
    Some(ringed)
}

/// A selector as the guest may have it loaded: ring 0 is not its own. Null stays null.
pub(super) fn fix_selector(selector: u16) -> u16 {
    if selector & 3 == 0 && selector != 0 {
        selector | 1
    } else {
        selector
    }
}

impl<M: Machine> Cpu<'_, M> {
    /// The descriptor of a selector of the guest's own, if present.
    fn descriptor32(&self, selector: u16) -> Option<u64> {
        let offset = u64::from(selector & !7);
        let d = if selector & 4 != 0 {
            if offset >= u64::from(self.v.ldt_entries) * 8 {
                return None;
            }
            self.read_u64(self.v.ldt_base.wrapping_add(offset)).ok()?
        } else {
            let mfn = *self.v.gdt.get((offset >> 12) as usize)?;
            if mfn == 0 {
                return None;
            }
            self.m
                .word(mfn << 12 | offset & 0xfff)?
                .load(Ordering::Relaxed)
        };
        (d & bit::P != 0 && d & bit::S != 0).then_some(d)
    }

    /// Where the segment of `selector` starts; `None` for the null selector and for what is no segment.
    pub(super) fn segment_base(&self, selector: u16) -> Option<u64> {
        match selector {
            KERNEL_CS | KERNEL_DS | USER_CS | USER_DS => Some(0),
            0..=3 => None,
            _ => self.descriptor32(selector).map(base),
        }
    }

    /// Linear address of `offset` in the segment of `selector`; without one, of the flat one.
    pub(crate) fn linear32(&self, selector: u16, offset: u64) -> u64 {
        let base = self.segment_base(selector).unwrap_or(0);
        base.wrapping_add(offset) & 0xffff_ffff
    }

    /// True for a selector of 32-bit code.
    pub(crate) fn is_code32(&self, selector: u16) -> bool {
        match selector {
            KERNEL_CS | USER_CS => true,
            _ => self
                .descriptor32(selector)
                .is_some_and(|d| d & (bit::CODE | bit::D | bit::L) == bit::CODE | bit::D),
        }
    }
}
