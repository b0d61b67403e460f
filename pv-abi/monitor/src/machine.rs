//! [`Machine`]: what the core needs of the processor and of memory.

use crate::vcpu::Vcpu;
use core::sync::atomic::{AtomicU32, AtomicU64, AtomicU8};

/// A guest address that could not be read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault;

/// Segment bases that live in MSRs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    /// FS_BASE.
    Fs,
    /// GS_BASE: of the mode the guest is in.
    Gs,
    /// KERNEL_GS_BASE: of the other mode.
    OtherGs,
}

/// One vCPU's processor. All methods take `&self`: the processor is not borrowed, it just is.
///
/// Machine addresses (`maddr`, bytes) are guest-physical; accessors answer `None` outside guest RAM and
/// the monitor region, or when misaligned.
pub trait Machine {
    /// The guest is an HVM one: an upcall is an interrupt of its local APIC ([`Machine::ipi`]), once for each time that one
    /// becomes pending, and whoever masks it does that there.
    const HVM: bool = false;

    /// Byte at a machine address.
    fn byte(&self, maddr: u64) -> Option<&AtomicU8>;
    /// Aligned 32-bit word at a machine address.
    fn word32(&self, maddr: u64) -> Option<&AtomicU32>;
    /// Aligned 64-bit word at a machine address.
    fn word(&self, maddr: u64) -> Option<&AtomicU64>;
    /// Zeroes a frame; false when it does not exist.
    fn clear_frame(&self, mfn: u64) -> bool;
    /// Copies a frame; false when either does not exist.
    fn copy_frame(&self, to: u64, from: u64) -> bool;

    /// Reads guest-linear memory through the page table in CR3, with the guest's rights.
    fn read_guest(&self, va: u64, buf: &mut [u8]) -> Result<(), Fault>;
    /// Writes guest-linear memory likewise.
    fn write_guest(&self, va: u64, bytes: &[u8]) -> Result<(), Fault>;

    /// Loads CR3 (also flushes the local TLB).
    fn set_cr3(&self, maddr: u64);
    /// CR3.
    fn cr3(&self) -> u64;
    /// Invalidates one page in the local TLB.
    fn invlpg(&self, va: u64);
    /// Exchanges GS_BASE and KERNEL_GS_BASE.
    fn swap_gs(&self);
    /// Reads a segment base.
    fn base(&self, which: Base) -> u64;
    /// Writes a segment base; the caller has checked that it is canonical.
    fn set_base(&self, which: Base, value: u64);
    /// Loads the *user* GS selector (guest kernel runs); false when the selector faults.
    fn load_user_gs(&self, selector: u16) -> bool;
    /// Nulls DS, ES, FS and GS (failsafe, fresh vCPU) and zeroes FS_BASE's hidden state.
    fn null_segments(&self);
    /// Loads DS, ES, FS, GS selectors of a fresh vCPU; a faulting one becomes null. Bases follow the selectors.
    fn load_segments(&self, ds: u16, es: u16, fs: u16, gs: u16);

    /// Time-stamp counter as the guest sees it.
    fn tsc(&self) -> u64;
    /// Nanoseconds so far in which the vCPU was ready but the host ran something else; 0 where nobody knows.
    fn stolen_ns(&self) -> u64 {
        0
    }
    /// Arms (or with 0 disarms) the local APIC's TSC deadline.
    fn set_deadline(&self, tsc: u64);
    /// Has the local APIC fire every `period` ns instead of at deadlines, as from a tick that was due at the TSC value `due`, a
    /// moment ago; a little later where it is no moment.
    fn start_ticking(&self, period: u64, due: u64);
    /// Ends that; no deadline is armed then.
    fn stop_ticking(&self);
    /// Interrupts another vCPU's monitor.
    fn ipi(&self, vcpu: u32);
    /// Wakes a halted vCPU and gives the processor to it; false where the host does not know how.
    fn rouse(&self, _vcpu: u32) -> bool {
        false
    }
    /// Whether the host has taken a vCPU out of its guest, to halt or to run something else; `None` where it does not say.
    fn preempted(&self, _vcpu: u32) -> Option<bool> {
        None
    }
    /// Has the host flush a vCPU's TLB before it goes on; false when the vCPU runs, or the host does not do that.
    fn leave_flush(&self, _vcpu: u32) -> bool {
        false
    }
    /// Tells the outside that an event-channel port was sent to.
    fn notify(&self, port: u32);
    /// A synchronous call to noxen-vmm (`noxen_monitor_abi::pages::call`).
    fn call(&self, nr: u32, args: &[u64], data: &[u8]) -> i64;
    /// Enables interrupts, halts until one was handled, disables them again.
    fn halt(&self);
    /// A pause in a spin loop.
    fn relax(&self);
    /// The same with interrupts on, so that those that wait are handled.
    fn breathe(&self);
    /// Gives the processor to somebody else if the host knows how.
    fn yield_cpu(&self, to: u32);

    /// Reads DR0-3, DR6 or DR7.
    fn dr(&self, index: u32) -> u64;
    /// Writes DR0-3, DR6 or DR7; the caller has checked the value.
    fn set_dr(&self, index: u32, value: u64);
    /// Sets or clears CR0.TS.
    fn set_ts(&self, on: bool);
    /// CR4 as it is.
    fn cr4(&self) -> u64;
    /// Writes CR4.
    fn set_cr4(&self, value: u64);
    /// XSETBV; false when the processor refuses.
    fn set_xcr0(&self, value: u64) -> bool;
    /// EFER.
    fn efer(&self) -> u64;
    /// TSC_AUX.
    fn set_tsc_aux(&self, value: u32);
    /// Writes back and invalidates caches.
    fn wbinvd(&self);

    /// Points page `index` (0..14) of this vCPU's GDT window at a machine frame (0: the zero page).
    fn set_gdt_page(&self, index: usize, mfn: u64);
    /// Reloads GDTR after the window changed.
    fn reload_gdt(&self);
    /// Sets LDTR to `entries` descriptors in this vCPU's LDT window (0: none).
    fn set_ldt(&self, entries: u32);
    /// Points page `index` (0..16) of the LDT window at a machine frame, or at nothing.
    fn set_ldt_page(&self, index: usize, mfn: Option<u64>);
    /// Lets the guest's ring 3 use `int vector` directly or makes it a #GP again.
    fn set_soft_gate(&self, vector: u8, open: bool);

    /// Runs `f` on the private state of a vCPU that has never run.
    ///
    /// The caller holds the domain's vCPU lock and has seen that the vCPU is parked in its first wait.
    fn with_fresh_vcpu(&self, id: u32, f: &mut dyn FnMut(&mut Vcpu));
}
