//! The domain's console where it is the first serial port of a PC.
//!
//! ```text
//!   COM1 --Line--> unwritten --> host's end        host's end --> Line --> COM1
//! ```

use crate::console_end::ConsoleEnd;
use crate::domain::hub::lock;
use crate::hvm::machine::HvmMachine;
use crate::hvm::wire::Line;
use crate::log::Level;
use crate::vstate::irq::event_fd;
use rustix::event::PollFlags;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

/// What there is news of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The port has sent something.
    Line,
    /// Something is typed.
    Input,
    /// The host's end takes more.
    Output,
}

/// The port's line, if there is one, and the host's end.
#[derive(Debug)]
pub struct Terminal {
    /// Nothing: nobody uses the host's end.
    line: Option<Arc<Line>>,
    end: ConsoleEnd,
}

impl Terminal {
    /// Between `line` and `end`.
    pub fn new(line: Option<Arc<Line>>, end: ConsoleEnd) -> Terminal {
        Terminal { line, end }
    }

    /// What to wait for; `is_waiting`: output that the host's end has not taken.
    pub fn interests(&self, is_waiting: bool) -> Vec<(Source, BorrowedFd<'_>, PollFlags)> {
        let Some(line) = &self.line else {
            return Vec::new();
        };
        // While the host's end takes nothing, output waits in the line, which loses what is too much.
        let mut set = vec![match is_waiting {
            true => (Source::Output, self.end.output().as_fd(), PollFlags::OUT),
            false => (Source::Line, event_fd(line.ready()), PollFlags::IN),
        }];
        let input = self.end.input().filter(|_| line.input_room() > 0);
        if let Some(input) = input {
            set.push((Source::Input, input.as_fd(), PollFlags::IN));
        }
        set
    }

    /// There is news of `source`.
    pub fn serve(&mut self, source: Source, machine: &mut HvmMachine) {
        match source {
            Source::Line => self.take(machine),
            Source::Output => self.write(machine),
            Source::Input => self.read(machine),
        }
    }

    /// Takes what the port has sent.
    pub fn take(&mut self, machine: &mut HvmMachine) {
        let Some(line) = self.line.as_ref().filter(|_| machine.unwritten.is_empty()) else {
            return;
        };
        let (output, lost) = line.take_output();
        let hub = machine.pc().hub();
        if lost > 0 {
            let text = format_args!("serial output lost, {lost} bytes: nobody reads the console");
            hub.log.guest_line(Level::Warning, text);
        }
        lock(&hub.console_tail).push(&output);
        machine.unwritten = output;
        self.write(machine);
    }

    fn write(&mut self, machine: &mut HvmMachine) {
        while !machine.unwritten.is_empty() {
            match self.end.output().write(&machine.unwritten) {
                Ok(n) => drop(machine.unwritten.drain(..n)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let lost = std::mem::take(&mut machine.unwritten).len();
                    machine.pc().hub().log.guest_line(
                        Level::Warning,
                        format_args!("serial output lost, {lost} bytes: {error}"),
                    );
                }
            }
        }
    }

    fn read(&mut self, machine: &mut HvmMachine) {
        let Some((line, mut input)) = self.line.as_ref().zip(self.end.input()) else {
            return;
        };
        let mut buffer = [0u8; 1024];
        let room = line.input_room().min(buffer.len());
        match input.read(&mut buffer[..room]) {
            Ok(0) => self.end.end_input(),
            Ok(n) => {
                line.type_in(&buffer[..n]);
                machine.attend_serial();
            }
            Err(_) => {}
        }
    }
}
