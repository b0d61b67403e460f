//! The main loop: one thread that waits for everything but the vCPUs.
//!
//! ```text
//!   vCPU threads --wake-->        \
//!   guest --console port-->        \                      --> ring pages, doorbell
//!   host end (pty) <-->             > poll, serve, again  --> pty, store connection
//!   guest --store port-->          /                      --> control connections
//!   xenstored <-->                /
//!   control socket <-->          /
//! ```
//! It polls with a set made anew each turn, because what to wait for follows from how full the buffers
//! are (flow control); there are a dozen descriptors at most, so a registered set would save nothing.

pub use crate::console_end::ConsoleEnd;
use crate::control::server::Server;
use crate::devices::{Context, Devices, Door};
use crate::domain::calls::Shared;
use crate::domain::machine::Machine;
use crate::domain::pv::Domain;
use crate::guest_console::{self, GuestConsole};
use crate::log::Level;
use crate::save::job::{self, Job};
use crate::save::upgrade::Coming;
use crate::save::{Arrived, Parts};
use crate::store::port::{self, StorePort};
use crate::store::Connection;
use crate::vstate::irq::event_fd;
use crate::vstate::vm::Vm;
use crate::waiting;
use noxen_control::ShutdownReason;
use noxen_monitor_abi::layout::PAGE_SIZE;
use noxen_saved_image::State;
use rustix::event::{PollFlags, Timespec};
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a descriptor in the poll set stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Wake,
    Console(guest_console::Source),
    Store(port::Source),
    Listener,
    Connection(usize),
}

impl Source {
    /// May it be served while the guest's memory is written to a file?
    fn spares_guest(self) -> bool {
        matches!(
            self,
            Source::Wake | Source::Listener | Source::Connection(_)
        )
    }
}

/// When the loop ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// A control connection asked for it.
    Destroyed,
    /// The guest is over.
    Over,
}

/// A domain with its back ends.
pub struct Service {
    machine: Machine,
    shared: Arc<Shared>,
    devices: Devices,
    console: GuestConsole,
    reservation_seen: Instant,
    store: Option<StorePort>,
    control: Option<Server>,
    job: Option<Job>,
    vm: Arc<Vm>,
    arrived: Option<Arrived>,
    /// It is still another process's.
    coming: Option<Coming>,
}

/// How often the memory of a domain that gave some back is compared with its reservation.
const RESERVATION_PERIOD: Duration = Duration::from_secs(5);
const RESERVATION_TIMEOUT: Timespec = Timespec {
    tv_sec: RESERVATION_PERIOD.as_secs() as i64,
    tv_nsec: 0,
};

impl Service {
    /// Puts the back ends to `domain`.
    pub fn new(
        domain: Domain,
        console_end: ConsoleEnd,
        store: Option<Connection>,
        door: Door,
        control: Option<Server>,
    ) -> io::Result<Service> {
        let shared = domain.machine.shared().clone();
        let mut machine = domain.machine;
        if let ConsoleEnd::Pty(pty) = &console_end {
            machine.set_console_tty(&pty.path);
        }
        let console = GuestConsole::new(
            &shared.memory,
            domain.console_page,
            domain.console,
            console_end,
        )?;
        for page in [domain.console_page, domain.store_page] {
            shared.written.stays(page.0 / PAGE_SIZE);
        }
        let vm = domain.vm.clone();
        let context = Context::of_pv(&shared, domain.links);
        let devices = Devices::new(context, door)?;
        let store = match store {
            Some(connection) => Some(StorePort::new(
                &shared.memory,
                domain.store_page,
                connection,
                domain.store,
            )?),
            None => None,
        };
        Ok(Service {
            machine,
            shared,
            devices,
            console,
            reservation_seen: Instant::now(),
            store,
            control,
            job: None,
            vm,
            arrived: None,
            coming: None,
        })
    }

    /// The domain is another process's until it is taken over: until then only control connections are served.
    pub fn comes(&mut self, coming: Coming) {
        self.coming = Some(coming);
    }

    /// Takes it over, if that was said.
    fn take_over(&mut self) {
        let Some(coming) = self.coming.take_if(|coming| coming.is_granted()) else {
            return;
        };
        let domid = self.machine.domid();
        let (state, store) = coming.take_over(domid, &self.shared, &self.devices);
        match store {
            Ok(store) => self.store = Some(store),
            Err(error) => self.shared.log.line(
                Level::Error,
                format_args!("the guest has no store any more: {error}"),
            ),
        }
        self.go_on(&state);
        self.shared.log.line(Level::Info, "taken over");
        // What was not looked at meanwhile.
        let _ = self.shared.wake.write(1);
    }

    /// Goes on for a domain that was restored: its back ends have looked at nothing yet, and the guest is to look at
    /// all that was on its way to it.
    pub fn take_up(&mut self, state: &State) {
        self.devices.expect(state.devices.clone());
        self.arrived = Some(Arrived::of(state));
        self.go_on(state);
    }

    fn go_on(&mut self, state: &State) {
        self.console
            .console
            .take_up(&state.console.output.0, &state.console.input.0);
        // Notifications that the guest had sent are lost: both rings are looked at once.
        self.console.look_soon();
        if let Some(StorePort { store, port }) = &mut self.store {
            if let Some(saved) = &state.store {
                store.take_up(saved, state.domain.domid, &self.shared.log);
            }
            let _ = port.event().write(1);
        }
        self.machine.interrupt();
    }

    /// The machine.
    pub fn machine(&mut self) -> &mut Machine {
        &mut self.machine
    }

    /// The PV devices.
    pub fn devices(&self) -> &Devices {
        &self.devices
    }

