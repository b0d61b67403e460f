use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::wire::{append_message, Decoder, PAYLOAD_MAX};

/// A message that the core sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sent {
    pub to: ConnId,
    pub kind: Op,
    pub req_id: u32,
    pub tx_id: u32,
    pub payload: Vec<u8>,
}

#[derive(Default)]
pub(super) struct Collector {
    pub sent: Vec<Sent>,
    pub closed: Vec<ConnId>,
    pub lines: Vec<String>,
    pub limits: Vec<(DomId, Limit)>,
    pub culprits: Vec<DomId>,
    pub tasks: Vec<String>,
}

impl Sink for Collector {
    fn send(&mut self, to: ConnId, kind: Op, req_id: u32, tx_id: u32, payload: &[&[u8]]) {
        let payload = payload.concat();
        assert!(
            payload.len() <= PAYLOAD_MAX,
            "a message of {} bytes",
            payload.len()
        );
        self.sent.push(Sent {
            to,
            kind,
            req_id,
            tx_id,
            payload,
        });
    }

    fn close(&mut self, conn: ConnId) {
        self.closed.push(conn);
    }

    fn log(&mut self, line: &str) {
        self.lines.push(line.to_owned());
    }

    fn limit(&mut self, domid: DomId, limit: Limit) {
        self.limits.push((domid, limit));
    }

    fn conflict(&mut self, culprit: DomId) {
        self.culprits.push(culprit);
    }

    fn task(&mut self, task: Task<'_>) -> Result<(), String> {
        self.tasks.push(format!("{task:?}"));
        match task {
            Task::LogTo("/refused") => Err("no such file".to_owned()),
            _ => Ok(()),
        }
    }
}

/// A server and everything it said.
pub(super) struct Net {
    pub server: Server,
    pub out: Collector,
}

impl Net {
    pub fn new() -> Net {
        Net {
            server: Server::new(),
            out: Collector::default(),
        }
    }

    pub fn tool(&mut self) -> ConnId {
        self.server.connect(ConnKind::Tool).0
    }

    pub fn guest(&mut self, domid: DomId) -> ConnId {
        self.server.connect(ConnKind::Guest(domid)).0
    }

    /// A guest with a home of its own, introduced.
    pub fn guest_at_home(&mut self, domid: DomId) -> ConnId {
        let t = self.tool();
        self.ok(t, Op::Write, &format!("/local/domain/{domid}\0"));
        self.ok(
            t,
            Op::SetPerms,
            &format!("/local/domain/{domid}\0n{domid}\0"),
        );
        self.ok(t, Op::Introduce, &format!("{domid}\x001\x001\0"));
        self.server.disconnect(t);
        self.guest(domid)
    }

    /// One request; its reply or error. Events stay in `out`.
    pub fn ask_in(
        &mut self,
        conn: ConnId,
        tx_id: u32,
        op: Op,
        payload: &[u8],
    ) -> Result<Vec<u8>, Errno> {
        let from = self.out.sent.len();
        let header = Header {
            kind: op as u32,
            req_id: 42,
            tx_id,
            len: payload.len() as u32,
        };
        self.server.handle(conn, header, payload, &mut self.out);
        let is_reply = |m: &Sent| m.kind != Op::WatchEvent;
        let new = self.out.sent[from..]
            .iter()
            .position(is_reply)
            .expect("no reply")
            + from;
        let reply = self.out.sent.remove(new);
        assert!(!self.out.sent[from..].iter().any(is_reply), "two replies");
        assert_eq!((reply.to, reply.req_id, reply.tx_id), (conn, 42, tx_id));
        if reply.kind == Op::Error {
            return Err(Errno::from_wire(&reply.payload).expect("an error of no known name"));
        }
        assert_eq!(reply.kind, op);
        Ok(reply.payload)
    }

    pub fn ask(&mut self, conn: ConnId, op: Op, payload: &str) -> Result<Vec<u8>, Errno> {
        self.ask_in(conn, 0, op, payload.as_bytes())
    }

    pub fn ok(&mut self, conn: ConnId, op: Op, payload: &str) -> String {
        let reply = self
            .ask(conn, op, payload)
            .unwrap_or_else(|e| panic!("{op:?} {payload:?}: {e}"));
        String::from_utf8(reply).unwrap()
    }

