//! The main loop of an HVM domain: one thread that waits for everything but the vCPUs and the devices' ticks.
//!
//! ```text
//!   threads --wake-->      \
//!   COM1 --ready-->         > poll, serve, again --> console's end, control connections
//!   console's end, control /
//!   guest's xenstore ring, xenstored, its console's ring in place of COM1 (a guest with drivers for Xen)
//! ```

use crate::console_end::ConsoleEnd;
use crate::control::server::Server;
use crate::devices::{Devices, Door};
use crate::domain::pv::{CONSOLE_PORT, STORE_PORT};
use crate::guest_console::{self, GuestConsole};
use crate::hvm::build::Domain;
use crate::hvm::machine::HvmMachine;
use crate::hvm::terminal::{self, Terminal};
use crate::hvm::xen::{pages, Xen};
use crate::save::job::{self, Host, Job};
use crate::service::Until;
use crate::store::port::{self, StorePort};
use crate::store::Connection;
use crate::viewers::Server as Viewers;
use crate::vstate::irq::{event_fd, Channel, ChannelError, Links};
use crate::waiting;
use noxen_control::ShutdownReason;
use rustix::event::PollFlags;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use vm_memory::GuestAddress;

/// What a descriptor in the poll set stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Wake,
    Serial(terminal::Source),
    Console(guest_console::Source),
    Store(port::Source),
    Listener,
    Connection(usize),
}

impl Source {
    /// May it be served while the domain is being written?
    fn spares_guest(self) -> bool {
        matches!(
            self,
            Source::Wake | Source::Listener | Source::Connection(_)
        )
    }
}

/// A domain and what serves it.
pub struct HvmService {
    machine: HvmMachine,
    console: DomainConsole,
    control: Option<Server>,
    _viewers: Option<Viewers>,
    store: Session,
}

/// What the domain's console is to the guest.
enum DomainConsole {
    /// COM1, or nothing.
    Serial(Terminal),
    /// Xen's.
    Paravirtual(Arc<Xen>, Box<GuestConsole>),
}

/// The domain's session with xenstored: the store knows the domain as long as it is open.
enum Session {
    /// The guest has no way to it.
    Held(#[allow(dead_code)] Option<Connection>),
    /// By its ring.
    Served(Arc<Xen>, Box<StorePort>),
}

impl HvmService {
    /// Around `domain`.
    pub fn new(
        domain: Domain,
        console_end: ConsoleEnd,
        store: Option<Connection>,
        door: Door,
        control: Option<Server>,
    ) -> io::Result<HvmService> {
        let mut machine = domain.machine;
        let store = match (machine.pc().xen().cloned(), store) {
            (Some(xen), Some(connection)) => {
                let links: Arc<dyn Links> = xen.clone();
                machine.serve_pv(Devices::new(xen.context(links.clone()), door)?);
                let failed = |error: ChannelError| io::Error::other(error.to_string());
                let port = Channel::bind(&links, STORE_PORT).map_err(failed)?;
                let page = GuestAddress(pages::STORE);
                let port = StorePort::new(xen.memory(), page, connection, port)?;
                Session::Served(xen, Box::new(port))
            }
            (_, store) => Session::Held(store),
        };
        if let ConsoleEnd::Pty(pty) = &console_end {
            machine.set_console(pty)?;
        }
        let xen = machine.pc().xen().filter(|xen| xen.has_console()).cloned();
        let console = match xen {
            Some(xen) => {
                let links: Arc<dyn Links> = xen.clone();
                let port = Channel::bind(&links, CONSOLE_PORT)
                    .map_err(|error| io::Error::other(error.to_string()))?;
                let page = GuestAddress(pages::CONSOLE);
                let console = GuestConsole::new(xen.memory(), page, port, console_end)?;
                DomainConsole::Paravirtual(xen, Box::new(console))
            }
            None => DomainConsole::Serial(Terminal::new(domain.serial.clone(), console_end)),
        };
        if let Some(line) = &domain.serial {
            line.type_in(machine.typed());
        }
        Ok(HvmService {
            machine,
            console,
            control,
            _viewers: domain.viewers,
            store,
        })
    }

    /// The machine.
    pub fn machine(&mut self) -> &mut HvmMachine {
        &mut self.machine
    }

    /// Serves until the domain is to end; returns how the guest ended, if it has.
    pub fn run(&mut self, until: Until) -> io::Result<Option<ShutdownReason>> {
        loop {
            if self.control.as_mut().is_some_and(Server::flush) {
                return Ok(self.machine.over());
            }
            for (source, flags) in self.wait()? {
                self.serve(source, flags);
            }
            if let Some(stream) = self.machine.granted() {
                self.store = Session::Held(Some(Connection {
                    stream,
                    domid: self.machine.domid(),
                    door: None,
                }));
            }
            self.serve_prompt();
            let still = self.machine.stands_still();
            match &mut self.console {
                DomainConsole::Paravirtual(xen, console) if !still => {
                    console.poll(xen.memory(), self.machine.pc().hub());
                }
                _ => {}
            }
            self.serve_job();
            if still && !self.machine.stands_still() {
                // What was not looked at meanwhile.
                let _ = self.machine.pc().hub().wake.write(1);
            }
            if until == Until::Over && self.machine.over().is_some() {
                self.take_console();
                return Ok(self.machine.over());
            }
        }
    }

