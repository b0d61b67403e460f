//! memory_op of an HVM guest, whose frames have the numbers of its own addresses.
//!
//! ```text
//!   add_to_physmap  shared_info -> a frame of its RAM is that from now on; what was in the old one is carried over
//!                               -> where it has no RAM (Xen's loader does so) Xen's page is shown, until it has another place
//!                   grant table, frame i -> shown where the guest wants it, outside of its RAM
//!   decrease_reservation, populate_physmap (balloon) -> holes in the file of its RAM, or not any more
//!   populate_physmap in the reserve (a loader's tables) -> is there already
//!   memory_map      -> as the machine was built
//! ```

use crate::domain::hub::lock;
use crate::domain::region::GRANT_FRAMES;
use crate::domain::reservation;
use crate::hvm::xen::pages::{GRANTS, RINGS, SHARED_INFO, STORE};
use crate::hvm::xen::params::is_self;
use crate::hvm::xen::processor::Processor;
use crate::hvm::xen::Xen;
use crate::log::Level;
use crate::vstate::memory::Piece;
use noxen_monitor::cpu::Cpu;
use noxen_monitor_abi::layout::{pfn_of_mfn, PAGE_SIZE};
use noxen_pv_abi::errno::Errno;
use noxen_pv_abi::memory::{
    AddToPhysmap64, E820Entry, MapSpace, MemoryMap64, MemoryOp, MemoryReservation64, MEMOP_CMD_MASK,
};
use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Range;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use vm_memory::GuestAddress;

/// Frames that one call gives back or takes, at most; the guest calls again.
const BATCH: u64 = 1 << 16;
/// Frames below 4 GiB.
const BELOW_4_GIB: u64 = (1 << 32) / PAGE_SIZE;
/// Number of shared_info among the frames that are shown, behind the grants'.
const SHOWN_INFO: u32 = GRANT_FRAMES;
/// Frames whose holes are made at once.
const CHUNK: usize = 512;

/// What the guest has of its memory.
#[derive(Debug)]
pub struct Reservation {
    file: Arc<File>,
    frames: u64,
    /// A bit for each frame that it gave back, and their number.
    gone: Mutex<(Vec<u64>, u64)>,
    /// Grant frames that are shown, and where.
    shown: Mutex<BTreeMap<u32, u64>>,
    /// Frames beside RAM that are the guest's if it asks for them.
    reserve: Range<u64>,
}

impl Reservation {
    /// All of `frames`, in `file`, and what of `reserve` it asks for.
    pub fn new(file: Arc<File>, frames: u64, reserve: Option<Piece>) -> Reservation {
        let frame = |piece: Piece| piece.gpa / PAGE_SIZE..(piece.gpa + piece.len) / PAGE_SIZE;
        Reservation {
            reserve: reserve.map_or(0..0, frame),
            file,
            frames,
            gone: Mutex::default(),
            shown: Mutex::default(),
        }
    }

    /// Frames that the guest has.
    pub fn pages(&self) -> u64 {
        self.frames - lock(&self.gone).1
    }

    /// Frame `gfn` changes hands; false where it is no RAM or does not.
    fn turn(&self, gfn: u64, back: bool) -> bool {
        if self.reserve.contains(&gfn) {
            return back;
        }
        let Some(pfn) = pfn_of_mfn(gfn).filter(|pfn| *pfn < self.frames) else {
            return false;
        };
        let mut gone = lock(&self.gone);
        let (words, count) = &mut *gone;
        if words.is_empty() {
            words.resize(self.frames.div_ceil(64) as usize, 0);
        }
        let (word, bit) = (&mut words[(pfn / 64) as usize], 1u64 << (pfn % 64));
        if (*word & bit != 0) != back {
            return false;
        }
        *word ^= bit;
        if back {
            *count -= 1;
        } else {
            *count += 1;
        }
        true
    }
}

impl Xen {
    /// Shows the pages of xenstore's ring and the console's.
    pub(super) fn show_rings(&self) -> Result<(), String> {
        let from = GuestAddress(STORE);
        self.host.show(0, &self.memory, from, Some(STORE), RINGS)
    }