    /// The events since the last call, `path token` each.
    pub fn events(&mut self, conn: ConnId) -> Vec<String> {
        let (mine, others) = self.out.sent.drain(..).partition(|m| m.to == conn);
        self.out.sent = others;
        let mine: Vec<Sent> = mine;
        let shown = |m: &Sent| {
            String::from_utf8_lossy(&m.payload)
                .trim_end_matches('\0')
                .replace('\0', " ")
        };
        mine.iter().map(shown).collect()
    }
}

#[test]
fn watch_fires_once_at_registration_whether_or_not_the_node_exists() {
    let mut n = Net::new();
    let t = n.tool();
    n.ok(t, Op::Watch, "/nope\0tok\0");
    assert_eq!(n.events(t), ["/nope tok"]);
    assert_eq!(n.ask(t, Op::Watch, "/nope\0tok\0"), Err(Errno::EEXIST));
    assert_eq!(n.ask(t, Op::Unwatch, "/nope\0other\0"), Err(Errno::ENOENT));
    n.ok(t, Op::Unwatch, "/nope\0tok\0");
    n.ok(t, Op::Write, "/nope\0v");
    assert!(n.events(t).is_empty());
}

#[test]
fn events_come_in_order_of_change_then_of_registration() {
    let mut n = Net::new();
    let t = n.tool();
    for watch in ["/a\0first\0", "/\0second\0", "/a/b\0third\0"] {
        n.ok(t, Op::Watch, watch);
    }
    n.events(t);
    n.ok(t, Op::Write, "/a/b/c\x001");
    n.ok(t, Op::Write, "/a\x002");
    assert_eq!(
        n.events(t),
        [
            "/a/b/c first",
            "/a/b/c second",
            "/a/b/c third",
            "/a first",
            "/a second"
        ]
    );
}

#[test]
fn removal_tells_deep_watchers_their_own_path_and_deepest_first() {
    let mut n = Net::new();
    let t = n.tool();
    n.ok(t, Op::Write, "/a/b/c\x001");
    for watch in [
        "/a\0top\0",
        "/a/b\0mid\0",
        "/a/b/c\0leaf\0",
        "/a/x\0absent\0",
    ] {
        n.ok(t, Op::Watch, watch);
    }
    n.events(t);
    n.ok(t, Op::Rm, "/a\0");
    assert_eq!(n.events(t), ["/a/b/c leaf", "/a/b mid", "/a top"]);
}

#[test]
fn relative_watch_hears_relative_paths() {
    let mut n = Net::new();
    let (t, g) = (n.tool(), n.guest_at_home(5));
    n.ok(g, Op::Watch, "device/vif\0tok\0");
    n.ok(g, Op::Watch, "/local/domain/5/device\0abs\0");
    n.events(g);
    n.ok(t, Op::Write, "/local/domain/5/device/vif/0/state\x004");
    let told = [
        "device/vif/0/state tok",
        "/local/domain/5/device/vif/0/state abs",
    ];
    assert_eq!(n.events(g), told);
}

#[test]
fn guest_hears_only_of_nodes_that_it_may_read() {
    let mut n = Net::new();
    let (t, g) = (n.tool(), n.guest(5));
    n.ok(t, Op::Write, "/secret/node\x001");
    n.ok(g, Op::Watch, "/secret\0tok\0");
    assert_eq!(
        n.events(g),
        ["/secret tok"],
        "the first event tells nothing"
    );
    n.ok(t, Op::Write, "/secret/node\x002");
    assert!(n.events(g).is_empty());
    n.ok(t, Op::SetPerms, "/secret/node\0n0\0r5\0");
    assert_eq!(n.events(g), ["/secret/node tok"]);
    n.ok(t, Op::Write, "/secret/node\x003");
    assert_eq!(n.events(g), ["/secret/node tok"]);
    n.ok(t, Op::SetPerms, "/secret/node\0n0\0");
    assert_eq!(n.events(g), ["/secret/node tok"], "it could read before");
    n.ok(t, Op::Rm, "/secret\0");
    assert!(n.events(g).is_empty());
}

