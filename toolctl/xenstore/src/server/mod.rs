//! The server core: requests in, replies and watch events out, as values.
//!
//! ```text
//!   connect(kind) -> ConnId                     transport makes connections
//!   handle(conn, header, payload, &mut sink)    one request
//!        |-- nodes     read write mkdir rm directory perms
//!        |-- sessions  watch unwatch reset-watches transactions
//!        |-- domains   introduce release resume set-target
//!        |-- control   check help log memreport print quota live-update ...
//!        |     '-> Sink.task               what only the daemon can do
//!        '-> notify    effects -> watch events
//!            limits    a guest that meets one --> Sink.limit
//!            blame     whose change it was    --> Sink.conflict
//!   disconnect(conn)                            watches, transactions go
//!
//!   Sink.send(conn, message)                    what the transport must send
//! ```
//!
//! Where it differs from Xen 4.17's C daemon, knowingly: children are listed
//! in byte order, not in order of creation; transactions conflict by path, so
//! two that add children to one parent both commit; domain numbers must be
//! numbers (`x` is no domain 0); the permissions of the special watches can be
//! read before they were ever set; a watch event that waits for a slow reader
//! is kept once, however often it fired.
//!
//! No sockets, no clock, no files: what the core does follows from the calls
//! alone, so tests drive it whole and its state can be dumped and restored.

mod blame;
mod control;
mod domains;
mod limits;
mod nodes;
mod notify;
mod saved;
mod sessions;

use std::collections::{BTreeMap, HashMap};

pub use control::Task;
pub use domains::Domain;
pub use limits::Limit;

use crate::perms::Identity;
use crate::quota::Quota;
use crate::store::{Request, Store, Transaction};
use crate::watch::Watches;
use crate::wire::{Header, Op};
use crate::{path, Access, DomId, Errno, Perms};

/// Names a connection for as long as it lasts; never used again afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnId {
    slot: u32,
    life: u32,
}

impl ConnId {
    /// The connection's place in a table; a later connection may get it.
    pub const fn slot(self) -> usize {
        self.slot as usize
    }

    #[cfg(test)]
    pub(crate) const fn for_test(slot: u32) -> ConnId {
        ConnId { slot, life: 0 }
    }
}

/// What a connection may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnKind {
    /// A tool in domain 0.
    Tool,
    /// A tool that may only read.
    ReadOnlyTool,
    /// A guest, through its ring.
    Guest(DomId),
}

/// Where the core puts what is to be sent.
pub trait Sink {
    /// Sends one message; its payload is the parts in order.
    fn send(&mut self, to: ConnId, kind: Op, req_id: u32, tx_id: u32, payload: &[&[u8]]);

    /// The connection has no more business here and is to be closed once
    /// what was sent is out.
    fn close(&mut self, conn: ConnId);

    /// A line for the log.
    fn log(&mut self, line: &str);

    /// A domain has met one of its limits.
    fn limit(&mut self, domid: DomId, limit: Limit) {
        let _ = (domid, limit);
    }

    /// A domain's change has made a transaction of another domain fail.
    fn conflict(&mut self, culprit: DomId) {
        let _ = culprit;
    }

    /// What the daemon around the core has counted, for `memreport`.
    fn figures(&self) -> Vec<(&'static str, u64)> {
        Vec::new()
    }

    /// Something that only the daemon around the core can do. An error becomes
    /// the answer to the request.
    fn task(&mut self, task: Task<'_>) -> Result<(), String> {
        let _ = task;
        Err("not possible here".to_owned())
    }
}

#[derive(Debug)]
struct Conn {
    kind: ConnKind,
    domid: DomId,
    next_tx: u32,
    transactions: Vec<(u32, Transaction)>,
}

#[derive(Debug, Default)]
struct Slot {
    life: u32,
    conn: Option<Conn>,
}

/// How often each thing happened; `memreport` shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Requests by operation.
    pub requests: BTreeMap<Op, u64>,
    /// Requests of a type that the protocol or this daemon does not have.
    pub unknown_operations: u64,
    /// `CONTROL` commands that there are not.
    pub unknown_commands: u64,
    /// Error replies by name.
    pub errors: BTreeMap<&'static str, u64>,
    /// Watch events sent.
    pub events: u64,
    /// Commits refused with `EAGAIN`.
    pub conflicts: u64,
}

/// The whole state of the store daemon.
#[derive(Debug)]
pub struct Server {
    store: Store,
    watches: Watches,
    domains: BTreeMap<DomId, Domain>,
    special_perms: BTreeMap<String, Perms>,
    quota: Quota,
    soft: Quota,
    writers: blame::Writers,
    tracing: bool,
    upgrade: Option<control::Upgrade>,
    slots: Vec<Slot>,
    free: Vec<u32>,
    guests: HashMap<DomId, ConnId>,
    counters: Counters,
    scratch: Scratch,
}

/// Buffers used again by every request.
#[derive(Debug, Default)]
struct Scratch {
    name: String,
    reply: Vec<u8>,
    watches: Vec<crate::watch::Watch>,
}

