//! xend killed, restarted, starved: domains go on.

mod support;

use noxen_xend_api::{Client, Request, ShutdownKind};
use noxen_xenstore::client::Nodes;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;
use support::{eventually, is_alive, kill, parent_of, Lab};

#[test]
fn xend_start_stop_status_have_their_exit_codes() {
    let lab = Lab::new();
    let code = |args: &[&str]| lab.xend(args).status.code().unwrap();
    assert_eq!(code(&["status"]), 0);
    assert_eq!(code(&["start"]), 0);
    assert_eq!(code(&["reload"]), 0);
    assert_eq!(code(&["stop"]), 0);
    assert_eq!(code(&["status"]), 3);
    assert!(!lab.paths().xend_pid().exists());
    assert_eq!(code(&["stop"]), 0);
    assert_eq!(code(&["restart"]), 0);
    assert_eq!(code(&["status"]), 0);
    // A second daemon does not come to be, and the first one keeps its lock.
    let second = lab.xend(&["start", "--foreground"]);
    assert_eq!(second.status.code(), Some(1));
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(said.contains("another xend is running"), "{said}");
    assert_eq!(code(&["status"]), 0);
    let none = lab.xend(&[]);
    assert_eq!(none.status.code(), Some(1));
    assert_eq!(none.stdout, b"usage: xend {start|stop|reload|restart}\n");
    let other = lab.xend(&["dance"]);
    assert_eq!(
        (other.status.code(), &other.stdout[..]),
        (Some(1), &b"not an option: dance\n"[..])
    );
}

#[test]
fn xend_start_without_a_store_says_why() {
    let lab = Lab::new();
    lab.stop();
    let pid = std::fs::read_to_string(lab.root().join("var/run/xenstore.pid")).unwrap();
    kill(pid.trim().parse().unwrap());
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_xend"))
        .arg("start")
        .env("NOXEN_ROOT", lab.root())
        .env("NOXEN_XENSTORED", "/nonexistent/xenstored")
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    let want = "Exception starting xend: cannot start /nonexistent/xenstored: ";
    assert!(
        errors.starts_with(want) && errors.lines().count() == 1,
        "{errors}"
    );
}

#[test]
fn xend_stopped_and_started_finds_its_domains_again() {
    let lab = Lab::new();
    let made = lab.run(lab.config("tenant"));
    let (before, monitor) = (lab.pid(), made.pid.unwrap());
    assert_eq!(parent_of(monitor), before);
    lab.stop();
    assert!(is_alive(monitor));
    // xend lets go of its lock a moment before it is gone.
    eventually(
        "it is a child of init, or of whoever takes in orphans",
        || {
            let parent = parent_of(monitor);
            (parent != before && is_alive(parent)).then_some(())
        },
    );
    lab.start();
    let found = lab.guest("tenant").unwrap();
    assert_eq!(
        (found.domid, found.pid, &found.uuid),
        (made.domid, made.pid, &made.uuid)
    );
    assert_eq!(found.state.letters(), "-b----");
    let next = lab.create(lab.config("next")).unwrap();
    assert_eq!(next.domid, Some(2));
}

#[test]
fn xend_killed_is_started_again_by_its_supervisor() {
    let lab = Lab::new();
    let made = lab.run(lab.config("tenant"));
    let before = lab.pid();
    kill(before);
    eventually("xend is back", || {
        (lab.pid() != before && Client::connect(&lab.paths()).is_ok()).then_some(())
    });
    let found = lab.guest("tenant").unwrap();
    assert_eq!((found.domid, found.pid), (made.domid, made.pid));
}

#[test]
fn xend_killed_and_stopped_before_its_supervisor_looks_stays_away() {
    let lab = Lab::new();
    let supervisor = parent_of(lab.pid());
    kill(lab.pid());
    eventually("it is stopped", || {
        lab.stop();
        (lab.xend(&["status"]).status.code() == Some(3)).then_some(())
    });
    eventually("the supervisor has gone, too", || {
        (!is_alive(supervisor)).then_some(())
    });
    assert_eq!(lab.xend(&["status"]).status.code(), Some(3));
    assert!(!lab.paths().xend_pid().exists());
}

#[test]
fn shutdown_while_xend_is_away_is_acted_upon_when_it_is_back() {
    let lab = Lab::new();
    let off = lab.run(lab.config("off"));
    let again = lab.run(lab.config("again"));
    let dead = lab.run(lab.config("dead"));
    lab.kill_all_of_xend();
    let mut store = lab.store();
    for (domain, word) in [(&off, "poweroff"), (&again, "reboot")] {
        let path = format!("/local/domain/{}/control/shutdown", domain.domid.unwrap());
        store.write(&path, word).unwrap();
        // The guest clears the node when it stops.
        eventually("the guest has stopped", || {
            (store.read(&path).unwrap().is_empty()).then_some(())
        });
    }
    kill(dead.pid.unwrap());
    eventually("the monitor is dead", || {
        (!is_alive(dead.pid.unwrap())).then_some(())
    });
    lab.start();
    let back = eventually("one is off, one is back", || {
        let guests = lab.guests();
        match &guests[..] {
            [one] if one.name == "again" && one.domid > again.domid => Some(one.clone()),
            _ => None,
        }
    });
    assert_eq!(
        (back.uuid.as_str(), back.restart_count),
        (again.uuid.as_str(), 1)
    );
    assert!(lab
        .log()
        .contains("domain dead (id=3) died while xend was away"));
    lab.destroy("again");
    eventually("nothing is left", || lab.traces().is_empty().then_some(()));
}

