//! The xenstore daemon: sockets around the pure server core of
//! `noxen-xenstore`.
//!
//! ```text
//!   /var/run/xenstored/socket     tools, domain 0's rights    \
//!   /var/run/xenstored/socket_ro  the same, reading only       > event_loop -> Server
//!   /var/run/xenstored/domains    noxen-vmm in a guest's name /       |
//!                                                             output per connection
//!   start:  options -> sockets of systemd? -> lock pid file -> bind -> ready -> loop -> SIGTERM -> clean up
//! ```
//!
//! One thread does everything; a turn of the loop gives every connection a
//! bounded share of it.

mod connection;
mod credit;
mod event_loop;
mod handover;
mod held;
mod journal;
mod listeners;
mod log;
mod options;
mod output;
mod polling;
mod process;
mod recovery;
mod signals;
mod upgrade;

use std::process::ExitCode;

use anyhow::Context;

use crate::options::{Options, Wish};

fn main() -> ExitCode {
    let wish = match options::parse(std::env::args_os().skip(1)) {
        Ok(wish) => wish,
        Err(line) => {
            eprintln!("xenstored: {line}");
            return ExitCode::from(2);
        }
    };
    let done = match wish {
        Wish::Help => {
            print!("{}", options::HELP);
            return ExitCode::SUCCESS;
        }
        Wish::Version => {
            println!("xenstored (Noxen) {}", env!("CARGO_PKG_VERSION"));
            return ExitCode::SUCCESS;
        }
        Wish::CheckTakeOver => handover::check(),
        Wish::Run(options) if options.take_over => succeed(&options),
        // What systemd has passed is this very process's.
        Wish::Run(options) if options.foreground || noxen_systemd::activation::happened() => {
            serve(&options)
        }
        Wish::Run(options) => process::start_in_background(&options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("xenstored: {e:#}");
            ExitCode::FAILURE
        }
    }
}

fn serve(options: &Options) -> anyhow::Result<()> {
    // First of all: what systemd has passed is known by descriptors' numbers.
    let passed = listeners::passed()?;
    let pid_file = process::PidFile::take(&options.pid_file)?;
    process::raise_descriptor_limit();
    let log = log::Log::open(options)?;
    let signals = signals::Signals::catch().context("cannot catch signals")?;
    let listeners = match passed {
        Some(listeners) => listeners,
        None => listeners::bind_all().context("cannot open the store's sockets")?,
    };
    let mut daemon = event_loop::Daemon::new(pid_file, signals, listeners, log, options)?;
    if options.announce {
        process::announce_ready()?;
    } else {
        noxen_systemd::ready().context("systemd cannot be told that the store serves")?;
    }
    daemon.run()
}

/// Goes on in the place of a daemon that has become this program.
fn succeed(options: &Options) -> anyhow::Result<()> {
    let (state, descriptors) = handover::receive()?;
    let mut descriptors = descriptors.into_iter();
    let mut next = || descriptors.next().context("the handover is not complete");
    let pid_file = process::PidFile::inherited(&options.pid_file, next()?);
    let listeners = listeners::inherited(&mut next)?;
    let log = log::Log::open(options)?;
    let signals = signals::Signals::catch().context("cannot catch signals")?;
    let peers = descriptors.collect();
    event_loop::Daemon::succeed(pid_file, signals, listeners, log, state, peers, options)?.run()
}