/// A request being answered.
#[derive(Clone, Copy)]
struct Call<'a> {
    conn: ConnId,
    kind: ConnKind,
    who: Identity,
    header: Header,
    payload: &'a [u8],
}

impl Call<'_> {
    /// The payload as exactly one NUL-terminated string.
    fn one(&self) -> Result<&[u8], Errno> {
        match self.payload {
            [body @ .., 0] if !body.contains(&0) => Ok(body),
            _ => Err(Errno::EINVAL),
        }
    }

    /// The payload as exactly `N` NUL-terminated strings.
    fn exactly<const N: usize>(&self) -> Result<[&[u8]; N], Errno> {
        let mut all = crate::wire::strings(self.payload).ok_or(Errno::EINVAL)?;
        let mut found = [&b""[..]; N];
        for place in &mut found {
            *place = all.next().ok_or(Errno::EINVAL)?;
        }
        if all.next().is_some() {
            return Err(Errno::EINVAL);
        }
        Ok(found)
    }

    /// A string up to the first NUL and whatever follows it.
    fn first_and_rest(&self) -> Result<(&[u8], &[u8]), Errno> {
        let nul = self
            .payload
            .iter()
            .position(|b| *b == 0)
            .ok_or(Errno::EINVAL)?;
        Ok((&self.payload[..nul], &self.payload[nul + 1..]))
    }

    fn privileged(&self) -> Result<(), Errno> {
        if self.who.is_privileged() {
            Ok(())
        } else {
            Err(Errno::EACCES)
        }
    }
}

const OK: &[u8] = b"OK\0";

impl Default for Server {
    fn default() -> Self {
        Server::new()
    }
}

impl Server {
    /// A server with an almost empty store.
    pub fn new() -> Server {
        Server::with_store(Store::new())
    }

    /// A server that starts from this store.
    pub fn with_store(store: Store) -> Server {
        let nobody = || Perms::owned_by(0, Access::NONE);
        let special = [path::INTRODUCE_DOMAIN, path::RELEASE_DOMAIN];
        Server {
            store,
            watches: Watches::default(),
            domains: BTreeMap::new(),
            special_perms: special
                .into_iter()
                .map(|n| (n.to_owned(), nobody()))
                .collect(),
            quota: Quota::GUEST,
            soft: Quota::UNLIMITED,
            writers: blame::Writers::default(),
            tracing: false,
            upgrade: None,
            slots: Vec::new(),
            free: Vec::new(),
            guests: HashMap::new(),
            counters: Counters::default(),
            scratch: Scratch::default(),
        }
    }

    /// The nodes.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// What happened so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// What every guest may hold.
    pub fn guest_quota(&self) -> Quota {
        self.quota
    }

    /// Changes what every guest may hold.
    pub fn set_guest_quota(&mut self, quota: Quota) {
        self.quota = quota;
    }

    /// Changes the limits that only warn; of them, [`Quota::SOFT`] count.
    pub fn set_soft_quota(&mut self, quota: Quota) {
        self.soft = quota;
    }

