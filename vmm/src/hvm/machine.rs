//! The running HVM domain: what the control socket can do with it, beyond what its crew of vCPUs does in any domain.

mod going;
mod window;

pub use window::About;

use crate::control::answer::{
    done, file, link, may_while_coming, may_while_saved, ways, After, Asked, COMING,
};
use crate::counters::{self, Groups};
use crate::devices::Devices;
use crate::domain::crew::Crew;
use crate::domain::hub::lock;
use crate::domain::pv::{CONSOLE_PORT, STORE_PORT};
use crate::hvm::cards::{Cards, MAX_ROM};
use crate::hvm::drives::{Drives, Pv};
use crate::hvm::pc::Pc;
use crate::hvm::registry::Known;
use crate::hvm::saved::Carried;
use crate::hvm::xen::pages;
use crate::log::Level;
use crate::save::job::{self, Job, BUSY};
use crate::vstate::vm::Signal;
use going::BY_GUEST;
use noxen_control::device::{DeviceClass, DeviceId, DeviceSpec, DeviceStatus};
use noxen_control::fds::FdQueue;
use noxen_control::message::{CaseButton, VcpuStatus};
use noxen_control::{Event, Reply, Request, Status};
use noxen_devices::pv::pty::Pty;
use noxen_monitor_abi::layout::PAGE_SIZE;
use noxen_pc::summa::Summa;
use noxen_pc::xen_platform::{UNPLUG_CARDS, UNPLUG_DISKS, UNPLUG_OTHER_DISKS};
use noxen_pc::Button;
use std::fs::File;
use std::io::{self, Read};
use std::ops::{Deref, DerefMut};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::AtomicBool;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Pages by which the store knows the domain, which takes none without; in a domain without Xen nothing answers there.
const STORE_PAGE: u64 = pages::STORE / PAGE_SIZE;
const CONSOLE_PAGE: u64 = pages::CONSOLE / PAGE_SIZE;

/// Least time between two events of the guest's clock.
const CLOCK_PAUSE: Duration = Duration::from_secs(1);

/// The controllers of a PC's drives, and its cards.
#[derive(Debug)]
pub struct Emulated {
    drives: Drives,
    cards: Cards,
}

impl Emulated {
    /// For `pc`, which has none yet.
    pub fn new(pc: &Arc<Pc>, drives: Drives) -> Emulated {
        Emulated {
            drives,
            cards: Cards::new(pc),
        }
    }
}

/// An HVM domain with its threads.
#[derive(Debug)]
pub struct HvmMachine {
    domid: u32,
    memory_kib: u64,
    crew: Crew,
    pc: Arc<Pc>,
    known: Known,
    /// Nothing: all disks and interfaces are paravirtual.
    emulated: Option<Emulated>,
    /// Paravirtual devices, where the guest can have some.
    pv: Option<Devices>,
    console_tty: String,
    /// The console's terminal once more, and where viewers connect: for another process.
    terminal: Option<OwnedFd>,
    viewers: Option<OwnedFd>,
    /// It is another process's still; set once it is not.
    coming: Option<Arc<AtomicBool>>,
    granted: Option<UnixStream>,
    clock: ClockNews,
    /// Output of COM1 that the console's end has not taken.
    pub unwritten: Vec<u8>,
    carried: Carried,
    job: Option<Job>,
    about: About,
}

/// What xend has been told of the guest's clock: a guest that sets it over and over is not told of each time.
#[derive(Debug, Default)]
struct ClockNews {
    told: i64,
    at: Option<Instant>,
}

impl ClockNews {
    /// The event that the clock has been set by `moved` s in all, if it is time for one; `last`: there is no later time.
    fn of(&mut self, moved: i64, last: bool, now: Instant) -> Option<Event> {
        let is_early = self
            .at
            .is_some_and(|at| now.duration_since(at) < CLOCK_PAUSE);
        if moved == self.told || (is_early && !last) {
            return None;
        }
        (self.told, self.at) = (moved, Some(now));
        Some(Event::ClockMoved { seconds: moved })
    }
}

impl Deref for HvmMachine {
    type Target = Crew;

    fn deref(&self) -> &Crew {
        &self.crew
    }
}

impl DerefMut for HvmMachine {
    fn deref_mut(&mut self) -> &mut Crew {
        &mut self.crew
    }
}

