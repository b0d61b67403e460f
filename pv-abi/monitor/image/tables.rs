//! The processor's tables: GDT page 14, TSS, IDT, SYSCALL stubs of one vCPU.

use crate::entry;
use crate::hw::{window_entry, wrmsr};
use crate::{domain, my_window};
use core::arch::asm;
use noxen_monitor::pagetable::pte;
use noxen_monitor_abi::layout::{compat, selector, window, DIRECT_MAP_VA};

const MSR_STAR: u32 = 0xc000_0081;
const MSR_LSTAR: u32 = 0xc000_0082;
const MSR_CSTAR: u32 = 0xc000_0083;
const MSR_SFMASK: u32 = 0xc000_0084;
const MSR_SYSENTER_CS: u32 = 0x174;
const MSR_SYSENTER_ESP: u32 = 0x175;
const MSR_SYSENTER_EIP: u32 = 0x176;
const MSR_PAT: u32 = 0x277;
/// Xen's PAT, because guests write cache attributes for it (xen: 0 WB, 1 WT, 2 UC-, 3 UC, 4 WC, 5 WP, UC, UC).
const XEN_PAT: u64 = 0x0000_0501_0007_0406;
/// Flags that SYSCALL clears: everything that could disturb the monitor.
const SFMASK: u64 = 0x4_7700 | 1 << 16;

/// EFER.SCE: SYSCALL exists.

/// Last page of the state area: page 14 of the GDT.
const GDT_PAGE: u64 = window::STATE + window::STATE_SIZE - 4096;

/// Sets this vCPU's tables up and loads them.
pub fn load(id: u32) {
    let base = my_window();
    let stack_top = base + window::STACK + window::STACK_SIZE;
    write_gdt(base);
    write_tss(base + window::TSS, stack_top, base);
    write_idt(base + window::IDT);
    write_stubs(id, base, stack_top);
    // SAFETY: the tables just written describe the monitor's own, mapped segments and handlers.
    unsafe {
        load_gdtr();
        let pointer = Pointer { limit: 4095, base: base + window::IDT };
        asm!("lidt [{}]", in(reg) &pointer, options(readonly, nostack, preserves_flags));
        asm!(
            "push {cs}",
            "lea {tmp}, [rip + 2f]",
            "push {tmp}",
            "retfq",
            "2:",
            cs = in(reg) u64::from(selector::MON_CS),
            tmp = lateout(reg) _,
        );
        asm!("mov ss, {0:x}", in(reg) selector::MON_SS, options(nostack));
        let null = 0u16;
        asm!("mov ds, {0:x}", "mov es, {0:x}", "mov fs, {0:x}", "mov gs, {0:x}", in(reg) null, options(nostack));
        asm!("ltr {0:x}", in(reg) selector::TSS, options(nostack));
        asm!("lldt {0:x}", in(reg) null, options(nostack));
        entry::wrmsr_safe(MSR_PAT, XEN_PAT);
    }
    // A 32-bit guest comes by CSTAR or SYSENTER alone: it has no segment for 64-bit code.
    wrmsr(MSR_STAR, u64::from(selector::USER_CS32) << 48 | u64::from(selector::MON_CS) << 32);
    wrmsr(MSR_LSTAR, base + window::STUBS);
    wrmsr(MSR_CSTAR, base + window::STUBS + 64);
    wrmsr(MSR_SFMASK, SFMASK);
    // Not every processor has these in long mode; without them SYSENTER is an invalid opcode.
    // SAFETY: MSR writes with a fix-up for processors that refuse.
    unsafe {
        entry::wrmsr_safe(MSR_SYSENTER_CS, u64::from(selector::MON_CS));
        entry::wrmsr_safe(MSR_SYSENTER_ESP, stack_top);
        entry::wrmsr_safe(MSR_SYSENTER_EIP, entry::sysenter_common as *const () as u64);
    }
}

#[repr(C, packed)]
struct Pointer {
    limit: u16,
    base: u64,
}

/// Loads GDTR: the window is always 64 KiB long.
pub fn load_gdtr() {
    let pointer = Pointer { limit: 0xffff, base: my_window() + window::GDT };
    // SAFETY: the window is mapped and page 14 holds the monitor's segments.
    unsafe { asm!("lgdt [{}]", in(reg) &pointer, options(readonly, nostack, preserves_flags)) };
}

/// Descriptor slot of page 14 for `selector`.
fn descriptor(selector: u16) -> *mut u64 {
    (my_window() + GDT_PAGE + u64::from(selector & 0xff8)) as *mut u64
}

fn set_descriptor(selector: u16, value: u64) {
    // SAFETY: inside this vCPU's own GDT page.
    unsafe { descriptor(selector).write_volatile(value) };
}

fn set_system_descriptor(selector: u16, kind: u64, base: u64, limit: u64) {
    let low = limit & 0xffff | (base & 0xff_ffff) << 16 | kind << 40 | (limit >> 16 & 15) << 48 | (base >> 24 & 0xff) << 56;
    set_descriptor(selector, low);
    set_descriptor(selector + 8, base >> 32);
}

