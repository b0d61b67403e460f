//! The server against a model so plain that it is easy to believe: nodes in
//! one flat map, a transaction is a copy of the map and a list of what was
//! asked in it.
//!
//! ```text
//!   steps --> Server  --> replies, events
//!        \--> Model   --> replies, events     alike, step by step
//! ```
//!
//! A commit must be serial: asked again on the state of now, each question of
//! the transaction gets the answer that it got. And a commit must not fail
//! for nothing: only when somebody changed a path that lies on, above or
//! below one that the transaction used. Now and then the server is dumped
//! and a restored one goes on in its place: nobody may notice. Quotas have
//! tests of their own; here nobody comes near one.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::tests::Net;
use super::*;

type Entries = Vec<(DomId, char)>;

#[derive(Clone, Debug, PartialEq)]
struct MNode {
    value: Vec<u8>,
    perms: Entries,
}

/// Path to node; `/` included.
type Nodes = BTreeMap<String, MNode>;

#[derive(Clone, Debug)]
enum Ask {
    Read(String),
    Write(String, Vec<u8>),
    Mkdir(String),
    Rm(String),
    List(String),
    GetPerms(String),
    SetPerms(String, Entries),
}

#[derive(Clone, Debug)]
enum Step {
    Do { conn: usize, in_tx: bool, ask: Ask },
    Start { conn: usize },
    End { conn: usize, commit: bool },
}

/// What watchers may hear of after a change: the path, whether only watches
/// on exactly it hear, and the permission lists any of which lets them.
struct News {
    path: String,
    exact: bool,
    lists: Vec<Entries>,
}

const DOMAINS: [DomId; 3] = [0, 1, 2];

fn parent(path: &str) -> String {
    match path.rfind('/') {
        Some(0) | None => "/".to_owned(),
        Some(i) => path[..i].to_owned(),
    }
}

fn covers(top: &str, path: &str) -> bool {
    top == "/" || path == top || path.starts_with(&format!("{top}/"))
}

fn rights(perms: &Entries, who: DomId) -> (bool, bool) {
    if who == 0 || perms[0].0 == who {
        return (true, true);
    }
    let entry = perms[1..]
        .iter()
        .find(|(d, _)| *d == who)
        .unwrap_or(&perms[0]);
    (matches!(entry.1, 'r' | 'b'), matches!(entry.1, 'w' | 'b'))
}

/// The node if `who` may; else the right error.
fn look<'m>(nodes: &'m Nodes, path: &str, who: DomId, write: bool) -> Result<&'m MNode, Errno> {
    let may = |n: &MNode| {
        let (r, w) = rights(&n.perms, who);
        if write {
            w
        } else {
            r
        }
    };
    if let Some(node) = nodes.get(path) {
        return if may(node) {
            Ok(node)
        } else {
            Err(Errno::EACCES)
        };
    }
    let mut up = parent(path);
    while !nodes.contains_key(&up) {
        up = parent(&up);
    }
    Err(if may(&nodes[&up]) {
        Errno::ENOENT
    } else {
        Errno::EACCES
    })
}

fn make(nodes: &mut Nodes, path: &str, value: &[u8], who: DomId) {
    let mut missing = vec![path.to_owned()];
    while !nodes.contains_key(&parent(missing.last().unwrap())) {
        missing.push(parent(missing.last().unwrap()));
    }
    let mut perms = nodes[&parent(missing.last().unwrap())].perms.clone();
    if who != 0 {
        perms[0].0 = who;
    }
    for p in missing {
        let value = if p == path {
            value.to_vec()
        } else {
            Vec::new()
        };
        nodes.insert(
            p,
            MNode {
                value,
                perms: perms.clone(),
            },
        );
    }
}

fn wire(perms: &Entries) -> Vec<u8> {
    perms
        .iter()
        .flat_map(|(d, c)| format!("{c}{d}\0").into_bytes())
        .collect()
}

