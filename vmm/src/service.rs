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
//! A console that prints is looked at with each tick of the host until it has been silent for a while, and its guest is told
//! not to notify meanwhile: Linux writes 16 bytes at a time, and each notification is an exit. So would be an interrupt for a
//! look at any other time, where the guest runs on the processor that gets it.
//! It polls with a set made anew each turn, because what to wait for follows from how full the buffers
//! are (flow control); there are a dozen descriptors at most, so a registered set would save nothing.

pub use crate::console_end::ConsoleEnd;
use crate::control::server::Server;
use crate::devices::{Context, Devices, Door};
use crate::domain::calls::{lock, Shared};
use crate::domain::machine::Machine;
use crate::domain::pv::Domain;
use crate::log::Level;
use crate::save::job::{self, Job};
use crate::save::{Arrived, Parts};
use crate::store::port::{self, StorePort};
use crate::store::Connection;
use crate::vstate::clock;
use crate::vstate::irq::{event_fd, Channel};
use crate::vstate::vm::Vm;
use crate::waiting;
use noxen_control::ShutdownReason;
use noxen_devices::pv::console::Console;
use noxen_monitor_abi::layout::PAGE_SIZE;
use noxen_saved_image::State;
use rustix::event::{PollFlags, Timespec};
use std::io::{self, Read, Write};
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a descriptor in the poll set stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Wake,
    ConsolePort,
    ConsoleInput,
    ConsoleOutput,
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
    console: Console,
    console_port: Channel,
    console_end: ConsoleEnd,
    /// The guest does not notify; the console is polled.
    console_quiet: bool,
    /// When it is, ns on CLOCK_MONOTONIC.
    console_look: u64,
    /// Looks in a row that found nothing.
    console_silence: u32,
    reservation_seen: Instant,
    store: Option<StorePort>,
    control: Option<Server>,
    job: Option<Job>,
    vm: Arc<Vm>,
    arrived: Option<Arrived>,
}

/// Least and longest time between two looks at a busy console, ns: the first tick of the host in between has the next one. Without
/// such a tick it is twice the least.
const CONSOLE_PERIODS: (u64, u64) = (500_000, 4_500_000);
/// How long before a tick of the host a look is due, ns: the tick's interrupt serves it, for Linux lets a thread sleep 50 us longer than
/// it wanted (prctl, PR_SET_TIMERSLACK).
const CONSOLE_LEAD: u64 = 15_000;

