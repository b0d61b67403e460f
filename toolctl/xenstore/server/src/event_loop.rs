//! The loop: one thread, bounded work per connection and turn.
//!
//! ```text
//!   wait -> readable peers join the run queue (polling: without sleep, where that pays)
//!   turn -> each queued peer: one receive, at most BUDGET requests,
//!           to the back of the queue if more are in hand
//!        -> flush every output that got something, once
//!        -> close what is to be closed
//! ```
//!
//! A peer whose output has piled up is not read from until it has drained, so
//! neither a flood of requests nor a reader that stopped grows memory or
//! keeps the others waiting. A domain that makes too many transactions of
//! others fail is not read from for a while ([`crate::credit`]).

use std::collections::VecDeque;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use anyhow::Context;
use noxen_xenstore::dump::dump;
use noxen_xenstore::quota::Quota;
use noxen_xenstore::server::{ConnKind, Server};
use noxen_xenstore::session::Attach;
use noxen_xenstore::wire::{Header, Op, ATTACH_DOMAIN};
use noxen_xenstore::{locations, Errno};
use rustix::event::epoll::{self, Event, EventData, EventFlags};

use crate::connection::{Outbox, Route, Table};
use crate::journal::{self, Journal};
use crate::listeners::{Door, Listener};
use crate::log::Log;
use crate::options::Options;
use crate::output::{Output, PAUSE_FROM};
use crate::polling::{receive, Polling};
use crate::process::PidFile;
use crate::recovery;
use crate::signals::Signals;
use crate::upgrade::Wanted;

/// Requests of one connection in one turn.
const BUDGET: usize = 64;
/// The same while other connections wait for their turn.
const SHARED_BUDGET: usize = 16;
/// Time after which a turn ends early while others wait: some requests cost a
/// thousand times what others do.
const SLICE: Duration = Duration::from_micros(500);
/// Connections accepted from one socket in one turn.
const ACCEPTS: usize = 64;
/// Bytes received at once.
const RECEIVE: usize = 32 * 1024;

// Tokens of everything that is not a peer lie above every peer's.
const STOP: u64 = u64::MAX;
const HANGUP: u64 = u64::MAX - 1;
const LISTENERS: u64 = u64::MAX - 16;

/// The daemon.
#[derive(Debug)]
pub struct Daemon {
    pub(crate) server: Server,
    pub(crate) table: Table,
    pub(crate) run_queue: VecDeque<usize>,
    /// Who is held back, by token, and until when.
    pub(crate) held: Vec<(Instant, u64)>,
    pub(crate) epoll: OwnedFd,
    /// When epoll was last asked.
    pub(crate) epoll_asked: Instant,
    pub(crate) polling: Polling,
    /// Connections served in the turn before.
    pub(crate) served: usize,
    /// Token of the one that was, if it was one.
    pub(crate) last_served: Option<u64>,
    pub(crate) listeners: Vec<Listener>,
    accepting: bool,
    signals: Signals,
    pub(crate) log: Log,
    pub(crate) pid_file: PidFile,
    pub(crate) wanted: Option<Wanted>,
    pub(crate) received: Vec<u8>,
    /// `None` once it could not be written.
    journal: Option<Journal>,
}

impl Daemon {
    /// A daemon that has not begun to serve, in the state that one of before
    /// has left.
    pub fn new(
        pid_file: PidFile,
        signals: Signals,
        listeners: Vec<Listener>,
        mut log: Log,
        options: &Options,
    ) -> anyhow::Result<Daemon> {
        let (mut server, table) = recovery::load(options, &mut log).unwrap_or_default();
        if options.quota != Quota::GUEST {
            server.set_guest_quota(options.quota);
        }
        if options.soft_quota != Quota::UNLIMITED {
            server.set_soft_quota(options.soft_quota);
        }
        let limit = options.poll_limit;
        Daemon::assemble(pid_file, signals, listeners, log, server, table, limit)
    }

