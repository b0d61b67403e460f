//! The two hottest paths in assembly: a system call on its way to the guest kernel, and the iret
//! hypercall. Both do exactly what `trap::user_syscall` and `hypercall::iret` do for the common case and
//! fall back to them, with nothing changed, for every other one.
//!
//! ```text
//!   SYSCALL -- user mode,   callback set, masks events, events unmasked --> frame on the kernel stack, SYSRET
//!           -- kernel mode, number 23, nothing to deliver on the way    --> frame loaded, IRETQ / SYSRET
//!           -- else                                                     --> syscall_slow (entry.rs)
//! ```
//! No look at `attention` is needed: whatever sets it comes with an interrupt, which is taken right after
//! the return. Stack on entry here: [rsp] guest RSP, [rsp + 8] guest RAX; RAX = guest RSP.

use core::arch::global_asm;
use core::mem::offset_of;
use noxen_monitor::regs::flags;
use noxen_monitor::vcpu::{Callback, Callbacks, Vcpu};
use noxen_monitor_abi::counters::{other, HYPERCALL, OTHER};
use noxen_monitor_abi::layout::{window, DIRECT_MAP_VA};

const STATE: usize = window::STATE as usize;
const SYSCALL: usize = STATE + offset_of!(Vcpu, callbacks) + offset_of!(Callbacks, syscall);
/// Flags of the guest kernel after a system call: what `bounce` and SFMASK clear.
const KERNEL_FLAGS: u64 = !(flags::AC | flags::VM | flags::RF | flags::NT | flags::TF | flags::IOPL | flags::DF);
/// Flags that a SYSRET must not load.
const NO_SYSRET: u64 = flags::TF | flags::RF;

