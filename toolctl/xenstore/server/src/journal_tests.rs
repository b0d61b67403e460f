use noxen_xenstore::dump::{dump, restore};
use noxen_xenstore::server::Server;

use super::*;

fn header(op: Op, len: usize) -> Header {
    Header {
        kind: op as u32,
        req_id: 3,
        tx_id: 0,
        len: len as u32,
    }
}

/// A journal with a checkpoint of one guest and two turns.
fn sample(dir: &Path) -> (Journal, ConnId) {
    let mut server = Server::new();
    let (conn, _) = server.connect(ConnKind::Guest(5));
    let unsent = Unsent {
        replies: vec![b"reply".to_vec()],
        events: vec![b"a\0b\0".to_vec()],
    };
    let guests = [GuestState {
        conn,
        replies: 9,
        unsent,
    }];
    let mut journal = Journal::start(dir, &dump(&server), &guests).unwrap();
    journal.connect(ConnKind::Tool);
    journal.request(conn, header(Op::Mkdir, 3), b"/x\0");
    assert!(journal.write_turn());
    journal.disconnect(conn);
    assert!(journal.write_turn());
    (journal, conn)
}

fn entries(saved: &Saved) -> usize {
    let mut count = 0;
    saved.replay(|_| count += 1).unwrap();
    count
}

#[test]
fn saved_state_reads_back_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let (_journal, conn) = sample(dir.path());
    let saved = Saved::load(dir.path()).unwrap().unwrap();
    let (server, guests) = saved.checkpoint().unwrap();
    assert!(restore(server).is_ok());
    assert_eq!(
        (
            guests[0].conn,
            guests[0].replies,
            guests[0].unsent.replies.len()
        ),
        (conn, 9, 1)
    );
    let mut at = 0;
    saved
        .replay(|entry| {
            let want = [
                Entry::Connect(ConnKind::Tool),
                Entry::Request(conn, header(Op::Mkdir, 3), b"/x\0"),
                Entry::Disconnect(conn),
            ];
            assert_eq!(entry, want[at]);
            at += 1;
        })
        .unwrap();
    assert_eq!(at, 3);
}

#[test]
fn torn_tail_at_any_byte_loses_only_the_last_turn() {
    let dir = tempfile::tempdir().unwrap();
    sample(dir.path());
    let path = dir.path().join("state.0");
    let whole = std::fs::read(&path).unwrap();
    let full = Saved::parse(whole.clone()).unwrap();
    let (first, second) = (full.records[1].end, full.records[2].end);
    for len in full.records[0].end..second + 100 {
        let saved = Saved::parse(whole[..len].to_vec()).unwrap();
        let want = if len < first {
            0
        } else if len < second {
            2
        } else {
            3
        };
        assert_eq!(entries(&saved), want, "{len} bytes");
    }
    for len in 0..full.records[0].end {
        assert!(
            Saved::parse(whole[..len].to_vec()).is_none(),
            "{len} bytes made a checkpoint"
        );
    }
}

#[test]
fn turn_that_does_not_fit_asks_for_a_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, conn) = sample(dir.path());
    let mut turns = 0;
    loop {
        journal.request(conn, header(Op::Write, 4000), &[b'x'; 4000]);
        if !journal.write_turn() {
            break;
        }
        turns += 1;
    }
    assert!(turns > ROOM / 5000, "{turns} turns fitted");
    assert_eq!(
        entries(&Saved::load(dir.path()).unwrap().unwrap()),
        3 + turns
    );
    journal.restart(&dump(&Server::new()), &[]).unwrap();
    assert!(journal.write_turn());
    assert_eq!(entries(&Saved::load(dir.path()).unwrap().unwrap()), 0);
}

#[test]
fn half_written_new_checkpoint_leaves_the_old_one_in_force() {
    let dir = tempfile::tempdir().unwrap();
    sample(dir.path());
    std::fs::write(dir.path().join("new"), b"noxenXS1").unwrap();
    assert_eq!(entries(&Saved::load(dir.path()).unwrap().unwrap()), 3);
}

#[test]
fn restart_leaves_one_file_which_is_the_new_one() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = sample(dir.path());
    journal.restart(&dump(&Server::new()), &[]).unwrap();
    let left = files(dir.path()).unwrap();
    assert_eq!(left.iter().map(|(n, _)| *n).collect::<Vec<_>>(), [1]);
    assert_eq!(entries(&Saved::load(dir.path()).unwrap().unwrap()), 0);
    journal.abandon();
    assert!(Saved::load(dir.path()).unwrap().is_none());
}

#[test]
fn state_of_another_boot_is_ignored() {
    let dir = tempfile::tempdir().unwrap();
    sample(dir.path());
    let path = dir.path().join("state.0");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[MARK.len()] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    assert!(Saved::load(dir.path()).unwrap().is_none());
}

#[test]
fn questions_of_tools_are_not_remembered_but_guests_are() {
    let q = header(Op::Read, 0);
    assert!(!matters(ConnKind::Tool, q));
    assert!(matters(ConnKind::Guest(1), q));
    assert!(matters(ConnKind::Tool, Header { tx_id: 1, ..q }));
    assert!(matters(ConnKind::Tool, header(Op::Watch, 0)));
}
