//! One connection of a client, and the table of all.
//!
//! ```text
//!   socket -> input (decoder) -> Server -> Output -> socket
//! ```
//!
//! Inputs and outputs lie in separate vectors: while the core reads a request
//! from one connection's input it writes to any connection's output.

use std::collections::{HashMap, VecDeque};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Instant;

use noxen_xenstore::server::{ConnId, ConnKind, Limit, Sink, Task};
use noxen_xenstore::wire::{Decoder, Op};
use noxen_xenstore::DomId;
use rustix::event::epoll::EventFlags;

use crate::credit::Credit;
use crate::handover::PeerState;
use crate::journal::GuestState;
use crate::listeners::Door;
use crate::log::Log;
use crate::output::Output;
use crate::polling::Figures;
use crate::recovery::Absent;
use crate::upgrade::Wanted;

/// A connected client.
#[derive(Debug)]
pub struct Peer {
    pub stream: UnixStream,
    pub input: Decoder,
    pub door: Door,
    /// The core's name for it; `None` until a domain's connection has said
    /// which domain it is.
    pub conn: Option<ConnId>,
    /// What epoll was last asked for.
    pub interest: EventFlags,
    /// Waits in the run queue.
    pub queued: bool,
    /// Conflicts that it may still cause.
    pub credit: Credit,
    /// Has none left: is not served for now.
    pub held: bool,
    /// Had its share of this turn.
    pub served: bool,
    /// The client has closed its side; what it sent before still counts.
    pub ended: bool,
}

/// Where the messages for one of the core's connections go.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    pub conn: ConnId,
    pub peer: usize,
    pub kind: ConnKind,
    /// Bytes that may wait for a slow reader.
    pub limit: usize,
    /// Replies made to a guest since its session began.
    pub replies: u64,
}

/// Every connection.
#[derive(Debug, Default)]
pub struct Table {
    pub peers: Vec<Option<Peer>>,
    pub outputs: Vec<Output>,
    /// By the core's slot.
    pub routes: Vec<Option<Route>>,
    /// Connections with something to flush.
    pub dirty: Vec<usize>,
    /// Connections to be closed at the end of the turn.
    pub doomed: Vec<usize>,
    /// Connections that made another's transaction fail in this turn.
    pub blamed: Vec<usize>,
    /// Guests whose noxen-vmm has yet to come back after a restart: their
    /// last replies. Their indices have an output but no peer.
    absent: HashMap<usize, (ConnId, VecDeque<Vec<u8>>)>,
    lives: Vec<u32>,
    free: Vec<usize>,
}

impl Table {
    /// Takes a connection in; returns its index.
    pub fn add(&mut self, stream: UnixStream, door: Door) -> usize {
        let peer = Peer {
            stream,
            input: Decoder::new(),
            door,
            conn: None,
            interest: EventFlags::IN,
            queued: false,
            credit: Credit::default(),
            held: false,
            served: false,
            ended: false,
        };
        let index = self.allocate();
        self.peers[index] = Some(peer);
        index
    }

    fn allocate(&mut self) -> usize {
        self.free.pop().unwrap_or_else(|| {
            self.peers.push(None);
            self.outputs.push(Output::default());
            self.lives.push(0);
            self.peers.len() - 1
        })
    }

    /// Takes in a guest of before the restart, without a peer for now.
    pub fn add_absent(&mut self, conn: ConnId, kind: ConnKind, limit: usize, guest: Absent) {
        let index = self.allocate();
        self.outputs[index] = guest.events;
        self.absent.insert(index, (conn, guest.kept));
        self.route(Route {
            conn,
            peer: index,
            kind,
            limit,
            replies: guest.replies,
        });
    }

