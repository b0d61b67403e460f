//! mmuext_op, vcpu_op, sched_op, grant_table_op and physdev_op of 32-bit guests: where the argument's layout
//! depends on the width of a pointer or on the alignment of a u64.

use crate::cpu::Cpu;
use crate::hypercall::{efault, Answer};
use crate::machine::Machine;
use crate::pagetable::frame;
use crate::regs::Regs;
use core::mem::offset_of;
use noxen_monitor_abi::layout::compat::{SCRATCH_SIZE, SCRATCH_VA};
use noxen_pv_abi::errno::Errno;
use noxen_pv_abi::grant_table::{
    GetStatusFrames32, GnttabCopy32, GnttabOp, GnttabTransfer32, GrantStatus, SetupTable32,
    SetupTable64,
};
use noxen_pv_abi::hypercall::Hypercall;
use noxen_pv_abi::mmu::{MmuextCmd, MmuextOp32, MmuextOp64, MMU_UPDATE_PREEMPTED};
use noxen_pv_abi::physdev::{PhysdevOp, PhysdevSetIobitmap32, PhysdevSetIobitmap64};
use noxen_pv_abi::sched::{SchedOp, SchedPoll32, SchedPoll64};
use noxen_pv_abi::vcpu::{SetSingleshotTimer32, SetSingleshotTimer64, VcpuOp};

/// Room for a frame list behind the argument's structure.
const LIST: u64 = SCRATCH_VA + 64;
/// Words that it has room for.
const LIST_WORDS: u64 = (SCRATCH_SIZE - 64) / 8;

