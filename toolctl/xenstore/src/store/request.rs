//! Single operations on the store, in somebody's name, inside a transaction
//! or out of it.
//!
//! Permission rules, as Xen's daemon has them: a node that one may not read
//! answers `EACCES`; a node that does not exist answers `ENOENT` only to those
//! whom its nearest ancestor would have let in, others get `EACCES` and learn
//! nothing. A new node inherits its nearest ancestor's permissions; made by a
//! guest, it is that guest's own.

use std::sync::Arc;

use super::{Found, Node, Store, Transaction, Tree};
use crate::perms::Identity;
use crate::quota::Quota;
use crate::{path, Access, DomId, Errno, Perms};

/// What an operation changed, as far as watchers are concerned.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Nothing.
    None,
    /// The node was made or its value set.
    Written,
    /// Its permissions were set; these were the old ones.
    Chmod(Perms),
    /// This node was removed, with all below it.
    Removed(Arc<Node>),
}

/// The context of one operation.
pub struct Request<'a> {
    /// The store.
    pub store: &'a mut Store,
    /// The transaction it belongs to, if any.
    pub tx: Option<&'a mut Transaction>,
    /// In whose name.
    pub who: Identity,
    /// What that domain may hold.
    pub quota: &'a Quota,
}

impl<'a> Request<'a> {
    fn view(&self) -> &Tree {
        match &self.tx {
            Some(tx) => &tx.view,
            None => &self.store.live,
        }
    }

    /// Notes in the transaction, if any, everything that a look-up of `path`
    /// for `wanted` depends on, and says whether the node may be used.
    fn check(&mut self, path: &str, wanted: Access, list: bool) -> Result<(), Errno> {
        let who = self.who;
        let judge = |found: &Found<'_, '_>| match found {
            Found::Node(node) if node.perms.access(who).allows(wanted) => Ok(()),
            Found::Node(_) => Err(Errno::EACCES),
            Found::Missing { nearest, .. } => {
                let may = nearest.perms.access(who);
                let any = (may.read && wanted.read) || (may.write && wanted.write);
                Err(if any { Errno::ENOENT } else { Errno::EACCES })
            }
        };
        let Some(tx) = self.tx.as_deref_mut() else {
            return judge(&self.store.live.locate(path));
        };
        let found = tx.view.locate(path);
        let verdict = judge(&found);
        let gap = match found {
            Found::Node(_) => None,
            Found::Missing {
                nearest_path,
                first_missing,
                ..
            } => Some((nearest_path, first_missing)),
        };
        match gap {
            None => tx.touch(path, self.quota, |t| {
                t.node = true;
                t.list |= list;
            })?,
            Some((nearest, missing)) => {
                tx.touch(nearest, self.quota, |t| t.node = true)?;
                tx.touch(missing, self.quota, |t| t.node = true)?;
            }
        }
        verdict
    }

    fn node(&self, path: &str) -> Result<&Arc<Node>, Errno> {
        self.view().get(path).ok_or(Errno::ENOENT)
    }

    /// `READ`: the value.
    pub fn read(&mut self, path: &str) -> Result<&[u8], Errno> {
        self.check(path, Access::READ, false)?;
        Ok(&self.node(path)?.value)
    }

    /// `DIRECTORY`: the node whose children to list.
    pub fn directory(&mut self, path: &str) -> Result<&Node, Errno> {
        self.check(path, Access::READ, true)?;
        Ok(self.node(path)?)
    }

    /// `GET_PERMS`.
    pub fn perms(&mut self, path: &str) -> Result<&Perms, Errno> {
        self.check(path, Access::READ, false)?;
        Ok(&self.node(path)?.perms)
    }

    /// `WRITE`: sets the value, making the node and its ancestors if need be.
    pub fn write(&mut self, path: &str, value: &[u8]) -> Result<Effect, Errno> {
        if value.len() > self.quota.value_bytes as usize {
            self.check(path, Access::WRITE, false)
                .or_else(ignore_missing)?;
            return Err(Errno::ENOSPC);
        }
        if let Some(tx) = self.tx.as_deref_mut() {
            tx.gather(value.len(), self.quota)?;
        }
        match self.check(path, Access::WRITE, false) {
            Ok(()) => {
                let generation = self.store.next_generation();
                self.mark_written(path)?;
                let node = self.view_mut().get_mut(path).ok_or(Errno::ENOENT)?;
                node.value = value.into();
                node.generation = generation;
                Ok(self.tell(path, Effect::Written))
            }
            Err(Errno::ENOENT) => self.create(path, value),
            Err(e) => Err(e),
        }
    }

    /// `MKDIR`: makes an empty node; no change if there is one.
    pub fn mkdir(&mut self, path: &str) -> Result<Effect, Errno> {
        match self.check(path, Access::WRITE, false) {
            Ok(()) => Ok(Effect::None),
            Err(Errno::ENOENT) => self.create(path, b""),
            Err(e) => Err(e),
        }
    }