    pub(super) fn memory_op(
        &self,
        cpu: &mut Cpu<'_, Processor<'_>>,
        args: &[u64; 6],
    ) -> Result<u64, Errno> {
        let [cmd, at, ..] = *args;
        let done = u64::from(cmd as u32 & !MEMOP_CMD_MASK) >> 6;
        match MemoryOp(cmd as u32 & MEMOP_CMD_MASK) {
            MemoryOp::ADD_TO_PHYSMAP => {
                let asked =
                    AddToPhysmap64::from_bytes(&cpu.read_array(at).map_err(|_| Errno::EFAULT)?);
                if !is_self(cpu, asked.domid) {
                    return Err(Errno::EPERM);
                }
                match MapSpace(asked.space) {
                    MapSpace::SHARED_INFO if asked.idx == 0 => {
                        self.place_shared_info(cpu, asked.gpfn)
                    }
                    MapSpace::SHARED_INFO => Err(Errno::EINVAL),
                    MapSpace::GRANT_TABLE => self.show_grants(asked.idx, asked.gpfn),
                    _ => Err(Errno::ENOSYS),
                }
            }
            MemoryOp::DECREASE_RESERVATION => self.change(cpu, at, done, false),
            MemoryOp::POPULATE_PHYSMAP => self.change(cpu, at, done, true),
            MemoryOp::MEMORY_MAP => self.memory_map(cpu, at),
            MemoryOp::CURRENT_RESERVATION => Ok(self.reservation.pages()),
            MemoryOp::MAXIMUM_RESERVATION => Ok(self.reservation.frames),
            MemoryOp::MAXIMUM_GPFN | MemoryOp::MAXIMUM_RAM_PAGE => Ok(self.ram_end() - 1),
            _ => Err(Errno::ENOSYS),
        }
    }

    /// Writes as many entries as there is room for.
    fn memory_map(&self, cpu: &mut Cpu<'_, Processor<'_>>, at: u64) -> Result<u64, Errno> {
        if self.drivers.map.is_empty() {
            return Err(Errno::ENOSYS);
        }
        let read = cpu.read_array(at).map_err(|_| Errno::EFAULT)?;
        let asked = MemoryMap64::from_bytes(&read);
        let mut written = 0;
        for entry in self.drivers.map.iter().take(asked.nr_entries as usize) {
            let offset = u64::from(written) * E820Entry::SIZE as u64;
            let place = asked.buffer.wrapping_add(offset);
            let put = cpu.write(place, &entry.to_bytes());
            put.map_err(|_| Errno::EFAULT)?;
            written += 1;
        }
        let answer = MemoryMap64 {
            nr_entries: written,
            ..asked
        };
        let put = cpu.write(at, &answer.to_bytes());
        put.map_err(|_| Errno::EFAULT)?;
        Ok(0)
    }

    /// Shows Xen's own page of shared_info where the guest has no RAM, or nowhere any more.
    fn show_shared_info(&self, at: Option<u64>) -> Result<(), Errno> {
        let mut shown = lock(&self.reservation.shown);
        if at.is_none() && !shown.contains_key(&SHOWN_INFO) {
            return Ok(());
        }
        let from = GuestAddress(SHARED_INFO);
        let show = |at| {
            let number = 1 + SHOWN_INFO;
            self.host.show(number, &self.memory, from, at, PAGE_SIZE)
        };
        // A slot is taken off before it is put elsewhere.
        if shown.remove(&SHOWN_INFO).is_some() && show(None).is_err() {
            return Err(Errno::EINVAL);
        }
        let Some(at) = at else { return Ok(()) };
        if let Err(error) = show(Some(at)) {
            self.hub.log.guest_line(
                Level::Warning,
                format_args!("shared_info cannot be at {at:#x}: {error}"),
            );
            return Err(Errno::EINVAL);
        }
        shown.insert(SHOWN_INFO, at);
        Ok(())
    }

    fn place_shared_info(&self, cpu: &mut Cpu<'_, Processor<'_>>, gpfn: u64) -> Result<u64, Errno> {
        let is_ram = pfn_of_mfn(gpfn).is_some_and(|pfn| pfn < self.reservation.frames);
        if gpfn == 0 || !is_ram && gpfn >= BELOW_4_GIB {
            return Err(Errno::EINVAL);
        }
        let to = match is_ram {
            true => gpfn * PAGE_SIZE,
            false => {
                self.show_shared_info(Some(gpfn * PAGE_SIZE))?;
                SHARED_INFO
            }
        };
        let before = match self.shared_info.load(Ordering::SeqCst) {
            0 => SHARED_INFO,
            before => before,
        };
        if before == to && is_ram {
            return Ok(0);
        }
        if before != to {
            self.carry_shared_info(cpu, before, to)?;
        }
        if is_ram {
            self.show_shared_info(None)?;
        }
        cpu.publish_wallclock();
        for id in 0..self.dom.info.nr_vcpus {
            // A vCPU that has its vcpu_info in the page finds whatever was raised during the change.
            let here = |vcpu: &noxen_monitor::domain::VcpuShared| {
                (SHARED_INFO..SHARED_INFO + PAGE_SIZE)
                    .contains(&vcpu.vcpu_info.load(Ordering::SeqCst))
            };
            if self.dom.vcpu(id).is_some_and(here) {
                cpu.look_again(id);
            }
        }
        cpu.publish_time();
        Ok(0)
    }