    /// Serves until the domain is to end; returns how the guest ended, if it has.
    pub fn run(&mut self, until: Until) -> io::Result<Option<ShutdownReason>> {
        loop {
            if self.control.as_mut().is_some_and(Server::flush) {
                return Ok(self.machine.over());
            }
            let ready = self.wait()?;
            if self.stands_still() {
                self.serve_while_saved(ready);
                continue;
            }
            self.console.poll(&self.shared.memory, &self.shared.hub);
            if self.reservation_seen.elapsed() >= RESERVATION_PERIOD {
                self.reservation_seen = Instant::now();
                self.machine.hold_to_reservation();
            }
            for (source, flags) in ready {
                self.serve(source, flags);
            }
            if self.job.is_some() {
                self.serve_job();
            }
            if until == Until::Over && self.machine.over().is_some() {
                // What the guest wrote last is still in the ring.
                self.serve_console();
                self.console.write(&self.shared.hub);
                return Ok(self.machine.over());
            }
        }
    }

    fn wait(&self) -> io::Result<Vec<(Source, PollFlags)>> {
        let still = self.stands_still();
        let look = self.console.wait();
        let timeout = match (&look, self.machine.may_overrun()) {
            _ if still => None,
            (Some(look), _) => Some(look),
            (None, true) => Some(&RESERVATION_TIMEOUT),
            (None, false) => None,
        };
        let interests = self.interests().into_iter();
        let heeded = interests.filter(|(source, ..)| !still || source.spares_guest());
        waiting::ready(heeded, timeout)
    }

    fn interests(&self) -> Vec<(Source, BorrowedFd<'_>, PollFlags)> {
        use std::os::fd::AsFd;
        let mut set = vec![(Source::Wake, event_fd(&self.shared.wake), PollFlags::IN)];
        let console = self.console.interests().into_iter();
        set.extend(console.map(|(source, fd, flags)| (Source::Console(source), fd, flags)));
        let store = self.store.iter().flat_map(StorePort::interests);
        set.extend(store.map(|(source, fd, flags)| (Source::Store(source), fd, flags)));
        if let Some(control) = &self.control {
            set.push((Source::Listener, control.listener().as_fd(), PollFlags::IN));
            for (index, connection) in control.connections().iter().enumerate() {
                let mut flags = PollFlags::IN;
                flags.set(PollFlags::OUT, connection.wants_write());
                set.push((
                    Source::Connection(index),
                    connection.stream().as_fd(),
                    flags,
                ));
            }
        }
        set
    }

    fn serve(&mut self, source: Source, flags: PollFlags) {
        match source {
            Source::Wake => {
                // The last lines of a guest that died belong into its crash record.
                self.serve_console();
                for event in self.machine.take_reports() {
                    if let Some(control) = &mut self.control {
                        control.broadcast(&event);
                    }
                }
                if self.machine.suspended().is_some() || self.machine.over().is_some() {
                    self.guest_news();
                }
            }
            Source::Console(source) => {
                self.console
                    .serve(source, &self.shared.memory, &self.shared.hub);
            }
            Source::Store(source) => {
                if let Some(store) = &mut self.store {
                    store.serve(source, flags, &self.shared.memory, &self.shared.log);
                }
            }
            Source::Listener => {
                if let Some(control) = &mut self.control {
                    control.accept();
                }
            }
            Source::Connection(index) => {
                if flags.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
                    self.with_parts(|control, parts| {
                        if let Some(control) = control {
                            control.serve(index, parts);
                        }
                    });
                }
            }
        }
    }

    /// Lets `work` at the domain's parts, and at the control socket if there is one.
    fn with_parts(&mut self, work: impl FnOnce(Option<&mut Server>, &mut Parts<'_>)) {
        let mut parts = Parts {
            machine: &mut self.machine,
            devices: &self.devices,
            console: &mut self.console.console,
            store: self.store.as_mut().map(|s| (&mut s.store, &s.port)),
            vm: &self.vm,
            arrived: &self.arrived,
            job: &mut self.job,
            end: &self.console.end,
            coming: &mut self.coming,
        };
        work(self.control.as_mut(), &mut parts);
    }

    /// The guest has suspended itself, or is over.
    fn guest_news(&mut self) {
        let over = self.machine.over().is_some();
        self.with_parts(|_, parts| job::guest_news(parts, over));
    }

    /// One turn while the domain is being saved: its memory stays as it is.
    fn serve_while_saved(&mut self, ready: Vec<(Source, PollFlags)>) {
        for (source, flags) in ready {
            match source {
                Source::Wake => {
                    // Reading clears the counter; what a device says meanwhile is told afterwards.
                    let _ = self.shared.wake.read();
                }
                source => self.serve(source, flags),
            }
        }
        self.serve_job();
        self.take_over();
        if self.job.is_none() && self.coming.is_none() {
            // What was not looked at meanwhile.
            let _ = self.shared.wake.write(1);
            self.console.look_soon();
        }
    }

    fn stands_still(&self) -> bool {
        self.coming.is_some() || self.job.as_ref().is_some_and(Job::is_still)
    }

    /// Takes what the thread of a save or a move says, and notices when nobody waits for it any more.
    fn serve_job(&mut self) {
        self.with_parts(|control, parts| {
            let Some(control) = control else { return };
            if let Some((asker, reply)) = job::take_news(parts) {
                control.reply(asker, &reply);
            }
            let gone = |job: &Job| !control.has(job.asker());
            if parts.job.as_ref().is_some_and(gone) {
                job::abandon(parts);
            }
        });
    }

    fn serve_console(&mut self) {
        self.console.service(&self.shared.memory, &self.shared.hub);
    }
}
