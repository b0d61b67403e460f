//! A domain's store with the event channel of its ring, as a main loop serves it.
//!
//! ```text
//!   guest --Ring--> \
//!   xenstored ------> poll --> StorePort::serve --> ring, stream; the guest is notified
//!   its return -----> /
//! ```

use crate::log::Log;
use crate::store::{Connection, Store};
use crate::vstate::irq::{event_fd, Channel};
use crate::vstate::memory::GuestMemory;
use rustix::event::PollFlags;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use vm_memory::GuestAddress;

/// What the store has news of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The guest's ring.
    Ring,
    /// The connection.
    Stream,
    /// A lost connection that is back.
    Arrival,
}

/// The store and its port.
#[derive(Debug)]
pub struct StorePort {
    /// The store.
    pub store: Store,
    /// Its ring's event channel.
    pub port: Channel,
}

impl StorePort {
    /// For the ring at `page`.
    pub fn new(
        memory: &GuestMemory,
        page: GuestAddress,
        connection: Connection,
        port: Channel,
    ) -> io::Result<StorePort> {
        Ok(StorePort {
            store: Store::new(memory, page, connection)?,
            port,
        })
    }

    /// What to wait for.
    pub fn interests(&self) -> Vec<(Source, BorrowedFd<'_>, PollFlags)> {
        let StorePort { store, port } = self;
        let mut set = vec![
            (Source::Ring, event_fd(port.event()), PollFlags::IN),
            (Source::Arrival, event_fd(store.arrival()), PollFlags::IN),
        ];
        if let Some(stream) = store.stream() {
            let mut flags = PollFlags::empty();
            flags.set(PollFlags::IN, store.wants_read());
            flags.set(PollFlags::OUT, store.wants_write());
            set.push((Source::Stream, stream.as_fd(), flags));
        }
        set
    }

    /// There is news of `source`.
    pub fn serve(&mut self, source: Source, flags: PollFlags, memory: &GuestMemory, log: &Log) {
        let StorePort { store, port } = self;
        let notify = match source {
            Source::Ring => {
                port.acknowledge();
                store.service(memory, log)
            }
            Source::Arrival => store.arrived(memory, log),
            Source::Stream if flags.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) => {
                store.readable(memory, log)
            }
            Source::Stream => store.service(memory, log),
        };
        if notify {
            port.kick();
        }
    }
}
