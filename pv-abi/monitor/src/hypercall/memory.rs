//! `memory_op` (12): the memory map and the balloon (public/memory.h).
//!
//! Which frames the domain has is one bit per frame in the frame table, relative to boot:
//!
//! ```text
//!                 decrease                        host took the page
//!   owned ----------------------> LEAVING ------------------------------> free
//!     ^                                                                     |
//!     +------------------------- populate, increase, exchange --------------+
//! ```
//!
//! A frame is LEAVING while noxen-vmm takes its memory, so that no other vCPU gets it before that.

use super::{efault, Answer};
use crate::cpu::Cpu;
use crate::machine::Machine;
use crate::pagetable::frame;
use core::mem::offset_of;
use core::sync::atomic::{AtomicU64, AtomicU8, Ordering};
use noxen_monitor_abi::layout::{mfn_of_pfn, pfn_of_mfn, M2P_VA};
use noxen_monitor_abi::pages::{
    call, DomainPublic, CALL_DATA, DOMAIN_PUBLIC, FRAME_BALLOONED as BALLOONED,
    FRAME_LEAVING as LEAVING,
};
use noxen_pv_abi::domid::DomId;
use noxen_pv_abi::errno::Errno;
use noxen_pv_abi::memory::{
    E820Entry, E820Type, MachphysMapping64, MemoryMap64, MemoryOp, MemoryReservation64,
};
use noxen_pv_abi::segment::MACH2PHYS_VIRT_END_64;

/// M2P entry of a frame that the domain does not have.
pub const INVALID_M2P: u64 = !0;
/// Largest extent, 2^9 frames (Xen's limit for unprivileged domains).
pub(super) const MAX_ORDER: u32 = 9;
/// Frames that go to noxen-vmm in one call.
const BATCH: usize = CALL_DATA / 8 / 2;
/// Extents handled between two looks at what other vCPUs want.
const BREATH: u64 = 64;

/// Frames on their way back to the host.
pub(super) struct Batch {
    bytes: [u8; BATCH * 8],
    count: usize,
}

impl Batch {
    pub(super) fn new() -> Batch {
        Batch {
            bytes: [0; BATCH * 8],
            count: 0,
        }
    }

    fn mfns(&self) -> impl Iterator<Item = u64> + '_ {
        self.bytes.chunks_exact(8).take(self.count).map(|chunk| {
            chunk
                .first_chunk()
                .map_or(INVALID_M2P, |bytes| u64::from_le_bytes(*bytes))
        })
    }
}