    /// Opens a connection. A guest has one at most: an older one of the same
    /// guest is disconnected and returned, for the transport to close.
    pub fn connect(&mut self, kind: ConnKind) -> (ConnId, Option<ConnId>) {
        let domid = match kind {
            ConnKind::Guest(domid) => domid,
            ConnKind::Tool | ConnKind::ReadOnlyTool => 0,
        };
        let conn = Conn {
            kind,
            domid,
            next_tx: 1,
            transactions: Vec::new(),
        };
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            (self.slots.len() - 1) as u32
        });
        let place = &mut self.slots[slot as usize];
        place.conn = Some(conn);
        let id = ConnId {
            slot,
            life: place.life,
        };
        let older = match kind {
            ConnKind::Guest(domid) => self.guests.insert(domid, id),
            _ => None,
        };
        if let Some(older) = older {
            self.disconnect(older);
        }
        (id, older)
    }

    /// Ends a connection: its watches and transactions are dropped. A guest's
    /// domain stays introduced. Does nothing for a connection that is gone.
    pub fn disconnect(&mut self, id: ConnId) {
        if self.conn(id).is_none() {
            return;
        }
        self.watches.remove_all(id);
        let slot = &mut self.slots[id.slot()];
        slot.life = slot.life.wrapping_add(1);
        slot.conn = None;
        self.free.push(id.slot);
        self.guests.retain(|_, c| *c != id);
    }

    /// The quota for unread output of a connection, in bytes.
    pub fn outstanding_limit(&self, id: ConnId) -> usize {
        let kind = self.conn(id).map_or(ConnKind::Tool, |c| c.kind);
        self.quota_of(kind).outstanding_bytes as usize
    }

    fn conn(&self, id: ConnId) -> Option<&Conn> {
        let slot = self.slots.get(id.slot())?;
        slot.conn.as_ref().filter(|_| slot.life == id.life)
    }

    fn conn_mut(&mut self, id: ConnId) -> Option<&mut Conn> {
        let slot = self.slots.get_mut(id.slot())?;
        slot.conn.as_mut().filter(|_| slot.life == id.life)
    }

    fn identity(&self, conn: &Conn) -> Identity {
        let target = match conn.kind {
            ConnKind::Guest(domid) => self.domains.get(&domid).and_then(|d| d.target),
            _ => None,
        };
        Identity {
            domid: conn.domid,
            target,
        }
    }

    fn quota_of(&self, kind: ConnKind) -> Quota {
        match kind {
            ConnKind::Guest(domid) if domid != 0 => self.quota,
            _ => Quota::PRIVILEGED,
        }
    }

    /// Answers one request. Exactly one reply goes to `conn`, but the one to
    /// [`Task::Upgrade`], which is the next daemon's; events may go to any
    /// connection, after the reply.
    pub fn handle(&mut self, conn: ConnId, header: Header, payload: &[u8], sink: &mut dyn Sink) {
        let Some(c) = self.conn(conn) else { return };
        let call = Call {
            conn,
            kind: c.kind,
            who: self.identity(c),
            header,
            payload,
        };
        if self.tracing {
            sink.log(&control::traced(&call));
        }
        let before = self.store.generation();
        let result = match Op::from_raw(header.kind) {
            Some(op) => {
                *self.counters.requests.entry(op).or_insert(0) += 1;
                self.dispatch(op, call, sink)
            }
            None => {
                self.counters.unknown_operations += 1;
                Err(Errno::ENOSYS)
            }
        };
        if let ConnKind::Guest(domid) = call.kind {
            if self.store.generation() != before {
                self.writers.note(before, self.store.generation(), domid);
            }
            self.report_limits(&call, result, sink);
        }
        if let Err(errno) = result {
            *self.counters.errors.entry(errno.name()).or_insert(0) += 1;
            sink.send(
                conn,
                Op::Error,
                header.req_id,
                header.tx_id,
                &[errno.name().as_bytes(), b"\0"],
            );
        }
    }

    fn dispatch(&mut self, op: Op, call: Call<'_>, sink: &mut dyn Sink) -> Result<(), Errno> {
        if call.kind == ConnKind::ReadOnlyTool && changes_anything(op) {
            return Err(Errno::EROFS);
        }
        match op {
            Op::Read => self.read(call, sink),
            Op::Directory => self.directory(call, sink),
            Op::DirectoryPart => self.directory_part(call, sink),
            Op::Write => self.write(call, sink),
            Op::Mkdir => self.mkdir(call, sink),
            Op::Rm => self.rm(call, sink),
            Op::GetPerms => self.get_perms(call, sink),
            Op::SetPerms => self.set_perms(call, sink),
            Op::Watch => self.watch(call, sink),
            Op::Unwatch => self.unwatch(call, sink),
            Op::ResetWatches => self.reset_watches(call, sink),
            Op::TransactionStart => self.transaction_start(call, sink),
            Op::TransactionEnd => self.transaction_end(call, sink),
            Op::Introduce => self.introduce(call, sink),
            Op::Release => self.release(call, sink),
            Op::Resume => self.resume(call, sink),
            Op::SetTarget => self.set_target(call, sink),
            Op::GetDomainPath => self.get_domain_path(call, sink),
            Op::IsDomainIntroduced => self.is_domain_introduced(call, sink),
            Op::Control => self.control(call, sink),
            // Replies, and extensions newer than the daemon modelled here.
            Op::WatchEvent
            | Op::Error
            | Op::GetFeature
            | Op::SetFeature
            | Op::GetQuota
            | Op::SetQuota => {
                self.counters.unknown_operations += 1;
                Err(Errno::ENOSYS)
            }
        }
    }

    /// Runs `act` on the store in the caller's name and transaction.
    fn with_request<T>(
        &mut self,
        call: &Call<'_>,
        act: impl FnOnce(&mut Request<'_>) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        let quota = self.quota_of(call.kind);
        let tx = match call.header.tx_id {
            0 => None,
            id => {
                let slot = self
                    .slots
                    .get_mut(call.conn.slot())
                    .and_then(|s| s.conn.as_mut());
                let open = slot.ok_or(Errno::ENOENT)?.transactions.iter_mut();
                Some(
                    open.into_iter()
                        .find(|(i, _)| *i == id)
                        .map(|(_, tx)| tx)
                        .ok_or(Errno::ENOENT)?,
                )
            }
        };
        act(&mut Request {
            store: &mut self.store,
            tx,
            who: call.who,
            quota: &quota,
        })
    }

    fn reply(&self, call: &Call<'_>, payload: &[&[u8]], sink: &mut dyn Sink) {
        let kind = Op::from_raw(call.header.kind).unwrap_or(Op::Error);
        sink.send(
            call.conn,
            kind,
            call.header.req_id,
            call.header.tx_id,
            payload,
        );
    }
}

fn changes_anything(op: Op) -> bool {
    matches!(
        op,
        Op::Write
            | Op::Mkdir
            | Op::Rm
            | Op::SetPerms
            | Op::Introduce
            | Op::Release
            | Op::Resume
            | Op::SetTarget
            | Op::Control
    )
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod limit_tests;

#[cfg(test)]
mod model_tests;
