//! Counting: hypercalls, traps and emulated instructions by kind, on this vCPU's counter page.

use crate::cpu::Cpu;
use crate::machine::Machine;
use core::sync::atomic::Ordering;
use noxen_monitor_abi::counters::{other, EMULATED, HYPERCALL, OTHER, REFUSED, TRAP};

impl<M: Machine> Cpu<'_, M> {
    fn bump(&self, word: usize) {
        self.add(word, 1);
    }

    fn add(&self, word: usize, number: u64) {
        let page = self.dom.info.counters_gpa + u64::from(self.v.id) * 4096;
        if let Some(counter) = self.m.word(page + word as u64 * 8) {
            // Only this vCPU writes it: no atomic addition is needed.
            counter.store(
                counter.load(Ordering::Relaxed).wrapping_add(number),
                Ordering::Relaxed,
            );
        }
    }

    /// A hypercall was made.
    pub fn count_hypercall(&self, number: u64) {
        self.bump(HYPERCALL + number.min(63) as usize);
    }

    /// A hypercall was refused as unknown.
    pub fn count_refused(&self, number: u64) {
        self.bump(REFUSED + number.min(63) as usize);
    }

    /// An exception was delivered to the guest.
    pub fn count_trap(&self, vector: u64) {
        self.bump(TRAP + vector.min(31) as usize);
    }

    /// An instruction was emulated (index into `EMULATED_NAMES`).
    pub fn count_emulated(&self, kind: usize) {
        self.bump(EMULATED + kind.min(31));
    }

    /// A multicall's list of that many hypercalls was done.
    pub fn count_batched(&self, number: u64) {
        self.add(OTHER + other::BATCHED, number);
    }

    /// Something else (`noxen_monitor_abi::counters::other`).
    pub fn count_other(&self, kind: usize) {
        self.bump(OTHER + kind.min(31));
    }
}
