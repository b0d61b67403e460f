//! The store proper: tree, permissions, quotas on nodes, transactions.
//!
//! ```text
//!   Store.live ------ read, write, ... (Request without transaction)
//!      |   ^                 -> Effect: what watchers must hear of
//!   start  | commit
//!      v   |
//!   Transaction { base, view, touched }   read, write, ... (Request with it)
//!          commit: live still base?  take view over whole
//!                  else every touched path still as in base? move just those
//!                  else EAGAIN
//! ```
//!
//! Nothing here knows of connections or watches.

mod children;
mod request;
mod saved;
mod transaction;
mod tree;

use std::collections::BTreeMap;

pub use children::Children;
pub use request::{Effect, Request};
pub use transaction::{Committed, Transaction};
pub use tree::{Found, Node, Tree};

use crate::{DomId, Errno, Perms};

/// How many nodes each domain owns, or by how much that changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holdings(BTreeMap<DomId, i64>);

impl Holdings {
    /// Nodes of one domain.
    pub fn of(&self, domid: DomId) -> i64 {
        self.0.get(&domid).copied().unwrap_or(0)
    }

    /// Adds (or with a negative number takes away).
    pub fn add(&mut self, domid: DomId, count: i64) {
        let entry = self.0.entry(domid).or_insert(0);
        *entry += count;
        if *entry == 0 {
            self.0.remove(&domid);
        }
    }

    /// Adds `sign` for every node of a subtree.
    pub fn add_subtree(&mut self, node: &Node, sign: i64) {
        self.add(node.perms.owner(), sign);
        for (_, child) in node.children.iter() {
            self.add_subtree(child, sign);
        }
    }

    /// Every domain that owns anything.
    pub fn iter(&self) -> impl Iterator<Item = (DomId, i64)> + '_ {
        self.0.iter().map(|(d, n)| (*d, *n))
    }
}

/// All nodes.
#[derive(Clone, Debug, Default)]
pub struct Store {
    live: Tree,
    holdings: Holdings,
    generation: u64,
}

impl Store {
    /// A store with the nodes that a fresh daemon has: `/tool/xenstored`.
    pub fn new() -> Store {
        let mut store = Store::default();
        store.holdings.add(0, 1);
        let generation = store.next_generation();
        let perms = store.live.root().perms.clone();
        let made = store
            .live
            .create("/tool/xenstored", &perms, [].into(), generation);
        store.holdings.add(0, i64::from(made));
        store
    }

    /// Rebuilds a store from a tree and the last generation it used.
    pub fn from_tree(live: Tree, generation: u64) -> Store {
        let mut holdings = Holdings::default();
        holdings.add_subtree(live.root(), 1);
        Store {
            live,
            holdings,
            generation,
        }
    }

    /// The committed tree.
    pub fn live(&self) -> &Tree {
        &self.live
    }

    /// Nodes owned by each domain.
    pub fn holdings(&self) -> &Holdings {
        &self.holdings
    }

    /// The last generation number given out.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    fn next_generation(&mut self) -> u64 {
        self.generation += 1;
        self.generation
    }

    /// Opens a transaction on the tree as it is now.
    pub fn begin(&self) -> Transaction {
        Transaction::new(self.live.clone())
    }

    /// Forgets a domain that is gone: removes the nodes it owned (a successor
    /// must not find them, and they would pile up) and drops it from every
    /// other node's permission list. Returns what was removed.
    pub fn forget_domain(&mut self, domid: DomId) -> Vec<(String, Effect)> {
        let mut owned: Vec<String> = Vec::new();
        let mut listed: Vec<(String, Perms)> = Vec::new();
        self.live
            .root()
            .clone()
            .visit(&mut "/".to_owned(), &mut |path, node| {
                let below_owned = owned.last().is_some_and(|o| is_below(path, o));
                if below_owned {
                    return;
                }
                if node.perms.owner() == domid && path != "/" {
                    owned.push(path.to_owned());
                } else if let Some(perms) = node.perms.without(domid) {
                    listed.push((path.to_owned(), perms));
                }
            });
        for (path, perms) in listed {
            let generation = self.next_generation();
            if let Some(node) = self.live.get_mut(&path) {
                node.perms = perms;
                node.generation = generation;
            }
        }
        let mut effects = Vec::new();
        for path in owned {
            let generation = self.next_generation();
            if let Some(gone) = self.live.remove(&path, generation) {
                self.holdings.add_subtree(&gone, -1);
                effects.push((path, Effect::Removed(gone)));
            }
        }
        effects
    }

    /// Whether counts and generations agree with the tree. For tests and for
    /// `xenstore-control check`.
    pub fn check(&self) -> Result<(), Errno> {
        let mut counted = Holdings::default();
        counted.add_subtree(self.live.root(), 1);
        let mut newest = 0;
        self.live.root().visit(&mut "/".to_owned(), &mut |_, n| {
            newest = newest.max(n.generation).max(n.children_generation);
        });
        if counted == self.holdings && newest <= self.generation {
            Ok(())
        } else {
            Err(Errno::EIO)
        }
    }
}

/// Whether `path` lies below `top` (and is not `top`).
pub(crate) fn is_below(path: &str, top: &str) -> bool {
    top == "/" && path != "/"
        || path
            .strip_prefix(top)
            .is_some_and(|rest| rest.starts_with('/'))
}

#[cfg(test)]
mod tests;