    /// Gives an absent guest the peer at `index`, which has seen `seen`
    /// replies: adds what it has not seen behind the answer that `greet`
    /// makes of the number of replies made. `None` if no such guest is absent
    /// or the count cannot be.
    pub fn come_back(
        &mut self,
        index: usize,
        domid: DomId,
        seen: u64,
        greet: impl FnOnce(&mut Output, u64),
    ) -> Option<()> {
        let wanted = ConnKind::Guest(domid);
        let route = *self.routes.iter().flatten().find(|r| r.kind == wanted)?;
        let (_, kept) = self.absent.get(&route.peer)?;
        let unseen = usize::try_from(route.replies.checked_sub(seen)?).ok()?;
        let first = kept.len().checked_sub(unseen)?;
        let output = &mut self.outputs[index];
        greet(output, route.replies);
        kept.iter()
            .skip(first)
            .for_each(|message| output.reply_again(message));
        let events = self.outputs[route.peer].unsent().events;
        for event in events {
            self.outputs[index].event(&[&event], route.limit);
        }
        self.absent.remove(&route.peer);
        self.release(route.peer);
        self.route(Route {
            peer: index,
            ..route
        });
        Some(())
    }

    /// Every connection as the next daemon needs it, and their indices.
    pub fn for_next(&mut self) -> (Vec<PeerState>, Vec<usize>) {
        let (mut states, mut indices) = (Vec::new(), Vec::new());
        for index in 0..self.peers.len() {
            let Some(peer) = &self.peers[index] else {
                continue;
            };
            let route = peer.conn.and_then(|c| self.route_of(c));
            let (ready, sent, events) = self.outputs[index].parts();
            states.push(PeerState {
                door: peer.door,
                conn: route.map(|r| (r.conn, r.kind, r.replies)),
                ended: peer.ended,
                input: peer.input.held().to_vec(),
                ready,
                sent,
                events,
            });
            indices.push(index);
        }
        (states, indices)
    }

    /// What a checkpoint has to know of every guest.
    pub fn guests(&mut self) -> Vec<GuestState> {
        self.guests_that(|_| true)
    }

    /// The same of those whose noxen-vmm is away.
    pub fn absent_guests(&mut self) -> Vec<GuestState> {
        self.guests_that(|peer| peer.is_none())
    }

    fn guests_that(&mut self, wanted: impl Fn(&Option<Peer>) -> bool) -> Vec<GuestState> {
        let mut all = Vec::new();
        for route in self.routes.iter().flatten() {
            if !wanted(&self.peers[route.peer]) {
                continue;
            }
            if matches!(route.kind, ConnKind::Guest(_)) {
                let mut unsent = self.outputs[route.peer].unsent();
                if let Some((_, kept)) = self.absent.get(&route.peer) {
                    unsent.replies = kept.iter().cloned().collect();
                }
                all.push(GuestState {
                    conn: route.conn,
                    replies: route.replies,
                    unsent,
                });
            }
        }
        all
    }

    /// A number for epoll that no later connection shares.
    pub fn token(&self, index: usize) -> u64 {
        u64::from(self.lives[index]) << 32 | index as u64
    }

    /// The connection that a token stands for, if it is still there.
    pub fn by_token(&self, token: u64) -> Option<usize> {
        let index = (token & 0xffff_ffff) as usize;
        let alive = self
            .lives
            .get(index)
            .is_some_and(|l| u64::from(*l) == token >> 32);
        (alive && self.peers[index].is_some()).then_some(index)
    }

    /// Binds a connection to the core's name for it.
    pub fn route(&mut self, route: Route) {
        let slot = route.conn.slot();
        if self.routes.len() <= slot {
            self.routes.resize(slot + 1, None);
        }
        self.routes[slot] = Some(route);
        if let Some(peer) = &mut self.peers[route.peer] {
            peer.conn = Some(route.conn);
        }
    }

    /// The route of a connection of the core.
    pub fn route_of(&self, conn: ConnId) -> Option<Route> {
        self.routes
            .get(conn.slot())
            .copied()
            .flatten()
            .filter(|r| r.conn == conn)
    }

