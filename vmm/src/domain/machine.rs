//! The running PV domain: what the control socket can do with it, beyond what its crew of vCPUs does in any domain.

use crate::counters::{self, Groups};
use crate::domain::calls::{self, Report, Shared};
use crate::domain::crew::Crew;
use crate::domain::reservation;
use crate::domain::runner::{self, Handle};
use crate::log::Level;
use crate::vstate::irq::Doorbell;
use noxen_control::message::VcpuStatus;
use noxen_control::Status;
use noxen_monitor_abi::layout::PAGE_SIZE;
use noxen_monitor_abi::pages::{DomainPublic, VcpuPublic};
use noxen_saved_image::state;
use std::mem::offset_of;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;
use std::sync::Arc;
use std::time::Duration;
use vm_memory::{Bytes, GuestAddress};

/// RUNSTATE_blocked (public/vcpu.h).
const RUNSTATE_BLOCKED: u32 = 2;

/// What of [`Status`] never changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Domain id.
    pub domid: u32,
    /// Memory at boot, KiB.
    pub memory_kib: u64,
    /// Slave path of the console's pty, "" without one.
    pub console_tty: String,
    /// Machine frame of the xenstore ring.
    pub store_mfn: u64,
    /// Event channel of the xenstore ring.
    pub store_port: u32,
    /// Machine frame of the console ring.
    pub console_mfn: u64,
    /// Event channel of the console ring.
    pub console_port: u32,
}

/// What of a saved domain never changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Constants {
    /// The domain.
    pub domain: state::Domain,
    /// TSC rate.
    pub tsc_khz: u32,
    /// MSRs to be saved.
    pub msrs: Arc<[u32]>,
}

/// A domain with its vCPU threads.
#[derive(Debug)]
pub struct Machine {
    identity: Identity,
    constants: Constants,
    crew: Crew,
    shared: Arc<Shared>,
    doorbell: Doorbell,
    /// Memory beyond the reservation that the host does not take back, bytes.
    not_freed: u64,
}

impl Deref for Machine {
    type Target = Crew;

    fn deref(&self) -> &Crew {
        &self.crew
    }
}

impl DerefMut for Machine {
    fn deref_mut(&mut self) -> &mut Crew {
        &mut self.crew
    }
}

impl Machine {
    /// A machine whose vCPU threads have been started, paused.
    pub fn new(
        identity: Identity,
        constants: Constants,
        vcpus: Vec<Handle>,
        shared: Arc<Shared>,
        reports: Receiver<Report>,
        doorbell: Doorbell,
    ) -> Machine {
        Machine {
            crew: Crew::new(identity.domid, vcpus, shared.hub.clone(), reports),
            identity,
            constants,
            shared,
            doorbell,
            not_freed: 0,
        }
    }

    /// What all threads share.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Names the console's terminal in [`Self::status`].
    pub fn set_console_tty(&mut self, path: &str) {
        self.identity.console_tty = path.into();
    }

    /// What of a saved domain never changes.
    pub fn constants(&self) -> &Constants {
        &self.constants
    }

    /// The vCPUs' part of an image, and the clock, which is `now` (since the epoch) on the host; they stand still.
    pub fn saved_vcpus(&self, now: Duration) -> Result<(state::Clock, Vec<state::Vcpu>), String> {
        let (tsc, vcpus) = self.crew.saved(&self.constants.msrs)?;
        let clock = state::Clock {
            tsc,
            tsc_khz: self.constants.tsc_khz,
            host_ns: u64::try_from(now.as_nanos()).unwrap_or(u64::MAX),
        };
        Ok((clock, vcpus))
    }

    /// Gives vCPU `vcpu` a non-maskable interrupt; an error line if there is none to be had.
    pub fn nmi(&self, vcpu: u32) -> Result<(), String> {
        self.check_vcpu(vcpu)?;
        let _ = reservation::with_public(&self.shared, offset_of!(DomainPublic, nmi), |word| {
            word.fetch_or(1 << vcpu, Ordering::SeqCst)
        });
        self.doorbell.interrupt();
        Ok(())
    }

