//! [`Processor`]: an HVM vCPU as the core of the hypercalls sees it.
//!
//! ```text
//!   guest-linear addresses  --KVM_TRANSLATE--> guest-physical --> memory         (only on the vCPU's own thread)
//!   an upcall (ipi)         --> the vector that the vCPU asked for, at its APIC
//! ```
//! What the core asks of a PV guest's processor (page tables, segments, ...) it never asks here: those do nothing.
#![allow(unsafe_code)] // The core works on guest memory by references to atomics; the TSC.

use crate::hvm::xen::pages::SHARED_INFO;
use crate::hvm::xen::Xen;
use kvm_ioctls::VcpuFd;
use noxen_monitor::machine::{Base, Fault, Machine};
use noxen_monitor::vcpu::Vcpu;
use noxen_monitor_abi::layout::PAGE_SIZE;
use noxen_monitor_abi::pages::call;
use std::cell::RefCell;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicU8, Ordering};
use std::time::{Duration, Instant};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend};

/// Where a guest-linear address is in guest-physical memory, if anything is mapped there.
pub type Eyes<'a> = &'a dyn Fn(u64) -> Option<u64>;

/// With the eyes of a vCPU, on its own thread.
pub fn translate(vcpu: &VcpuFd, va: u64) -> Option<u64> {
    let there = vcpu.translate_gva(va).ok()?;
    (there.valid != 0).then_some(there.physical_address)
}

/// Where the core finds [`Scratch`]: above all that a 32-bit pointer reaches.
pub const SCRATCH: u64 = 1 << 40;

/// Memory of a hypercall's that the guest has none of.
#[derive(Debug, Clone)]
pub struct Scratch(RefCell<[u8; Scratch::SIZE]>);

impl Default for Scratch {
    fn default() -> Scratch {
        Scratch(RefCell::new([0; Scratch::SIZE]))
    }
}

impl Scratch {
    /// Bytes.
    pub const SIZE: usize = 64 + 512 * 8;

    /// Which of its bytes are meant, if all are its own.
    fn range(va: u64, length: usize) -> Option<std::ops::Range<usize>> {
        let first = usize::try_from(va.checked_sub(SCRATCH)?).ok()?;
        let end = first.checked_add(length)?;
        (end <= Scratch::SIZE).then_some(first..end)
    }
}

/// A vCPU, or somebody outside who makes ports pending.
#[derive(Clone, Copy)]
pub struct Processor<'a> {
    /// Its domain.
    pub xen: &'a Xen,
    /// vCPU; the number behind the last one stands for the outside.
    pub id: u32,
    /// How it sees memory, on its own thread.
    pub eyes: Option<Eyes<'a>>,
    /// Memory of a 32-bit hypercall's own.
    pub scratch: Option<&'a Scratch>,
}

/// The host's TSC now.
pub fn host_tsc() -> u64 {
    // SAFETY: every x86-64 processor has RDTSC, and Linux lets user space use it.
    unsafe { core::arch::x86_64::_rdtsc() }
}

impl Processor<'_> {
    /// How long its TSC takes for as many cycles.
    fn duration(&self, cycles: u64) -> Duration {
        let ns = u128::from(cycles) * 1_000_000 / u128::from(self.xen.tsc_khz.max(1));
        Duration::from_nanos(u64::try_from(ns).unwrap_or(u64::MAX))
    }

    /// Where this process has the `length` bytes at a machine address.
    fn place(&self, maddr: u64, length: usize) -> Option<*mut u8> {
        self.place_unmoved(self.xen.placed(maddr), length)
    }

    /// The same, and shared_info is where it is at first.
    fn place_unmoved(&self, maddr: u64, length: usize) -> Option<*mut u8> {
        if !maddr.is_multiple_of(length as u64) {
            return None;
        }
        let slice = self
            .xen
            .memory
            .get_slice(GuestAddress(maddr), length)
            .ok()?;
        Some(slice.ptr_guard_mut().as_ptr())
    }

    /// The word at a machine address, where shared_info is where it is at first.
    pub(super) fn unmoved(&self, maddr: u64) -> Option<&AtomicU64> {
        let at = self.place_unmoved(maddr, 8)?;
        // SAFETY: as in `word32`.
        Some(unsafe { AtomicU64::from_ptr(at.cast()) })
    }

    /// Calls `piece` with each part of `length` bytes at guest-linear `va` that lies in one page: offset, physical address, length.
    fn walk(
        &self,
        va: u64,
        length: usize,
        mut piece: impl FnMut(usize, GuestAddress, usize) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let eyes = self.eyes.ok_or(Fault)?;
        let mut done = 0;
        while done < length {
            let at = va.checked_add(done as u64).ok_or(Fault)?;
            let room = (PAGE_SIZE - at % PAGE_SIZE) as usize;
            let part = room.min(length - done);
            let there = eyes(at).ok_or(Fault)?;
            piece(done, GuestAddress(there), part)?;
            done += part;
        }
        Ok(())
    }
}

