//! Event channels: the port table, raising, and the doorbell from outside.
//!
//! ```text
//!   EVTCHNOP_send, VIRQ, doorbell bit --> raise(port) --+-- 2-level: shared_info bits, selector
//!                                                       +-- FIFO: event word, queue of (vCPU, priority)
//!                                                              |
//!                              vcpu_info.upcall_pending := 1 <-+--> IPI when the vCPU sleeps or runs unmasked
//! ```
//! What raises answers the vCPUs to interrupt, as a mask: the interrupt, an exit, comes after the event lock is free.
//!
//! A port bound to domain 0 is an *external* port: sending to it leaves through the notify port, and the
//! doorbell raises it. The table lives in the monitor region, 32 bytes a port, under the event lock.

mod fifo;
mod port;

pub use port::Port;

use crate::cpu::{info, Cpu};
use crate::domain::VcpuShared;
use crate::machine::Machine;
use core::mem::offset_of;
use core::sync::atomic::{fence, Ordering};
use noxen_monitor_abi::counters::other;
use noxen_monitor_abi::pages::{Doorbell, MAX_EXTERNAL_PORTS};
use noxen_pv_abi::errno::Errno;
use noxen_pv_abi::event_channel::{EvtchnState, Virq};

impl<M: Machine> Cpu<'_, M> {
    /// Ports that can exist now.
    pub fn max_ports(&self) -> u32 {
        let table = self.dom.info.nr_evtchns;
        if self.dom.fifo.load(Ordering::Relaxed) {
            table
        } else {
            table.min(self.dom.shape.ports)
        }
    }

    /// Reads a port's record (a free one beyond the table).
    pub fn port(&self, port: u32) -> Port {
        if port >= self.max_ports() {
            return Port::default();
        }
        let at = self.dom.info.evtchn_gpa + u64::from(port) * 32;
        let word = |offset| {
            self.m
                .word(at + offset)
                .map_or(0, |word| word.load(Ordering::Relaxed))
        };
        Port::from_words([word(0), word(8)])
    }

    /// Writes a port's record (event lock held).
    pub fn set_port(&self, port: u32, record: Port) {
        let at = self.dom.info.evtchn_gpa + u64::from(port) * 32;
        for (index, value) in record.to_words().into_iter().enumerate() {
            if let Some(word) = self.m.word(at + index as u64 * 8) {
                word.store(value, Ordering::Relaxed);
            }
        }
    }

    /// Lowest free port, 1 and up (event lock held): small kernels have small tables.
    pub fn allocate_port(&self) -> Result<u32, Errno> {
        (1..self.max_ports())
            .find(|port| self.port(*port).state == EvtchnState::CLOSED)
            .ok_or(Errno::ENOSPC)
    }

    /// Makes port pending for its vCPU.
    pub fn raise(&self, port: u32) {
        self.kick(self.set_pending(port));
    }

    /// The first half of [`Cpu::raise`]: answers the vCPUs to interrupt.
    #[must_use]
    fn set_pending(&self, port: u32) -> u64 {
        if self.dom.fifo.load(Ordering::Acquire) {
            let _lock = self.lock_events();
            self.fifo_raise(port, true)
        } else {
            let vcpu = self.port(port).vcpu;
            self.raise_2l(port, vcpu)
        }
    }

    fn bitmap(&self, base: u64, port: u32) -> Option<(&core::sync::atomic::AtomicU64, u64)> {
        let word = self
            .m
            .word(self.dom.info.shared_info_gpa + base + u64::from(port / 64) * 8)?;
        Some((word, 1 << (port % 64)))
    }

    #[must_use]
    fn raise_2l(&self, port: u32, vcpu: u32) -> u64 {
        if port >= self.dom.shape.ports {
            return 0;
        }
        let Some((pending, bit)) = self.bitmap(self.dom.shape.pending, port) else {
            return 0;
        };
        if pending.fetch_or(bit, Ordering::SeqCst) & bit != 0 {
            return 0;
        }
        let masked = self
            .bitmap(self.dom.shape.mask, port)
            .is_none_or(|(mask, bit)| mask.load(Ordering::SeqCst) & bit != 0);
        if masked {
            // A poller waits for masked ports too.
            return self.wake_poller(vcpu);
        }
        self.select_2l(port, vcpu)
    }

    /// Second half of a 2-level raise: selector bit and upcall.
    #[must_use]
    fn select_2l(&self, port: u32, vcpu: u32) -> u64 {
        let Some(target) = self.dom.vcpu(vcpu) else {
            return 0;
        };
        let info = target.vcpu_info.load(Ordering::SeqCst);
        if self.select(info, port) {
            self.mark_upcall(vcpu)
        } else {
            0
        }
    }

    /// Sets upcall_pending of a vCPU; answers its bit when it must be interrupted ([`Cpu::kick`]).
    #[must_use]
    pub fn mark_upcall(&self, vcpu: u32) -> u64 {
        let Some(target) = self.dom.vcpu(vcpu) else {
            return 0;
        };
        let info = target.vcpu_info.load(Ordering::SeqCst);
        let (Some(pending), Some(mask)) = (
            self.m.byte(info + info::PENDING),
            self.m.byte(info + info::MASK),
        ) else {
            return 0;
        };
        let was_pending = pending.swap(1, Ordering::SeqCst) != 0;
        if M::HVM {
            return u64::from(!was_pending) << vcpu;
        }
        // A running vCPU that masks events looks by itself when it unmasks them.
        let wanted = vcpu != self.v.id && (mask.load(Ordering::SeqCst) == 0 || target.is_blocked());
        u64::from(wanted) << vcpu
    }

    /// Has a vCPU look at all of its ports: some may have been raised where it does not look.
    pub fn look_again(&self, vcpu: u32) {
        if let Some(target) = self.dom.vcpu(vcpu) {
            self.select_all(target.vcpu_info.load(Ordering::SeqCst));
            self.kick(self.mark_upcall(vcpu));
        }
    }

    /// The bit of a vCPU that is blocked, perhaps in SCHEDOP_poll. One of an HVM guest never is.
    #[must_use]
    fn wake_poller(&self, vcpu: u32) -> u64 {
        let blocked =
            !M::HVM && vcpu != self.v.id && self.dom.vcpu(vcpu).is_some_and(VcpuShared::is_blocked);
        u64::from(blocked) << (vcpu & 63)
    }

    /// Clears a port's mask and delivers what is pending.
    pub fn unmask(&self, port: u32) {
        let record = self.port(port);
        if self.dom.fifo.load(Ordering::Acquire) {
            let lock = self.lock_events();
            let kick = self.fifo_unmask(port);
            drop(lock);
            self.kick(kick);
            return;
        }
        let Some((mask, bit)) = self.bitmap(self.dom.shape.mask, port) else {
            return;
        };
        let was_masked = mask.fetch_and(!bit, Ordering::SeqCst) & bit != 0;
        let pending = self
            .bitmap(self.dom.shape.pending, port)
            .is_some_and(|(word, bit)| word.load(Ordering::SeqCst) & bit != 0);
        if was_masked && pending {
            self.kick(self.select_2l(port, record.vcpu));
        }
    }

    /// True when the port is pending, masked or not.
    pub fn is_pending(&self, port: u32) -> bool {
        if self.dom.fifo.load(Ordering::Acquire) {
            return self.fifo_is_pending(port);
        }
        port < self.dom.shape.ports
            && self
                .bitmap(self.dom.shape.pending, port)
                .is_some_and(|(word, bit)| word.load(Ordering::SeqCst) & bit != 0)
    }

    /// Forgets a pending event (event lock held; the port is being closed).
    pub fn clear_pending(&self, port: u32) {
        if self.dom.fifo.load(Ordering::Acquire) {
            self.fifo_clear_pending(port);
        } else if port < self.dom.shape.ports {
            if let Some((word, bit)) = self.bitmap(self.dom.shape.pending, port) {
                word.fetch_and(!bit, Ordering::SeqCst);
            }
        }
    }

    /// Raises a per-vCPU VIRQ of this vCPU, if bound.
    pub fn raise_virq(&self, virq: u32) {
        let port = self
            .shared()
            .virq
            .get(virq as usize)
            .map_or(0, |port| port.load(Ordering::Relaxed));
        if port != 0 {
            self.raise(port);
        }
    }

    /// EVTCHNOP_send.
    pub fn send(&mut self, port: u32) -> Result<(), Errno> {
        let record = self.port(port);
        match record.state {
            EvtchnState::UNBOUND | EvtchnState::INTERDOMAIN
                if record.remote_dom != self.own_domid() =>
            {
                if !self.is_quiet(port) {
                    self.count_other(other::NOTIFY);
                    self.m.notify(port);
                }
                Ok(())
            }
            EvtchnState::INTERDOMAIN => {
                self.raise(record.remote_port);
                Ok(())
            }
            EvtchnState::IPI => {
                let kick = self.set_pending(port);
                self.sent_ipi(record.vcpu, kick);
                Ok(())
            }
            // Sending on a channel that nobody has bound yet is lost, as with Xen.
            EvtchnState::UNBOUND => Ok(()),
            _ => Err(Errno::EINVAL),
        }
    }

    /// This domain's id.
    pub fn own_domid(&self) -> u16 {
        self.dom.info.domid as u16
    }

    /// Raises what noxen-vmm's backends signalled.
    pub fn drain_doorbell(&self) {
        self.count_other(other::DOORBELL);
        let base = self.dom.info.doorbell_gpa;
        let Some(summary) = self.m.word(base) else {
            return;
        };
        let words = summary.swap(0, Ordering::SeqCst);
        for index in crate::cpu::bits(words) {
            let Some(word) = self.m.word(base + 64 + u64::from(index) * 8) else {
                continue;
            };
            for bit in crate::cpu::bits(word.swap(0, Ordering::SeqCst)) {
                let port = index * 64 + bit;
                if self.is_external(port) {
                    self.raise(port);
                }
            }
        }
    }

    /// The port's other end is outside of the domain.
    pub fn is_external(&self, port: u32) -> bool {
        let record = self.port(port);
        matches!(
            record.state,
            EvtchnState::UNBOUND | EvtchnState::INTERDOMAIN
        ) && record.remote_dom != self.own_domid()
    }

    /// The outside looks at `port` without being notified.
    fn is_quiet(&self, port: u32) -> bool {
        let Some(index) = (port < MAX_EXTERNAL_PORTS).then_some(u64::from(port / 64)) else {
            return false;
        };
        let word = self
            .m
            .word(self.dom.info.doorbell_gpa + offset_of!(Doorbell, quiet) as u64 + index * 8);
        // What the guest put into its ring must be visible before this is read (see `Doorbell::quiet`).
        fence(Ordering::SeqCst);
        word.is_some_and(|word| word.load(Ordering::SeqCst) >> (port % 64) & 1 == 1)
    }

    /// Sets up the ports that exist at boot: xenstore and console, bound to domain 0.
    pub fn boot_ports(&self) {
        let _lock = self.lock_events();
        for port in [self.dom.info.store_port, self.dom.info.console_port] {
            if port != 0 && port < self.max_ports() {
                self.set_port(
                    port,
                    Port {
                        state: EvtchnState::INTERDOMAIN,
                        ..Port::default()
                    },
                );
            }
        }
    }

    /// Per-vCPU VIRQs are bound once per vCPU and cannot move.
    pub fn is_per_vcpu(virq: u32) -> bool {
        matches!(
            Virq(virq),
            Virq::TIMER | Virq::DEBUG | Virq::XENOPROF | Virq::XENPMU
        )
    }
}
