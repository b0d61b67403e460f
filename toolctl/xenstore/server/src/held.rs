//! The loop's side of [`crate::credit`]: who is not served for now.
//!
//! ```text
//!   turn: a commit failed by domain N's change --> charged; no credit left?
//!         --> held: not read from, not in the run queue
//!   later turn, time is up --> run queue
//! ```

use std::time::{Duration, Instant};

use noxen_xenstore::server::ConnKind;
use rustix::event::Timespec;

use crate::event_loop::Daemon;

impl Daemon {
    /// How long to wait for something to happen: not at all while requests are
    /// in hand, no longer than until somebody is to be served again.
    pub(crate) fn timeout(&self) -> Option<Timespec> {
        let wait = if self.run_queue.is_empty() {
            let next = self.held.iter().map(|(until, _)| *until).min()?;
            // Rounded up, lest it be asked for once too often.
            next.saturating_duration_since(Instant::now()) + Duration::from_millis(1)
        } else {
            Duration::ZERO
        };
        Timespec::try_from(wait).ok()
    }

    /// Charges those who made others' transactions fail in this turn.
    pub(crate) fn hold_back(&mut self) {
        for index in std::mem::take(&mut self.table.blamed) {
            let now = Instant::now();
            let token = self.table.token(index);
            let Some(peer) = &mut self.table.peers[index] else {
                continue;
            };
            peer.credit.charge(now);
            let Some(until) = peer.credit.held_until(now) else {
                continue;
            };
            if !std::mem::replace(&mut peer.held, true) {
                self.held.push((until, token));
                self.table.dirty.push(index);
                let route = peer.conn.and_then(|c| self.table.route_of(c));
                if let Some(ConnKind::Guest(domid)) = route.map(|r| r.kind) {
                    let text = format!(
                        "domain {domid} makes transactions of others fail: it is held back"
                    );
                    self.log.about(domid, "conflicts", now, &text);
                }
            }
        }
    }

    /// Serves those again whose time has come.
    pub(crate) fn let_go(&mut self) {
        if self.held.is_empty() {
            return;
        }
        let now = Instant::now();
        let mut again = Vec::new();
        self.held.retain(|(until, token)| {
            if *until <= now {
                again.push(*token);
            }
            *until > now
        });
        for token in again {
            let Some(index) = self.table.by_token(token) else {
                continue;
            };
            let Some(peer) = &mut self.table.peers[index] else {
                continue;
            };
            match peer.credit.held_until(now) {
                Some(until) => self.held.push((until, token)),
                None => {
                    peer.held = false;
                    self.enqueue(index);
                }
            }
        }
    }
}