/// Does what is asked; the reply's payload and the news.
fn answer(nodes: &mut Nodes, ask: &Ask, who: DomId) -> Result<(Vec<u8>, Vec<News>), Errno> {
    let ok = b"OK\0".to_vec();
    let told = |nodes: &Nodes, path: &str, old: Option<Entries>| {
        let mut lists: Vec<Entries> = old.into_iter().collect();
        lists.extend(nodes.get(path).map(|n| n.perms.clone()));
        if path != "/" {
            lists.extend(nodes.get(&parent(path)).map(|n| n.perms.clone()));
        }
        vec![News {
            path: path.to_owned(),
            exact: false,
            lists,
        }]
    };
    match ask {
        Ask::Read(p) => Ok((look(nodes, p, who, false)?.value.clone(), vec![])),
        Ask::GetPerms(p) => Ok((wire(&look(nodes, p, who, false)?.perms), vec![])),
        Ask::List(p) => {
            look(nodes, p, who, false)?;
            let below = nodes.keys().filter(|k| *k != "/" && parent(k) == *p);
            Ok((
                below
                    .flat_map(|k| format!("{}\0", &k[k.rfind('/').unwrap() + 1..]).into_bytes())
                    .collect(),
                vec![],
            ))
        }
        Ask::Write(p, value) => {
            match look(nodes, p, who, true).map(drop) {
                Ok(()) => nodes.get_mut(p).unwrap().value = value.clone(),
                Err(Errno::ENOENT) => make(nodes, p, value, who),
                Err(e) => return Err(e),
            }
            Ok((ok, told(nodes, p, None)))
        }
        Ask::Mkdir(p) => match look(nodes, p, who, true).map(drop) {
            Ok(()) => Ok((ok, vec![])),
            Err(Errno::ENOENT) => {
                make(nodes, p, b"", who);
                Ok((ok, told(nodes, p, None)))
            }
            Err(e) => Err(e),
        },
        Ask::Rm(p) => {
            match look(nodes, p, who, true).map(drop) {
                Ok(()) if p == "/" => return Err(Errno::EINVAL),
                Ok(()) => {}
                Err(Errno::ENOENT) if nodes.contains_key(&parent(p)) => return Ok((ok, vec![])),
                Err(e) => return Err(e),
            }
            let gone: Vec<String> = nodes.keys().filter(|k| covers(p, k)).cloned().collect();
            let mut news = Vec::new();
            for k in &gone {
                let lists = vec![nodes[k].perms.clone(), nodes[&parent(k)].perms.clone()];
                news.push(News {
                    path: k.clone(),
                    exact: k != p,
                    lists,
                });
            }
            nodes.retain(|k, _| !covers(p, k));
            Ok((ok, news))
        }
        Ask::SetPerms(p, perms) => {
            let old = look(nodes, p, who, true)?.perms.clone();
            if who != 0 && old[0].0 != who {
                return Err(Errno::EACCES);
            }
            if who != 0 && perms[0].0 != who {
                return Err(Errno::EPERM);
            }
            nodes.get_mut(p).unwrap().perms = perms.clone();
            Ok((ok, told(nodes, p, Some(old))))
        }
    }
}

fn request(ask: &Ask) -> (Op, Vec<u8>) {
    let with = |p: &str, rest: &[u8]| [p.as_bytes(), b"\0", rest].concat();
    match ask {
        Ask::Read(p) => (Op::Read, with(p, b"")),
        Ask::Write(p, v) => (Op::Write, with(p, v)),
        Ask::Mkdir(p) => (Op::Mkdir, with(p, b"")),
        Ask::Rm(p) => (Op::Rm, with(p, b"")),
        Ask::List(p) => (Op::Directory, with(p, b"")),
        Ask::GetPerms(p) => (Op::GetPerms, with(p, b"")),
        Ask::SetPerms(p, perms) => (Op::SetPerms, with(p, &wire(perms))),
    }
}

fn path_of(ask: &Ask) -> &str {
    match ask {
        Ask::Read(p) | Ask::Mkdir(p) | Ask::Rm(p) | Ask::List(p) | Ask::GetPerms(p) => p,
        Ask::Write(p, _) | Ask::SetPerms(p, _) => p,
    }
}

fn differing(a: &Nodes, b: &Nodes) -> BTreeSet<String> {
    let all = a.keys().chain(b.keys());
    all.filter(|p| a.get(*p) != b.get(*p)).cloned().collect()
}

struct MTx {
    id: u32,
    nodes: Nodes,
    asked: Vec<(Ask, Result<Vec<u8>, Errno>)>,
    changed_since: BTreeSet<String>,
}

struct Both {
    net: Net,
    conns: Vec<ConnId>,
    nodes: Nodes,
    txs: Vec<Option<MTx>>,
    watches: Vec<(usize, String)>,
}

impl Both {
    fn new(watches: Vec<(usize, String)>) -> Both {
        let mut net = Net::new();
        let conns = vec![net.tool(), net.guest(1), net.guest(2)];
        net.ok(conns[0], Op::Rm, "/tool\0");
        let mut nodes = Nodes::from([(
            "/".to_owned(),
            MNode {
                value: vec![],
                perms: vec![(0, 'n')],
            },
        )]);
        for (path, perms) in [
            ("/a", vec![(1, 'n')]),
            ("/b", vec![(2, 'r')]),
            ("/c", vec![(0, 'n'), (1, 'b'), (2, 'r')]),
        ] {
            net.ok(conns[0], Op::Mkdir, &format!("{path}\0"));
            let text = String::from_utf8(wire(&perms)).unwrap();
            net.ok(conns[0], Op::SetPerms, &format!("{path}\0{text}"));
            nodes.insert(
                path.to_owned(),
                MNode {
                    value: vec![],
                    perms,
                },
            );
        }
        let mut kept: Vec<(usize, String)> = Vec::new();
        for (i, (conn, path)) in watches.into_iter().enumerate() {
            net.ok(conns[conn], Op::Watch, &format!("{path}\0{i}\0"));
            kept.push((conn, path));
        }
        net.out.sent.clear();
        Both {
            net,
            conns,
            nodes,
            txs: vec![None, None, None],
            watches: kept,
        }
    }