impl Machine for Processor<'_> {
    const HVM: bool = true;

    fn byte(&self, maddr: u64) -> Option<&AtomicU8> {
        let at = self.place(maddr, 1)?;
        // SAFETY: `place` found the byte in guest memory, which stays mapped as long as `xen.memory`, which outlives `self`;
        // whoever else accesses it does so by volatile or atomic accesses. vm-memory's references do not outlive its slices.
        Some(unsafe { AtomicU8::from_ptr(at) })
    }

    fn word32(&self, maddr: u64) -> Option<&AtomicU32> {
        let at = self.place(maddr, 4)?;
        // SAFETY: as in `byte`; guest-physical addresses are mapped congruent to the page size, so it is aligned.
        Some(unsafe { AtomicU32::from_ptr(at.cast()) })
    }

    fn word(&self, maddr: u64) -> Option<&AtomicU64> {
        let at = self.place(maddr, 8)?;
        // SAFETY: as in `word32`.
        Some(unsafe { AtomicU64::from_ptr(at.cast()) })
    }

    fn clear_frame(&self, _mfn: u64) -> bool {
        false
    }

    fn copy_frame(&self, _to: u64, _from: u64) -> bool {
        false
    }

    fn read_guest(&self, va: u64, buf: &mut [u8]) -> Result<(), Fault> {
        if let Some((scratch, range)) = self.scratch.zip(Scratch::range(va, buf.len())) {
            buf.copy_from_slice(&scratch.0.borrow()[range]);
            return Ok(());
        }
        let memory = &self.xen.hub.memory;
        self.walk(va, buf.len(), |offset, at, length| {
            let part = buf.get_mut(offset..offset + length).ok_or(Fault)?;
            memory.read_slice(part, at).map_err(|_| Fault)
        })
    }

    fn write_guest(&self, va: u64, bytes: &[u8]) -> Result<(), Fault> {
        if let Some((scratch, range)) = self.scratch.zip(Scratch::range(va, bytes.len())) {
            scratch.0.borrow_mut()[range].copy_from_slice(bytes);
            return Ok(());
        }
        let memory = &self.xen.hub.memory;
        self.walk(va, bytes.len(), |offset, at, length| {
            let part = bytes.get(offset..offset + length).ok_or(Fault)?;
            memory.write_slice(part, at).map_err(|_| Fault)
        })
    }

    fn tsc(&self) -> u64 {
        host_tsc().wrapping_add(self.xen.tsc_offset)
    }

    fn set_deadline(&self, tsc: u64) {
        let at = match tsc {
            0 => None,
            tsc => {
                let left = self.duration(tsc.saturating_sub(self.tsc()));
                // One that is centuries away never comes.
                Instant::now().checked_add(left)
            }
        };
        self.xen.alarms.set(self.id, at);
    }

    fn start_ticking(&self, period: u64, due: u64) {
        let period = Duration::from_nanos(period);
        let late = self.duration(self.tsc().saturating_sub(due));
        let first = period.saturating_sub(late);
        self.xen.alarms.repeat(self.id, first, period);
    }

    fn stop_ticking(&self) {
        self.xen.alarms.set(self.id, None);
    }

    fn ipi(&self, vcpu: u32) {
        self.xen.upcall(vcpu);
    }

    fn notify(&self, port: u32) {
        self.xen.notify(port);
    }

    fn call(&self, nr: u32, _args: &[u64], data: &[u8]) -> i64 {
        if nr == call::CONSOLE_IO {
            self.xen.says(data);
        }
        0
    }

    fn relax(&self) {
        std::hint::spin_loop();
    }

    fn yield_cpu(&self, _to: u32) {
        std::thread::yield_now();
    }

    fn breathe(&self) {}
    fn set_cr3(&self, _maddr: u64) {}
    fn cr3(&self) -> u64 {
        0
    }
    fn invlpg(&self, _va: u64) {}
    fn swap_gs(&self) {}
    fn base(&self, _which: Base) -> u64 {
        0
    }
    fn set_base(&self, _which: Base, _value: u64) {}
    fn load_user_gs(&self, _selector: u16) -> bool {
        false
    }
    fn null_segments(&self) {}
    fn load_segments(&self, _ds: u16, _es: u16, _fs: u16, _gs: u16) {}
    fn halt(&self) {}
    fn dr(&self, _index: u32) -> u64 {
        0
    }
    fn set_dr(&self, _index: u32, _value: u64) {}
    fn set_ts(&self, _on: bool) {}
    fn cr4(&self) -> u64 {
        0
    }
    fn set_cr4(&self, _value: u64) {}
    fn set_xcr0(&self, _value: u64) -> bool {
        false
    }
    fn efer(&self) -> u64 {
        0
    }
    fn set_tsc_aux(&self, _value: u32) {}
    fn wbinvd(&self) {}
    fn set_gdt_page(&self, _index: usize, _mfn: u64) {}
    fn reload_gdt(&self) {}
    fn set_ldt(&self, _entries: u32) {}
    fn set_ldt_page(&self, _index: usize, _mfn: Option<u64>) {}
    fn set_soft_gate(&self, _vector: u8, _open: bool) {}
    fn with_fresh_vcpu(&self, _id: u32, _f: &mut dyn FnMut(&mut Vcpu)) {}
}

impl Xen {
    /// A machine address with shared_info where the guest has it.
    pub(super) fn placed(&self, maddr: u64) -> u64 {
        let moved = self.shared_info.load(Ordering::SeqCst);
        match maddr.checked_sub(SHARED_INFO) {
            Some(offset) if offset < PAGE_SIZE && moved != 0 => moved + offset,
            _ => maddr,
        }
    }
}
