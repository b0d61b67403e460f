//! The domain on its way elsewhere: into a file, to another host, into another process of this one, or into a core.
//!
//! ```text
//!   save, begin_move, begin_handover --begin_going: may it?--> job (save/job.rs) --halt--> stands still, its state
//!        run_on <-- it came to nothing, or it stays       comes, take_over: the other end of a hand-over
//! ```

use super::{Emulated, HvmMachine};
use crate::core_dump::Core;
use crate::devices::Given;
use crate::domain::hub::Hub;
use crate::hvm::saved;
use crate::log::Level;
use crate::save::job::{self, Host, Job, Ways};
use crate::save::memory::BIOS;
use crate::save::send::Subject;
use crate::save::upgrade::Goods;
use crate::vstate::memory::DomainMemory;
use noxen_control::message::{Move, SaveHow};
use noxen_saved_image::hvm::HvmState;
use noxen_saved_image::state::Announced;
use noxen_saved_image::Saved;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

impl HvmMachine {
    pub(super) fn save(
        &mut self,
        asker: u64,
        config: String,
        how: SaveHow,
        file: File,
    ) -> Result<(), String> {
        self.begin_going("save", "saving")?;
        self.stand_still();
        let state = self.gather();
        let (hub, bios) = (self.pc.hub().clone(), self.carried.bios.gpa);
        let video = self.carried.video.clone();
        let begun = state.and_then(|state| {
            job::begin_still(self, asker, move |progress| {
                let video = video.as_deref();
                saved::write(
                    &hub,
                    bios,
                    video,
                    &config,
                    &state,
                    how.compress,
                    file,
                    progress,
                )
                .map_err(|error| error.to_string())
            })
        });
        begun.inspect_err(|line| {
            let log = &self.pc.hub().log;
            log.line(Level::Error, format_args!("not saved: {line}"));
            self.run_on();
        })
    }

    pub(super) fn begin_move(&mut self, asker: u64, how: Move, ways: Ways) -> Result<(), String> {
        if how.guest {
            return Err(BY_GUEST.into());
        }
        self.begin_going("move", "moving")?;
        let (vcpus, hub) = (self.crew.vcpus().len() as u32, self.pc.hub().clone());
        let drives = &self.emulated()?.drives;
        let pc = self.carried.pc(self.domid, vcpus, &hub.memory, drives);
        let subject = Subject {
            vm: self.carried.vm.clone(),
            written: self.pc.written(),
            region: (self.carried.bios.gpa, BIOS),
            what: Announced::Hvm(Box::new(pc)),
            video: self.carried.video.clone(),
            vcpus: Mutex::new(self.crew.nudges()),
            hub,
        };
        let how = Move {
            // They are in its configuration.
            devices: Vec::new(),
            ..how
        };
        job::begin_sending(self, asker, how, ways, subject)
    }

    /// Hands it over to another process.
    pub(super) fn begin_handover(&mut self, asker: u64, link: UnixStream) -> Result<(), String> {
        self.begin_going("hand over", "handing over")?;
        job::begin_handover(self, asker, Vec::new(), link)
    }

    /// It is another process's until it is taken over; `devices` are put in now.
    pub fn comes(&mut self, devices: Vec<Given>, taken: Arc<AtomicBool>) -> Result<(), String> {
        // Nothing from outside changes it, and nothing of it is done to its disks.
        self.pc.set_frozen(true);
        for (device, fds) in devices {
            self.attach(&device, fds)?;
        }
        if let Some(Emulated { drives, .. }) = &self.emulated {
            drives.hold();
        }
        self.coming = Some(taken);
        self.complete()
    }

    /// It is this process's from now on, with this connection to xenstored.
    pub(super) fn take_over(&mut self, store: Result<UnixStream, String>) -> Result<(), String> {
        let Some(taken) = &self.coming else {
            return Ok(());
        };
        self.granted = Some(store?);
        // Before the other process is ended, and the link with it.
        taken.store(true, Ordering::SeqCst);
        self.coming = None;
        self.bring_drives_back();
        self.pc.set_frozen(false);
        self.pc.hub().log.line(Level::Info, "taken over");
        Ok(())
    }

    /// The connection to xenstored that it was taken over with.
    pub fn granted(&mut self) -> Option<UnixStream> {
        self.granted.take()
    }

    pub(super) fn bring_drives_back(&mut self) {
        if let Some(Emulated { drives, .. }) = &mut self.emulated {
            let log = &self.pc.hub().log;
            for line in drives.bring_back() {
                log.line(Level::Error, line);
            }
        }
    }

