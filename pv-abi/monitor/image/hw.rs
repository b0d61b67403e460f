//! [`Hw`]: the processor as the core's `Machine`.

use crate::{domain, entry, my_id, my_window, tables, vcpu_state};
use core::arch::asm;
use core::sync::atomic::{AtomicU32, AtomicU64, AtomicU8, Ordering};
use noxen_monitor::machine::{Base, Fault, Machine};
use noxen_monitor::pagetable::pte;
use noxen_monitor::vcpu::Vcpu;
use noxen_monitor_abi::info::{FLAG_HOST_FLUSHES, FLAG_REPEATS_INTERRUPTS};
use noxen_monitor_abi::layout::{self, port, vector, window, DIRECT_MAP_VA, HOLE_PAGES, HOLE_START_PFN};
use noxen_monitor_abi::pages::{Call, CALL_DATA};

/// This vCPU's processor.
pub struct Hw;

const MSR_FS_BASE: u32 = 0xc000_0100;
const MSR_GS_BASE: u32 = 0xc000_0101;
const MSR_KERNEL_GS_BASE: u32 = 0xc000_0102;
const MSR_TSC_AUX: u32 = 0xc000_0103;
pub const MSR_EFER: u32 = 0xc000_0080;
const MSR_TSC_DEADLINE: u32 = 0x6e0;
/// x2APIC registers (SDM volume 3, 10.12).
const X2APIC_TPR: u32 = 0x808;
const X2APIC_EOI: u32 = 0x80b;
const X2APIC_SVR: u32 = 0x80f;
const X2APIC_ICR: u32 = 0x830;
const X2APIC_LVT_TIMER: u32 = 0x832;
const X2APIC_TMICT: u32 = 0x838;
const X2APIC_TDCR: u32 = 0x83e;
const TIMER_TSC_DEADLINE: u64 = 1 << 18;
/// A change between these modes disarms the timer (SDM volume 3, 10.5.4.1).
const TIMER_PERIODIC: u64 = 1 << 17;
/// TDCR: the timer counts every cycle.
const DIVIDE_BY_1: u64 = 0b1011;
/// TDCR: every other cycle.
const DIVIDE_BY_2: u64 = 0b0000;
/// How late the local APIC may be told to tick for its ticks to be put back to where they belong, cycles: less than 100 us on
/// any processor. The vCPU waits for as long.
const LATE_START: u64 = 100_000;
/// KVM's local APIC counts nanoseconds (Linux, Documentation/virt/kvm/api.rst, KVM_CAP_X86_APIC_BUS_CYCLES_NS: the
/// default, which noxen-vmm leaves).
const APIC_BUS_CYCLE_NS: u64 = 1;
/// KVM_HC_SCHED_YIELD (Linux, Documentation/virt/kvm/x86/hypercalls.rst): directed yield to an APIC id.
const KVM_HC_SCHED_YIELD: u64 = 11;
/// KVM_HC_KICK_CPU (same file): ends the halt of the vCPU of an APIC id, this one or the next, and yields to it (with Linux 5.4 and later).
const KVM_HC_KICK_CPU: u64 = 5;
/// KVM's paravirtual MSRs (Linux, Documentation/virt/kvm/x86/msr.rst).
const MSR_KVM_STEAL_TIME: u32 = 0x4b56_4d03;
const MSR_KVM_PV_EOI: u32 = 0x4b56_4d04;
/// Offset of KVM's area in the counter page, beyond the counters in use.
const KVM_AREA: u64 = 3072;
/// `preempted` in KVM's steal-time record (msr.rst, MSR_KVM_STEAL_TIME): offset and bits.
const PREEMPTED: u64 = 16;
const VCPU_PREEMPTED: u8 = 1;
const VCPU_FLUSH_TLB: u8 = 2;

/// Writes an MSR that exists.
pub fn wrmsr(msr: u32, value: u64) {
    // SAFETY: callers name MSRs of the architecture with values they have checked.
    unsafe {
        asm!("wrmsr", in("ecx") msr, in("eax") value as u32, in("edx") (value >> 32) as u32, options(nostack, preserves_flags))
    };
}