#[test]
fn special_watches_tell_those_whom_their_permissions_let_know() {
    let mut n = Net::new();
    let (t, g) = (n.tool(), n.guest(5));
    for conn in [t, g] {
        n.ok(conn, Op::Watch, "@introduceDomain\0i\0");
        n.ok(conn, Op::Watch, "@releaseDomain\0r\0");
        n.events(conn);
    }
    n.ok(t, Op::Introduce, "7\x001\x002\0");
    n.ok(t, Op::Introduce, "7\x001\x003\0");
    n.ok(t, Op::SetPerms, "@releaseDomain\0n0\0r5\0");
    n.ok(t, Op::Release, "7\0");
    assert_eq!(n.events(t), ["@introduceDomain i", "@releaseDomain r"]);
    assert_eq!(n.events(g), ["@releaseDomain r"]);
    assert_eq!(
        n.ask(g, Op::SetPerms, "@releaseDomain\0n5\0"),
        Err(Errno::EACCES)
    );
    assert_eq!(n.ask(t, Op::Read, "@releaseDomain\0"), Err(Errno::EINVAL));
}

#[test]
fn transaction_events_wait_for_the_commit() {
    let mut n = Net::new();
    let t = n.tool();
    n.ok(t, Op::Watch, "/a\0tok\0");
    n.events(t);
    let id: u32 = n
        .ok(t, Op::TransactionStart, "\0")
        .trim_end_matches('\0')
        .parse()
        .unwrap();
    n.ask_in(t, id, Op::Write, b"/a/x\x001").unwrap();
    n.ask_in(t, id, Op::Write, b"/a/x\x002").unwrap();
    n.ask_in(t, id, Op::Mkdir, b"/a/y\0").unwrap();
    assert!(n.events(t).is_empty());
    n.ask_in(t, id, Op::TransactionEnd, b"T\0").unwrap();
    assert_eq!(n.events(t), ["/a/x tok", "/a/y tok"]);
    assert_eq!(
        n.ask_in(t, id, Op::TransactionEnd, b"T\0"),
        Err(Errno::ENOENT)
    );
}

#[test]
fn transaction_abandoned_changes_and_tells_nothing() {
    let mut n = Net::new();
    let t = n.tool();
    n.ok(t, Op::Watch, "/a\0tok\0");
    n.events(t);
    let id: u32 = n
        .ok(t, Op::TransactionStart, "\0")
        .trim_end_matches('\0')
        .parse()
        .unwrap();
    n.ask_in(t, id, Op::Write, b"/a/x\x001").unwrap();
    assert_eq!(
        n.ask_in(t, id, Op::TransactionStart, b"\0"),
        Err(Errno::EBUSY)
    );
    assert_eq!(
        n.ask_in(t, id, Op::TransactionEnd, b"maybe\0"),
        Err(Errno::EINVAL)
    );
    n.ask_in(t, id, Op::TransactionEnd, b"F\0").unwrap();
    assert_eq!(n.ask(t, Op::Read, "/a/x\0"), Err(Errno::ENOENT));
    assert!(n.events(t).is_empty());
}

#[test]
fn quotas_of_watches_and_transactions_end_with_their_errors() {
    let mut n = Net::new();
    let g = n.guest_at_home(5);
    for i in 0..128 {
        n.ok(g, Op::Watch, &format!("w{i}\0t\0"));
    }
    assert_eq!(n.ask(g, Op::Watch, "more\0t\0"), Err(Errno::E2BIG));
    assert_eq!(n.ask(g, Op::Watch, "w0\0t\0"), Err(Errno::EEXIST));
    for _ in 0..10 {
        n.ok(g, Op::TransactionStart, "\0");
    }
    assert_eq!(n.ask(g, Op::TransactionStart, "\0"), Err(Errno::ENOSPC));
    n.ok(g, Op::ResetWatches, "\0");
    n.ok(g, Op::Watch, "more\0t\0");
    n.ok(g, Op::TransactionStart, "\0");
}

