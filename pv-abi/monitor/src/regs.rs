//! The guest's registers as the entry code leaves them on the stack.

/// General registers and the interrupt frame, in the order the entry stubs push them.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Regs {
    /// R15.
    pub r15: u64,
    /// R14.
    pub r14: u64,
    /// R13.
    pub r13: u64,
    /// R12.
    pub r12: u64,
    /// RBP.
    pub rbp: u64,
    /// RBX.
    pub rbx: u64,
    /// R11.
    pub r11: u64,
    /// R10.
    pub r10: u64,
    /// R9.
    pub r9: u64,
    /// R8.
    pub r8: u64,
    /// RAX.
    pub rax: u64,
    /// RCX.
    pub rcx: u64,
    /// RDX.
    pub rdx: u64,
    /// RSI.
    pub rsi: u64,
    /// RDI.
    pub rdi: u64,
    /// Vector, or one of [`entry`].
    pub vector: u64,
    /// Error code (0 when the vector has none).
    pub error: u64,
    /// RIP.
    pub rip: u64,
    /// CS selector.
    pub cs: u64,
    /// RFLAGS.
    pub rflags: u64,
    /// RSP.
    pub rsp: u64,
    /// SS selector.
    pub ss: u64,
}

const _: () = {
    use noxen_monitor_abi::layout::entry_frame;
    assert!(core::mem::size_of::<Regs>() as u64 == entry_frame::BYTES);
    assert!(core::mem::offset_of!(Regs, vector) == 15 * 8);
    assert!(core::mem::offset_of!(Regs, ss) == 21 * 8);
};

/// Pseudo-vectors of entries that are no interrupts.
pub mod entry {
    /// SYSCALL from 64-bit code.
    pub const SYSCALL: u64 = 0x100;
    /// SYSCALL from 32-bit code.
    pub const SYSCALL32: u64 = 0x101;
    /// SYSENTER.
    pub const SYSENTER: u64 = 0x102;
}

/// RFLAGS bits.
pub mod flags {
    /// Trap.
    pub const TF: u64 = 1 << 8;
    /// Interrupt enable.
    pub const IF: u64 = 1 << 9;
    /// Direction.
    pub const DF: u64 = 1 << 10;
    /// I/O privilege level.
    pub const IOPL: u64 = 3 << 12;
    /// Nested task.
    pub const NT: u64 = 1 << 14;
    /// Resume.
    pub const RF: u64 = 1 << 16;
    /// Virtual-8086.
    pub const VM: u64 = 1 << 17;
    /// Alignment check.
    pub const AC: u64 = 1 << 18;
    /// Bits that user software may carry: everything defined but IOPL, VM, VIF, VIP.
    pub const GUEST: u64 = 0xcd5 | TF | RF | NT | AC | (1 << 21);
}

impl Regs {
    /// True when the interrupted code is the guest's (ring 3), false when it is the monitor's.
    pub fn from_guest(&self) -> bool {
        self.cs & 3 != 0
    }

    /// Register by its hardware number (0 RAX .. 15 R15).
    pub fn gpr(&self, number: u8) -> u64 {
        match number & 15 {
            0 => self.rax,
            1 => self.rcx,
            2 => self.rdx,
            3 => self.rbx,
            4 => self.rsp,
            5 => self.rbp,
            6 => self.rsi,
            7 => self.rdi,
            8 => self.r8,
            9 => self.r9,
            10 => self.r10,
            11 => self.r11,
            12 => self.r12,
            13 => self.r13,
            14 => self.r14,
            _ => self.r15,
        }
    }

    /// Sets the register with hardware number `number`.
    pub fn set_gpr(&mut self, number: u8, value: u64) {
        let slot = match number & 15 {
            0 => &mut self.rax,
            1 => &mut self.rcx,
            2 => &mut self.rdx,
            3 => &mut self.rbx,
            4 => &mut self.rsp,
            5 => &mut self.rbp,
            6 => &mut self.rsi,
            7 => &mut self.rdi,
            8 => &mut self.r8,
            9 => &mut self.r9,
            10 => &mut self.r10,
            11 => &mut self.r11,
            12 => &mut self.r12,
            13 => &mut self.r13,
            14 => &mut self.r14,
            _ => &mut self.r15,
        };
        *slot = value;
    }
}

/// True for a canonical address (48-bit).
pub fn canonical(va: u64) -> bool {
    (va as i64) << 16 >> 16 == va as i64
}
