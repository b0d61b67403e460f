//! Limits by name, culprits by domain, and what `CONTROL` asks of the daemon.

use super::tests::Net;
use super::*;

fn begin(n: &mut Net, conn: ConnId) -> u32 {
    let id = n.ok(conn, Op::TransactionStart, "\0");
    id.trim_end_matches('\0').parse().unwrap()
}

fn set(n: &mut Net, name: &str, value: u32) {
    let t = n.tool();
    n.ok(t, Op::Control, &format!("quota\0set\0{name}\0{value}\0"));
}

/// The names of the limits met so far, all by domain 5; forgets them.
fn met(n: &mut Net) -> Vec<(&'static str, u32)> {
    let all = std::mem::take(&mut n.out.limits);
    assert!(all.iter().all(|(d, l)| *d == 5 && !l.soft), "{all:?}");
    all.into_iter().map(|(_, l)| (l.name, l.value)).collect()
}

#[test]
fn each_limit_that_a_guest_meets_is_told_by_name_and_value() {
    let mut n = Net::new();
    let g = n.guest_at_home(5);
    for (name, value) in [
        ("nodes", 3),
        ("size", 10),
        ("watches", 1),
        ("transactions", 1),
        ("node-permissions", 2),
    ] {
        set(&mut n, name, value);
    }
    n.ok(g, Op::Write, "a\x001");
    assert_eq!(met(&mut n), []);
    n.ask(g, Op::Write, "a\x0012345678901").unwrap_err();
    assert_eq!(met(&mut n), [("size", 10)]);
    n.ask(g, Op::Mkdir, "b/c/d\0").unwrap_err();
    assert_eq!(met(&mut n), [("nodes", 3)]);
    n.ask(g, Op::SetPerms, "a\0n5\0r1\0r2\0").unwrap_err();
    assert_eq!(met(&mut n), [("node-permissions", 2)]);
    n.ok(g, Op::Watch, "a\0t\0");
    n.ask(g, Op::Watch, "b\0t\0").unwrap_err();
    assert_eq!(met(&mut n), [("watches", 1)]);
    let tx = begin(&mut n, g);
    n.ask(g, Op::TransactionStart, "\0").unwrap_err();
    assert_eq!(met(&mut n), [("transactions", 1)]);
    set(&mut n, "transaction-nodes", 1);
    n.ask_in(g, tx, Op::Read, b"a\0").unwrap();
    n.ask_in(g, tx, Op::Write, b"b\0").unwrap_err();
    assert_eq!(met(&mut n), [("transaction-nodes", 1)]);
    set(&mut n, "transaction-nodes", 100);
    set(&mut n, "transaction-bytes", 20);
    n.ask_in(g, tx, Op::Write, b"a\x0012345678").unwrap_err();
    assert_eq!(met(&mut n), [("transaction-bytes", 20)]);
    // What is refused for other reasons is nobody's limit.
    n.ask(g, Op::Read, "nothing\0").unwrap_err();
    n.ask(g, Op::Introduce, "6\x001\x001\0").unwrap_err();
    assert_eq!(met(&mut n), []);
}

#[test]
fn soft_limit_only_tells() {
    let mut n = Net::new();
    let (t, g) = (n.tool(), n.guest_at_home(5));
    assert_eq!(
        n.ask(t, Op::Control, "quota-soft\0set\0size\x003\0"),
        Err(Errno::EINVAL)
    );
    n.ok(t, Op::Control, "quota-soft\0set\0nodes\x002\0");
    let list = n.ok(t, Op::Control, "quota-soft\0");
    assert!(list.contains("nodes           :        2"), "{list}");
    assert!(list.contains("watches         :     none"), "{list}");
    n.server = crate::dump::restore(&crate::dump::dump(&n.server)).unwrap();
    n.ok(g, Op::Write, "a\0");
    assert!(n.out.limits.is_empty());
    n.ok(g, Op::Write, "b\0");
    let soft = Limit {
        name: "nodes",
        value: 2,
        soft: true,
    };
    assert_eq!(n.out.limits, [(5, soft)]);
}

