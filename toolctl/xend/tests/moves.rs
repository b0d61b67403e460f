//! `migrate` between two xends with stand-in monitors: what is where afterwards, whatever fails in between.

mod support;

#[path = "support/moving.rs"]
mod moving;

use moving::{kill_and_wait, ledger_of, migrate, runs, target, wanted};
use noxen_saved_image::state::read_outline;
use noxen_saved_image::{Reader, State};
use noxen_xend_api::migrate::{Ledger, Wanted};
use noxen_xend_api::{Disk, DomainConfig, Vif};
use noxen_xenstore::client::Nodes;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::thread::JoinHandle;
use support::{eventually, Lab};

const SCRIPT: &str = "echo \"$1 $vif\" >> \"$NOXEN_ROOT/script.log\"\ncase $1 in online) say hotplug-status connected;; esac";

/// A domain that is not made ready over there before the file is.
fn with_wait(lab: &Lab, config: DomainConfig) -> PathBuf {
    let path = lab.root().join("go");
    let info = lab.run(config);
    let node = format!("/local/domain/{}/data/wait", info.domid.unwrap());
    lab.store().write(&node, path.to_str().unwrap()).unwrap();
    path
}

#[test]
fn domain_is_there_with_all_it_had_and_here_is_nothing() {
    let here = Lab::new();
    let (there, port) = target("^localhost$");
    there.script("vif-bridge", SCRIPT);
    here.script("vif-bridge", SCRIPT);
    // Its id is taken there.
    there.run(there.config("other"));
    let image = here.image("disk.img", "hello");
    let mut config = here.config("m");
    config.disk = vec![Disk::parse(&format!("file:{image},xvda,w")).unwrap()];
    config.vif = vec![Vif::parse("mac=00:16:3e:00:00:01").unwrap()];
    let before = here.run(config);
    let home = format!("/local/domain/{}", before.domid.unwrap());
    let mut store = here.store();
    for (node, value) in [
        ("data/mark", "of the guest"),
        ("device/vif/0/state", "4"),
        ("device/vbd/51712/state", "4"),
        ("device/vbd/51712/ring-ref", "8"),
    ] {
        store.write(&format!("{home}/{node}"), value).unwrap();
    }
    migrate(&here, port).unwrap();
    assert!(here.guests().is_empty());
    assert!(here.traces().is_empty(), "{:?}", here.traces());
    let after = there.guest("m").unwrap();
    assert_eq!((after.domid, after.uuid), (Some(2), before.uuid));
    runs(&there);
    let mut store = there.store();
    for (path, value) in [
        ("/local/domain/2/data/mark", "of the guest"),
        ("/local/domain/2/device/vbd/51712/ring-ref", "8"),
        (
            "/local/domain/2/device/vbd/51712/backend",
            "/local/domain/0/backend/vbd/2/51712",
        ),
        (
            "/local/domain/2/device/vif/0/backend",
            "/local/domain/0/backend/vif/2/0",
        ),
        ("/local/domain/0/backend/vbd/2/51712/state", "4"),
        ("/local/domain/0/backend/vif/2/0/state", "4"),
    ] {
        assert_eq!(store.read(path).unwrap(), value, "{path}");
    }
    let scripts = |lab: &Lab| std::fs::read_to_string(lab.root().join("script.log")).unwrap();
    assert_eq!(scripts(&there), "online vif2.0\n");
    assert_eq!(scripts(&here), "online vif1.0\noffline vif1.0\n");
    // xend may die there now, and it is still one that has come.
    kill_and_wait(&there);
    eventually("the domain", || there.guest("m"));
    runs(&there);
}

#[test]
fn guest_is_held_back_unless_that_is_not_wanted_and_the_ledger_says_so() {
    let (here, there) = (target(""), target(""));
    here.0.run(here.0.config("m"));
    let percents =
        |ledger: Ledger| -> Vec<u32> { ledger.rounds.iter().map(|round| round.throttle).collect() };
    let ledger = ledger_of(&here.0, wanted(there.1)).unwrap();
    assert_eq!(percents(ledger), [20]);
    let how = Wanted {
        no_throttle: true,
        ..wanted(here.1)
    };
    let ledger = ledger_of(&there.0, how).unwrap();
    assert_eq!(percents(ledger), [0]);
    runs(&here.0);
}

#[test]
fn domain_goes_by_post_copy_and_is_gone_here_once_all_its_pages_are_there() {
    let (here, there) = (Lab::new(), target(""));
    let path = here.root().join("pages");
    let info = here.run(here.config("m"));
    let node = format!("/local/domain/{}/data/pages-wait", info.domid.unwrap());
    here.store().write(&node, path.to_str().unwrap()).unwrap();
    let how = Wanted {
        postcopy: true,
        ..wanted(there.1)
    };
    let moved = std::thread::scope(|scope| {
        let moving = scope.spawn(|| ledger_of(&here, how));
        // It runs there before its memory is there, and stands still here until it is.
        eventually("a domain that runs there", || {
            let guest = there.0.guest("m")?;
            guest.state.letters().starts_with("-b").then_some(())
        });
        assert!(!here.guests().is_empty() && !moving.is_finished());
        std::fs::write(&path, "").unwrap();
        moving.join().unwrap()
    });
    let after = moved.unwrap().postcopy.unwrap();
    assert_eq!((after.bytes, after.asked), (4096, 1));
    assert!(here.guests().is_empty() && here.traces().is_empty());
    runs(&there.0);
}