    /// Where the viewers of its display connect.
    pub fn set_viewers(&mut self, listener: OwnedFd) {
        self.viewers = Some(listener);
    }

    /// It is about to go elsewhere, by `doing` that: may it? Then all its parts are there, also of one that has never run.
    fn begin_going(&mut self, act: &str, doing: &str) -> Result<(), String> {
        if self.crew.over().is_some() {
            return Err(format!(
                "the domain has shut down; there is nothing to {act}"
            ));
        }
        self.is_carried(doing)?;
        if self.carried.viridian {
            return Err(format!(
                "{doing} a domain with viridian = 1 is not built yet"
            ));
        }
        if self.pc.is_asleep() {
            return Err(ASLEEP.into());
        }
        self.complete()
    }

    /// May the domain be carried elsewhere, `doing` what?
    pub(super) fn is_carried(&self, doing: &str) -> Result<(), String> {
        if self.emulated.is_none() {
            return Err(format!("{doing} a PVH domain is not built yet"));
        }
        match self.pc.xen() {
            Some(_) => Err(format!(
                "{doing} a domain whose guest has drivers for Xen (xen_platform_pci = 1) is not built yet"
            )),
            None => Ok(()),
        }
    }

    pub(super) fn gather(&self) -> Result<HvmState, String> {
        let drives = &self.emulated()?.drives;
        self.carried
            .gather(&self.crew, &self.pc, drives, &self.unwritten)
    }

    pub(super) fn dump(&mut self, asker: u64, live: bool, file: File) -> Result<(), String> {
        self.stand_still();
        let memory = self.pc.hub().memory.clone();
        let begun = Core::of_hvm(&self.crew, &memory, self.carried.bios.gpa)
            .and_then(|core| job::begin_dump(self, asker, core, !live, file));
        if live || begun.is_err() {
            self.run_on();
        }
        begun
    }
}

impl Host for HvmMachine {
    fn hub(&self) -> Arc<Hub> {
        self.pc.hub().clone()
    }

    fn job(&mut self) -> &mut Option<Job> {
        &mut self.job
    }

    fn halt(&mut self, _directories: &[String]) -> Result<Saved, String> {
        if self.crew.over().is_some() {
            return Err("the domain has shut down; there is nothing to move".into());
        }
        self.stand_still();
        // It may have fallen asleep since its move began.
        if self.pc.is_asleep() {
            self.run_on();
            return Err(ASLEEP.into());
        }
        self.gather()
            .map(|state| Saved::Hvm(Box::new(state)))
            .inspect_err(|_| self.run_on())
    }

    fn goods(&mut self) -> Result<Goods, String> {
        let cannot = |error: io::Error| format!("its descriptors cannot be had: {error}");
        let again = |fd: &Option<OwnedFd>| {
            let fd = fd.as_ref().map(OwnedFd::try_clone);
            fd.transpose().map_err(cannot)
        };
        let (console, viewers) = (again(&self.terminal)?, again(&self.viewers)?);
        let memory = DomainMemory::files(&self.pc.hub().memory).map_err(cannot)?;
        let video = self.carried.video.clone();
        let Some(Emulated { drives, cards }) = &mut self.emulated else {
            return Err("handing over a PVH domain is not built yet".into());
        };
        let mut devices = drives.again()?;
        devices.extend(cards.again()?);
        drives.put_away();
        Ok(Goods {
            memory,
            console,
            viewers,
            devices,
            video,
        })
    }

    fn run_on(&mut self) {
        self.bring_drives_back();
        self.pc.set_frozen(false);
        if !self.crew.is_paused() && self.crew.over().is_none() {
            self.pc.set_running(true);
        }
        self.crew.go_on();
    }

    fn stop_logging(&mut self) {
        self.pc.written().watch(false);
        if let Err(error) = self.carried.vm.log_writes(false) {
            // The guest runs on, slower.
            self.pc.hub().log.line(Level::Warning, error);
        }
    }

    fn ask_suspend(&mut self) -> Result<(), String> {
        Err(BY_GUEST.into())
    }

    fn take_back_suspend(&mut self) {}

    fn is_suspended(&self) -> bool {
        false
    }
}

const ASLEEP: &str = "the domain sleeps (ACPI S3); wake it first (xm trigger DOMAIN s3resume)";

/// An HVM domain is saved as it stands, whatever its drivers are.
pub(super) const BY_GUEST: &str =
    "an HVM domain does not suspend itself to be saved or moved; leave --by-guest out";
