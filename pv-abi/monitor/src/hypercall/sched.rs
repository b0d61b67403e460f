//! sched_op, its older form, and set_timer_op (public/sched.h, xen.h).

use super::{efault, Answer};
use crate::cpu::Cpu;
use crate::domain::{attention, place};
use crate::machine::Machine;
use crate::regs::Regs;
use crate::time::NEVER;
use core::sync::atomic::Ordering;
use noxen_pv_abi::errno::Errno;
use noxen_pv_abi::sched::{SchedOp, SchedPoll64, SchedShutdown, SchedWatchdog, ShutdownReason};

/// Most ports one poll may name (Xen's limit).
const MAX_POLL: u32 = 128;

impl<M: Machine> Cpu<'_, M> {
    /// sched_op(command, argument).
    pub(super) fn sched_op(&mut self, args: &[u64; 6], regs: &mut Regs) -> Answer {
        let [cmd, arg, start_info, ..] = *args;
        match SchedOp(cmd as u32) {
            SchedOp::YIELD => {
                self.yield_now();
                Ok(0)
            }
            SchedOp::BLOCK => {
                self.block();
                Ok(0)
            }
            SchedOp::SHUTDOWN => {
                let shutdown = SchedShutdown::from_bytes(&self.read_array(arg).map_err(efault)?);
                self.shutdown_by_guest(shutdown.reason, start_info, regs)
            }
            SchedOp::POLL => self.poll(arg),
            SchedOp::SHUTDOWN_CODE => {
                let code = SchedShutdown::from_bytes(&self.read_array(arg).map_err(efault)?);
                self.dom.shutdown_code.store(code.reason, Ordering::Relaxed);
                Ok(0)
            }
            SchedOp::WATCHDOG => self.watchdog(arg),
            SchedOp::REMOTE_SHUTDOWN | SchedOp::PIN_OVERRIDE => Err(Errno::EPERM),
            _ => Err(Errno::ENOSYS),
        }
    }

    /// sched_op_compat(command, argument in the register).
    pub(super) fn sched_op_compat(&mut self, args: &[u64; 6], regs: &mut Regs) -> Answer {
        let [cmd, arg, start_info, ..] = *args;
        match SchedOp(cmd as u32) {
            SchedOp::YIELD => {
                self.yield_now();
                Ok(0)
            }
            SchedOp::BLOCK => {
                self.block();
                Ok(0)
            }
            SchedOp::SHUTDOWN => self.shutdown_by_guest(arg as u32, start_info, regs),
            _ => Err(Errno::ENOSYS),
        }
    }

    /// Only the low byte counts, as in Xen: GNU Mach passes an address to the call that takes the number itself.
    /// A domain that gives a reason without a name ends all the same.
    fn shutdown_by_guest(&mut self, reason: u32, start_info: u64, regs: &Regs) -> Answer {
        let reason = reason & 0xff;
        match ShutdownReason(reason) {
            ShutdownReason::CRASH => {
                self.crash(
                    regs,
                    0xffff,
                    0,
                    self.cr2(),
                    "it reported a crash of its own (SHUTDOWN_crash)",
                );
                Ok(0)
            }
            ShutdownReason::SUSPEND => self.suspend(start_info),
            ShutdownReason::POWEROFF
            | ShutdownReason::REBOOT
            | ShutdownReason::WATCHDOG
            | ShutdownReason::SOFT_RESET => {
                self.shut_down(reason);
                Ok(0)
            }
            _ => {
                let why =
                    "it shut down for a reason that has no name (see SHUTDOWN_* in public/sched.h)";
                self.crash(regs, 0xffff, u64::from(reason), self.cr2(), why);
                Ok(0)
            }
        }
    }

    /// To the next vCPU that has something to do and lost its processor; where there is none, the guest waits for somebody
    /// outside: for its console's back end, or the host may look at who that is.
    fn yield_now(&mut self) {
        if self.pay_and_give_way() {
            return;
        }
        let vcpus = self.dom.info.nr_vcpus;
        let mut others = (1..vcpus).map(|step| (self.v.id + step) % vcpus);
        if let Some(next) = others.find(|id| self.wants_to_run(*id)) {
            self.m.yield_cpu(next);
        } else if !self.wait_for_console() {
            self.m.yield_cpu(self.v.id);
        }
    }

    fn wants_to_run(&self, id: u32) -> bool {
        self.dom.vcpu(id).is_some_and(|vcpu| {
            self.m.preempted(id) != Some(false)
                && (vcpu.place.load(Ordering::SeqCst) == place::RUNNING
                    || vcpu.attention.load(Ordering::SeqCst) != 0)
        })
    }

    /// SCHEDOP_block: unmask events, wait for one.
    pub fn block(&mut self) {
        self.mask_events(false);
        self.sleep(|cpu| cpu.events_pending() || cpu.v.nmi_pending);
    }

    /// SCHEDOP_poll: wait until one of the ports is pending, masked or not, or the time is up.
    fn poll(&mut self, arg: u64) -> Answer {
        let poll = SchedPoll64::from_bytes(&self.read_array(arg).map_err(efault)?);
        if poll.nr_ports > MAX_POLL {
            return Err(Errno::EINVAL);
        }
        let mut ports = [0u32; MAX_POLL as usize];
        let ports = &mut ports[..poll.nr_ports as usize];
        for (index, port) in ports.iter_mut().enumerate() {
            *port = self
                .read_u32(poll.ports.wrapping_add(index as u64 * 4))
                .map_err(efault)?;
            if *port >= self.max_ports() {
                return Err(Errno::EINVAL);
            }
        }
        if poll.timeout != 0 {
            if poll.timeout <= self.now() {
                return Ok(0);
            }
            self.v.timers.poll = poll.timeout;
            self.arm_timer();
        }
        let timed = poll.timeout != 0;
        self.sleep(|cpu| {
            ports.iter().any(|port| cpu.is_pending(*port))
                || (timed && cpu.v.timers.poll == NEVER)
                || cpu.v.nmi_pending
                || (cpu.events_pending() && !cpu.events_masked())
        });
        self.v.timers.poll = NEVER;
        Ok(0)
    }

    /// SCHEDOP_watchdog {id, timeout in s}: id 0 makes one and answers its number, timeout 0 ends it.
    fn watchdog(&mut self, arg: u64) -> Answer {
        let request = SchedWatchdog::from_bytes(&self.read_array(arg).map_err(efault)?);
        let deadline = match request.timeout {
            0 => 0,
            seconds => self.now() + u64::from(seconds) * 1_000_000_000,
        };
        let slots = &self.dom.watchdog;
        let answer = match request.id {
            0 if deadline == 0 => return Err(Errno::EINVAL),
            0 => {
                let free = slots.iter().position(|slot| {
                    slot.compare_exchange(0, deadline, Ordering::SeqCst, Ordering::SeqCst)
                        .is_ok()
                });
                free.ok_or(Errno::ENOSPC)? as u64 + 1
            }
            id => {
                let slot = slots.get(id as usize - 1).ok_or(Errno::EINVAL)?;
                if slot.swap(deadline, Ordering::SeqCst) == 0 {
                    slot.store(0, Ordering::SeqCst);
                    return Err(Errno::ENOENT);
                }
                0
            }
        };
        if self.v.id == 0 {
            self.arm_timer();
        } else {
            // vCPU 0 keeps the watch.
            self.poke(0, attention::WATCH);
        }
        Ok(answer)
    }

    /// set_timer_op(absolute ns): one shot, 0 cancels.
    pub(super) fn set_timer_op(&mut self, args: &[u64; 6]) -> Answer {
        let at = args[0];
        self.v.timers.singleshot = if at == 0 {
            NEVER
        } else {
            self.sane_deadline(at)
        };
        self.arm_timer();
        Ok(0)
    }

    /// Some old kernels ask for a timer absurdly far away; Xen fires those after 100 ms.
    fn sane_deadline(&self, at: u64) -> u64 {
        let now = self.now();
        if (at as i64) < 0 || at.saturating_sub(now) > 1 << 50 {
            now + 100_000_000
        } else {
            at
        }
    }
}
