//! Small hypercalls: FPU switch, debug registers, emergency console, assists.

use super::{efault, Answer};
use crate::cpu::Cpu;
use crate::machine::Machine;
use crate::regs::canonical;
use core::sync::atomic::Ordering;
use noxen_monitor_abi::layout::{HOLE_END, HOLE_START};
use noxen_monitor_abi::pages::call;
use noxen_pv_abi::console::ConsoleIoOp;
use noxen_pv_abi::errno::Errno;
use noxen_pv_abi::vm_assist::{VmAssist, VmAssistCmd};

/// CR4.DE: I/O breakpoints exist and DR4, DR5 do not.
const CR4_DE: u64 = 1 << 3;
/// DR7.GD would make the monitor's own accesses trap.
const DR7_GD: u64 = 1 << 13;
/// Most bytes of one `console_io` write.
const CONSOLE_MAX: u64 = 16 << 10;
/// Bytes that go to noxen-vmm at once; the buffer lies on the monitor's stack.
const CONSOLE_CHUNK: usize = 1024;

/// DR6 with its fixed bits (SDM volume 3, 17.2.3): 4-11 and 16-31 one, 12 and the upper half zero.
fn fix_dr6(value: u64) -> u64 {
    value & 0xffff_efff | 0xffff_0ff0
}

/// DR7 with its fixed bits: 10 one, 11, 12, 14, 15 and the upper half zero.
fn fix_dr7(value: u64) -> u64 {
    value & 0xffff_23ff | 0x400
}

/// Some enabled breakpoint of `dr7` is on an I/O port (type 2).
fn wants_io_breakpoint(dr7: u64) -> bool {
    (0..4).any(|i| dr7 >> (2 * i) & 3 != 0 && dr7 >> (16 + 4 * i) & 3 == 2)
}

impl<M: Machine> Cpu<'_, M> {
    /// `fpu_taskswitch(set)`: virtual CR0.TS.
    pub(super) fn fpu_taskswitch(&mut self, args: &[u64; 6]) -> Answer {
        self.switch_ts(args[0] as u32 != 0);
        Ok(0)
    }

    /// Sets or clears CR0.TS, which is the guest's.
    pub(crate) fn switch_ts(&mut self, on: bool) {
        self.v.ts = on;
        self.m.set_ts(on);
    }

    /// `set_debugreg(reg, value)`.
    pub(super) fn set_debugreg(&mut self, args: &[u64; 6]) -> Answer {
        let [reg, value, ..] = *args;
        self.write_debugreg(reg as u32, value)
    }

    /// `get_debugreg(reg)`.
    pub(super) fn get_debugreg(&mut self, args: &[u64; 6]) -> Answer {
        self.read_debugreg(args[0] as u32)
    }

    /// A write to DR`reg` by the guest. `EPERM`: a value it may not have; `ENODEV`: no such register.
    pub(crate) fn write_debugreg(&mut self, reg: u32, value: u64) -> Answer {
        match self.alias(reg)? {
            reg @ 0..=3 => {
                if !canonical(value) || (HOLE_START..HOLE_END).contains(&value) {
                    return Err(Errno::EPERM);
                }
                self.m.set_dr(reg, value);
            }
            6 => self.m.set_dr(6, fix_dr6(value)),
            _ => {
                if value & DR7_GD != 0 || (wants_io_breakpoint(value) && self.v.cr4 & CR4_DE == 0) {
                    return Err(Errno::EPERM);
                }
                self.m.set_dr(7, fix_dr7(value));
            }
        }
        Ok(0)
    }

    /// A read of DR`reg` by the guest.
    pub(crate) fn read_debugreg(&self, reg: u32) -> Answer {
        Ok(self.m.dr(self.alias(reg)?))
    }

    /// DR4 and DR5 mean DR6 and DR7 unless CR4.DE is set.
    fn alias(&self, reg: u32) -> Result<u32, Errno> {
        match reg {
            0..=3 | 6 | 7 => Ok(reg),
            4 | 5 if self.v.cr4 & CR4_DE == 0 => Ok(reg + 2),
            _ => Err(Errno::ENODEV),
        }
    }

    /// `console_io(cmd, count, buffer)`: the emergency console, which noxen-vmm keeps in the domain's log.
    pub(super) fn console_io(&mut self, args: &[u64; 6]) -> Answer {
        let [cmd, count, buffer, ..] = *args;
        match ConsoleIoOp(cmd as u32) {
            ConsoleIoOp::WRITE => self.console_write(buffer, u64::from(count as u32)),
            // Nobody ever types on it.
            ConsoleIoOp::READ => Ok(0),
            _ => Err(Errno::ENOSYS),
        }
    }

    fn console_write(&self, buffer: u64, count: u64) -> Answer {
        if count > CONSOLE_MAX {
            return Err(Errno::E2BIG);
        }
        let mut chunk = [0u8; CONSOLE_CHUNK];
        let mut done = 0;
        while done < count {
            let len = (count - done).min(CONSOLE_CHUNK as u64);
            let Some(text) = chunk.get_mut(..len as usize) else {
                break;
            };
            self.read(buffer.wrapping_add(done), text).map_err(efault)?;
            self.vmm_call(call::CONSOLE_IO, &[len], text);
            done += len;
        }
        Ok(0)
    }

    /// `vm_assist(cmd, type)`.
    ///
    /// The two 4-GiB segment assists concern 32-bit guests and need no work here: they are accepted, as
    /// Xen does. `m2p_strict` would hide the M2P from user space, which we do not do: refused.
    pub(super) fn vm_assist(&mut self, args: &[u64; 6]) -> Answer {
        let [cmd, kind, ..] = *args;
        let kind = kind as u32;
        let bit = match VmAssist(kind) {
            VmAssist::FOUR_GB_SEGMENTS
            | VmAssist::FOUR_GB_SEGMENTS_NOTIFY
            | VmAssist::WRITABLE_PAGETABLES
            | VmAssist::PAE_EXTENDED_CR3
            | VmAssist::ARCHITECTURAL_IOPL
            | VmAssist::RUNSTATE_UPDATE_FLAG => 1 << kind,
            _ => return Err(Errno::EINVAL),
        };
        match VmAssistCmd(cmd as u32) {
            VmAssistCmd::ENABLE => self.dom.assist.fetch_or(bit, Ordering::Relaxed),
            VmAssistCmd::DISABLE => self.dom.assist.fetch_and(!bit, Ordering::Relaxed),
            _ => return Err(Errno::ENOSYS),
        };
        Ok(0)
    }
}