/// Writes an MSR for which the host is left on purpose, with interrupts on: one that waits, or comes meanwhile, is
/// injected on the way back and needs no exit of its own (an interrupt window). It only notes itself (`trap_entry`), and
/// every entry ends in `Cpu::leave`, which looks.
fn wrmsr_open(msr: u32, value: u64) {
    // SAFETY: as in `wrmsr`; the handlers of interrupts change nothing but `attention` and `kicked`, and the image
    // has no red zone.
    unsafe {
        asm!("sti", "wrmsr", "cli", in("ecx") msr, in("eax") value as u32, in("edx") (value >> 32) as u32, options(nostack))
    };
}

pub fn rdmsr(msr: u32) -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: reads an MSR that every long-mode processor has.
    unsafe { asm!("rdmsr", in("ecx") msr, out("eax") low, out("edx") high, options(nostack, preserves_flags)) };
    u64::from(high) << 32 | u64::from(low)
}

/// CR2.
pub fn cr2() -> u64 {
    let value;
    // SAFETY: reads a control register.
    unsafe { asm!("mov {}, cr2", out(reg) value, options(nomem, nostack, preserves_flags)) };
    value
}

/// Has an emulator that would repeat the interrupt which it has just delivered forget it
/// ([`FLAG_REPEATS_INTERRUPTS`]). A second one could come while the stack pointer is still the guest's.
pub fn settle_interrupt() {
    if domain().info.flags & FLAG_REPEATS_INTERRUPTS != 0 {
        // SAFETY: the gate of the spurious vector leads to `trap_entry`, which does nothing with it and returns here.
        unsafe { asm!("int {}", const vector::SPURIOUS) };
    }
}

/// End of interrupt. KVM may have said that it need not hear of it (PV EOI), which saves an exit.
pub fn eoi() {
    let skip: u8;
    // SAFETY: this vCPU's own word; KVM changes it only while the vCPU is outside the guest, hence one
    // instruction for test and clear.
    unsafe {
        asm!("btr dword ptr [{word}], 0", "setc {skip}", word = in(reg) kvm_area() + 64, skip = out(reg_byte) skip, options(nostack));
    }
    if skip == 0 {
        wrmsr(X2APIC_EOI, 0);
    }
}

/// Where KVM writes for this vCPU: steal time (64 bytes), then the PV EOI word. The tail of its counter page.
fn kvm_area() -> u64 {
    kvm_area_of(my_id())
}

fn kvm_area_of(vcpu: u32) -> u64 {
    DIRECT_MAP_VA + domain().info.counters_gpa + u64::from(vcpu) * 4096 + KVM_AREA
}

/// `preempted` of a vCPU, where KVM keeps it.
fn preempted_byte(vcpu: u32) -> Option<&'static AtomicU8> {
    if domain().info.flags & FLAG_HOST_FLUSHES == 0 {
        return None;
    }
    // SAFETY: a byte of the vCPU's steal-time record, which it shares with KVM by atomic operations.
    Some(unsafe { &*((kvm_area_of(vcpu) + PREEMPTED) as *const AtomicU8) })
}

/// The local APIC's command that sends the monitor's IPI.
fn ipi_to(vcpu: u32) -> u64 {
    u64::from(vcpu) << 32 | u64::from(vector::IPI)
}

/// Sends the monitor's IPI, from wherever.
pub fn send_ipi(vcpu: u32) {
    wrmsr(X2APIC_ICR, ipi_to(vcpu));
}

/// Enables the local APIC.
pub fn start_apic() {
    wrmsr(X2APIC_TPR, 0);
    wrmsr(X2APIC_SVR, 0x100 | u64::from(vector::SPURIOUS));
    wrmsr(X2APIC_LVT_TIMER, TIMER_TSC_DEADLINE | u64::from(vector::TIMER));
    wrmsr(X2APIC_TDCR, DIVIDE_BY_1);
    AMD.store(is_amd(), Ordering::Relaxed);
    let area = kvm_area() - DIRECT_MAP_VA;
    // SAFETY: both point to this vCPU's own memory; a host without them refuses, which is fixed up, and the
    // words stay zero: no steal time, every EOI written.
    unsafe {
        entry::wrmsr_safe(MSR_KVM_STEAL_TIME, area | 1);
        entry::wrmsr_safe(MSR_KVM_PV_EOI, area + 64 | 1);
    }
}

/// Which instruction calls KVM.
static AMD: core::sync::atomic::AtomicBool = core::sync::atomic::AtomicBool::new(false);

