//! Tests of the core through its front door: a vCPU of a [`crate::mock::World`] makes hypercalls and
//! takes traps; what it and noxen-vmm see afterwards is compared.

mod bounce;
mod callback;
mod compat;
mod console;
mod crash;
mod emulate;
mod emulate_io;
mod events;
mod exchange;
mod fifo;
mod grant;
mod hostile;
mod iret;
mod memory;
mod misc;
mod mmu;
mod page_fault;
mod polling;
mod ports;
mod sched;
mod segment;
mod sharing;
mod smp;
mod suspend;
mod vcpu;
mod version;
mod waking;

use noxen_pv_abi::errno::Errno;

/// What a hypercall answers for an error.
fn error(errno: Errno) -> i64 {
    errno.negated()
}
