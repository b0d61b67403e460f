//! Where the guest kernel wants to be entered: trap table, callbacks, NMI (public/callback.h, nmi.h).

use super::{efault, Answer};
use crate::cpu::Cpu;
use crate::machine::Machine;
use crate::regs::canonical;
use crate::vcpu::{Callback, Trap};
use noxen_pv_abi::callback::{
    CallbackOp, CallbackRegister64, CallbackType, CallbackUnregister, CALLBACKF_MASK_EVENTS,
};
use noxen_pv_abi::errno::Errno;
use noxen_pv_abi::trap::TrapInfo64;

impl<M: Machine> Cpu<'_, M> {
    /// set_trap_table(list or NULL): a list ends with address 0; NULL clears the table.
    pub(super) fn set_trap_table(&mut self, args: &[u64; 6]) -> Answer {
        let list = args[0];
        if list == 0 {
            self.v.traps = [Trap::default(); 256];
            self.m.set_soft_gate(0x80, false);
            return Ok(0);
        }
        // 256 vectors: a longer list only repeats itself.
        for index in 0..257u64 {
            let at = list.wrapping_add(index * TrapInfo64::SIZE as u64);
            let info = TrapInfo64::from_bytes(&self.read_array(at).map_err(efault)?);
            if info.address == 0 {
                break;
            }
            if !canonical(info.address) {
                return Err(Errno::EINVAL);
            }
            self.set_trap(&info);
        }
        Ok(0)
    }

    /// Registers one trap.
    pub(crate) fn set_trap(&mut self, info: &TrapInfo64) {
        self.v.traps[usize::from(info.vector)] = Trap {
            address: info.address,
            flags: info.flags,
            cs: info.cs,
        };
        if info.vector == 0x80 {
            self.m.set_soft_gate(0x80, info.flags & 3 == 3);
        }
    }

    /// set_callbacks(event, failsafe, syscall), the form before callback_op; NULL syscall is legal.
    pub(super) fn set_callbacks(&mut self, args: &[u64; 6]) -> Answer {
        let [event, failsafe, syscall, ..] = *args;
        if ![event, failsafe, syscall].into_iter().all(canonical) {
            return Err(Errno::EINVAL);
        }
        let callbacks = &mut self.v.callbacks;
        callbacks.event = Callback {
            address: event,
            cs: 0,
            mask: true,
        };
        callbacks.failsafe.address = failsafe;
        callbacks.syscall.address = syscall;
        Ok(0)
    }

    /// callback_op(command, argument).
    pub(super) fn callback_op(&mut self, args: &[u64; 6]) -> Answer {
        let [cmd, arg, ..] = *args;
        match CallbackOp(cmd as u32) {
            CallbackOp::REGISTER => {
                let register =
                    CallbackRegister64::from_bytes(&self.read_array(arg).map_err(efault)?);
                let callback = Callback {
                    address: register.address,
                    cs: 0,
                    mask: register.flags & CALLBACKF_MASK_EVENTS != 0,
                };
                if !canonical(callback.address) {
                    return Err(Errno::EINVAL);
                }
                self.set_callback(CallbackType(register.kind), callback)
            }
            CallbackOp::UNREGISTER => {
                let unregister =
                    CallbackUnregister::from_bytes(&self.read_array(arg).map_err(efault)?);
                match CallbackType(unregister.kind) {
                    // A guest cannot live without these two.
                    CallbackType::EVENT | CallbackType::FAILSAFE | CallbackType::SYSCALL => {
                        Err(Errno::EINVAL)
                    }
                    kind => self.set_callback(kind, Callback::default()),
                }
            }
            _ => Err(Errno::ENOSYS),
        }
    }

    pub(crate) fn set_callback(&mut self, kind: CallbackType, callback: Callback) -> Answer {
        let callbacks = &mut self.v.callbacks;
        match kind {
            CallbackType::EVENT => callbacks.event = callback,
            CallbackType::FAILSAFE => callbacks.failsafe = callback,
            CallbackType::SYSCALL => callbacks.syscall = callback,
            CallbackType::SYSCALL32 => callbacks.syscall32 = callback,
            CallbackType::SYSENTER | CallbackType::SYSENTER_DEPRECATED => {
                callbacks.sysenter = callback
            }
            CallbackType::NMI => {
                self.v.traps[2] = Trap {
                    address: callback.address,
                    flags: 4,
                    cs: callback.cs,
                }
            }
            _ => return Err(Errno::ENOSYS),
        }
        Ok(0)
    }

    /// nmi_op(command, argument): 0 registers {address, pad}, 1 unregisters.
    pub(super) fn nmi_op(&mut self, args: &[u64; 6]) -> Answer {
        match args[0] as u32 {
            0 => {
                let address = self.read_u64(args[1]).map_err(efault)?;
                if self.v.id != 0 || !canonical(address) {
                    return Err(Errno::EINVAL);
                }
                self.v.traps[2] = Trap {
                    address,
                    flags: 4,
                    cs: 0,
                };
                Ok(0)
            }
            1 => {
                self.v.traps[2] = Trap::default();
                Ok(0)
            }
            _ => Err(Errno::ENOSYS),
        }
    }
}
