//! `save`, `restore`, `suspend`, `resume`, `dump-core`: what xend is asked.

mod common;

use common::*;
use noxen_xend_api::migrate::AtTimeout;
use noxen_xend_api::{Answer, Request};
use rustix::process::{kill_process, Pid, Signal};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

fn a_host(request: &Request) -> Answer {
    match request {
        Request::Domain { domain: name } => match name.as_str() {
            "a" => one(domain("a", 3)),
            "dormant" => {
                let mut dormant = domain("dormant", 0);
                dormant.domid = None;
                one(dormant)
            }
            other => no_such(other),
        },
        Request::Restore { .. } => one(domain("a", 4)),
        _ => ok(),
    }
}

fn path(root: &Root, name: &str) -> String {
    root.path().join(name).display().to_string()
}

#[test]
fn save_asks_with_an_absolute_path_and_its_switches() {
    let root = Root::new();
    let asked = serve(&root, a_host);
    root.run(&["save", "a", "state"]).is(0, "", "");
    root.run(&["save", "-c", "a", "./other"]).is(0, "", "");
    root.run(&["save", "--compress", "--by-guest", "a", "third"])
        .is(0, "", "");
    let save = |file: &str, checkpoint| Request::Save {
        domain: "3".into(),
        file: path(&root, file),
        checkpoint,
        how: Default::default(),
    };
    let asked = asked.lock().unwrap().clone();
    assert!(asked.contains(&save("state", false)), "{asked:?}");
    assert!(asked.contains(&save("other", true)), "{asked:?}");
    let third = Request::Save {
        domain: "3".into(),
        file: path(&root, "third"),
        checkpoint: false,
        how: noxen_xend_api::migrate::SaveHow {
            by_guest: true,
            compress: true,
        },
    };
    assert!(asked.contains(&third), "{asked:?}");
}

#[test]
fn dump_core_asks_with_its_switches_and_without_a_name_leaves_that_to_xend() {
    let root = Root::new();
    let asked = serve(&root, a_host);
    let said = "Dumping core of domain: a ...\n";
    root.run(&["dump-core", "-L", "-C", "a", "core"])
        .is(0, said, "");
    root.run(&["dump-core", "--reset", "a"]).is(0, said, "");
    let dump = |file: Option<&str>, live, crash, reset| Request::DumpCore {
        domain: "3".into(),
        file: file.map(|file| path(&root, file)),
        live,
        crash,
        reset,
    };
    let asked = asked.lock().unwrap().clone();
    assert!(
        asked.contains(&dump(Some("core"), true, true, false)),
        "{asked:?}"
    );
    assert!(asked.contains(&dump(None, false, false, true)), "{asked:?}");
}

#[test]
fn save_over_a_file_needs_force() {
    let root = Root::new();
    let asked = serve(&root, a_host);
    let file = root.file("there", "precious");
    let ran = root.run(&["save", "a", &file]);
    assert_eq!(ran.status, Some(1));
    assert!(
        ran.err.contains("it is there already; -f overwrites it"),
        "{}",
        ran.err
    );
    assert!(!asked
        .lock()
        .unwrap()
        .iter()
        .any(|r| matches!(r, Request::Save { .. })));
    root.run(&["save", "-f", "a", &file]).is(0, "", "");
}

#[test]
fn restore_suspend_and_resume_ask_with_their_switches() {
    let root = Root::new();
    let asked = serve(&root, a_host);
    let file = root.file("state", "x");
    root.run(&["restore", "-p", "state"]).is(0, "", "");
    root.run(&["restore", "--lazy", "state"]).is(0, "", "");
    root.run(&["suspend", "a"]).is(0, "", "");
    root.run(&["resume", "dormant", "--paused"]).is(0, "", "");
    let asked = asked.lock().unwrap().clone();
    for request in [
        Request::Restore {
            file: file.clone(),
            paused: true,
            lazy: false,
        },
        Request::Restore {
            file,
            paused: false,
            lazy: true,
        },
        Request::Suspend { domain: "3".into() },
        Request::Resume {
            domain: "dormant".into(),
            paused: true,
        },
    ] {
        assert!(asked.contains(&request), "{request:?}: {asked:?}");
    }
}

