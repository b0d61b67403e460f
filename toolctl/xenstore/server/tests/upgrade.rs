//! `live-update`: another program in the place of this one, and nobody notices.

mod daemon;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use daemon::{wait_for, Daemon, PATIENCE};
use noxen_xenstore::client::{Client, Nodes};
use noxen_xenstore::{Access, Errno, Perms};

const PROGRAM: &str = env!("CARGO_BIN_EXE_xenstored");

fn upgrade(c: &mut Client, program: &str) -> String {
    assert_eq!(c.control(&["live-update", "-f", program]).unwrap(), "OK");
    c.control(&["live-update", "-s", "-t", "60"]).unwrap()
}

fn make_home(d: &Daemon, domid: u16) {
    let mut c = d.client();
    let home = format!("/local/domain/{domid}");
    c.mkdir(&home).unwrap();
    c.set_perms(&home, &Perms::owned_by(domid, Access::NONE))
        .unwrap();
    c.introduce(domid, 1, 2).unwrap();
}

#[test]
fn upgrade_keeps_process_connections_watches_and_lock() {
    let d = Daemon::start();
    make_home(&d, 5);
    let (mut tool, mut guest) = (d.client(), d.guest(5));
    let mut ro = Client::connect_to(&d.run_dir().join("socket_ro")).unwrap();
    tool.watch("/a", "tok").unwrap();
    tool.next_event(Some(PATIENCE)).unwrap().unwrap();
    guest.write("name", "kept").unwrap();
    let pid = std::fs::read_to_string(d.root().join("var/run/xenstore.pid")).unwrap();
    assert_eq!(upgrade(&mut tool, PROGRAM), "OK");
    let log = d.log();
    assert!(log.contains("took over 3 connections"), "{log}");
    assert_eq!(pid.trim(), d.pid().to_string());
    guest.write("/local/domain/5/x", "1").unwrap();
    assert_eq!(guest.read("name").unwrap(), "kept");
    assert_eq!(ro.write("/a", "1").unwrap_err().errno(), Some(Errno::EROFS));
    ro.read("/local/domain/5/name").unwrap();
    d.client().write("/a", "1").unwrap();
    let event = tool.next_event(Some(PATIENCE)).unwrap().unwrap();
    assert_eq!((&*event.path, &*event.token), ("/a", "tok"));
    // The lock on the pid file moved along.
    let second = daemon::xenstored(d.root())
        .args(["--foreground"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(
        !second.status.success() && said.contains("another xenstored"),
        "{said}"
    );
}

#[test]
fn upgrade_to_what_is_no_xenstored_is_refused_and_nothing_changes() {
    let d = Daemon::start();
    let mut c = d.client();
    c.write("/x", "1").unwrap();
    for (program, part) in [
        ("/bin/true", "cannot take over"),
        ("/bin/false", "cannot take over"),
        ("/no/such", "cannot run"),
    ] {
        let said = upgrade(&mut c, program);
        assert!(said.contains(part), "{program}: {said}");
        assert_eq!(c.read("/x").unwrap(), "1");
    }
}

#[test]
fn upgraded_daemon_is_recovered_like_any_other() {
    let mut d = Daemon::start();
    make_home(&d, 5);
    let mut c = d.client();
    c.write("/before", "1").unwrap();
    assert_eq!(upgrade(&mut c, PROGRAM), "OK");
    c.write("/after", "2").unwrap();
    d.kill();
    d.launch(&[]);
    let mut c = d.client();
    assert_eq!(
        c.read("/before").unwrap() + &c.read("/after").unwrap(),
        "12"
    );
    assert!(c.is_introduced(5).unwrap());
}

/// Counts in transactions, in a guest's name, until told to stop; each round
/// also reads what the round before has written.
fn count(mut c: Client, stop: &AtomicBool, progress: &AtomicU64) -> u64 {
    c.write("counter", "0").unwrap();
    let mut model = 0u64;
    while !stop.load(Ordering::Relaxed) {
        c.transaction(|tx| {
            let n: u64 = tx.read("counter")?.parse().unwrap();
            assert_eq!(n, model);
            tx.write("counter", (n + 1).to_string())?;
            tx.write(&format!("ring/{}", n % 20), n.to_string())
        })
        .unwrap();
        assert_eq!(
            c.read(&format!("ring/{}", model % 20)).unwrap(),
            model.to_string()
        );
        model += 1;
        progress.fetch_add(1, Ordering::Relaxed);
    }
    assert_eq!(c.read("counter").unwrap(), model.to_string());
    model
}

#[test]
fn fifty_upgrades_under_load_lose_nothing_and_repeat_nothing() {
    let d = Daemon::start();
    let domains = [5, 6, 7];
    domains.iter().for_each(|domid| make_home(&d, *domid));
    let (progress, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let mut listener = d.client();
    listener.watch("/local/domain/5/counter", "c").unwrap();
    listener.next_event(Some(PATIENCE)).unwrap().unwrap();
    std::thread::scope(|scope| {
        let workers = domains.map(|domid| {
            let client = d.guest(domid);
            let (stop, progress) = (&stop, &progress);
            scope.spawn(move || count(client, stop, progress))
        });
        let mut c = d.client();
        for _ in 0..50 {
            let seen = progress.load(Ordering::Relaxed);
            wait_for("progress of the domains", || {
                assert!(!workers.iter().any(|w| w.is_finished()), "a domain failed");
                progress.load(Ordering::Relaxed) > seen + 3
            });
            assert_eq!(upgrade(&mut c, PROGRAM), "OK");
        }
        stop.store(true, Ordering::Relaxed);
        let counts = workers.map(|w| w.join().unwrap());
        assert!(counts.iter().all(|n| *n > 0), "{counts:?}");
        assert_eq!(d.log().matches("took over").count(), 50);
        // The first count is written outside a transaction: one event more.
        let mut events = 0;
        listener.write("/end", "").unwrap();
        while events < counts[0] + 1 {
            let event = listener.next_event(Some(PATIENCE)).unwrap();
            assert_eq!(event.expect("one event for each count").token, "c");
            events += 1;
        }
        assert_eq!(c.control(&["check"]).unwrap(), "OK");
    });
}
