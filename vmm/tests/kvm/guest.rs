//! Monitors of a few instructions. Entry: RDI = MonInfo (in the direct map), RSI = vCPU id.

#![allow(unsafe_code)] // The programs are assembly, read between its labels.

use noxen_monitor_abi::layout::{port, DIRECT_MAP_VA};
use noxen_monitor_abi::pages::call;
use noxen_monitor_abi::MonInfo;
use std::mem::offset_of;

/// What a monitor does.
#[derive(Debug, Clone, Copy)]
pub enum Program {
    /// Prints "hi" by console_io, powers off.
    Hello,
    /// Counts in its counter page for ever, with a call after each count.
    Count,
    /// Notifies the store's port, waits for the doorbell, asks for a reboot.
    Echo,
    /// Reports itself online, sleeps.
    Online,
    /// Executes ud2 without an IDT.
    Undefined,
    /// Calls PANIC with "oh".
    Panic,
    /// Writes to I/O port 0x80.
    StrayPort,
}

std::arch::global_asm!(
    ".pushsection .rodata",
    // r8 = own call page, r9 = own counter page.
    ".macro PROLOGUE",
    "    movabs r10, {direct}",
    "    mov rcx, rsi",
    "    shl rcx, 12",
    "    mov r8, [rdi + {call_gpa}]",
    "    add r8, r10",
    "    add r8, rcx",
    "    mov r9, [rdi + {counters_gpa}]",
    "    add r9, r10",
    "    add r9, rcx",
    ".endm",
    ".macro CALL number",
    "    mov dword ptr [r8], \\number",
    "    mov eax, esi",
    "    mov dx, {call_port}",
    "    out dx, eax",
    ".endm",
    "test_hello:",
    "    PROLOGUE",
    "    mov qword ptr [r8 + 8], 3",
    "    mov dword ptr [r8 + 1024], 0x0a6968",
    "    CALL {console_io}",
    "    mov qword ptr [r8 + 8], 0",
    "    CALL {shutdown}",
    "test_count:",
    "    PROLOGUE",
    "2:  inc qword ptr [r9]",
    "    mov qword ptr [r8 + 8], 0",
    "    CALL {console_io}",
    "    jmp 2b",
    "test_echo:",
    "    PROLOGUE",
    "    mov eax, [rdi + {store_port}]",
    "    mov dx, {notify_port}",
    "    out dx, eax",
    "    add r10, [rdi + {doorbell_gpa}]",
    "3:  pause",
    "    cmp qword ptr [r10], 1",
    "    jne 3b",
    "    cmp qword ptr [r10 + 64], 2",
    "    jne 3b",
    "    mov qword ptr [r8 + 8], 1",
    "    CALL {shutdown}",
    "test_online:",
    "    PROLOGUE",
    "    push rsi",
    "    mov [r8 + 8], rsi",
    "    mov qword ptr [r8 + 16], 1",
    "    CALL {vcpu_online}",
    "    cli",
    "4:  hlt",
    "    jmp 4b",
    "test_undefined:",
    "    ud2",
    "test_panic:",
    "    PROLOGUE",
    "    mov qword ptr [r8 + 8], 2",
    "    mov word ptr [r8 + 1024], 0x686f",
    "    CALL {panic}",
    "test_stray:",
    "    mov al, 1",
    "    out 0x80, al",
    "    hlt",
    "test_end:",
    ".purgem PROLOGUE",
    ".purgem CALL",
    ".popsection",
    direct = const DIRECT_MAP_VA,
    call_gpa = const offset_of!(MonInfo, call_gpa),
    counters_gpa = const offset_of!(MonInfo, counters_gpa),
    doorbell_gpa = const offset_of!(MonInfo, doorbell_gpa),
    store_port = const offset_of!(MonInfo, store_port),
    call_port = const port::CALL,
    notify_port = const port::NOTIFY,
    console_io = const call::CONSOLE_IO,
    shutdown = const call::SHUTDOWN,
    vcpu_online = const call::VCPU_ONLINE,
    panic = const call::PANIC,
);

mod code {
    unsafe extern "C" {
        pub static test_hello: u8;
        pub static test_count: u8;
        pub static test_echo: u8;
        pub static test_online: u8;
        pub static test_undefined: u8;
        pub static test_panic: u8;
        pub static test_stray: u8;
        pub static test_end: u8;
    }
}

impl Program {
    /// The instructions, position-independent; those of later programs follow.
    pub fn code(self) -> &'static [u8] {
        let start = match self {
            Program::Hello => &raw const code::test_hello,
            Program::Count => &raw const code::test_count,
            Program::Echo => &raw const code::test_echo,
            Program::Online => &raw const code::test_online,
            Program::Undefined => &raw const code::test_undefined,
            Program::Panic => &raw const code::test_panic,
            Program::StrayPort => &raw const code::test_stray,
        };
        let length = (&raw const code::test_end) as usize - start as usize;
        // SAFETY: both symbols are labels of one section of read-only data, `start` before the end.
        unsafe { std::slice::from_raw_parts(start, length) }
    }
}
