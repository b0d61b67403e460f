//! What a session holds in the daemon, learnt from what passes by: a session that is to go on elsewhere has to be
//! given it again.
//!
//! ```text
//!   request + its reply --answered()--> watches, open transactions
//! ```
//! Only what the daemon granted counts, so its quotas bound both.

use crate::wire::{strings, Header, Op};
use std::collections::BTreeSet;

/// A watch: path and token as the guest gave them.
pub type Watch = (Box<[u8]>, Box<[u8]>);

/// Watches and open transactions of one session.
#[derive(Debug, Default)]
pub struct Holdings {
    watches: BTreeSet<Watch>,
    transactions: BTreeSet<u32>,
}

impl Holdings {
    /// Its watches, in order.
    pub fn watches(&self) -> impl Iterator<Item = &Watch> {
        self.watches.iter()
    }

    /// Is a transaction open?
    pub fn in_transaction(&self) -> bool {
        !self.transactions.is_empty()
    }

    /// The daemon answered `request`, of `payload`, with a message of type `reply` and `answer`.
    pub fn answered(&mut self, request: Header, payload: &[u8], reply: u32, answer: &[u8]) {
        let Some(op) = Op::from_raw(request.kind) else {
            return;
        };
        // An end that fails ends the transaction as well.
        if op == Op::TransactionEnd {
            self.transactions.remove(&request.tx_id);
        }
        if reply != request.kind {
            return;
        }
        match op {
            Op::Watch => {
                if let Some(watch) = watch(payload) {
                    self.watches.insert(watch);
                }
            }
            Op::Unwatch => {
                if let Some(watch) = watch(payload) {
                    self.watches.remove(&watch);
                }
            }
            Op::TransactionStart => {
                let id = std::str::from_utf8(answer).ok();
                let id = id.and_then(|text| text.trim_end_matches('\0').parse::<u32>().ok());
                self.transactions.extend(id);
            }
            Op::ResetWatches => *self = Holdings::default(),
            _ => {}
        }
    }
}

fn watch(payload: &[u8]) -> Option<Watch> {
    let mut words = strings(payload)?;
    Some((words.next()?.into(), words.next()?.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(op: Op, tx_id: u32) -> Header {
        Header {
            kind: op as u32,
            tx_id,
            ..Header::default()
        }
    }

    fn paths(holdings: &Holdings) -> Vec<&[u8]> {
        holdings.watches().map(|(path, _)| &path[..]).collect()
    }

    #[test]
    fn watches_that_were_granted_are_held_until_they_end() {
        let mut h = Holdings::default();
        let (watch, error) = (Op::Watch as u32, Op::Error as u32);
        h.answered(header(Op::Watch, 0), b"a\0t\0", watch, b"OK\0");
        h.answered(header(Op::Watch, 0), b"b\0t\0", watch, b"OK\0");
        h.answered(header(Op::Watch, 0), b"c\0t\0", error, b"E2BIG\0");
        assert_eq!(paths(&h), [b"a", b"b"]);
        h.answered(header(Op::Unwatch, 0), b"a\0other\0", error, b"ENOENT\0");
        h.answered(
            header(Op::Unwatch, 0),
            b"a\0t\0",
            Op::Unwatch as u32,
            b"OK\0",
        );
        assert_eq!(paths(&h), [b"b"]);
        h.answered(
            header(Op::ResetWatches, 0),
            b"\0",
            Op::ResetWatches as u32,
            b"OK\0",
        );
        assert!(paths(&h).is_empty());
    }

    #[test]
    fn transaction_is_open_from_its_grant_to_its_end() {
        let mut h = Holdings::default();
        let start = Op::TransactionStart as u32;
        h.answered(
            header(Op::TransactionStart, 0),
            b"\0",
            Op::Error as u32,
            b"EBUSY\0",
        );
        assert!(!h.in_transaction());
        h.answered(header(Op::TransactionStart, 0), b"\0", start, b"7\0");
        assert!(h.in_transaction());
        h.answered(
            header(Op::TransactionEnd, 8),
            b"T\0",
            Op::Error as u32,
            b"ENOENT\0",
        );
        assert!(h.in_transaction());
        h.answered(
            header(Op::TransactionEnd, 7),
            b"T\0",
            Op::Error as u32,
            b"EAGAIN\0",
        );
        assert!(!h.in_transaction());
    }

    #[test]
    fn payload_that_is_no_watch_is_left_aside() {
        let mut h = Holdings::default();
        for payload in [&b""[..], b"a", b"a\0", b"a\0t"] {
            h.answered(header(Op::Watch, 0), payload, Op::Watch as u32, b"OK\0");
        }
        assert!(paths(&h).is_empty());
    }
}
