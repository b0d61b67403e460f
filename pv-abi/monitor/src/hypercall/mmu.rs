//! mmu_update, update_va_mapping, mmuext_op (public/xen.h).
//!
//! No validation (see [`crate::pagetable`]); the frames written must be guest RAM, the monitor's L4 slots
//! are never the guest's to change.

use super::{efault, Answer};
use crate::cpu::{mask_of, Cpu};
use crate::machine::Machine;
use crate::pagetable::{frame, pte};
use core::sync::atomic::Ordering;
use noxen_pv_abi::domid::DomId;
use noxen_pv_abi::errno::Errno;
use noxen_pv_abi::mmu::{
    MmuUpdate, MmuUpdateKind, MmuextCmd, MmuextOp64, MMU_UPDATE_PREEMPTED, UVMF_ALL,
    UVMF_FLUSHTYPE_MASK, UVMF_INVLPG, UVMF_TLB_FLUSH,
};

impl<M: Machine> Cpu<'_, M> {
    fn is_self(&self, domid: u64) -> bool {
        let domid = domid as u16;
        domid == DomId::SELF.0 || domid == self.own_domid()
    }

    /// mmu_update(requests, count, done, foreigndom).
    pub(super) fn mmu_update(&mut self, args: &[u64; 6]) -> Answer {
        let [list, count, done, dom, ..] = *args;
        let count = count as u32 & !MMU_UPDATE_PREEMPTED;
        // DOMID_IO names frames that are nobody's RAM; a domU has none.
        let table_owner = dom >> 16 & 0xffff;
        if !self.is_self(dom) || (table_owner != 0 && !self.is_self(table_owner - 1)) {
            return Err(Errno::ESRCH);
        }
        let mut finished = 0;
        let mut answer = Ok(0);
        while finished < count {
            let at = list.wrapping_add(u64::from(finished) * MmuUpdate::SIZE as u64);
            let request = match self.read_array(at) {
                Ok(bytes) => MmuUpdate::from_bytes(&bytes),
                Err(_) => {
                    answer = Err(Errno::EFAULT);
                    break;
                }
            };
            if let Err(errno) = self.mmu_update_one(&request) {
                answer = Err(errno);
                break;
            }
            finished += 1;
            if finished % 256 == 0 {
                self.answer_flush();
            }
        }
        if done != 0 {
            self.write(done, &finished.to_le_bytes()).map_err(efault)?;
        }
        answer
    }

    fn mmu_update_one(&self, request: &MmuUpdate) -> Result<(), Errno> {
        match request.kind() {
            MmuUpdateKind::MACHPHYS_UPDATE => {
                let mfn = request.address() >> 12;
                if mfn >= self.dom.info.ram_end_mfn {
                    return Err(Errno::EINVAL);
                }
                self.set_m2p(mfn, request.val);
                Ok(())
            }
            kind => self.write_entry(
                request.address() & !7,
                request.val,
                kind == MmuUpdateKind::PT_UPDATE_PRESERVE_AD,
            ),
        }
    }

    /// Writes a page-table entry at a machine address.
    fn write_entry(&self, maddr: u64, value: u64, preserve_ad: bool) -> Result<(), Errno> {
        if maddr >> 12 >= self.dom.info.ram_end_mfn {
            return Err(Errno::EINVAL);
        }
        if self.tables().is_monitor_slot(maddr) {
            // Linux copies whole L4 pages with zeros in these slots: nothing to do, nothing to refuse.
            return Ok(());
        }
        let word = self.m.word(maddr).ok_or(Errno::EINVAL)?;
        let value = self.tables().stored(value);
        if !preserve_ad {
            word.store(value, Ordering::SeqCst);
            return Ok(());
        }
        // The processor may set A or D at any moment: only what it set last counts.
        let _ = word.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |old| {
            Some(value | old & (pte::A | pte::D))
        });
        Ok(())
    }

    /// update_va_mapping(va, value, flags).
    pub(super) fn update_va_mapping(&mut self, args: &[u64; 6]) -> Answer {
        let [va, value, flags, ..] = *args;
        let at = self
            .tables()
            .l1_entry(self.v.kernel_cr3, va)
            .ok_or(Errno::EINVAL)?;
        self.write_entry(at, value, false)?;
        match flags & UVMF_FLUSHTYPE_MASK {
            UVMF_TLB_FLUSH => match self.flush_targets(flags & !UVMF_FLUSHTYPE_MASK)? {
                Some(mask) => self.flush_vcpus(mask),
                None => self.m.set_cr3(self.m.cr3()),
            },
            UVMF_INVLPG => match self.flush_targets(flags & !UVMF_FLUSHTYPE_MASK)? {
                Some(mask) => self.flush_vcpus(mask),
                None => self.m.invlpg(va),
            },
            _ => {}
        }
        Ok(0)
    }

    /// Whom a UVMF flag word names: `None` this vCPU only, else a mask.
    fn flush_targets(&self, rest: u64) -> Result<Option<u64>, Errno> {
        match rest {
            0 => Ok(None),
            UVMF_ALL => Ok(Some(!0)),
            pointer => self.read_vcpu_mask(pointer).map(Some),
        }
    }

    /// A bitmap of vCPUs in guest memory, as many bytes as the domain's vCPUs need.
    fn read_vcpu_mask(&self, va: u64) -> Result<u64, Errno> {
        let nr = self.dom.info.nr_vcpus;
        let bytes = (nr as usize).div_ceil(8).min(8);
        let mut mask = [0u8; 8];
        self.read(va, &mut mask[..bytes]).map_err(efault)?;
        Ok(u64::from_le_bytes(mask) & mask_of(nr))
    }

    /// mmuext_op(operations, count, done, domid).
    pub(super) fn mmuext_op(&mut self, args: &[u64; 6]) -> Answer {
        let [list, count, done, dom, ..] = *args;
        let count = count as u32 & !MMU_UPDATE_PREEMPTED;
        if !self.is_self(dom) {
            return Err(Errno::ESRCH);
        }
        let mut finished = 0;
        let mut answer = Ok(0);
        while finished < count {
            let at = list.wrapping_add(u64::from(finished) * MmuextOp64::SIZE as u64);
            let op = match self.read_array(at) {
                Ok(bytes) => MmuextOp64::from_bytes(&bytes),
                Err(_) => {
                    answer = Err(Errno::EFAULT);
                    break;
                }
            };
            if let Err(errno) = self.mmuext_one(&op) {
                answer = Err(errno);
                break;
            }
            finished += 1;
        }
        if done != 0 {
            self.write(done, &finished.to_le_bytes()).map_err(efault)?;
        }
        answer
    }

    fn mmuext_one(&mut self, op: &MmuextOp64) -> Result<(), Errno> {
        let (arg1, arg2) = (op.arg1, op.arg2);
        match MmuextCmd(op.cmd) {
            MmuextCmd::PIN_L1_TABLE | MmuextCmd::PIN_L2_TABLE | MmuextCmd::PIN_L3_TABLE => self
                .tables()
                .mark_frame(arg1, frame::TABLE, 0)
                .then_some(())
                .ok_or(Errno::EINVAL),
            MmuextCmd::PIN_L4_TABLE => {
                if !self.tables().install_l4(arg1) {
                    return Err(Errno::EINVAL);
                }
                // Guests pin L4 and L1 tables; what lies between is found by walking the kernel half.
                self.tables().mark_kernel_tables(arg1);
                Ok(())
            }
            MmuextCmd::UNPIN_TABLE => self
                .tables()
                .mark_frame(arg1, 0, frame::TABLE | frame::L4)
                .then_some(())
                .ok_or(Errno::EINVAL),
            MmuextCmd::NEW_BASEPTR => {
                if !self.tables().install_l4(arg1) {
                    return Err(Errno::EINVAL);
                }
                self.tables().mark_tables_of_low_kernel(arg1);
                self.v.kernel_cr3 = arg1 << 12;
                self.m.set_cr3(self.v.kernel_cr3);
                Ok(())
            }
            MmuextCmd::NEW_USER_BASEPTR => {
                if arg1 != 0 && !self.tables().install_l4(arg1) {
                    return Err(Errno::EINVAL);
                }
                self.v.user_cr3 = arg1 << 12;
                Ok(())
            }
            MmuextCmd::TLB_FLUSH_LOCAL => {
                self.m.set_cr3(self.m.cr3());
                Ok(())
            }
            MmuextCmd::INVLPG_LOCAL => {
                self.m.invlpg(arg1);
                Ok(())
            }
            MmuextCmd::TLB_FLUSH_MULTI | MmuextCmd::INVLPG_MULTI => {
                let mask = self.read_vcpu_mask(arg2)?;
                self.flush_vcpus(mask);
                Ok(())
            }
            MmuextCmd::TLB_FLUSH_ALL | MmuextCmd::INVLPG_ALL => {
                self.flush_vcpus(!0);
                Ok(())
            }
            // Memory types are the host's business: nothing to write back.
            MmuextCmd::FLUSH_CACHE | MmuextCmd::FLUSH_CACHE_GLOBAL => Ok(()),
            MmuextCmd::SET_LDT => self.set_ldt(arg1, arg2),
            MmuextCmd::CLEAR_PAGE => (self.is_ram(arg1) && self.m.clear_frame(arg1))
                .then_some(())
                .ok_or(Errno::EINVAL),
            MmuextCmd::COPY_PAGE => {
                (self.is_ram(arg1) && self.is_ram(arg2) && self.m.copy_frame(arg1, arg2))
                    .then_some(())
                    .ok_or(Errno::EINVAL)
            }
            MmuextCmd::MARK_SUPER | MmuextCmd::UNMARK_SUPER => Err(Errno::EOPNOTSUPP),
            _ => Err(Errno::ENOSYS),
        }
    }

    fn is_ram(&self, mfn: u64) -> bool {
        mfn < self.dom.info.ram_end_mfn
    }

    /// MMUEXT_SET_LDT; pages are mapped when a selector load first touches them.
    fn set_ldt(&mut self, base: u64, entries: u64) -> Result<(), Errno> {
        if entries > 8192 || (entries != 0 && base & 0xfff != 0) {
            return Err(Errno::EINVAL);
        }
        if entries == 0 && self.v.ldt_entries == 0 {
            return Ok(());
        }
        for page in 0..16 {
            self.m.set_ldt_page(page, None);
        }
        self.v.ldt_base = base;
        self.v.ldt_entries = entries as u32;
        self.m.set_ldt(entries as u32);
        Ok(())
    }
}
