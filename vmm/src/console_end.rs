//! The host's end of a domain's console.

use noxen_devices::pv::pty::Pty;
use std::fs::File;

/// Where console text goes and comes from.
#[derive(Debug)]
pub enum ConsoleEnd {
    /// A pseudo-terminal.
    Pty(Pty),
    /// Developer runs: standard output, and input if given.
    Stream {
        /// Takes the guest's text.
        output: File,
        /// Gives what is typed.
        input: Option<File>,
    },
}

impl ConsoleEnd {
    /// What is typed.
    pub fn input(&self) -> Option<&File> {
        match self {
            ConsoleEnd::Pty(pty) => Some(&pty.master),
            ConsoleEnd::Stream { input, .. } => input.as_ref(),
        }
    }

    /// Nothing more will be typed: a stream has ended, a pseudo-terminal never does.
    pub fn end_input(&mut self) {
        if let ConsoleEnd::Stream { input, .. } = self {
            *input = None;
        }
    }

    /// What takes the guest's text.
    pub fn output(&self) -> &File {
        match self {
            ConsoleEnd::Pty(pty) => &pty.master,
            ConsoleEnd::Stream { output, .. } => output,
        }
    }
}
