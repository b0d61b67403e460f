//! Hypercalls: one dispatch table, one file per family.
//!
//! Every handler takes the six arguments and answers `Ok(value)` or an error number that goes to the
//! guest negated. Guest pointers are linear addresses, read and written with the guest's rights.

mod callback;
mod event;
mod exchange;
mod grant;
mod hvm;
mod initialise;
mod iret;
mod memory;
mod misc;
mod mmu;
mod multicall;
mod physdev;
mod sched;
mod segment;
mod suspend;
mod vcpu;
mod version;

use crate::cpu::Cpu;
use crate::machine::{Fault, Machine};
use crate::regs::Regs;
use noxen_pv_abi::errno::Errno;
use noxen_pv_abi::hypercall::Hypercall;

/// What a hypercall answers.
pub type Answer = Result<u64, Errno>;

impl From<Fault> for Answer {
    fn from(_: Fault) -> Answer {
        Err(Errno::EFAULT)
    }
}

/// For `?` on guest accesses inside handlers.
pub fn efault(_: Fault) -> Errno {
    Errno::EFAULT
}

impl<M: Machine> Cpu<'_, M> {
    /// A hypercall by SYSCALL from the guest kernel: number in RAX, arguments in RDI RSI RDX R10 R8 R9.
    pub fn hypercall(&mut self, regs: &mut Regs) {
        let number = regs.rax;
        self.count_hypercall(number);
        if number == u64::from(Hypercall::IRET.0) {
            // Replaces the whole context: no result register.
            self.hypercall_iret(regs);
            return;
        }
        let args = [regs.rdi, regs.rsi, regs.rdx, regs.r10, regs.r8, regs.r9];
        // The result is stored first: a call that switches away (VCPUOP_down, suspend) may change it.
        let answer = self.dispatch(number, &args, regs);
        regs.rax = self.encode(number, answer);
    }

    /// Result register for an answer; refusals are counted.
    pub(crate) fn encode(&self, number: u64, answer: Answer) -> u64 {
        match answer {
            Ok(value) => value,
            Err(errno) => {
                if errno == Errno::ENOSYS {
                    self.count_refused(number);
                }
                (-i64::from(errno.0)) as u64
            }
        }
    }

    /// Runs hypercall `number` (not iret).
    pub(crate) fn dispatch(&mut self, number: u64, args: &[u64; 6], regs: &mut Regs) -> Answer {
        let Ok(number) = u32::try_from(number) else {
            return Err(Errno::ENOSYS);
        };
        match Hypercall(number) {
            Hypercall::MMU_UPDATE => self.mmu_update(args),
            Hypercall::UPDATE_VA_MAPPING => self.update_va_mapping(args),
            Hypercall::MMUEXT_OP => self.mmuext_op(args),
            Hypercall::STACK_SWITCH => self.stack_switch(args),
            Hypercall::SET_SEGMENT_BASE => self.set_segment_base(args),
            Hypercall::MULTICALL => self.multicall(args, regs),
            Hypercall::XEN_VERSION => self.xen_version(args),
            Hypercall::EVENT_CHANNEL_OP => self.event_channel_op(args),
            Hypercall::EVENT_CHANNEL_OP_COMPAT => self.event_channel_op_compat(args),
            Hypercall::SCHED_OP => self.sched_op(args, regs),
            Hypercall::SCHED_OP_COMPAT => self.sched_op_compat(args, regs),
            Hypercall::VCPU_OP => self.vcpu_op(args, regs),
            Hypercall::SET_TIMER_OP => self.set_timer_op(args),
            Hypercall::SET_TRAP_TABLE => self.set_trap_table(args),
            Hypercall::SET_CALLBACKS => self.set_callbacks(args),
            Hypercall::CALLBACK_OP => self.callback_op(args),
            Hypercall::NMI_OP => self.nmi_op(args),
            Hypercall::SET_GDT => self.set_gdt(args),
            Hypercall::UPDATE_DESCRIPTOR => self.update_descriptor(args),
            Hypercall::FPU_TASKSWITCH => self.fpu_taskswitch(args),
            Hypercall::SET_DEBUGREG => self.set_debugreg(args),
            Hypercall::GET_DEBUGREG => self.get_debugreg(args),
            Hypercall::MEMORY_OP => self.memory_op(args),
            Hypercall::CONSOLE_IO => self.console_io(args),
            Hypercall::VM_ASSIST => self.vm_assist(args),
            Hypercall::GRANT_TABLE_OP => self.grant_table_op(args),
            Hypercall::PHYSDEV_OP => self.physdev_op(args),
            Hypercall::PHYSDEV_OP_COMPAT => self.physdev_op_compat(args),
            Hypercall::PLATFORM_OP
            | Hypercall::SYSCTL
            | Hypercall::DOMCTL
            | Hypercall::UPDATE_VA_MAPPING_OTHERDOMAIN => {
                self.count_refused(u64::from(number));
                Err(Errno::EPERM)
            }
            _ => Err(Errno::ENOSYS),
        }
    }
}
