//! The daemon as a process: start, stop, exclusion, doors, bad clients.

mod daemon;

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use daemon::{wait_for, xenstored, Daemon, PATIENCE};
use noxen_xenstore::client::{Client, Nodes, Watcher};
use noxen_xenstore::wire::{append_message, Header, Op};
use noxen_xenstore::{Access, Errno, Perms};
use rustix::process::Signal;

#[test]
fn background_start_returns_once_the_socket_accepts() {
    let root = tempfile::tempdir().unwrap();
    let output = xenstored(root.path()).arg("--output-pid").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let run = root.path().join("var/run");
    // No waiting here: that is the promise.
    let mut client = Client::connect_to(&run.join("xenstored/socket")).unwrap();
    client.write("/x", "1").unwrap();
    let pid = std::fs::read_to_string(run.join("xenstore.pid")).unwrap();
    assert_eq!(pid, String::from_utf8(output.stdout).unwrap());

    let second = xenstored(root.path()).output().unwrap();
    assert_eq!(second.status.code(), Some(1));
    let line = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(
        line.contains(&format!("another xenstored (pid {})", pid.trim())),
        "{line}"
    );

    let pid = rustix::process::Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
    rustix::process::kill_process(pid, Signal::TERM).unwrap();
    wait_for("the pid file's removal", || {
        !run.join("xenstore.pid").exists()
    });
    for socket in ["socket", "socket_ro", "domains"] {
        let path = run.join("xenstored").join(socket);
        assert!(!path.exists(), "{socket} is left behind");
    }
    let log = std::fs::read_to_string(root.path().join("var/log/xen/xenstored.log")).unwrap();
    assert!(log.contains("serves") && log.contains("stops"), "{log}");
}

#[test]
fn sigterm_ends_well_and_takes_the_files_along() {
    let mut d = Daemon::start();
    d.signal(Signal::TERM);
    assert!(d.ends_well());
    assert!(!d.socket().exists() && !d.root().join("var/run/xenstore.pid").exists());
}

#[test]
fn start_over_the_sockets_of_a_killed_daemon_works() {
    let mut d = Daemon::start();
    d.kill();
    assert!(d.socket().exists());
    d.launch(&[]);
    d.client().write("/a", "1").unwrap();
}

#[test]
fn start_failure_is_one_line_and_leaves_nothing() {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(root.path().join("var/run/xenstored/socket")).unwrap();
    let output = xenstored(root.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("is no socket; remove it"), "{text}");
}

#[test]
fn sockets_are_for_root_only() {
    let d = Daemon::start();
    let mode = |name| {
        std::fs::metadata(d.run_dir().join(name))
            .unwrap()
            .permissions()
            .mode()
            & 0o777
    };
    assert_eq!(
        (mode("socket"), mode("socket_ro"), mode("domains")),
        (0o600, 0o660, 0o600)
    );
}

#[test]
fn read_only_socket_reads_and_refuses_changes() {
    let d = Daemon::start();
    d.client().write("/a", "1").unwrap();
    let mut ro = Client::connect_to(&d.run_dir().join("socket_ro")).unwrap();
    assert_eq!(ro.read("/a").unwrap(), "1");
    ro.watch("/a", "t").unwrap();
    assert_eq!(ro.write("/a", "2").unwrap_err().errno(), Some(Errno::EROFS));
    assert_eq!(ro.release(1).unwrap_err().errno(), Some(Errno::EROFS));
}

#[test]
fn guest_connection_has_the_guests_rights_and_watches_end_with_it() {
    let d = Daemon::start();
    let mut dom0 = d.client();
    dom0.write("/local/domain/5/name", "g").unwrap();
    dom0.set_perms("/local/domain/5", &Perms::owned_by(5, Access::NONE))
        .unwrap();
    dom0.introduce(5, 1, 2).unwrap();
    let mut guest = d.guest(5);
    guest.write("data/x", "hello").unwrap();
    assert_eq!(dom0.read("/local/domain/5/data/x").unwrap(), "hello");
    assert_eq!(
        guest.read("/tool").unwrap_err().errno(),
        Some(Errno::EACCES)
    );
    assert_eq!(
        guest.introduce(6, 1, 1).unwrap_err().errno(),
        Some(Errno::EACCES)
    );
    guest.watch("data", "t").unwrap();
    assert_eq!(
        guest.next_event(Some(PATIENCE)).unwrap().unwrap().path,
        "data"
    );
    dom0.write("/local/domain/5/data/y", "1").unwrap();
    assert_eq!(
        guest.next_event(Some(PATIENCE)).unwrap().unwrap().path,
        "data/y"
    );
    drop(guest);

    let mut again = d.guest(5);
    assert!(dom0.is_introduced(5).unwrap());
    again.watch("data", "t").unwrap();
    again.next_event(Some(PATIENCE)).unwrap().unwrap();
    dom0.release(5).unwrap();
    let gone = again.next_event(Some(PATIENCE));
    assert!(
        gone.is_err(),
        "a released domain's connection is closed, got {gone:?}"
    );
    assert!(!dom0.exists("/local/domain/5").unwrap());
}

