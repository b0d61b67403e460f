//! Replay of the journal against the server that lived on.

use std::collections::BTreeMap;

use noxen_xenstore::dump::dump;
use noxen_xenstore::wire::Header;
use proptest::prelude::*;

use super::*;
use crate::journal::{matters, Journal};
use crate::output::Unsent;

/// What the living server said to guests: how many replies, and which events.
#[derive(Default)]
struct Heard {
    replies: BTreeMap<ConnId, u64>,
    last: BTreeMap<ConnId, Vec<u8>>,
    events: BTreeMap<ConnId, Vec<Vec<u8>>>,
}

impl Sink for Heard {
    fn send(&mut self, to: ConnId, kind: Op, req_id: u32, tx_id: u32, payload: &[&[u8]]) {
        if kind == Op::WatchEvent {
            self.events.entry(to).or_default().push(payload.concat());
            return;
        }
        *self.replies.entry(to).or_insert(0) += 1;
        let mut message = Vec::new();
        append_message(&mut message, kind as u32, req_id, tx_id, payload);
        self.last.insert(to, message);
    }

    fn close(&mut self, _: ConnId) {}

    fn log(&mut self, _: &str) {}
}

#[derive(Clone, Debug)]
enum Step {
    Connect(ConnKind),
    /// The connection by its number among those that are there.
    Disconnect(usize),
    Ask {
        conn: usize,
        kind: u32,
        tx: u32,
        payload: String,
    },
    Checkpoint,
}

fn step() -> impl Strategy<Value = Step> {
    let kind = prop_oneof![
        Just(ConnKind::Tool),
        Just(ConnKind::ReadOnlyTool),
        (1u16..4).prop_map(ConnKind::Guest),
    ];
    let payload = prop::sample::select(vec![
        "/a\0",
        "/a/b\0v",
        "/a/b\0",
        "/local/domain/1\0",
        "/local/domain/1\0n1\0",
        "x\0",
        "x/y\0value",
        "T\0",
        "F\0",
        "\0",
        "/a\0tok\0",
        "x\0tok\0",
        "@releaseDomain\0r\0",
        "1\0",
        "1\x002\x003\0",
        "2\x001\x003\0",
        "2\x001\0",
        "quota\0set\0nodes\x005\0",
        "/\0",
        "/a\0n0\0r1\0",
        "junk",
    ]);
    prop_oneof![
        2 => kind.prop_map(Step::Connect),
        1 => (0usize..8).prop_map(Step::Disconnect),
        20 => (0usize..8, 0u32..24, 0u32..4, payload)
            .prop_map(|(conn, kind, tx, payload)| Step::Ask { conn, kind, tx, payload: payload.to_owned() }),
        1 => Just(Step::Checkpoint),
    ]
}

fn nothing_unsent(heard: &Heard, server: &Server) -> Vec<GuestState> {
    let guests = server
        .connections()
        .filter(|(_, kind)| matches!(kind, ConnKind::Guest(_)));
    guests
        .map(|(conn, _)| GuestState {
            conn,
            replies: heard.replies.get(&conn).copied().unwrap_or(0),
            unsent: Unsent::default(),
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn replayed_journal_gives_the_state_that_the_living_server_has(steps in prop::collection::vec(step(), 1..120)) {
        let dir = tempfile::tempdir().unwrap();
        let (mut server, mut heard) = (Server::new(), Heard::default());
        let mut journal = Journal::start(dir.path(), &dump(&server), &[]).unwrap();
        for step in steps {
            let there: Vec<(ConnId, ConnKind)> = server.connections().collect();
            match step {
                Step::Connect(kind) => {
                    journal.connect(kind);
                    server.connect(kind);
                }
                Step::Disconnect(n) => {
                    if let Some((conn, _)) = there.get(n) {
                        journal.disconnect(*conn);
                        server.disconnect(*conn);
                    }
                }
                Step::Ask { conn, kind, tx, payload } => {
                    if let Some((conn, who)) = there.get(conn) {
                        let header = Header { kind, req_id: 1, tx_id: tx, len: payload.len() as u32 };
                        if matters(*who, header) {
                            journal.request(*conn, header, payload.as_bytes());
                        }
                        server.handle(*conn, header, payload.as_bytes(), &mut heard);
                    }
                }
                Step::Checkpoint => {
                    heard.events.clear();
                    heard.last.clear();
                    journal.restart(&dump(&server), &nothing_unsent(&heard, &server)).unwrap();
                }
            }
            prop_assert!(journal.write_turn());
        }
        let recovered = recover(&Saved::load(dir.path()).unwrap().unwrap()).unwrap();
        let tools: Vec<ConnId> = server
            .connections()
            .filter(|(_, kind)| !matches!(kind, ConnKind::Guest(_)))
            .map(|(conn, _)| conn)
            .collect();
        for conn in tools {
            server.disconnect(conn);
        }
        prop_assert_eq!(dump(&recovered.server), dump(&server));
        let there: Vec<ConnId> = server.connections().map(|(conn, _)| conn).collect();
        prop_assert_eq!(recovered.guests.len(), there.len());
        let mut guests = recovered.guests;
        for conn in there {
            let guest = guests.get_mut(&conn).unwrap();
            prop_assert_eq!(guest.replies, heard.replies.get(&conn).copied().unwrap_or(0));
            prop_assert_eq!(guest.kept.back(), heard.last.get(&conn));
            let told = guest.events.unsent().events;
            let missing = heard.events.entry(conn).or_default().iter().find(|e| !told.contains(e));
            prop_assert!(missing.is_none(), "{:?} is not told again", missing);
        }
    }
}
