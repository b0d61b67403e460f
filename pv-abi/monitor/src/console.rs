//! A console ring without room: Linux then gives way (SCHEDOP_yield) again and again until the back end has made some.
//!
//! ```text
//!   yield, no vCPU to give way to, ring full --first time at this consumer index--> notify the port, also if it is quiet
//!                                             '--again--> look at the index for a while, then leave for the host
//! ```
//! A back end that polls a busy console (`Doorbell::quiet`) would otherwise come with the host's next tick, and the guest leave the
//! VM a dozen times until then.

use crate::cpu::Cpu;
use crate::machine::Machine;
use core::mem::offset_of;
use core::sync::atomic::Ordering;
use noxen_monitor_abi::counters::other;
use noxen_pv_abi::console::{ConsoleInterface, CONSOLE_OUT_SIZE};
use noxen_pv_abi::event_channel::EvtchnState;

/// How long the index is looked at before the host is asked, ns.
const PATIENCE: u64 = 20_000;

impl<M: Machine> Cpu<'_, M> {
    /// The consumer index of the console's output, if there is no room for more.
    fn full_console(&self) -> Option<u32> {
        let page = self.dom.info.console_gpa;
        if page == 0 {
            return None;
        }
        let index = |at: usize| Some(self.m.word32(page + at as u64)?.load(Ordering::SeqCst));
        let (taken, put) = (
            index(offset_of!(ConsoleInterface, out_cons))?,
            index(offset_of!(ConsoleInterface, out_prod))?,
        );
        (put.wrapping_sub(taken) as usize == CONSOLE_OUT_SIZE).then_some(taken)
    }

    /// Waits for room in the console's ring, if there is none; false where the host should be asked instead.
    pub(crate) fn wait_for_console(&mut self) -> bool {
        let Some(taken) = self.full_console() else {
            return false;
        };
        let port = self.dom.info.console_port;
        if self.v.console_told != Some(taken) {
            let record = self.port(port);
            if record.state != EvtchnState::INTERDOMAIN || record.remote_dom == self.own_domid() {
                return false;
            }
            self.v.console_told = Some(taken);
            self.count_other(other::CONSOLE_FULL);
            self.count_other(other::NOTIFY);
            self.m.notify(port);
            return true;
        }
        let (began, stolen) = (self.now(), self.m.stolen_ns());
        while self.now().saturating_sub(began) < PATIENCE && self.m.stolen_ns() == stolen {
            // Whoever waits for this vCPU is answered by the guest's return.
            if self.full_console() != Some(taken)
                || self.shared().attention.load(Ordering::SeqCst) != 0
            {
                return true;
            }
            self.m.breathe();
        }
        false
    }
}
