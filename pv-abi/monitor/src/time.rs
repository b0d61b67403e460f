//! System time, the per-vCPU time areas and the timers.
//!
//! System time is nanoseconds on one linear clock per domain, `base_ns + (tsc - base_tsc) * mul >> 32`
//! with the constants noxen-vmm gave; the same constants go to the guest (public/xen.h vcpu_time_info).

use crate::cpu::{info, Cpu};
use crate::machine::Machine;
use crate::tick;
use core::sync::atomic::Ordering;
use noxen_monitor_abi::counters::other;
use noxen_monitor_abi::pages::call;
use noxen_monitor_abi::MonInfo;
use noxen_pv_abi::event_channel::Virq;
use noxen_pv_abi::vcpu::Runstate;

/// "No deadline".
pub const NEVER: u64 = u64::MAX;

/// ns for a TSC difference (public/xen.h, vcpu_time_info).
pub fn scale(delta: u64, mul: u32, shift: i32) -> u64 {
    let delta = if shift < 0 {
        delta >> (-shift).min(63)
    } else {
        delta << shift.min(63)
    };
    ((u128::from(delta) * u128::from(mul)) >> 32) as u64
}

/// System time at TSC value `tsc`.
pub fn ns_at(info: &MonInfo, tsc: u64) -> u64 {
    info.base_ns
        + scale(
            tsc.saturating_sub(info.base_tsc),
            info.tsc_mul,
            info.tsc_shift,
        )
}

/// TSC value at which system time reaches `ns` (rounded up a little, never early).
pub fn tsc_at(info: &MonInfo, ns: u64) -> u64 {
    let ns = ns.saturating_sub(info.base_ns);
    // kHz: cycles per millisecond. Split so that nothing overflows for centuries.
    let (ms, rest) = (ns / 1_000_000, ns % 1_000_000);
    info.base_tsc
        .saturating_add(ms.saturating_mul(info.tsc_khz))
        .saturating_add(rest.saturating_mul(info.tsc_khz) / 1_000_000)
        .saturating_add(1)
}

