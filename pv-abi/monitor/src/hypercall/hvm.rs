//! What of the hypercalls is the same for an HVM guest, whose processor is not ours: noxen-vmm runs this core for it in its own
//! process, and has handlers of its own for what concerns memory, the machine and its end.

use super::Answer;
use crate::cpu::Cpu;
use crate::machine::Machine;
use crate::regs::Regs;
use noxen_pv_abi::errno::Errno;
use noxen_pv_abi::hypercall::Hypercall;
use noxen_pv_abi::vcpu::VcpuOp;

impl<M: Machine> Cpu<'_, M> {
    /// Runs hypercall `number` of a 64-bit HVM guest.
    ///
    /// # Errors
    /// The error number that the guest is to see negated.
    pub fn hvm_hypercall(&mut self, number: u64, args: &[u64; 6]) -> Answer {
        let call = u32::try_from(number).map_err(|_| Errno::ENOSYS)?;
        match Hypercall(call) {
            Hypercall::XEN_VERSION => self.xen_version(args),
            Hypercall::EVENT_CHANNEL_OP => self.event_channel_op(args),
            Hypercall::EVENT_CHANNEL_OP_COMPAT => self.event_channel_op_compat(args),
            Hypercall::GRANT_TABLE_OP => self.grant_table_op(args),
            Hypercall::SET_TIMER_OP => self.set_timer_op(args),
            Hypercall::CONSOLE_IO => self.console_io(args),
            Hypercall::VM_ASSIST => self.vm_assist(args),
            Hypercall::VCPU_OP => match VcpuOp(args[0] as u32) {
                // Its processors are brought up by INIT and SIPI, interrupted by their APICs.
                VcpuOp::INITIALISE | VcpuOp::UP | VcpuOp::DOWN | VcpuOp::SEND_NMI => {
                    Err(Errno::EOPNOTSUPP)
                }
                VcpuOp::IS_UP => {
                    let id = u32::try_from(args[1]).map_err(|_| Errno::ENOENT)?;
                    self.dom.vcpu(id).map(|_| 1).ok_or(Errno::ENOENT)
                }
                _ => self.vcpu_op(args, &mut Regs::default()),
            },
            Hypercall::SYSCTL | Hypercall::DOMCTL | Hypercall::PLATFORM_OP => Err(Errno::EPERM),
            _ => Err(Errno::ENOSYS),
        }
    }
}