/// A tool's transaction that has used `a` of domain 5 and listed its home,
/// then whatever `meanwhile` does, then the commit.
fn culprits_of(meanwhile: impl FnOnce(&mut Net, ConnId)) -> Vec<DomId> {
    let mut n = Net::new();
    let (t, g) = (n.tool(), n.guest_at_home(5));
    n.ok(g, Op::Write, "a/b\x001");
    let tx = begin(&mut n, t);
    n.ask_in(t, tx, Op::Read, b"/local/domain/5/a/b\0").unwrap();
    n.ask_in(t, tx, Op::Directory, b"/local/domain/5\0")
        .unwrap();
    n.ask_in(t, tx, Op::Write, b"/mine\x001").unwrap();
    meanwhile(&mut n, g);
    let end = n.ask_in(t, tx, Op::TransactionEnd, b"T\0");
    assert_eq!(end.is_err(), n.server.counters().conflicts == 1);
    n.out.culprits
}

#[test]
fn domain_whose_change_fails_anothers_transaction_is_named() {
    for payload in [&b"a/b\x002"[..], b"new\x001"] {
        let named = culprits_of(|n, g| drop(n.ask_in(g, 0, Op::Write, payload).unwrap()));
        assert_eq!(named, [5], "{}", String::from_utf8_lossy(payload));
    }
    for path in ["a\0", "a/b\0"] {
        assert_eq!(culprits_of(|n, g| drop(n.ok(g, Op::Rm, path))), [5]);
    }
    let in_transaction = culprits_of(|n, g| {
        let tx = begin(n, g);
        n.ask_in(g, tx, Op::Write, b"a/b\x003").unwrap();
        n.ask_in(g, tx, Op::TransactionEnd, b"T\0").unwrap();
    });
    assert_eq!(in_transaction, [5]);
}

#[test]
fn nobody_is_named_for_harmless_changes_nor_domain_zero_for_any() {
    let harmless = culprits_of(|n, g| drop(n.ok(g, Op::Write, "a/c\x001")));
    assert_eq!(harmless, []);
    let own = culprits_of(|n, _| {
        let t = n.tool();
        n.ok(t, Op::Write, "/local/domain/5/a/b\x002");
    });
    assert_eq!(own, []);
}

#[test]
fn control_hands_to_the_daemon_what_is_the_daemons() {
    let mut n = Net::new();
    let t = n.tool();
    n.ok(t, Op::Control, "logfile\0/x\0");
    assert_eq!(
        n.ok(t, Op::Control, "logfile\0/refused\0"),
        "no such file\0"
    );
    n.ok(t, Op::Control, "memreport\0/report\0");
    assert!(n.out.tasks[2].contains("file: \"/report\", text: \"nodes"));
    for early in ["live-update\0-s\0", "live-update\0-c\0-N\0"] {
        assert_eq!(n.ok(t, Op::Control, early), "Not in live-update session.\0");
    }
    n.ok(t, Op::Control, "live-update\0-f\0/new\0");
    n.ok(t, Op::Control, "live-update\0-c\0--verbose\0");
    for bad in [
        "live-update\0",
        "live-update\0-t\0x\0",
        "live-update\0-s\0-t\0soon\0",
    ] {
        assert_eq!(n.ask(t, Op::Control, bad), Err(Errno::EINVAL), "{bad:?}");
    }
    let before = n.out.sent.len();
    n.server.handle(
        t,
        Header {
            kind: Op::Control as u32,
            req_id: 9,
            tx_id: 0,
            len: 24,
        },
        b"live-update\0-s\0-t\x0060\0-F\0",
        &mut n.out,
    );
    assert_eq!(n.out.sent.len(), before, "the next daemon answers");
    let task = n.out.tasks.last().unwrap();
    assert!(
        task.contains("program: \"/new\", options: Some(\"--verbose\")")
            && task.contains("req_id: 9"),
        "{task}"
    );
}

#[test]
fn control_log_on_shows_requests_until_off() {
    let mut n = Net::new();
    let (t, g) = (n.tool(), n.guest_at_home(5));
    n.ok(t, Op::Control, "log\0on\0");
    n.ok(g, Op::Write, "a\0b\n");
    n.ok(t, Op::Control, "log\0off\0");
    let count = n.out.lines.len();
    n.ok(g, Op::Write, "a\0c");
    assert_eq!(n.out.lines.len(), count);
    let shown = "request of Guest(5): Write tx 0: a b?";
    assert!(n.out.lines.iter().any(|l| l == shown), "{:?}", n.out.lines);
}
