//! Shared pages: doorbell, synchronous calls, crash record, public vCPU state.

use core::sync::atomic::{AtomicU32, AtomicU64};

/// Ports that the outside can raise (64 words of 64 bits).
pub const MAX_EXTERNAL_PORTS: u32 = 4096;

/// Outside -> monitor: set `words[port / 64]` bit, then `summary` bit `port / 64`; if the summary bit
/// was clear, signal the doorbell interrupt. The monitor swaps both to zero, summary first.
#[repr(C)]
pub struct Doorbell {
    /// Bit `w` set: `words[w]` has news.
    pub summary: AtomicU64,
    /// Unused.
    pub reserved: [u64; 7],
    /// One bit per event-channel port.
    pub words: [AtomicU64; 64],
    /// The other direction, written by the outside: a port whose bit is set is being looked at anyway,
    /// so the monitor need not notify it. The outside clears the bit, then looks once more: after a
    /// sequentially consistent fence one of the two sides sees the other's step.
    pub quiet: [AtomicU64; 64],
}
const _: () = assert!(core::mem::offset_of!(Doorbell, words) == 64);
const _: () = assert!(core::mem::size_of::<Doorbell>() == 64 + 2 * 512);

/// Numbers of the synchronous calls (monitor -> noxen-vmm) in [`Call::nr`].
pub mod call {
    /// args: [reason (SHUTDOWN_*)]. Does not return.
    pub const SHUTDOWN: u32 = 1;
    /// args: [length]; guest's console_io text in `data`.
    pub const CONSOLE_IO: u32 = 2;
    /// The guest died; crash record filled. Does not return.
    pub const CRASH: u32 = 3;
    /// args: [length, level]; the monitor's own log line in `data`.
    pub const LOG: u32 = 4;
    /// args: [count]; u64 machine frames in `data` whose memory goes back to the host.
    pub const RELEASE_FRAMES: u32 = 5;
    /// args: [vcpu, online]; a vCPU went up or down (vcpu-list).
    pub const VCPU_ONLINE: u32 = 6;
    /// The monitor itself is broken (panic); text in `data`, length in args[0]. Does not return.
    pub const PANIC: u32 = 7;
    /// The guest has suspended itself. Returns 1 where it runs on, and 0 in a domain that came out of an image.
    pub const SUSPEND: u32 = 8;
    /// args: [TSC, ns]; a tick of the guest was due at that TSC value, and they are so far apart. Made once. noxen-vmm may
    /// then set the TSCs of all vCPUs forward, by less than two ticks of the host, as if the domain had not run for that long.
    pub const TICKS: u32 = 9;
}

/// Bytes of [`Call::data`].
pub const CALL_DATA: usize = 3072;

/// A vCPU's call page (4096 bytes).
#[repr(C)]
pub struct Call {
    /// One of [`call`].
    pub nr: u32,
    /// Reserved.
    pub pad: u32,
    /// Arguments.
    pub args: [u64; 6],
    /// Result written by noxen-vmm before re-entry.
    pub result: i64,
    /// Reserved up to offset 1024.
    pub reserved: [u64; 120],
    /// Text or lists.
    pub data: [u8; CALL_DATA],
}
const _: () = assert!(core::mem::size_of::<Call>() == 4096);

/// Words of guest stack kept in a crash record.
pub const CRASH_STACK: usize = 64;

/// What the guest looked like when it died (one page).
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Crash {
    /// vCPU.
    pub vcpu: u32,
    /// Exception vector, or 0xffff for a shutdown(crash) by the guest itself.
    pub vector: u32,
    /// Error code.
    pub error: u64,
    /// r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi.
    pub gprs: [u64; 15],
    /// Instruction pointer.
    pub rip: u64,
    /// Code selector.
    pub cs: u64,
    /// Flags.
    pub rflags: u64,
    /// Stack pointer.
    pub rsp: u64,
    /// Stack selector.
    pub ss: u64,
    /// Faulting address.
    pub cr2: u64,
    /// Page-table base in use.
    pub cr3: u64,
    /// 1 when the guest kernel ran, 0 for guest user space.
    pub kernel_mode: u64,
    /// Valid words in `stack`.
    pub nr_stack: u64,
    /// Words from RSP upwards.
    pub stack: [u64; CRASH_STACK],
    /// Why, as text (UTF-8, NUL-padded).
    pub reason: [u8; 128],
}
const _: () = assert!(core::mem::size_of::<Crash>() <= 4096);

/// What the tools show of a vCPU; written by the monitor, 64 bytes each.
#[repr(C)]
pub struct VcpuPublic {
    /// RUNSTATE_*: 0 running, 1 runnable, 2 blocked, 3 offline.
    pub runstate: AtomicU32,
    /// 1 once the guest has it up.
    pub online: AtomicU32,
    /// ns blocked so far.
    pub blocked_ns: AtomicU64,
    /// Reserved.
    pub reserved: [u64; 6],
}
const _: () = assert!(core::mem::size_of::<VcpuPublic>() == 64);

/// Where [`DomainPublic`] is on the public page, behind the vCPUs.
pub const DOMAIN_PUBLIC: u64 = 2048;
const _: () = assert!(crate::layout::MAX_VCPUS * core::mem::size_of::<VcpuPublic>() <= 2048);

/// What the tools read of the whole domain and set for it; on the public page at [`DOMAIN_PUBLIC`].
#[repr(C)]
pub struct DomainPublic {
    /// Frames that the domain has now; written by the monitor.
    pub pages: AtomicU64,
    /// Most frames that it may have from now on; written by noxen-vmm. 0: `MonInfo::max_pages`.
    pub ceiling: AtomicU64,
    /// A bit for each vCPU that is to get an NMI; set by noxen-vmm, which then signals the doorbell interrupt, and
    /// taken by the monitor.
    pub nmi: AtomicU64,
    /// Host processors on which vCPUs may run, as noxen-vmm last counted them; 0: not known.
    pub processors: AtomicU64,
    /// Reserved.
    pub reserved: [u64; 4],
}
const _: () = assert!(core::mem::size_of::<DomainPublic>() == 64);

/// Flag in a frame's byte of the frame table: the frame is not in the state it had at boot, when the first
/// `MonInfo::nr_pages` pseudo-physical frames were the domain's and the others were not.
pub const FRAME_BALLOONED: u8 = 4;
/// Flag in a frame's byte of the frame table: noxen-vmm is taking the memory.
pub const FRAME_LEAVING: u8 = 8;