    /// Drops a connection; returns the core's name for it.
    pub fn remove(&mut self, index: usize) -> Option<ConnId> {
        let conn = match self.peers[index].take() {
            Some(peer) => peer.conn,
            None => Some(self.absent.remove(&index)?.0),
        };
        self.release(index);
        let conn = conn?;
        if let Some(route) = self.routes.get_mut(conn.slot()) {
            if route.is_some_and(|r| r.conn == conn) {
                *route = None;
            }
        }
        Some(conn)
    }

    fn release(&mut self, index: usize) {
        self.outputs[index] = Output::default();
        self.lives[index] = self.lives[index].wrapping_add(1);
        self.free.push(index);
    }
}

/// The core's way out, for the time of one request.
pub struct Outbox<'a> {
    pub outputs: &'a mut [Output],
    pub routes: &'a [Option<Route>],
    pub dirty: &'a mut Vec<usize>,
    pub doomed: &'a mut Vec<usize>,
    pub blamed: &'a mut Vec<usize>,
    pub wanted: &'a mut Option<Wanted>,
    pub polled: &'a Figures,
    pub log: &'a mut Log,
}

impl Outbox<'_> {
    fn route(&self, conn: ConnId) -> Option<Route> {
        self.routes
            .get(conn.slot())
            .copied()
            .flatten()
            .filter(|r| r.conn == conn)
    }
}

impl Sink for Outbox<'_> {
    fn send(&mut self, to: ConnId, kind: Op, req_id: u32, tx_id: u32, payload: &[&[u8]]) {
        let Some(route) = self.route(to) else { return };
        let output = &mut self.outputs[route.peer];
        self.dirty.push(route.peer);
        if kind != Op::WatchEvent {
            output.reply(kind as u32, req_id, tx_id, payload);
        } else if !output.event(payload, route.limit) {
            match route.kind {
                ConnKind::Guest(domid) => {
                    let text = format!(
                        "domain {domid} does not read its ring: {} bytes wait (limit outstanding is {}), a watch event is dropped",
                        output.pending(),
                        route.limit
                    );
                    self.log.about(domid, "outstanding", Instant::now(), &text);
                }
                ConnKind::Tool | ConnKind::ReadOnlyTool => {
                    let bytes = output.pending();
                    self.log.limited(&format!(
                        "a tool does not read its events: {bytes} bytes wait, disconnected"
                    ));
                    self.doomed.push(route.peer);
                }
            }
        }
    }

    fn close(&mut self, conn: ConnId) {
        if let Some(route) = self.route(conn) {
            self.doomed.push(route.peer);
        }
    }

    fn log(&mut self, line: &str) {
        self.log.line(line);
    }

    fn limit(&mut self, domid: DomId, limit: Limit) {
        let Limit { name, value, soft } = limit;
        let text = match soft {
            false => format!("domain {domid} is refused more: its limit of {name} is {value}"),
            true => format!("domain {domid} is over the soft limit of {name}, {value}"),
        };
        self.log.about(domid, name, Instant::now(), &text);
    }

    fn conflict(&mut self, culprit: DomId) {
        let wanted = ConnKind::Guest(culprit);
        let route = self.routes.iter().flatten().find(|r| r.kind == wanted);
        self.blamed.extend(route.map(|r| r.peer));
    }

    fn figures(&self) -> Vec<(&'static str, u64)> {
        self.polled.rows().to_vec()
    }

    fn task(&mut self, task: Task<'_>) -> Result<(), String> {
        match task {
            Task::LogTo(file) => self
                .log
                .move_to(Path::new(file))
                .map_err(|e| format!("{e:#}")),
            Task::Report { file, text } => {
                append(file, text).map_err(|e| format!("cannot write {file}: {e}"))
            }
            Task::Upgrade {
                program,
                options,
                conn,
                header,
            } => {
                *self.wanted = Some(Wanted {
                    program: program.into(),
                    options: options.map(str::to_owned),
                    conn,
                    header,
                });
                Ok(())
            }
        }
    }
}

fn append(file: &str, text: &str) -> std::io::Result<()> {
    let mut options = std::fs::File::options();
    let mut file = options.append(true).create(true).mode(0o600).open(file)?;
    file.write_all(text.as_bytes())
}
