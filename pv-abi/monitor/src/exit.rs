//! The way back to the guest: whatever waits is done first.
//!
//! ```text
//!   leave:  attention? --> timers, doorbell, flush, down, nmi --+
//!             ^                                                 |
//!             +-------------------------------------------------+
//!           NMI wanted and none active --> bounce to the NMI handler
//!           upcall pending and unmasked --> bounce to the event callback (masks events)
//!           to user space, others are to be woken first --> they run; once more from the top
//!           iretq / sysretq (interrupts stay off between the last look and the return)
//! ```

use crate::bounce::Entry;
use crate::cpu::Cpu;
use crate::domain::{attention, place};
use crate::machine::Machine;
use crate::regs::Regs;
use core::mem::offset_of;
use core::sync::atomic::Ordering;
use noxen_monitor_abi::counters::other;
use noxen_monitor_abi::pages::DomainPublic;
use noxen_pv_abi::vcpu::Runstate;

impl<M: Machine> Cpu<'_, M> {
    /// Last stop before the guest runs with `regs`.
    #[inline]
    pub fn leave(&mut self, regs: &mut Regs) {
        loop {
            while self.shared().attention.load(Ordering::SeqCst) != 0 {
                self.attend();
            }
            if self.v.nmi_pending && !self.v.nmi_active {
                self.deliver_nmi(regs);
            }
            if self.events_pending() && !self.events_masked() {
                self.upcall(regs);
            }
            // Others may run before this user space; what came meanwhile is seen to first.
            if self.v.owed == 0 || self.v.kernel_mode || !self.pay_and_give_way() {
                return;
            }
        }
    }

    fn deliver_nmi(&mut self, regs: &mut Regs) {
        self.v.nmi_pending = false;
        let handler = self.v.traps[2];
        if handler.address != 0 {
            self.v.nmi_active = true;
            self.bounce_or_crash(
                regs,
                2,
                Entry {
                    address: handler.address,
                    cs: handler.cs,
                    mask: true,
                    error: None,
                },
            );
        }
    }

    fn upcall(&mut self, regs: &mut Regs) {
        let event = self.v.callbacks.event;
        if event.address != 0 {
            self.count_other(other::UPCALL);
            self.bounce_or_crash(
                regs,
                0xffff,
                Entry {
                    address: event.address,
                    cs: event.cs,
                    mask: true,
                    error: None,
                },
            );
        }
    }

    /// Bounces, or ends the domain when its kernel stack cannot take the frame.
    pub fn bounce_or_crash(&mut self, regs: &mut Regs, vector: u32, entry: Entry) {
        let before = *regs;
        if self.bounce(regs, entry).is_err() {
            self.crash(
                &before,
                vector,
                entry.error.unwrap_or(0),
                self.cr2(),
                "its kernel stack cannot take a trap frame",
            );
        }
    }

    /// Does what others asked of this vCPU.
    pub fn attend(&mut self) {
        let bits = self.shared().attention.swap(0, Ordering::SeqCst);
        // Another vCPU may have registered a new vcpu_info for this one.
        self.v.vcpu_info = self.shared().vcpu_info.load(Ordering::SeqCst);
        if bits & attention::FLUSH != 0 {
            self.answer_flush();
        }
        if bits & attention::ANEW != 0 {
            self.forget_own();
        }
        if bits & attention::DOORBELL != 0 {
            self.drain_doorbell();
            self.take_outside_nmis();
        }
        if bits & attention::TIMER != 0 {
            self.run_timers();
        }
        if bits & attention::WATCH != 0 {
            self.arm_timer();
        }
        if bits & attention::NMI != 0 {
            self.v.nmi_pending = true;
        }
        if bits & attention::DOWN != 0 {
            self.park(place::DOWN);
        }
    }

    /// Passes on the NMIs that noxen-vmm has asked for.
    fn take_outside_nmis(&mut self) {
        let asked = self
            .domain_public(offset_of!(DomainPublic, nmi))
            .map_or(0, |word| word.swap(0, Ordering::SeqCst));
        for id in crate::cpu::bits(asked) {
            if id == self.v.id {
                self.v.nmi_pending = true;
            } else {
                self.poke(id, attention::NMI);
            }
        }
    }

    /// Waits until VCPUOP_up; interrupts are answered meanwhile.
    pub fn park(&mut self, where_to: u32) {
        self.pay();
        self.set_runstate(Runstate::OFFLINE.0);
        self.stop_ticking();
        self.shared().place.store(where_to, Ordering::SeqCst);
        loop {
            let bits = self.shared().attention.swap(0, Ordering::SeqCst);
            if bits & attention::FLUSH != 0 {
                self.answer_flush();
            }
            if bits & attention::ANEW != 0 {
                self.forget_own();
            }
            if bits & attention::DOORBELL != 0 {
                self.drain_doorbell();
                self.take_outside_nmis();
            }
            if bits & attention::NMI != 0 {
                self.v.nmi_pending = true;
            }
            // The flag decides, not the bits: an UP and a DOWN may both have come since the last look.
            if self.shared().up.load(Ordering::SeqCst) {
                break;
            }
            if bits & attention::DOWN != 0 {
                self.shared().place.store(place::DOWN, Ordering::SeqCst);
            }
            if self.shared().attention.load(Ordering::SeqCst) == 0 {
                self.m.halt();
            }
        }
        self.shared().place.store(place::RUNNING, Ordering::SeqCst);
        self.v.vcpu_info = self.shared().vcpu_info.load(Ordering::SeqCst);
        // Anything may have changed while this vCPU did not answer flushes.
        self.m.set_cr3(self.m.cr3());
        self.set_runstate(Runstate::RUNNING.0);
        self.v.timers.armed = crate::time::NEVER;
        self.arm_timer();
    }

    /// Waits until `done`, first awake ([`crate::polling`]), then halted. Events may be masked (poll).
    pub fn sleep(&mut self, mut done: impl FnMut(&mut Self) -> bool) {
        if done(self) {
            return;
        }
        self.pay();
        let began = self.now();
        self.set_runstate(Runstate::BLOCKED.0);
        if !self.look_around(&mut done) {
            self.count_other(other::HALT);
            loop {
                self.shared().place.store(place::HALTED, Ordering::SeqCst);
                if self.shared().attention.load(Ordering::SeqCst) == 0 && !done(self) {
                    self.m.halt();
                }
                self.come_back();
                if done(self) {
                    break;
                }
            }
            let blocked = self.now().saturating_sub(began);
            self.v.polling.halted(blocked);
        }
        self.set_runstate(Runstate::RUNNING.0);
    }
}

/// An interrupt from the local APIC: only notes it, because it may hit the monitor itself.
pub fn note_interrupt(shared: &crate::domain::VcpuShared, vector: u8) {
    use noxen_monitor_abi::layout::vector;
    match vector {
        vector::TIMER => {
            shared
                .attention
                .fetch_or(attention::TIMER, Ordering::SeqCst);
        }
        vector::DOORBELL => {
            shared
                .attention
                .fetch_or(attention::DOORBELL, Ordering::SeqCst);
        }
        vector::IPI => shared.kicked.store(false, Ordering::SeqCst),
        _ => {}
    }
}