fn is_amd() -> bool {
    let leaf = core::arch::x86_64::__cpuid(0);
    // "AuthenticAMD" and "HygonGenuine".
    leaf.ebx == u32::from_le_bytes(*b"Auth") || leaf.ebx == u32::from_le_bytes(*b"Hygo")
}

/// L1 entry of page `page` of this vCPU's window.
pub fn window_entry(page: usize) -> *mut u64 {
    let index = u64::from(my_id()) * 256 + page as u64;
    (DIRECT_MAP_VA + domain().info.window_l1_gpa + index * 8) as *mut u64
}

/// INVLPG.
pub fn invalidate(va: u64) {
    // SAFETY: drops a translation; the next access walks the tables again.
    unsafe { asm!("invlpg [{}]", in(reg) va, options(nostack, preserves_flags)) };
}

/// True for machine addresses that the direct map covers.
#[inline]
fn exists(maddr: u64) -> bool {
    let info = &domain().info;
    let hole = HOLE_START_PFN << 12..(HOLE_START_PFN + HOLE_PAGES) << 12;
    (maddr < info.ram_end_mfn << 12 && !hole.contains(&maddr))
        || (info.region_gpa..info.region_gpa + info.region_size).contains(&maddr)
}

fn out32(port: u16, value: u32) {
    // SAFETY: the two ports of the VM are ours (`layout::port`); memory the device reads is written before. Interrupts
    // are on as in `wrmsr_open`.
    unsafe { asm!("sti", "out dx, eax", "cli", in("dx") port, in("eax") value, options(nostack)) };
}

impl Machine for Hw {
    fn byte(&self, maddr: u64) -> Option<&AtomicU8> {
        // SAFETY: mapped for as long as the VM lives, accessed through atomics only.
        exists(maddr).then(|| unsafe { &*((DIRECT_MAP_VA + maddr) as *const AtomicU8) })
    }

    fn word32(&self, maddr: u64) -> Option<&AtomicU32> {
        // SAFETY: as in `byte`, and aligned.
        (maddr & 3 == 0 && exists(maddr)).then(|| unsafe { &*((DIRECT_MAP_VA + maddr) as *const AtomicU32) })
    }

    #[inline]
    fn word(&self, maddr: u64) -> Option<&AtomicU64> {
        // SAFETY: as in `byte`, and aligned.
        (maddr & 7 == 0 && exists(maddr)).then(|| unsafe { &*((DIRECT_MAP_VA + maddr) as *const AtomicU64) })
    }

    fn clear_frame(&self, mfn: u64) -> bool {
        if !exists(mfn << 12) {
            return false;
        }
        // SAFETY: a whole mapped frame; concurrent guest access is the guest's own race, as on hardware.
        unsafe { asm!("rep stosq", inout("rdi") DIRECT_MAP_VA + (mfn << 12) => _, inout("rcx") 512u64 => _, in("rax") 0u64, options(nostack, preserves_flags)) };
        true
    }

    fn copy_frame(&self, to: u64, from: u64) -> bool {
        if !exists(to << 12) || !exists(from << 12) {
            return false;
        }
        // SAFETY: as in `clear_frame`.
        unsafe { asm!("rep movsq", inout("rdi") DIRECT_MAP_VA + (to << 12) => _, inout("rsi") DIRECT_MAP_VA + (from << 12) => _, inout("rcx") 512u64 => _, options(nostack, preserves_flags)) };
        true
    }

    fn read_guest(&self, va: u64, buf: &mut [u8]) -> Result<(), Fault> {
        // SAFETY: `buf` is ours; faults on the guest's side are fixed up; the caller keeps it out of the
        // monitor's own addresses.
        let failed = unsafe { entry::copy_guest(buf.as_mut_ptr(), va as *const u8, buf.len()) };
        if failed == 0 { Ok(()) } else { Err(Fault) }
    }

    fn write_guest(&self, va: u64, bytes: &[u8]) -> Result<(), Fault> {
        // SAFETY: as in `read_guest`.
        let failed = unsafe { entry::copy_guest(va as *mut u8, bytes.as_ptr(), bytes.len()) };
        if failed == 0 { Ok(()) } else { Err(Fault) }
    }

    #[inline]
    fn set_cr3(&self, maddr: u64) {
        // SAFETY: every L4 the core loads carries the monitor's slots (`Tables::install_l4`).
        unsafe { asm!("mov cr3, {}", in(reg) maddr, options(nostack, preserves_flags)) };
    }