#[test]
fn guest_may_not_do_what_is_domain_zeros() {
    let mut n = Net::new();
    let g = n.guest_at_home(5);
    let forbidden = [
        (Op::Introduce, "6\x001\x001\0"),
        (Op::Release, "5\0"),
        (Op::Resume, "5\0"),
        (Op::SetTarget, "5\x006\0"),
        (Op::Control, "check\0"),
    ];
    for (op, payload) in forbidden {
        assert_eq!(n.ask(g, op, payload), Err(Errno::EACCES), "{op:?}");
    }
    assert_eq!(n.ok(g, Op::GetDomainPath, "9\0"), "/local/domain/9\0");
    assert_eq!(
        n.ok(g, Op::IsDomainIntroduced, "32752\0"),
        "T\0",
        "DOMID_SELF"
    );
}

#[test]
fn set_target_lends_rights_until_the_target_is_released() {
    let mut n = Net::new();
    let (t, _g, stub) = (n.tool(), n.guest_at_home(5), n.guest_at_home(9));
    n.ok(t, Op::Write, "/local/domain/5/x\x001");
    n.ok(t, Op::SetPerms, "/local/domain/5/x\0n5\0");
    assert_eq!(
        n.ask(stub, Op::Read, "/local/domain/5/x\0"),
        Err(Errno::EACCES)
    );
    assert_eq!(n.ask(t, Op::SetTarget, "9\x008\0"), Err(Errno::ENOENT));
    n.ok(t, Op::SetTarget, "9\x005\0");
    assert_eq!(n.ok(stub, Op::Read, "/local/domain/5/x\0"), "1");
    n.ok(t, Op::Release, "5\0");
    n.ok(t, Op::Write, "/again\x001");
    n.ok(t, Op::SetPerms, "/again\0n5\0");
    assert_eq!(n.ask(stub, Op::Read, "/again\0"), Err(Errno::EACCES));
}

#[test]
fn release_disconnects_removes_and_tells() {
    let mut n = Net::new();
    let (t, g) = (n.tool(), n.guest_at_home(5));
    n.ok(g, Op::Write, "data/x\x001");
    n.ok(t, Op::Watch, "/local/domain/5/data\0d\0");
    n.events(t);
    n.ok(t, Op::Release, "5\0");
    assert_eq!(n.out.closed, [g]);
    assert_eq!(n.events(t), ["/local/domain/5/data d"]);
    assert_eq!(n.ask(t, Op::Release, "5\0"), Err(Errno::ENOENT));
    assert_eq!(n.ok(t, Op::IsDomainIntroduced, "5\0"), "F\0");
    n.server.store().check().unwrap();
}

#[test]
fn connection_identity_is_never_that_of_an_earlier_one() {
    let mut n = Net::new();
    let first = n.tool();
    n.server.disconnect(first);
    let second = n.tool();
    assert_ne!(first, second);
    n.server.disconnect(first);
    n.ok(second, Op::Read, "/tool\0");
}

#[test]
fn control_commands_answer_and_unknown_ones_are_counted() {
    let mut n = Net::new();
    let t = n.tool();
    assert_eq!(n.ok(t, Op::Control, "check\0"), "OK\0");
    assert_eq!(n.ok(t, Op::Control, "print\0hi\nthere\0"), "OK\0");
    assert!(
        n.out.lines.iter().any(|l| l.ends_with("print: hi?there")),
        "{:?}",
        n.out.lines
    );
    for command in ["help\0", "memreport\0", "quota\0", "quota\x000\0"] {
        assert!(
            n.ok(t, Op::Control, command).ends_with("\n\0"),
            "{command:?}"
        );
    }
    n.ok(t, Op::Control, "quota\0set\0watches\x003\0");
    assert_eq!(n.server.guest_quota().watches, 3);
    for bad in ["bogus\0", "", "print\0", "quota\0x\0y\0", "check\0extra\0"] {
        assert_eq!(n.ask(t, Op::Control, bad), Err(Errno::EINVAL), "{bad:?}");
    }
    assert_eq!(n.server.counters().unknown_commands, 2);
    let unknown = Header {
        kind: 20,
        req_id: 1,
        tx_id: 0,
        len: 0,
    };
    n.server.handle(t, unknown, b"", &mut n.out);
    assert_eq!(n.out.sent.last().unwrap().payload, b"ENOSYS\0");
    assert_eq!(n.server.counters().unknown_operations, 1);
}

