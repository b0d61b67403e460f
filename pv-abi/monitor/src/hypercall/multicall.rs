//! multicall (public/xen.h): a list of hypercalls in one entry.

use super::{efault, Answer};
use crate::cpu::Cpu;
use crate::machine::Machine;
use crate::regs::Regs;
use noxen_pv_abi::errno::Errno;
use noxen_pv_abi::hypercall::Hypercall;
use noxen_pv_abi::multicall::MulticallEntry64;

impl<M: Machine> Cpu<'_, M> {
    /// multicall(list, count): every entry gets its own result; a failing one does not stop the rest.
    pub(super) fn multicall(&mut self, args: &[u64; 6], regs: &mut Regs) -> Answer {
        let [list, count, ..] = *args;
        for index in 0..u64::from(count as u32) {
            let at = list.wrapping_add(index * MulticallEntry64::SIZE as u64);
            let entry = MulticallEntry64::from_bytes(&self.read_array(at).map_err(efault)?);
            self.count_hypercall(entry.op);
            // Neither may run inside a list: one replaces the context, the other would nest.
            let inside = entry.op != u64::from(Hypercall::IRET.0)
                && entry.op != u64::from(Hypercall::MULTICALL.0);
            let answer = if inside {
                self.dispatch(entry.op, &entry.args, regs)
            } else {
                Err(Errno::ENOSYS)
            };
            let result = self.encode(entry.op, answer);
            self.write(at.wrapping_add(8), &result.to_le_bytes())
                .map_err(efault)?;
            if index % 64 == 63 {
                self.answer_flush();
            }
        }
        self.count_batched(u64::from(count as u32));
        Ok(0)
    }
}
