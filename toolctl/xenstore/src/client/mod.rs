//! A blocking client over a unix socket.
//!
//! ```text
//!   Client ---- request --->  daemon
//!      |  <---- reply ------     |
//!      |  <---- watch events ----'   kept until next_event() asks
//!      |
//!      |-- transaction(|tx| ...)     repeated as a whole on EAGAIN
//!      '-- Watcher::start(client)    a thread; events come by a channel
//! ```
//!
//! [`Nodes`] holds what works the same in a transaction and out of it, so a
//! helper that takes `&mut impl Nodes` serves both.

mod attach;
mod nodes;
mod watcher;

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{poll, PollFd, PollFlags, Timespec};
use thiserror::Error;

pub use attach::resume_domain;
pub use nodes::{subtree, Nodes};
pub use watcher::Watcher;

use crate::wire::{self, append_message, Decoder, Op, PAYLOAD_MAX};
use crate::{locations, DomId, Errno};

/// Requests that are sent together: with the longest paths they fit into a socket's buffer, so that sending them does not
/// wait for a daemon that waits for its replies to be read.
const BATCH: usize = 32;

/// How often a transaction is repeated before the conflict is reported.
const TRANSACTION_ATTEMPTS: u32 = 1000;

/// A request failed.
#[derive(Debug, Error)]
pub enum ClientError {
    /// The daemon's socket does not answer.
    #[error("cannot connect to the store at {}: {source}; is xenstored running?", path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The connection broke, or a reply did not come in time.
    #[error("the connection to the store failed: {0}")]
    Io(#[from] io::Error),
    /// The store answered with an error.
    #[error("store: {op} {subject}: {errno}")]
    Store {
        /// The operation, by name.
        op: &'static str,
        /// Path or argument of the request.
        subject: String,
        /// The store's answer.
        errno: Errno,
    },
    /// The store answered something that the protocol does not allow.
    #[error("the store broke its protocol: {0}")]
    Protocol(String),
}

impl ClientError {
    /// The store's own error, if it was one.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            ClientError::Store { errno, .. } => Some(*errno),
            _ => None,
        }
    }

    /// Whether the store said that there is no such thing.
    pub fn is_missing(&self) -> bool {
        self.errno() == Some(Errno::ENOENT)
    }
}

/// A watch fired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What changed: as it was watched, relative or absolute.
    pub path: String,
    /// The token given at registration.
    pub token: String,
}

/// A connection to the store.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
    decoder: Decoder,
    out: Vec<u8>,
    last_id: u32,
    events: VecDeque<Event>,
}

impl Client {
    /// Connects as domain 0 to the daemon's usual socket.
    pub fn connect() -> Result<Client, ClientError> {
        Client::connect_to(&locations::socket())
    }

    /// Connects to a socket elsewhere.
    pub fn connect_to(path: &Path) -> Result<Client, ClientError> {
        let stream = UnixStream::connect(path).map_err(|source| ClientError::Connect {
            path: path.to_owned(),
            source,
        })?;
        Ok(Client::from_stream(stream))
    }

    /// Connects in a guest's name: every request has that domain's rights.
    /// Needs the right to open the daemon's `domains` socket.
    pub fn connect_domain(domid: DomId) -> Result<Client, ClientError> {
        Client::connect_to(&locations::domains_socket())?.attach(domid)
    }

    /// Turns a fresh connection to a `domains` socket into a guest's.
    pub fn attach(mut self, domid: DomId) -> Result<Client, ClientError> {
        let name = domid.to_string();
        self.exchange_raw(wire::ATTACH_DOMAIN, "attach", 0, &[name.as_bytes(), b"\0"])?;
        Ok(self)
    }

    /// Speaks over a stream that is connected already.
    pub fn from_stream(stream: UnixStream) -> Client {
        Client {
            stream,
            decoder: Decoder::new(),
            out: Vec::new(),
            last_id: 0,
            events: VecDeque::new(),
        }
    }

    /// The bare stream, for whoever moves the bytes itself (the ring pump of
    /// noxen-vmm). Fails if something was received that was not yet asked for.
    pub fn into_stream(self) -> Result<UnixStream, ClientError> {
        if self.decoder.pending() > 0 || !self.events.is_empty() {
            return Err(ClientError::Protocol(
                "there are unread messages on the connection".to_owned(),
            ));
        }
        Ok(self.stream)
    }

