//! The vCPU threads of a domain and what it is doing, whatever its kind.
//!
//! ```text
//!   built, paused --unpause--> running --Report::Over--> over (all vCPUs stopped, process stays)
//!                 <--pause---
//! ```

use crate::counters::{self, Groups};
use crate::domain::host_clock::ClockSources;
use crate::domain::host_tick::Ticks;
use crate::domain::hub::{lock, Hub, Report};
use crate::domain::runner::{Command, Handle, Nudge};
use crate::log::Level;
use crate::vstate::vcpu::Snapshot;
use noxen_control::{Event, ShutdownReason};
use noxen_saved_image::state;
use std::sync::mpsc::{channel, Receiver};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The vCPU threads of a domain.
#[derive(Debug)]
pub struct Crew {
    domid: u32,
    vcpus: Vec<Handle>,
    hub: Arc<Hub>,
    reports: Receiver<Report>,
    built: Instant,
    paused: bool,
    met_host: bool,
    over: Option<(ShutdownReason, Option<String>)>,
    /// The vCPU that is held in the guest's suspend.
    suspended: Option<u32>,
}

impl Crew {
    /// Threads that have been started, paused.
    pub fn new(domid: u32, vcpus: Vec<Handle>, hub: Arc<Hub>, reports: Receiver<Report>) -> Crew {
        Crew {
            domid,
            vcpus,
            hub,
            reports,
            built: Instant::now(),
            paused: true,
            met_host: false,
            over: None,
            suspended: None,
        }
    }

    /// Domain id.
    pub fn domid(&self) -> u32 {
        self.domid
    }

    /// The threads.
    pub fn vcpus(&self) -> &[Handle] {
        &self.vcpus
    }

    /// For who holds them back (brake.rs).
    pub fn nudges(&self) -> Vec<Nudge> {
        self.vcpus.iter().map(Handle::nudge).collect()
    }

    /// Paused by request, or never started.
    pub fn is_paused(&self) -> bool {
        self.paused
    }

    /// Time since it was built.
    pub fn age(&self) -> Duration {
        self.built.elapsed()
    }

    /// How the domain ended, if it has.
    pub fn over(&self) -> Option<ShutdownReason> {
        self.over.as_ref().map(|(reason, _)| *reason)
    }

    /// The vCPU that is held since the guest has suspended itself; none once it runs again.
    pub fn suspended(&self) -> Option<u32> {
        self.suspended
    }

    /// Why it crashed, if it has.
    pub fn crash_reason(&self) -> Option<String> {
        match &self.over {
            Some((ShutdownReason::Crash, detail)) => detail.clone(),
            _ => None,
        }
    }

    /// Stops all vCPUs and waits until they have.
    pub fn pause(&mut self) {
        self.stop();
        if !self.paused && self.over.is_none() {
            self.hub.log.line(Level::Info, "paused");
        }
        self.paused = true;
    }

    /// Lets them run; an error line if the domain is over.
    pub fn unpause(&mut self) -> Result<(), String> {
        if let Some((reason, _)) = &self.over {
            return Err(format!(
                "domain {} has shut down ({reason:?}) and cannot run; destroy it",
                self.domid
            ));
        }
        if self.paused {
            self.hub.log.line(Level::Info, "unpaused");
        }
        self.paused = false;
        self.run();
        Ok(())
    }

    /// Stops all vCPUs for the moment; [`Self::go_on`] ends that.
    pub fn stop(&self) {
        let (done, all_done) = channel();
        for vcpu in &self.vcpus {
            vcpu.send(Command::Pause(done.clone()));
        }
        drop(done);
        // Ends when every thread has answered and dropped its sender.
        all_done.iter().for_each(drop);
    }

    /// Lets a domain that was stopped for the moment do what it did before.
    pub fn go_on(&mut self) {
        if !self.paused && self.over.is_none() {
            self.run();
        }
    }

    fn run(&mut self) {
        self.suspended = None;
        for vcpu in &self.vcpus {
            vcpu.send(Command::Run);
        }
    }

    /// Has all vCPUs see whether they may enter the guest.
    pub fn look_again(&self) {
        for vcpu in &self.vcpus {
            vcpu.send(Command::Look);
        }
    }

    /// Has those of `vcpus`, a bit for each, be as processors are after reset; none of them is in the guest.
    pub fn reset(&self, vcpus: u64) -> Result<(), String> {
        for (number, vcpu) in (0u32..).zip(&self.vcpus) {
            if vcpus.checked_shr(number).unwrap_or(0) & 1 == 1 {
                let (answer, received) = channel();
                vcpu.send(Command::Reset(answer));
                received.recv().map_err(|_| "a vCPU's thread is gone")??;
            }
        }
        Ok(())
    }

    /// Registers of all vCPUs, several lines each; the domain stands still for the moment.
    pub fn registers(&mut self) -> String {
        self.stop();
        let mut text = String::new();
        for vcpu in &self.vcpus {
            let (answer, received) = channel();
            vcpu.send(Command::Registers(answer));
            text.push_str(&received.recv().unwrap_or_default());
        }
        self.go_on();
        text
    }

    /// Registers of all vCPUs, which stand still.
    pub fn snapshots(&self) -> Result<Vec<Snapshot>, String> {
        let asked = self.vcpus.iter().map(|vcpu| {
            let (answer, received) = channel();
            vcpu.send(Command::Snapshot(answer));
            received.recv().map_err(|_| "a vCPU's thread is gone")?
        });
        asked.collect()
    }

