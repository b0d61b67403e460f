//! IPIs between vCPUs that share one host processor ([`crate::sharing`]): the vCPU that is to wake cannot run before the one
//! that wakes it stops.
//!
//! ```text
//!   event by IPI channel to a blocked vCPU
//!     sender has events on   --> roused: woken, and the processor offered to it. Who sends so may wait for the answer on the
//!                                spot (Linux: calls of functions on other CPUs), and would turn until the host comes
//!     sender has events off  --> owed: it may hold locks that the other one would turn for (Linux: wake-ups of tasks)
//!                                  |-- back to user space, SCHEDOP_yield --> roused
//!                                  `-- its next timer, its own block     --> woken
//!   to one that runs, sender has events on --> interrupted, and the processor offered to it
//! ```
//! So two tasks that talk through a pipe take turns: one exit wakes the other and hands over the processor, and by the time the first
//! one goes on the answer is there.
//!
//! Nothing is owed without a timer that comes soon, so a guest that waits with events off waits for that long, not for ever.
//! What is owed to a vCPU is in its flags already: whoever else wakes it pays as well.

use crate::cpu::{bits, Cpu};
use crate::domain::{attention, place};
use crate::machine::Machine;
use core::sync::atomic::Ordering;
use noxen_monitor_abi::counters::other;

/// Within how many ns a timer must come for a wake-up to be put off: a tick of 250 Hz and a little.
pub const SOON: u64 = 5_000_000;

impl<M: Machine> Cpu<'_, M> {
    /// An event was sent to vCPU `id` by an IPI channel; `kick`: the vCPUs to interrupt for it ([`Cpu::kick`]).
    pub(crate) fn sent_ipi(&mut self, id: u32, kick: u64) {
        if M::HVM || id == self.v.id || !self.shares_processor() {
            self.kick(kick);
            return;
        }
        let Some(target) = self.dom.vcpu(id) else {
            return;
        };
        let wanted = kick >> id & 1 != 0;
        let asleep = target.place.load(Ordering::SeqCst) == place::HALTED;
        if !self.events_masked() {
            if wanted && asleep {
                target
                    .attention
                    .fetch_or(attention::EVENT, Ordering::SeqCst);
                self.rouse(id);
            } else {
                self.kick(kick);
                if target.place.load(Ordering::SeqCst) == place::RUNNING {
                    self.m.yield_cpu(id);
                }
            }
        } else if wanted && asleep && self.timer_comes_soon() {
            target
                .attention
                .fetch_or(attention::EVENT, Ordering::SeqCst);
            self.v.owed |= 1 << id;
        } else {
            self.kick(kick);
        }
    }

    fn timer_comes_soon(&self) -> bool {
        self.v.timers.armed <= self.now().saturating_add(SOON)
    }

    /// Takes what is owed, less what somebody else has paid.
    fn take_owed(&mut self) -> impl Iterator<Item = u32> + use<M> {
        let mut owed = core::mem::take(&mut self.v.owed);
        for id in bits(owed) {
            let waits = self.dom.vcpu(id).is_some_and(|target| {
                target.place.load(Ordering::SeqCst) == place::HALTED
                    && target.attention.load(Ordering::SeqCst) != 0
            });
            if !waits {
                owed &= !(1 << id);
            }
        }
        bits(owed)
    }

    /// Wakes whom this vCPU owes it, and goes on.
    pub(crate) fn pay(&mut self) {
        if self.v.owed != 0 {
            for id in self.take_owed() {
                self.poke(id, attention::EVENT);
            }
        }
    }

    /// Wakes whom this vCPU owes it and lets them run; false where there is nobody.
    pub(crate) fn pay_and_give_way(&mut self) -> bool {
        let mut any = false;
        if self.v.owed != 0 {
            for id in self.take_owed() {
                self.rouse(id);
                any = true;
            }
        }
        any
    }

    /// Wakes a vCPU whose flags say why, and offers it the processor.
    fn rouse(&self, id: u32) {
        self.count_other(other::ROUSE);
        if !self.m.rouse(id) {
            self.poke(id, attention::EVENT);
            self.m.yield_cpu(id);
        }
    }
}
