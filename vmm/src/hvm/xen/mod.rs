//! Xen, as an HVM guest's drivers for it know it: on a host kernel without CONFIG_KVM_XEN as well.
//!
//! ```text
//!   guest: CPUID 0x40000000 says Xen       vmcall, vmmcall: stubs.rs has made them `out HYPERCALL`
//!          wrmsr 0x40000000: page.rs writes stubs of the same kind
//!            |
//!            v  exit, on the vCPU's thread
//!   calls.rs --> noxen-monitor's core (event channels, grants, timers, version) on processor.rs
//!            |       |- send --> eventfd --> back end         back end --> Links::ring --> port --> vector of the vCPU's APIC, or a line (callback.rs)
//!            |       '- timers --> alarms.rs --> VIRQ_TIMER
//!            '-> memory.rs (shared_info, grant frames, balloon), params.rs (hvm_op)        32-bit code: narrow.rs
//! ```
//! The same core runs in ring 0 of a PV domain. What it keeps in memory lies in pages that the guest does not see (pages.rs), but
//! for shared_info, which is a page of the guest's own RAM once it has said which.
//!
//! KVM handles `vmcall` and `vmmcall` itself and answers -1000 to numbers that it does not know; a host kernel with CONFIG_KVM_XEN could be
//! asked to leave them to us. Patching works on both, so there is one way only.

pub mod alarms;
pub mod callback;
pub mod calls;
pub mod domain;
pub mod memory;
pub mod narrow;
pub mod page;
pub mod pages;
pub mod params;
pub mod processor;
pub mod stubs;
pub mod virtual_wire;

pub use domain::Xen;

/// MSR by which a guest places the hypercall page; CPUID names it.
pub const PAGE_MSR: u32 = 0x4000_0000;
/// IA32_BIOS_SIGN_ID, AMD's PATCH_LEVEL: Linux reads it early, before it makes its first hypercall.
pub const MICROCODE_MSR: u32 = 0x8b;
/// I/O port of the patched stubs: no device's, and none that KVM treats in a way of its own.
pub const HYPERCALL_PORT: u8 = 0xe4;
/// Version that is reported: 4.17.
pub const VERSION: u32 = 4 << 16 | 17;
