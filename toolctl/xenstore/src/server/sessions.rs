//! What belongs to one connection: its watches and transactions.

use super::{Call, Server, Sink, OK};
use crate::wire::{Op, PAYLOAD_MAX};
use crate::{path, Errno};

impl Server {
    /// The canonical path or special name of a watch request, and how many
    /// bytes of it the client did not say.
    fn watch_path(call: &Call<'_>, raw: &[u8]) -> Result<(String, usize), Errno> {
        if path::is_special(raw) {
            let name = std::str::from_utf8(raw).map_err(|_| Errno::EINVAL)?;
            if name.len() > path::RELATIVE_MAX {
                return Err(Errno::EINVAL);
            }
            return Ok((name.to_owned(), 0));
        }
        let mut scratch = String::new();
        let full = path::resolve(raw, call.who.domid, &mut scratch)?.to_owned();
        let hide = if raw.first() == Some(&b'/') {
            0
        } else {
            full.len() - raw.len()
        };
        Ok((full, hide))
    }

    pub(super) fn watch(&mut self, call: Call<'_>, sink: &mut dyn Sink) -> Result<(), Errno> {
        let [raw, token] = call.exactly()?;
        let (full, hide) = Server::watch_path(&call, raw)?;
        // Every event is the path, the token and two NULs; the first one must
        // fit, later ones with longer paths that do not are left out.
        if raw.len() + token.len() + 2 > PAYLOAD_MAX {
            return Err(Errno::EINVAL);
        }
        let quota = self.quota_of(call.kind).watches as usize;
        let full_up = self.watches.count(call.conn) >= quota;
        if full_up && !self.watches.has(call.conn, &full, token) {
            return Err(Errno::E2BIG);
        }
        self.watches.add(call.conn, &full, token, hide)?;
        self.reply(&call, &[OK], sink);
        // It fires at once: the client need not look at the state before.
        self.counters.events += 1;
        sink.send(call.conn, Op::WatchEvent, 0, 0, &[raw, b"\0", token, b"\0"]);
        Ok(())
    }

    pub(super) fn unwatch(&mut self, call: Call<'_>, sink: &mut dyn Sink) -> Result<(), Errno> {
        let [raw, token] = call.exactly()?;
        let (full, _) = Server::watch_path(&call, raw)?;
        self.watches.remove(call.conn, &full, token)?;
        self.reply(&call, &[OK], sink);
        Ok(())
    }

    pub(super) fn reset_watches(
        &mut self,
        call: Call<'_>,
        sink: &mut dyn Sink,
    ) -> Result<(), Errno> {
        self.watches.remove_all(call.conn);
        if let Some(conn) = self.conn_mut(call.conn) {
            conn.transactions.clear();
        }
        self.reply(&call, &[OK], sink);
        Ok(())
    }

    pub(super) fn transaction_start(
        &mut self,
        call: Call<'_>,
        sink: &mut dyn Sink,
    ) -> Result<(), Errno> {
        let quota = self.quota_of(call.kind);
        let tx = self.store.begin();
        let conn = self.conn_mut(call.conn).ok_or(Errno::EINVAL)?;
        if call.header.tx_id != 0 {
            let open = conn
                .transactions
                .iter()
                .any(|(id, _)| *id == call.header.tx_id);
            return Err(if open { Errno::EBUSY } else { Errno::ENOENT });
        }
        if conn.transactions.len() >= quota.transactions as usize {
            return Err(Errno::ENOSPC);
        }
        let id = loop {
            let id = conn.next_tx;
            conn.next_tx = conn.next_tx.wrapping_add(1);
            if id != 0 && !conn.transactions.iter().any(|(used, _)| *used == id) {
                break id;
            }
        };
        conn.transactions.push((id, tx));
        self.reply(&call, &[format!("{id}\0").as_bytes()], sink);
        Ok(())
    }

    pub(super) fn transaction_end(
        &mut self,
        call: Call<'_>,
        sink: &mut dyn Sink,
    ) -> Result<(), Errno> {
        let commit = match call.payload {
            b"T\0" => true,
            b"F\0" => false,
            _ => return Err(Errno::EINVAL),
        };
        let quota = self.quota_of(call.kind);
        let conn = self.conn_mut(call.conn).ok_or(Errno::EINVAL)?;
        let place = conn
            .transactions
            .iter()
            .position(|(id, _)| *id == call.header.tx_id);
        let (_, tx) = conn.transactions.swap_remove(place.ok_or(Errno::ENOENT)?);
        let effects = if commit {
            if let Some(generation) = self.store.disturbed(&tx) {
                self.counters.conflicts += 1;
                let culprit = self.writers.of(generation);
                if let Some(culprit) = culprit.filter(|c| *c != call.who.domid) {
                    sink.conflict(culprit);
                }
                return Err(Errno::EAGAIN);
            }
            self.store.bring_home(tx, call.who, &quota)?
        } else {
            Vec::new()
        };
        self.reply(&call, &[OK], sink);
        for (path, effect) in &effects {
            self.fire(path, effect, sink);
        }
        Ok(())
    }
}
