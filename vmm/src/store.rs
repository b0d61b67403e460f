//! The domain's xenstore connection, which outlives the daemon.
//!
//! ```text
//!   ring <-> Pump <-> Link (whole messages, counted) <-> stream <-> xenstored
//!                                    | connection lost
//!                                    v
//!            helper thread: resume_domain() until it works --arrival--> Link::resumed, go on
//! ```
//! Each stage is bounded: the ring is read while the pump has room, the pump while the link has, the
//! stream while nothing waits for the guest. Connecting may block, so a thread of its own does it.

mod alias;
pub mod port;
pub mod saved;

use crate::log::{Level, Log};
use crate::vstate::memory::GuestMemory;
use alias::Alias;
use noxen_devices::pv::ring::RingError;
use noxen_devices::pv::xenstore::Pump;
use noxen_xenstore::client::{resume_domain, Client};
use noxen_xenstore::session::{Link, LinkError};
use noxen_xenstore::DomId;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::mpsc::{channel, Receiver};
use std::time::Duration;
use vm_memory::GuestAddress;
use vmm_sys_util::eventfd::{EventFd, EFD_NONBLOCK};

/// Bytes for the daemon that may wait; one more request is not taken then.
const TO_DAEMON: usize = 16 << 10;
/// How often a lost daemon is looked for.
const RETRY: Duration = Duration::from_millis(300);

/// A connection to begin with.
#[derive(Debug)]
pub struct Connection {
    /// Attached as the domain, nothing asked yet.
    pub stream: UnixStream,
    /// The domain.
    pub domid: u32,
    /// The daemon's socket, to come back to; `None`: once lost, lost.
    pub door: Option<PathBuf>,
}

/// What the helper thread brings.
#[derive(Debug)]
enum Arrival {
    /// The session goes on; so many requests have been answered.
    Resumed(UnixStream, u64),
    /// The daemon knows nothing of it.
    Anew(UnixStream),
}

/// One domain's store.
#[derive(Debug)]
pub struct Store {
    pump: Pump,
    link: Link,
    domid: DomId,
    stream: Option<UnixStream>,
    door: Option<PathBuf>,
    to_daemon: Vec<u8>,
    to_guest: Vec<u8>,
    arrival: EventFd,
    returning: Option<Receiver<Arrival>>,
    /// The guest knows itself by another id.
    alias: Option<Alias>,
    closed: bool,
}

impl Store {
    /// Serves the ring at `page` over `connection`.
    pub fn new(
        memory: &GuestMemory,
        page: GuestAddress,
        connection: Connection,
    ) -> io::Result<Store> {
        let ring = |error: RingError| io::Error::other(error.to_string());
        connection.stream.set_nonblocking(true)?;
        let domid = DomId::try_from(connection.domid)
            .map_err(|_| io::Error::other("the domain id is too large"))?;
        Ok(Store {
            pump: Pump::new(memory, page).map_err(ring)?,
            link: Link::new(domid),
            domid,
            stream: Some(connection.stream),
            door: connection.door,
            to_daemon: Vec::new(),
            to_guest: Vec::new(),
            arrival: EventFd::new(EFD_NONBLOCK)?,
            returning: None,
            alias: None,
            closed: false,
        })
    }

    /// For polling: the stream, if there is one.
    pub fn stream(&self) -> Option<&UnixStream> {
        self.stream.as_ref()
    }

    /// For polling: readable when a lost connection is back.
    pub fn arrival(&self) -> &EventFd {
        &self.arrival
    }

    /// The stream is to be read now.
    pub fn wants_read(&self) -> bool {
        self.to_guest.is_empty() && self.pump.store_room() > 0
    }

    /// The stream is to be written now.
    pub fn wants_write(&self) -> bool {
        !self.to_daemon.is_empty()
    }

    /// The guest notified, or there is room again: moves what can be moved. True: notify the guest.
    pub fn service(&mut self, memory: &GuestMemory, log: &Log) -> bool {
        let mut notify = false;
        loop {
            self.deliver();
            let effect = self.pump.service(memory);
            notify |= effect.notify;
            if let Some(error) = effect.broken {
                self.close(log, &format!("xenstore ring closed: {error}"));
            }
            // Again if the pump's room let more of the replies in.
            if self.to_guest.is_empty() || self.pump.store_room() == 0 || self.closed {
                break;
            }
        }
        self.forward(log);
        self.write(log);
        notify
    }

    /// The stream is readable or broken. True: notify the guest.
    pub fn readable(&mut self, memory: &GuestMemory, log: &Log) -> bool {
        if self.wants_read() {
            let mut buffer = [0u8; 4096];
            match self.stream.as_mut().map(|stream| stream.read(&mut buffer)) {
                None => {}
                Some(Ok(0)) => self.lost(log, "it closed the connection"),
                Some(Ok(count)) => self.take_replies(&buffer[..count], log),
                Some(Err(error)) if is_transient(&error) => {}
                Some(Err(error)) => self.lost(log, &error.to_string()),
            }
        }
        self.service(memory, log)
    }