    fn create(&mut self, path: &str, value: &[u8]) -> Result<Effect, Errno> {
        let Found::Missing {
            nearest,
            nearest_path,
            ..
        } = self.view().locate(path)
        else {
            return Err(Errno::EEXIST);
        };
        let missing = path::components(&path[nearest_path.len()..]).count();
        let mut perms = nearest.perms.clone();
        if !self.who.is_privileged() {
            perms = perms.with_owner(self.who.domid);
        }
        self.charge(perms.owner(), missing as i64)?;
        if self.tx.is_some() {
            // Every node that comes to be must still be missing at commit.
            for made in path::ancestors(path).take(missing) {
                self.mark_written(made)?;
            }
        }
        let generation = self.store.next_generation();
        let made = self
            .view_mut()
            .create(path, &perms, value.into(), generation);
        self.account(perms.owner(), i64::from(made));
        Ok(self.tell(path, Effect::Written))
    }

    /// `RM`: removes the node and all below. A node that is missing already
    /// is fine as long as its parent is there.
    pub fn rm(&mut self, path: &str) -> Result<Effect, Errno> {
        match self.check(path, Access::WRITE, false) {
            Ok(()) if path == "/" => return Err(Errno::EINVAL),
            Ok(()) => {}
            Err(Errno::ENOENT) => {
                let parent = path::parent(path).ok_or(Errno::EINVAL)?;
                return self
                    .view()
                    .get(parent)
                    .map(|_| Effect::None)
                    .ok_or(Errno::ENOENT);
            }
            Err(e) => return Err(e),
        }
        if let Some(tx) = self.tx.as_deref_mut() {
            tx.touch(path, self.quota, |t| {
                t.subtree = true;
                t.written = true;
            })?;
        }
        let generation = self.store.next_generation();
        let gone = self
            .view_mut()
            .remove(path, generation)
            .ok_or(Errno::ENOENT)?;
        self.holdings_mut().add_subtree(&gone, -1);
        Ok(self.tell(path, Effect::Removed(gone)))
    }

    /// `SET_PERMS`: the owner's right; a guest cannot give its nodes away.
    pub fn set_perms(&mut self, path: &str, perms: Perms) -> Result<Effect, Errno> {
        self.check(path, Access::WRITE, false)?;
        let old = self.node(path)?.perms.clone();
        if !old.owned_or_privileged(self.who) {
            return Err(Errno::EACCES);
        }
        if !self.who.is_privileged() {
            if perms.owner() != old.owner() {
                return Err(Errno::EPERM);
            }
            if perms.entries().len() > self.quota.perms as usize {
                return Err(Errno::ENOSPC);
            }
        }
        self.mark_written(path)?;
        let generation = self.store.next_generation();
        let node = self.view_mut().get_mut(path).ok_or(Errno::ENOENT)?;
        node.perms = perms.clone();
        node.generation = generation;
        self.account(old.owner(), -1);
        self.account(perms.owner(), 1);
        Ok(self.tell(path, Effect::Chmod(old)))
    }

    fn view_mut(&mut self) -> &mut Tree {
        match self.tx.as_deref_mut() {
            Some(tx) => &mut tx.view,
            None => &mut self.store.live,
        }
    }

    fn holdings_mut(&mut self) -> &mut super::Holdings {
        match self.tx.as_deref_mut() {
            Some(tx) => &mut tx.delta,
            None => &mut self.store.holdings,
        }
    }

    fn account(&mut self, owner: DomId, count: i64) {
        self.holdings_mut().add(owner, count);
    }

    /// Refuses nodes beyond the quota; domain 0 may make as many as it likes.
    fn charge(&self, owner: DomId, more: i64) -> Result<(), Errno> {
        let pending = self.tx.as_deref().map_or(0, |tx| tx.delta.of(owner));
        let held = self.store.holdings.of(owner) + pending;
        if !self.who.is_privileged() && held + more > i64::from(self.quota.nodes) {
            return Err(Errno::ENOSPC);
        }
        Ok(())
    }

    fn mark_written(&mut self, path: &str) -> Result<(), Errno> {
        match self.tx.as_deref_mut() {
            Some(tx) => tx.touch(path, self.quota, |t| {
                t.node = true;
                t.written = true;
            }),
            None => Ok(()),
        }
    }

    /// Outside a transaction the effect is told now, inside at commit.
    fn tell(&mut self, path: &str, effect: Effect) -> Effect {
        match self.tx.as_deref_mut() {
            Some(tx) => {
                tx.tell(path, effect);
                Effect::None
            }
            None => effect,
        }
    }
}

fn ignore_missing(error: Errno) -> Result<(), Errno> {
    if error == Errno::ENOENT {
        Ok(())
    } else {
        Err(error)
    }
}
