//! [`Cpu`]: a vCPU at work: its processor, its private state and the domain it belongs to.

use crate::domain::{attention, place, Domain, Guard, SpinLock, VcpuShared};
use crate::machine::{Fault, Machine};
use crate::vcpu::Vcpu;
use core::sync::atomic::{AtomicU8, Ordering};
use noxen_monitor_abi::counters::other;
use noxen_monitor_abi::layout::{HOLE_END, HOLE_START};

/// Turns of a wait for another vCPU before the processor is offered to it.
pub const PATIENCE: u32 = 512;

/// A vCPU at work.
pub struct Cpu<'a, M: Machine> {
    /// The processor.
    pub m: &'a M,
    /// Shared state.
    pub dom: &'a Domain,
    /// Private state.
    pub v: &'a mut Vcpu,
}

/// vcpu_info (public/xen.h): byte offsets that 64- and 32-bit guests have in common ([`crate::shape`] has the others).
pub mod info {
    /// evtchn_upcall_pending, u8.
    pub const PENDING: u64 = 0;
    /// evtchn_upcall_mask, u8.
    pub const MASK: u64 = 1;
    /// time, 32 bytes.
    pub const TIME: u64 = 32;
}

impl<M: Machine> Cpu<'_, M> {
    /// What other vCPUs see of this one.
    pub fn shared(&self) -> &VcpuShared {
        &self.dom.vcpus[self.v.id as usize % self.dom.vcpus.len()]
    }

    /// Reads guest-linear memory; addresses in the hypervisor's hole fault.
    pub fn read(&self, va: u64, buf: &mut [u8]) -> Result<(), Fault> {
        match access_ok(va, buf.len() as u64) {
            Ok(()) => self.m.read_guest(va, buf),
            Err(Fault) => self.read_scratch(va, buf),
        }
    }

    /// Writes guest-linear memory; addresses in the hypervisor's hole fault.
    pub fn write(&self, va: u64, bytes: &[u8]) -> Result<(), Fault> {
        match access_ok(va, bytes.len() as u64) {
            Ok(()) => self.m.write_guest(va, bytes),
            Err(Fault) => self.write_scratch(va, bytes),
        }
    }

    /// Reads `N` bytes.
    pub fn read_array<const N: usize>(&self, va: u64) -> Result<[u8; N], Fault> {
        let mut bytes = [0; N];
        self.read(va, &mut bytes)?;
        Ok(bytes)
    }

    /// Reads a little-endian u32.
    pub fn read_u32(&self, va: u64) -> Result<u32, Fault> {
        Ok(u32::from_le_bytes(self.read_array(va)?))
    }

    /// Reads a little-endian u64.
    pub fn read_u64(&self, va: u64) -> Result<u64, Fault> {
        Ok(u64::from_le_bytes(self.read_array(va)?))
    }

    /// Byte `offset` of the vcpu_info in force.
    fn info_byte(&self, offset: u64) -> Option<&AtomicU8> {
        self.m.byte(self.v.vcpu_info + offset)
    }

    /// Events are masked ("non-zero means masked"; some guests store 0xff).
    pub fn events_masked(&self) -> bool {
        self.info_byte(info::MASK)
            .is_none_or(|mask| mask.load(Ordering::Relaxed) != 0)
    }

    /// Masks or unmasks events.
    pub fn mask_events(&self, masked: bool) {
        if let Some(mask) = self.info_byte(info::MASK) {
            mask.store(masked as u8, Ordering::SeqCst);
        }
    }

    /// An upcall is pending.
    pub fn events_pending(&self) -> bool {
        self.info_byte(info::PENDING)
            .is_some_and(|pending| pending.load(Ordering::SeqCst) != 0)
    }

    /// From guest user space to guest kernel: GS bases and page table.
    pub fn to_kernel(&mut self) {
        if !self.v.kernel_mode {
            self.v.kernel_mode = true;
            self.m.swap_gs();
            self.m.set_cr3(self.v.kernel_cr3);
        }
    }

    /// From guest kernel to guest user space; false when there is no user page table.
    pub fn to_user(&mut self) -> bool {
        if self.v.user_cr3 == 0 {
            return false;
        }
        if self.v.kernel_mode {
            self.v.kernel_mode = false;
            self.m.swap_gs();
            self.m.set_cr3(self.v.user_cr3);
        }
        true
    }

    /// The page table in force for the guest's present mode.
    pub fn guest_cr3(&self) -> u64 {
        if self.v.kernel_mode {
            self.v.kernel_cr3
        } else {
            self.v.user_cr3
        }
    }

    /// Takes the lock of the event-channel table. Nothing that leaves for the host is done under it: a vCPU that
    /// loses its processor there makes the others wait for as long.
    pub fn lock_events(&self) -> Guard<'_> {
        self.take(&self.dom.event_lock)
    }

    /// Takes the lock of vCPU bring-up.
    pub fn lock_vcpus(&self) -> Guard<'_> {
        self.take(&self.dom.vcpu_lock)
    }

    fn take<'l>(&self, lock: &'l SpinLock) -> Guard<'l> {
        let mut turns = 0u32;
        lock.lock(self.v.id, |holder| {
            turns = turns.wrapping_add(1);
            self.wait_a_little();
            if turns.is_multiple_of(self.patience()) {
                self.give_way(holder);
            }
        })
    }

    /// Asks another vCPU (or this one) to look at `bits` before it returns to its guest.
    pub fn poke(&self, id: u32, bits: u32) {
        let Some(target) = self.dom.vcpu(id) else {
            return;
        };
        target.attention.fetch_or(bits, Ordering::SeqCst);
        // One that polls sees the flags by itself, and looks at them once more when it has said that it does not any longer.
        let needs_interrupt =
            id != self.v.id && target.place.load(Ordering::SeqCst) != place::POLLING;
        if needs_interrupt && !target.kicked.swap(true, Ordering::SeqCst) {
            self.count_other(other::IPI);
            self.m.ipi(id);
        }
    }

    /// Pokes the vCPUs in `mask`, for what was raised under the event lock.
    pub fn kick(&self, mask: u64) {
        for id in bits(mask) {
            match M::HVM {
                true => self.m.ipi(id),
                false => self.poke(id, attention::EVENT),
            }
        }
    }

    /// One turn of a wait for another vCPU: answers flushes asked of this one, so that two waiting
    /// vCPUs cannot block each other.
    pub fn wait_a_little(&self) {
        self.answer_flush();
        self.m.relax();
    }

    /// Offers the processor to a vCPU that is waited for, unless that one has another.
    pub fn give_way(&self, id: u32) {
        if self.lost_processor(id) {
            self.m.yield_cpu(id);
        }
    }

    /// Does a TLB flush that others wait for.
    pub fn answer_flush(&self) {
        let me = self.shared();
        let wanted = me.flush_wanted.load(Ordering::SeqCst);
        if wanted != me.flush_done.load(Ordering::Relaxed) {
            self.m.set_cr3(self.m.cr3());
            me.flush_done.store(wanted, Ordering::SeqCst);
        }
    }

    /// Flushes the TLBs of the vCPUs in `mask` (bit n: vCPU n), this one included, and waits.
    pub fn flush_vcpus(&self, mask: u64) {
        let me = self.v.id;
        if mask >> me & 1 != 0 {
            self.m.set_cr3(self.m.cr3());
        }
        let others = mask & !(1 << me) & mask_of(self.dom.info.nr_vcpus);
        if others == 0 {
            return;
        }
        self.count_other(other::REMOTE_FLUSH);
        let mut tickets = [0u64; noxen_monitor_abi::layout::MAX_VCPUS];
        let mut waiting = 0u64;
        for id in bits(others) {
            let Some(target) = self.dom.vcpu(id) else {
                continue;
            };
            if self.m.leave_flush(id) {
                continue;
            }
            tickets[id as usize] = target.flush_wanted.fetch_add(1, Ordering::SeqCst) + 1;
            target
                .attention
                .fetch_or(attention::FLUSH, Ordering::SeqCst);
            // A vCPU that is not in its guest flushes before it goes back there.
            if target.place.load(Ordering::SeqCst) == place::RUNNING {
                waiting |= 1 << id;
                if !target.kicked.swap(true, Ordering::SeqCst) {
                    self.count_other(other::IPI);
                    self.m.ipi(id);
                }
            }
        }
        for id in bits(waiting) {
            let Some(target) = self.dom.vcpu(id) else {
                continue;
            };
            let (mut turns, patience) = (0u32, self.patience());
            while target.flush_done.load(Ordering::SeqCst) < tickets[id as usize]
                && target.place.load(Ordering::SeqCst) == place::RUNNING
            {
                turns += 1;
                self.wait_a_little();
                if turns.is_multiple_of(patience) {
                    self.give_way(id);
                }
            }
        }
    }
}

/// vCPU numbers whose bit is set.
pub fn bits(mut mask: u64) -> impl Iterator<Item = u32> {
    core::iter::from_fn(move || {
        if mask == 0 {
            return None;
        }
        let bit = mask.trailing_zeros();
        mask &= mask - 1;
        Some(bit)
    })
}

/// Mask of the first `n` vCPUs.
pub fn mask_of(n: u32) -> u64 {
    if n >= 64 {
        !0
    } else {
        (1 << n) - 1
    }
}

fn access_ok(va: u64, len: u64) -> Result<(), Fault> {
    let end = va.checked_add(len).ok_or(Fault)?;
    if va < HOLE_END && end > HOLE_START {
        return Err(Fault);
    }
    Ok(())
}
