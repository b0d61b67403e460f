//! What the threads of any domain share, and their news for the main loop.
//!
//! ```text
//!   vCPU threads, devices --Report--> channel, wake --> main loop: crew.rs takes them
//! ```

use crate::crash::Tail;
use crate::domain::host_tick::Ticks;
use crate::log::Log;
use crate::vstate::memory::GuestMemory;
use noxen_control::{DeviceStatus, ShutdownReason};
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::Sender;
use std::sync::{Mutex, MutexGuard, PoisonError};
use vmm_sys_util::eventfd::EventFd;

/// Text kept of the guest's console_io and the monitor's messages.
const MESSAGES: usize = 64 << 10;
/// Text kept of the console, for crash records.
const CONSOLE_TAIL: usize = 16 << 10;

/// What all threads of a domain share, whatever its kind.
#[derive(Debug)]
pub struct Hub {
    /// The domain's log.
    pub log: Log,
    /// Guest-physical memory.
    pub memory: GuestMemory,
    /// Text that the guest gave to the host: console_io and the monitor's messages, or the PC's debug ports.
    pub messages: Mutex<Tail>,
    /// The end of what the console printed.
    pub console_tail: Mutex<Tail>,
    /// vCPUs do not enter the guest for the moment (brake.rs); whoever changes it has their threads look.
    pub held: AtomicBool,
    /// News for the main loop.
    pub reports: Mutex<Sender<Report>>,
    /// Wakes the main loop.
    pub wake: EventFd,
}

/// News from a vCPU thread or a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// A PV device came to another state.
    Device(DeviceStatus),
    /// The domain is over; the reporting vCPU has stopped.
    Over {
        /// How.
        reason: ShutdownReason,
        /// Why, one line.
        detail: Option<String>,
        /// Registers and stack for the log, several lines; empty for an orderly end.
        record: String,
    },
    /// The guest has suspended itself: this vCPU is held in the call that did it.
    Suspended {
        /// Which.
        vcpu: u32,
    },
    /// The guest ticks, and its clock has settled.
    Ticks(Ticks),
    /// The guest brought a vCPU up or down.
    Online {
        /// Which.
        vcpu: u32,
        /// Up.
        online: bool,
    },
}

impl Hub {
    /// Around `memory`.
    pub fn new(log: Log, memory: GuestMemory, reports: Sender<Report>, wake: EventFd) -> Hub {
        Hub {
            log,
            memory,
            messages: Mutex::new(Tail::new(MESSAGES)),
            console_tail: Mutex::new(Tail::new(CONSOLE_TAIL)),
            held: AtomicBool::new(false),
            reports: Mutex::new(reports),
            wake,
        }
    }

    /// Tells the main loop.
    pub fn report(&self, report: Report) {
        // A main loop that is gone has nothing to learn; a full eventfd is readable already.
        let _ = lock(&self.reports).send(report);
        self.wake();
    }

    /// Has the main loop look around.
    pub fn wake(&self) {
        let _ = self.wake.write(1);
    }
}

/// A lock that a panicking thread cannot spoil: the data is text, valid at any time.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
