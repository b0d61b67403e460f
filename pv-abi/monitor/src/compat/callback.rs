//! Where a 32-bit guest kernel wants to be entered: handlers are CS:EIP, its stack SS:ESP.

use super::segment::fix_selector;
use crate::cpu::Cpu;
use crate::hypercall::{efault, Answer};
use crate::machine::Machine;
use crate::regs::Regs;
use crate::vcpu::{Callback, Trap};
use noxen_monitor_abi::layout::compat::{KERNEL_CS, SCRATCH_VA};
use noxen_pv_abi::callback::{
    CallbackOp, CallbackRegister32, CallbackType, CallbackUnregister, CALLBACKF_MASK_EVENTS,
};
use noxen_pv_abi::errno::Errno;
use noxen_pv_abi::hypercall::Hypercall;
use noxen_pv_abi::nmi::NmiCallback32;
use noxen_pv_abi::segment::FIRST_RESERVED_GDT_ENTRY;
use noxen_pv_abi::trap::{TrapInfo32, TrapInfo64};

impl<M: Machine> Cpu<'_, M> {
    /// set_trap_table(list or NULL): a list ends with address 0; NULL clears the table.
    pub(super) fn set_trap_table32(&mut self, list: u64) -> Answer {
        if list == 0 {
            self.v.traps = [Trap::default(); 256];
            self.m.set_soft_gate(0x80, false);
            return Ok(0);
        }
        // 256 vectors: a longer list only repeats itself.
        for index in 0..257u64 {
            let at = list.wrapping_add(index * TrapInfo32::SIZE as u64);
            let info = TrapInfo32::from_bytes(&self.read_array(at).map_err(efault)?);
            if info.address == 0 {
                break;
            }
            self.set_trap(&wide_trap(&info));
        }
        Ok(0)
    }

    /// set_callbacks(event CS, event EIP, failsafe CS, failsafe EIP), the form before callback_op.
    pub(super) fn set_callbacks32(&mut self, args: &[u64; 6]) -> Answer {
        let [event_cs, event, failsafe_cs, failsafe, ..] = *args;
        let callbacks = &mut self.v.callbacks;
        callbacks.event = Callback {
            address: event,
            cs: fix_selector(event_cs as u16),
            mask: true,
        };
        callbacks.failsafe.address = failsafe;
        callbacks.failsafe.cs = fix_selector(failsafe_cs as u16);
        Ok(0)
    }

    /// callback_op(command, argument).
    pub(super) fn callback_op32(&mut self, cmd: u64, arg: u64) -> Answer {
        let (kind, callback) = match CallbackOp(cmd as u32) {
            CallbackOp::REGISTER => {
                let register =
                    CallbackRegister32::from_bytes(&self.read_array(arg).map_err(efault)?);
                let callback = Callback {
                    address: u64::from(register.eip),
                    cs: fix_selector(register.cs as u16),
                    mask: register.flags & CALLBACKF_MASK_EVENTS != 0,
                };
                (CallbackType(register.kind), callback)
            }
            CallbackOp::UNREGISTER => {
                let unregister =
                    CallbackUnregister::from_bytes(&self.read_array(arg).map_err(efault)?);
                (CallbackType(unregister.kind), Callback::default())
            }
            _ => return Err(Errno::ENOSYS),
        };
        let unregister = cmd as u32 == CallbackOp::UNREGISTER.0;
        match kind {
            // A guest cannot live without these two.
            CallbackType::EVENT | CallbackType::FAILSAFE if unregister => Err(Errno::EINVAL),
            // Of 64-bit programs, which there are none of.
            CallbackType::SYSCALL => Err(Errno::ENOSYS),
            kind => self.set_callback(kind, callback),
        }
    }

    /// nmi_op(command, argument): 0 registers {address, pad}, 1 unregisters.
    pub(super) fn nmi_op32(&mut self, cmd: u64, arg: u64) -> Answer {
        self.v.traps[2] = match cmd {
            0 => {
                let asked = NmiCallback32::from_bytes(&self.read_array(arg).map_err(efault)?);
                if self.v.id != 0 {
                    return Err(Errno::EINVAL);
                }
                Trap {
                    address: u64::from(asked.handler_address),
                    flags: 4,
                    cs: KERNEL_CS,
                }
            }
            1 => Trap::default(),
            _ => return Err(Errno::ENOSYS),
        };
        Ok(0)
    }

    /// `stack_switch(ss, esp)`: the stack for entries from ring 3.
    pub(super) fn stack_switch32(&mut self, ss: u64, esp: u64) -> Answer {
        self.v.kernel_ss = u64::from(fix_selector(ss as u16));
        self.v.kernel_sp = esp;
        Ok(0)
    }

    /// `set_gdt(frames, entries)`.
    pub(super) fn set_gdt32(&mut self, list: u64, entries: u64, regs: &mut Regs) -> Answer {
        if entries > u64::from(FIRST_RESERVED_GDT_ENTRY) {
            return Err(Errno::EINVAL);
        }
        self.widen(list, SCRATCH_VA, entries.div_ceil(512))
            .map_err(efault)?;
        let number = u64::from(Hypercall::SET_GDT.0);
        self.dispatch(number, &[SCRATCH_VA, entries, 0, 0, 0, 0], regs)
    }
}

/// A trap as the core keeps it.
pub(super) fn wide_trap(info: &TrapInfo32) -> TrapInfo64 {
    TrapInfo64 {
        vector: info.vector,
        flags: info.flags,
        cs: fix_selector(info.cs),
        address: u64::from(info.address),
        ..TrapInfo64::default()
    }
}
