//! vCPUs that share one host processor.
//!
//! ```text
//!   noxen-vmm --counts the processors of its vCPU threads--> DomainPublic::processors == 1
//!      |-- no vCPU polls before it halts: nobody else can be at work meanwhile
//!      `-- who waits for another one (its lock, its flush, its way down) offers it the processor at every turn
//! ```
//! Without the count neither shows: KVM's record says of a vCPU that it lost its processor only where it did so at an
//! instruction's end (Linux 5.19 and later), not when it halts or in the middle of an exit.
//!
//! No wake-up depends on any of this: flags, places and interrupts are the same, a poll that is not begun is a halt begun earlier,
//! and an offer that is not taken is one more turn. So a count that is out of date, because somebody moved the threads while the
//! domain runs, costs time and nothing else.

use crate::cpu::{Cpu, PATIENCE};
use crate::machine::Machine;
use core::mem::offset_of;
use core::sync::atomic::Ordering;
use noxen_monitor_abi::pages::DomainPublic;

impl<M: Machine> Cpu<'_, M> {
    /// All vCPUs of the domain share one processor, as far as noxen-vmm knows. False for a single vCPU.
    pub(crate) fn shares_processor(&self) -> bool {
        self.dom.info.nr_vcpus > 1
            && self
                .domain_public(offset_of!(DomainPublic, processors))
                .is_some_and(|word| word.load(Ordering::Relaxed) == 1)
    }

    /// A vCPU that is waited for may be without a processor.
    pub(crate) fn lost_processor(&self, id: u32) -> bool {
        self.shares_processor() || self.m.preempted(id) != Some(false)
    }

    /// Turns of a wait for another vCPU before the processor is offered to it.
    pub(crate) fn patience(&self) -> u32 {
        if self.shares_processor() {
            1
        } else {
            PATIENCE
        }
    }
}
