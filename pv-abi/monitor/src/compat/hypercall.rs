//! Hypercalls by `int 0x82`: number in EAX, arguments in EBX ECX EDX ESI EDI EBP, result in EAX.

use crate::cpu::Cpu;
use crate::hypercall::{efault, Answer};
use crate::machine::Machine;
use crate::regs::Regs;
use noxen_monitor_abi::layout::compat::{M2P_VA, SCRATCH_VA};
use noxen_pv_abi::errno::Errno;
use noxen_pv_abi::hypercall::Hypercall;
use noxen_pv_abi::multicall::MulticallEntry32;
use noxen_pv_abi::version::{Feature, FeatureInfo, PlatformParameters32, VersionOp};

impl<M: Machine> Cpu<'_, M> {
    /// A hypercall of the guest kernel.
    pub(super) fn hypercall32(&mut self, regs: &mut Regs) {
        let number = regs.rax;
        self.count_hypercall(number);
        if number == u64::from(Hypercall::IRET.0) {
            self.iret32(regs);
            return;
        }
        let args = [regs.rbx, regs.rcx, regs.rdx, regs.rsi, regs.rdi, regs.rbp];
        let answer = self.dispatch32(number, &args, regs);
        regs.rax = self.encode(number, answer) & 0xffff_ffff;
    }

    /// Runs hypercall `number` (not iret), whose arguments are 32 bits wide.
    fn dispatch32(&mut self, number: u64, args: &[u64; 6], regs: &mut Regs) -> Answer {
        let [a, b, c, d, ..] = *args;
        let wide = |low: u64, high: u64| high << 32 | low;
        match Hypercall(number as u32) {
            Hypercall::SET_TRAP_TABLE => self.set_trap_table32(a),
            Hypercall::SET_CALLBACKS => self.set_callbacks32(args),
            Hypercall::CALLBACK_OP => self.callback_op32(a, b),
            Hypercall::NMI_OP => self.nmi_op32(a, b),
            Hypercall::STACK_SWITCH => self.stack_switch32(a, b),
            Hypercall::SET_GDT => self.set_gdt32(a, b, regs),
            Hypercall::UPDATE_DESCRIPTOR => {
                self.dispatch(number, &[wide(a, b), wide(c, d), 0, 0, 0, 0], regs)
            }
            Hypercall::UPDATE_VA_MAPPING => {
                self.dispatch(number, &[a, wide(b, c), d, 0, 0, 0], regs)
            }
            Hypercall::SET_TIMER_OP => self.dispatch(number, &[wide(a, b), 0, 0, 0, 0, 0], regs),
            Hypercall::MMUEXT_OP => self.mmuext_op32(args, regs),
            Hypercall::MULTICALL => self.multicall32(a, b, regs),
            Hypercall::MEMORY_OP => self.memory_op32(a, b, regs),
            Hypercall::VCPU_OP => self.vcpu_op32(args, regs),
            Hypercall::SCHED_OP => self.sched_op32(args, regs),
            Hypercall::GRANT_TABLE_OP => self.grant_table_op32(args, regs),
            Hypercall::PHYSDEV_OP => self.physdev_op32(a, b, regs),
            // struct physdev_op: the command, then the argument without padding.
            Hypercall::PHYSDEV_OP_COMPAT => {
                let cmd = self.read_u32(a).map_err(efault)?;
                self.physdev_op32(u64::from(cmd), a.wrapping_add(4), regs)
            }
            Hypercall::XEN_VERSION => self.xen_version32(a, b, regs),
            // A 32-bit kernel loads FS and GS itself.
            Hypercall::SET_SEGMENT_BASE => Err(Errno::ENOSYS),
            // Either the structures are the same (mmu_update, event_channel_op, console_io), or there are none.
            _ => self.dispatch(number, args, regs),
        }
    }

    /// multicall(list, count): every entry gets its own result; a failing one does not stop the rest.
    fn multicall32(&mut self, list: u64, count: u64, regs: &mut Regs) -> Answer {
        for index in 0..count {
            let at = list.wrapping_add(index * MulticallEntry32::SIZE as u64);
            let entry = MulticallEntry32::from_bytes(&self.read_array(at).map_err(efault)?);
            let number = u64::from(entry.op);
            self.count_hypercall(number);
            // Neither may run inside a list: one replaces the context, the other would nest.
            let inside = entry.op != Hypercall::IRET.0 && entry.op != Hypercall::MULTICALL.0;
            let answer = if inside {
                self.dispatch32(number, &entry.args.map(u64::from), regs)
            } else {
                Err(Errno::ENOSYS)
            };
            let result = self.encode(number, answer) as u32;
            self.write(at.wrapping_add(4), &result.to_le_bytes())
                .map_err(efault)?;
            if index % 64 == 63 {
                self.answer_flush();
            }
        }
        self.count_batched(count);
        Ok(0)
    }

    /// `xen_version(cmd, arg)`.
    fn xen_version32(&mut self, cmd: u64, at: u64, regs: &mut Regs) -> Answer {
        let number = u64::from(Hypercall::XEN_VERSION.0);
        match VersionOp(cmd as u32) {
            VersionOp::PLATFORM_PARAMETERS => {
                let answer = PlatformParameters32 {
                    virt_start: M2P_VA as u32,
                };
                self.write(at, &answer.to_bytes()).map_err(efault)?;
                Ok(0)
            }
            VersionOp::GET_FEATURES => {
                let asked: [u8; FeatureInfo::SIZE] = self.read_array(at).map_err(efault)?;
                self.write(SCRATCH_VA, &asked).map_err(efault)?;
                self.dispatch(number, &[cmd, SCRATCH_VA, 0, 0, 0, 0], regs)?;
                let mut answer =
                    FeatureInfo::from_bytes(&self.read_array(SCRATCH_VA).map_err(efault)?);
                // Page tables may lie anywhere: nothing is ever mapped to be looked at.
                answer.submap |= Feature::HIGHMEM_ASSIST.mask();
                self.write(at, &answer.to_bytes()).map_err(efault)?;
                Ok(0)
            }
            _ => self.dispatch(number, &[cmd, at, 0, 0, 0, 0], regs),
        }
    }
}