impl<M: Machine> Cpu<'_, M> {
    /// System time now, ns.
    pub fn now(&self) -> u64 {
        ns_at(&self.dom.info, self.m.tsc())
    }

    /// Writes this vCPU's vcpu_time_info and its secondary copy.
    pub fn publish_time(&self) {
        let info = &self.dom.info;
        let base = self.v.vcpu_info + info::TIME;
        let (Some(version), Some(tsc), Some(system), Some(scale)) = (
            self.m.word32(base),
            self.m.word(base + 8),
            self.m.word(base + 16),
            self.m.word(base + 24),
        ) else {
            return;
        };
        let odd = version.load(Ordering::Relaxed).wrapping_add(1) | 1;
        version.store(odd, Ordering::SeqCst);
        tsc.store(info.base_tsc, Ordering::Relaxed);
        system.store(info.base_ns, Ordering::Relaxed);
        // mul u32, shift i8, flags u8 (bit 0: stable across vCPUs).
        let packed = u64::from(info.tsc_mul) | u64::from(info.tsc_shift as u8) << 32 | 1 << 40;
        scale.store(packed, Ordering::Relaxed);
        version.store(odd.wrapping_add(1), Ordering::SeqCst);
        if self.v.time_area != 0 {
            let mut copy = [0u8; 32];
            copy[0..4].copy_from_slice(&odd.wrapping_add(1).to_le_bytes());
            copy[8..16].copy_from_slice(&info.base_tsc.to_le_bytes());
            copy[16..24].copy_from_slice(&info.base_ns.to_le_bytes());
            copy[24..32].copy_from_slice(&packed.to_le_bytes());
            // The area is the guest's own memory: if it took it away, it reads old time.
            let _ = self.write(self.v.time_area, &copy);
        }
    }

    /// Writes the domain's wall clock into shared_info.
    pub fn publish_wallclock(&self) {
        let info = &self.dom.info;
        let at = &self.dom.shape;
        let word = |offset: u64, value: u32| {
            if let Some(word) = self.m.word32(info.shared_info_gpa + offset) {
                word.store(value, Ordering::SeqCst);
            }
        };
        word(at.wallclock, 1);
        word(at.wallclock + 4, info.wc_sec as u32);
        word(at.wallclock + 8, info.wc_nsec);
        word(at.wc_sec_hi, (info.wc_sec >> 32) as u32);
        word(at.wallclock, 2);
    }

    /// Arms the local APIC for the earliest deadline, where it will not fire by then anyway.
    pub fn arm_timer(&mut self) {
        let next = self.next_deadline();
        // An interrupt that comes too early costs less than taking a deadline back, and often enough the guest
        // wants an early one again before.
        let served = if self.v.timers.tick.every == 0 {
            self.v.timers.armed <= next
        } else {
            self.v.timers.armed <= next.saturating_add(tick::LATE)
        };
        if served || next == NEVER {
            return;
        }
        self.stop_ticking();
        self.v.timers.armed = next;
        self.count_other(other::TIMER);
        self.m.set_deadline(tsc_at(&self.dom.info, next));
    }

    /// The earliest deadline.
    fn next_deadline(&self) -> u64 {
        let timers = &self.v.timers;
        let mut next = timers.singleshot.min(timers.periodic).min(timers.poll);
        if self.v.id == 0 {
            for watchdog in &self.dom.watchdog {
                let at = watchdog.load(Ordering::Relaxed);
                if at != 0 {
                    next = next.min(at);
                }
            }
        }
        next
    }

    /// Deadlines are armed one by one again; none is.
    pub fn stop_ticking(&mut self) {
        if self.v.timers.tick.every != 0 {
            self.v.timers.tick.end();
            self.v.timers.armed = NEVER;
            self.m.stop_ticking();
        }
    }

    /// A deadline fired at `now` that continues a series of equal gaps: the next one, which the guest has not asked for
    /// yet, will be one period later, and so will the local APIC.
    fn begin_ticking(&mut self, at: u64, now: u64) {
        if self.v.timers.tick.every != 0 {
            return;
        }
        if let Some(period) = self.v.timers.tick.period(now) {
            if self.next_deadline() > now + period {
                self.v.timers.tick.begin(period);
                let excess = self.v.timers.phase.tick(at).map_or(0, |(_, excess)| excess);
                let due = at.saturating_sub(excess);
                self.v.timers.armed = due + period;
                self.count_other(other::TICKING);
                self.m.start_ticking(period, tsc_at(&self.dom.info, due));
            }
        }
    }

    /// Tells noxen-vmm, once, when the guest's ticks are due, so that they can be made to come with the host's own.
    fn tell_ticks(&self) {
        let told = &self.dom.ticks_told;
        if told.load(Ordering::Relaxed) {
            return;
        }
        let Some((due, period)) = self.v.timers.phase.settled() else {
            return;
        };
        if !told.swap(true, Ordering::SeqCst) {
            let due = tsc_at(&self.dom.info, due);
            self.vmm_call(call::TICKS, &[due, period], &[]);
        }
    }

    /// A tick came: when the next one will. Waits for a deadline that is only just not reached, and stops the ticking
    /// when there is one before the next tick, or has been none for a while.
    fn ticked(&mut self) {
        let timers = &self.v.timers;
        let now = self.now();
        self.v.timers.armed = timers.tick.following(timers.armed, now);
        let next = self.next_deadline();
        if next > now.saturating_add(tick::EARLY) {
            let blocked = self.v.runstate.state == Runstate::BLOCKED.0;
            let served = next != NEVER && self.v.timers.armed <= next.saturating_add(tick::LATE);
            if !served || !self.v.timers.tick.spared(blocked) {
                self.stop_ticking();
            }
            return;
        }
        while self.now() < next {
            self.m.relax();
        }
    }

    /// The timer interrupt came: fires what is due and arms the rest.
    pub fn run_timers(&mut self) {
        self.pay();
        if self.v.timers.tick.every == 0 {
            self.v.timers.armed = NEVER;
        } else {
            self.ticked();
        }
        // What comes late because the host ran something else is not late for another tick's sake.
        let robbed = self.m.stolen_ns() > self.v.runstate.stolen.saturating_add(tick::LATE);
        // A busy vCPU learns of stolen time at its ticks.
        if self.v.runstate.state == Runstate::RUNNING.0 {
            self.set_runstate(Runstate::RUNNING.0);
        }
        let now = self.now();
        let mut tick = false;
        if self.v.timers.singleshot <= now {
            let at = core::mem::replace(&mut self.v.timers.singleshot, NEVER);
            self.v.timers.phase.fired(at);
            self.tell_ticks();
            let known = self.v.timers.phase.tick(at).map(|(period, _)| period);
            let noticed = if robbed { at } else { now };
            if self.v.timers.tick.fired(at, noticed, known) {
                self.begin_ticking(at, now);
            } else {
                self.stop_ticking();
            }
            tick = true;
        }
        if self.v.timers.periodic <= now {
            let period = self.v.timers.period.max(1_000_000);
            self.v.timers.periodic = now + period;
            self.publish_time();
            tick = true;
        }
        if self.v.timers.poll <= now {
            self.v.timers.poll = NEVER;
        }
        if tick {
            self.raise_virq(Virq::TIMER.0);
        }
        if self.v.id == 0
            && self
                .dom
                .watchdog
                .iter()
                .any(|w| (1..=now).contains(&w.load(Ordering::Relaxed)))
        {
            self.shut_down(noxen_pv_abi::sched::ShutdownReason::WATCHDOG.0);
        }
        self.arm_timer();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scale_two_gigahertz_halves() {
        assert_eq!(scale(2_000_000, 1 << 31, 0), 1_000_000);
        assert_eq!(scale(1_000, 1 << 31, 1), 1_000);
        assert_eq!(scale(4_000, 1 << 31, -1), 1_000);
    }

    #[test]
    fn tsc_at_is_never_early() {
        let info = crate::mock::info();
        for ns in [0, 1, 999, 1_000_000, 123_456_789_012, 1 << 50] {
            assert!(ns_at(&info, tsc_at(&info, ns)) >= ns, "{ns}");
            assert!(ns_at(&info, tsc_at(&info, ns)) <= ns + 10, "{ns}");
        }
    }
}
