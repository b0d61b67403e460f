//! [`Domain`]: state that all vCPUs of a domain share, and its locks.
//!
//! Lock order: `vcpu_lock` before `event_lock`. No lock is held while waiting for another vCPU's TLB
//! flush or for noxen-vmm.

use crate::shape::Shape;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use noxen_monitor_abi::layout::MAX_VCPUS;
use noxen_monitor_abi::MonInfo;

/// Bits of [`VcpuShared::attention`]: why a vCPU should look before it returns to its guest.
pub mod attention {
    /// The timer fired.
    pub const TIMER: u32 = 1;
    /// noxen-vmm rang the doorbell.
    pub const DOORBELL: u32 = 2;
    /// TLB flush wanted (`flush_wanted`).
    pub const FLUSH: u32 = 4;
    /// VCPUOP_down by another vCPU.
    pub const DOWN: u32 = 8;
    /// VCPUOP_up.
    pub const UP: u32 = 16;
    /// VCPUOP_send_nmi.
    pub const NMI: u32 = 32;
    /// Just look at vcpu_info again.
    pub const EVENT: u32 = 64;
    /// Another vCPU has set a watchdog: look at the deadlines again.
    pub const WATCH: u32 = 128;
    /// The domain came out of an image by its own suspend: forget what was registered.
    pub const ANEW: u32 = 256;
}

/// Values of [`VcpuShared::place`].
pub mod place {
    /// Never ran; waits for its first UP.
    pub const FRESH: u32 = 0;
    /// In the guest or in the monitor.
    pub const RUNNING: u32 = 1;
    /// Halted in SCHEDOP_block or poll.
    pub const HALTED: u32 = 2;
    /// Parked by VCPUOP_down.
    pub const DOWN: u32 = 3;
    /// Blocked, but still looking: it sees its flags without an interrupt ([`crate::polling`]).
    pub const POLLING: u32 = 4;
}

/// What other vCPUs may read or change of a vCPU.
pub struct VcpuShared {
    /// Why it should look.
    pub attention: AtomicU32,
    /// Where it is.
    pub place: AtomicU32,
    /// An IPI is on its way.
    pub kicked: AtomicBool,
    /// The guest has it up.
    pub up: AtomicBool,
    /// VCPUOP_initialise was done.
    pub initialised: AtomicBool,
    /// Flushes asked for so far.
    pub flush_wanted: AtomicU64,
    /// Flushes done so far.
    pub flush_done: AtomicU64,
    /// Machine address of its vcpu_info.
    pub vcpu_info: AtomicU64,
    /// FIFO control block (machine address); 0: none.
    pub fifo_control: AtomicU64,
    /// Tails of its 16 FIFO queues (ports; 0: empty). Guarded by the event lock.
    pub fifo_tail: [AtomicU32; 16],
    /// Runstate mirror for VCPUOP_get_runstate_info of another vCPU: state, entered, four times.
    pub runstate: [AtomicU64; 6],
    /// Guest-linear address of its registered runstate area; 0: none.
    pub runstate_area: AtomicU64,
    /// Port that VIRQ n of this vCPU is bound to; 0: none.
    pub virq: [AtomicU32; 24],
}

impl VcpuShared {
    /// In SCHEDOP_block or poll.
    pub fn is_blocked(&self) -> bool {
        matches!(
            self.place.load(Ordering::SeqCst),
            place::HALTED | place::POLLING
        )
    }

    const fn new() -> VcpuShared {
        VcpuShared {
            attention: AtomicU32::new(0),
            place: AtomicU32::new(place::FRESH),
            kicked: AtomicBool::new(false),
            up: AtomicBool::new(false),
            initialised: AtomicBool::new(false),
            flush_wanted: AtomicU64::new(0),
            flush_done: AtomicU64::new(0),
            vcpu_info: AtomicU64::new(0),
            fifo_control: AtomicU64::new(0),
            fifo_tail: [const { AtomicU32::new(0) }; 16],
            // RUNSTATE_offline until the first entry.
            runstate: [
                AtomicU64::new(3),
                AtomicU64::new(0),
                AtomicU64::new(0),
                AtomicU64::new(0),
                AtomicU64::new(0),
                AtomicU64::new(0),
            ],
            runstate_area: AtomicU64::new(0),
            virq: [const { AtomicU32::new(0) }; 24],
        }
    }
}

/// A lock without data; monitor code runs with interrupts off, so it spins. It knows its holder, so that whoever
/// waits can give way to it: the host may have taken the processor from it.
pub struct SpinLock(AtomicU32);

impl SpinLock {
    /// Unlocked.
    pub const fn new() -> SpinLock {
        SpinLock(AtomicU32::new(0))
    }

