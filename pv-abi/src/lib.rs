//! The Xen PV ABI: numbers, structures and wire formats of Xen's public headers, with nothing else in it.
//!
//! ```text
//!            /usr/include/xen  <--- compared by tests/headers.rs (gcc -m64, gcc -m32)
//!                                        |
//!   noxen-domain-builder, noxen-vmm --> this crate <-- noxen-monitor (ring 0 of the VM, no std)
//!   noxen-devices, noxen-xenstore   ----^
//! ```
//!
//! * Numbers that a guest supplies are open enums: a newtype over the integer, with constants and `name()`.
//! * Structures are `repr(C)` with checked offsets and no implicit padding; those whose layout depends on the
//!   guest's word size end in `64` and `32`. Pointers are plain integers of that size.
//! * [`AbiValue`] converts them from and to bytes; `core::mem::offset_of!(SharedInfo64, arch.max_pfn)` gives
//!   the place of one field.
//! * [`TABLES`] lists all of it for the comparison with the C headers.

#![no_std]
#![forbid(unsafe_code)]

#[macro_use]
mod macros;

pub mod codec;
pub mod layout;

pub mod blkif;
pub mod callback;
pub mod console;
pub mod control;
pub mod cpuid;
pub mod domid;
pub mod elfnote;
pub mod errno;
pub mod event_channel;
pub mod fbif;
pub mod grant_table;
pub mod hvm;
pub mod hypercall;
pub mod kbdif;
pub mod memory;
pub mod mmu;
pub mod multicall;
pub mod netif;
pub mod nmi;
pub mod pciif;
pub mod physdev;
pub mod pmu;
pub mod ring;
pub mod sched;
pub mod segment;
pub mod shared_info;
pub mod start_info;
pub mod tpmif;
pub mod trap;
pub mod vcpu;
pub mod vcpu_context;
pub mod version;
pub mod vm_assist;
pub mod xenstore;

pub use codec::AbiValue;
pub use errno::Errno;
pub use hypercall::Hypercall;

macro_rules! tables {
    ($($module:ident)*) => {
        &[ $( layout::ModuleLayout {
            name: stringify!($module),
            structs: $module::STRUCTS,
            enums: $module::ENUMS,
            consts: $module::CONSTS,
        } ),* ]
    };
}

/// Everything that this crate declares.
pub const TABLES: &[layout::ModuleLayout] = tables! {
    blkif callback console control cpuid domid elfnote errno event_channel fbif grant_table hvm hypercall
    kbdif memory mmu multicall netif nmi pciif physdev pmu ring sched segment shared_info start_info tpmif trap vcpu
    vcpu_context version vm_assist xenstore
};