impl HvmMachine {
    /// A machine whose threads have been started, paused.
    pub fn new(
        domid: u32,
        memory_kib: u64,
        crew: Crew,
        pc: Arc<Pc>,
        known: Known,
        emulated: Option<Emulated>,
        carried: Carried,
    ) -> HvmMachine {
        HvmMachine {
            emulated,
            domid,
            memory_kib,
            crew,
            pc,
            known,
            pv: None,
            console_tty: String::new(),
            terminal: None,
            viewers: None,
            coming: None,
            granted: None,
            clock: ClockNews::default(),
            unwritten: match &carried.arrived {
                Some(state) => state.console.output.0.clone(),
                None => Vec::new(),
            },
            carried,
            job: None,
            about: About::default(),
        }
    }

    /// What the monitor window tells of it.
    pub fn tell_of_it(&mut self, about: About) {
        self.about = about;
    }

    /// The PC itself.
    pub fn pc(&self) -> &Arc<Pc> {
        &self.pc
    }

    /// It stands still for its job.
    pub fn stands_still(&self) -> bool {
        self.coming.is_some() || self.job.as_ref().is_some_and(Job::is_still)
    }

    /// Stops the vCPUs, the guest's time and the devices for the moment; `run_on` ends that.
    fn stand_still(&mut self) {
        self.crew.stop();
        self.pc.set_running(false);
        self.pc.set_frozen(true);
    }

    /// Puts in what comes last, before its first instruction.
    fn complete(&mut self) -> Result<(), String> {
        let Some(Emulated { drives, cards }) = &mut self.emulated else {
            return Ok(());
        };
        drives.start()?;
        if cards.start() {
            // Behind all that images of before it have.
            self.pc.add(|bus| bus.add(Box::new(Summa::new()), None));
        }
        self.carried.take_up(&self.pc, drives)
    }

    fn emulated(&self) -> Result<&Emulated, String> {
        self.emulated
            .as_ref()
            .ok_or_else(|| "the machine has no emulated drives".into())
    }

    /// What was typed at its console before it was saved, and the guest has not taken.
    pub fn typed(&self) -> &[u8] {
        let arrived = self.carried.arrived.as_ref();
        arrived.map_or(&[], |state| &state.console.input.0)
    }

    /// Paravirtual devices are served from now on.
    pub fn serve_pv(&mut self, devices: Devices) {
        self.pv = Some(devices);
    }

    /// Does what the guest asked the platform device for: emulated devices go, and paravirtual ones come in their places. Each
    /// image and each tap is let go of before it is taken into use again.
    fn follow_unplugs(&mut self) {
        let kinds = self.pc.take_unplugged();
        let Some(pv) = &self.pv else { return };
        let Some(Emulated { drives, cards }) = &mut self.emulated else {
            return;
        };
        let mut coming = Vec::new();
        if kinds & (UNPLUG_DISKS | UNPLUG_OTHER_DISKS) != 0 {
            coming.extend(drives.unplug(kinds & UNPLUG_DISKS == 0));
        }
        if kinds & UNPLUG_CARDS != 0 {
            coming.extend(cards.unplug());
        }
        for Pv { spec, fds } in coming {
            let log = &self.pc.hub().log;
            match pv.attach(&spec, fds) {
                Ok(()) => log.line(
                    Level::Info,
                    format_args!(
                        "{}: the guest unplugged it for a paravirtual one",
                        spec.id()
                    ),
                ),
                Err(line) => log.line(Level::Error, line),
            }
        }
    }

    /// Its console's terminal.
    pub fn set_console(&mut self, pty: &Pty) -> io::Result<()> {
        self.console_tty = pty.path.clone();
        self.terminal = Some(pty.master.try_clone()?.into());
        Ok(())
    }

    /// Has COM1 look at what was typed.
    pub fn attend_serial(&self) {
        if let Some(number) = self.known.serial {
            self.pc.attend(number);
        }
    }

    /// Stops the vCPUs and the guest's time.
    pub fn pause(&mut self) {
        self.crew.pause();
        self.pc.set_running(false);
    }

    /// Lets them go on.
    pub fn unpause(&mut self) -> Result<(), String> {
        job::give_up_written(self)?;
        if self.crew.over().is_none() {
            self.complete()?;
            self.pc.set_running(true);
        }
        self.crew.unpause()
    }

