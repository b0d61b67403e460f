//! Killed and started again at any moment: nothing is lost, nothing is done
//! twice.

mod daemon;

use std::collections::HashSet;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use daemon::{wait_for, Daemon, PATIENCE};
use noxen_xenstore::client::{resume_domain, Client, Nodes};
use noxen_xenstore::session::Link;
use noxen_xenstore::wire::{append_message, Decoder, Op, HEADER_LEN};
use noxen_xenstore::{Access, Errno, Perms};
use rustix::process::Signal;

/// A guest whose link finds its way back to the daemon by itself.
struct Guest {
    domid: u16,
    door: PathBuf,
    link: Link,
    stream: UnixStream,
    inbox: Decoder,
    events: Vec<String>,
    breaks: u32,
}

impl Guest {
    fn attach(d: &Daemon, domid: u16) -> Guest {
        let door = d.run_dir().join("domains");
        let link = Link::new(domid);
        let mut stream = UnixStream::connect(&door).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(&link.greeting()).unwrap();
        let mut answer = [0; HEADER_LEN + 3];
        stream.read_exact(&mut answer).unwrap();
        assert!(answer.ends_with(b"OK\0"));
        Guest {
            domid,
            door,
            link,
            stream,
            inbox: Decoder::new(),
            events: Vec::new(),
            breaks: 0,
        }
    }

    /// What came from the daemon goes through the link into the inbox.
    fn receive(&mut self, bytes: &[u8]) {
        let (mut to_guest, mut to_daemon) = (Vec::new(), Vec::new());
        self.link
            .take_replies(bytes, &mut to_guest, &mut to_daemon)
            .unwrap();
        self.inbox.feed(&to_guest);
        if !to_daemon.is_empty() {
            self.send(&to_daemon);
        }
    }

    fn send(&mut self, bytes: &[u8]) {
        if self.stream.write_all(bytes).is_err() {
            self.come_back();
        }
    }

    fn come_back(&mut self) {
        self.breaks += 1;
        let mut rest = Vec::new();
        // It may end in a reset; what was read before that counts.
        let _ = self.stream.read_to_end(&mut rest);
        let mut to_guest = Vec::new();
        self.link
            .take_replies(&rest, &mut to_guest, &mut Vec::new())
            .unwrap();
        self.inbox.feed(&to_guest);
        self.link.forget_half();
        wait_for("the daemon to take the guest back", || self.try_come_back());
    }

    fn try_come_back(&mut self) -> bool {
        // The daemon may be gone once more before it has answered.
        let resumed = resume_domain(&self.door, self.domid, self.link.replies_seen());
        let Ok((stream, answered)) = resumed else {
            return false;
        };
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        self.stream = stream;
        let mut again = Vec::new();
        self.link.resumed(answered, &mut again).unwrap();
        self.send(&again);
        true
    }

    /// Sends requests at once and returns their replies, in order.
    fn ask_all(&mut self, requests: &[(Op, u32, String)]) -> Vec<Result<String, Errno>> {
        let mut bytes = Vec::new();
        for (i, (op, tx, payload)) in requests.iter().enumerate() {
            append_message(&mut bytes, *op as u32, i as u32, *tx, &[payload.as_bytes()]);
        }
        let mut out = Vec::new();
        self.link.take_requests(&bytes, &mut out).unwrap();
        self.send(&out);
        let mut replies = Vec::new();
        while replies.len() < requests.len() {
            if !self.take_one(&mut replies) {
                self.read_more();
            }
        }
        replies
    }

    /// Moves one message out of the inbox.
    fn take_one(&mut self, replies: &mut Vec<Result<String, Errno>>) -> bool {
        let Some((header, payload)) = self.inbox.next_message().unwrap() else {
            return false;
        };
        let text = String::from_utf8_lossy(payload).into_owned();
        if header.kind == Op::WatchEvent as u32 {
            self.events
                .push(text.split('\0').next().unwrap().to_owned());
        } else {
            assert_eq!(
                header.req_id as usize,
                replies.len(),
                "a reply out of order or twice"
            );
            let error = header.kind == Op::Error as u32;
            replies.push(if error {
                Err(Errno::from_wire(payload).unwrap())
            } else {
                Ok(text)
            });
        }
        true
    }

    fn read_more(&mut self) {
        let mut buffer = [0; 4096];
        match self.stream.read(&mut buffer) {
            Ok(n) if n > 0 => self.receive(&buffer[..n]),
            _ => self.come_back(),
        }
    }

    fn ask(&mut self, op: Op, tx: u32, payload: &str) -> Result<String, Errno> {
        self.ask_all(&[(op, tx, payload.to_owned())]).remove(0)
    }

    fn begin(&mut self) -> u32 {
        let id = self.ask(Op::TransactionStart, 0, "\0").unwrap();
        id.trim_end_matches('\0').parse().unwrap()
    }
}

