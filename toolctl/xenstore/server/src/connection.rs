//! One connection of a client, and the table of all.
//!
//! ```text
//!   socket -> input (decoder) -> Server -> Output -> socket
//! ```
//!
//! Inputs and outputs lie in separate vectors: while the core reads a request
//! from one connection's input it writes to any connection's output.

use std::os::unix::net::UnixStream;

use noxen_xenstore::server::{ConnId, ConnKind, Sink};
use noxen_xenstore::wire::{Decoder, Op};
use rustix::event::epoll::EventFlags;

use crate::listeners::Door;
use crate::log::Log;
use crate::output::Output;

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
            ended: false,
        };
        let index = self.free.pop().unwrap_or_else(|| {
            self.peers.push(None);
            self.outputs.push(Output::default());
            self.lives.push(0);
            self.peers.len() - 1
        });
        self.peers[index] = Some(peer);
        index
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
        let peer = self.peers[index].take()?;
        self.outputs[index] = Output::default();
        self.lives[index] = self.lives[index].wrapping_add(1);
        self.free.push(index);
        let conn = peer.conn?;
        if let Some(route) = self.routes.get_mut(conn.slot()) {
            if route.is_some_and(|r| r.conn == conn) {
                *route = None;
            }
        }
        Some(conn)
    }
}

/// The core's way out, for the time of one request.
pub struct Outbox<'a> {
    pub outputs: &'a mut [Output],
    pub routes: &'a [Option<Route>],
    pub dirty: &'a mut Vec<usize>,
    pub doomed: &'a mut Vec<usize>,
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
                ConnKind::Guest(domid) => self.log.limited(&format!(
                    "domain {domid} does not read its ring: {} bytes wait, a watch event is dropped",
                    output.pending()
                )),
                ConnKind::Tool | ConnKind::ReadOnlyTool => {
                    let bytes = output.pending();
                    self.log.limited(&format!("a tool does not read its events: {bytes} bytes wait, disconnected"));
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
}
