//! A guest's paravirtual console with the host's end of it, as a main loop serves it.
//!
//! ```text
//!   guest --Port--> ring <--> buffers <--Input, Output--> pty
//! ```
//! A console that prints is looked at with each tick of the host until it has been silent for a while, and its guest is told
//! not to notify meanwhile: Linux writes 16 bytes at a time, and each notification is an exit. So would be an interrupt for a
//! look at any other time, where the guest runs on the processor that gets it.

use crate::console_end::ConsoleEnd;
use crate::domain::hub::{lock, Hub};
use crate::log::Level;
use crate::vstate::clock;
use crate::vstate::irq::{event_fd, Channel};
use crate::vstate::memory::GuestMemory;
use noxen_devices::pv::console::Console;
use rustix::event::{PollFlags, Timespec};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use vm_memory::GuestAddress;

/// Least and longest time between two looks at a busy console, ns: the first tick of the host in between has the next one. Without
/// such a tick it is twice the least.
const PERIODS: (u64, u64) = (500_000, 4_500_000);
/// How long before a tick of the host a look is due, ns: the tick's interrupt serves it, for Linux lets a thread sleep 50 us longer than
/// it wanted (prctl, PR_SET_TIMERSLACK).
const LEAD: u64 = 15_000;

/// Looks in a row that find nothing before the guest is to notify again. The next line is likely to come soon, and a look with a tick of the host
/// costs the guest nothing.
const PATIENCE: u32 = 8;

/// What there is news of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The guest notifies.
    Port,
    /// Something is typed.
    Input,
    /// The host's end takes more.
    Output,
}

/// The console, its event channel and the host's end.
#[derive(Debug)]
pub struct GuestConsole {
    /// Rings and buffers.
    pub console: Console,
    port: Channel,
    /// The host's end.
    pub end: ConsoleEnd,
    /// The guest does not notify; the console is polled.
    quiet: bool,
    /// When it is, ns on CLOCK_MONOTONIC.
    look: u64,
    /// Looks in a row that found nothing.
    silence: u32,
}

impl GuestConsole {
    /// On the ring at `page`, whose event channel is `port`.
    pub fn new(
        memory: &GuestMemory,
        page: GuestAddress,
        port: Channel,
        end: ConsoleEnd,
    ) -> io::Result<GuestConsole> {
        Ok(GuestConsole {
            console: Console::new(memory, page)
                .map_err(|error| io::Error::other(error.to_string()))?,
            port,
            end,
            quiet: false,
            look: 0,
            silence: 0,
        })
    }

    /// Has the main loop look at the ring though the guest has not notified.
    pub fn look_soon(&self) {
        // Only a counter at its limit refuses, and then it is readable.
        let _ = self.port.event().write(1);
    }

    /// What to wait for.
    pub fn interests(&self) -> Vec<(Source, BorrowedFd<'_>, PollFlags)> {
        let mut set = vec![(Source::Port, event_fd(self.port.event()), PollFlags::IN)];
        let input = self.end.input().filter(|_| self.console.input_room() > 0);
        if let Some(input) = input {
            set.push((Source::Input, input.as_fd(), PollFlags::IN));
        }
        if self.console.has_output() {
            set.push((Source::Output, self.end.output().as_fd(), PollFlags::OUT));
        }
        set
    }

    /// How long until it is to be looked at, if it does not notify.
    pub fn wait(&self) -> Option<Timespec> {
        self.quiet.then(|| Timespec {
            tv_sec: 0,
            tv_nsec: self.look.saturating_sub(clock::monotonic()) as i64,
        })
    }

    /// Looks at it if that is due.
    pub fn poll(&mut self, memory: &GuestMemory, hub: &Hub) {
        if !self.quiet || clock::monotonic() < self.look {
            return;
        }
        self.look = next_look(clock::monotonic(), clock::host_tick());
        if self.service(memory, hub) {
            self.silence = 0;
        } else {
            self.silence += 1;
        }
        if self.silence >= PATIENCE {
            self.set_quiet(false);
            // What the guest wrote before it saw the change is only found by looking.
            if self.service(memory, hub) {
                self.set_quiet(true);
            }
        }
        self.write(hub);
    }

    /// There is news of `source`.
    pub fn serve(&mut self, source: Source, memory: &GuestMemory, hub: &Hub) {
        match source {
            Source::Port => {
                self.port.acknowledge();
                self.set_quiet(true);
                self.service(memory, hub);
                self.write(hub);
            }
            Source::Input => self.read(memory, hub),
            Source::Output => self.write(hub),
        }
    }

    fn set_quiet(&mut self, quiet: bool) {
        self.quiet = quiet;
        self.silence = 0;
        self.look = next_look(clock::monotonic(), clock::host_tick());
        self.port.set_quiet(quiet);
    }

    /// Moves bytes between the console's ring and buffers; true when the guest had written any.
    pub fn service(&mut self, memory: &GuestMemory, hub: &Hub) -> bool {
        let mut printed = false;
        let effect = self.console.service(memory, &mut |bytes| {
            printed = true;
            lock(&hub.console_tail).push(bytes);
        });
        if effect.notify {
            self.port.kick();
        }
        if let Some(error) = effect.broken {
            hub.log
                .guest_line(Level::Warning, format_args!("console closed: {error}"));
        }
        if self.console.has_more(memory) {
            // More than one turn's worth: come back after the others had theirs.
            self.look_soon();
        }
        printed
    }

    /// Gives the host's end what it takes.
    pub fn write(&mut self, hub: &Hub) {
        while self.console.has_output() {
            match self.end.output().write(self.console.output()) {
                Ok(n) => self.console.consume_output(n),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let lost = self.console.output().len();
                    self.console.consume_output(lost);
                    hub.log.guest_line(
                        Level::Warning,
                        format_args!("console output lost, {lost} bytes: {error}"),
                    );
                    return;
                }
            }
        }
    }

    fn read(&mut self, memory: &GuestMemory, hub: &Hub) {
        let mut buffer = [0u8; 1024];
        let room = self.console.input_room().min(buffer.len());
        let Some(mut input) = self.end.input() else {
            return;
        };
        match input.read(&mut buffer[..room]) {
            Ok(0) => self.end.end_input(),
            Ok(n) => {
                self.console.push_input(&buffer[..n]);
                self.service(memory, hub);
                self.write(hub);
            }
            Err(_) => {}
        }
    }
}

/// When a console that prints is to be looked at again after `now`, where the host's ticks are `tick` apart, all ns on
/// CLOCK_MONOTONIC.
fn next_look(now: u64, tick: u64) -> u64 {
    let (least, most) = PERIODS;
    let after = now + least;
    match after.checked_next_multiple_of(tick) {
        Some(tick) if tick <= now + most => tick - LEAD,
        _ => after + least,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn console_is_looked_at_shortly_before_a_tick_of_the_host() {
        const MS: u64 = 1_000_000;
        assert_eq!(next_look(1, 4 * MS), 4 * MS - LEAD);
        assert_eq!(next_look(3_500_000, 4 * MS), 4 * MS - LEAD);
        assert_eq!(next_look(3_500_001, 4 * MS), 8 * MS - LEAD);
        assert_eq!(next_look(5 * MS, MS), 6 * MS - LEAD);
        // A tick that is far away, or none: a fixed period.
        assert_eq!(next_look(MS, 10 * MS), 2 * MS);
        assert_eq!(next_look(MS, 0), 2 * MS);
    }
}