    /// The events that the model expects, as (token, path).
    fn expected(&self, news: &[News]) -> BTreeSet<(usize, String)> {
        let mut all = BTreeSet::new();
        for (token, (conn, watched)) in self.watches.iter().enumerate() {
            let who = DOMAINS[*conn];
            for item in news {
                let hears = if item.exact {
                    item.path == *watched
                } else {
                    covers(watched, &item.path)
                };
                if hears && item.lists.iter().any(|l| rights(l, who).0) {
                    all.insert((token, item.path.clone()));
                }
            }
        }
        all
    }

    /// The events that were sent, as (token, path); each went to its owner.
    fn heard(&mut self) -> Vec<(usize, String)> {
        let mut all = Vec::new();
        for m in std::mem::take(&mut self.net.out.sent) {
            let text = String::from_utf8(m.payload).unwrap();
            let mut parts = text.split('\0');
            let (path, token) = (
                parts.next().unwrap().to_owned(),
                parts.next().unwrap().parse().unwrap(),
            );
            let (conn, _): &(usize, String) = &self.watches[token];
            assert_eq!(m.to, self.conns[*conn]);
            all.push((token, path));
        }
        all
    }

    /// Tells open transactions which paths others have changed: those that
    /// differ, and those set to what they were.
    fn note_changes<'a>(&mut self, before: &Nodes, asked: impl Iterator<Item = &'a Ask>) {
        let set = asked.filter(|a| matches!(a, Ask::Write(..) | Ask::SetPerms(..)));
        let mut changed = differing(before, &self.nodes);
        changed.extend(set.map(|a| path_of(a).to_owned()));
        for tx in self.txs.iter_mut().flatten() {
            tx.changed_since.extend(changed.iter().cloned());
        }
    }

    fn step(&mut self, step: Step) -> Result<(), TestCaseError> {
        match step {
            Step::Start { conn } => {
                if self.txs[conn].is_none() {
                    let id = self.net.ok(self.conns[conn], Op::TransactionStart, "\0");
                    let id = id.trim_end_matches('\0').parse().unwrap();
                    let nodes = self.nodes.clone();
                    self.txs[conn] = Some(MTx {
                        id,
                        nodes,
                        asked: vec![],
                        changed_since: BTreeSet::new(),
                    });
                }
            }
            Step::Do { conn, in_tx, ask } => {
                let (op, payload) = request(&ask);
                let who = DOMAINS[conn];
                if let (true, Some(tx)) = (in_tx, &mut self.txs[conn]) {
                    let got = self.net.ask_in(self.conns[conn], tx.id, op, &payload);
                    let want = answer(&mut tx.nodes, &ask, who).map(|(reply, _)| reply);
                    prop_assert_eq!(&got, &want, "in transaction: {:?} by {}", ask, who);
                    tx.asked.push((ask, got));
                    prop_assert!(self.heard().is_empty());
                    return Ok(());
                }
                let got = self.net.ask_in(self.conns[conn], 0, op, &payload);
                let before = self.nodes.clone();
                let want = answer(&mut self.nodes, &ask, who);
                let news = want.as_ref().map_or(vec![], |(_, news)| {
                    self.expected(news).into_iter().collect()
                });
                prop_assert_eq!(&got, &want.map(|(reply, _)| reply), "{:?} by {}", ask, who);
                let mut heard = self.heard();
                heard.sort();
                prop_assert_eq!(heard, news, "events of {:?} by {}", ask, who);
                self.note_changes(&before, std::iter::once(&ask));
            }
            Step::End { conn, commit } => {
                if let Some(tx) = self.txs[conn].take() {
                    self.end(conn, tx, commit)?;
                }
            }
        }
        Ok(())
    }

    fn end(&mut self, conn: usize, tx: MTx, commit: bool) -> Result<(), TestCaseError> {
        let word: &[u8] = if commit { b"T\0" } else { b"F\0" };
        let got = self
            .net
            .ask_in(self.conns[conn], tx.id, Op::TransactionEnd, word);
        let heard = self.heard();
        if got.is_err() || !commit {
            prop_assert!(heard.is_empty());
        }
        match got {
            Ok(_) if !commit => {}
            Ok(_) => {
                let before = self.nodes.clone();
                for (ask, then) in &tx.asked {
                    let now = answer(&mut self.nodes, ask, DOMAINS[conn]).map(|(reply, _)| reply);
                    prop_assert_eq!(&now, then, "not serial: {:?}", ask);
                }
                for path in differing(&before, &self.nodes) {
                    self.check_told(&path, &before, &heard)?;
                }
                self.note_changes(&before, tx.asked.iter().map(|(a, _)| a));
            }
            Err(Errno::EAGAIN) => {
                let meets = |used: &str| {
                    tx.changed_since
                        .iter()
                        .any(|c| covers(c, used) || covers(used, c))
                };
                let met = tx.asked.iter().any(|(a, _)| meets(path_of(a)));
                prop_assert!(
                    met,
                    "EAGAIN for nothing: {:?} beside {:?}",
                    tx.asked,
                    tx.changed_since
                );
            }
            Err(e) => prop_assert!(false, "commit: {e}"),
        }
        Ok(())
    }

    /// Whoever watches a path that a commit changed, and may know, was told.
    fn check_told(
        &self,
        path: &str,
        before: &Nodes,
        heard: &[(usize, String)],
    ) -> Result<(), TestCaseError> {
        for (token, (conn, watched)) in self.watches.iter().enumerate() {
            let now = self.nodes.get(path);
            let who = DOMAINS[*conn];
            // A removed node tells its own watchers and those of what was removed whole.
            let concerned = if now.is_some() {
                covers(watched, path)
            } else {
                watched == path
            };
            let may = now
                .or(before.get(path))
                .is_some_and(|n| rights(&n.perms, who).0);
            if concerned && may {
                let told = heard.iter().any(|(t, p)| *t == token && covers(p, path));
                prop_assert!(
                    told || now.is_some()
                        && heard.iter().any(|(t, p)| *t == token && covers(path, p)),
                    "watch {} on {} not told of {}",
                    token,
                    watched,
                    path
                );
            }
        }
        Ok(())
    }
}

