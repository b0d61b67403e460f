//! The private ABI between the monitor (ring 0 of the VM) and noxen-vmm.
//!
//! Both sides share the *monitor region*: guest-physical memory above guest RAM that noxen-vmm
//! lays out before the first entry and that the monitor owns afterwards.
//!
//! ```text
//!   guest-physical                          guest-virtual (L4 slots 256..271, same in every L4)
//!   0          guest RAM (hole at 3.5 GiB)   M2P_VA         M2P, read-only, U=1
//!   base       MonInfo, CPUID table          DIRECT_MAP_VA  all guest-physical memory, U=0
//!              monitor image                 IMAGE_VA       the image (RX, R, RW)
//!              page tables                   VCPU_VA        one window of 1 MiB per vCPU
//!              per-vCPU and per-domain state
//!              shared_info, grant frames, M2P, frame table, event-channel table
//! ```
//!
//! noxen-vmm writes [`MonInfo`] once; everything it reads back (doorbell, counters, call pages,
//! crash record) comes from the guest side and is untrusted input.
#![no_std]
#![forbid(unsafe_code)]

pub mod counters;
pub mod info;
pub mod layout;
pub mod pages;
pub mod pte;

pub use info::{CpuidEntry, MonInfo};