    /// Takes the threads' news.
    pub fn take_reports(&mut self) -> Vec<Event> {
        let events = self.crew.take_reports();
        self.follow_unplugs();
        if self.pc.take_standing() {
            self.crew.look_again();
        }
        let is_over = self.crew.over().is_some();
        if is_over {
            self.pc.set_running(false);
        }
        // Before the end is told, which makes the domain's successor.
        let clock = self
            .clock
            .of(self.pc.clock_moved(), is_over, Instant::now());
        clock.into_iter().chain(events).collect()
    }

    /// Counters of all groups.
    pub fn counters(&self) -> Groups {
        let mut groups = self.crew.counters();
        let other = groups.entry("other".into()).or_default();
        counters::add(other, "stray-access", self.pc.strays());
        if let Some(xen) = self.pc.xen() {
            let vcpus = self.vcpus().len() as u32;
            counters::add_monitor_pages(&mut groups, xen.memory(), pages::COUNTERS, vcpus);
        }
        groups
    }

    /// What the domain is doing.
    pub fn status(&self) -> Status {
        let vcpus: Vec<VcpuStatus> = self
            .vcpus()
            .iter()
            .zip(0u32..)
            .map(|(vcpu, number)| VcpuStatus {
                online: self.pc.present().checked_shr(number).unwrap_or(0) & 1 == 1,
                blocked: self.pc.is_asleep(),
                cpu_ns: vcpu.cpu_time_ns(),
                cpu: vcpu.last_cpu(),
            })
            .collect();
        Status {
            domid: self.domid,
            pid: std::process::id(),
            paused: self.is_paused() || self.stands_still(),
            shutdown: self.over(),
            crash_reason: self.crash_reason(),
            cpu_ns: vcpus.iter().map(|vcpu| vcpu.cpu_ns).sum(),
            vcpus,
            memory_kib: self.memory_kib,
            uptime_s: self.age().as_secs(),
            console_tty: self.console_tty.clone(),
            store_mfn: STORE_PAGE,
            store_port: STORE_PORT,
            console_mfn: CONSOLE_PAGE,
            console_port: CONSOLE_PORT,
            saving: self.job.as_ref().map(Job::saving),
        }
    }

    /// Puts a device into the machine, or a medium into a drive of a running one.
    pub fn attach(&mut self, device: &DeviceSpec, mut fds: Vec<OwnedFd>) -> Result<(), String> {
        let rom = match device {
            DeviceSpec::Vif { rom: true, .. } => {
                let file = fds.pop().ok_or("no ROM came along")?;
                read_rom(file.into()).map_err(|line| format!("{}: {line}", device.id()))?
            }
            _ => Vec::new(),
        };
        self.attach_with_rom(device, fds, rom)
    }

    /// The same; a network card has an expansion ROM.
    pub fn attach_with_rom(
        &mut self,
        device: &DeviceSpec,
        fds: Vec<OwnedFd>,
        rom: Vec<u8>,
    ) -> Result<(), String> {
        device.check()?;
        let Some(Emulated { drives, cards }) = &mut self.emulated else {
            let pv = self.pv.as_ref();
            let pv = pv.ok_or("the guest has no paravirtual devices without xenstored")?;
            return pv.attach(device, fds);
        };
        match device {
            DeviceSpec::Vbd { devid, .. } => match &self.pv {
                // One that no drive is for can only be paravirtual.
                Some(pv) if !drives.takes(*devid) => pv.attach(device, fds),
                _ => drives.attach(device, fds),
            },
            DeviceSpec::Vif { .. } => cards.attach(device, fds, rom),
            _ => Err(format!(
                "device {} of an HVM domain is not built yet",
                device.id()
            )),
        }
    }

    fn detach(&mut self, class: DeviceClass, devid: u32, force: bool) -> Result<(), String> {
        let id = DeviceId { class, devid };
        let is = |device: &DeviceStatus| device.id == id;
        if let Some(pv) = self.pv.as_ref().filter(|pv| pv.list().iter().any(is)) {
            return pv.detach(id, force);
        }
        match (class, &mut self.emulated) {
            (DeviceClass::Vbd, Some(emulated)) => emulated.drives.detach(devid),
            (_, None) => Err(format!("{class} {devid} is not attached")),
            _ => Err(format!(
                "detaching device {class} {devid} of an HVM domain is not built yet"
            )),
        }
    }

