//! vcpu_op (public/vcpu.h): bringing vCPUs up and down, runstate, timers, vcpu_info.
//!
//! ```text
//!   FRESH --initialise, up--> RUNNING <--> POLLING, HALTED
//!                              |  ^
//!                        down  v  | up
//!                             DOWN            (place in crate::domain::VcpuShared)
//! ```

use super::{efault, Answer};
use crate::cpu::{info, Cpu};
use crate::domain::{attention, place};
use crate::machine::Machine;
use crate::regs::Regs;
use crate::time::NEVER;
use core::sync::atomic::Ordering;
use noxen_monitor_abi::pages::call;
use noxen_pv_abi::errno::Errno;
use noxen_pv_abi::vcpu::{
    RegisterVcpuInfo, Runstate, RunstateInfo64, SetSingleshotTimer64, VcpuOp, SSHOTTMR_FUTURE,
};
use noxen_pv_abi::vm_assist::VmAssist;

/// Shortest period of the periodic timer, ns (Xen's limit).
const MIN_PERIOD: u64 = 1_000_000;
/// Bit 63 of state_entry_time while an update is under way (XEN_RUNSTATE_UPDATE).
const UPDATE: u64 = 1 << 63;

impl<M: Machine> Cpu<'_, M> {
    /// vcpu_op(command, vcpu, argument).
    pub(super) fn vcpu_op(&mut self, args: &[u64; 6], _regs: &mut Regs) -> Answer {
        let [cmd, id, arg, ..] = *args;
        let id = u32::try_from(id).map_err(|_| Errno::ENOENT)?;
        let target = self.dom.vcpu(id).ok_or(Errno::ENOENT)?;
        match VcpuOp(cmd as u32) {
            VcpuOp::INITIALISE => self.initialise(id, arg),
            VcpuOp::UP => {
                if !target.initialised.load(Ordering::SeqCst) {
                    return Err(Errno::EINVAL);
                }
                if !target.up.swap(true, Ordering::SeqCst) {
                    self.poke(id, attention::UP);
                    self.report_online(id, true);
                }
                Ok(0)
            }
            VcpuOp::DOWN => self.down(id),
            VcpuOp::IS_UP => Ok(u64::from(target.up.load(Ordering::SeqCst))),
            VcpuOp::GET_RUNSTATE_INFO => {
                let info = self.runstate_of(id);
                self.write_runstate(arg, &info).map_err(efault)?;
                Ok(0)
            }
            VcpuOp::REGISTER_RUNSTATE_MEMORY_AREA => {
                // Linux registers the areas of secondary vCPUs from the boot vCPU. The address is linear and
                // lies in the kernel half, which all page tables of a kernel share.
                let area = self.read_u64(arg).map_err(efault)?;
                target.runstate_area.store(area, Ordering::SeqCst);
                self.publish_runstate(id);
                Ok(0)
            }
            VcpuOp::REGISTER_VCPU_TIME_MEMORY_AREA => {
                if id != self.v.id {
                    return Err(Errno::EINVAL);
                }
                self.v.time_area = self.read_u64(arg).map_err(efault)?;
                self.publish_time();
                Ok(0)
            }
            VcpuOp::SET_PERIODIC_TIMER => {
                let period = self.read_u64(arg).map_err(efault)?;
                if id != self.v.id || period < MIN_PERIOD {
                    return Err(Errno::EINVAL);
                }
                self.v.timers.period = period;
                self.v.timers.periodic = self.now().saturating_add(period);
                self.arm_timer();
                Ok(0)
            }
            VcpuOp::STOP_PERIODIC_TIMER => {
                if id == self.v.id {
                    self.v.timers.period = 0;
                    self.v.timers.periodic = NEVER;
                }
                Ok(0)
            }
            VcpuOp::SET_SINGLESHOT_TIMER => {
                if id != self.v.id {
                    return Err(Errno::EINVAL);
                }
                let timer =
                    SetSingleshotTimer64::from_bytes(&self.read_array(arg).map_err(efault)?);
                if timer.flags & SSHOTTMR_FUTURE != 0 && timer.timeout_abs_ns < self.now() {
                    return Err(Errno::ETIME);
                }
                self.v.timers.singleshot = timer.timeout_abs_ns;
                self.arm_timer();
                Ok(0)
            }
            VcpuOp::STOP_SINGLESHOT_TIMER => {
                if id != self.v.id {
                    return Err(Errno::EINVAL);
                }
                self.v.timers.singleshot = NEVER;
                Ok(0)
            }
            VcpuOp::REGISTER_VCPU_INFO => self.register_vcpu_info(id, arg),
            VcpuOp::SEND_NMI => {
                if id == self.v.id {
                    self.v.nmi_pending = true;
                } else {
                    self.poke(id, attention::NMI);
                }
                Ok(0)
            }
            VcpuOp::GET_PHYSID => Err(Errno::EINVAL),
            _ => Err(Errno::ENOSYS),
        }
    }

    fn report_online(&self, id: u32, online: bool) {
        let public = self.dom.info.public_gpa + u64::from(id) * 64;
        if let Some(word) = self.m.word32(public + 4) {
            word.store(u32::from(online), Ordering::Relaxed);
        }
        self.vmm_call(call::VCPU_ONLINE, &[u64::from(id), u64::from(online)], &[]);
    }

    fn down(&mut self, id: u32) -> Answer {
        let Some(target) = self.dom.vcpu(id) else {
            return Err(Errno::ENOENT);
        };
        if !target.up.swap(false, Ordering::SeqCst) {
            return Ok(0);
        }
        self.report_online(id, false);
        if id == self.v.id {
            // Comes back from this very hypercall when somebody brings it up again.
            self.park(place::DOWN);
            return Ok(0);
        }
        self.poke(id, attention::DOWN);
        // Linux polls is_up right after: the vCPU must really have stopped.
        let (mut turns, patience) = (0u32, self.patience());
        while target.place.load(Ordering::SeqCst) != place::DOWN
            && !target.up.load(Ordering::SeqCst)
        {
            self.wait_a_little();
            turns = turns.wrapping_add(1);
            if turns.is_multiple_of(patience) {
                self.give_way(id);
            }
        }
        Ok(0)
    }

    fn register_vcpu_info(&mut self, id: u32, arg: u64) -> Answer {
        let request = RegisterVcpuInfo::from_bytes(&self.read_array(arg).map_err(efault)?);
        let at = (request.mfn << 12).wrapping_add(u64::from(request.offset));
        // 64 bytes inside one page of guest RAM.
        if request.offset > 4096 - 64
            || request.offset & 7 != 0
            || request.mfn >= self.dom.info.ram_end_mfn
            || self.m.word(at).is_none()
        {
            return Err(Errno::EINVAL);
        }
        let lock = self.lock_events();
        let target = self.dom.vcpu(id).ok_or(Errno::ENOENT)?;
        let old = target.vcpu_info.load(Ordering::SeqCst);
        let legacy = self.dom.info.shared_info_gpa;
        if !(legacy..legacy + 4096).contains(&old) {
            return Err(Errno::EINVAL);
        }
        for offset in (0..64).step_by(8) {
            if let (Some(from), Some(to)) = (self.m.word(old + offset), self.m.word(at + offset)) {
                to.store(from.load(Ordering::SeqCst), Ordering::SeqCst);
            }
        }
        target.vcpu_info.store(at, Ordering::SeqCst);
        // Whatever was raised in between is found: everything counts as pending.
        self.select_all(at);
        if let Some(pending) = self.m.byte(at + info::PENDING) {
            pending.store(1, Ordering::SeqCst);
        }
        drop(lock);
        if M::HVM {
            self.kick(1 << id);
        }
        if id == self.v.id {
            self.v.vcpu_info = at;
            self.publish_time();
        } else if !M::HVM {
            self.poke(id, attention::EVENT);
        }
        Ok(0)
    }

    /// Changes this vCPU's runstate and tells whoever watches.
    pub fn set_runstate(&mut self, state: u32) {
        let now = self.now();
        let stolen = self.m.stolen_ns();
        let run = &mut self.v.runstate;
        let mut spent = now.saturating_sub(run.entered);
        // What the host took from a running vCPU it spent runnable, and so did one that was woken and had to wait.
        if [Runstate::RUNNING.0, Runstate::BLOCKED.0].contains(&run.state) {
            let taken = stolen.saturating_sub(run.stolen).min(spent);
            spent -= taken;
            run.time[Runstate::RUNNABLE.0 as usize] += taken;
        }
        run.stolen = stolen;
        if let Some(time) = run.time.get_mut(run.state as usize) {
            *time += spent;
        }
        run.state = state;
        run.entered = now;
        let values = [
            u64::from(state),
            now,
            run.time[0],
            run.time[1],
            run.time[2],
            run.time[3],
        ];
        for (mirror, value) in self.shared().runstate.iter().zip(values) {
            mirror.store(value, Ordering::Relaxed);
        }
        let public = self.dom.info.public_gpa + u64::from(self.v.id) * 64;
        if let (Some(seen), Some(blocked)) = (self.m.word32(public), self.m.word(public + 8)) {
            seen.store(state, Ordering::Relaxed);
            blocked.store(values[4], Ordering::Relaxed);
        }
        self.publish_runstate(self.v.id);
    }

    fn runstate_of(&self, id: u32) -> RunstateInfo64 {
        let mut info = RunstateInfo64::default();
        if let Some(vcpu) = self.dom.vcpu(id) {
            let value = |index: usize| vcpu.runstate[index].load(Ordering::Relaxed);
            info.state = value(0) as u32;
            info.state_entry_time = value(1);
            info.time = [value(2), value(3), value(4), value(5)];
        }
        info
    }

    /// Writes a vCPU's registered runstate area. It is guest memory under the guest kernel's page table.
    fn publish_runstate(&self, id: u32) {
        let area = self
            .dom
            .vcpu(id)
            .map_or(0, |vcpu| vcpu.runstate_area.load(Ordering::SeqCst));
        if area == 0 {
            return;
        }
        let mut info = self.runstate_of(id);
        let guarded =
            self.dom.assist.load(Ordering::Relaxed) >> VmAssist::RUNSTATE_UPDATE_FLAG.0 & 1 != 0;
        let entered = area.wrapping_add(self.dom.shape.runstate_entry_time);
        if guarded {
            info.state_entry_time |= UPDATE;
            let _ = self.write(entered, &info.state_entry_time.to_le_bytes());
        }
        // An area that went away is the guest's loss.
        let _ = self.write_runstate(area, &info);
        if guarded {
            info.state_entry_time &= !UPDATE;
            let _ = self.write(entered, &info.state_entry_time.to_le_bytes());
        }
    }
}