fn write_gdt(base: u64) {
    // The window maps the zero page for now: page 14 gets its own.
    let entry = window_entry((GDT_PAGE >> 12) as usize);
    // SAFETY: L1 entries of this vCPU's window, which only this vCPU changes.
    unsafe { window_entry(14).write_volatile(entry.read_volatile()) };
    crate::hw::invalidate(base + window::GDT + 14 * 4096);
    set_descriptor(selector::MON_CS, 0x00af_9b00_0000_ffff);
    set_descriptor(selector::MON_SS, 0x00cf_9300_0000_ffff);
    if domain().shape.bits32 {
        set_descriptor(compat::KERNEL_CS, 0x00cf_bb00_0000_ffff);
        set_descriptor(compat::KERNEL_DS, 0x00cf_b300_0000_ffff);
        set_descriptor(compat::USER_CS, 0x00cf_fb00_0000_ffff);
        set_descriptor(compat::USER_DS, 0x00cf_f300_0000_ffff);
    } else {
        set_descriptor(selector::USER_CS32, 0x00cf_fb00_0000_ffff);
        set_descriptor(selector::GUEST_SS, 0x00cf_f300_0000_ffff);
        set_descriptor(selector::GUEST_CS, 0x00af_fb00_0000_ffff);
    }
    set_system_descriptor(selector::TSS, 0x89, base + window::TSS, 0x67);
    set_system_descriptor(selector::LDT, 0x82, base + window::LDT, 0);
}

/// Sets LDTR to the first `entries` descriptors of the LDT window.
pub fn load_ldt(entries: u32) {
    let selector = if entries == 0 { 0 } else { selector::LDT };
    if entries != 0 {
        set_system_descriptor(selector::LDT, 0x82, my_window() + window::LDT, u64::from(entries) * 8 - 1);
    }
    // SAFETY: null, or a descriptor of the monitor's own window.
    unsafe { asm!("lldt {0:x}", in(reg) selector, options(nostack)) };
}

fn write_tss(at: u64, stack_top: u64, base: u64) {
    let put = |offset: u64, value: u64| {
        // SAFETY: inside this vCPU's TSS page; fields are 4-byte aligned.
        unsafe { ((at + offset) as *mut u64).write_unaligned(value) };
    };
    put(4, stack_top);
    put(36, base + window::IST_DF + 4096);
    put(44, base + window::IST_NMI + 4096);
    put(52, base + window::IST_MC + 4096);
    // I/O map base beyond the limit: no port is open to ring 3.
    put(100, 0x68 << 16);
}

fn gate(idt: u64, vector: u8, handler: u64, ist: u64, dpl: u64) {
    let low = handler & 0xffff
        | u64::from(selector::MON_CS) << 16
        | ist << 32
        | 0xe << 40
        | dpl << 45
        | 1 << 47
        | (handler >> 16 & 0xffff) << 48;
    let at = (idt + u64::from(vector) * 16) as *mut u64;
    // SAFETY: inside this vCPU's IDT page.
    unsafe {
        at.write_volatile(low);
        at.add(1).write_volatile(handler >> 32);
    }
}

fn stub(vector: u8) -> u64 {
    entry::vector_stubs as *const () as u64 + u64::from(vector) * 16
}

fn write_idt(idt: u64) {
    for vector in 0..=255u8 {
        let (handler, ist, dpl) = match vector {
            // #DB on the machine-check stack: a PV guest never sees a machine check.
            1 => (entry::debug_stub as *const () as u64, 3, 0),
            2 => (entry::nmi_stub as *const () as u64, 2, 0),
            8 | 18 => (stub(vector), 1, 0),
            3 | 4 => (stub(vector), 0, 3),
            compat::HYPERCALL_VECTOR if domain().shape.bits32 => (stub(vector), 0, 1),
            _ => (stub(vector), 0, 0),
        };
        gate(idt, vector, handler, ist, dpl);
    }
}

/// Opens or closes `int vector` to ring 3.
pub fn set_soft_gate(vector: u8, open: bool) {
    gate(my_window() + window::IDT, vector, stub(vector), 0, if open { 3 } else { 0 });
}

/// The two SYSCALL stubs: they know their stack by its address, so GS stays the guest's.
///
/// ```text
///   mov [stack_top - 8], rax ; mov rax, rsp ; mov rsp, stack_top - 8 ; push rax ; jmp common
/// ```
fn write_stubs(id: u32, base: u64, stack_top: u64) {
    // The page is executable, hence not writable through the window: written through the direct map.
    let entry = window_entry((window::STUBS >> 12) as usize);
    // SAFETY: reads this vCPU's own L1 entry.
    let frame = unsafe { entry.read_volatile() } & pte::ADDRESS;
    let _ = (id, domain());
    for (offset, target) in [(0, entry::syscall_common as *const () as u64), (64, entry::syscall32_common as *const () as u64)] {
        let mut code = [0xccu8; 48];
        let mut at = 0;
        let mut put = |bytes: &[u8]| {
            code[at..at + bytes.len()].copy_from_slice(bytes);
            at += bytes.len();
        };
        put(&[0x48, 0xa3]);
        put(&(stack_top - 8).to_le_bytes());
        put(&[0x48, 0x89, 0xe0]);
        put(&[0x48, 0xbc]);
        put(&(stack_top - 8).to_le_bytes());
        put(&[0x50, 0xe9]);
        let next = base + window::STUBS + offset + 29;
        put(&(target.wrapping_sub(next) as u32).to_le_bytes());
        for (index, byte) in code.iter().enumerate() {
            let to = (DIRECT_MAP_VA + frame + offset + index as u64) as *mut u8;
            // SAFETY: the stub page of this vCPU, which nothing executes before LSTAR is set.
            unsafe { to.write_volatile(*byte) };
        }
    }
}