    /// Everything around this server and these connections.
    pub(crate) fn assemble(
        pid_file: PidFile,
        signals: Signals,
        listeners: Vec<Listener>,
        mut log: Log,
        server: Server,
        mut table: Table,
        poll_limit: Duration,
    ) -> anyhow::Result<Daemon> {
        let journal = Journal::start(&locations::state_dir(), &dump(&server), &table.guests());
        let journal = journal.inspect_err(|e| log.line(&no_journal(e))).ok();
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).context("cannot make an epoll")?;
        for (i, listener) in listeners.iter().enumerate() {
            let token = EventData::new_u64(LISTENERS + i as u64);
            epoll::add(&epoll, &listener.socket, token, EventFlags::IN)?;
        }
        for (signal, token) in [(&signals.stop, STOP), (&signals.hangup, HANGUP)] {
            epoll::add(&epoll, signal, EventData::new_u64(token), EventFlags::IN)?;
        }
        Ok(Daemon {
            server,
            table,
            run_queue: VecDeque::new(),
            held: Vec::new(),
            epoll,
            epoll_asked: Instant::now(),
            polling: Polling::new(poll_limit),
            served: 0,
            last_served: None,
            listeners,
            accepting: true,
            signals,
            log,
            pid_file,
            wanted: None,
            received: vec![0; RECEIVE],
            journal,
        })
    }

    /// Waits for connections that another daemon has handed over, and looks at
    /// each at once: there may be something in hand.
    pub(crate) fn take_peers_in(&mut self) -> anyhow::Result<()> {
        for index in 0..self.table.peers.len() {
            let token = EventData::new_u64(self.table.token(index));
            if let Some(peer) = &self.table.peers[index] {
                epoll::add(&self.epoll, &peer.stream, token, EventFlags::IN)?;
                self.enqueue(index);
            }
        }
        Ok(())
    }

    /// Serves until SIGTERM or SIGINT.
    pub fn run(&mut self) -> anyhow::Result<()> {
        self.log.line(&format!(
            "xenstored {} serves, pid {}",
            env!("CARGO_PKG_VERSION"),
            std::process::id()
        ));
        // As many as may be ready at once: who is not among them waits a turn.
        let mut events: Vec<Event> = Vec::with_capacity(4096);
        loop {
            events.clear();
            self.wait(&mut events)?;
            for event in &events {
                match event.data.u64() {
                    STOP => {
                        self.log.line("xenstored stops: asked to by a signal");
                        self.listeners.clear();
                        self.pid_file.remove();
                        return Ok(());
                    }
                    HANGUP => self.reopen_log(),
                    token if token >= LISTENERS => self.accept((token - LISTENERS) as usize),
                    token => self.woken(token, event.flags),
                }
            }
            self.let_go();
            self.served = self.run_queue.len();
            self.last_served = match self.served {
                1 => self.run_queue.front().map(|index| self.table.token(*index)),
                _ => None,
            };
            for _ in 0..self.served {
                if let Some(index) = self.run_queue.pop_front() {
                    self.serve(index);
                }
            }
            self.keep_journal();
            self.hold_back();
            self.flush();
            self.close_doomed();
            self.upgrade();
        }
    }

    /// Writes down the turn before anybody hears of it.
    fn keep_journal(&mut self) {
        let Some(journal) = &mut self.journal else {
            return;
        };
        if journal.write_turn() {
            return;
        }
        // The checkpoint is made before anything is sent: what the turn has
        // produced is in it.
        let done = journal.restart(&dump(&self.server), &self.table.guests());
        if let Err(e) = done {
            self.log.line(&no_journal(&e));
            if let Some(journal) = self.journal.take() {
                journal.abandon();
            }
        }
    }

    fn reopen_log(&mut self) {
        let _ = self.signals.hangup.read(&mut [0; 64]);
        self.log.reopen();
    }

    fn accept(&mut self, which: usize) {
        for _ in 0..ACCEPTS {
            match self.listeners[which].socket.accept() {
                Ok((stream, _)) => {
                    if let Err(e) = self.welcome(stream, self.listeners[which].door) {
                        self.log
                            .limited(&format!("cannot take a connection in: {e:#}"));
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                Err(e) if e.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(e) => {
                    // Out of descriptors or memory: wait until somebody goes.
                    self.log.limited(&format!(
                        "cannot accept a connection: {e}; waiting for others to leave"
                    ));
                    self.set_accepting(false);
                    return;
                }
            }
        }
    }

    fn set_accepting(&mut self, accepting: bool) {
        if self.accepting == accepting {
            return;
        }
        self.accepting = accepting;
        let flags = if accepting {
            EventFlags::IN
        } else {
            EventFlags::empty()
        };
        for (i, listener) in self.listeners.iter().enumerate() {
            let token = EventData::new_u64(LISTENERS + i as u64);
            let _ = epoll::modify(&self.epoll, &listener.socket, token, flags);
        }
    }

    fn welcome(&mut self, stream: UnixStream, door: Door) -> anyhow::Result<()> {
        stream.set_nonblocking(true)?;
        let index = self.table.add(stream, door);
        let token = EventData::new_u64(self.table.token(index));
        let added = match &self.table.peers[index] {
            Some(peer) => epoll::add(&self.epoll, &peer.stream, token, EventFlags::IN),
            None => Ok(()),
        };
        if let Err(e) = added {
            self.table.remove(index);
            return Err(e.into());
        }
        match door {
            Door::Tools => self.introduce(index, ConnKind::Tool),
            Door::ReadOnly => self.introduce(index, ConnKind::ReadOnlyTool),
            Door::Domains => {}
        }
        Ok(())
    }

    /// Makes a connection known to the core.
    fn introduce(&mut self, index: usize, kind: ConnKind) {
        if let Some(journal) = &mut self.journal {
            journal.connect(kind);
        }
        let (conn, older) = self.server.connect(kind);
        if let Some(route) = older.and_then(|o| self.table.route_of(o)) {
            self.log.limited(&format!(
                "{kind:?} connects anew; its older connection is closed"
            ));
            self.table.doomed.push(route.peer);
        }
        let limit = self.server.outstanding_limit(conn);
        self.table.route(Route {
            conn,
            peer: index,
            kind,
            limit,
            replies: 0,
        });
    }

    fn woken(&mut self, token: u64, flags: EventFlags) {
        let Some(index) = self.table.by_token(token) else {
            return;
        };
        if flags.intersects(EventFlags::OUT) {
            self.table.dirty.push(index);
        }
        if flags.intersects(EventFlags::HUP | EventFlags::ERR) {
            // Its end cannot be held back.
            if let Some(peer) = &mut self.table.peers[index] {
                peer.held = false;
            }
        }
        if flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
            self.enqueue(index);
        }
    }

    pub(crate) fn enqueue(&mut self, index: usize) {
        if let Some(peer) = &mut self.table.peers[index] {
            if !std::mem::replace(&mut peer.queued, true) {
                self.run_queue.push_back(index);
            }
        }
    }

    /// One connection's share of a turn.
    fn serve(&mut self, index: usize) {
        let Some(peer) = &mut self.table.peers[index] else {
            return;
        };
        peer.queued = false;
        if peer.held {
            return;
        }
        peer.served = true;
        if !peer.input.ready() && !peer.ended {
            receive(peer, &mut self.received);
        }
        // While others wait, a share is smaller, and so is its time.
        let alone = self.run_queue.is_empty();
        let start = Instant::now();
        for _ in 0..if alone { BUDGET } else { SHARED_BUDGET } {
            if !alone && start.elapsed() > SLICE {
                break;
            }
            if self.table.outputs[index].pending() >= PAUSE_FROM || !self.serve_one(index) {
                break;
            }
        }
        let Some(peer) = &mut self.table.peers[index] else {
            return;
        };
        let more = peer.input.ready();
        if !more {
            peer.input.shrink();
        }
        let paused = self.table.outputs[index].pending() >= PAUSE_FROM;
        if more && !paused {
            self.enqueue(index);
        }
        self.table.dirty.push(index);
    }

    /// Answers the next request in hand; false if there is none.
    fn serve_one(&mut self, index: usize) -> bool {
        let Table {
            peers,
            outputs,
            routes,
            dirty,
            doomed,
            blamed,
            ..
        } = &mut self.table;
        let Some(peer) = &mut peers[index] else {
            return false;
        };
        match peer.input.next_message() {
            Ok(None) => false,
            Ok(Some((header, payload))) => match peer.conn {
                Some(conn) => {
                    if let Some(Some(route)) = routes.get_mut(conn.slot()) {
                        route.replies += 1;
                        if let Some(journal) = &mut self.journal {
                            if journal::matters(route.kind, header) {
                                journal.request(conn, header, payload);
                            }
                        }
                    }
                    let mut outbox = Outbox {
                        outputs,
                        routes,
                        dirty,
                        doomed,
                        blamed,
                        wanted: &mut self.wanted,
                        polled: &self.polling.figures,
                        log: &mut self.log,
                    };
                    self.server.handle(conn, header, payload, &mut outbox);
                    true
                }
                None => {
                    let wanted = match header.kind {
                        ATTACH_DOMAIN => Attach::parse(payload),
                        _ => Err(Errno::EINVAL),
                    };
                    self.attach(index, header, wanted)
                }
            },
            Err(e) => {
                self.log
                    .limited(&format!("a {:?} connection: {e}", peer.door));
                doomed.push(index);
                peer.ended = true;
                peer.input = noxen_xenstore::wire::Decoder::new();
                false
            }
        }
    }

    /// The first message on the `domains` socket says for whom it speaks, and
    /// whether it goes on with a session of before.
    fn attach(&mut self, index: usize, header: Header, wanted: Result<Attach, Errno>) -> bool {
        let reply = |output: &mut Output, kind: u32, text: &str| {
            output.reply(kind, header.req_id, header.tx_id, &[text.as_bytes(), b"\0"]);
        };
        let done = wanted.and_then(|attach| match attach.replies_seen {
            None => {
                self.introduce(index, ConnKind::Guest(attach.domid));
                reply(&mut self.table.outputs[index], ATTACH_DOMAIN, "OK");
                Ok(())
            }
            Some(seen) => {
                let greet = |output: &mut Output, made: u64| {
                    reply(output, ATTACH_DOMAIN, &format!("OK\0{made}"));
                };
                let back = self.table.come_back(index, attach.domid, seen, greet);
                back.ok_or(Errno::ENOENT)
            }
        });
        if let Err(e) = done {
            self.log.limited(&format!(
                "a connection for a domain begins with type {}: {e}",
                header.kind
            ));
            reply(&mut self.table.outputs[index], Op::Error as u32, e.name());
            self.table.doomed.push(index);
        }
        done.is_ok()
    }

    /// Sends what the turn has produced, and settles who is read from next.
    pub(crate) fn flush(&mut self) {
        let mut dirty = std::mem::take(&mut self.table.dirty);
        // Who only hears an event goes first: the one that caused it has its
        // request's reply in hand already and loses nothing by the wait.
        let peers = &self.table.peers;
        let asked = |i: usize| peers[i].as_ref().is_some_and(|p| p.served);
        dirty.sort_unstable_by_key(|i| (asked(*i), *i));
        dirty.dedup();
        for &index in &dirty {
            let Some(peer) = &mut self.table.peers[index] else {
                continue;
            };
            peer.served = false;
            let output = &mut self.table.outputs[index];
            let was_paused = !peer.interest.contains(EventFlags::IN);
            let all_out = match output.flush(&mut peer.stream) {
                Ok(all_out) => all_out,
                Err(_) => {
                    self.table.doomed.push(index);
                    continue;
                }
            };
            if all_out && peer.ended && !peer.input.ready() {
                self.table.doomed.push(index);
                continue;
            }
            let paused = output.pending() >= PAUSE_FROM;
            // Who had its share while much was pending may have more in hand, and nothing that comes may
            // tell of it.
            let again = !paused && (was_paused || peer.input.ready());
            let mut interest = EventFlags::empty();
            interest.set(EventFlags::IN, !paused && !peer.ended && !peer.held);
            interest.set(EventFlags::OUT, !all_out);
            if interest != peer.interest {
                peer.interest = interest;
                self.ask(index);
            }
            if again {
                self.enqueue(index);
            }
        }
        dirty.clear();
        dirty.append(&mut self.table.dirty);
        self.table.dirty = dirty;
    }

    fn ask(&mut self, index: usize) {
        let token = EventData::new_u64(self.table.token(index));
        if let Some(peer) = &self.table.peers[index] {
            if epoll::modify(&self.epoll, &peer.stream, token, peer.interest).is_err() {
                self.table.doomed.push(index);
            }
        }
    }

    fn close_doomed(&mut self) {
        while let Some(index) = self.table.doomed.pop() {
            if let Some(peer) = &mut self.table.peers[index] {
                // What was said last (an error, say) goes out if there is room.
                let _ = self.table.outputs[index].flush(&mut peer.stream);
            }
            if let Some(conn) = self.table.remove(index) {
                if let Some(journal) = &mut self.journal {
                    journal.disconnect(conn);
                }
                self.server.disconnect(conn);
            }
            self.set_accepting(true);
        }
    }
}

fn no_journal(error: &io::Error) -> String {
    let dir = locations::state_dir();
    format!(
        "cannot write {}: {error}; the store will be empty after a restart",
        dir.display()
    )
}
