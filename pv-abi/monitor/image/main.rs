//! The monitor image: ring 0 of a PV domain's VM.
//!
//! ```text
//!   noxen-vmm --> monitor_entry(rdi = MonInfo, rsi = vCPU)  stack: top of the vCPU's window
//!                   |  vCPU 0 fills DOMAIN, the others wait for it
//!                   v
//!                 processor tables (tables.rs), Cpu::first_entry --> iretq into the guest
//!   guest --> entry.rs stubs --> trap_entry / syscall --> Cpu::on_entry --> iretq
//! ```
//! This is the only unsafe part of the monitor: it is the processor's side of `Machine`.
#![no_std]
#![no_main]

mod entry;
mod fast;
mod hw;
mod mem;
mod tables;

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, Ordering};
use hw::Hw;
use noxen_monitor::cpu::Cpu;
use noxen_monitor::domain::Domain;
use noxen_monitor::exit::note_interrupt;
use noxen_monitor::regs::Regs;
use noxen_monitor::vcpu::Vcpu;
use noxen_monitor_abi::layout::{self, vector, window, VCPU_VA, VCPU_WINDOW};
use noxen_monitor_abi::pages::call;
use noxen_monitor_abi::MonInfo;

/// The domain, written by vCPU 0 before `READY` and only read (through atomics) afterwards.
struct DomainCell(UnsafeCell<Domain>);
// SAFETY: written once before READY is set with release order; afterwards shared references only.
unsafe impl Sync for DomainCell {}

// SAFETY: MonInfo is plain integers, for which all-zero bytes are a valid value.
static DOMAIN: DomainCell = DomainCell(UnsafeCell::new(Domain::new(unsafe { core::mem::zeroed() })));
static READY: AtomicBool = AtomicBool::new(false);

/// The domain, once it is ready.
pub fn domain() -> &'static Domain {
    // SAFETY: called after READY only (or by vCPU 0 after it wrote the domain).
    unsafe { &*DOMAIN.0.get() }
}

/// Window of the vCPU whose stack we are on.
#[inline(always)]
pub fn my_window() -> u64 {
    let sp: u64;
    // SAFETY: reads a register.
    unsafe { core::arch::asm!("mov {}, rsp", out(reg) sp, options(nomem, nostack, preserves_flags)) };
    sp & !(VCPU_WINDOW - 1)
}

/// Number of the vCPU whose stack we are on.
#[inline(always)]
pub fn my_id() -> u32 {
    ((my_window() - VCPU_VA) / VCPU_WINDOW) as u32
}

/// Private state of a vCPU.
pub fn vcpu_state(id: u32) -> *mut Vcpu {
    (VCPU_VA + u64::from(id) * VCPU_WINDOW + window::STATE) as *mut Vcpu
}

const _: () = assert!(core::mem::size_of::<Vcpu>() <= window::STATE_SIZE as usize - 4096);

/// First Rust code of every vCPU.
#[no_mangle]
extern "C" fn monitor_start(info: *const MonInfo, id: u64) -> ! {
    if id == 0 {
        // SAFETY: noxen-vmm passes the direct-map address of the MonInfo it wrote; nobody else runs monitor
        // code before READY, so the domain and the vCPU states may be written.
        unsafe {
            let info = *info;
            let l4 = (layout::DIRECT_MAP_VA + info.l4_gpa) as *const u64;
            let mut slots = [0u64; 16];
            for (index, slot) in slots.iter_mut().enumerate() {
                *slot = *l4.add(layout::FIRST_SLOT + index);
            }
            (*DOMAIN.0.get()).start(info, slots);
            for vcpu in 0..info.nr_vcpus {
                vcpu_state(vcpu).write(Vcpu::new(vcpu));
            }
        }
        if domain().info.magic != layout::MAGIC || domain().info.abi_version != layout::ABI_VERSION {
            die("monitor and noxen-vmm speak different versions of their ABI");
        }
        READY.store(true, Ordering::Release);
    } else {
        while !READY.load(Ordering::Acquire) {
            core::hint::spin_loop();
        }
    }
    tables::load(id as u32);
    hw::start_apic();
    let mut regs = cpu().first_entry();
    entry::enter_guest(&mut regs)
}

/// The vCPU we are on.
fn cpu() -> Cpu<'static, Hw> {
    // SAFETY: the state belongs to this vCPU, and monitor code on one vCPU is not re-entered: interrupts that
    // hit the monitor only note themselves (`trap_entry`) and do not come here.
    Cpu { m: &Hw, dom: domain(), v: unsafe { &mut *vcpu_state(my_id()) } }
}