    /// How long a request may wait for its reply; for ever by default.
    pub fn set_timeout(&mut self, timeout: Option<Duration>) -> Result<(), ClientError> {
        self.stream.set_read_timeout(timeout)?;
        Ok(self.stream.set_write_timeout(timeout)?)
    }

    fn exchange(&mut self, op: Op, tx_id: u32, payload: &[&[u8]]) -> Result<Vec<u8>, ClientError> {
        self.exchange_raw(op as u32, op.name(), tx_id, payload)
    }

    /// Sends one request and waits for its reply, putting events aside.
    fn exchange_raw(
        &mut self,
        kind: u32,
        op: &'static str,
        tx_id: u32,
        payload: &[&[u8]],
    ) -> Result<Vec<u8>, ClientError> {
        if payload.iter().map(|p| p.len()).sum::<usize>() > PAYLOAD_MAX {
            return Err(store_error(op, payload, Errno::E2BIG));
        }
        self.out.clear();
        let id = self.append(kind, tx_id, payload);
        self.stream.write_all(&self.out)?;
        self.reply_to(id, kind, op, payload)
    }

    /// Appends a request to what is to be sent; its number.
    fn append(&mut self, kind: u32, tx_id: u32, payload: &[&[u8]]) -> u32 {
        self.last_id = self.last_id.wrapping_add(1);
        append_message(&mut self.out, kind, self.last_id, tx_id, payload);
        self.last_id
    }

    /// Asks the same of several paths, sent together: xenstored answers in order.
    fn exchange_all(
        &mut self,
        op: Op,
        tx_id: u32,
        paths: &[String],
    ) -> Result<Vec<Result<Vec<u8>, ClientError>>, ClientError> {
        let kind = op as u32;
        let mut answers = Vec::with_capacity(paths.len());
        for batch in paths.chunks(BATCH) {
            self.out.clear();
            let mut ids = Vec::with_capacity(batch.len());
            for path in batch {
                if path.len() + 1 > PAYLOAD_MAX {
                    ids.push(None);
                    continue;
                }
                ids.push(Some(self.append(kind, tx_id, &[path.as_bytes(), b"\0"])));
            }
            self.stream.write_all(&self.out)?;
            for (id, path) in ids.into_iter().zip(batch) {
                let payload: &[&[u8]] = &[path.as_bytes()];
                let answer = match id {
                    Some(id) => self.reply_to(id, kind, op.name(), payload),
                    None => Err(store_error(op.name(), payload, Errno::E2BIG)),
                };
                match answer {
                    // The connection itself: there is nothing to come any more.
                    Err(error) if error.errno().is_none() => return Err(error),
                    answer => answers.push(answer),
                }
            }
        }
        Ok(answers)
    }

    /// Waits for the reply to request `id`.
    fn reply_to(
        &mut self,
        id: u32,
        kind: u32,
        op: &'static str,
        payload: &[&[u8]],
    ) -> Result<Vec<u8>, ClientError> {
        loop {
            match self.take_message()? {
                None => self.receive()?,
                Some(Message::Event(event)) => self.events.push_back(event),
                Some(Message::Reply { req_id, .. }) if req_id != id => {
                    let found = format!("a reply to request {req_id} while {id} was asked");
                    return Err(ClientError::Protocol(found));
                }
                Some(Message::Reply {
                    kind: answered,
                    payload,
                    ..
                }) if answered == kind => return Ok(payload),
                Some(Message::Reply {
                    kind: answered,
                    payload: reply,
                    ..
                }) if answered == Op::Error as u32 => {
                    let errno = Errno::from_wire(&reply).unwrap_or(Errno::EINVAL);
                    return Err(store_error(op, payload, errno));
                }
                Some(Message::Reply { kind: answered, .. }) => {
                    return Err(ClientError::Protocol(format!(
                        "a reply of type {answered} to {op}"
                    )));
                }
            }
        }
    }

