//! Counter pages: 512 u64 words per vCPU, written by that vCPU only, read by noxen-vmm.

/// Words `[0, 64)`: hypercalls by number.
pub const HYPERCALL: usize = 0;
/// Words `[64, 128)`: hypercalls answered -ENOSYS or refused, by number (63: number out of range).
pub const REFUSED: usize = 64;
/// Words `[128, 160)`: exceptions delivered to the guest, by vector.
pub const TRAP: usize = 128;
/// Words `[160, 192)`: emulated instructions, by [`EMULATED_NAMES`].
pub const EMULATED: usize = 160;
/// Words `[192, 224)`: others, by [`OTHER_NAMES`].
pub const OTHER: usize = 192;
/// Words on a page.
pub const WORDS: usize = 512;

/// Names of the `EMULATED` words.
pub const EMULATED_NAMES: &[&str] = &[
    "cpuid", "rdmsr", "wrmsr", "cr-read", "cr-write", "dr", "io-in", "io-out", "cli-sti", "hlt",
    "invlpg", "wbinvd", "xsetbv", "tsc", "unknown",
];

/// Indices of the `OTHER` words.
pub mod other {
    /// Fault healed by setting U bits.
    pub const PF_USER_BIT: usize = 0;
    /// Fault healed by making a page-table page writable.
    pub const PF_PROMOTE: usize = 1;
    /// Fault with nothing wrong (stale TLB).
    pub const PF_SPURIOUS: usize = 2;
    /// Event upcalls delivered.
    pub const UPCALL: usize = 3;
    /// IPIs sent.
    pub const IPI: usize = 4;
    /// Remote TLB flushes asked for.
    pub const REMOTE_FLUSH: usize = 5;
    /// Notifications to the outside.
    pub const NOTIFY: usize = 6;
    /// Timer programmed.
    pub const TIMER: usize = 7;
    /// Synchronous calls to noxen-vmm.
    pub const CALL: usize = 8;
    /// User system calls bounced.
    pub const SYSCALL: usize = 9;
    /// Times the vCPU halted.
    pub const HALT: usize = 10;
    /// Doorbell interrupts taken.
    pub const DOORBELL: usize = 11;
    /// Log lines dropped by the rate limit.
    pub const LOG_DROPPED: usize = 12;
    /// Hypercalls in multicalls' lists that were done to their end; each is also counted by its number.
    pub const BATCHED: usize = 13;
    /// Times the local APIC began to tick by itself.
    pub const TICKING: usize = 14;
    /// Times a vCPU that blocked polled before it halted.
    pub const POLL: usize = 15;
    /// Of these: what it waited for came, and it did not halt.
    pub const POLL_WOKEN: usize = 16;
    /// Of these: ended because the host had something else to run.
    pub const POLL_TAKEN: usize = 17;
    /// Times the guest found no room in its console's ring.
    pub const CONSOLE_FULL: usize = 18;
    /// Halted vCPUs woken together with an offer of the processor.
    pub const ROUSE: usize = 19;
}

/// Names of the `OTHER` words.
pub const OTHER_NAMES: &[&str] = &[
    "pf-user-bit",
    "pf-promote",
    "pf-spurious",
    "upcall",
    "ipi",
    "remote-flush",
    "notify",
    "timer",
    "call",
    "syscall",
    "halt",
    "doorbell",
    "log-dropped",
    "batched",
    "ticking",
    "poll",
    "poll-woken",
    "poll-taken",
    "console-full",
    "rouse",
];