#[test]
fn domain_half_built_when_xend_died_is_taken_apart() {
    let lab = Lab::new();
    let go = lab.root().join("go");
    let mut config = lab.config("slow");
    config.kernel = lab.kernel("slow", &format!("wait {}", go.display()));
    let mut stream = UnixStream::connect(lab.paths().xend_socket()).unwrap();
    let request = serde_json::to_string(&Request::Create {
        config: Box::new(config),
    })
    .unwrap();
    writeln!(stream, "{request}").unwrap();
    let pid = eventually("its monitor runs", || lab.guest("slow")?.pid);
    assert_eq!(lab.letters("slow"), "--p---");
    lab.kill_all_of_xend();
    assert!(is_alive(pid));
    lab.start();
    assert!(!is_alive(pid));
    assert!(lab.guests().is_empty());
    assert!(lab.traces().is_empty(), "{:?}", lab.traces());
}

#[test]
fn domain_whose_record_is_lost_is_found_by_its_socket() {
    let lab = Lab::new();
    let mut config = lab.config("tenant");
    config.on_poweroff = "preserve".into();
    let made = lab.run(config);
    lab.stop();
    std::fs::remove_dir_all(lab.paths().state_dir()).unwrap();
    lab.start();
    let found = lab.guest("tenant").unwrap();
    assert_eq!(
        (found.domid, found.pid, &found.uuid),
        (made.domid, made.pid, &made.uuid)
    );
    let kind = ShutdownKind::Poweroff;
    lab.ask(&Request::Shutdown {
        domain: "tenant".into(),
        kind,
    })
    .unwrap();
    eventually("it is kept, as it was configured", || {
        (lab.letters("tenant") == "---s--").then_some(())
    });
    assert_eq!(lab.create(lab.config("next")).unwrap().domid, Some(2));
}

#[test]
fn store_that_died_is_started_again_with_every_domain_in_it() {
    let lab = Lab::new();
    lab.run(lab.config("tenant"));
    let pid_file = lab.root().join("var/run/xenstore.pid");
    let pid: u32 = std::fs::read_to_string(&pid_file)
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    kill(pid);
    eventually("the store is back and says what runs", || {
        let socket = lab.root().join("var/run/xenstored/socket");
        let mut store = noxen_xenstore::client::Client::connect_to(&socket).ok()?;
        let name = store.read_if_present("/local/domain/1/name").ok()??;
        let known = store.is_introduced(1).ok()?;
        (name == "tenant" && known).then_some(())
    });
    lab.create(lab.config("next")).unwrap();
}

#[test]
fn slow_and_babbling_clients_hold_up_nobody() {
    let lab = Lab::new();
    let mut slow = UnixStream::connect(lab.paths().xend_socket()).unwrap();
    slow.write_all(b"{\"request\":\"li").unwrap();
    lab.create(lab.config("tenant")).unwrap();

    let mut babbler = UnixStream::connect(lab.paths().xend_socket()).unwrap();
    babbler
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let chunk = vec![b'x'; 1 << 20];
    // xend hangs up before all of it is taken.
    let _ = babbler.write_all(&chunk);
    let mut text = String::new();
    let _ = babbler.read_to_string(&mut text);
    assert_eq!(lab.guests().len(), 1);

    let mut fool = UnixStream::connect(lab.paths().xend_socket()).unwrap();
    fool.write_all(b"{\"request\":\"dance\"}\n\xff\xfe\n")
        .unwrap();
    fool.shutdown(std::net::Shutdown::Write).unwrap();
    let mut text = String::new();
    fool.read_to_string(&mut text).unwrap();
    assert_eq!(
        text.matches("xend does not know this request").count(),
        2,
        "{text}"
    );

    slow.write_all(b"st\"}\n").unwrap();
    let mut answer = [0; 32];
    slow.read_exact(&mut answer).unwrap();
    assert!(
        answer.starts_with(b"{\"ok\":"),
        "{}",
        String::from_utf8_lossy(&answer)
    );
}

#[test]
fn monitor_that_hangs_holds_up_nobody_and_can_be_destroyed() {
    use rustix::process::{kill_process, Pid, Signal};
    let lab = Lab::new();
    let stuck = lab.run(lab.config("stuck"));
    lab.run(lab.config("well"));
    let pid = Pid::from_raw(stuck.pid.unwrap() as i32).unwrap();
    kill_process(pid, Signal::STOP).unwrap();
    std::thread::scope(|scope| {
        let listing = scope.spawn(|| lab.guests().len());
        lab.ask(&Request::Pause {
            domain: "well".into(),
        })
        .unwrap();
        assert_eq!(listing.join().unwrap(), 2);
    });
    assert_eq!(lab.letters("stuck"), "-b----");
    assert_eq!(lab.letters("well"), "--p---");
    lab.destroy("stuck");
    assert_eq!(lab.guests().len(), 1);
    assert!(!is_alive(stuck.pid.unwrap()));
}