    fn receive(&mut self) -> Result<(), ClientError> {
        let n = loop {
            match self.stream.read(self.decoder.spare(PAYLOAD_MAX)) {
                // With a timeout set the kernel does not repeat the call by itself.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => break result?,
            }
        };
        if n == 0 {
            let closed = io::Error::new(io::ErrorKind::UnexpectedEof, "xenstored closed it");
            return Err(ClientError::Io(closed));
        }
        self.decoder.advance(n);
        Ok(())
    }

    fn take_message(&mut self) -> Result<Option<Message>, ClientError> {
        let next = self
            .decoder
            .next_message()
            .map_err(|e| ClientError::Protocol(e.to_string()))?;
        let Some((header, payload)) = next else {
            return Ok(None);
        };
        if header.kind != Op::WatchEvent as u32 {
            let (kind, req_id) = (header.kind, header.req_id);
            return Ok(Some(Message::Reply {
                kind,
                req_id,
                payload: payload.to_vec(),
            }));
        }
        let mut strings = wire::strings(payload).into_iter().flatten();
        match (strings.next(), strings.next()) {
            (Some(path), Some(token)) => {
                let text = |b| String::from_utf8_lossy(b).into_owned();
                Ok(Some(Message::Event(Event {
                    path: text(path),
                    token: text(token),
                })))
            }
            _ => Err(ClientError::Protocol(
                "a watch event without path and token".to_owned(),
            )),
        }
    }

    /// Asks to be told of changes to `path` and below; one event comes at once.
    pub fn watch(&mut self, path: &str, token: &str) -> Result<(), ClientError> {
        self.exchange(
            Op::Watch,
            0,
            &[path.as_bytes(), b"\0", token.as_bytes(), b"\0"],
        )
        .map(drop)
    }

    /// Ends a watch. Events that came before stay to be read.
    pub fn unwatch(&mut self, path: &str, token: &str) -> Result<(), ClientError> {
        self.exchange(
            Op::Unwatch,
            0,
            &[path.as_bytes(), b"\0", token.as_bytes(), b"\0"],
        )
        .map(drop)
    }

    /// The next event, waiting for at most `timeout` (for ever without one).
    /// `None` when time is up.
    pub fn next_event(&mut self, timeout: Option<Duration>) -> Result<Option<Event>, ClientError> {
        let deadline = timeout.map(|t| Instant::now() + t);
        loop {
            if let Some(event) = self.events.pop_front() {
                return Ok(Some(event));
            }
            match self.take_message()? {
                Some(Message::Event(event)) => return Ok(Some(event)),
                Some(Message::Reply { req_id, .. }) => {
                    return Err(ClientError::Protocol(format!(
                        "a reply to {req_id}, which was never asked"
                    )));
                }
                None if self.readable(deadline)? => self.receive()?,
                None => return Ok(None),
            }
        }
    }

    fn readable(&self, deadline: Option<Instant>) -> Result<bool, ClientError> {
        loop {
            let left = deadline.map(|d| d.saturating_duration_since(Instant::now()));
            let spec = left.and_then(|l| Timespec::try_from(l).ok());
            let mut fds = [PollFd::new(&self.stream, PollFlags::IN)];
            match poll(&mut fds, spec.as_ref()) {
                Ok(n) => return Ok(n > 0),
                Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(ClientError::Io(e.into())),
            }
        }
    }

    /// Does `work` in a transaction. After a concurrent change all of it is
    /// done again, so `work` must not have effects elsewhere. An error from
    /// `work` abandons the transaction.
    pub fn transaction<T>(
        &mut self,
        mut work: impl FnMut(&mut Transaction<'_>) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        for _ in 1..TRANSACTION_ATTEMPTS {
            match self.try_transaction(&mut work) {
                Err(e) if e.errno() == Some(Errno::EAGAIN) => {}
                done => return done,
            }
        }
        self.try_transaction(&mut work)
    }

