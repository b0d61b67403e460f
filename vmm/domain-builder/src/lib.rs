//! The domain builder for PV, 64-bit and 32-bit with PAE: puts a fresh domain into guest memory, as libxc does for Xen.
//!
//! ```text
//!  KernelImage + DomainSpec ──► plan ──► PvLayout          who lies where; all size checks; touches no memory
//!                                  │
//!  ELF bytes, ramdisk ─────────────┼──► PvLayout::write ──► guest memory      each byte written once, zeros not at all
//!                                  │
//!                                  └──► entry registers, ring frames, M2P pairs for the virtual machine monitor
//!
//!  pseudo-physical frames of a fresh domain, in order
//!
//!  0        kernel    [ramdisk]  [p2m]   start_info store console  L4 L3.. L2.. L1..  stack   pad   [ramdisk] [p2m, its tables]
//!  │        │          if mapped  if no                                                      │       if it may stay unmapped,
//!  VIRT_BASE                      INIT_P2M                                                   │       if INIT_P2M
//!  └────────────────────── mapped at VIRT_BASE, up to a multiple of 4 MiB ───────────────────┘
//! ```
//!
//! Guest memory must read as zero before. Frame numbers here are pseudo-physical (pfn); `mfn_of_pfn` of the monitor's
//! ABI makes machine frames of them: the same number below 3.5 GiB, past the hole above.
//!
//! A 64-bit kernel runs in ring 3, so every present entry of every level has the user bit; that is the one difference
//! to libxc's tables. A 32-bit kernel runs in ring 1 and has three levels: no L4, the L3 first, and an L2 for the last
//! gigabyte even where nothing is mapped there, because the M2P will be (module `abi` has all that depends on the width). Source: Xen public header `xen.h` (chapter "Start-of-day memory layout").
#![forbid(unsafe_code)]

mod abi;
mod error;
mod hypercall_page;
mod memory;
mod plan;
mod shared;
mod spec;
mod tables;
mod tune;
mod write;

pub use abi::MAX_PAGES_32;
pub use error::BuildError;
pub use hypercall_page::{hypercall_page_32, hypercall_page_64};
pub use memory::{GuestMemory, OutsideMemory};
pub use plan::{plan, EntryState, PvLayout, SPARE_BYTES};
pub use shared::{grant_seeds, init_shared_info, GRANT_SEEDS_SIZE};
pub use spec::{DomainSpec, Ramdisk, MAX_CMDLINE, MAX_PAGES};
pub use write::count_up;