fn make_home(d: &Daemon, domid: u16) {
    let mut c = d.client();
    let home = format!("/local/domain/{domid}");
    c.write(&home, "").unwrap();
    c.set_perms(&home, &Perms::owned_by(domid, Access::NONE))
        .unwrap();
    c.write(&format!("{home}/ev"), "").unwrap();
    c.set_perms(&format!("{home}/ev"), &Perms::owned_by(domid, Access::NONE))
        .unwrap();
    c.introduce(domid, 1, 2).unwrap();
}

#[test]
fn killed_daemon_comes_back_with_nodes_domains_watches_and_transactions() {
    let mut d = Daemon::start();
    make_home(&d, 5);
    let mut guest = Guest::attach(&d, 5);
    guest.ask(Op::Watch, 0, "ev\0tok\0").unwrap();
    guest.ask(Op::Write, 0, "name\0before").unwrap();
    let tx = guest.begin();
    guest.ask(Op::Write, tx, "name\0inside").unwrap();
    for round in 0..3 {
        d.kill();
        d.launch(&[]);
        let mut c = d.client();
        assert!(c.is_introduced(5).unwrap());
        assert_eq!(c.read("/local/domain/5/name").unwrap(), "before");
        // An event for a guest that is not back yet waits for it.
        c.write(&format!("/local/domain/5/ev/{round}"), "").unwrap();
    }
    assert_eq!(guest.ask(Op::Read, tx, "name\0").unwrap(), "inside");
    guest.ask(Op::TransactionEnd, tx, "T\0").unwrap();
    assert_eq!(guest.ask(Op::Read, 0, "name\0").unwrap(), "inside");
    for round in 0..3 {
        let path = format!("ev/{round}");
        assert!(
            guest.events.contains(&path),
            "{path} is not among {:?}",
            guest.events
        );
    }
    assert!(d.log().contains("goes on from a checkpoint"), "{}", d.log());
}

#[test]
fn stopped_daemon_is_succeeded_like_a_killed_one() {
    let mut d = Daemon::start();
    make_home(&d, 5);
    let mut guest = Guest::attach(&d, 5);
    guest.ask(Op::Write, 0, "name\0kept").unwrap();
    d.signal(Signal::TERM);
    assert!(d.ends_well());
    d.launch(&[]);
    assert_eq!(guest.ask(Op::Read, 0, "name\0").unwrap(), "kept");
    assert_eq!(guest.breaks, 1);
}

#[test]
fn fresh_start_forgets() {
    let mut d = Daemon::start();
    d.client().write("/x", "1").unwrap();
    d.kill();
    d.launch(&["--fresh"]);
    assert!(!d.client().exists("/x").unwrap());
}

#[test]
fn session_that_was_never_there_is_refused_and_a_new_one_replaces_an_absent_one() {
    let mut d = Daemon::start();
    make_home(&d, 5);
    let mut guest = Guest::attach(&d, 5);
    guest.ask(Op::Watch, 0, "ev\0tok\0").unwrap();
    let stranger = resume_domain(&d.run_dir().join("domains"), 9, 0);
    assert_eq!(stranger.unwrap_err().errno(), Some(Errno::ENOENT));
    d.kill();
    d.launch(&[]);
    // Its noxen-vmm begins anew instead of going on: the old watch is gone.
    let mut anew = d.guest(5);
    d.client().write("/local/domain/5/ev/x", "").unwrap();
    anew.watch("ev", "new").unwrap();
    assert_eq!(
        anew.next_event(Some(PATIENCE)).unwrap().unwrap().token,
        "new"
    );
}

#[test]
fn released_domain_stays_released_after_a_kill() {
    let mut d = Daemon::start();
    make_home(&d, 5);
    let _guest = Guest::attach(&d, 5);
    d.kill();
    d.launch(&[]);
    d.client().release(5).unwrap();
    d.kill();
    d.launch(&[]);
    let mut c = d.client();
    assert!(!c.is_introduced(5).unwrap() && !c.exists("/local/domain/5").unwrap());
}

#[test]
fn journal_that_grows_is_replaced_and_still_complete() {
    let mut d = Daemon::start();
    let mut c = d.client();
    let value = "v".repeat(4000);
    for i in 0..4000 {
        c.write(
            &format!("/grow/{}", i % 50),
            format!("{i}{}", &value[..3900]),
        )
        .unwrap();
    }
    let files: Vec<_> = std::fs::read_dir(d.run_dir().join("state"))
        .unwrap()
        .map(|e| e.unwrap())
        .collect();
    assert_eq!(files.len(), 1);
    assert!(files[0].file_name() != "state.0", "never replaced");
    assert!(files[0].metadata().unwrap().len() < 8 << 20);
    d.kill();
    d.launch(&[]);
    let mut c = d.client();
    for i in 3950..4000 {
        assert!(c
            .read(&format!("/grow/{}", i % 50))
            .unwrap()
            .starts_with(&i.to_string()));
    }
}

