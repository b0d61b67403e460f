//! The monitor's hypercall core: what runs in ring 0 of a PV domain's VM, as ordinary safe Rust.
//!
//! ```text
//!   guest kernel / user (ring 3)
//!      | syscall, #PF, #GP, int n         | event upcall, bounce frame
//!      v                                  |
//!   image/entry.s  -->  entry::*  -->  trap / hypercall / emulate  -->  exit::leave  --> iretq, sysretq
//!                          |                    |
//!                          |                    +-- Machine: CR3, MSRs, timer, IPI, doorbell, guest memory
//!                          +-- Vcpu (own state), Domain (shared state)
//! ```
//!
//! The core is generic over [`machine::Machine`]: in the image that is the processor, in unit tests a
//! `Vec` of guest memory with recorded effects. It contains no unsafe code; all shared memory is
//! reached through atomics, because the guest's other vCPUs and noxen-vmm change it at any time.
#![cfg_attr(not(test), no_std)]
#![cfg_attr(not(test), forbid(unsafe_code))]

pub mod bounce;
pub mod compat;
pub mod console;
pub mod count;
pub mod cpu;
pub mod crash;
pub mod domain;
pub mod emulate;
pub mod event;
pub mod exit;
pub mod hypercall;
pub mod machine;
pub mod pagetable;
pub mod phase;
pub mod polling;
pub mod regs;
pub mod shape;
pub mod sharing;
pub mod start;
pub mod tick;
pub mod time;
pub mod trap;
pub mod vcpu;
pub mod waking;

#[cfg(test)]
mod mock;
#[cfg(test)]
mod tests;

/// The ring-0 image, an ELF64 linked at [`noxen_monitor_abi::layout::IMAGE_VA`].
#[cfg(feature = "image")]
pub const IMAGE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/monitor.elf"));