    fn devices(&self) -> Vec<DeviceStatus> {
        let pv = self.pv.as_ref().map(Devices::list).unwrap_or_default();
        match &self.emulated {
            Some(Emulated { drives, cards }) => [drives.list(), cards.list(), pv].concat(),
            None => pv,
        }
    }

    fn still_runs(&self) -> Result<(), String> {
        match self.over() {
            Some(_) => Err("the domain has shut down".into()),
            None => Ok(()),
        }
    }

    fn signal(&self, vcpu: u32, signal: Signal) -> Result<(), String> {
        self.still_runs()?;
        let count = self.vcpus().len();
        if vcpu as usize >= count {
            return Err(format!(
                "there is no vCPU {vcpu}: the domain has vCPUs 0 to {}",
                count - 1
            ));
        }
        self.pc
            .signal(vcpu, signal)
            .map_err(|error| error.to_string())
    }

    /// Ends the guest's sleep: its firmware finds its way back to it.
    fn wake(&mut self) -> Result<(), String> {
        self.crew.stop();
        let reset = self.crew.reset(self.pc.present());
        if reset.is_ok() {
            self.pc.wake();
            self.pc.hub().log.line(Level::Info, "awake");
        }
        self.crew.go_on();
        reset
    }

    /// Asks the guest to have these vCPUs, a bit for each, the first always among them.
    fn want_vcpus(&mut self, wanted: u64) -> Result<(), String> {
        self.still_runs()?;
        if self.pc.xen().is_some() {
            return Err("vCPUs that come and go beside drivers for Xen (xen_platform_pci = 1) are not built yet".into());
        }
        let all = u64::MAX >> (64 - self.vcpus().len().clamp(1, 64));
        let wanted = (wanted | 1) & all;
        // Those that come have never run, or not since they went; what was meant for others has reached them meanwhile.
        self.crew.reset(wanted & !self.pc.present())?;
        if !self.pc.want_processors(wanted) {
            return Err("the domain is being saved or moved".into());
        }
        self.crew.look_again();
        Ok(())
    }

    fn press(&mut self, button: CaseButton) -> Result<(), String> {
        self.still_runs()?;
        let button = match button {
            CaseButton::Wake if !self.pc.is_asleep() => {
                return Err("the domain does not sleep (ACPI S3)".into());
            }
            CaseButton::Wake => return self.wake(),
            CaseButton::Power | CaseButton::Sleep if self.pc.is_asleep() => {
                self.wake()?;
                match button {
                    CaseButton::Power => Button::Power,
                    _ => Button::Sleep,
                }
            }
            CaseButton::Power => Button::Power,
            CaseButton::Sleep => Button::Sleep,
            CaseButton::Reset => {
                self.pc.reset();
                return Ok(());
            }
        };
        match self.pc.press(button) {
            true => Ok(()),
            false => Err("the machine has no such button".into()),
        }
    }
}

/// A card's expansion ROM.
fn read_rom(file: File) -> Result<Vec<u8>, String> {
    let mut rom = Vec::new();
    // One byte more than is possible shows that it is too long.
    file.take(MAX_ROM as u64 + 1)
        .read_to_end(&mut rom)
        .map_err(|error| format!("its ROM cannot be read: {error}"))?;
    Ok(rom)
}

/// What an HVM domain does not do yet.
fn not_yet(what: &str) -> Reply {
    Reply::Error {
        message: format!("{what} of an HVM domain is not built yet"),
    }
}