/// A tool that writes one path after the other until told to stop; a write
/// that was not acknowledged is done again. Returns how many it wrote.
fn tool_writes(d: &Path, stop: &AtomicBool) -> u64 {
    let connect = || {
        let mut client = None;
        wait_for("a connection for the tool", || {
            client = Client::connect_to(d).ok();
            client.is_some()
        });
        client.unwrap()
    };
    let (mut c, mut done) = (connect(), 0);
    while !stop.load(Ordering::Relaxed) {
        // Few enough paths for the guest's quota of unread events.
        if c.write(&format!("/local/domain/5/ev/{done}"), "").is_ok() {
            done += 1;
        } else {
            c = connect();
        }
        if done == 700 {
            break;
        }
    }
    done
}

/// Has the daemon begin to become another program, and comes back at some
/// moment of that: before, while or after the other one takes over.
fn die_while_upgrading(d: &Daemon, round: u64) {
    let mut c = d.client();
    let program = env!("CARGO_BIN_EXE_xenstored");
    assert_eq!(c.control(&["live-update", "-f", program]).unwrap(), "OK");
    let mut stream = c.into_stream().unwrap();
    let mut request = Vec::new();
    append_message(
        &mut request,
        Op::Control as u32,
        1,
        0,
        &[b"live-update\0-s\0"],
    );
    stream.write_all(&request).unwrap();
    // Nothing to wait for: any moment will do, each round another one.
    std::thread::sleep(std::time::Duration::from_millis(round % 16));
}

#[test]
fn two_hundred_kills_under_load_lose_nothing_and_repeat_nothing() {
    const KILLS: u64 = 200;
    let mut d = Daemon::start();
    make_home(&d, 5);
    let mut guest = Guest::attach(&d, 5);
    guest.ask(Op::Watch, 0, "ev\0tok\0").unwrap();
    guest.ask(Op::Write, 0, "counter\x000").unwrap();
    let (progress, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let socket = d.socket();
    std::thread::scope(|scope| {
        let tool = scope.spawn(|| tool_writes(&socket, &stop));
        let worker = scope.spawn(|| {
            let (mut commits, mut appended) = (0u64, 0u64);
            while !stop.load(Ordering::Relaxed) {
                // A counter in a transaction: done twice or lost, it shows.
                let tx = guest.begin();
                let n: u64 = guest
                    .ask(Op::Read, tx, "counter\0")
                    .unwrap()
                    .parse()
                    .unwrap();
                assert_eq!(n, commits);
                guest
                    .ask(Op::Write, tx, &format!("counter\0{}", n + 1))
                    .unwrap();
                match guest.ask(Op::TransactionEnd, tx, "T\0") {
                    Ok(_) => commits += 1,
                    Err(e) => assert_eq!(e, Errno::EAGAIN, "commit {commits}"),
                }
                // Requests in a row: each answered once, each done once.
                let row: Vec<_> = (0..20)
                    .map(|i| match i % 2 {
                        0 => (Op::Write, 0, format!("row\0{}", appended + i / 2)),
                        _ => (Op::Read, 0, "row\0".to_owned()),
                    })
                    .collect();
                for (i, reply) in guest.ask_all(&row).into_iter().enumerate() {
                    let want = if i % 2 == 0 {
                        "OK\0".to_owned()
                    } else {
                        (appended + i as u64 / 2).to_string()
                    };
                    assert_eq!(reply, Ok(want));
                }
                appended += 10;
                progress.fetch_add(1, Ordering::Relaxed);
            }
            (commits, guest)
        });
        for kill in 0..KILLS {
            // Somewhere in the next few rounds, at no particular place.
            let seen = progress.load(Ordering::Relaxed);
            wait_for("progress of the guest", || {
                assert!(
                    !worker.is_finished() || stop.load(Ordering::Relaxed),
                    "the guest's thread failed"
                );
                progress.load(Ordering::Relaxed) > seen + kill % 3
            });
            if kill % 2 == 1 {
                die_while_upgrading(&d, kill);
            }
            d.kill();
            d.launch(&[]);
        }
        stop.store(true, Ordering::Relaxed);
        let (commits, mut guest) = worker.join().unwrap();
        let written = tool.join().unwrap();
        let counter = guest.ask(Op::Read, 0, "counter\0").unwrap();
        assert_eq!(counter, commits.to_string());
        assert!(
            guest.breaks as u64 >= KILLS / 2,
            "only {} breaks were noticed",
            guest.breaks
        );
        let heard: HashSet<_> = guest.events.iter().cloned().collect();
        let missing: Vec<_> = (0..written)
            .filter(|i| !heard.contains(&format!("ev/{i}")))
            .collect();
        assert!(missing.is_empty(), "events lost: {missing:?} of {written}");
        assert!(written > 100, "the tool wrote {written} only");
        assert_eq!(d.client().control(&["check"]).unwrap(), "OK");
    });
}