    /// The helper thread has news. True: notify the guest.
    pub fn arrived(&mut self, memory: &GuestMemory, log: &Log) -> bool {
        // Reading clears the counter; the news itself is in the channel.
        let _ = self.arrival.read();
        let news = self
            .returning
            .as_ref()
            .and_then(|news| news.try_recv().ok());
        let (stream, resumed) = match news {
            None => return false,
            Some(Arrival::Resumed(stream, answered)) => {
                let mut again = Vec::new();
                let resumed = self.link.resumed(answered, &mut again);
                self.to_daemon = again;
                (stream, resumed)
            }
            Some(Arrival::Anew(stream)) => {
                log.line(
                    Level::Warning,
                    "xenstored forgot this domain: its watches are lost",
                );
                self.link = Link::new(self.domid);
                (stream, Ok(()))
            }
        };
        self.returning = None;
        if let Err(error) = resumed {
            self.close(log, &format!("xenstore connection not resumed: {error}"));
            return false;
        }
        if let Err(error) = stream.set_nonblocking(true) {
            self.close(log, &format!("xenstore connection: {error}"));
            return false;
        }
        self.stream = Some(stream);
        log.line(Level::Info, "xenstored is back");
        self.service(memory, log)
    }

    /// Replies into the pump, as far as they fit.
    fn deliver(&mut self) {
        let count = self.pump.store_room().min(self.to_guest.len());
        self.pump.push_from_store(&self.to_guest[..count]);
        self.to_guest.drain(..count);
    }

    /// Requests from the pump into the link, as far as it takes them.
    fn forward(&mut self, log: &Log) {
        // Without a daemon requests wait in the pump: a new session must not know of them.
        let may = self.stream.is_some() && self.link.has_room();
        if self.closed || !may || self.to_daemon.len() >= TO_DAEMON {
            return;
        }
        let mut bytes = self.pump.for_store().to_vec();
        self.pump.consume_for_store(bytes.len());
        if let Some(alias) = &mut self.alias {
            bytes = alias.requests(&bytes);
        }
        if let Err(error) = self.link.take_requests(&bytes, &mut self.to_daemon) {
            self.close(log, &error.to_string());
        }
    }

    fn take_replies(&mut self, bytes: &[u8], log: &Log) {
        let mut whole = Vec::new();
        let taken = self
            .link
            .take_replies(bytes, &mut whole, &mut self.to_daemon);
        match &self.alias {
            Some(alias) => self.to_guest.extend(alias.replies(&whole)),
            None => self.to_guest.extend(whole),
        }
        match taken {
            Ok(()) => {}
            Err(error @ LinkError::Guest(_)) => self.close(log, &error.to_string()),
            Err(error @ LinkError::Daemon(_)) => self.close(log, &error.to_string()),
        }
    }

    fn write(&mut self, log: &Log) {
        while !self.to_daemon.is_empty() {
            let Some(stream) = self.stream.as_mut() else {
                // What the link has taken it sends again once the daemon is back.
                return;
            };
            match stream.write(&self.to_daemon) {
                Ok(count) => {
                    self.to_daemon.drain(..count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => return self.lost(log, &error.to_string()),
            }
        }
    }

    /// The connection is gone: takes what is left in it and has the daemon looked for.
    fn lost(&mut self, log: &Log, why: &str) {
        if let Some(mut stream) = self.stream.take() {
            let mut rest = Vec::new();
            // It is closed at the other end, so this ends; at worst with a reset, after the data.
            let _ = stream.read_to_end(&mut rest);
            self.take_replies(&rest, log);
        }
        self.link.forget_half();
        self.to_daemon.clear();
        if self.closed {
            return;
        }
        log.line(Level::Warning, format_args!("lost xenstored: {why}"));
        let Some(door) = self.door.clone() else {
            return;
        };
        match self.look_for(door) {
            Ok(news) => self.returning = Some(news),
            Err(error) => log.line(Level::Error, format_args!("cannot look for it: {error}")),
        }
    }

    fn look_for(&self, door: PathBuf) -> io::Result<Receiver<Arrival>> {
        let (sender, receiver) = channel();
        let (domid, seen) = (self.domid, self.link.replies_seen());
        let arrival = self.arrival.try_clone()?;
        std::thread::Builder::new()
            .name("store-return".into())
            .stack_size(128 << 10)
            .spawn(move || {
                let news = loop {
                    match come_back(&door, domid, seen) {
                        Some(news) => break news,
                        None => std::thread::sleep(RETRY),
                    }
                };
                if sender.send(news).is_ok() {
                    // A full counter is readable as well.
                    let _ = arrival.write(1);
                }
            })?;
        Ok(receiver)
    }

    /// Ends the store for this domain: ring or daemon are not to be trusted any more.
    fn close(&mut self, log: &Log, why: &str) {
        if !self.closed {
            log.line(Level::Error, why);
        }
        self.closed = true;
        self.stream = None;
        self.to_daemon.clear();
        self.to_guest.clear();
    }
}

/// One attempt to be taken back by the daemon.
fn come_back(door: &std::path::Path, domid: DomId, seen: u64) -> Option<Arrival> {
    match resume_domain(door, domid, seen) {
        Ok((stream, answered)) => Some(Arrival::Resumed(stream, answered)),
        Err(error) if error.is_missing() => Client::connect_domain(domid)
            .and_then(Client::into_stream)
            .ok()
            .map(Arrival::Anew),
        Err(_) => None,
    }
}

fn is_transient(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
