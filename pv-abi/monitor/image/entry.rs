//! Entry stubs and the way back (SDM volume 3, 6.14; APM volume 2, 8.9).
//!
//! ```text
//!   stack after any entry, lowest address first = noxen_monitor::regs::Regs:
//!     r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi | vector error | rip cs rflags rsp ss
//! ```
//! Interrupts are off from entry to exit.

use core::arch::{global_asm, naked_asm};
use noxen_monitor::regs::Regs;

global_asm!(
    r#"
    .macro SAVE
        push rdi
        push rsi
        push rdx
        push rcx
        push rax
        push r8
        push r9
        push r10
        push r11
        push rbx
        push rbp
        push r12
        push r13
        push r14
        push r15
        cld
        mov rdi, rsp
    .endm
    .macro RESTORE
        pop r15
        pop r14
        pop r13
        pop r12
        pop rbp
        pop rbx
        pop r11
        pop r10
        pop r9
        pop r8
        pop rax
        pop rcx
        pop rdx
        pop rsi
        pop rdi
        add rsp, 16
    .endm

    .section .text.entry, "ax"
    .global monitor_entry
monitor_entry:
    xor ebp, ebp
    call {start}
    ud2

    .global common_entry
common_entry:
    SAVE
    call {trap}
    .global back_to_guest
back_to_guest:
    RESTORE
    .global iret_instruction
iret_instruction:
    iretq

    // One stub per vector, 16 bytes each.
    .balign 16
    .global vector_stubs
vector_stubs:
    .set vector, 0
    .rept 256
    .balign 16
    .if (vector == 8) || ((vector >= 10) && (vector <= 14)) || (vector == 17) || (vector == 21)
    .else
        push 0
    .endif
        push vector
        jmp common_entry
    .set vector, vector + 1
    .endr

    // #DB has a stack of its own, because it may hit the first instruction of a SYSCALL entry, where RSP
    // is still the guest's. From the guest: go on on the main stack. From the monitor: nothing of ours is
    // being debugged, go back.
    .global debug_stub
debug_stub:
    test byte ptr [rsp + 8], 3
    jz 2f
    push rax
    push rcx
    mov rax, rsp
    and rax, -0x100000
    add rax, {stack_top}
    mov rcx, [rsp + 48]
    mov [rax - 8], rcx
    mov rcx, [rsp + 40]
    mov [rax - 16], rcx
    mov rcx, [rsp + 32]
    mov [rax - 24], rcx
    mov rcx, [rsp + 24]
    mov [rax - 32], rcx
    mov rcx, [rsp + 16]
    mov [rax - 40], rcx
    pop rcx
    xchg rsp, rax
    lea rsp, [rsp - 40]
    mov rax, [rax]
    push 0
    push 1
    jmp common_entry
2:  iretq

    .global nmi_stub
nmi_stub:
    push 0
    push 2
    SAVE
    call {nmi}
    RESTORE
    iretq

    // SYSCALL that is no fast case (fast.rs): the per-vCPU stub has stored RAX at top-8, loaded RSP with top-8
    // and pushed the guest's RSP.
    .global syscall_slow
syscall_slow:
    mov rax, [rsp + 8]
    mov qword ptr [rsp + 8], 0xe02b
    push r11
    push 0xe033
    push rcx
    push 0
    push 0x100
    SAVE
    call {syscall}
    jmp back_to_guest

    .global syscall32_common
syscall32_common:
    mov rax, [rsp + 8]
    mov qword ptr [rsp + 8], 0xe02b
    push r11
    push 0xe023
    push rcx
    push 0
    push 0x101
    SAVE
    call {syscall}
    jmp back_to_guest

    // SYSENTER: RSP is the top of the main stack, nothing of the guest's context was kept.
    .global sysenter_common
sysenter_common:
    push 0xe02b
    push 0
    pushfq
    push 3
    push 0
    push 0
    push 0x102
    SAVE
    call {syscall}
    jmp back_to_guest

    // copy(rdi = to, rsi = from, rdx = bytes): rax 0, or 1 when guest memory faulted.
    .global copy_guest
copy_guest:
    mov rcx, rdx
    shr rcx, 3
    .global copy_guest_words
copy_guest_words:
    rep movsq
    mov ecx, edx
    and ecx, 7
    .global copy_guest_bytes
copy_guest_bytes:
    rep movsb
    xor eax, eax
    ret

    // load_gs(di = selector): rax 0, or 1 when the selector faulted.
    .global load_gs_selector
load_gs_selector:
    xor eax, eax
    .global load_gs_instruction
load_gs_instruction:
    mov gs, di
    ret
    .global load_fs_selector
load_fs_selector:
    xor eax, eax
    .global load_fs_instruction
load_fs_instruction:
    mov fs, di
    ret
    .global load_ds_selector
load_ds_selector:
    xor eax, eax
    .global load_ds_instruction
load_ds_instruction:
    mov ds, di
    ret
    .global load_es_selector
load_es_selector:
    xor eax, eax
    .global load_es_instruction
load_es_instruction:
    mov es, di
    ret

    // wrmsr_safe(edi = msr, rsi = value): rax 0, or 1 when the processor refused.
    .global wrmsr_safe
wrmsr_safe:
    mov ecx, edi
    mov eax, esi
    mov rdx, rsi
    shr rdx, 32
    .global wrmsr_instruction
wrmsr_instruction:
    wrmsr
    xor eax, eax
    ret

    // xsetbv_safe(rdi = value of XCR0): rax 0, or 1 when the processor refused.
    .global xsetbv_safe
xsetbv_safe:
    xor ecx, ecx
    mov eax, edi
    mov rdx, rdi
    shr rdx, 32
    .global xsetbv_instruction
xsetbv_instruction:
    xsetbv
    xor eax, eax
    ret

    // halt(): sleeps until an interrupt has come.
    .global halt
halt:
    sti
    .global halt_instruction
halt_instruction:
    hlt
    .global halt_end
halt_end:
    cli
    ret

    .global fault_fixup
fault_fixup:
    mov eax, 1
    ret
"#,
    start = sym crate::monitor_start,
    trap = sym crate::trap_entry,
    nmi = sym crate::nmi_entry,
    syscall = sym crate::syscall_entry,
    stack_top = const noxen_monitor_abi::layout::window::STACK + noxen_monitor_abi::layout::window::STACK_SIZE,
);