    /// Takes the lock for vCPU `me`; `relax` runs with the holder's number while somebody else has it.
    pub fn lock(&self, me: u32, mut relax: impl FnMut(u32)) -> Guard<'_> {
        while self
            .0
            .compare_exchange(0, me + 1, Ordering::Acquire, Ordering::Relaxed)
            .is_err()
        {
            // It may have been given back in between: then the next attempt tells.
            if let Some(holder) = self.0.load(Ordering::Relaxed).checked_sub(1) {
                relax(holder);
            }
        }
        Guard(self)
    }

    /// True when vCPU `me` has it.
    pub fn is_held_by(&self, me: u32) -> bool {
        self.0.load(Ordering::Relaxed) == me + 1
    }
}

impl Default for SpinLock {
    fn default() -> Self {
        Self::new()
    }
}

/// Holds a [`SpinLock`] until dropped.
pub struct Guard<'a>(&'a SpinLock);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        self.0 .0.store(0, Ordering::Release);
    }
}

/// Shared state. `info` is written before the first vCPU runs and constant afterwards.
pub struct Domain {
    /// What noxen-vmm said.
    pub info: MonInfo,
    /// Layouts of what the guest shares with the monitor.
    pub shape: Shape,
    /// L4 entries of the monitor's slots.
    pub slots: [u64; 16],
    /// vCPUs.
    pub vcpus: [VcpuShared; MAX_VCPUS],
    /// vCPU bring-up and take-down.
    pub vcpu_lock: SpinLock,
    /// Event-channel table and FIFO queues.
    pub event_lock: SpinLock,
    /// The event-array pages of the FIFO ABI (machine frames; 0: none), 128 x 1024 ports.
    pub fifo_pages: [AtomicU64; 128],
    /// Event-array pages given so far.
    pub fifo_nr_pages: AtomicU32,
    /// FIFO ABI in force (else 2-level).
    pub fifo: AtomicBool,
    /// vm_assist bits.
    pub assist: AtomicU32,
    /// SCHEDOP_shutdown_code.
    pub shutdown_code: AtomicU32,
    /// Highest port ever used + 1.
    pub port_limit: AtomicU32,
    /// Frames the domain has (balloon).
    pub pages: AtomicU64,
    /// Machine frame at which the last search for a free one ended.
    pub free_hint: AtomicU64,
    /// Grant-table version (1) and frames in use.
    pub grant_frames: AtomicU32,
    /// Watchdog deadlines, ns (0: off); timer of vCPU 0 looks at them.
    pub watchdog: [AtomicU64; 2],
    /// noxen-vmm has been told when the guest ticks ([`crate::phase`]).
    pub ticks_told: AtomicBool,
    /// Log lines left in this second (rate limit) and the second.
    pub log_budget: AtomicU64,
}

impl Domain {
    /// Before noxen-vmm's [`MonInfo`] was read.
    pub const fn new(info: MonInfo) -> Domain {
        Domain {
            info,
            shape: Shape::of(&info),
            slots: [0; 16],
            vcpus: [const { VcpuShared::new() }; MAX_VCPUS],
            vcpu_lock: SpinLock::new(),
            event_lock: SpinLock::new(),
            fifo_pages: [const { AtomicU64::new(0) }; 128],
            fifo_nr_pages: AtomicU32::new(0),
            fifo: AtomicBool::new(false),
            assist: AtomicU32::new(0),
            shutdown_code: AtomicU32::new(!0),
            port_limit: AtomicU32::new(1),
            pages: AtomicU64::new(0),
            free_hint: AtomicU64::new(0),
            grant_frames: AtomicU32::new(1),
            watchdog: [const { AtomicU64::new(0) }; 2],
            ticks_told: AtomicBool::new(false),
            log_budget: AtomicU64::new(0),
        }
    }

    /// vCPU by number, if the domain has it.
    pub fn vcpu(&self, id: u32) -> Option<&VcpuShared> {
        if id < self.info.nr_vcpus {
            self.vcpus.get(id as usize)
        } else {
            None
        }
    }

    /// Sets the domain up from `info` (before any vCPU runs).
    pub fn start(&mut self, info: MonInfo, slots: [u64; 16]) {
        self.info = info;
        self.shape = Shape::of(&info);
        self.slots = slots;
        self.pages.store(info.nr_pages, Ordering::Relaxed);
        for (id, vcpu) in self.vcpus.iter().enumerate() {
            // Legacy vcpu_info: 64 bytes each at the start of shared_info.
            vcpu.vcpu_info
                .store(info.shared_info_gpa + 64 * id as u64, Ordering::Relaxed);
        }
    }
}