    fn cr3(&self) -> u64 {
        let value;
        // SAFETY: reads a control register.
        unsafe { asm!("mov {}, cr3", out(reg) value, options(nomem, nostack, preserves_flags)) };
        value
    }

    fn invlpg(&self, va: u64) {
        invalidate(va);
    }

    #[inline]
    fn swap_gs(&self) {
        // SAFETY: both bases are the guest's; the monitor does not use GS.
        unsafe { asm!("swapgs", options(nomem, nostack, preserves_flags)) };
    }

    fn base(&self, which: Base) -> u64 {
        rdmsr(match which {
            Base::Fs => MSR_FS_BASE,
            Base::Gs => MSR_GS_BASE,
            Base::OtherGs => MSR_KERNEL_GS_BASE,
        })
    }

    fn set_base(&self, which: Base, value: u64) {
        let msr = match which {
            Base::Fs => MSR_FS_BASE,
            Base::Gs => MSR_GS_BASE,
            Base::OtherGs => MSR_KERNEL_GS_BASE,
        };
        wrmsr(msr, value);
    }

    fn load_user_gs(&self, selector: u16) -> bool {
        // The guest kernel's base is in GS now: bring the user's in, load, take it out again.
        self.swap_gs();
        // SAFETY: a fault is fixed up.
        let failed = unsafe { entry::load_gs_selector(selector) };
        if failed != 0 {
            // SAFETY: the null selector always loads.
            unsafe { entry::load_gs_selector(0) };
        }
        self.swap_gs();
        failed == 0
    }

    fn null_segments(&self) {
        let gs_base = self.base(Base::Gs);
        self.load_segments(0, 0, 0, 0);
        // Loading GS changed the base under the kernel's feet.
        self.set_base(Base::Gs, gs_base);
    }

    fn load_segments(&self, ds: u16, es: u16, fs: u16, gs: u16) {
        // SAFETY: faults are fixed up; then the null selector, which always loads.
        unsafe {
            if entry::load_ds_selector(ds) != 0 {
                entry::load_ds_selector(0);
            }
            if entry::load_es_selector(es) != 0 {
                entry::load_es_selector(0);
            }
            if entry::load_fs_selector(fs) != 0 {
                entry::load_fs_selector(0);
            }
            if entry::load_gs_selector(gs) != 0 {
                entry::load_gs_selector(0);
            }
        }
    }

    fn tsc(&self) -> u64 {
        // SAFETY: reads the counter.
        unsafe { core::arch::x86_64::_rdtsc() }
    }

    fn stolen_ns(&self) -> u64 {
        // SAFETY: first word of KVM's steal-time record, which only KVM writes.
        unsafe { (kvm_area() as *const u64).read_volatile() }
    }

    fn set_deadline(&self, tsc: u64) {
        wrmsr_open(MSR_TSC_DEADLINE, tsc);
    }

    /// A count begins when it is written, which is late. Halfway through a change of the divisor what is left of it is
    /// stretched as well (KVM, `update_target_expiration`): a count of half the period that began `late` and is stretched to twice
    /// its length after `late` more ends at `late + (period / 2 - late) * 2 + late`, which is one period after what was due.
    fn start_ticking(&self, period: u64, due: u64) {
        // Nothing is counted yet: this changes no deadline.
        wrmsr(X2APIC_TDCR, DIVIDE_BY_1);
        wrmsr(X2APIC_LVT_TIMER, TIMER_PERIODIC | u64::from(vector::TIMER));
        let before = self.tsc();
        wrmsr(X2APIC_TMICT, (period / 2 / APIC_BUS_CYCLE_NS).min(u64::from(u32::MAX)));
        // KVM reads its clock about halfway between leaving and entering, here and below.
        let half = (self.tsc() - before) / 2;
        let began = before + half;
        let late = began.saturating_sub(due);
        if late <= LATE_START {
            while self.tsc() + half < began + late {
                self.relax();
            }
        }
        wrmsr_open(X2APIC_TDCR, DIVIDE_BY_2);
    }

    fn stop_ticking(&self) {
        wrmsr_open(X2APIC_LVT_TIMER, TIMER_TSC_DEADLINE | u64::from(vector::TIMER));
    }