extern "C" {
    /// Stub of vector 0; that of vector n is 16 n bytes on.
    pub fn vector_stubs();
    /// Stub of #DB.
    pub fn debug_stub();
    /// Stub of NMI.
    pub fn nmi_stub();
    /// Where per-vCPU SYSCALL stubs jump to.
    pub fn syscall_common();
    /// The same for 32-bit SYSCALL.
    pub fn syscall32_common();
    /// SYSENTER's entry.
    pub fn sysenter_common();
    /// Copies with a fix-up.
    pub fn copy_guest(to: *mut u8, from: *const u8, bytes: usize) -> u64;
    /// Loads GS with a fix-up.
    pub fn load_gs_selector(selector: u16) -> u64;
    /// Loads FS with a fix-up.
    pub fn load_fs_selector(selector: u16) -> u64;
    /// Loads DS with a fix-up.
    pub fn load_ds_selector(selector: u16) -> u64;
    /// Loads ES with a fix-up.
    pub fn load_es_selector(selector: u16) -> u64;
    /// WRMSR with a fix-up.
    pub fn wrmsr_safe(msr: u32, value: u64) -> u64;
    /// XSETBV with a fix-up.
    pub fn xsetbv_safe(value: u64) -> u64;
    /// Sleeps until an interrupt has come.
    pub fn halt();
    fn halt_instruction();
    fn halt_end();
    fn iret_instruction();
    fn copy_guest_words();
    fn copy_guest_bytes();
    fn load_gs_instruction();
    fn load_fs_instruction();
    fn load_ds_instruction();
    fn load_es_instruction();
    fn wrmsr_instruction();
    fn xsetbv_instruction();
    fn fault_fixup();
}

/// True for the address of an IRETQ that returns to guests.
pub fn is_guest_return(rip: u64) -> bool {
    rip == iret_instruction as *const () as u64 || rip == crate::fast::iret_address()
}

/// Where to go on after an interrupt of the monitor at `rip`.
///
/// STI's shadow keeps interrupts away from a HLT right behind it. A hypervisor that loses the shadow when it takes the
/// vCPU out between the two (QEMU 7.2's AMD-V does not restore it at VMRUN) lets one in nevertheless, and the HLT would then
/// sleep through what it announced: it has happened, so the HLT is over.
pub fn after_interrupt(rip: u64) -> u64 {
    if rip == halt_instruction as *const () as u64 {
        return halt_end as *const () as u64;
    }
    rip
}

/// Where to go on after an expected fault at `rip`.
pub fn fixup(rip: u64) -> Option<u64> {
    let expected: [unsafe extern "C" fn(); 8] = [
        copy_guest_words,
        copy_guest_bytes,
        load_gs_instruction,
        load_fs_instruction,
        load_ds_instruction,
        load_es_instruction,
        wrmsr_instruction,
        xsetbv_instruction,
    ];
    if expected.iter().any(|at| *at as *const () as u64 == rip) {
        return Some(fault_fixup as *const () as u64);
    }
    crate::fast::fixup(rip)
}

/// Loads `regs` and enters the guest.
#[unsafe(naked)]
unsafe extern "C" fn enter(regs: *mut Regs) -> ! {
    naked_asm!("mov rsp, rdi", "jmp back_to_guest")
}

/// Loads `regs` and enters the guest for the first time.
pub fn enter_guest(regs: &mut Regs) -> ! {
    // SAFETY: `regs` has the layout that the exit code pops; the stack below it is not used again, because
    // every entry starts at the top of the stack.
    unsafe { enter(regs) }
}
