use proptest::prelude::*;

use super::*;
use crate::server::{ConnId, ConnKind, Sink};
use crate::wire::{Header, Op};

struct Deaf;

impl Sink for Deaf {
    fn send(&mut self, _: ConnId, _: Op, _: u32, _: u32, _: &[&[u8]]) {}
    fn close(&mut self, _: ConnId) {}
    fn log(&mut self, _: &str) {}
}

/// A server with a bit of everything.
fn busy() -> Server {
    let mut server = Server::new();
    let (tool, _) = server.connect(ConnKind::Tool);
    let (gone, _) = server.connect(ConnKind::ReadOnlyTool);
    let (guest, _) = server.connect(ConnKind::Guest(5));
    server.disconnect(gone);
    let mut ask = |conn, tx_id, op: Op, payload: &[u8]| {
        let header = Header {
            kind: op as u32,
            req_id: 0,
            tx_id,
            len: payload.len() as u32,
        };
        server.handle(conn, header, payload, &mut Deaf);
    };
    ask(tool, 0, Op::Write, b"/local/domain/5/name\0guest");
    ask(tool, 0, Op::SetPerms, b"/local/domain/5\0n5\0r6\0");
    ask(tool, 0, Op::Introduce, b"5\x00100\x002\0");
    ask(tool, 0, Op::Introduce, b"6\x00101\x003\0");
    ask(tool, 0, Op::SetTarget, b"6\x005\0");
    ask(tool, 0, Op::Control, b"quota\0set\0watches\x007\0");
    ask(guest, 0, Op::Watch, b"device\0tok\0");
    ask(tool, 0, Op::Watch, b"@releaseDomain\0r\0");
    ask(guest, 0, Op::TransactionStart, b"\0");
    ask(guest, 1, Op::Write, b"data/x\0\x001");
    ask(guest, 1, Op::Rm, b"name\0");
    ask(tool, 0, Op::Write, b"/other\0v");
    server
}

#[test]
fn restored_server_dumps_the_same_bytes() {
    let bytes = dump(&busy());
    assert_eq!(dump(&restore(&bytes).unwrap()), bytes);
}

#[test]
fn dump_writes_shared_nodes_once() {
    let mut server = Server::new();
    let (tool, _) = server.connect(ConnKind::Tool);
    let header = |op: Op, len: usize| Header {
        kind: op as u32,
        req_id: 0,
        tx_id: 0,
        len: len as u32,
    };
    for i in 0..200 {
        let payload = format!("/n/{i}\0{}", "v".repeat(100));
        server.handle(
            tool,
            header(Op::Write, payload.len()),
            payload.as_bytes(),
            &mut Deaf,
        );
    }
    let plain = dump(&server).len();
    for _ in 0..50 {
        server.handle(tool, header(Op::TransactionStart, 1), b"\0", &mut Deaf);
    }
    let with_transactions = dump(&server).len();
    assert!(
        with_transactions < plain + 50 * 100,
        "{plain} grew to {with_transactions}"
    );
}

#[test]
fn restore_of_a_truncated_dump_is_an_error() {
    let bytes = dump(&busy());
    for len in 0..bytes.len() {
        assert!(
            restore(&bytes[..len]).is_err(),
            "{len} of {} bytes were enough",
            bytes.len()
        );
    }
    assert!(restore(&[&bytes[..], b"x"].concat()).is_err());
}

proptest! {
    #[test]
    fn restore_of_damaged_bytes_never_panics(at in any::<prop::sample::Index>(), byte in any::<u8>(), more in any::<u32>()) {
        let mut bytes = dump(&busy());
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let _ = restore(&bytes);
        let end = bytes.len().min(at + 4);
        bytes[at..end].copy_from_slice(&more.to_le_bytes()[..end - at]);
        let _ = restore(&bytes);
    }
}
