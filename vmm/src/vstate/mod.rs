//! What wraps a KVM object, one file each.
//!
//! ```text
//!   vm.rs      the VM: memslots, interrupt controller      memory.rs  guest-physical memory
//!   vcpu.rs    a vCPU: start state, one entry, kick         cpuid.rs   CPUID for KVM and for the guest
//!   irq.rs     doorbell interrupt and event channels        msr.rs     MSRs set at start
//!   exit.rs    an exit as a value                           stats.rs   KVM's own counters
//!   cpuid_rules.rs  an administrator's changes to it        hyperv.rs  Microsoft's leaves
//!   saved.rs   a vCPU's state in an image                   chips.rs   a PC's interrupt controllers and timer there
//!   faults.rs  memory that is filled as it is touched
//! ```

pub mod chips;
pub mod clock;
pub mod cpuid;
pub mod cpuid_rules;
pub mod exit;
pub mod faults;
pub mod features;
pub mod hyperv;
pub mod irq;
pub mod memory;
pub mod msr;
pub mod saved;
pub mod stats;
pub mod vcpu;
pub mod vm;
