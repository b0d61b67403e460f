//! `physdev_op` (33, 19): an unprivileged domain owns no device, only its virtual I/O privilege level.

use super::{efault, Answer};
use crate::cpu::Cpu;
use crate::machine::Machine;
use noxen_pv_abi::errno::Errno;
use noxen_pv_abi::physdev::{PhysdevOp, PhysdevSetIobitmap64, PhysdevSetIopl};

/// Ports that exist.
const NR_PORTS: u32 = 65536;

impl<M: Machine> Cpu<'_, M> {
    /// `physdev_op(cmd, arg)`.
    pub(super) fn physdev_op(&mut self, args: &[u64; 6]) -> Answer {
        let [cmd, at, ..] = *args;
        match PhysdevOp(cmd as u32) {
            PhysdevOp::SET_IOPL => {
                let asked = PhysdevSetIopl::from_bytes(&self.read_array(at).map_err(efault)?);
                if asked.iopl > 3 {
                    return Err(Errno::EINVAL);
                }
                self.v.iopl = asked.iopl as u8;
                Ok(0)
            }
            PhysdevOp::SET_IOBITMAP => {
                let asked = PhysdevSetIobitmap64::from_bytes(&self.read_array(at).map_err(efault)?);
                if asked.nr_ports > NR_PORTS {
                    return Err(Errno::EINVAL);
                }
                self.v.iobitmap = asked.bitmap;
                self.v.iobitmap_ports = asked.nr_ports;
                Ok(0)
            }
            _ => Err(Errno::ENOSYS),
        }
    }

    /// `physdev_op_compat(op)`: command and argument in one structure (public/physdev.h, physdev_op).
    pub(super) fn physdev_op_compat(&mut self, args: &[u64; 6]) -> Answer {
        let at = args[0];
        let cmd = self.read_u32(at).map_err(efault)?;
        self.physdev_op(&[u64::from(cmd), at.wrapping_add(8), 0, 0, 0, 0])
    }
}
