//! [`Shape`]: what 64-bit and 32-bit guests lay out differently in the pages that they share with the monitor.
//!
//! ```text
//!   shared_info   vcpu_info[32]  pending  mask   wall clock        64: 4096 ports, words of 8 bytes, M2P entries of 8
//!   vcpu_info     pending, mask, selector, CR2   time              32: 1024 ports, words of 4 bytes, M2P entries of 4
//! ```
//! Bitmaps are little-endian, so a bit's place does not depend on the width of the words; only where they start does.

use crate::cpu::Cpu;
use crate::machine::{Fault, Machine};
use core::mem::offset_of;
use core::sync::atomic::Ordering;
use noxen_monitor_abi::info::FLAG_BITS32;
use noxen_monitor_abi::MonInfo;
use noxen_pv_abi::event_channel::{EVTCHN_2L_NR_CHANNELS_32, EVTCHN_2L_NR_CHANNELS_64};
use noxen_pv_abi::shared_info::{
    ArchSharedInfo32, ArchSharedInfo64, SharedInfo32, SharedInfo64, VcpuInfo32, VcpuInfo64,
};
use noxen_pv_abi::vcpu::{RunstateInfo32, RunstateInfo64};

/// Offsets into shared_info and other shared structures, bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// The guest is a 32-bit one: its kernel runs in ring 1 ([`crate::compat`]).
    pub bits32: bool,
    /// evtchn_pending.
    pub pending: u64,
    /// evtchn_mask.
    pub mask: u64,
    /// Ports of the 2-level ABI.
    pub ports: u32,
    /// wc_version, followed by wc_sec and wc_nsec.
    pub wallclock: u64,
    /// wc_sec_hi.
    pub wc_sec_hi: u64,
    /// state_entry_time in vcpu_runstate_info.
    pub runstate_entry_time: u64,
}

const BITS64: Shape = Shape {
    bits32: false,
    pending: offset_of!(SharedInfo64, evtchn_pending) as u64,
    mask: offset_of!(SharedInfo64, evtchn_mask) as u64,
    ports: EVTCHN_2L_NR_CHANNELS_64,
    wallclock: offset_of!(SharedInfo64, wc_version) as u64,
    wc_sec_hi: offset_of!(SharedInfo64, wc_sec_hi) as u64,
    runstate_entry_time: offset_of!(RunstateInfo64, state_entry_time) as u64,
};

const BITS32: Shape = Shape {
    bits32: true,
    pending: offset_of!(SharedInfo32, evtchn_pending) as u64,
    mask: offset_of!(SharedInfo32, evtchn_mask) as u64,
    ports: EVTCHN_2L_NR_CHANNELS_32,
    wallclock: offset_of!(SharedInfo32, wc_version) as u64,
    wc_sec_hi: (offset_of!(SharedInfo32, arch) + offset_of!(ArchSharedInfo32, wc_sec_hi)) as u64,
    runstate_entry_time: offset_of!(RunstateInfo32, state_entry_time) as u64,
};

impl Shape {
    /// Of the domain that `info` describes.
    pub const fn of(info: &MonInfo) -> Shape {
        if info.flags & FLAG_BITS32 != 0 {
            BITS32
        } else {
            BITS64
        }
    }
}

impl<M: Machine> Cpu<'_, M> {
    /// Stores the faulting address where PV guests look for it.
    pub fn set_cr2(&self, va: u64) {
        let info = self.v.vcpu_info;
        if self.dom.shape.bits32 {
            if let Some(word) = self
                .m
                .word32(info + offset_of!(VcpuInfo32, arch_cr2) as u64)
            {
                word.store(va as u32, Ordering::Relaxed);
            }
        } else if let Some(word) = self.m.word(info + offset_of!(VcpuInfo64, arch_cr2) as u64) {
            word.store(va, Ordering::Relaxed);
        }
    }

    /// Reads arch.cr2 back.
    pub fn cr2(&self) -> u64 {
        let info = self.v.vcpu_info;
        if self.dom.shape.bits32 {
            self.m
                .word32(info + offset_of!(VcpuInfo32, arch_cr2) as u64)
                .map_or(0, |word| u64::from(word.load(Ordering::Relaxed)))
        } else {
            self.m
                .word(info + offset_of!(VcpuInfo64, arch_cr2) as u64)
                .map_or(0, |word| word.load(Ordering::Relaxed))
        }
    }

    /// Sets the selector bit of `port` in the vcpu_info at `info`; true when it was clear.
    pub(crate) fn select(&self, info: u64, port: u32) -> bool {
        if self.dom.shape.bits32 {
            let at = info + offset_of!(VcpuInfo32, evtchn_pending_sel) as u64;
            let bit = 1u32 << (port / 32 % 32);
            self.m
                .word32(at)
                .is_some_and(|word| word.fetch_or(bit, Ordering::SeqCst) & bit == 0)
        } else {
            let at = info + offset_of!(VcpuInfo64, evtchn_pending_sel) as u64;
            let bit = 1u64 << (port / 64 % 64);
            self.m
                .word(at)
                .is_some_and(|word| word.fetch_or(bit, Ordering::SeqCst) & bit == 0)
        }
    }

    /// Sets all selector bits of the vcpu_info at `info`.
    pub(crate) fn select_all(&self, info: u64) {
        if self.dom.shape.bits32 {
            let at = info + offset_of!(VcpuInfo32, evtchn_pending_sel) as u64;
            if let Some(word) = self.m.word32(at) {
                word.store(!0, Ordering::SeqCst);
            }
        } else {
            let at = info + offset_of!(VcpuInfo64, evtchn_pending_sel) as u64;
            if let Some(word) = self.m.word(at) {
                word.store(!0, Ordering::SeqCst);
            }
        }
    }

    /// arch.max_pfn: how many frames the guest says that its p2m has.
    pub(crate) fn said_max_pfn(&self) -> u64 {
        let info = self.dom.info.shared_info_gpa;
        if self.dom.shape.bits32 {
            let at = offset_of!(SharedInfo32, arch) + offset_of!(ArchSharedInfo32, max_pfn);
            self.m
                .word32(info + at as u64)
                .map_or(0, |word| u64::from(word.load(Ordering::Relaxed)))
        } else {
            let at = offset_of!(SharedInfo64, arch) + offset_of!(ArchSharedInfo64, max_pfn);
            self.m
                .word(info + at as u64)
                .map_or(0, |word| word.load(Ordering::Relaxed))
        }
    }

    /// Sets the M2P entry of a guest frame; all ones means "not the domain's" in either width.
    pub(crate) fn set_m2p(&self, mfn: u64, pfn: u64) {
        let info = &self.dom.info;
        if mfn >= info.m2p_entries {
            return;
        }
        if self.dom.shape.bits32 {
            if let Some(word) = self.m.word32(info.m2p_gpa + mfn * 4) {
                word.store(pfn as u32, Ordering::Relaxed);
            }
        } else if let Some(word) = self.m.word(info.m2p_gpa + mfn * 8) {
            word.store(pfn, Ordering::Relaxed);
        }
    }

    /// Writes a vcpu_runstate_info at a guest-linear address.
    pub(crate) fn write_runstate(&self, at: u64, info: &RunstateInfo64) -> Result<(), Fault> {
        if self.dom.shape.bits32 {
            let narrow = RunstateInfo32 {
                state: info.state,
                state_entry_time: info.state_entry_time,
                time: info.time,
            };
            self.write(at, &narrow.to_bytes())
        } else {
            self.write(at, &info.to_bytes())
        }
    }
}