    /// What was in the page at `before` is at `to` from now on.
    fn carry_shared_info(
        &self,
        cpu: &Cpu<'_, Processor<'_>>,
        before: u64,
        to: u64,
    ) -> Result<(), Errno> {
        for offset in (0..PAGE_SIZE).step_by(8) {
            let (from, into) = (cpu.m.unmoved(before + offset), cpu.m.unmoved(to + offset));
            let (from, into) = from.zip(into).ok_or(Errno::EINVAL)?;
            into.store(from.load(Ordering::SeqCst), Ordering::SeqCst);
        }
        let place = if to == SHARED_INFO { 0 } else { to };
        self.shared_info.store(place, Ordering::SeqCst);
        // Ports that became pending meanwhile did so in the old place.
        let first = self.dom.shape.pending;
        for offset in (first..first + u64::from(self.dom.shape.ports / 8)).step_by(8) {
            let late = cpu.m.unmoved(before + offset);
            if let (Some(from), Some(into)) = (late, cpu.m.unmoved(to + offset)) {
                into.fetch_or(from.load(Ordering::SeqCst), Ordering::SeqCst);
            }
        }
        Ok(())
    }

    fn show_grants(&self, index: u64, gpfn: u64) -> Result<u64, Errno> {
        let index = u32::try_from(index).map_err(|_| Errno::EINVAL)?;
        if index >= GRANT_FRAMES {
            return Err(Errno::EINVAL);
        }
        let at = gpfn.checked_mul(PAGE_SIZE).ok_or(Errno::EINVAL)?;
        if pfn_of_mfn(gpfn).is_some_and(|pfn| pfn < self.reservation.frames) {
            self.hub.log.guest_line(
                Level::Warning,
                "the guest wants its grant table where its RAM is, which is not built yet",
            );
            return Err(Errno::ENOSYS);
        }
        let from = GuestAddress(GRANTS + u64::from(index) * PAGE_SIZE);
        let mut shown = lock(&self.reservation.shown);
        if shown.get(&index) == Some(&at) {
            return Ok(0);
        }
        let show = |at| self.host.show(1 + index, &self.memory, from, at, PAGE_SIZE);
        // A slot is taken off before it is put elsewhere.
        if shown.remove(&index).is_some() && show(None).is_err() {
            return Err(Errno::EINVAL);
        }
        if let Err(error) = show(Some(at)) {
            self.hub.log.guest_line(
                Level::Warning,
                format_args!("grant frame {index} cannot be at {at:#x}: {error}"),
            );
            return Err(Errno::EINVAL);
        }
        shown.insert(index, at);
        self.dom
            .grant_frames
            .fetch_max(index + 1, Ordering::Relaxed);
        Ok(0)
    }

    /// The guest gives frames back, or takes them `back`; answers how many extents.
    fn change(
        &self,
        cpu: &mut Cpu<'_, Processor<'_>>,
        at: u64,
        done: u64,
        back: bool,
    ) -> Result<u64, Errno> {
        let read = cpu.read_array(at).map_err(|_| Errno::EFAULT)?;
        let asked = MemoryReservation64::from_bytes(&read);
        if !is_self(cpu, asked.domid) {
            return Err(Errno::EPERM);
        }
        // Linux gives single frames; Xen lets no guest have more than 2 MiB at once by default.
        if asked.extent_order > 9 {
            return Err(Errno::EPERM);
        }
        let last = asked.nr_extents.min(done.saturating_add(BATCH));
        let mut extents = done.min(last);
        let mut list = Vec::new();
        'all: while extents < last {
            let place = asked.extent_start.wrapping_add(extents * 8);
            let Ok(first) = cpu.read_u64(place) else {
                break;
            };
            let count = 1u64 << asked.extent_order;
            for index in 0..count {
                let gfn = first.checked_add(index);
                if !gfn.is_some_and(|gfn| self.reservation.turn(gfn, back)) {
                    // What of this extent went through goes back.
                    for gfn in first..first.saturating_add(index) {
                        self.reservation.turn(gfn, !back);
                    }
                    break 'all;
                }
            }
            if !back {
                for index in 0..count {
                    list.extend((first + index).to_le_bytes());
                }
                if list.len() >= CHUNK * 8 {
                    self.punch(&mut list);
                }
            }
            extents += 1;
        }
        self.punch(&mut list);
        Ok(extents)
    }

    fn punch(&self, list: &mut Vec<u8>) {
        if !list.is_empty()
            && !reservation::release(&self.reservation.file, self.reservation.frames, list)
        {
            self.hub.log.guest_line(
                Level::Warning,
                "memory that the guest gave back could not be given to the host",
            );
        }
        list.clear();
    }
}