/// SIGINT.
fn interrupt(child: &Child) {
    let pid = Pid::from_child(child);
    kill_process(pid, Signal::INT).unwrap();
}

fn wait_for(wanted: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !wanted() {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn interrupt_cancels_a_move_and_a_second_one_does_not_wait() {
    let root = Root::new();
    // A move ends once it is cancelled and may end.
    let (cancelled, ends) = (Mutex::new(false), Condvar::new());
    let hangs = Arc::new(AtomicBool::new(false));
    let hanging = hangs.clone();
    let asked = serve(&root, move |request| match request {
        Request::Migrate { .. } => {
            let mut cancelled = cancelled.lock().unwrap();
            while !*cancelled || hanging.load(Ordering::SeqCst) {
                cancelled = ends.wait(cancelled).unwrap();
            }
            generic("cancelled; the domain runs on here")
        }
        Request::Cancel { domain } if domain == "3" => {
            *cancelled.lock().unwrap() = true;
            ends.notify_all();
            ok()
        }
        other => a_host(other),
    });
    let count = |wanted: fn(&Request) -> bool| {
        let asked = asked.lock().unwrap();
        asked.iter().filter(|request| wanted(request)).count()
    };
    let moves = || count(|request| matches!(request, Request::Migrate { .. }));
    let cancels = || count(|request| matches!(request, Request::Cancel { .. }));
    let start = || {
        let mut toolctl = root.toolctl();
        toolctl.args(["migrate", "--live", "a", "there"]);
        toolctl
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let first = start();
    wait_for(|| moves() == 1);
    interrupt(&first);
    let ran = Ran::of(first.wait_with_output().unwrap());
    assert_eq!(ran.status, Some(1));
    assert!(ran.err.starts_with("Error: cancelled;"), "{}", ran.err);
    // One that does not come to an end is left alone by the second.
    hangs.store(true, Ordering::SeqCst);
    let second = start();
    wait_for(|| moves() == 2);
    interrupt(&second);
    wait_for(|| cancels() == 2);
    interrupt(&second);
    let status = second.wait_with_output().unwrap().status;
    assert_eq!(status.signal(), Some(2), "{status}");
}

#[test]
fn what_becomes_of_a_move_that_takes_too_long_is_said_with_its_time() {
    let root = Root::new();
    let asked = serve(&root, a_host);
    for words in [
        &["--at-timeout", "force"][..],
        &["--timeout", "5", "--at-timeout", "pray"],
        &["--timeout", "soon"],
        &["--postcopy"],
    ] {
        let mut args = vec!["migrate", "a", "there"];
        args.extend(words);
        assert_eq!(root.run(&args).status, Some(1), "{args:?}");
    }
    root.run(&["migrate", "a", "there", "--timeout=5", "--at-timeout=force"]);
    let asked = asked.lock().unwrap();
    let moved: Vec<_> = asked
        .iter()
        .filter_map(|request| match request {
            Request::Migrate { how, .. } => Some((how.timeout_s, how.at_timeout)),
            _ => None,
        })
        .collect();
    assert_eq!(moved, [(Some(5), AtTimeout::Force)]);
}

#[test]
fn post_copy_is_asked_for_with_live_alone() {
    let root = Root::new();
    let asked = serve(&root, a_host);
    let ran = root.run(&["migrate", "--postcopy", "a", "there"]);
    assert!(ran.err.contains("--postcopy needs --live"), "{}", ran.err);
    root.run(&["migrate", "--live", "--postcopy", "a", "there"]);
    let asked = asked.lock().unwrap();
    let switches = asked.iter().filter_map(|request| match request {
        Request::Migrate { how, .. } => Some((how.live, how.postcopy)),
        _ => None,
    });
    assert_eq!(switches.collect::<Vec<_>>(), [(true, true)]);
}

#[test]
fn moves_hold_the_guest_back_unless_told_not_to() {
    let root = Root::new();
    let asked = serve(&root, a_host);
    root.run(&["migrate", "--live", "a", "there"]);
    root.run(&["migrate", "--live", "--no-throttle", "a", "there"]);
    let asked = asked.lock().unwrap();
    let switches = asked.iter().filter_map(|request| match request {
        Request::Migrate { how, .. } => Some(how.no_throttle),
        _ => None,
    });
    assert_eq!(switches.collect::<Vec<_>>(), [false, true]);
}