global_asm!(
    r#"
    .text
    .balign 16
    .global syscall_common
syscall_common:
    push rdx
    mov rdx, rsp
    and rdx, -0x100000
    cmp byte ptr [rdx + {km}], 0
    jne 4f
    push rbx
    mov rbx, [rdx + {info}]
    add rbx, [rip + direct_map]
    cmp byte ptr [rbx + 1], 0
    jne 3f
    cmp byte ptr [rdx + {sys_mask}], 0
    je 3f
    cmp qword ptr [rdx + {sys_addr}], 0
    je 3f
    push rsi
    mov byte ptr [rdx + {km}], 1
    swapgs
    mov rsi, [rdx + {kcr3}]
    mov cr3, rsi
    mov rsi, [rdx + {ksp}]
    and rsi, -16
    .global fast_frame_start
fast_frame_start:
    mov qword ptr [rsi - 8], 0xe02b
    mov [rsi - 16], rax
    mov [rsi - 24], r11
    mov qword ptr [rsi - 32], 0xe033
    mov [rsi - 40], rcx
    mov [rsi - 48], r11
    mov [rsi - 56], rcx
    .global fast_frame_end
fast_frame_end:
    mov byte ptr [rbx + 1], 1
    mov rbx, [rdx + {counters}]
    add rbx, [rip + direct_map]
    inc qword ptr [rbx + {n_syscall}]
    mov rcx, [rdx + {sys_addr}]
    and r11d, {kernel_flags}
    or r11d, 0x202
    sub rsi, 56
    mov [rsp + 24], rsi
    pop rsi
    pop rbx
    pop rdx
    mov rax, [rsp + 8]
    mov rsp, [rsp]
    sysretq

    // The kernel stack took a fault: undo, and let the slow path find out.
    .global fast_frame_fault
fast_frame_fault:
    mov byte ptr [rdx + {km}], 0
    swapgs
    mov rsi, [rdx + {ucr3}]
    mov cr3, rsi
    pop rsi
3:  pop rbx
    pop rdx
    jmp syscall_slow

4:  cmp qword ptr [rsp + 16], 23
    jne 6f
    cmp byte ptr [rdx + {nmi}], 0
    jne 6f
    // The frame must not lie in the monitor's own space. RCX and R11 are free: iret replaces them.
    mov rcx, rax
    shr rcx, 43
    cmp ecx, 0x1ffff0
    je 6f
    push rbx
    // Guest frame: rax r11 rcx flags rip cs rflags rsp ss; its last five words are IRETQ's own frame.
    sub rsp, 72
    .global fast_iret_start
fast_iret_start:
    mov rcx, [rax]
    mov [rsp], rcx
    mov rcx, [rax + 8]
    mov [rsp + 8], rcx
    mov rcx, [rax + 16]
    mov [rsp + 16], rcx
    mov rcx, [rax + 24]
    mov [rsp + 24], rcx
    mov rcx, [rax + 32]
    mov [rsp + 32], rcx
    mov rcx, [rax + 40]
    mov [rsp + 40], rcx
    mov rcx, [rax + 48]
    mov [rsp + 48], rcx
    mov rcx, [rax + 56]
    mov [rsp + 56], rcx
    mov rcx, [rax + 64]
    mov [rsp + 64], rcx
    .global fast_iret_end
fast_iret_end:
    mov rbx, [rdx + {info}]
    add rbx, [rip + direct_map]
    mov ecx, [rsp + 48]
    test ecx, {f_if}
    jz 2f
    cmp byte ptr [rbx], 0
    jne fast_iret_fault
2:  mov rax, [rsp + 32]
    mov r11, rax
    shl r11, 16
    sar r11, 16
    cmp r11, rax
    jne fast_iret_fault
    mov r11d, ecx
    and ecx, {guest_flags}
    or ecx, 0x202
    mov [rsp + 48], rcx
    movzx eax, word ptr [rsp + 64]
    or eax, 3
    mov [rsp + 64], rax
    movzx ecx, word ptr [rsp + 40]
    mov eax, ecx
    or eax, 3
    mov [rsp + 40], rax
    and ecx, 3
    cmp ecx, 3
    jne 5f
    mov rcx, [rdx + {ucr3}]
    test rcx, rcx
    jz fast_iret_fault
    cmp qword ptr [rdx + {owed}], 0
    jne fast_iret_fault
    mov byte ptr [rdx + {km}], 0
    swapgs
    mov cr3, rcx
    test r11d, {f_if}
    setz byte ptr [rbx + 1]
    mov rcx, [rdx + {counters}]
    add rcx, [rip + direct_map]
    inc qword ptr [rcx + {n_iret}]
    mov rbx, [rsp + 72]
    mov rdx, [rsp + 80]
    // Leaving a system call, 64-bit, RCX and R11 need not survive: SYSRET may return.
    test dword ptr [rsp + 24], 0x100
    jz 7f
    cmp eax, 0x33
    jne 7f
    test r11d, {no_sysret}
    jnz 7f
    mov rax, [rsp]
    mov rcx, [rsp + 32]
    mov r11, [rsp + 48]
    mov rsp, [rsp + 56]
    sysretq
5:  test r11d, {f_if}
    setz byte ptr [rbx + 1]
    mov rcx, [rdx + {counters}]
    add rcx, [rip + direct_map]
    inc qword ptr [rcx + {n_iret}]
    mov rbx, [rsp + 72]
    mov rdx, [rsp + 80]
7:  mov rax, [rsp]
    mov r11, [rsp + 8]
    mov rcx, [rsp + 16]
    add rsp, 32
    .global fast_iret_instruction
fast_iret_instruction:
    iretq
    // The frame cannot be read, or is not the common case: nothing has changed yet.
    .global fast_iret_fault
fast_iret_fault:
    add rsp, 72
    pop rbx
6:  pop rdx
    mov rax, [rsp]
    jmp syscall_slow

    .section .rodata
    .balign 8
direct_map:
    .quad {direct_map}
    .text
"#,
    km = const STATE + offset_of!(Vcpu, kernel_mode),
    nmi = const STATE + offset_of!(Vcpu, nmi_active),
    info = const STATE + offset_of!(Vcpu, vcpu_info),
    kcr3 = const STATE + offset_of!(Vcpu, kernel_cr3),
    ucr3 = const STATE + offset_of!(Vcpu, user_cr3),
    ksp = const STATE + offset_of!(Vcpu, kernel_sp),
    owed = const STATE + offset_of!(Vcpu, owed),
    counters = const STATE + offset_of!(Vcpu, counters),
    sys_addr = const SYSCALL + offset_of!(Callback, address),
    sys_mask = const SYSCALL + offset_of!(Callback, mask),
    n_syscall = const (OTHER + other::SYSCALL) * 8,
    n_iret = const (HYPERCALL + 23) * 8,
    f_if = const flags::IF,
    kernel_flags = const KERNEL_FLAGS as u32 as i32,
    guest_flags = const flags::GUEST,
    no_sysret = const NO_SYSRET,
    direct_map = const DIRECT_MAP_VA,
);

extern "C" {
    fn fast_frame_start();
    fn fast_frame_end();
    fn fast_frame_fault();
    fn fast_iret_start();
    fn fast_iret_end();
    fn fast_iret_fault();
    fn fast_iret_instruction();
}

/// Address of the fast path's IRETQ.
pub fn iret_address() -> u64 {
    fast_iret_instruction as *const () as u64
}

/// Where to go on after a fault on guest memory inside a fast path.
pub fn fixup(rip: u64) -> Option<u64> {
    let at = |symbol: unsafe extern "C" fn()| symbol as *const () as u64;
    if (at(fast_frame_start)..at(fast_frame_end)).contains(&rip) {
        return Some(at(fast_frame_fault));
    }
    if (at(fast_iret_start)..at(fast_iret_end)).contains(&rip) {
        return Some(at(fast_iret_fault));
    }
    None
}
