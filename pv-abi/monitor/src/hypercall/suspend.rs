//! SCHEDOP_shutdown with SHUTDOWN_suspend (public/sched.h): the guest has taken its devices apart and waits.
//!
//! ```text
//!   guest --SUSPEND call--> noxen-vmm: stands still here --1: it was not saved, or runs on where it was--> returns 1
//!                                                        \--0: it came out of an image--> begin_anew --> returns 0
//! ```
//! Machine frames do not change, so page tables and the table of frames stay right; what Xen forgets of a domain that it
//! restores is forgotten here: event channels, registered areas, grants, timers.

use super::Answer;
use crate::cpu::{info, Cpu};
use crate::domain::attention;
use crate::event::Port;
use crate::machine::Machine;
use crate::time::NEVER;
use core::mem::offset_of;
use core::sync::atomic::Ordering;
use noxen_monitor_abi::layout::mfn_of_pfn;
use noxen_monitor_abi::pages::call;
use noxen_pv_abi::shared_info::{VcpuInfo32, VcpuInfo64};
use noxen_pv_abi::start_info::{StartInfo32, StartInfo64};

/// Bytes of the grants that noxen-vmm gives at boot, of the console and the store: entries 0 and 1.
const FIRST_GRANTS: u64 = 16;

impl<M: Machine> Cpu<'_, M> {
    /// Suspends the domain; `start_info` is the machine frame of its start_info.
    pub(super) fn suspend(&mut self, start_info: u64) -> Answer {
        // An HVM guest is saved as it stands, and its drivers go on with the rings that they had.
        if M::HVM || self.vmm_call(call::SUSPEND, &[], &[]) != 0 {
            return Ok(1);
        }
        self.begin_anew(start_info);
        Ok(0)
    }

    /// Forgets what a domain that is restored has to say again.
    fn begin_anew(&mut self, start_info: u64) {
        let lock = self.lock_events();
        // In the words of the ABI in force, before it is the first one again.
        for port in 1..self.max_ports() {
            self.set_port(port, Port::default());
        }
        self.fifo_reset();
        self.dom.port_limit.store(1, Ordering::Relaxed);
        self.forget_pending();
        for vcpu in 0..self.dom.info.nr_vcpus {
            self.forget_areas(vcpu);
        }
        drop(lock);
        self.boot_ports();
        self.publish_wallclock();
        self.forget_grants();
        self.write_start_info(start_info);
        self.forget_own();
        let others = (0..self.dom.info.nr_vcpus).filter(|id| *id != self.v.id);
        for id in others {
            self.poke(id, attention::ANEW);
        }
    }

    /// What a vCPU keeps for itself: its vcpu_info, its timers, the areas that it has registered.
    pub(crate) fn forget_own(&mut self) {
        self.v.vcpu_info = self.shared().vcpu_info.load(Ordering::SeqCst);
        self.v.time_area = 0;
        self.stop_ticking();
        let timers = &mut self.v.timers;
        (timers.singleshot, timers.periodic, timers.period) = (NEVER, NEVER, 0);
        self.v.console_told = None;
        self.publish_time();
    }

    /// No event is pending, and all are masked, as Xen's tools leave the page.
    fn forget_pending(&self) {
        let shape = self.dom.shape;
        let page = self.dom.info.shared_info_gpa;
        for word in (0..u64::from(shape.ports / 8)).step_by(8) {
            for (base, value) in [(shape.pending, 0), (shape.mask, !0)] {
                if let Some(word) = self.m.word(page + base + word) {
                    word.store(value, Ordering::SeqCst);
                }
            }
        }
        for index in 0..64 {
            if let Some(word) = self.m.word(self.dom.info.doorbell_gpa + 64 + index * 8) {
                word.store(0, Ordering::SeqCst);
            }
        }
    }

    /// vCPU `id` has its vcpu_info in shared_info again, with events masked, and nothing else registered (event lock held).
    fn forget_areas(&self, id: u32) {
        let Some(vcpu) = self.dom.vcpu(id) else {
            return;
        };
        let at = self.dom.info.shared_info_gpa + 64 * u64::from(id);
        if let (Some(pending), Some(mask)) = (
            self.m.byte(at + info::PENDING),
            self.m.byte(at + info::MASK),
        ) {
            pending.store(0, Ordering::SeqCst);
            mask.store(1, Ordering::SeqCst);
        }
        let selected = match self.dom.shape.bits32 {
            true => self
                .m
                .word32(at + offset_of!(VcpuInfo32, evtchn_pending_sel) as u64)
                .map(|word| word.store(0, Ordering::SeqCst)),
            false => self
                .m
                .word(at + offset_of!(VcpuInfo64, evtchn_pending_sel) as u64)
                .map(|word| word.store(0, Ordering::SeqCst)),
        };
        debug_assert!(selected.is_some());
        vcpu.vcpu_info.store(at, Ordering::SeqCst);
        vcpu.runstate_area.store(0, Ordering::SeqCst);
        for port in &vcpu.virq {
            port.store(0, Ordering::Relaxed);
        }
    }

    fn forget_grants(&self) {
        let info = &self.dom.info;
        let end = u64::from(info.nr_grant_frames) << 12;
        for at in (FIRST_GRANTS..end).step_by(8) {
            if let Some(word) = self.m.word(info.grant_gpa + at) {
                word.store(0, Ordering::SeqCst);
            }
        }
        self.dom.grant_frames.store(1, Ordering::Relaxed);
    }

    /// What of start_info Xen's tools write again, as far as it can change. The guest has put pseudo-physical frames in the place of the rings' machine
    /// frames (xen_pv_pre_suspend); a frame that is not its own is its own loss.
    fn write_start_info(&self, frame: u64) {
        let info = &self.dom.info;
        if frame >= info.ram_end_mfn {
            return;
        }
        let at = frame << 12;
        let machine = |pfn: u64| mfn_of_pfn(pfn.min(info.ram_end_mfn));
        if self.dom.shape.bits32 {
            let word = |offset: usize| self.m.word32(at + offset as u64);
            let put = |offset: usize, value: u64| {
                if let Some(word) = word(offset) {
                    word.store(value as u32, Ordering::SeqCst);
                }
            };
            put(offset_of!(StartInfo32, shared_info), info.shared_info_gpa);
            for field in [
                offset_of!(StartInfo32, store_mfn),
                offset_of!(StartInfo32, console_mfn),
            ] {
                let pfn = word(field).map_or(0, |word| word.load(Ordering::SeqCst));
                put(field, machine(u64::from(pfn)));
            }
            put(
                offset_of!(StartInfo32, store_evtchn),
                u64::from(info.store_port),
            );
            put(
                offset_of!(StartInfo32, console_evtchn),
                u64::from(info.console_port),
            );
            return;
        }
        let word = |offset: usize| self.m.word(at + offset as u64);
        let put = |offset: usize, value: u64| {
            if let Some(word) = word(offset) {
                word.store(value, Ordering::SeqCst);
            }
        };
        put(offset_of!(StartInfo64, shared_info), info.shared_info_gpa);
        for field in [
            offset_of!(StartInfo64, store_mfn),
            offset_of!(StartInfo64, console_mfn),
        ] {
            let pfn = word(field).map_or(0, |word| word.load(Ordering::SeqCst));
            put(field, machine(pfn));
        }
        // Padding follows both ports.
        put(
            offset_of!(StartInfo64, store_evtchn),
            u64::from(info.store_port),
        );
        put(
            offset_of!(StartInfo64, console_evtchn),
            u64::from(info.console_port),
        );
    }
}
