//! [`Vcpu`]: a vCPU's private state, touched by that vCPU only.

use crate::phase::Phase;
use crate::polling::Polling;
use crate::tick::Tick;
use crate::time::NEVER;

/// One entry of the guest's virtual IDT (public/arch-x86/xen.h trap_info).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trap {
    /// Handler; 0: none.
    pub address: u64,
    /// Bits 0-1: DPL; bit 2: mask event delivery on entry.
    pub flags: u8,
    /// Code selector as registered; 64-bit guests always enter on the flat one.
    pub cs: u16,
}

/// A callback the guest registered (public/callback.h).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Callback {
    /// Address; 0: none.
    pub address: u64,
    /// Code selector (32-bit guests).
    pub cs: u16,
    /// Mask event delivery on entry.
    pub mask: bool,
}

/// Where a guest's kernel is entered other than by traps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Callbacks {
    /// Event upcall.
    pub event: Callback,
    /// Faulting return.
    pub failsafe: Callback,
    /// 64-bit SYSCALL.
    pub syscall: Callback,
    /// 32-bit SYSCALL.
    pub syscall32: Callback,
    /// SYSENTER.
    pub sysenter: Callback,
}

/// Runstate accounting (public/vcpu.h).
#[derive(Clone, Copy, Debug, Default)]
pub struct Runstate {
    /// RUNSTATE_*.
    pub state: u32,
    /// System time of the last change, ns.
    pub entered: u64,
    /// ns spent in each state.
    pub time: [u64; 4],
    /// Stolen time accounted for so far, ns.
    pub stolen: u64,
}

/// Deadlines in system time (ns); `NEVER` when unset.
#[derive(Clone, Copy, Debug)]
pub struct Timers {
    /// VCPUOP_set_singleshot_timer and set_timer_op.
    pub singleshot: u64,
    /// Next periodic tick.
    pub periodic: u64,
    /// Period, ns; 0: off.
    pub period: u64,
    /// SCHEDOP_poll's timeout.
    pub poll: u64,
    /// What the local APIC is armed for; while it ticks, when the next tick is expected.
    pub armed: u64,
    /// Whether it ticks, and what is known of the guest's tick.
    pub tick: Tick,
    /// Where those ticks lie.
    pub phase: Phase,
}

/// A vCPU's private state.
pub struct Vcpu {
    /// Index.
    pub id: u32,
    /// Guest kernel (true) or guest user space runs.
    pub kernel_mode: bool,
    /// Stack for entries from user space.
    pub kernel_sp: u64,
    /// Its selector.
    pub kernel_ss: u64,
    /// Virtual IDT.
    pub traps: [Trap; 256],
    /// Callbacks.
    pub callbacks: Callbacks,
    /// Machine address of the vcpu_info in force; 0: none (vCPU 32 and up before registration).
    pub vcpu_info: u64,
    /// Guest kernel's page table.
    pub kernel_cr3: u64,
    /// Guest user's page table; 0: none.
    pub user_cr3: u64,
    /// Frames of the guest's GDT.
    pub gdt: [u64; 14],
    /// LDT in guest-linear space.
    pub ldt_base: u64,
    /// Descriptors in it.
    pub ldt_entries: u32,
    /// Virtual CR0.TS.
    pub ts: bool,
    /// Virtual CR4 as the guest wrote it.
    pub cr4: u64,
    /// Virtual IOPL.
    pub iopl: u8,
    /// Guest-linear address of the I/O permission bitmap; 0: none.
    pub iobitmap: u64,
    /// Ports it covers.
    pub iobitmap_ports: u32,
    /// XCR0 in force.
    pub xcr0: u64,
    /// TSC_AUX as the guest wrote it.
    pub tsc_aux: u32,
    /// Runstate.
    pub runstate: Runstate,
    /// Guest-linear address of the secondary vcpu_time_info; 0: none.
    pub time_area: u64,
    /// Timers.
    pub timers: Timers,
    /// Whether it polls before it halts.
    pub polling: Polling,
    /// vCPUs that it has still to wake (bit n: vCPU n; [`crate::waking`]). The entry code looks at it.
    pub owed: u64,
    /// The consumer index of a full console ring of which the back end was told.
    pub console_told: Option<u32>,
    /// Machine address of this vCPU's counter page (for the entry code).
    pub counters: u64,
    /// An NMI waits.
    pub nmi_pending: bool,
    /// An NMI handler runs (until the next iret hypercall).
    pub nmi_active: bool,
    /// What the first entry loads.
    pub first: FirstEntry,
}

/// What a fresh vCPU loads before its first entry (VCPUOP_initialise).
#[derive(Clone, Copy, Debug, Default)]
pub struct FirstEntry {
    /// Registers.
    pub regs: crate::regs::Regs,
    /// DS, ES, FS, GS.
    pub selectors: [u16; 4],
    /// FS base, GS base of the kernel, GS base of user space.
    pub bases: [u64; 3],
    /// Debug registers.
    pub dr: [u64; 8],
}

impl Vcpu {
    /// A vCPU that has never run.
    pub const fn new(id: u32) -> Vcpu {
        const NONE: Callback = Callback {
            address: 0,
            cs: 0,
            mask: false,
        };
        Vcpu {
            id,
            kernel_mode: true,
            kernel_sp: 0,
            kernel_ss: 0,
            traps: [Trap {
                address: 0,
                flags: 0,
                cs: 0,
            }; 256],
            callbacks: Callbacks {
                event: NONE,
                failsafe: NONE,
                syscall: NONE,
                syscall32: NONE,
                sysenter: NONE,
            },
            vcpu_info: 0,
            kernel_cr3: 0,
            user_cr3: 0,
            gdt: [0; 14],
            ldt_base: 0,
            ldt_entries: 0,
            ts: false,
            cr4: 0,
            iopl: 0,
            iobitmap: 0,
            iobitmap_ports: 0,
            xcr0: 1,
            tsc_aux: 0,
            runstate: Runstate {
                state: 3,
                entered: 0,
                time: [0; 4],
                stolen: 0,
            },
            time_area: 0,
            timers: Timers {
                singleshot: NEVER,
                periodic: NEVER,
                period: 0,
                poll: NEVER,
                armed: NEVER,
                tick: Tick::NEW,
                phase: Phase::NEW,
            },
            polling: Polling::NEW,
            owed: 0,
            console_told: None,
            counters: 0,
            nmi_pending: false,
            nmi_active: false,
            first: FirstEntry {
                regs: crate::regs::Regs {
                    r15: 0,
                    r14: 0,
                    r13: 0,
                    r12: 0,
                    rbp: 0,
                    rbx: 0,
                    r11: 0,
                    r10: 0,
                    r9: 0,
                    r8: 0,
                    rax: 0,
                    rcx: 0,
                    rdx: 0,
                    rsi: 0,
                    rdi: 0,
                    vector: 0,
                    error: 0,
                    rip: 0,
                    cs: 0,
                    rflags: 0,
                    rsp: 0,
                    ss: 0,
                },
                selectors: [0; 4],
                bases: [0; 3],
                dr: [0; 8],
            },
        }
    }
}