fn paths() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(vec!["a", "b", "c"]), 0..4).prop_map(|names| {
        if names.is_empty() {
            "/".to_owned()
        } else {
            format!("/{}", names.join("/"))
        }
    })
}

fn perms() -> impl Strategy<Value = Entries> {
    let entry = (
        prop::sample::select(vec![0u16, 1, 2]),
        prop::sample::select(vec!['n', 'r', 'w', 'b']),
    );
    prop::collection::vec(entry, 1..4)
}

fn asks() -> impl Strategy<Value = Ask> {
    prop_oneof![
        2 => paths().prop_map(Ask::Read),
        4 => (paths(), prop::collection::vec(b'0'..=b'9', 0..3)).prop_map(|(p, v)| Ask::Write(p, v)),
        2 => paths().prop_map(Ask::Mkdir),
        2 => paths().prop_map(Ask::Rm),
        2 => paths().prop_map(Ask::List),
        1 => paths().prop_map(Ask::GetPerms),
        2 => (paths(), perms()).prop_map(|(p, l)| Ask::SetPerms(p, l)),
    ]
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0usize..3, prop::bool::ANY, asks()).prop_map(|(conn, in_tx, ask)| Step::Do { conn, in_tx, ask }),
        1 => (0usize..3).prop_map(|conn| Step::Start { conn }),
        1 => (0usize..3, prop::bool::weighted(0.8)).prop_map(|(conn, commit)| Step::End { conn, commit }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn server_any_steps_agree_with_the_model(
        watches in prop::collection::vec((0usize..3, paths()), 0..5),
        all in prop::collection::vec(steps(), 1..80),
        reborn in prop::collection::btree_set(0usize..80, 0..4),
    ) {
        let mut both = Both::new(watches);
        for (i, step) in all.into_iter().enumerate() {
            if reborn.contains(&i) {
                let bytes = crate::dump::dump(&both.net.server);
                both.net.server = crate::dump::restore(&bytes).unwrap();
                prop_assert_eq!(crate::dump::dump(&both.net.server), bytes);
            }
            both.step(step)?;
            both.net.server.store().check().unwrap();
        }
        let mut flat = Nodes::new();
        both.net.server.store().live().root().visit(&mut "/".to_owned(), &mut |path, node| {
            let perms = node.perms.entries().iter().map(|e| (e.domid, e.access.letter())).collect();
            flat.insert(path.to_owned(), MNode { value: node.value.to_vec(), perms });
        });
        prop_assert_eq!(flat, both.nodes);
    }
}
