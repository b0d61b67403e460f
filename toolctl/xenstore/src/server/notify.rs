//! From what changed to who is told.
//!
//! A connection hears of a node only if it may read the node, or might before
//! the change, or may read the parent: a change to a secret node stays secret.

use super::{ConnId, Server, Sink};
use crate::perms::Identity;
use crate::store::{Effect, Node};
use crate::watch::Watch;
use crate::wire::{Op, PAYLOAD_MAX};
use crate::{path, Access, Perms};

impl Server {
    /// Tells the watchers of `path` what happened to it.
    pub(super) fn fire(&mut self, path: &str, effect: &Effect, sink: &mut dyn Sink) {
        match effect {
            Effect::None => {}
            Effect::Written => self.fire_covering(path, None, sink),
            Effect::Chmod(old) => self.fire_covering(path, Some(old), sink),
            Effect::Removed(node) => {
                if !node.children.is_empty() && self.watches.total() > 0 {
                    self.fire_below(&mut path.to_owned(), node, sink);
                }
                self.fire_covering(path, Some(&node.perms), sink);
            }
        }
    }

    /// Tells the watchers of a special name, if its permissions let them know.
    pub(super) fn fire_special(&mut self, name: &str, sink: &mut dyn Sink) {
        let mut list = std::mem::take(&mut self.scratch.watches);
        self.watches.at(name, &mut list);
        for watch in &list {
            let who = self.identity_of(watch.conn);
            let perms = self.special_perms.get(name);
            let may = |who| perms.is_some_and(|p| p.access(who).allows(Access::READ));
            if who.is_some_and(may) {
                self.send_event(watch, name, sink);
            }
        }
        list.clear();
        self.scratch.watches = list;
    }

    /// A removed node's descendants, deepest first: only who watches exactly
    /// one of them hears of it.
    fn fire_below(&mut self, at: &mut String, node: &Node, sink: &mut dyn Sink) {
        let len = at.len();
        for (name, child) in node.children.iter() {
            at.push('/');
            at.push_str(name);
            self.fire_below(at, child, sink);
            if !self.watches.none_at(at) {
                let mut list = std::mem::take(&mut self.scratch.watches);
                self.watches.at(at, &mut list);
                let readable = |who: Identity| {
                    child.perms.access(who).allows(Access::READ)
                        || node.perms.access(who).allows(Access::READ)
                };
                self.send_events(&list, at, readable, sink);
                list.clear();
                self.scratch.watches = list;
            }
            at.truncate(len);
        }
    }

    fn fire_covering(&mut self, path: &str, before: Option<&Perms>, sink: &mut dyn Sink) {
        let mut list = std::mem::take(&mut self.scratch.watches);
        self.watches.covering(path, &mut list);
        if !list.is_empty() {
            let live = self.store.live();
            let now = live.get(path).map(|n| n.perms.clone());
            let parent = path::parent(path)
                .and_then(|p| live.get(p))
                .map(|n| n.perms.clone());
            // Written and gone again within one transaction: nothing to tell.
            if now.is_some() || before.is_some() {
                let readable = |who: Identity| {
                    let all = [before, now.as_ref(), parent.as_ref()];
                    all.into_iter()
                        .flatten()
                        .any(|p| p.access(who).allows(Access::READ))
                };
                self.send_events(&list, path, readable, sink);
            }
        }
        list.clear();
        self.scratch.watches = list;
    }

    fn send_events(
        &mut self,
        list: &[Watch],
        path: &str,
        readable: impl Fn(Identity) -> bool,
        sink: &mut dyn Sink,
    ) {
        for watch in list {
            if self.identity_of(watch.conn).is_some_and(&readable) {
                self.send_event(watch, path, sink);
            }
        }
    }

    fn send_event(&mut self, watch: &Watch, path: &str, sink: &mut dyn Sink) {
        let shown = watch.shown(path).as_bytes();
        if shown.len() + watch.token.len() + 2 > PAYLOAD_MAX {
            return;
        }
        self.counters.events += 1;
        sink.send(
            watch.conn,
            Op::WatchEvent,
            0,
            0,
            &[shown, b"\0", &watch.token, b"\0"],
        );
    }

    fn identity_of(&self, conn: ConnId) -> Option<Identity> {
        self.conn(conn).map(|c| self.identity(c))
    }
}
