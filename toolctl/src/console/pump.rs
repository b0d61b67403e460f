//! Bytes between the user and the domain's tty.

use super::terminal::Signals;
use rustix::event::{poll, PollFd, PollFlags};
use rustix::io::Errno;
use rustix::termios;
use std::io::{self, Read};
use std::os::fd::OwnedFd;

/// Ctrl-].
const ESCAPE: u8 = 0x1d;

/// How much of the input may wait for a guest that does not read.
const PENDING: usize = 64 << 10;

/// How an attached console ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The user typed Ctrl-].
    Left,
    /// The domain is gone.
    Gone,
    /// A signal ended it.
    Signal,
}

/// Runs until one of the outcomes.
pub(super) fn run(tty: &OwnedFd, signals: &Signals) -> io::Result<Outcome> {
    let stdin = rustix::stdio::stdin();
    let mut stdin_open = true;
    let mut pending: Vec<u8> = Vec::new();
    let mut leaving = false;
    copy_size(tty);
    loop {
        if leaving && pending.is_empty() {
            return Ok(Outcome::Left);
        }
        let mut tty_wants = PollFlags::IN;
        if !pending.is_empty() {
            tty_wants |= PollFlags::OUT;
        }
        let mut fds = vec![
            PollFd::new(tty, tty_wants),
            PollFd::new(&signals.end, PollFlags::IN),
            PollFd::new(&signals.resize, PollFlags::IN),
        ];
        if stdin_open && !leaving && pending.len() < PENDING {
            fds.push(PollFd::new(&stdin, PollFlags::IN));
        }
        // A user who wants to leave is not held up by a guest that does not read: then what waits is dropped.
        let patience = rustix::event::Timespec {
            tv_sec: 0,
            tv_nsec: 200_000_000,
        };
        let ready = match poll(&mut fds, leaving.then_some(&patience)) {
            Ok(ready) => ready,
            Err(Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        };
        if leaving && ready == 0 {
            return Ok(Outcome::Left);
        }
        let events: Vec<PollFlags> = fds.iter().map(PollFd::revents).collect();
        let event = |index: usize| events.get(index).copied().unwrap_or(PollFlags::empty());
        if event(0).intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR)
            && show(tty)? == Shown::Gone
        {
            return Ok(Outcome::Gone);
        }
        if !event(1).is_empty() {
            return Ok(Outcome::Signal);
        }
        if !event(2).is_empty() {
            let _ = (&signals.resize).read(&mut [0; 64]);
            copy_size(tty);
        }
        if event(0).contains(PollFlags::OUT) {
            send(tty, &mut pending)?;
        }
        if !event(3).is_empty() {
            let mut piece = [0; 4096];
            match rustix::io::read(stdin, &mut piece) {
                // Input that ends (a pipe, /dev/null) leaves the output running until the domain goes.
                Ok(0) | Err(Errno::IO) => stdin_open = false,
                Ok(n) => {
                    let piece = piece.get(..n).unwrap_or(&[]);
                    match piece.iter().position(|&byte| byte == ESCAPE) {
                        Some(at) => {
                            pending.extend(piece.iter().take(at));
                            leaving = true;
                        }
                        None => pending.extend(piece),
                    }
                }
                Err(Errno::INTR | Errno::AGAIN) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

#[derive(PartialEq, Eq)]
enum Shown {
    Some,
    Gone,
}

/// Guest output to standard output.
fn show(tty: &OwnedFd) -> io::Result<Shown> {
    let mut piece = [0; 16 << 10];
    match rustix::io::read(tty, &mut piece) {
        Ok(0) | Err(Errno::IO) => Ok(Shown::Gone),
        Ok(n) => {
            write_all(piece.get(..n).unwrap_or(&[]))?;
            Ok(Shown::Some)
        }
        Err(Errno::INTR | Errno::AGAIN) => Ok(Shown::Some),
        Err(error) => Err(error.into()),
    }
}

/// Straight to the descriptor: a buffer would hold back a prompt.
fn write_all(mut bytes: &[u8]) -> io::Result<()> {
    let stdout = rustix::stdio::stdout();
    while !bytes.is_empty() {
        match rustix::io::write(stdout, bytes) {
            Ok(n) => bytes = bytes.get(n..).unwrap_or(&[]),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                poll(&mut [PollFd::new(&stdout, PollFlags::OUT)], None).ok();
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn send(tty: &OwnedFd, pending: &mut Vec<u8>) -> io::Result<()> {
    match rustix::io::write(tty, pending) {
        Ok(n) => {
            pending.drain(..n.min(pending.len()));
            Ok(())
        }
        // The hang-up is seen by the next read.
        Err(Errno::INTR | Errno::AGAIN | Errno::IO) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Gives the tty the size of the user's window.
fn copy_size(tty: &OwnedFd) {
    if let Ok(size) = termios::tcgetwinsize(rustix::stdio::stdout()) {
        if size.ws_row > 0 && size.ws_col > 0 {
            let _ = termios::tcsetwinsize(tty, size);
        }
    }
}
