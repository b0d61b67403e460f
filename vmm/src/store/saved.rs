//! The store's part of a saved domain.
//!
//! ```text
//!   vCPUs stand still --settle()--> no request open --saved()--> state::Store --take_up()--> a new session
//! ```
//! A transaction cannot be carried: the daemon that will serve the domain knows nothing of it. Guests keep them
//! open for moments, so a save waits for its end while the guest runs.

use super::alias::Alias;
use super::Store;
use crate::log::Log;
use crate::vstate::memory::GuestMemory;
use noxen_saved_image::state::{self, Bytes};
use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// What [`Store::settle`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// Nothing is open.
    Quiet,
    /// The guest has to run on: it is in a transaction, or its ring is full.
    GuestMustRun,
    /// xenstored is not there, or does not answer.
    NoDaemon,
}

impl Store {
    /// Serves the store until no request is open, at most for `patience`. True: notify the guest.
    pub fn settle(
        &mut self,
        memory: &GuestMemory,
        log: &Log,
        patience: Duration,
    ) -> io::Result<(Settled, bool)> {
        let until = Instant::now() + patience;
        let mut notify = false;
        loop {
            notify |= self.service(memory, log);
            if self.closed {
                return Ok((Settled::Quiet, notify));
            }
            if self.stream.is_none() {
                return Ok((Settled::NoDaemon, notify));
            }
            if !self.link.is_busy() && self.to_daemon.is_empty() {
                let settled = match self.link.in_transaction() {
                    true => Settled::GuestMustRun,
                    false => Settled::Quiet,
                };
                return Ok((settled, notify));
            }
            if !self.wants_read() {
                return Ok((Settled::GuestMustRun, notify));
            }
            if !self.wait(until)? {
                return Ok((Settled::NoDaemon, notify));
            }
            notify |= self.readable(memory, log);
        }
    }

    /// Waits until the stream has something, or can be written if need be; false after `until`.
    pub fn wait(&self, until: Instant) -> io::Result<bool> {
        let Some(stream) = &self.stream else {
            return Ok(false);
        };
        let mut flags = PollFlags::IN;
        flags.set(PollFlags::OUT, self.wants_write());
        let left = until.saturating_duration_since(Instant::now());
        let timeout = Timespec {
            tv_sec: left.as_secs() as i64,
            tv_nsec: i64::from(left.subsec_nanos()),
        };
        match poll(
            &mut [PollFd::from_borrowed_fd(stream.as_fd(), flags)],
            Some(&timeout),
        ) {
            Ok(ready) => Ok(ready > 0),
            Err(Errno::INTR) => Ok(true),
            Err(errno) => Err(errno.into()),
        }
    }

    /// What is to be kept, once settled.
    pub fn saved(&mut self) -> state::Store {
        let alias = self.alias.as_ref();
        let in_guests_words = |path: &[u8]| {
            alias
                .and_then(|a| a.to_guest(path))
                .unwrap_or(path.to_vec())
        };
        let watches = self.link.watches().map(|(path, token)| state::Watch {
            path: Bytes(in_guests_words(path)),
            token: Bytes(token.to_vec()),
        });
        let watches = watches.collect();
        let mut from_guest = self.link.half_request().to_vec();
        from_guest.extend_from_slice(alias.map_or(&[], Alias::begun));
        from_guest.extend_from_slice(self.pump.for_store());
        let mut to_guest = self.pump.for_guest().to_vec();
        to_guest.extend_from_slice(&self.to_guest);
        state::Store {
            watches,
            to_guest: Bytes(to_guest),
            from_guest: Bytes(from_guest),
        }
    }

    /// Goes on for a guest that was saved as domain `guests`, by which it knows itself; nothing has passed this store yet.
    pub fn take_up(&mut self, saved: &state::Store, guests: u32, log: &Log) {
        self.alias = Alias::of(guests, u32::from(self.domid));
        self.to_guest = saved.to_guest.0.clone();
        let alias = self.alias.as_ref();
        let paths = saved.watches.iter().map(|watch| {
            let path = &watch.path.0;
            alias.and_then(|a| a.to_real(path)).unwrap_or(path.clone())
        });
        let paths: Vec<Vec<u8>> = paths.collect();
        let tokens = saved.watches.iter().map(|watch| &watch.token.0[..]);
        let watches: Vec<(&[u8], &[u8])> = paths.iter().map(Vec::as_slice).zip(tokens).collect();
        let half = match &mut self.alias {
            Some(alias) => alias.requests(&saved.from_guest.0),
            None => saved.from_guest.0.clone(),
        };
        let taken = self.link.take_up(&watches, &half, &mut self.to_daemon);
        if let Err(error) = taken {
            self.close(log, &error.to_string());
        }
    }
}