    fn try_transaction<T>(
        &mut self,
        work: &mut impl FnMut(&mut Transaction<'_>) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        let reply = self.exchange(Op::TransactionStart, 0, &[b"\0"])?;
        let id = text(&reply)
            .parse()
            .map_err(|_| ClientError::Protocol("a transaction id that is no number".into()))?;
        match work(&mut Transaction { client: self, id }) {
            Ok(value) => {
                self.exchange(Op::TransactionEnd, id, &[b"T\0"])?;
                Ok(value)
            }
            Err(e) => {
                // The first error is the one to report.
                let _ = self.exchange(Op::TransactionEnd, id, &[b"F\0"]);
                Err(e)
            }
        }
    }

    /// Makes a domain known: its ring's frame and event channel.
    pub fn introduce(&mut self, domid: DomId, mfn: u64, evtchn: u32) -> Result<(), ClientError> {
        self.exchange(
            Op::Introduce,
            0,
            &[format!("{domid}\0{mfn}\0{evtchn}\0").as_bytes()],
        )
        .map(drop)
    }

    /// Says that a domain is gone; its nodes are removed.
    pub fn release(&mut self, domid: DomId) -> Result<(), ClientError> {
        self.exchange(Op::Release, 0, &[format!("{domid}\0").as_bytes()])
            .map(drop)
    }

    /// Says that a suspended domain runs again.
    pub fn resume(&mut self, domid: DomId) -> Result<(), ClientError> {
        self.exchange(Op::Resume, 0, &[format!("{domid}\0").as_bytes()])
            .map(drop)
    }

    /// Gives `domid` the rights of `target` besides its own.
    pub fn set_target(&mut self, domid: DomId, target: DomId) -> Result<(), ClientError> {
        self.exchange(
            Op::SetTarget,
            0,
            &[format!("{domid}\0{target}\0").as_bytes()],
        )
        .map(drop)
    }

    /// Whether the domain was introduced and not yet released.
    pub fn is_introduced(&mut self, domid: DomId) -> Result<bool, ClientError> {
        let reply = self.exchange(
            Op::IsDomainIntroduced,
            0,
            &[format!("{domid}\0").as_bytes()],
        )?;
        Ok(text(&reply) == "T")
    }

    /// A domain's home path.
    pub fn domain_path(&mut self, domid: DomId) -> Result<String, ClientError> {
        let reply = self.exchange(Op::GetDomainPath, 0, &[format!("{domid}\0").as_bytes()])?;
        Ok(text(&reply).into_owned())
    }

    /// Sends a command to the daemon itself and returns what it says.
    pub fn control(&mut self, words: &[&str]) -> Result<String, ClientError> {
        let mut payload = words.join("\0");
        payload.push('\0');
        let reply = self.exchange(Op::Control, 0, &[payload.as_bytes()])?;
        Ok(text(&reply).into_owned())
    }
}

impl AsFd for Client {
    /// Readable when an event (or the end of the connection) is there.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

impl Nodes for Client {
    fn request(&mut self, op: Op, payload: &[&[u8]]) -> Result<Vec<u8>, ClientError> {
        self.exchange(op, 0, payload)
    }

    fn request_all(
        &mut self,
        op: Op,
        paths: &[String],
    ) -> Result<Vec<Result<Vec<u8>, ClientError>>, ClientError> {
        self.exchange_all(op, 0, paths)
    }
}

/// An open transaction.
#[derive(Debug)]
pub struct Transaction<'c> {
    client: &'c mut Client,
    id: u32,
}

impl Nodes for Transaction<'_> {
    fn request(&mut self, op: Op, payload: &[&[u8]]) -> Result<Vec<u8>, ClientError> {
        self.client.exchange(op, self.id, payload)
    }

    fn request_all(
        &mut self,
        op: Op,
        paths: &[String],
    ) -> Result<Vec<Result<Vec<u8>, ClientError>>, ClientError> {
        self.client.exchange_all(op, self.id, paths)
    }
}

fn store_error(op: &'static str, payload: &[&[u8]], errno: Errno) -> ClientError {
    let subject = payload
        .first()
        .map_or("".into(), |p| String::from_utf8_lossy(p));
    ClientError::Store {
        op,
        subject: subject.trim_end_matches('\0').to_owned(),
        errno,
    }
}

enum Message {
    Reply {
        kind: u32,
        req_id: u32,
        payload: Vec<u8>,
    },
    Event(Event),
}

fn text(reply: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(reply.strip_suffix(b"\0").unwrap_or(reply))
}