/// Every exception and interrupt, from the guest or from the monitor itself.
#[no_mangle]
extern "C" fn trap_entry(regs: &mut Regs) {
    let cr2 = if regs.vector == 14 { hw::cr2() } else { 0 };
    if regs.vector >= u64::from(vector::DOORBELL) {
        let vector = regs.vector as u8;
        if vector != vector::SPURIOUS {
            hw::settle_interrupt();
            hw::eoi();
        }
        note_interrupt(&domain().vcpus[my_id() as usize], vector);
        if !regs.from_guest() {
            regs.rip = entry::after_interrupt(regs.rip);
            return;
        }
    }
    if regs.from_guest() {
        cpu().on_entry(regs, cr2);
    } else {
        monitor_fault(regs, cr2);
    }
}

/// SYSCALL and SYSENTER.
#[no_mangle]
extern "C" fn syscall_entry(regs: &mut Regs) {
    cpu().on_entry(regs, 0);
}

/// NMI: on its own stack, so it only notes itself; the self-IPI brings the vCPU to `leave` soon.
#[no_mangle]
extern "C" fn nmi_entry(_regs: &mut Regs) {
    use noxen_monitor::domain::attention;
    let id = my_id();
    domain().vcpus[id as usize].attention.fetch_or(attention::NMI, Ordering::SeqCst);
    hw::send_ipi(id);
}

/// A fault of monitor code: expected ones have a fix-up, any other is our own bug.
fn monitor_fault(regs: &mut Regs, cr2: u64) {
    if let 11..=14 = regs.vector {
        if entry::is_guest_return(regs.rip) {
            if regs.vector == 14 && cpu().is_ldt_window(cr2) && cpu().fill_ldt_window(cr2) {
                return;
            }
            // The guest's frame is what the failed IRETQ was reading.
            // SAFETY: RSP at a faulting IRETQ points to its five-word frame on this vCPU's stack.
            let frame = unsafe { &*(regs.rsp as *const [u64; 5]) };
            [regs.rip, regs.cs, regs.rflags, regs.rsp, regs.ss] = *frame;
            cpu().on_failed_return(regs);
            return;
        }
        if regs.vector == 14 {
            let window = my_window() + window::LDT;
            if (window..window + 0x1_0000).contains(&cr2) && cpu().fill_ldt_window(cr2) {
                return;
            }
            let tables = noxen_monitor::pagetable::Tables { m: &Hw, dom: domain() };
            let guest_address = !(layout::HOLE_START..layout::HOLE_END).contains(&cr2);
            use noxen_monitor::pagetable::Healed;
            if guest_address && tables.heal(noxen_monitor::machine::Machine::cr3(&Hw), cr2, regs.error) != Healed::No {
                return;
            }
        }
        if let Some(fixup) = entry::fixup(regs.rip) {
            regs.rip = fixup;
            return;
        }
    }
    let mut text = [0u8; 160];
    let length = describe(&mut text, regs, cr2);
    noxen_monitor::machine::Machine::call(&Hw, call::PANIC, &[length as u64], &text[..length]);
    stop()
}

/// "monitor fault: vector .. rip .." without the formatting machinery.
fn describe(text: &mut [u8], regs: &Regs, cr2: u64) -> usize {
    let mut at = 0;
    let mut put = |bytes: &[u8]| {
        for byte in bytes {
            if let Some(slot) = text.get_mut(at) {
                *slot = *byte;
                at += 1;
            }
        }
    };
    for (name, value) in [
        ("monitor fault: vector 0x", regs.vector),
        (" error 0x", regs.error),
        (" rip 0x", regs.rip),
        (" rsp 0x", regs.rsp),
        (" cs 0x", regs.cs),
        (" cr2 0x", cr2),
    ] {
        put(name.as_bytes());
        let digits = (16 - value.leading_zeros() as usize / 4).max(1);
        for digit in (0..digits).rev() {
            put(&[b"0123456789abcdef"[(value >> (digit * 4) & 15) as usize]]);
        }
    }
    at
}

/// Reports a fatal error of the monitor and stops this vCPU.
fn die(text: &str) -> ! {
    noxen_monitor::machine::Machine::call(&Hw, call::PANIC, &[text.len() as u64], text.as_bytes());
    stop()
}

fn stop() -> ! {
    loop {
        // SAFETY: stops the vCPU; noxen-vmm has been told and does not come back.
        unsafe { core::arch::asm!("cli", "hlt") };
    }
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo) -> ! {
    die(info.location().map_or("monitor panic", |location| location.file()))
}

/// Referenced by precompiled `core`; never called with panic=abort.
#[no_mangle]
extern "C" fn rust_eh_personality() {}
