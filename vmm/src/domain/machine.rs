//! The running domain: what the control socket can do with it.
//!
//! ```text
//!   built, paused --unpause--> running --Report::Over--> over (all vCPUs stopped, process stays)
//!                 <--pause---
//! ```

use crate::counters::{self, Groups};
use crate::domain::calls::{lock, Report, Shared};
use crate::domain::reservation;
use crate::domain::runner::{Command, Handle, Saved};
use crate::log::Level;
use crate::vstate::irq::Doorbell;
use noxen_control::message::VcpuStatus;
use noxen_control::{Event, ShutdownReason, Status};
use noxen_monitor_abi::layout::PAGE_SIZE;
use noxen_monitor_abi::pages::{DomainPublic, VcpuPublic};
use noxen_saved_image::state;
use std::mem::offset_of;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{channel, Receiver};
use std::sync::Arc;
use std::time::{Duration, Instant};
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
    vcpus: Vec<Handle>,
    shared: Arc<Shared>,
    reports: Receiver<Report>,
    doorbell: Doorbell,
    /// Memory beyond the reservation that the host does not take back, bytes.
    not_freed: u64,
    built: Instant,
    paused: bool,
    over: Option<(ShutdownReason, Option<String>)>,
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
            identity,
            constants,
            vcpus,
            shared,
            reports,
            doorbell,
            not_freed: 0,
            built: Instant::now(),
            paused: true,
            over: None,
        }
    }

    /// What all threads share.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// How the domain ended, if it has.
    pub fn over(&self) -> Option<ShutdownReason> {
        self.over.as_ref().map(|(reason, _)| *reason)
    }

    /// Names the console's terminal in [`Self::status`].
    pub fn set_console_tty(&mut self, path: &str) {
        self.identity.console_tty = path.into();
    }

    /// Stops all vCPUs and waits until they have.
    pub fn pause(&mut self) {
        self.stop_vcpus();
        if !self.paused && self.over.is_none() {
            self.shared.log.line(Level::Info, "paused");
        }
        self.paused = true;
    }

    /// Lets them run; an error line if the domain is over.
    pub fn unpause(&mut self) -> Result<(), String> {
        if let Some((reason, _)) = &self.over {
            return Err(format!(
                "domain {} has shut down ({reason:?}) and cannot run; destroy it",
                self.identity.domid
            ));
        }
        if self.paused {
            self.shared.log.line(Level::Info, "unpaused");
        }
        self.paused = false;
        self.run_vcpus();
        Ok(())
    }

    /// What of a saved domain never changes.
    pub fn constants(&self) -> &Constants {
        &self.constants
    }

    /// Stops all vCPUs for the moment; [`Self::go_on`] or [`Self::hold`] ends that.
    pub fn stop(&self) {
        self.stop_vcpus();
    }

    /// Lets a domain that was stopped for the moment do what it did before.
    pub fn go_on(&self) {
        if !self.paused && self.over.is_none() {
            self.run_vcpus();
        }
    }

    /// Keeps a domain that was stopped for the moment paused.
    pub fn hold(&mut self) {
        self.paused = true;
    }

    /// The vCPUs' part of an image, and the clock, which is `now` (since the epoch) on the host; they stand still.
    pub fn saved_vcpus(&self, now: Duration) -> Result<(state::Clock, Vec<state::Vcpu>), String> {
        let mut clock = state::Clock {
            tsc: 0,
            tsc_khz: self.constants.tsc_khz,
            host_ns: u64::try_from(now.as_nanos()).unwrap_or(u64::MAX),
        };
        let mut vcpus = Vec::new();
        for vcpu in &self.vcpus {
            let (answer, received) = channel();
            vcpu.send(Command::Save(self.constants.msrs.clone(), answer));
            let saved = received.recv().map_err(|_| "a vCPU's thread is gone")?;
            let Saved { tsc, state } = saved?;
            // They are in step; the latest reading is behind none.
            clock.tsc = clock.tsc.max(tsc);
            vcpus.push(state);
        }
        Ok((clock, vcpus))
    }

    fn stop_vcpus(&self) {
        let (done, all_done) = channel();
        for vcpu in &self.vcpus {
            vcpu.send(Command::Pause(done.clone()));
        }
        drop(done);
        // Ends when every thread has answered and dropped its sender.
        all_done.iter().for_each(drop);
    }

    fn run_vcpus(&self) {
        for vcpu in &self.vcpus {
            vcpu.send(Command::Run);
        }
    }

    /// Registers of all vCPUs, several lines each; the domain stands still for the moment.
    pub fn registers(&mut self) -> String {
        self.stop_vcpus();
        let mut text = String::new();
        for vcpu in &self.vcpus {
            let (answer, received) = channel();
            vcpu.send(Command::Registers(answer));
            text.push_str(&received.recv().unwrap_or_default());
        }
        self.go_on();
        text
    }

    /// Gives vCPU `vcpu` a non-maskable interrupt; an error line if there is none to be had.
    pub fn nmi(&self, vcpu: u32) -> Result<(), String> {
        if vcpu as usize >= self.vcpus.len() {
            return Err(format!(
                "there is no vCPU {vcpu}; the domain has vCPUs 0 to {}",
                self.vcpus.len().saturating_sub(1)
            ));
        }
        if self.over.is_some() {
            return Err("the domain has shut down".into());
        }
        let _ = reservation::with_public(&self.shared, offset_of!(DomainPublic, nmi), |word| {
            word.fetch_or(1 << vcpu, Ordering::SeqCst)
        });
        self.doorbell.interrupt();
        Ok(())
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
        if !reservation::overrun(&self.shared, self.not_freed) {
            return;
        }
        self.stop_vcpus();
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

    /// Takes the news of the vCPU threads and the devices; returns them as events.
    pub fn take_reports(&mut self) -> Vec<Event> {
        // Reading clears the counter; WouldBlock means no news.
        let _ = self.shared.wake.read();
        let mut events = Vec::new();
        while let Ok(report) = self.reports.try_recv() {
            match report {
                Report::Device(status) => events.push(Event::DeviceState {
                    class: status.id.class,
                    devid: status.id.devid,
                    state: status.state,
                    reason: status.reason,
                }),
                Report::Online { vcpu, online } => {
                    if (vcpu as usize) < self.vcpus.len() {
                        events.push(Event::VcpuOnline { vcpu, online });
                    }
                }
                Report::Over {
                    reason,
                    detail,
                    record,
                } => {
                    if self.over.is_some() {
                        continue;
                    }
                    self.stop_vcpus();
                    if reason == ShutdownReason::Crash {
                        self.log_crash(detail.as_deref(), &record);
                    }
                    self.shared
                        .log
                        .line(Level::Info, format_args!("shut down: {reason:?}"));
                    self.over = Some((reason, detail.clone()));
                    events.push(Event::Shutdown { reason, detail });
                }
            }
        }
        events
    }

    fn log_crash(&self, detail: Option<&str>, record: &str) {
        let mut text = format!("crashed: {}\n{record}", detail.unwrap_or("no reason given"));
        for line in lock(&self.shared.console_tail).last_lines() {
            text.push_str(&format!("console: {line}\n"));
        }
        self.shared.log.line(Level::Error, text);
    }

    /// The event to tell a new subscriber, if the domain is over.
    pub fn over_event(&self) -> Option<Event> {
        let (reason, detail) = self.over.clone()?;
        Some(Event::Shutdown { reason, detail })
    }

    /// Counters of all groups.
    pub fn counters(&self) -> Groups {
        let mut groups = Groups::new();
        for vcpu in &self.vcpus {
            vcpu.counters
                .add_to(groups.entry("exit".into()).or_default());
            for (name, count) in vcpu.stats.iter().flat_map(|stats| stats.read()) {
                counters::add(groups.entry("kvm".into()).or_default(), &name, count);
            }
        }
        counters::add_monitor_pages(
            &mut groups,
            &self.shared.memory,
            self.shared.region.counters,
            self.vcpus.len() as u32,
        );
        groups
    }

    /// What the domain is doing.
    pub fn status(&self) -> Status {
        let vcpus: Vec<VcpuStatus> = (0..self.vcpus.len())
            .map(|index| self.vcpu_status(index))
            .collect();
        let identity = self.identity.clone();
        Status {
            domid: identity.domid,
            pid: std::process::id(),
            paused: self.paused,
            shutdown: self.over(),
            crash_reason: match &self.over {
                Some((ShutdownReason::Crash, detail)) => detail.clone(),
                _ => None,
            },
            cpu_ns: vcpus.iter().map(|vcpu| vcpu.cpu_ns).sum(),
            vcpus,
            memory_kib: reservation::pages(&self.shared)
                .map_or(identity.memory_kib, |pages| pages * (PAGE_SIZE >> 10)),
            uptime_s: self.built.elapsed().as_secs(),
            console_tty: identity.console_tty,
            store_mfn: identity.store_mfn,
            store_port: identity.store_port,
            console_mfn: identity.console_mfn,
            console_port: identity.console_port,
        }
    }

    fn vcpu_status(&self, index: usize) -> VcpuStatus {
        let gpa = self.shared.region.public + (index * size_of::<VcpuPublic>()) as u64;
        let word = |offset: usize| -> u32 {
            let at = GuestAddress(gpa + offset as u64);
            self.shared.memory.read_obj(at).unwrap_or(0)
        };
        let handle = &self.vcpus[index];
        VcpuStatus {
            online: word(offset_of!(VcpuPublic, online)) != 0,
            blocked: word(offset_of!(VcpuPublic, runstate)) == RUNSTATE_BLOCKED,
            cpu_ns: handle.cpu_time_ns(),
            cpu: handle.last_cpu(),
        }
    }
}