impl Asked for HvmMachine {
    fn carry_out(
        &mut self,
        asker: u64,
        request: Request,
        fds: &mut FdQueue,
    ) -> (Option<Reply>, After) {
        if self.coming.is_some() && !may_while_coming(&request) {
            return (Some(done(Err(COMING.into()))), After::Nothing);
        }
        if self.job.is_some() && !may_while_saved(&request) {
            return (Some(done(Err(BUSY.into()))), After::Nothing);
        }
        let reply = match request {
            Request::Status => Reply::Status(Box::new(self.status())),
            Request::Pause => {
                self.pause();
                Reply::Ok
            }
            Request::Unpause => done(self.unpause()),
            Request::Counters => Reply::Counters {
                groups: self.counters(),
            },
            Request::ConsoleLog => Reply::Text {
                text: lock(&self.pc.hub().messages).text(),
            },
            Request::Registers => Reply::Text {
                text: self.registers(),
            },
            Request::SetVcpus { present } => done(self.want_vcpus(present)),
            Request::Press { button } => done(self.press(button)),
            Request::Subscribe => return (Some(Reply::Ok), After::Subscribe),
            Request::Destroy => return (Some(Reply::Ok), After::End),
            Request::Devices => Reply::Devices {
                devices: self.devices(),
            },
            Request::SetMaxMemory { .. } => not_yet("changing the memory"),
            Request::Nmi { vcpu } => done(self.signal(vcpu, Signal::Nmi)),
            Request::Init { vcpu } => done(self.signal(vcpu, Signal::Init)),
            Request::AttachDevice { device, fds: count } => {
                let taken = fds
                    .take(count)
                    .map_err(|there| format!("{count} descriptors were announced, {there} came"));
                done(taken.and_then(|fds| self.attach(&device, fds)))
            }
            Request::DetachDevice {
                class,
                devid,
                force,
            } => done(self.detach(class, devid, force)),
            Request::Screen { .. } | Request::Pixels { .. } | Request::Input { .. } => {
                not_yet("the screen")
            }
            Request::Save {
                how, fds: count, ..
            } if how.guest => {
                let _ = fds.take(count);
                Reply::Error {
                    message: BY_GUEST.into(),
                }
            }
            Request::Save {
                config,
                how,
                fds: count,
                ..
            } => match file(fds, count).and_then(|file| self.save(asker, config, how, file)) {
                Ok(()) => return (None, After::Nothing),
                Err(message) => Reply::Error { message },
            },
            Request::Move { how, fds: count } => {
                match ways(fds, count, &how).and_then(|ways| self.begin_move(asker, how, ways)) {
                    Ok(()) => return (None, After::Nothing),
                    Err(message) => Reply::Error { message },
                }
            }
            Request::DumpCore { live, fds: count } => {
                match file(fds, count).and_then(|file| self.dump(asker, live, file)) {
                    Ok(()) => return (None, After::Nothing),
                    Err(message) => Reply::Error { message },
                }
            }
            Request::HandOver { fds: count, .. } => {
                match link(fds, count).and_then(|link| self.begin_handover(asker, link)) {
                    Ok(()) => return (None, After::Nothing),
                    Err(message) => Reply::Error { message },
                }
            }
            Request::TakeOver { fds: count } => done(self.take_over(link(fds, count))),
            Request::Hold => done(job::hold(self)),
            Request::Pages => return (job::pages(self, asker), After::Nothing),
            // Its devices are in its configuration, and nodes of the store it has none.
            Request::Arrived => Reply::Arrived {
                nodes: Vec::new(),
                connected: Vec::new(),
            },
            Request::Screendump { fds: count } => {
                done(file(fds, count).and_then(|file| self.screendump(file)))
            }
            Request::Fulfilled { number, refusal } => {
                done(self.fulfilled(number, refusal.as_deref()))
            }
        };
        (Some(reply), After::Nothing)
    }

    fn news(&self) -> Vec<Event> {
        let seconds = self.pc.clock_moved();
        let clock = (seconds != 0).then_some(Event::ClockMoved { seconds });
        clock.into_iter().chain(self.crew.over_event()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Seek, Write};

    #[test]
    fn clock_is_told_of_at_once_then_once_a_second_and_before_the_end() {
        let (mut news, start) = (ClockNews::default(), Instant::now());
        let told = |seconds| Some(Event::ClockMoved { seconds });
        assert_eq!(news.of(0, true, start), None);
        assert_eq!(news.of(60, false, start), told(60));
        assert_eq!(news.of(61, false, start), None);
        assert_eq!(news.of(62, false, start + CLOCK_PAUSE), told(62));
        assert_eq!(news.of(60, true, start + CLOCK_PAUSE), told(60));
        assert_eq!(news.of(60, true, start + CLOCK_PAUSE), None);
    }

    #[test]
    fn rom_is_read_whole_and_one_that_is_too_long_no_further_than_to_show_it() {
        let rom = |length: usize| {
            let fd = rustix::fs::memfd_create("rom", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
            let mut file = File::from(fd);
            file.write_all(&vec![0x55; length]).unwrap();
            file.rewind().unwrap();
            read_rom(file).unwrap().len()
        };
        assert_eq!((rom(0), rom(512)), (0, 512));
        assert_eq!(rom(MAX_ROM + 4096), MAX_ROM + 1);
        assert!(read_rom(File::open("/").unwrap()).is_err());
    }
}
