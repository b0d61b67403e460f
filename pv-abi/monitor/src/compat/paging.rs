//! Page tables of 32-bit guests.
//!
//! ```text
//!   CR3 -> L4 of this vCPU (monitor's) --[0]--> the guest's L3 page, entries 0..4 --> its L2 --> its L1
//!                                      --[256..272]--> monitor
//!   L3 entry   PAE knows only P; long mode wants RW, US and A too: set when a table is pinned or loaded, or by a fault
//!   L2 of slot 3, entries of the M2P window: ours, put in at the same times
//! ```
//! The guest's own L3 page is used, so that what it writes there holds for every vCPU at once.

use crate::cpu::Cpu;
use crate::machine::Machine;
use crate::pagetable::{frame, pte, Tables};
use core::sync::atomic::Ordering;
use noxen_monitor_abi::layout::compat::{M2P_END, M2P_VA, PAGES_PER_VCPU};
use noxen_monitor_abi::layout::{FIRST_SLOT, NR_SLOTS};
use noxen_pv_abi::segment::{cr3_to_pfn_32, pfn_to_cr3_32};

/// What long mode needs in an entry that leads to other tables; they decide.
const UPPER: u64 = pte::RW | pte::US | pte::A;
/// Bytes that an L3 entry maps.
const GIB: u64 = 1 << 30;
/// Bytes that an L2 entry maps.
const LARGE: u64 = 2 << 20;

impl<M: Machine> Tables<'_, M> {
    /// Where the kernel's part of the address space starts: at the gigabyte that it was linked for.
    pub(crate) fn kernel_start32(&self) -> u64 {
        self.dom.info.start_rip & !(GIB - 1)
    }

    /// Makes an L3 fit to be loaded. False when the frame is not guest RAM.
    pub(crate) fn install_l3(&self, mfn: u64) -> bool {
        if !self.mark_frame(mfn, frame::TABLE, 0) {
            return false;
        }
        let l3 = mfn << 12;
        for slot in 0..4 {
            self.complete(l3 + slot * 8);
        }
        self.install_m2p(l3);
        // All that the kernel may map of its own tables: every L2, and the L1 of its part (GNU Mach writes to either).
        for slot in 0..4 {
            let levels = if slot * GIB < self.kernel_start32() {
                1
            } else {
                2
            };
            self.mark_below(l3 + slot * 8, levels);
        }
        true
    }

    /// Gives an L3 entry the bits that PAE does not have; true when it lacked one.
    fn complete(&self, maddr: u64) -> bool {
        let Some(word) = self.m.word(maddr) else {
            return false;
        };
        let value = word.load(Ordering::Relaxed);
        if value & pte::P == 0 || value & UPPER == UPPER {
            return false;
        }
        word.fetch_or(UPPER, Ordering::Relaxed);
        true
    }

    /// Maps the M2P below the L3 at `l3`, if it has an L2 there; true when something was missing.
    fn install_m2p(&self, l3: u64) -> bool {
        let Some(top) = self.m.word(l3 + 3 * 8) else {
            return false;
        };
        let top = top.load(Ordering::Relaxed);
        let l2 = top & pte::ADDRESS;
        if top & pte::P == 0 || l2 >> 12 >= self.dom.info.ram_end_mfn {
            return false;
        }
        let mut changed = false;
        let bytes = (self.dom.info.m2p_entries * 4).min(M2P_END - M2P_VA);
        for offset in (0..bytes).step_by(LARGE as usize) {
            let bits = pte::P | pte::US | pte::A | pte::D | pte::PS | pte::NX;
            let wanted = (self.dom.info.m2p_gpa + offset) | bits;
            if let Some(word) = self.m.word(l2 + ((M2P_VA + offset) / LARGE % 512) * 8) {
                if word.load(Ordering::Relaxed) != wanted {
                    word.store(wanted, Ordering::Relaxed);
                    changed = true;
                }
            }
        }
        changed
    }

    /// After a fault at `va`: completes its L3 entry and the M2P window. True when that may have been the cause.
    pub(crate) fn repair_l3(&self, cr3: u64, va: u64) -> bool {
        let Some(l3) = self.l3_of(cr3).filter(|_| va < 4 * GIB) else {
            return false;
        };
        let completed = self.complete(l3 + va / GIB * 8);
        let installed = (M2P_VA..M2P_END).contains(&va) && self.install_m2p(l3);
        completed || installed
    }

    /// Machine address of the guest's L3 below the monitor's L4 at `cr3`.
    fn l3_of(&self, cr3: u64) -> Option<u64> {
        let value = self.m.word(cr3 & pte::ADDRESS)?.load(Ordering::Relaxed);
        (value & pte::P != 0).then_some(value & pte::ADDRESS)
    }
}

impl<M: Machine> Cpu<'_, M> {
    /// Machine address of the L4 of vCPU `id`.
    fn l4_of_vcpu(&self, id: u32) -> u64 {
        self.dom.info.compat_gpa + ((u64::from(id) * PAGES_PER_VCPU) << 12)
    }

    /// Puts a guest's L3 under the L4 of vCPU `id` and answers that L4; `None` when the frame is not guest RAM.
    pub(super) fn root_vcpu(&self, id: u32, mfn: u64) -> Option<u64> {
        if !self.tables().install_l3(mfn) {
            return None;
        }
        let l4 = self.l4_of_vcpu(id);
        for (i, slot) in self.dom.slots.iter().take(NR_SLOTS).enumerate() {
            self.m
                .word(l4 + (FIRST_SLOT + i) as u64 * 8)?
                .store(*slot, Ordering::Relaxed);
        }
        let entry = mfn << 12 | pte::P | pte::D | UPPER;
        self.m.word(l4)?.store(entry, Ordering::SeqCst);
        Some(l4)
    }

    /// MMUEXT_NEW_BASEPTR: the guest's L3 from now on. False when the frame is not guest RAM.
    pub(super) fn load_l3(&mut self, mfn: u64) -> bool {
        let Some(l4) = self.root_vcpu(self.v.id, mfn) else {
            return false;
        };
        self.v.kernel_cr3 = l4;
        self.v.user_cr3 = l4;
        self.m.set_cr3(l4);
        true
    }

    /// CR3 as the guest sees it: the frame of its L3, the upper bits folded into the lower ones.
    pub(crate) fn cr3_of_guest32(&self) -> u64 {
        let l3 = self.tables().l3_of(self.v.kernel_cr3).unwrap_or(0);
        u64::from(pfn_to_cr3_32((l3 >> 12) as u32))
    }

    /// The guest writes CR3; false when the frame is not guest RAM.
    pub(crate) fn write_cr3_of_guest32(&mut self, value: u64) -> bool {
        self.load_l3(u64::from(cr3_to_pfn_32(value as u32)))
    }
}