#[test]
fn directory_part_pieces_make_the_whole_list() {
    let mut n = Net::new();
    let t = n.tool();
    for i in 0..400 {
        n.ok(t, Op::Write, &format!("/many/{i:020}\0"));
    }
    assert_eq!(n.ask(t, Op::Directory, "/many\0"), Err(Errno::E2BIG));
    let (mut list, mut rounds) = (String::new(), 0);
    loop {
        rounds += 1;
        let part = n.ok(t, Op::DirectoryPart, &format!("/many\0{}\0", list.len()));
        let (_generation, names) = part.split_once('\0').unwrap();
        match names.strip_suffix("\0\0") {
            Some(last) => break list.push_str(last),
            None => list.push_str(names),
        }
    }
    assert_eq!((rounds, list.split('\0').count()), (3, 400));
}

#[test]
fn deepest_possible_tree_is_made_watched_dumped_and_removed() {
    let mut n = Net::new();
    let t = n.tool();
    let deep = "/a".repeat(1024);
    n.ok(t, Op::Write, &format!("{deep}\0v"));
    n.ok(t, Op::Watch, &format!("{deep}\0t\0"));
    n.events(t);
    n.server = crate::dump::restore(&crate::dump::dump(&n.server)).unwrap();
    assert_eq!(n.ok(t, Op::Read, &format!("{deep}\0")), "v");
    n.ok(t, Op::Rm, "/a\0");
    assert_eq!(n.events(t), [format!("{deep} t")]);
    n.server.store().check().unwrap();
}

/// Bytes that look enough like requests to get far into the code.
fn hostile_stream() -> impl Strategy<Value = Vec<u8>> {
    let word = prop::sample::select(vec![
        "/",
        "/local/domain/5",
        "a",
        "b/c",
        "..",
        "@releaseDomain",
        "@x",
        "T",
        "F",
        "n5",
        "r0",
        "5",
        "0",
        "99999",
        "",
        "/local/domain/5/a",
        "quota",
        "set",
        "nodes",
        "check",
        "\u{ff}",
        "/tool/xenstored",
        "18446744073709551616",
    ]);
    let payload = prop_oneof![
        (prop::collection::vec(word, 0..4), prop::bool::ANY).prop_map(|(words, end)| {
            let mut p = words.join("\0").into_bytes();
            if end {
                p.push(0);
            }
            p
        }),
        prop::collection::vec(any::<u8>(), 0..60),
        (0usize..=4096).prop_map(|n| vec![b'/'; n]),
    ];
    let message = (0u32..30, 0u32..4, payload).prop_map(|(kind, tx, payload)| {
        let mut m = Vec::new();
        append_message(&mut m, kind, 1, tx, &[&payload]);
        m
    });
    prop::collection::vec(message, 1..60).prop_map(|all| all.concat())
}

/// Feeds random request streams from a guest and a tool for a bounded time.
#[test]
fn wire_fuzz_never_panics_nor_breaks_the_store() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::{Config, TestRunner};
    let deadline = Instant::now() + Duration::from_secs(3);
    let mut runner = TestRunner::new(Config::default());
    let mut rounds = 0;
    while Instant::now() < deadline {
        rounds += 1;
        let mut n = Net::new();
        let conns = [n.guest_at_home(5), n.tool(), n.guest(6)];
        for conn in conns {
            let stream = hostile_stream().new_tree(&mut runner).unwrap().current();
            let mut decoder = Decoder::new();
            decoder.feed(&stream);
            while let Ok(Some((header, payload))) = decoder.next_message() {
                let before = n.out.sent.len();
                n.server.handle(conn, header, payload, &mut n.out);
                let alive = !n.out.closed.contains(&conn);
                let replies = n.out.sent[before..]
                    .iter()
                    .filter(|m| m.kind != Op::WatchEvent && m.to == conn);
                assert_eq!(
                    replies.count(),
                    usize::from(alive),
                    "one reply to each request: {header:?}"
                );
                n.out.sent.clear();
            }
        }
        n.server.store().check().unwrap();
        assert!(n.server.store().holdings().of(5) <= 1000);
    }
    assert!(rounds > 50, "only {rounds} rounds in the time");
}
