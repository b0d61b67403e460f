//! Transactions: a private view, and what it takes to bring it home.
//!
//! ```text
//!   touched["/a/b"] = NODE | WRITTEN      value or permissions looked at, set
//!   touched["/a"]   = NODE | LIST         children listed
//!   touched["/old"] = SUBTREE | WRITTEN   removed with all below
//! ```
//!
//! Commit compares each touched path between the tree as the transaction
//! found it (`base`) and the tree of now. If all are alike, the written ones
//! are carried over; transactions whose paths do not meet never disturb each
//! other, not even when both add children to one parent.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{is_below, Effect, Found, Holdings, Store, Tree};
use crate::perms::Identity;
use crate::quota::Quota;
use crate::Errno;

/// What a transaction did with a path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Touch {
    /// Existence, value or permissions mattered.
    pub node: bool,
    /// The list of children mattered.
    pub list: bool,
    /// Everything below mattered: it was removed.
    pub subtree: bool,
    /// The node is to be carried over.
    pub written: bool,
    /// Watchers hear of a write.
    pub told_written: bool,
    /// Watchers hear of a removal.
    pub told_removed: bool,
}

impl Touch {
    fn fields(&mut self) -> [&mut bool; 6] {
        [
            &mut self.node,
            &mut self.list,
            &mut self.subtree,
            &mut self.written,
            &mut self.told_written,
            &mut self.told_removed,
        ]
    }

    /// The marks as bits, for a dump.
    pub fn to_bits(mut self) -> u8 {
        self.fields()
            .iter()
            .enumerate()
            .map(|(i, f)| u8::from(**f) << i)
            .sum()
    }

    /// The marks that the bits stand for.
    pub fn from_bits(bits: u8) -> Touch {
        let mut touch = Touch::default();
        for (i, field) in touch.fields().into_iter().enumerate() {
            *field = bits >> i & 1 == 1;
        }
        touch
    }
}

/// An open transaction.
#[derive(Clone, Debug)]
pub struct Transaction {
    pub(super) base: Tree,
    pub(super) view: Tree,
    pub(super) touched: BTreeMap<Box<str>, Touch>,
    pub(super) delta: Holdings,
    pub(super) effects: Vec<(Box<str>, Effect)>,
    /// Bytes of the touched paths and of every value written.
    pub(super) bytes: u32,
}

/// What a committed transaction changed, in the order it was done.
pub type Committed = Vec<(Box<str>, Effect)>;

impl Transaction {
    pub(super) fn new(base: Tree) -> Transaction {
        let view = base.clone();
        Transaction {
            base,
            view,
            touched: BTreeMap::new(),
            delta: Holdings::default(),
            effects: Vec::new(),
            bytes: 0,
        }
    }

    /// The transaction's own view of the tree.
    pub fn view(&self) -> &Tree {
        &self.view
    }

    /// How many paths it has touched.
    pub fn touched_paths(&self) -> usize {
        self.touched.len()
    }

    /// Bytes of the paths it has touched and of the values it has written.
    pub fn gathered(&self) -> usize {
        self.bytes as usize
    }

    /// Marks a path; `ENOSPC` once the transaction has touched too many.
    pub(super) fn touch(
        &mut self,
        path: &str,
        quota: &Quota,
        mark: impl FnOnce(&mut Touch),
    ) -> Result<(), Errno> {
        if let Some(touch) = self.touched.get_mut(path) {
            mark(touch);
            return Ok(());
        }
        if self.touched.len() >= quota.transaction_nodes as usize {
            return Err(Errno::ENOSPC);
        }
        self.gather(path.len(), quota)?;
        let mut touch = Touch::default();
        mark(&mut touch);
        self.touched.insert(path.into(), touch);
        Ok(())
    }

    /// Counts memory that the transaction will hold; `ENOSPC` beyond the quota.
    pub(super) fn gather(&mut self, bytes: usize, quota: &Quota) -> Result<(), Errno> {
        let sum = self.bytes.saturating_add(bytes as u32);
        if sum > quota.transaction_bytes {
            return Err(Errno::ENOSPC);
        }
        self.bytes = sum;
        Ok(())
    }