#[test]
fn domain_door_refuses_who_does_not_say_its_name() {
    let d = Daemon::start();
    for (kind, payload) in [
        (2, &b"/\0"[..]),
        (0x4e58, b"0\0"),
        (0x4e58, b"x\0"),
        (0x4e58, b"40000\0"),
        (0x4e58, b"5"),
    ] {
        let mut stream = UnixStream::connect(d.run_dir().join("domains")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut request = Vec::new();
        append_message(&mut request, kind, 7, 0, &[payload]);
        stream.write_all(&request).unwrap();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        let header = Header::decode(all.first_chunk().unwrap());
        assert_eq!(
            (header.kind, header.req_id),
            (Op::Error as u32, 7),
            "{payload:?}"
        );
        assert_eq!(&all[16..], b"EINVAL\0");
    }
    assert!(d.client().exists("/tool").unwrap());
}

#[test]
fn newer_connection_of_a_domain_closes_the_older() {
    let d = Daemon::start();
    let mut older = d.guest(4);
    older.watch("x", "t").unwrap();
    older.next_event(Some(PATIENCE)).unwrap().unwrap();
    let mut newer = d.guest(4);
    assert!(older.next_event(Some(PATIENCE)).is_err());
    newer.watch("x", "t").unwrap();
}

#[test]
fn oversized_message_closes_that_connection_only() {
    let d = Daemon::start();
    let mut bad = UnixStream::connect(d.socket()).unwrap();
    bad.set_read_timeout(Some(PATIENCE)).unwrap();
    bad.write_all(
        &Header {
            kind: 11,
            req_id: 0,
            tx_id: 0,
            len: 4097,
        }
        .encode(),
    )
    .unwrap();
    assert_eq!(bad.read(&mut [0; 16]).unwrap(), 0);
    assert!(d.client().exists("/tool").unwrap());
}

#[test]
fn requests_sent_at_once_are_all_answered_though_nothing_more_is_sent() {
    let d = Daemon::start();
    let mut stream = UnixStream::connect(d.socket()).unwrap();
    stream.set_read_timeout(Some(daemon::PATIENCE)).unwrap();
    let value = "v".repeat(4000);
    let big: [&[u8]; 2] = [b"/big\0", value.as_bytes()];
    let mut all = Vec::new();
    append_message(&mut all, Op::Write as u32, 0, 0, &big);
    // More replies than are let pile up before a connection is read from no more.
    for _ in 0..300 {
        append_message(&mut all, Op::Read as u32, 0, 0, &[b"/big\0"]);
    }
    stream.write_all(&all).unwrap();
    let mut replies = vec![0; 16 + 3 + 300 * (16 + 4000)];
    stream.read_exact(&mut replies).unwrap();
}

#[test]
fn requests_sent_before_hanging_up_are_still_done() {
    let d = Daemon::start();
    let mut stream = UnixStream::connect(d.socket()).unwrap();
    let mut all = Vec::new();
    let value = "v".repeat(4000);
    append_message(
        &mut all,
        Op::Write as u32,
        0,
        0,
        &[b"/big\0", value.as_bytes()],
    );
    for i in 0..500 {
        append_message(
            &mut all,
            Op::Write as u32,
            i,
            0,
            &[format!("/last/{i}\0v").as_bytes()],
        );
    }
    // Far more than a socket holds: they come while we read, after our end.
    for _ in 0..200 {
        append_message(&mut all, Op::Read as u32, 0, 0, &[b"/big\0"]);
    }
    stream.write_all(&all).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut replies = Vec::new();
    stream.read_to_end(&mut replies).unwrap();
    assert_eq!(replies.len(), 501 * (16 + 3) + 200 * (16 + 4000));
    assert_eq!(d.client().directory("/last").unwrap().len(), 500);
}

#[test]
fn flood_without_reading_replies_neither_starves_nor_grows() {
    let d = Daemon::start();
    let mut c = d.client();
    c.write("/big", "x".repeat(4000)).unwrap();
    let mut flood = UnixStream::connect(d.socket()).unwrap();
    flood.set_nonblocking(true).unwrap();
    let mut requests = Vec::new();
    for _ in 0..1000 {
        append_message(&mut requests, Op::Read as u32, 1, 0, &[b"/big\0"]);
    }
    let mut sent = 0;
    // The daemon must stop reading from us at some point.
    wait_for("the daemon's pause", || {
        for _ in 0..100 {
            match flood.write(&requests) {
                Ok(n) => sent += n,
                Err(_) => return true,
            }
        }
        false
    });
    assert!(sent < 4 << 20, "{sent} bytes were taken");
    for i in 0..200 {
        c.write("/fair", i.to_string()).unwrap();
    }
    let status = std::fs::read_to_string(format!("/proc/{}/status", d.pid())).unwrap();
    let rss = status
        .lines()
        .find_map(|l| l.strip_prefix("VmRSS:"))
        .unwrap();
    let kib: u64 = rss.trim().trim_end_matches("kB").trim().parse().unwrap();
    assert!(kib < 30_000, "the daemon holds {kib} KiB");
}

#[test]
fn guest_that_never_reads_its_events_is_bounded_and_gets_the_news_later() {
    let d = Daemon::start();
    let mut dom0 = d.client();
    dom0.write("/local/domain/5/data/n", "").unwrap();
    dom0.set_perms("/local/domain/5", &Perms::owned_by(5, Access::NONE))
        .unwrap();
    dom0.set_perms("/local/domain/5/data", &Perms::owned_by(5, Access::NONE))
        .unwrap();
    let mut guest = d.guest(5);
    guest.watch("data", "t").unwrap();
    for i in 0..30_000 {
        dom0.write(&format!("/local/domain/5/data/n{}", i % 100), "v")
            .unwrap();
    }
    let mut seen = std::collections::HashSet::new();
    while seen.len() < 101 {
        seen.insert(
            guest
                .next_event(Some(PATIENCE))
                .unwrap()
                .expect("an event is missing")
                .path,
        );
    }
    assert!(guest.read("data").is_ok());
}

#[test]
fn watcher_thread_delivers_by_channel_and_ends_with_the_daemon() {
    let mut d = Daemon::start();
    let (mut watcher, events) = Watcher::start(d.client()).unwrap();
    watcher.watch("/w", "tok").unwrap();
    assert_eq!(
        watcher.watch("/w", "tok").unwrap_err().errno(),
        Some(Errno::EEXIST)
    );
    assert_eq!(events.recv_timeout(PATIENCE).unwrap().path, "/w");
    d.client().write("/w/x", "1").unwrap();
    assert_eq!(events.recv_timeout(PATIENCE).unwrap().path, "/w/x");
    watcher.unwatch("/w", "tok").unwrap();
    d.client().write("/w/x", "2").unwrap();
    assert!(events.recv_timeout(Duration::from_millis(50)).is_err());
    d.kill();
    let ended = events.recv_timeout(PATIENCE);
    assert_eq!(ended, Err(std::sync::mpsc::RecvTimeoutError::Disconnected));
}

#[test]
fn client_lists_a_directory_too_long_for_one_message() {
    let d = Daemon::start();
    let mut c = d.client();
    for i in 0..700 {
        c.write(&format!("/many/{i:020}"), "").unwrap();
    }
    let names = c.directory("/many").unwrap();
    assert_eq!(names.len(), 700);
    assert_eq!(names[699], format!("{:020}", 699));
}

#[test]
fn client_transaction_repeats_until_it_fits() {
    let d = Daemon::start();
    let (mut a, mut b) = (d.client(), d.client());
    a.write("/n", "0").unwrap();
    let mut disturbances = 3;
    let total = a
        .transaction(|tx| {
            let n: u32 = tx.read("/n")?.parse().unwrap();
            if disturbances > 0 {
                disturbances -= 1;
                b.write("/n", (n + 10).to_string())?;
            }
            tx.write("/n", (n + 1).to_string())?;
            Ok(n + 1)
        })
        .unwrap();
    assert_eq!((total, b.read("/n").unwrap().as_str()), (31, "31"));
}

/// Numbers that look random and are the same in every run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// A piece of a stream: sometimes whole messages, sometimes noise.
fn hostile_piece(numbers: &mut Numbers) -> Vec<u8> {
    let mut piece = Vec::new();
    for _ in 0..numbers.next() % 20 {
        let payload: Vec<u8> = (0..numbers.next() % 40)
            .map(|_| b"/abc\0n5T@"[(numbers.next() % 9) as usize])
            .collect();
        let kind = (numbers.next() % 26) as u32;
        append_message(
            &mut piece,
            kind,
            0,
            (numbers.next() % 3) as u32,
            &[&payload],
        );
    }
    if numbers.next().is_multiple_of(4) {
        let noise = numbers.next() % 50;
        piece.extend((0..noise).map(|_| numbers.next() as u8));
    }
    piece
}

#[test]
fn hostile_streams_on_every_socket_leave_the_daemon_well() {
    let d = Daemon::start();
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    let deadline = Instant::now() + Duration::from_secs(2);
    let mut streams = 0;
    while Instant::now() < deadline {
        let name = ["socket", "socket_ro", "domains"][streams % 3];
        let mut stream = UnixStream::connect(d.run_dir().join(name)).unwrap();
        stream.set_nonblocking(true).unwrap();
        if streams % 6 == 2 {
            let mut hello = Vec::new();
            append_message(&mut hello, 0x4e58, 0, 0, &[b"5\0"]);
            stream.write_all(&hello).unwrap();
        }
        for _ in 0..numbers.next() % 30 {
            // The daemon may have had enough of it already.
            if stream.write(&hostile_piece(&mut numbers)).is_err() {
                break;
            }
        }
        streams += 1;
    }
    assert!(streams > 20, "only {streams} streams in the time");
    assert_eq!(d.client().control(&["check"]).unwrap(), "OK");
    let log = d.log();
    assert!(!log.contains("panicked"), "{log}");
    assert!(
        log.lines().count() < 1000,
        "{} lines were logged",
        log.lines().count()
    );
}
