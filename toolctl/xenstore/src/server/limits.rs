//! Which limit a refused request ran into, and limits that only warn.
//!
//! ```text
//!   Err(ENOSPC | E2BIG) of a guest --> limit_met(): name and value --> Sink::limit, to be logged
//!   Ok of a guest, soft limits set --> over one of them?           --> Sink::limit, soft
//! ```

use super::{Call, ConnKind, Server, Sink};
use crate::quota::Quota;
use crate::store::Transaction;
use crate::wire::Op;
use crate::{DomId, Errno};

/// A limit that a domain has run into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Its name, as `xenstore-control quota` has it.
    pub name: &'static str,
    /// Its value.
    pub value: u32,
    /// Whether it only warns.
    pub soft: bool,
}

impl Server {
    /// Tells the transport of a limit that this answer is about.
    pub(super) fn report_limits(
        &mut self,
        call: &Call<'_>,
        answer: Result<(), Errno>,
        sink: &mut dyn Sink,
    ) {
        let ConnKind::Guest(domid) = call.kind else {
            return;
        };
        let met = match answer {
            Err(Errno::ENOSPC | Errno::E2BIG) => self.limit_met(call),
            Ok(()) if self.soft != Quota::UNLIMITED => self.soft_limit_passed(call, domid),
            _ => None,
        };
        if let Some(limit) = met {
            sink.limit(domid, limit);
        }
    }

    fn transaction_of(&self, call: &Call<'_>) -> Option<&Transaction> {
        let open = &self.conn(call.conn)?.transactions;
        let found = open.iter().find(|(id, _)| *id == call.header.tx_id);
        found.map(|(_, tx)| tx)
    }

    fn limit_met(&self, call: &Call<'_>) -> Option<Limit> {
        let quota = self.quota_of(call.kind);
        let found = |name: &'static str, value: u32| {
            Some(Limit {
                name,
                value,
                soft: false,
            })
        };
        let nodes = found("nodes", quota.nodes);
        let op = Op::from_raw(call.header.kind)?;
        match op {
            Op::Watch => return found("watches", quota.watches),
            Op::TransactionStart => return found("transactions", quota.transactions),
            Op::TransactionEnd => return nodes,
            Op::SetPerms => {
                let strings = crate::wire::strings(call.payload)?.count();
                if strings > quota.perms as usize + 1 {
                    return found("node-permissions", quota.perms);
                }
            }
            Op::Write => {
                let value = call.first_and_rest().map_or(0, |(_, v)| v.len());
                if value > quota.value_bytes as usize {
                    return found("size", quota.value_bytes);
                }
            }
            _ => {}
        }
        match self.transaction_of(call) {
            Some(tx) if tx.touched_paths() >= quota.transaction_nodes as usize => {
                found("transaction-nodes", quota.transaction_nodes)
            }
            Some(tx) if tx.gathered() + call.payload.len() > quota.transaction_bytes as usize => {
                found("transaction-bytes", quota.transaction_bytes)
            }
            _ if matches!(op, Op::Write | Op::Mkdir) => nodes,
            // An answer too long for one message is nobody's quota.
            _ => None,
        }
    }

    fn soft_limit_passed(&self, call: &Call<'_>, domid: DomId) -> Option<Limit> {
        let open = self.conn(call.conn)?.transactions.len() as i64;
        let held = [
            ("nodes", self.store.holdings().of(domid), self.soft.nodes),
            (
                "watches",
                self.watches.count(call.conn) as i64,
                self.soft.watches,
            ),
            ("transactions", open, self.soft.transactions),
        ];
        let passed = held.into_iter().find(|(_, n, soft)| *n > i64::from(*soft));
        passed.map(|(name, _, value)| Limit {
            name,
            value,
            soft: true,
        })
    }
}