impl<M: Machine> Cpu<'_, M> {
    /// mmuext_op(operations, count, done, domid), one after the other.
    pub(super) fn mmuext_op32(&mut self, args: &[u64; 6], regs: &mut Regs) -> Answer {
        let [list, count, done, dom, ..] = *args;
        let count = count & !u64::from(MMU_UPDATE_PREEMPTED);
        let mut finished = 0u32;
        let mut answer = Ok(0);
        while u64::from(finished) < count {
            let at = list.wrapping_add(u64::from(finished) * MmuextOp32::SIZE as u64);
            let step = match self.read_array(at) {
                Ok(bytes) => self.mmuext32(&MmuextOp32::from_bytes(&bytes), dom, regs),
                Err(fault) => Err(efault(fault)),
            };
            if step.is_err() {
                answer = step;
                break;
            }
            finished += 1;
            self.breathe(u64::from(finished));
        }
        if done != 0 {
            self.write(done, &finished.to_le_bytes()).map_err(efault)?;
        }
        answer
    }

    fn mmuext32(&mut self, op: &MmuextOp32, dom: u64, regs: &mut Regs) -> Answer {
        let number = u64::from(Hypercall::MMUEXT_OP.0);
        let known = |done: bool| done.then_some(0).ok_or(Errno::EINVAL);
        let mfn = u64::from(op.arg1);
        // The core checks whom an operation names: an empty list does nothing else.
        self.dispatch(number, &[0, 0, 0, dom, 0, 0], regs)?;
        match MmuextCmd(op.cmd) {
            MmuextCmd::PIN_L3_TABLE => known(self.tables().install_l3(mfn)),
            MmuextCmd::NEW_BASEPTR => known(self.load_l3(mfn)),
            MmuextCmd::PIN_L1_TABLE | MmuextCmd::PIN_L2_TABLE => {
                known(self.tables().mark_frame(mfn, frame::TABLE, 0))
            }
            // There is no fourth level, and user space shares the kernel's table.
            MmuextCmd::PIN_L4_TABLE | MmuextCmd::NEW_USER_BASEPTR => Err(Errno::EINVAL),
            _ => {
                let wide = MmuextOp64 {
                    cmd: op.cmd,
                    arg1: mfn,
                    arg2: u64::from(op.arg2),
                    ..MmuextOp64::default()
                };
                self.write(SCRATCH_VA, &wide.to_bytes()).map_err(efault)?;
                self.dispatch(number, &[SCRATCH_VA, 1, 0, dom, 0, 0], regs)
            }
        }
    }

    /// vcpu_op(command, vcpu, argument).
    pub(super) fn vcpu_op32(&mut self, args: &[u64; 6], regs: &mut Regs) -> Answer {
        let [cmd, id, arg, ..] = *args;
        let mut at = arg;
        match VcpuOp(cmd as u32) {
            VcpuOp::INITIALISE => return self.initialise32(id as u32, arg),
            // A union of a pointer and a u64, of which the pointer counts.
            VcpuOp::REGISTER_RUNSTATE_MEMORY_AREA | VcpuOp::REGISTER_VCPU_TIME_MEMORY_AREA => {
                let area = u64::from(self.read_u32(arg).map_err(efault)?);
                self.write(SCRATCH_VA, &area.to_le_bytes())
                    .map_err(efault)?;
                at = SCRATCH_VA;
            }
            VcpuOp::SET_SINGLESHOT_TIMER => {
                let asked =
                    SetSingleshotTimer32::from_bytes(&self.read_array(arg).map_err(efault)?);
                let wide = SetSingleshotTimer64 {
                    timeout_abs_ns: asked.timeout_abs_ns,
                    flags: asked.flags,
                    ..SetSingleshotTimer64::default()
                };
                self.write(SCRATCH_VA, &wide.to_bytes()).map_err(efault)?;
                at = SCRATCH_VA;
            }
            _ => {}
        }
        let number = u64::from(Hypercall::VCPU_OP.0);
        self.dispatch(number, &[cmd, id, at, 0, 0, 0], regs)
    }

    /// sched_op(command, argument).
    pub(super) fn sched_op32(&mut self, args: &[u64; 6], regs: &mut Regs) -> Answer {
        let number = u64::from(Hypercall::SCHED_OP.0);
        let [cmd, arg, ..] = *args;
        if cmd as u32 != SchedOp::POLL.0 {
            return self.dispatch(number, args, regs);
        }
        let asked = SchedPoll32::from_bytes(&self.read_array(arg).map_err(efault)?);
        let wide = SchedPoll64 {
            ports: u64::from(asked.ports),
            nr_ports: asked.nr_ports,
            timeout: asked.timeout,
            ..SchedPoll64::default()
        };
        self.write(SCRATCH_VA, &wide.to_bytes()).map_err(efault)?;
        self.dispatch(number, &[cmd, SCRATCH_VA, 0, 0, 0, 0], regs)
    }

    /// `grant_table_op(cmd, operations, count)`.
    pub(super) fn grant_table_op32(&mut self, args: &[u64; 6], regs: &mut Regs) -> Answer {
        let [cmd, at, count, ..] = *args;
        let number = u64::from(Hypercall::GRANT_TABLE_OP.0);
        if count > i32::MAX as u64 {
            return Err(Errno::EINVAL);
        }
        match GnttabOp(cmd as u32) {
            GnttabOp::SETUP_TABLE if count == 1 => self.setup_table32(at, regs),
            GnttabOp::GET_STATUS_FRAMES if count == 1 => self.answer_status(
                at,
                offset_of!(GetStatusFrames32, status),
                GrantStatus::GENERAL_ERROR,
            ),
            GnttabOp::COPY => self.refuse_each(
                at,
                count as u32,
                GnttabCopy32::SIZE,
                offset_of!(GnttabCopy32, status),
                GrantStatus::BAD_DOMAIN,
            ),
            GnttabOp::TRANSFER => self.refuse_each(
                at,
                count as u32,
                GnttabTransfer32::SIZE,
                offset_of!(GnttabTransfer32, status),
                GrantStatus::BAD_DOMAIN,
            ),
            _ => self.dispatch(number, args, regs),
        }
    }

    fn setup_table32(&mut self, at: u64, regs: &mut Regs) -> Answer {
        let asked = SetupTable32::from_bytes(&self.read_array(at).map_err(efault)?);
        let wide = SetupTable64 {
            dom: asked.dom,
            nr_frames: asked.nr_frames,
            frame_list: LIST,
            ..SetupTable64::default()
        };
        self.write(SCRATCH_VA, &wide.to_bytes()).map_err(efault)?;
        let number = u64::from(Hypercall::GRANT_TABLE_OP.0);
        let setup = u64::from(GnttabOp::SETUP_TABLE.0);
        self.dispatch(number, &[setup, SCRATCH_VA, 1, 0, 0, 0], regs)?;
        let done = SetupTable64::from_bytes(&self.read_array(SCRATCH_VA).map_err(efault)?);
        let mut status = GrantStatus(done.status);
        if status == GrantStatus::OKAY {
            let frames = u64::from(asked.nr_frames).min(LIST_WORDS);
            if self
                .narrow(LIST, u64::from(asked.frame_list), frames)
                .is_err()
            {
                status = GrantStatus::BAD_VIRT_ADDR;
            }
        }
        self.answer_status(at, offset_of!(SetupTable32, status), status)
    }

    /// `physdev_op(cmd, arg)`.
    pub(super) fn physdev_op32(&mut self, cmd: u64, arg: u64, regs: &mut Regs) -> Answer {
        let number = u64::from(Hypercall::PHYSDEV_OP.0);
        if cmd as u32 != PhysdevOp::SET_IOBITMAP.0 {
            return self.dispatch(number, &[cmd, arg, 0, 0, 0, 0], regs);
        }
        let asked = PhysdevSetIobitmap32::from_bytes(&self.read_array(arg).map_err(efault)?);
        let wide = PhysdevSetIobitmap64 {
            bitmap: u64::from(asked.bitmap),
            nr_ports: asked.nr_ports,
            ..PhysdevSetIobitmap64::default()
        };
        self.write(SCRATCH_VA, &wide.to_bytes()).map_err(efault)?;
        self.dispatch(number, &[cmd, SCRATCH_VA, 0, 0, 0, 0], regs)
    }
}