    fn wait(&self) -> io::Result<Vec<(Source, PollFlags)>> {
        let still = self.machine.stands_still();
        let interests = self.interests().into_iter();
        let heeded = interests.filter(|(source, ..)| !still || source.spares_guest());
        let look = match &self.console {
            DomainConsole::Paravirtual(_, console) if !still => console.wait(),
            _ => None,
        };
        waiting::ready(heeded, look.as_ref())
    }

    fn interests(&self) -> Vec<(Source, BorrowedFd<'_>, PollFlags)> {
        let wake = event_fd(&self.machine.pc().hub().wake);
        let mut set = vec![(Source::Wake, wake, PollFlags::IN)];
        match &self.console {
            DomainConsole::Serial(terminal) => {
                let all = terminal.interests(!self.machine.unwritten.is_empty());
                let all = all.into_iter();
                set.extend(all.map(|(source, fd, flags)| (Source::Serial(source), fd, flags)));
            }
            DomainConsole::Paravirtual(_, console) => {
                let all = console.interests().into_iter();
                set.extend(all.map(|(source, fd, flags)| (Source::Console(source), fd, flags)));
            }
        }
        if let Session::Served(_, store) = &self.store {
            let store = store.interests().into_iter();
            set.extend(store.map(|(source, fd, flags)| (Source::Store(source), fd, flags)));
        }
        if let Some(control) = &self.control {
            set.push((Source::Listener, control.listener().as_fd(), PollFlags::IN));
            for (index, connection) in control.connections().iter().enumerate() {
                let mut flags = PollFlags::IN;
                flags.set(PollFlags::OUT, connection.wants_write());
                let stream = connection.stream().as_fd();
                set.push((Source::Connection(index), stream, flags));
            }
        }
        set
    }

    fn serve(&mut self, source: Source, flags: PollFlags) {
        match source {
            Source::Wake if self.machine.stands_still() => {
                // Reading clears the counter; what it is about is looked at afterwards.
                let _ = self.machine.pc().hub().wake.read();
            }
            Source::Wake => {
                // The last lines of a guest that died belong into its crash record.
                self.take_console();
                for event in self.machine.take_reports() {
                    if let Some(control) = &mut self.control {
                        control.broadcast(&event);
                    }
                }
            }
            Source::Serial(source) => {
                if let DomainConsole::Serial(terminal) = &mut self.console {
                    terminal.serve(source, &mut self.machine);
                }
            }
            Source::Console(source) => {
                if let DomainConsole::Paravirtual(xen, console) = &mut self.console {
                    console.serve(source, xen.memory(), self.machine.pc().hub());
                }
            }
            Source::Store(source) => {
                if let Session::Served(xen, store) = &mut self.store {
                    let log = &self.machine.pc().hub().log;
                    store.serve(source, flags, xen.memory(), log);
                }
            }
            Source::Listener => {
                if let Some(control) = &mut self.control {
                    control.accept();
                }
            }
            Source::Connection(index) => {
                let readable = flags.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR);
                if let Some(control) = self.control.as_mut().filter(|_| readable) {
                    control.serve(index, &mut self.machine);
                }
            }
        }
    }

    /// Does what was typed in the monitor window.
    fn serve_prompt(&mut self) {
        if self.machine.stands_still() {
            return;
        }
        let event = self.machine.serve_prompt();
        if let (Some(event), Some(control)) = (&event, &mut self.control) {
            control.broadcast(event);
        }
        let heard = self.control.as_ref().is_some_and(Server::is_heard);
        if let Some(prompt) = self
            .machine
            .prompt()
            .filter(|prompt| prompt.waits() && !heard)
        {
            prompt.is_left_alone();
        }
    }

    /// Takes what the thread of a save or a dump says, and notices when nobody waits for it any more.
    fn serve_job(&mut self) {
        let Some(control) = &mut self.control else {
            return;
        };
        if let Some((asker, reply)) = job::take_news(&mut self.machine) {
            control.reply(asker, &reply);
        }
        let asker = self.machine.job().as_ref().map(Job::asker);
        if asker.is_some_and(|asker| !control.has(asker)) {
            job::abandon(&mut self.machine);
        }
    }

    /// Takes what the guest wrote last.
    fn take_console(&mut self) {
        match &mut self.console {
            DomainConsole::Serial(terminal) => terminal.take(&mut self.machine),
            DomainConsole::Paravirtual(xen, console) => {
                let hub = self.machine.pc().hub();
                console.service(xen.memory(), hub);
                console.write(hub);
            }
        }
    }
}