/// Looks in a row that find nothing before the guest is to notify again. The next line is likely to come soon, and a look with a tick of the host
/// costs the guest nothing.
const CONSOLE_PATIENCE: u32 = 8;

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
        let console = Console::new(&shared.memory, domain.console_page)
            .map_err(|error| io::Error::other(error.to_string()))?;
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
            console_port: domain.console,
            console_end,
            console_quiet: false,
            console_look: 0,
            console_silence: 0,
            reservation_seen: Instant::now(),
            store,
            control,
            job: None,
            vm,
            arrived: None,
        })
    }

    /// Goes on for a domain that was restored: its back ends have looked at nothing yet, and the guest is to look at
    /// all that was on its way to it.
    pub fn take_up(&mut self, state: &State) {
        self.console
            .take_up(&state.console.output.0, &state.console.input.0);
        // Notifications that the guest had sent are lost: both rings are looked at once.
        let _ = self.console_port.event().write(1);
        if let Some(StorePort { store, port }) = &mut self.store {
            if let Some(saved) = &state.store {
                store.take_up(saved, state.domain.domid, &self.shared.log);
            }
            let _ = port.event().write(1);
        }
        self.devices.expect(state.devices.clone());
        self.arrived = Some(Arrived::of(state));
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
            if self.console_quiet && clock::monotonic() >= self.console_look {
                self.poll_console();
            }
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
                self.write_console();
                return Ok(self.machine.over());
            }
        }
    }

    fn wait(&self) -> io::Result<Vec<(Source, PollFlags)>> {
        let still = self.stands_still();
        let look = Timespec {
            tv_sec: 0,
            tv_nsec: self.console_look.saturating_sub(clock::monotonic()) as i64,
        };
        let timeout = match (self.console_quiet, self.machine.may_overrun()) {
            _ if still => None,
            (true, _) => Some(&look),
            (false, true) => Some(&RESERVATION_TIMEOUT),
            (false, false) => None,
        };
        let interests = self.interests().into_iter();
        let heeded = interests.filter(|(source, ..)| !still || source.spares_guest());
        waiting::ready(heeded, timeout)
    }

    fn interests(&self) -> Vec<(Source, BorrowedFd<'_>, PollFlags)> {
        use std::os::fd::AsFd;
        let mut set = vec![
            (Source::Wake, event_fd(&self.shared.wake), PollFlags::IN),
            (
                Source::ConsolePort,
                event_fd(self.console_port.event()),
                PollFlags::IN,
            ),
        ];
        let input = self
            .console_end
            .input()
            .filter(|_| self.console.input_room() > 0);
        if let Some(input) = input {
            set.push((Source::ConsoleInput, input.as_fd(), PollFlags::IN));
        }
        if self.console.has_output() {
            let output = self.console_end.output().as_fd();
            set.push((Source::ConsoleOutput, output, PollFlags::OUT));
        }
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
            Source::ConsolePort => {
                self.console_port.acknowledge();
                self.set_console_quiet(true);
                self.serve_console();
                self.write_console();
            }
            Source::ConsoleInput => self.read_console(),
            Source::ConsoleOutput => self.write_console(),
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
            console: &mut self.console,
            store: self.store.as_mut().map(|s| (&mut s.store, &s.port)),
            vm: &self.vm,
            arrived: &self.arrived,
            job: &mut self.job,
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
        if self.job.is_none() {
            // What was not looked at meanwhile.
            let _ = self.shared.wake.write(1);
            let _ = self.console_port.event().write(1);
        }
    }

    fn stands_still(&self) -> bool {
        self.job.as_ref().is_some_and(Job::is_still)
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

    fn set_console_quiet(&mut self, quiet: bool) {
        self.console_quiet = quiet;
        self.console_silence = 0;
        self.console_look = next_look(clock::monotonic(), clock::host_tick());
        self.console_port.set_quiet(quiet);
    }

    /// Looks at a console that does not notify; ends that when it has fallen silent.
    fn poll_console(&mut self) {
        self.console_look = next_look(clock::monotonic(), clock::host_tick());
        if self.serve_console() {
            self.console_silence = 0;
        } else {
            self.console_silence += 1;
        }
        if self.console_silence >= CONSOLE_PATIENCE {
            self.set_console_quiet(false);
            // What the guest wrote before it saw the change is only found by looking.
            if self.serve_console() {
                self.set_console_quiet(true);
            }
        }
        self.write_console();
    }

    /// Moves bytes between the console's ring and buffers; true when the guest had written any.
    fn serve_console(&mut self) -> bool {
        let shared = self.shared.clone();
        let mut printed = false;
        let effect = self.console.service(&shared.memory, &mut |bytes| {
            printed = true;
            lock(&shared.console_tail).push(bytes);
        });
        if effect.notify {
            self.console_port.kick();
        }
        if let Some(error) = effect.broken {
            shared
                .log
                .guest_line(Level::Warning, format_args!("console closed: {error}"));
        }
        if self.console.has_more(&shared.memory) {
            // More than one turn's worth: come back after the others had theirs.
            let _ = self.console_port.event().write(1);
        }
        printed
    }

    fn write_console(&mut self) {
        while self.console.has_output() {
            match self.console_end.output().write(self.console.output()) {
                Ok(n) => self.console.consume_output(n),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let lost = self.console.output().len();
                    self.console.consume_output(lost);
                    self.shared.log.guest_line(
                        Level::Warning,
                        format_args!("console output lost, {lost} bytes: {error}"),
                    );
                    return;
                }
            }
        }
    }

    fn read_console(&mut self) {
        let mut buffer = [0u8; 1024];
        let room = self.console.input_room().min(buffer.len());
        let Some(mut input) = self.console_end.input() else {
            return;
        };
        match input.read(&mut buffer[..room]) {
            Ok(0) => self.console_end.end_input(),
            Ok(n) => {
                self.console.push_input(&buffer[..n]);
                self.serve_console();
                self.write_console();
            }
            Err(_) => {}
        }
    }
}

/// When a console that prints is to be looked at again after `now`, where the host's ticks are `tick` apart, all ns on
/// CLOCK_MONOTONIC.
fn next_look(now: u64, tick: u64) -> u64 {
    let (least, most) = CONSOLE_PERIODS;
    let after = now + least;
    match after.checked_next_multiple_of(tick) {
        Some(tick) if tick <= now + most => tick - CONSOLE_LEAD,
        _ => after + least,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn console_is_looked_at_shortly_before_a_tick_of_the_host() {
        const MS: u64 = 1_000_000;
        assert_eq!(next_look(1, 4 * MS), 4 * MS - CONSOLE_LEAD);
        assert_eq!(next_look(3_500_000, 4 * MS), 4 * MS - CONSOLE_LEAD);
        assert_eq!(next_look(3_500_001, 4 * MS), 8 * MS - CONSOLE_LEAD);
        assert_eq!(next_look(5 * MS, MS), 6 * MS - CONSOLE_LEAD);
        // A tick that is far away, or none: a fixed period.
        assert_eq!(next_look(MS, 10 * MS), 2 * MS);
        assert_eq!(next_look(MS, 0), 2 * MS);
    }
}
