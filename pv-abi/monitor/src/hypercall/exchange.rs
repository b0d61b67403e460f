//! XENMEM_exchange: scattered frames for contiguous ones, or the other way round.
//!
//! One *chunk* is as many frames as the larger of the two extents. If the frames of a chunk are, in any
//! order, exactly an aligned run that satisfies the caller, they are handed out again in the new order;
//! otherwise a free run replaces them and they go back to the host.

use super::memory::{Batch, MAX_ORDER};
use super::{efault, Answer};
use crate::cpu::Cpu;
use crate::machine::Machine;
use noxen_pv_abi::errno::Errno;
use noxen_pv_abi::memory::{MemoryExchange64, MemoryReservation64};

/// Offset of `nr_exchanged`.
const NR_EXCHANGED: u64 = core::mem::offset_of!(MemoryExchange64, nr_exchanged) as u64;

impl<M: Machine> Cpu<'_, M> {
    /// XENMEM_exchange. `nr_exchanged` counts input extents, also when an error ends the call early.
    pub(super) fn exchange(&mut self, at: u64) -> Answer {
        let asked = MemoryExchange64::from_bytes(&self.read_array(at).map_err(efault)?);
        let (input, output) = (asked.input, asked.output);
        let order = input.extent_order.max(output.extent_order);
        if order > MAX_ORDER {
            return Err(Errno::EPERM);
        }
        if !self.is_own(input.domid) || input.domid != output.domid {
            return Err(Errno::EPERM);
        }
        let frames = |side: &MemoryReservation64| {
            let count = side.nr_extents.checked_mul(1 << side.extent_order);
            count.filter(|count| *count <= self.dom.info.m2p_entries)
        };
        let total = frames(&input).ok_or(Errno::EINVAL)?;
        if frames(&output) != Some(total)
            || asked.nr_exchanged > input.nr_extents
            || total & ((1 << order) - 1) != 0
        {
            return Err(Errno::EINVAL);
        }
        let per_chunk = 1u64 << (order - input.extent_order);
        if !asked.nr_exchanged.is_multiple_of(per_chunk) {
            return Err(Errno::EINVAL);
        }
        let mut exchanged = asked.nr_exchanged;
        let mut batch = Batch::new();
        let mut result = Ok(0);
        while exchanged < input.nr_extents {
            if let Err(errno) =
                self.exchange_chunk(&input, &output, order, exchanged / per_chunk, &mut batch)
            {
                result = Err(errno);
                break;
            }
            exchanged += per_chunk;
            self.breathe(exchanged);
        }
        let released = self.flush_release(&mut batch);
        debug_assert!(released <= total);
        self.write(at.wrapping_add(NR_EXCHANGED), &exchanged.to_le_bytes())
            .map_err(efault)?;
        result
    }

    fn exchange_chunk(
        &self,
        input: &MemoryReservation64,
        output: &MemoryReservation64,
        order: u32,
        chunk: u64,
        batch: &mut Batch,
    ) -> Result<(), Errno> {
        let count = 1u64 << order;
        // Bits 0-7 of the flags: address bits the caller can live with, 0 for any.
        let limit = match output.mem_flags & 0xff {
            0 => !0,
            bits => 1u64.checked_shl(bits.saturating_sub(12)).unwrap_or(!0),
        };
        let given = |i: u64| self.frame_of(input, order, chunk, i);
        let base = given(0)? & !(count - 1);
        let mut seen = [0u64; 8];
        let mut run = base + count <= limit;
        for i in 0..count {
            let mfn = given(i)?;
            if !self.owns(mfn) {
                return Err(Errno::EINVAL);
            }
            let index = mfn.wrapping_sub(base);
            match seen.get_mut((index / 64) as usize) {
                Some(word) if index < count && *word >> (index % 64) & 1 == 0 => {
                    *word |= 1 << (index % 64)
                }
                _ => run = false,
            }
        }
        let first = if run {
            base
        } else {
            self.claim_any(count, limit).ok_or(Errno::ENOMEM)?
        };
        let per_extent = 1u64 << output.extent_order;
        for j in 0..count >> output.extent_order {
            let slot = output
                .extent_start
                .wrapping_add(((chunk << (order - output.extent_order)) + j) * 8);
            let mfn = first + j * per_extent;
            let written = self.read_u64(slot).and_then(|gpfn| {
                self.write(slot, &mfn.to_le_bytes())?;
                Ok(gpfn)
            });
            let Ok(gpfn) = written else {
                if !run {
                    self.unclaim_run(first, count);
                }
                return Err(Errno::EFAULT);
            };
            for k in 0..per_extent {
                self.set_m2p(mfn + k, gpfn.wrapping_add(k));
            }
        }
        if !run {
            self.count_taken(count);
            for i in 0..count {
                // The list may have changed meanwhile: what is not ours any more just stays.
                if !given(i).is_ok_and(|mfn| self.begin_release(mfn, batch)) {
                    return Err(Errno::EINVAL);
                }
            }
        }
        Ok(())
    }

    /// Input frame `i` of a chunk.
    fn frame_of(
        &self,
        input: &MemoryReservation64,
        order: u32,
        chunk: u64,
        i: u64,
    ) -> Result<u64, Errno> {
        let extent = (chunk << (order - input.extent_order)) + (i >> input.extent_order);
        let first = self
            .read_u64(input.extent_start.wrapping_add(extent * 8))
            .map_err(efault)?;
        first
            .checked_add(i & ((1 << input.extent_order) - 1))
            .ok_or(Errno::EINVAL)
    }
}