impl<M: Machine> Cpu<'_, M> {
    /// `memory_op(cmd, arg)`.
    pub(super) fn memory_op(&mut self, args: &[u64; 6]) -> Answer {
        let [cmd, at, ..] = *args;
        let info = &self.dom.info;
        match MemoryOp(cmd as u32) {
            MemoryOp::MACHPHYS_MAPPING => {
                let answer = MachphysMapping64 {
                    v_start: M2P_VA,
                    v_end: MACH2PHYS_VIRT_END_64,
                    max_mfn: info.m2p_entries.saturating_sub(1),
                };
                self.write(at, &answer.to_bytes()).map_err(efault)?;
                Ok(0)
            }
            MemoryOp::MEMORY_MAP => self.memory_map(at),
            MemoryOp::DECREASE_RESERVATION => self.decrease_reservation(at),
            MemoryOp::INCREASE_RESERVATION => self.increase_reservation(at),
            MemoryOp::POPULATE_PHYSMAP => self.populate_physmap(at),
            MemoryOp::EXCHANGE => self.exchange(at),
            MemoryOp::CURRENT_RESERVATION => {
                self.own_domain(at)?;
                Ok(self.dom.pages.load(Ordering::Relaxed))
            }
            MemoryOp::MAXIMUM_RESERVATION => {
                self.own_domain(at)?;
                Ok(self.ceiling())
            }
            MemoryOp::MAXIMUM_RAM_PAGE => Ok(info.ram_end_mfn.saturating_sub(1)),
            MemoryOp::MAXIMUM_GPFN => {
                self.own_domain(at)?;
                // arch.max_pfn: what the guest says, or nothing.
                let said = self.said_max_pfn();
                Ok(said.clamp(1, info.m2p_entries.max(1)) - 1)
            }
            MemoryOp::MACHINE_MEMORY_MAP
            | MemoryOp::SET_MEMORY_MAP
            | MemoryOp::SET_POD_TARGET
            | MemoryOp::GET_POD_TARGET
            | MemoryOp::CLAIM_PAGES
            | MemoryOp::ACQUIRE_RESOURCE => Err(Errno::EPERM),
            _ => Err(Errno::ENOSYS),
        }
    }

    /// One flat RAM region from 0 up to the balloon's ceiling.
    fn memory_map(&self, at: u64) -> Answer {
        let asked = MemoryMap64::from_bytes(&self.read_array(at).map_err(efault)?);
        if asked.nr_entries < 1 {
            return Err(Errno::EINVAL);
        }
        let info = &self.dom.info;
        let ram = E820Entry {
            addr: 0,
            size: info.max_pages.max(info.nr_pages) << 12,
            kind: E820Type::RAM.0,
        };
        self.write(asked.buffer, &ram.to_bytes()).map_err(efault)?;
        self.write(
            at,
            &MemoryMap64 {
                nr_entries: 1,
                ..asked
            }
            .to_bytes(),
        )
        .map_err(efault)?;
        Ok(0)
    }

    /// Answers `EPERM` unless the u16 at `at` names the caller's domain.
    fn own_domain(&self, at: u64) -> Result<(), Errno> {
        let domid = u16::from_le_bytes(self.read_array(at).map_err(efault)?);
        if self.is_own(domid) {
            Ok(())
        } else {
            Err(Errno::EPERM)
        }
    }

    /// True for DOMID_SELF and for the domain's number.
    pub(super) fn is_own(&self, domid: u16) -> bool {
        domid == DomId::SELF.0 || u32::from(domid) == self.dom.info.domid
    }

    /// Reads a reservation; `None` when it asks for what cannot be (no extent is handled then).
    fn reservation(&self, at: u64) -> Result<Option<MemoryReservation64>, Errno> {
        let asked = MemoryReservation64::from_bytes(&self.read_array(at).map_err(efault)?);
        if !self.is_own(asked.domid) || asked.extent_order > MAX_ORDER {
            return Ok(None);
        }
        Ok(Some(asked))
    }

    /// XENMEM_decrease_reservation: answers the number of extents given back.
    fn decrease_reservation(&mut self, at: u64) -> Answer {
        let Some(asked) = self.reservation(at)? else {
            return Ok(0);
        };
        let mut batch = Batch::new();
        let mut done = 0;
        'extents: while done < asked.nr_extents {
            let Ok(first) = self.read_u64(asked.extent_start.wrapping_add(done * 8)) else {
                break;
            };
            for i in 0..1u64 << asked.extent_order {
                if !first
                    .checked_add(i)
                    .is_some_and(|mfn| self.begin_release(mfn, &mut batch))
                {
                    break 'extents;
                }
            }
            done += 1;
            self.breathe(done);
        }
        let released = self.flush_release(&mut batch);
        debug_assert!(released <= BATCH as u64);
        Ok(done)
    }

    /// XENMEM_populate_physmap: a frame for every pseudo-physical frame in the list, which gets replaced.
    fn populate_physmap(&mut self, at: u64) -> Answer {
        let Some(asked) = self.reservation(at)? else {
            return Ok(0);
        };
        let mut done = 0;
        while done < asked.nr_extents {
            let slot = asked.extent_start.wrapping_add(done * 8);
            let Ok(gpfn) = self.read_u64(slot) else { break };
            if !self.give_extent(slot, Some(gpfn), asked.extent_order) {
                break;
            }
            done += 1;
            self.breathe(done);
        }
        Ok(done)
    }

    /// XENMEM_increase_reservation: frames without a pseudo-physical number.
    fn increase_reservation(&mut self, at: u64) -> Answer {
        let Some(asked) = self.reservation(at)? else {
            return Ok(0);
        };
        let mut done = 0;
        while done < asked.nr_extents {
            let slot = match asked.extent_start {
                0 => 0,
                list => list.wrapping_add(done * 8),
            };
            if !self.give_extent(slot, None, asked.extent_order) {
                break;
            }
            done += 1;
            self.breathe(done);
        }
        Ok(done)
    }

    /// Gives the domain 2^`order` frames, writes the first one's number to `slot` (unless 0) and sets M2P.
    fn give_extent(&self, slot: u64, gpfn: Option<u64>, order: u32) -> bool {
        let count = 1u64 << order;
        if !self.reserve(count) {
            return false;
        }
        // The frame that had this number at boot, if it is to be had: then p2m stays the identity.
        let home = gpfn
            .filter(|gpfn| *gpfn < self.dom.info.m2p_entries)
            .map(mfn_of_pfn);
        let run = match home {
            Some(home) if home & (count - 1) == 0 && self.claim_run(home, count) => Some(home),
            _ => self.claim_any(count, self.dom.info.ram_end_mfn),
        };
        let Some(first) = run else {
            self.count_given(count);
            return false;
        };
        if slot != 0 && self.write(slot, &first.to_le_bytes()).is_err() {
            self.unclaim_run(first, count);
            self.count_given(count);
            return false;
        }
        for i in 0..count {
            self.set_m2p(
                first + i,
                gpfn.map_or(INVALID_M2P, |gpfn| gpfn.wrapping_add(i)),
            );
        }
        true
    }

    /// A word of [`DomainPublic`], which noxen-vmm shares.
    pub(crate) fn domain_public(&self, offset: usize) -> Option<&AtomicU64> {
        self.m
            .word(self.dom.info.public_gpa + DOMAIN_PUBLIC + offset as u64)
    }

    /// Most frames that the domain may have: as many as there is room for, or less if noxen-vmm says so.
    fn ceiling(&self) -> u64 {
        let room = self.dom.info.max_pages.max(self.dom.info.nr_pages);
        let said = self
            .domain_public(offset_of!(DomainPublic, ceiling))
            .map_or(0, |word| word.load(Ordering::Relaxed));
        match said {
            0 => room,
            said => said.min(room),
        }
    }

    /// Accounts `count` more frames; false at the domain's ceiling.
    fn reserve(&self, count: u64) -> bool {
        let ceiling = self.ceiling();
        let more = |have: u64| have.checked_add(count).filter(|sum| *sum <= ceiling);
        let done = self
            .dom
            .pages
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .is_ok();
        if done {
            self.publish_taken(count);
        }
        done
    }

    /// Accounts `count` more frames that are there whatever the ceiling says.
    pub(super) fn count_taken(&self, count: u64) {
        self.dom.pages.fetch_add(count, Ordering::Relaxed);
        self.publish_taken(count);
    }

    fn publish_taken(&self, count: u64) {
        if let Some(word) = self.domain_public(offset_of!(DomainPublic, pages)) {
            word.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// Accounts `count` frames less.
    fn count_given(&self, count: u64) {
        self.dom.pages.fetch_sub(count, Ordering::Relaxed);
        if let Some(word) = self.domain_public(offset_of!(DomainPublic, pages)) {
            word.fetch_sub(count, Ordering::Relaxed);
        }
    }

    /// Frame-table byte of a frame that can be guest RAM, and whether it was the domain's at boot.
    fn frame_byte(&self, mfn: u64) -> Option<(&AtomicU8, bool)> {
        let info = &self.dom.info;
        let pfn = pfn_of_mfn(mfn)?;
        if mfn >= info.ram_end_mfn || pfn >= info.max_pages.max(info.nr_pages) {
            return None;
        }
        Some((
            self.m.byte(info.frame_table_gpa + mfn)?,
            pfn < info.nr_pages,
        ))
    }

    /// The domain has this frame.
    pub(super) fn owns(&self, mfn: u64) -> bool {
        self.frame_byte(mfn).is_some_and(|(byte, at_boot)| {
            let flags = byte.load(Ordering::Relaxed);
            at_boot == (flags & BALLOONED == 0) && flags & LEAVING == 0
        })
    }

    /// Takes one free frame.
    fn claim(&self, mfn: u64) -> bool {
        let Some((byte, at_boot)) = self.frame_byte(mfn) else {
            return false;
        };
        let take = |flags: u8| {
            let free = at_boot != (flags & BALLOONED == 0);
            (free && flags & LEAVING == 0)
                .then_some((flags ^ BALLOONED) & !(frame::TABLE | frame::L4))
        };
        byte.fetch_update(Ordering::AcqRel, Ordering::Relaxed, take)
            .is_ok()
    }

    /// Takes `count` frames from `first`, all or none.
    pub(super) fn claim_run(&self, first: u64, count: u64) -> bool {
        for i in 0..count {
            if !self.claim(first + i) {
                self.unclaim_run(first, i);
                return false;
            }
        }
        true
    }

    /// Takes an aligned run of free frames below `limit`, a power of two long, wherever there is one.
    pub(super) fn claim_any(&self, count: u64, limit: u64) -> Option<u64> {
        let end = self.dom.info.ram_end_mfn.min(limit);
        let hint = self.dom.free_hint.load(Ordering::Relaxed).min(end) & !(count - 1);
        let mut at = hint;
        for pass in 0..2 {
            let stop = if pass == 0 { end } else { hint };
            while at < stop {
                if self.claim_run(at, count) {
                    self.dom.free_hint.store(at + count, Ordering::Relaxed);
                    return Some(at);
                }
                at += count;
                if at & 0xffff == 0 {
                    self.answer_flush();
                }
            }
            at = 0;
        }
        None
    }

    /// Frames that were claimed a moment ago are free again; their memory was never used.
    pub(super) fn unclaim_run(&self, first: u64, count: u64) {
        for i in 0..count {
            if let Some((byte, _)) = self.frame_byte(first + i) {
                byte.fetch_xor(BALLOONED, Ordering::AcqRel);
            }
        }
    }

    /// Puts an owned frame into `batch`; false when the domain does not have it.
    pub(super) fn begin_release(&self, mfn: u64, batch: &mut Batch) -> bool {
        let Some((byte, at_boot)) = self.frame_byte(mfn) else {
            return false;
        };
        let leave = |flags: u8| {
            let owned = at_boot == (flags & BALLOONED == 0);
            (owned && flags & LEAVING == 0).then_some(flags | LEAVING)
        };
        if byte
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, leave)
            .is_err()
        {
            return false;
        }
        self.set_m2p(mfn, INVALID_M2P);
        if batch.count == BATCH {
            self.flush_release(batch);
        }
        if let Some(slot) = batch.bytes.chunks_exact_mut(8).nth(batch.count) {
            slot.copy_from_slice(&mfn.to_le_bytes());
            batch.count += 1;
        }
        true
    }

    /// Gives the frames in `batch` to noxen-vmm and accounts them; answers how many.
    pub(super) fn flush_release(&self, batch: &mut Batch) -> u64 {
        let count = batch.count as u64;
        if count == 0 {
            return 0;
        }
        let bytes = batch.bytes.get(..batch.count * 8).unwrap_or(&[]);
        // If the host keeps the memory nothing is lost: the domain may still use it after a populate.
        self.vmm_call(call::RELEASE_FRAMES, &[count], bytes);
        for mfn in batch.mfns() {
            if let Some((byte, _)) = self.frame_byte(mfn) {
                let leave =
                    |flags: u8| Some((flags ^ BALLOONED) & !(LEAVING | frame::TABLE | frame::L4));
                let _ = byte.fetch_update(Ordering::AcqRel, Ordering::Relaxed, leave);
            }
        }
        batch.count = 0;
        self.count_given(count);
        count
    }

    /// Long lists must not keep other vCPUs waiting for a TLB flush.
    pub(crate) fn breathe(&self, done: u64) {
        if done.is_multiple_of(BREATH) {
            self.answer_flush();
        }
    }
}
