//! Scratch: a vCPU's buffer in which hypercall arguments stand in 64-bit layout.
//!
//! ```text
//!   guest memory (32-bit layout) --> translate --> scratch (64-bit layout) <--> core, by SCRATCH_VA as "guest pointer"
//! ```
//! [`Cpu::read`] and [`Cpu::write`] come here for addresses in the hypervisor's hole, which guests cannot name.

use crate::cpu::Cpu;
use crate::machine::{Fault, Machine};
use core::sync::atomic::Ordering;
use noxen_monitor_abi::layout::compat::{PAGES_PER_VCPU, SCRATCH_SIZE, SCRATCH_VA};

impl<M: Machine> Cpu<'_, M> {
    /// Machine address of `len` bytes at `va`, if they are scratch of a 32-bit guest's vCPU.
    fn scratch_at(&self, va: u64, len: usize) -> Result<u64, Fault> {
        let offset = va.checked_sub(SCRATCH_VA).ok_or(Fault)?;
        let end = offset.checked_add(len as u64).ok_or(Fault)?;
        if !self.dom.shape.bits32 || end > SCRATCH_SIZE {
            return Err(Fault);
        }
        let pages = u64::from(self.v.id) * PAGES_PER_VCPU + 1;
        Ok(self.dom.info.compat_gpa + (pages << 12) + offset)
    }

    /// Reads scratch; faults for every other address.
    #[cold]
    pub(crate) fn read_scratch(&self, va: u64, buf: &mut [u8]) -> Result<(), Fault> {
        let at = self.scratch_at(va, buf.len())?;
        for (i, byte) in buf.iter_mut().enumerate() {
            *byte = self
                .m
                .byte(at + i as u64)
                .ok_or(Fault)?
                .load(Ordering::Relaxed);
        }
        Ok(())
    }

    /// Writes scratch; faults for every other address.
    #[cold]
    pub(crate) fn write_scratch(&self, va: u64, bytes: &[u8]) -> Result<(), Fault> {
        let at = self.scratch_at(va, bytes.len())?;
        for (i, byte) in bytes.iter().enumerate() {
            self.m
                .byte(at + i as u64)
                .ok_or(Fault)?
                .store(*byte, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Copies `count` words of 4 bytes at guest-linear `from` to words of 8 bytes at `to`, in scratch.
    pub(super) fn widen(&self, from: u64, to: u64, count: u64) -> Result<(), Fault> {
        for i in 0..count {
            let word = self.read_u32(from.wrapping_add(i * 4))?;
            self.write(to + i * 8, &u64::from(word).to_le_bytes())?;
        }
        Ok(())
    }

    /// The way back: words of 8 bytes in scratch to words of 4 at guest-linear `to`.
    pub(super) fn narrow(&self, from: u64, to: u64, count: u64) -> Result<(), Fault> {
        for i in 0..count {
            let word = self.read_u64(from + i * 8)? as u32;
            self.write(to.wrapping_add(i * 4), &word.to_le_bytes())?;
        }
        Ok(())
    }
}
