//! Back to where a daemon was that was killed.
//!
//! ```text
//!   checkpoint -> core, guests' unsent messages
//!   entries since -> the same calls on the core; what it says to guests is
//!                    kept, what it says to tools is not: their connections
//!                    died with the daemon, and they know
//!   tools are disconnected; guests wait for their noxen-vmm to come back
//! ```

use std::collections::{HashMap, VecDeque};

use anyhow::Context;
use noxen_xenstore::dump::restore;
use noxen_xenstore::locations;
use noxen_xenstore::server::{ConnId, ConnKind, Server, Sink};
use noxen_xenstore::session::OUTSTANDING_MAX;
use noxen_xenstore::wire::{append_message, Op};

use crate::connection::Table;
use crate::journal::{self, Entry, GuestState, Saved};
use crate::log::Log;
use crate::options::Options;
use crate::output::Output;

/// A guest's connection whose other end has yet to come back.
#[derive(Debug, Default)]
pub struct Absent {
    /// Replies made since its session began.
    pub replies: u64,
    /// The last of them.
    pub kept: VecDeque<Vec<u8>>,
    /// Events for it.
    pub events: Output,
}

impl Absent {
    /// The guest of a checkpoint or a handover.
    pub fn of(state: GuestState, limit: usize) -> Absent {
        let mut absent = Absent {
            replies: state.replies,
            ..Absent::default()
        };
        for message in state.unsent.replies {
            absent.keep(message);
        }
        for event in &state.unsent.events {
            absent.events.event(&[event], limit);
        }
        absent
    }

    pub fn keep(&mut self, message: Vec<u8>) {
        if self.kept.len() == OUTSTANDING_MAX {
            self.kept.pop_front();
        }
        self.kept.push_back(message);
    }
}

/// A daemon's state without its sockets.
#[derive(Debug)]
pub struct Recovered {
    pub server: Server,
    pub guests: HashMap<ConnId, Absent>,
    /// Entries replayed.
    pub entries: usize,
}

struct Replay {
    guests: HashMap<ConnId, Absent>,
    limit: usize,
}

impl Sink for Replay {
    fn send(&mut self, to: ConnId, kind: Op, req_id: u32, tx_id: u32, payload: &[&[u8]]) {
        let Some(guest) = self.guests.get_mut(&to) else {
            return;
        };
        if kind == Op::WatchEvent {
            // As in life: beyond the limit events are dropped.
            guest.events.event(payload, self.limit);
        } else {
            let mut message = Vec::new();
            append_message(&mut message, kind as u32, req_id, tx_id, payload);
            guest.replies += 1;
            guest.keep(message);
        }
    }

    fn close(&mut self, conn: ConnId) {
        self.guests.remove(&conn);
    }

    fn log(&mut self, _: &str) {}
}

/// Rebuilds the state that was saved.
pub fn recover(saved: &Saved) -> anyhow::Result<Recovered> {
    let (dump, guests) = saved.checkpoint().context("the checkpoint")?;
    let mut server = restore(dump).context("the checkpoint")?;
    let mut replay = Replay {
        guests: HashMap::new(),
        limit: server.guest_quota().outstanding_bytes as usize,
    };
    for state in guests {
        let conn = state.conn;
        replay.guests.insert(conn, Absent::of(state, replay.limit));
    }
    let mut entries = 0;
    saved
        .replay(|entry| {
            entries += 1;
            match entry {
                Entry::Connect(kind) => {
                    let (conn, older) = server.connect(kind);
                    if let Some(older) = older {
                        replay.guests.remove(&older);
                    }
                    if matches!(kind, ConnKind::Guest(_)) {
                        replay.guests.insert(conn, Absent::default());
                    }
                }
                Entry::Disconnect(conn) => {
                    server.disconnect(conn);
                    replay.guests.remove(&conn);
                }
                Entry::Request(conn, header, payload) => {
                    server.handle(conn, header, payload, &mut replay)
                }
            }
        })
        .context("the journal")?;
    let tools: Vec<ConnId> = server
        .connections()
        .filter(|(_, kind)| !matches!(kind, ConnKind::Guest(_)))
        .map(|(id, _)| id)
        .collect();
    for conn in tools {
        server.disconnect(conn);
    }
    Ok(Recovered {
        server,
        guests: replay.guests,
        entries,
    })
}

/// What a daemon of before has left, unless it is not wanted or damaged.
pub fn load(options: &Options, log: &mut Log) -> Option<(Server, Table)> {
    let dir = locations::state_dir();
    let shown = dir.display();
    if options.fresh {
        if let Err(e) = journal::discard(&dir) {
            log.line(&format!("cannot remove the old state in {shown}: {e}"));
        }
        return None;
    }
    let saved = Saved::load(&dir).unwrap_or_else(|e| {
        log.line(&format!(
            "cannot read the old state in {shown}: {e}; starting empty"
        ));
        None
    })?;
    let recovered = recover(&saved).inspect_err(|e| {
        log.line(&format!(
            "the old state in {shown} cannot be used: {e:#}; starting empty"
        ));
    });
    let Recovered {
        server,
        mut guests,
        entries,
    } = recovered.ok()?;
    log.line(&format!(
        "goes on from a checkpoint and {entries} entries, {} guests",
        guests.len()
    ));
    let mut table = Table::default();
    for (conn, kind) in server.connections() {
        if let Some(guest) = guests.remove(&conn) {
            table.add_absent(conn, kind, server.outstanding_limit(conn), guest);
        }
    }
    Some((server, table))
}

#[cfg(test)]
#[path = "recovery_tests.rs"]
mod tests;
