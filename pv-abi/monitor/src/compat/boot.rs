//! The first entry of vCPU 0 of a 32-bit guest: flat ring-1 segments, the domain builder's L3.

use crate::cpu::Cpu;
use crate::machine::Machine;
use crate::regs::{flags, Regs};
use noxen_monitor_abi::layout::compat::{KERNEL_CS, KERNEL_DS};

impl<M: Machine> Cpu<'_, M> {
    /// What the domain builder laid out.
    pub(crate) fn boot32(&mut self) {
        let info = &self.dom.info;
        // The builder's L3 is guest RAM; if it were not, the first instruction would fault and say so.
        self.load_l3(info.start_cr3 >> 12);
        self.v.kernel_ss = u64::from(KERNEL_DS);
        self.v.kernel_sp = info.start_rsp;
        self.v.first.selectors = [KERNEL_DS; 4];
        self.v.first.regs = Regs {
            rip: info.start_rip,
            rsp: info.start_rsp,
            rsi: info.start_rsi,
            cs: u64::from(KERNEL_CS),
            ss: u64::from(KERNEL_DS),
            rflags: flags::IF | 2,
            ..Regs::default()
        };
    }
}