    fn ipi(&self, vcpu: u32) {
        wrmsr_open(X2APIC_ICR, ipi_to(vcpu));
    }

    fn rouse(&self, vcpu: u32) -> bool {
        let result: u64;
        // SAFETY: a KVM hypercall that changes nothing but RAX; RBX, its flags, has none that KVM knows. Interrupts are on as in
        // `wrmsr_open`.
        unsafe {
            if AMD.load(Ordering::Relaxed) {
                asm!("sti", "vmmcall", "cli", in("rcx") u64::from(vcpu), inout("rax") KVM_HC_KICK_CPU => result, options(nostack));
            } else {
                asm!("sti", "vmcall", "cli", in("rcx") u64::from(vcpu), inout("rax") KVM_HC_KICK_CPU => result, options(nostack));
            }
        }
        result == 0
    }

    fn preempted(&self, vcpu: u32) -> Option<bool> {
        let preempted = preempted_byte(vcpu)?;
        Some(preempted.load(Ordering::SeqCst) & VCPU_PREEMPTED != 0)
    }

    fn leave_flush(&self, vcpu: u32) -> bool {
        let Some(preempted) = preempted_byte(vcpu) else {
            return false;
        };
        let mut seen = preempted.load(Ordering::SeqCst);
        while seen & VCPU_PREEMPTED != 0 {
            match preempted.compare_exchange(seen, seen | VCPU_FLUSH_TLB, Ordering::SeqCst, Ordering::SeqCst) {
                Ok(_) => return true,
                Err(now) => seen = now,
            }
        }
        false
    }

    fn notify(&self, event_port: u32) {
        out32(port::NOTIFY, event_port);
    }

    fn call(&self, nr: u32, args: &[u64], data: &[u8]) -> i64 {
        let id = my_id();
        let page = (DIRECT_MAP_VA + domain().info.call_gpa + u64::from(id) * 4096) as *mut Call;
        // SAFETY: this vCPU's own call page; noxen-vmm looks at it only while the vCPU is in the `out` below.
        unsafe {
            (&raw mut (*page).nr).write_volatile(nr);
            for (index, value) in args.iter().take(6).enumerate() {
                (&raw mut (*page).args[index]).write_volatile(*value);
            }
            for (index, byte) in data.iter().take(CALL_DATA).enumerate() {
                (&raw mut (*page).data[index]).write_volatile(*byte);
            }
        }
        out32(port::CALL, id);
        // SAFETY: as above.
        unsafe { (&raw const (*page).result).read_volatile() }
    }

    fn halt(&self) {
        // SAFETY: interrupts that end the halt only note themselves (`trap_entry`); none of them is slept through
        // (`entry::after_interrupt`).
        unsafe { entry::halt() };
    }

    fn relax(&self) {
        core::hint::spin_loop();
    }

    fn breathe(&self) {
        // SAFETY: as in `wrmsr_open`. The first PAUSE lies in STI's shadow, the second does not.
        unsafe { asm!("sti", "pause", "pause", "cli", options(nostack)) };
    }

    fn yield_cpu(&self, to: u32) {
        let result: u64;
        // SAFETY: a KVM hypercall that changes nothing but RAX. RBX is the compiler's, hence the exchange.
        unsafe {
            if AMD.load(Ordering::Relaxed) {
                asm!("xchg rbx, {to}", "sti", "vmmcall", "cli", "xchg rbx, {to}", to = inout(reg) u64::from(to) => _, inout("rax") KVM_HC_SCHED_YIELD => result, options(nostack));
            } else {
                asm!("xchg rbx, {to}", "sti", "vmcall", "cli", "xchg rbx, {to}", to = inout(reg) u64::from(to) => _, inout("rax") KVM_HC_SCHED_YIELD => result, options(nostack));
            }
        }
        let _ = result;
    }

    fn dr(&self, index: u32) -> u64 {
        let value: u64;
        // SAFETY: reads a debug register.
        unsafe {
            match index {
                0 => asm!("mov {}, dr0", out(reg) value, options(nomem, nostack)),
                1 => asm!("mov {}, dr1", out(reg) value, options(nomem, nostack)),
                2 => asm!("mov {}, dr2", out(reg) value, options(nomem, nostack)),
                3 => asm!("mov {}, dr3", out(reg) value, options(nomem, nostack)),
                6 => asm!("mov {}, dr6", out(reg) value, options(nomem, nostack)),
                7 => asm!("mov {}, dr7", out(reg) value, options(nomem, nostack)),
                _ => value = 0,
            }
        }
        value
    }