    /// The vCPUs' part of an image with these MSRs, and the latest of their time-stamp counters; they stand still.
    pub fn saved(&self, msrs: &Arc<[u32]>) -> Result<(u64, Vec<state::Vcpu>), String> {
        let (mut tsc, mut vcpus) = (0, Vec::new());
        for vcpu in &self.vcpus {
            let (answer, received) = channel();
            vcpu.send(Command::Save(msrs.clone(), answer));
            let saved = received.recv().map_err(|_| "a vCPU's thread is gone")??;
            // They are in step; the latest reading is behind none.
            tsc = saved.tsc.max(tsc);
            vcpus.push(saved.state);
        }
        Ok((tsc, vcpus))
    }

    /// An error line if there is no vCPU `vcpu`, or nothing runs any more.
    pub fn check_vcpu(&self, vcpu: u32) -> Result<(), String> {
        if vcpu as usize >= self.vcpus.len() {
            return Err(format!(
                "there is no vCPU {vcpu}; the domain has vCPUs 0 to {}",
                self.vcpus.len().saturating_sub(1)
            ));
        }
        if self.over.is_some() {
            return Err("the domain has shut down".into());
        }
        Ok(())
    }

    /// Takes the news of the vCPU threads and the devices; returns them as events.
    pub fn take_reports(&mut self) -> Vec<Event> {
        // Reading clears the counter; WouldBlock means no news.
        let _ = self.hub.wake.read();
        let mut events = Vec::new();
        while let Ok(report) = self.reports.try_recv() {
            match report {
                Report::Device(status) => events.push(Event::DeviceState {
                    class: status.id.class,
                    devid: status.id.devid,
                    state: status.state,
                    reason: status.reason,
                }),
                Report::Suspended { vcpu } => self.suspended = Some(vcpu),
                Report::Online { vcpu, online } => {
                    if (vcpu as usize) < self.vcpus.len() {
                        events.push(Event::VcpuOnline { vcpu, online });
                    }
                }
                Report::Ticks(ticks) => self.meet_host(ticks),
                Report::Over {
                    reason,
                    detail,
                    record,
                } => {
                    if self.over.is_some() {
                        continue;
                    }
                    self.stop();
                    if reason == ShutdownReason::Crash {
                        self.log_crash(detail.as_deref(), &record);
                    }
                    self.hub
                        .log
                        .line(Level::Info, format_args!("shut down: {reason:?}"));
                    self.over = Some((reason, detail.clone()));
                    events.push(Event::Shutdown { reason, detail });
                }
            }
        }
        events
    }

    /// Has the guest's ticks come with the host's. It may ask as often as it likes, and is heard once: each time stops all its
    /// vCPUs.
    fn meet_host(&mut self, ticks: Ticks) {
        let stands_still = self.over.is_some() || self.suspended.is_some();
        if std::mem::replace(&mut self.met_host, true) || stands_still {
            return;
        }
        // By any other clock of the host its ticks would not stay where they are.
        if ClockSources::read().is_none_or(|clocks| clocks.current.trim() != "tsc") {
            return;
        }
        self.stop();
        let met = self.step_clocks(ticks);
        self.go_on();
        let period = ticks.period / 1000;
        match met {
            Ok(Some(cycles)) => self.hub.log.line(
                Level::Info,
                format_args!("the guest's clock was set forward by {cycles} cycles: its ticks, every {period} us, now meet the host's"),
            ),
            Ok(None) => self.hub.log.line(
                Level::Info,
                format_args!("the guest's ticks, every {period} us, stay where they are beside the host's"),
            ),
            Err(error) => self.hub.log.line(
                Level::Error,
                format_args!("the guest's clocks may be apart, for one of its vCPUs did not take a step of its own: {error}"),
            ),
        }
    }

    fn step_clocks(&self, ticks: Ticks) -> Result<Option<u64>, String> {
        const GONE: &str = "a vCPU's thread is gone";
        let (first, others) = self.vcpus.split_first().ok_or(GONE)?;
        let (answer, received) = channel();
        first.send(Command::MeetHost(ticks, answer));
        let Some(cycles) = received.recv().map_err(|_| GONE)?? else {
            return Ok(None);
        };
        for vcpu in others {
            let (answer, received) = channel();
            vcpu.send(Command::Follow(cycles, answer));
            received.recv().map_err(|_| GONE)??;
        }
        Ok(Some(cycles))
    }

    fn log_crash(&self, detail: Option<&str>, record: &str) {
        let mut text = format!("crashed: {}\n{record}", detail.unwrap_or("no reason given"));
        for line in lock(&self.hub.console_tail).last_lines() {
            text.push_str(&format!("console: {line}\n"));
        }
        self.hub.log.line(Level::Error, text);
    }

    /// The event to tell a new subscriber, if the domain is over.
    pub fn over_event(&self) -> Option<Event> {
        let (reason, detail) = self.over.clone()?;
        Some(Event::Shutdown { reason, detail })
    }

    /// Counters of the exits that reached this process, and KVM's own.
    pub fn counters(&self) -> Groups {
        let mut groups = Groups::new();
        for vcpu in &self.vcpus {
            vcpu.counters
                .add_to(groups.entry("exit".into()).or_default());
            for (name, count) in vcpu.stats.iter().flat_map(|stats| stats.read()) {
                counters::add(groups.entry("kvm".into()).or_default(), &name, count);
            }
        }
        groups
    }
}