#[test]
fn post_copy_to_a_host_that_knows_none_or_of_one_that_stands_still_is_refused() {
    let here = Lab::new();
    here.run(here.config("m"));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let how = Wanted {
        postcopy: true,
        ..wanted(listener.local_addr().unwrap().port())
    };
    let old = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut line = String::new();
        BufReader::new(&stream).read_line(&mut line).unwrap();
        let said = b"(err (type XendError) (value 'Invalid operation: pages'))\n";
        stream.write_all(said).unwrap();
        line
    });
    let error = ledger_of(&here, how.clone()).unwrap_err();
    let line = old.join().unwrap();
    assert!(
        line.starts_with("pages 1 ") && line.trim().len() == 44,
        "{line}"
    );
    assert!(
        error.contains("Invalid operation") && error.contains("leave --postcopy out"),
        "{error}"
    );
    let still = Wanted { live: false, ..how };
    let error = ledger_of(&here, still).unwrap_err();
    assert!(error.contains("--live"), "{error}");
    runs(&here);
}

#[test]
fn what_is_refused_runs_on_here() {
    let here = Lab::new();
    here.run(here.config("m"));
    let (stranger, port) = target("^10[.]");
    assert!(migrate(&here, port)
        .unwrap_err()
        .starts_with("can't connect: "));
    assert!(migrate(&here, 1)
        .unwrap_err()
        .starts_with("can't connect: "));
    assert!(stranger.guests().is_empty());
    let (there, port) = target("");
    there.run(there.config("m"));
    let error = migrate(&here, port).unwrap_err();
    assert!(
        error.contains("Domain 'm' already exists with ID '1'"),
        "{error}"
    );
    there.destroy("m");
    runs(&here);
    migrate(&here, port).unwrap();
    runs(&there);
    assert!(here.guests().is_empty());
}

#[test]
fn xend_that_is_killed_on_either_side_before_the_word_leaves_one_copy_here() {
    for kill_source in [true, false] {
        let here = Lab::new();
        let (there, port) = target("");
        let go = with_wait(&here, here.config("m"));
        std::thread::scope(|scope| {
            let moving = scope.spawn(|| {
                // The connection breaks with its xend, which the ask does not like.
                let asked =
                    std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| migrate(&here, port)));
                asked.unwrap_or(Err("its xend is gone".into()))
            });
            eventually("its arrival", || there.guest("m"));
            kill_and_wait(if kill_source { &here } else { &there });
            if kill_source {
                std::fs::write(&go, "").unwrap();
            }
            assert!(moving.join().unwrap().is_err());
        });
        eventually("the end over there", || {
            there.guests().is_empty().then_some(())
        });
        runs(&here);
    }
}

/// What a target that is none says after `go`.
#[derive(Clone, Copy)]
enum Says {
    Yes,
    No,
}

/// Takes a domain in as far as `go`, breaks the connection, and answers the question that follows.
fn broken_target(says: Says) -> (u16, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let work = move || {
        let (mut stream, _) = listener.accept().unwrap();
        assert_eq!(read_line(&stream), "receive");
        stream.write_all(b"(ready receive)\n").unwrap();
        let mut reader = Reader::open(&stream).unwrap();
        let token = reader.header().moving.clone().unwrap();
        let (domain, _) = read_outline(&mut reader).unwrap();
        State::read_stream(&mut reader, domain, |_| Ok(())).unwrap();
        stream.write_all(b"(ok prepared)\n").unwrap();
        assert_eq!(read_line(&stream), "go");
        drop(stream);
        let (mut stream, _) = listener.accept().unwrap();
        assert_eq!(read_line(&stream), format!("moved {token}"));
        let said: &[u8] = match says {
            Says::Yes => b"(ok yes)\n",
            Says::No => b"(ok no)\n",
        };
        stream.write_all(said).unwrap();
    };
    (port, std::thread::spawn(work))
}

fn read_line(stream: &TcpStream) -> String {
    // A byte at a time: what follows is for another reader.
    let mut text = String::new();
    BufReader::with_capacity(1, stream.take(4096))
        .read_line(&mut text)
        .unwrap();
    text.trim_end().to_owned()
}

#[test]
fn connection_lost_after_the_word_is_settled_by_a_question() {
    let here = Lab::new();
    here.run(here.config("m"));
    let (port, played) = broken_target(Says::No);
    let error = migrate(&here, port).unwrap_err();
    assert!(error.contains("it runs on here"), "{error}");
    played.join().unwrap();
    runs(&here);
    let (port, played) = broken_target(Says::Yes);
    migrate(&here, port).unwrap();
    played.join().unwrap();
    assert!(here.guests().is_empty());
}
