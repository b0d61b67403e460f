//! The first entry of each vCPU.
//!
//! ```text
//!   vCPU 0:  boot state from MonInfo --> guest entry point
//!   others:  park(FRESH) --VCPUOP_initialise, VCPUOP_up--> context of vcpu_guest_context
//! ```

use crate::cpu::Cpu;
use crate::domain::place;
use crate::machine::{Base, Machine};
use crate::regs::{flags, Regs};
use crate::vcpu::FirstEntry;
use core::mem::offset_of;
use core::sync::atomic::Ordering;
use noxen_monitor_abi::layout::selector;
use noxen_monitor_abi::pages::DomainPublic;
use noxen_pv_abi::vcpu::Runstate;

/// Xen starts every vCPU with a 100 Hz timer until the guest stops it.
const BOOT_PERIOD: u64 = 10_000_000;

impl<M: Machine> Cpu<'_, M> {
    /// Prepares this vCPU and answers the registers of its first entry.
    pub fn first_entry(&mut self) -> Regs {
        self.v.counters = self.dom.info.counters_gpa + u64::from(self.v.id) * 4096;
        // An interrupt that was sent before this vCPU's local APIC was enabled is lost, and nobody would send another one.
        self.shared().kicked.store(false, Ordering::SeqCst);
        if self.v.id == 0 {
            self.boot();
        } else {
            self.park(place::FRESH);
        }
        self.v.vcpu_info = self.shared().vcpu_info.load(Ordering::SeqCst);
        let first = self.v.first;
        self.load(&first);
        self.set_runstate(Runstate::RUNNING.0);
        self.publish_time();
        self.v.timers.period = BOOT_PERIOD;
        self.v.timers.periodic = self.now() + BOOT_PERIOD;
        self.arm_timer();
        let mut regs = first.regs;
        self.leave(&mut regs);
        regs
    }

    /// vCPU 0: what the domain builder laid out.
    fn boot(&mut self) {
        let info = &self.dom.info;
        let me = self.shared();
        me.initialised.store(true, Ordering::SeqCst);
        me.up.store(true, Ordering::SeqCst);
        me.place.store(place::RUNNING, Ordering::SeqCst);
        if let Some(online) = self.m.word32(info.public_gpa + 4) {
            online.store(1, Ordering::Relaxed);
        }
        if let Some(pages) = self.domain_public(offset_of!(DomainPublic, pages)) {
            pages.store(info.nr_pages, Ordering::Relaxed);
        }
        self.boot_ports();
        self.publish_wallclock();
        if self.dom.shape.bits32 {
            self.boot32();
            return;
        }
        let l4 = info.start_cr3 >> 12;
        self.tables().install_l4(l4);
        self.tables().mark_boot_tables(l4);
        self.v.kernel_cr3 = info.start_cr3;
        self.v.kernel_ss = u64::from(selector::GUEST_SS);
        self.v.kernel_sp = info.start_rsp;
        self.v.first.regs = Regs {
            rip: info.start_rip,
            rsp: info.start_rsp,
            rsi: info.start_rsi,
            cs: u64::from(selector::GUEST_CS),
            ss: u64::from(selector::GUEST_SS),
            rflags: flags::IF | 2,
            ..Regs::default()
        };
    }

    /// Loads the processor state of a fresh vCPU.
    fn load(&mut self, first: &FirstEntry) {
        self.v.kernel_mode = true;
        self.m.set_cr3(self.v.kernel_cr3);
        let frames = self.v.gdt;
        // Frames were checked when they were given; a bad one leaves the guest with a null GDT and a fault.
        let _ = self.install_gdt(&frames);
        self.m.set_ldt(self.v.ldt_entries);
        let soft = self.v.traps[0x80];
        self.m
            .set_soft_gate(0x80, soft.address != 0 && soft.flags & 3 == 3);
        let [ds, es, fs, gs] = first.selectors;
        self.m.load_segments(ds, es, fs, gs);
        if !self.dom.shape.bits32 {
            self.m.set_base(Base::Fs, first.bases[0]);
            self.m.set_base(Base::Gs, first.bases[1]);
            self.m.set_base(Base::OtherGs, first.bases[2]);
        }
        for (index, value) in first.dr.iter().enumerate().filter(|(index, _)| *index < 4) {
            self.m.set_dr(index as u32, *value);
        }
    }
}