    fn set_dr(&self, index: u32, value: u64) {
        // SAFETY: the core refuses addresses in the monitor's space and reserved bits.
        unsafe {
            match index {
                0 => asm!("mov dr0, {}", in(reg) value, options(nomem, nostack)),
                1 => asm!("mov dr1, {}", in(reg) value, options(nomem, nostack)),
                2 => asm!("mov dr2, {}", in(reg) value, options(nomem, nostack)),
                3 => asm!("mov dr3, {}", in(reg) value, options(nomem, nostack)),
                6 => asm!("mov dr6, {}", in(reg) value, options(nomem, nostack)),
                7 => asm!("mov dr7, {}", in(reg) value, options(nomem, nostack)),
                _ => {}
            }
        }
    }

    fn set_ts(&self, on: bool) {
        // SAFETY: only TS changes; the monitor does not use the FPU.
        unsafe {
            if on {
                let mut cr0: u64;
                asm!("mov {}, cr0", out(reg) cr0, options(nomem, nostack, preserves_flags));
                cr0 |= 8;
                asm!("mov cr0, {}", in(reg) cr0, options(nostack, preserves_flags));
            } else {
                asm!("clts", options(nostack, preserves_flags));
            }
        }
    }

    fn cr4(&self) -> u64 {
        let value;
        // SAFETY: reads a control register.
        unsafe { asm!("mov {}, cr4", out(reg) value, options(nomem, nostack, preserves_flags)) };
        value
    }

    fn set_cr4(&self, value: u64) {
        // SAFETY: the core only changes bits that guests may control.
        unsafe { asm!("mov cr4, {}", in(reg) value, options(nostack, preserves_flags)) };
    }

    fn set_xcr0(&self, value: u64) -> bool {
        // SAFETY: a refused value is fixed up.
        unsafe { entry::xsetbv_safe(value) == 0 }
    }

    fn efer(&self) -> u64 {
        rdmsr(MSR_EFER)
    }

    fn set_tsc_aux(&self, value: u32) {
        // SAFETY: processors without the MSR fault, which is fixed up.
        unsafe { entry::wrmsr_safe(MSR_TSC_AUX, u64::from(value)) };
    }

    fn wbinvd(&self) {
        // Guest RAM is ordinary host memory and no device bypasses the caches: there is nothing to write back.
    }

    fn set_gdt_page(&self, index: usize, mfn: u64) {
        if index >= 14 {
            return;
        }
        let frame = if mfn == 0 { domain().info.zero_gpa } else { mfn << 12 };
        // Frame 0 stands for "none"; the processor sets Accessed bits, so real pages are writable.
        let bits = if mfn == 0 { pte::P | pte::A | pte::NX } else { pte::P | pte::RW | pte::A | pte::D | pte::NX };
        // SAFETY: L1 entry of this vCPU's own window.
        unsafe { window_entry(index).write_volatile(frame | bits) };
        invalidate(my_window() + window::GDT + index as u64 * 4096);
    }

    fn reload_gdt(&self) {
        tables::load_gdtr();
    }

    fn set_ldt(&self, entries: u32) {
        tables::load_ldt(entries);
    }

    fn set_ldt_page(&self, index: usize, mfn: Option<u64>) {
        if index >= 16 {
            return;
        }
        let entry = mfn.map_or(0, |mfn| mfn << 12 | pte::P | pte::RW | pte::A | pte::D | pte::NX);
        // SAFETY: L1 entry of this vCPU's own window.
        unsafe { window_entry(16 + index).write_volatile(entry) };
        invalidate(my_window() + window::LDT + index as u64 * 4096);
    }

    fn set_soft_gate(&self, vector: u8, open: bool) {
        tables::set_soft_gate(vector, open);
    }

    fn with_fresh_vcpu(&self, id: u32, f: &mut dyn FnMut(&mut Vcpu)) {
        if id >= domain().info.nr_vcpus || id == my_id() || id as usize >= layout::MAX_VCPUS {
            return;
        }
        // SAFETY: by contract the vCPU waits in its first park, where it does not look at its state, and the
        // caller holds the vCPU lock.
        f(unsafe { &mut *vcpu_state(id) });
    }
}
