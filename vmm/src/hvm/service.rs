//! The main loop of an HVM domain: one thread that waits for everything but the vCPUs and the devices' ticks.
//!
//! ```text
//!   threads --wake-->      \
//!   COM1 --ready-->         > poll, serve, again --> console's end, control connections
//!   console's end, control /
//!   guest's xenstore ring, xenstored (a guest with drivers for Xen)
//! ```

use crate::console_end::ConsoleEnd;
use crate::control::server::Server;
use crate::devices::{Devices, Door};
use crate::domain::hub::lock;
use crate::domain::pv::STORE_PORT;
use crate::hvm::build::Domain;
use crate::hvm::machine::HvmMachine;
use crate::hvm::wire::Line;
use crate::hvm::xen::{pages, Xen};
use crate::log::Level;
use crate::save::job::{self, Host, Job};
use crate::service::Until;
use crate::store::port::{self, StorePort};
use crate::store::Connection;
use crate::viewers::Server as Viewers;
use crate::vstate::irq::{event_fd, Channel, ChannelError, Links};
use crate::waiting;
use noxen_control::ShutdownReason;
use rustix::event::PollFlags;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use vm_memory::GuestAddress;

/// What a descriptor in the poll set stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Wake,
    Serial,
    ConsoleInput,
    ConsoleOutput,
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
    serial: Option<Arc<Line>>,
    console_end: ConsoleEnd,
    control: Option<Server>,
    _viewers: Option<Viewers>,
    store: Session,
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
            machine.set_console_tty(&pty.path);
        }
        if let Some(line) = &domain.serial {
            line.type_in(machine.typed());
        }
        Ok(HvmService {
            machine,
            serial: domain.serial,
            console_end,
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
            self.serve_prompt();
            let still = self.machine.stands_still();
            self.serve_job();
            if still && !self.machine.stands_still() {
                // What was not looked at meanwhile.
                let _ = self.machine.pc().hub().wake.write(1);
            }
            if until == Until::Over && self.machine.over().is_some() {
                self.take_serial();
                return Ok(self.machine.over());
            }
        }
    }

    fn wait(&self) -> io::Result<Vec<(Source, PollFlags)>> {
        let still = self.machine.stands_still();
        let interests = self.interests().into_iter();
        let heeded = interests.filter(|(source, ..)| !still || source.spares_guest());
        waiting::ready(heeded, None)
    }

    fn interests(&self) -> Vec<(Source, BorrowedFd<'_>, PollFlags)> {
        let wake = event_fd(&self.machine.pc().hub().wake);
        let mut set = vec![(Source::Wake, wake, PollFlags::IN)];
        if let Some(line) = &self.serial {
            // While the console's end takes nothing, output waits in the line, which loses what is too much.
            if self.machine.unwritten.is_empty() {
                set.push((Source::Serial, event_fd(line.ready()), PollFlags::IN));
            } else {
                let output = self.console_end.output().as_fd();
                set.push((Source::ConsoleOutput, output, PollFlags::OUT));
            }
            let input = self.console_end.input().filter(|_| line.input_room() > 0);
            if let Some(input) = input {
                set.push((Source::ConsoleInput, input.as_fd(), PollFlags::IN));
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
                self.take_serial();
                for event in self.machine.take_reports() {
                    if let Some(control) = &mut self.control {
                        control.broadcast(&event);
                    }
                }
            }
            Source::Serial => self.take_serial(),
            Source::ConsoleOutput => self.write_console(),
            Source::ConsoleInput => self.read_console(),
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

    fn take_serial(&mut self) {
        let Some(line) = self
            .serial
            .as_ref()
            .filter(|_| self.machine.unwritten.is_empty())
        else {
            return;
        };
        let (output, lost) = line.take_output();
        let hub = self.machine.pc().hub();
        if lost > 0 {
            let text = format_args!("serial output lost, {lost} bytes: nobody reads the console");
            hub.log.guest_line(Level::Warning, text);
        }
        lock(&hub.console_tail).push(&output);
        self.machine.unwritten = output;
        self.write_console();
    }

    fn write_console(&mut self) {
        while !self.machine.unwritten.is_empty() {
            match self.console_end.output().write(&self.machine.unwritten) {
                Ok(n) => drop(self.machine.unwritten.drain(..n)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let lost = std::mem::take(&mut self.machine.unwritten).len();
                    self.machine.pc().hub().log.guest_line(
                        Level::Warning,
                        format_args!("serial output lost, {lost} bytes: {error}"),
                    );
                }
            }
        }
    }

    fn read_console(&mut self) {
        let Some((line, mut input)) = self.serial.as_ref().zip(self.console_end.input()) else {
            return;
        };
        let mut buffer = [0u8; 1024];
        let room = line.input_room().min(buffer.len());
        match input.read(&mut buffer[..room]) {
            Ok(0) => self.console_end.end_input(),
            Ok(n) => {
                line.type_in(&buffer[..n]);
                self.machine.attend_serial();
            }
            Err(_) => {}
        }
    }
}