    /// Lets the vCPUs run; an error line if the domain is over.
    pub fn unpause(&mut self) -> Result<(), String> {
        self.count_processors();
        self.crew.unpause()
    }

    /// Tells the monitor on how many host processors its vCPUs may run now: xend pins their threads from outside.
    fn count_processors(&self) {
        let count = runner::processors(self.vcpus()) as u64;
        let _ =
            reservation::with_public(&self.shared, offset_of!(DomainPublic, processors), |word| {
                word.store(count, Ordering::Relaxed)
            });
    }

    /// Has the monitor look at its doorbell.
    pub fn interrupt(&self) {
        self.doorbell.interrupt();
    }

    /// Bounds the domain's memory from now on, KiB.
    pub fn set_max_memory(&self, kib: u64) -> Result<(), String> {
        reservation::set_ceiling(&self.shared, kib)
    }

    /// May the guest hold memory that it gave back, so that it is worth a look now and then?
    pub fn may_overrun(&self) -> bool {
        reservation::pages(&self.shared).is_some_and(|pages| pages < self.shared.max_pages)
    }

    /// Takes back what the guest holds beyond its reservation.
    pub fn hold_to_reservation(&mut self) {
        // To stop a guest that has suspended itself, and to let it go on, would end that.
        if self.suspended().is_some() || !reservation::overrun(&self.shared, self.not_freed) {
            return;
        }
        self.stop();
        let (freed, not_freed) =
            reservation::reclaim(&self.shared, self.identity.memory_kib / (PAGE_SIZE >> 10));
        self.go_on();
        self.not_freed = not_freed;
        if freed > 0 {
            self.shared.log.guest_line(
                Level::Warning,
                format_args!(
                    "the guest used memory that it had given back; {} MiB of it were taken away",
                    freed >> 20
                ),
            );
        }
    }

    /// Says what the call answers in which the guest has suspended itself, if it has.
    pub fn answer_suspend(&self, result: i64) {
        if let Some(vcpu) = self.suspended() {
            calls::answer(&self.shared, vcpu, result);
        }
    }

    /// Counters of all groups.
    pub fn counters(&self) -> Groups {
        let mut groups = self.crew.counters();
        counters::add_monitor_pages(
            &mut groups,
            &self.shared.memory,
            self.shared.region.counters,
            self.vcpus().len() as u32,
        );
        groups
    }

    /// What the domain is doing. Who has changed where the vCPUs may run asks as well, so that the monitor hears of it.
    pub fn status(&self) -> Status {
        self.count_processors();
        let vcpus: Vec<VcpuStatus> = (0..self.vcpus().len())
            .map(|index| self.vcpu_status(index))
            .collect();
        let identity = self.identity.clone();
        Status {
            domid: identity.domid,
            pid: std::process::id(),
            paused: self.is_paused(),
            shutdown: self.over(),
            crash_reason: self.crash_reason(),
            cpu_ns: vcpus.iter().map(|vcpu| vcpu.cpu_ns).sum(),
            vcpus,
            memory_kib: reservation::pages(&self.shared)
                .map_or(identity.memory_kib, |pages| pages * (PAGE_SIZE >> 10)),
            uptime_s: self.age().as_secs(),
            console_tty: identity.console_tty,
            store_mfn: identity.store_mfn,
            store_port: identity.store_port,
            console_mfn: identity.console_mfn,
            console_port: identity.console_port,
            saving: None,
        }
    }

    fn vcpu_status(&self, index: usize) -> VcpuStatus {
        let gpa = self.shared.region.public + (index * size_of::<VcpuPublic>()) as u64;
        let word = |offset: usize| -> u32 {
            let at = GuestAddress(gpa + offset as u64);
            self.shared.memory.read_obj(at).unwrap_or(0)
        };
        let handle = &self.vcpus()[index];
        VcpuStatus {
            online: word(offset_of!(VcpuPublic, online)) != 0,
            blocked: word(offset_of!(VcpuPublic, runstate)) == RUNSTATE_BLOCKED,
            cpu_ns: handle.cpu_time_ns(),
            cpu: handle.last_cpu(),
        }
    }
}
