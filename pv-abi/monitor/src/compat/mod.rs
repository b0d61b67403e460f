//! 32-bit (PAE) guests: kernel in ring 1, user space in ring 3, both in compatibility mode below 4 GiB.
//!
//! ```text
//!   int 0x82 (ring 1) --> hypercall: EBX ECX EDX ESI EDI EBP --+-- layouts agree --------------> core (crate::hypercall)
//!                                                              +-- they differ: 64-bit copy in scratch --> core --> back
//!   exceptions, int n --> entry: mode from CS, PAE faults ------> crate::trap --> bounce32: 32-bit frame, the guest's SS:ESP
//!   CR3               --> paging: the monitor's L4 of this vCPU, whose entry 0 is the guest's own L3
//! ```
//!
//! The core speaks 64-bit layouts only. Each module here reads a guest structure in its 32-bit layout, writes the
//! 64-bit one into the vCPU's *scratch* and calls the core with that address; scratch lies in the hypervisor's hole,
//! so no guest pointer can name it, and only domains of 32 bits have one.
//!
//! Ring 1 is a supervisor to paging: no user-bit rules, no second page table. The monitor is out of its reach because
//! 32-bit segments end at 4 GiB; the M2P window, read-only, is the only thing of ours below.
//! SYSCALL (AMD) and SYSENTER (Intel) of programs go to the callbacks registered for them. Neither says which ring it comes
//! from, so a kernel that makes one itself is taken for its program, as by Xen.

mod boot;
mod callback;
mod context;
mod entry;
mod hypercall;
mod memory;
mod ops;
mod paging;
mod scratch;
mod segment;

pub use segment::check_descriptor;