    /// Keeps what watchers will hear of at commit. Each path is told of once
    /// as written and once as removed, so that this list is bounded by the
    /// touched paths. The path must have been touched.
    pub(super) fn tell(&mut self, path: &str, effect: Effect) {
        let in_base = self.base.get(path).is_some();
        let Some(touch) = self.touched.get_mut(path) else {
            return;
        };
        let told = match effect {
            // What nobody outside ever saw need not be told as removed.
            Effect::Removed(_) if !in_base => return,
            Effect::Removed(_) => &mut touch.told_removed,
            _ => &mut touch.told_written,
        };
        if !std::mem::replace(told, true) {
            self.effects.push((path.into(), effect));
        }
    }

    /// Whether `path` is in `live` as the transaction found it.
    fn undisturbed(&self, live: &Tree, path: &str, touch: Touch) -> bool {
        match (self.base.get(path), live.get(path)) {
            (None, None) => true,
            (Some(then), Some(now)) => {
                Arc::ptr_eq(then, now)
                    || (!touch.subtree
                        && (!touch.node || then.generation == now.generation)
                        && (!touch.list || then.children_generation == now.children_generation))
            }
            _ => false,
        }
    }
}

impl Store {
    /// Brings a transaction home, or changes nothing: `EAGAIN` after a
    /// concurrent change to a touched path, `ENOSPC` where the domain would
    /// own too many nodes by now.
    pub fn commit(
        &mut self,
        tx: Transaction,
        who: Identity,
        quota: &Quota,
    ) -> Result<Committed, Errno> {
        match self.disturbed(&tx) {
            Some(_) => Err(Errno::EAGAIN),
            None => self.bring_home(tx, who, quota),
        }
    }

    /// Whether a concurrent change has met the transaction; if so, a generation
    /// that this change has used.
    pub(crate) fn disturbed(&self, tx: &Transaction) -> Option<u64> {
        if self.live.same(&tx.base) {
            return None;
        }
        let mut touched = tx.touched.iter();
        let (path, touch) = touched.find(|(p, t)| !tx.undisturbed(&self.live, p, **t))?;
        Some(match self.live.locate(path) {
            // Removed: the nearest node there is has lost a child.
            Found::Missing { nearest, .. } => nearest.children_generation,
            Found::Node(now) => {
                let then = tx.base.get(path).map(|n| n.generation);
                if touch.node && then != Some(now.generation) {
                    now.generation
                } else {
                    now.children_generation
                }
            }
        })
    }

    /// The commit of a transaction that is known to be undisturbed.
    pub(crate) fn bring_home(
        &mut self,
        tx: Transaction,
        who: Identity,
        quota: &Quota,
    ) -> Result<Committed, Errno> {
        if !who.is_privileged() {
            let more = tx.delta.of(who.domid);
            if more > 0 && self.holdings.of(who.domid) + more > i64::from(quota.nodes) {
                return Err(Errno::ENOSPC);
            }
        }
        if self.live.same(&tx.base) {
            self.live = tx.view;
        } else {
            self.carry_over(&tx);
        }
        for (domid, count) in tx.delta.iter() {
            self.holdings.add(domid, count);
        }
        Ok(tx.effects)
    }

    /// Moves every written path of an undisturbed transaction into the live
    /// tree. Parents sort before their children, so they are there in time.
    fn carry_over(&mut self, tx: &Transaction) {
        let mut grafted: Option<&str> = None;
        for (path, touch) in tx.touched.iter().filter(|(_, t)| t.written) {
            if grafted.is_some_and(|top| is_below(path, top)) {
                continue;
            }
            let generation = self.next_generation();
            let in_live = self.live.get(path).is_some();
            match tx.view.get(path) {
                None => {
                    self.live.remove(path, generation);
                }
                // Whatever is below a new or replaced node is the
                // transaction's work too, so it moves as a whole.
                Some(node) if touch.subtree || !in_live => {
                    let parent_is_there = self.live.put(path, node.clone(), generation);
                    debug_assert!(parent_is_there, "{path} has no parent to go to");
                    grafted = Some(path);
                }
                Some(node) => {
                    if let Some(target) = self.live.get_mut(path) {
                        target.generation = node.generation;
                        target.value = node.value.clone();
                        target.perms = node.perms.clone();
                    }
                }
            }
        }
    }
}
