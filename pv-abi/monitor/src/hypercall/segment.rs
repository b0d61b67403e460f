//! Segments: the guest's GDT, single descriptors, segment bases, the kernel stack for entries.
//!
//! ```text
//!   set_gdt(frames) --> every descriptor fixed in place --> this vCPU's GDT window --> GDTR
//!                         pages 0..14: the guest's frames, or the zero page; 14: ours
//! ```
//!
//! The window is ours, so descriptors have to be right when they get there: ring 3 is the guest kernel's
//! ring, hence its segments need DPL 3 whatever it wrote.

use super::{efault, Answer};
use crate::cpu::Cpu;
use crate::machine::{Base, Machine};
use crate::regs::canonical;
use core::sync::atomic::Ordering;
use noxen_monitor_abi::layout::{HOLE_END, HOLE_START};
use noxen_pv_abi::errno::Errno;
use noxen_pv_abi::segment::{SegmentBase, FIRST_RESERVED_GDT_ENTRY};

/// Pages of the GDT that are the guest's.
pub const GDT_PAGES: usize = 14;

/// Descriptor bits (SDM volume 3, 3.4.5).
mod bit {
    pub const TYPE: u64 = 0xf << 40;
    pub const TYPE_CALL_GATE: u64 = 0xc << 40;
    pub const S: u64 = 1 << 44;
    pub const DPL: u64 = 3 << 45;
    pub const P: u64 = 1 << 47;
}

/// The descriptor that may stand where the guest wants `d`; `None` for a kind it may not have.
///
/// Free: anything not present, and type 0 (second half of a call gate). Code and data get DPL 3; call
/// gates DPL 0, so that using one is a #GP that the monitor sees; TSS, LDT and other gates are refused.
pub fn check_descriptor(d: u64) -> Option<u64> {
    if d & bit::P == 0 {
        return Some(d);
    }
    if d & bit::S != 0 {
        return Some(d | bit::DPL);
    }
    match d & bit::TYPE {
        0 => Some(d),
        bit::TYPE_CALL_GATE => Some(d & !bit::DPL),
        _ => None,
    }
}

impl<M: Machine> Cpu<'_, M> {
    /// `set_gdt(frames, entries)`.
    pub(super) fn set_gdt(&mut self, args: &[u64; 6]) -> Answer {
        let [list, entries, ..] = *args;
        let entries = entries as u32;
        if entries > FIRST_RESERVED_GDT_ENTRY {
            return Err(Errno::EINVAL);
        }
        let mut frames = [0u64; GDT_PAGES];
        let count = entries.div_ceil(512) as usize;
        for (i, frame) in frames.iter_mut().take(count).enumerate() {
            *frame = self
                .read_u64(list.wrapping_add(i as u64 * 8))
                .map_err(efault)?;
        }
        self.install_gdt(frames.get(..count).unwrap_or(&[]))?;
        Ok(0)
    }

    /// Checks and fixes the frames of a guest's GDT without loading it; frame 0 stands for "none".
    /// `EINVAL`: not guest RAM, or a descriptor that it may not have.
    pub(crate) fn check_gdt(&self, frames: &[u64]) -> Result<(), Errno> {
        if frames.len() > GDT_PAGES {
            return Err(Errno::EINVAL);
        }
        frames
            .iter()
            .filter(|mfn| **mfn != 0)
            .try_for_each(|mfn| self.fix_descriptor_page(*mfn))
    }

    /// Makes `frames` (at most 14) this vCPU's GDT.
    pub(crate) fn install_gdt(&mut self, frames: &[u64]) -> Result<(), Errno> {
        self.check_gdt(frames)?;
        for index in 0..GDT_PAGES {
            let mfn = frames.get(index).copied().unwrap_or(0);
            if let Some(slot) = self.v.gdt.get_mut(index) {
                *slot = mfn;
            }
            self.m.set_gdt_page(index, mfn);
        }
        self.m.reload_gdt();
        Ok(())
    }

    /// Fixes all descriptors of a page in place; `EINVAL` when one may not be there.
    pub(crate) fn fix_descriptor_page(&self, mfn: u64) -> Result<(), Errno> {
        if mfn >= self.dom.info.ram_end_mfn {
            return Err(Errno::EINVAL);
        }
        for index in 0..512 {
            let word = self.m.word((mfn << 12) + index * 8).ok_or(Errno::EINVAL)?;
            let have = word.load(Ordering::Relaxed);
            let want = self.checked(have).ok_or(Errno::EINVAL)?;
            if want != have {
                word.store(want, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    fn checked(&self, descriptor: u64) -> Option<u64> {
        if self.dom.shape.bits32 {
            crate::compat::check_descriptor(descriptor)
        } else {
            check_descriptor(descriptor)
        }
    }

    /// `update_descriptor(maddr, descriptor)`.
    pub(super) fn update_descriptor(&mut self, args: &[u64; 6]) -> Answer {
        let [maddr, value, ..] = *args;
        if maddr >> 12 >= self.dom.info.ram_end_mfn {
            return Err(Errno::EINVAL);
        }
        let value = self.checked(value).ok_or(Errno::EINVAL)?;
        // One atomic store: another vCPU may be loading this very descriptor.
        self.m
            .word(maddr)
            .ok_or(Errno::EINVAL)?
            .store(value, Ordering::SeqCst);
        Ok(0)
    }

    /// `set_segment_base(which, base)`.
    pub(super) fn set_segment_base(&mut self, args: &[u64; 6]) -> Answer {
        let [which, value, ..] = *args;
        let base = match SegmentBase(which as u32) {
            SegmentBase::FS => Base::Fs,
            // The caller is the guest kernel, so "the other mode" is user space.
            SegmentBase::GS_USER => Base::OtherGs,
            SegmentBase::GS_KERNEL => Base::Gs,
            SegmentBase::GS_USER_SEL => {
                let mut selector = value as u16;
                if selector > 3 {
                    selector |= 3;
                }
                if !self.m.load_user_gs(selector) {
                    self.m.load_user_gs(0);
                }
                return Ok(0);
            }
            _ => return Err(Errno::EINVAL),
        };
        if !canonical(value) {
            return Err(Errno::EINVAL);
        }
        self.m.set_base(base, value);
        Ok(0)
    }

    /// `stack_switch(ss, sp)`: the stack for entries from user space.
    pub(super) fn stack_switch(&mut self, args: &[u64; 6]) -> Answer {
        let [ss, sp, ..] = *args;
        if !is_guest_stack(sp) {
            return Err(Errno::EINVAL);
        }
        self.v.kernel_ss = ss & 0xffff | 3;
        self.v.kernel_sp = sp;
        Ok(0)
    }
}

/// True for a stack pointer below which a trap frame lies in the guest's own address space.
pub(crate) fn is_guest_stack(sp: u64) -> bool {
    canonical(sp) && !(HOLE_START..HOLE_END + 4096).contains(&sp)
}
