//! One domain as xend holds it.
//!
//! ```text
//!   gate   held by whatever changes the domain's life: destroy, restart, reset, a shutdown event
//!     gone   set under the gate once everything of the domain is gone; whoever waited must look
//!   devices  held by whatever changes its devices; scripts may take long, so this is not the gate
//!   record   what is on disk, too; saving is held from its change until it is on disk, so that the last change
//!            is the last one written, and none is written after the file was removed
//! ```

use crate::monitor::Monitor;
use crate::process::Process;
use crate::registry::Record;
use noxen_control::Status;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What [`Domain::enter`] guards.
#[derive(Debug, Default)]
pub struct Life {
    /// Nothing of the domain is left.
    pub gone: bool,
}

/// What [`Domain::saving`] guards.
#[derive(Debug, Default)]
pub struct Saving {
    /// The record is off the disk for good.
    pub erased: bool,
}

/// A domain.
pub struct Domain {
    domid: u32,
    monitor: Monitor,
    gate: Mutex<Life>,
    devices: Mutex<()>,
    record: Mutex<Record>,
    saving: Mutex<Saving>,
    process: Mutex<Option<Arc<Process>>>,
    dying: AtomicBool,
    last_status: Mutex<Option<Status>>,
    /// The monitor did not answer last time.
    silent: AtomicBool,
    /// Resident memory of the monitor's guest, KiB, and when that was looked at.
    resident: Mutex<Option<(Instant, u64)>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic elsewhere must not take every later request with it; each value is whole between statements.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Domain {
    /// A domain of `record`, reached through `monitor`.
    pub fn new(record: Record, monitor: Monitor) -> Domain {
        Domain {
            domid: record.domid,
            monitor,
            gate: Mutex::new(Life::default()),
            devices: Mutex::new(()),
            record: Mutex::new(record),
            saving: Mutex::new(Saving::default()),
            process: Mutex::new(None),
            dying: AtomicBool::new(false),
            last_status: Mutex::new(None),
            silent: AtomicBool::new(false),
            resident: Mutex::new(None),
        }
    }

    /// Domain id.
    pub fn domid(&self) -> u32 {
        self.domid
    }

    /// Its monitor.
    pub fn monitor(&self) -> &Monitor {
        &self.monitor
    }

    /// Waits for the turn to change the domain's life.
    pub fn enter(&self) -> MutexGuard<'_, Life> {
        lock(&self.gate)
    }

    /// Waits for the turn to write the domain's record.
    pub fn saving(&self) -> MutexGuard<'_, Saving> {
        lock(&self.saving)
    }

    /// A copy of its record.
    pub fn record(&self) -> Record {
        lock(&self.record).clone()
    }

    /// What `look` finds in its record, which is not copied; `look` must not take a lock.
    pub fn look<T>(&self, look: impl FnOnce(&Record) -> T) -> T {
        look(&lock(&self.record))
    }

    /// Its name.
    pub fn name(&self) -> String {
        self.look(|record| record.name.clone())
    }

    /// KiB of the guest's memory that it has by now, as seen at most `age` ago; `look` asks for those of a process.
    pub fn resident_kib(&self, age: Duration, look: impl FnOnce(u32) -> u64) -> u64 {
        let mut seen = lock(&self.resident);
        match *seen {
            Some((when, kib)) if when.elapsed() < age => kib,
            _ => {
                let kib = self.process().map_or(0, |process| look(process.pid()));
                *seen = Some((Instant::now(), kib));
                kib
            }
        }
    }

    /// Waits for its devices to be at rest.
    pub fn devices(&self) -> MutexGuard<'_, ()> {
        lock(&self.devices)
    }

    /// Changes its record in memory and returns the new one, to be saved by the caller.
    pub fn update(&self, change: impl FnOnce(&mut Record)) -> Record {
        let mut record = lock(&self.record);
        change(&mut record);
        record.clone()
    }

    /// Its monitor's process.
    pub fn process(&self) -> Option<Arc<Process>> {
        lock(&self.process).clone()
    }

    /// Says which process its monitor is.
    pub fn set_process(&self, process: Arc<Process>) {
        *lock(&self.process) = Some(process);
    }

    /// It is being torn down.
    pub fn is_dying(&self) -> bool {
        self.dying.load(Ordering::Acquire)
    }

    /// From now on it is being torn down.
    pub fn set_dying(&self) {
        self.dying.store(true, Ordering::Release);
    }

    /// Asks the monitor; on failure what it said last, marked by false.
    pub fn status(&self) -> (Option<Status>, bool) {
        let asked = if self.silent.load(Ordering::Relaxed) {
            self.monitor.status_of_silent()
        } else {
            self.monitor.status()
        };
        self.silent.store(asked.is_err(), Ordering::Relaxed);
        match asked {
            Ok(status) => {
                *lock(&self.last_status) = Some(status.clone());
                (Some(status), true)
            }
            Err(_) => (lock(&self.last_status).clone(), false),
        }
    }

    /// Remembers that it was paused or unpaused, for when the monitor does not answer.
    pub fn note_paused(&self, paused: bool) {
        if let Some(status) = lock(&self.last_status).as_mut() {
            status.paused = paused;
        }
    }

    /// What the monitor said last, without asking.
    pub fn last_status(&self) -> Option<Status> {
        lock(&self.last_status).clone()
    }
}
