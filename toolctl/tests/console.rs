//! `console` between two pseudo-terminals: the user's, and the domain's whose master the test holds in noxen-vmm's place.

mod common;

#[path = "common/pty.rs"]
mod pty;

use common::*;
use noxen_xend_api::{Answer, Request, Response};
use pty::{finish, resize, until, Pty, Session};
use rustix::termios::{tcgetattr, tcgetwinsize, LocalModes};
use std::io::{Read, Write};
use std::process::Stdio;

fn answers(tty: String) -> impl Fn(&Request) -> Answer + Send + Sync + 'static {
    move |request| match request {
        Request::Console { domain } if domain == "nope" => no_such(domain),
        Request::Console { .. } => Answer::Ok(Response::Console {
            domid: 3,
            tty: tty.clone(),
        }),
        Request::Create { config } => one(domain(&config.name, 3)),
        _ => ok(),
    }
}

/// A user at a terminal, attached to a domain.
impl Session {
    fn start(root: &Root, args: &[&str]) -> Session {
        Session::spawn(root.toolctl().args(args), 33, 99)
    }

    fn is_raw(&self) -> bool {
        !tcgetattr(&self.slave)
            .unwrap()
            .local_modes
            .contains(LocalModes::ICANON)
    }

    #[track_caller]
    fn wait_until_attached(&mut self) {
        until("the terminal does not become raw", || self.is_raw());
    }

    #[track_caller]
    fn is_restored(&self) {
        let after = tcgetattr(&self.slave).unwrap();
        assert_eq!(
            (
                after.input_modes,
                after.output_modes,
                after.control_modes,
                after.local_modes
            ),
            (
                self.before.input_modes,
                self.before.output_modes,
                self.before.control_modes,
                self.before.local_modes
            )
        );
    }
}

#[test]
fn bytes_go_both_ways_and_the_escape_leaves() {
    let root = Root::new();
    let mut guest = Pty::new();
    serve(&root, answers(guest.path.clone()));
    let mut session = Session::start(&root, &["console", "tenant03"]);
    session.wait_until_attached();
    // Ctrl-C, Ctrl-D and Return reach the guest as they were typed.
    session.user.master.write_all(b"ls\x03\x04\r").unwrap();
    assert_eq!(guest.read_until("\r"), "ls\x03\x04\r");
    guest.master.write_all(b"login: ").unwrap();
    assert!(session.user.read_until("login: ").contains("login: "));
    let size = tcgetwinsize(&guest.master).unwrap();
    assert_eq!((size.ws_row, size.ws_col), (33, 99));
    assert!(root.path().join("var/lock/xenconsole.3").exists());
    session.user.master.write_all(b"\x1d").unwrap();
    assert_eq!(finish(&mut session.child), Some(0));
    session.is_restored();
    assert!(!root.path().join("var/lock/xenconsole.3").exists());
}

#[test]
fn guest_output_is_not_echoed_back_to_the_guest() {
    let root = Root::new();
    let mut guest = Pty::new();
    serve(&root, answers(guest.path.clone()));
    let mut session = Session::start(&root, &["console", "tenant03"]);
    session.wait_until_attached();
    guest.master.write_all(b"noise\r\n").unwrap();
    session.user.read_until("noise\r\n");
    session.user.master.write_all(b"typed\r").unwrap();
    assert_eq!(guest.read_until("typed\r"), "typed\r");
}

#[test]
fn end_of_the_domain_ends_the_console_with_success() {
    let root = Root::new();
    let mut guest = Pty::new();
    serve(&root, answers(guest.path.clone()));
    let mut session = Session::start(&root, &["console", "tenant03"]);
    session.wait_until_attached();
    guest.master.write_all(b"Power down").unwrap();
    session.user.read_until("Power down");
    drop(guest);
    assert_eq!(finish(&mut session.child), Some(0));
    session.is_restored();
}

#[test]
fn signal_restores_the_terminal() {
    let root = Root::new();
    let guest = Pty::new();
    serve(&root, answers(guest.path.clone()));
    let mut session = Session::start(&root, &["console", "tenant03"]);
    session.wait_until_attached();
    let pid = rustix::process::Pid::from_child(&session.child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(finish(&mut session.child), Some(1));
    session.is_restored();
}

#[test]
fn changed_window_size_reaches_the_guests_tty() {
    let root = Root::new();
    let guest = Pty::new();
    serve(&root, answers(guest.path.clone()));
    let mut session = Session::start(&root, &["console", "tenant03"]);
    session.wait_until_attached();
    resize(&session.slave, 50, 120);
    // The kernel signals only a terminal's own session, which a test does not make.
    let pid = rustix::process::Pid::from_child(&session.child);
    rustix::process::kill_process(pid, rustix::process::Signal::WINCH).unwrap();
    until("the size does not arrive", || {
        tcgetwinsize(&guest.master).unwrap().ws_col == 120
    });
    session.user.master.write_all(b"\x1d").unwrap();
    assert_eq!(finish(&mut session.child), Some(0));
}

#[test]
fn second_console_is_told_who_has_the_first() {
    let root = Root::new();
    let guest = Pty::new();
    serve(&root, answers(guest.path.clone()));
    let mut session = Session::start(&root, &["console", "tenant03"]);
    session.wait_until_attached();
    let taken = format!(
        "Error: Console of domain 'tenant03' is already taken by process {}; leave it there with Ctrl-] first\n",
        session.child.id()
    );
    root.run(&["console", "tenant03"]).is(1, "", &taken);
    assert_eq!(
        session.child.try_wait().unwrap(),
        None,
        "the first one stays"
    );
    session.user.master.write_all(b"\x1d").unwrap();
    assert_eq!(finish(&mut session.child), Some(0));
}

#[test]
fn pipes_serve_as_well_and_the_end_of_input_is_not_the_end() {
    let root = Root::new();
    let mut guest = Pty::new();
    serve(&root, answers(guest.path.clone()));
    let mut child = root
        .toolctl()
        .args(["console", "tenant03"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"hello\n").unwrap();
    assert_eq!(guest.read_until("\n"), "hello\n");
    guest.master.write_all(b"later output").unwrap();
    let mut out = [0; 12];
    child.stdout.as_mut().unwrap().read_exact(&mut out).unwrap();
    assert_eq!(&out, b"later output");
    assert_eq!(child.try_wait().unwrap(), None);
    drop(guest);
    assert_eq!(finish(&mut child), Some(0));
}

#[test]
fn escape_in_a_pipe_leaves_after_what_stands_before_it() {
    let root = Root::new();
    let mut guest = Pty::new();
    serve(&root, answers(guest.path.clone()));
    let mut child = root
        .toolctl()
        .args(["console", "tenant03"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .as_mut()
        .unwrap()
        .write_all(b"bye\n\x1dnot this")
        .unwrap();
    assert_eq!(guest.read_until("\n"), "bye\n");
    assert_eq!(finish(&mut child), Some(0));
}

#[test]
fn mistakes_are_one_line_and_quiet_is_silent() {
    let root = Root::new();
    serve(&root, answers("/nonexistent/tty".into()));
    let ran = root.run(&["console"]);
    assert_eq!(
        (ran.status, ran.err.as_str()),
        (Some(1), "Error: No domain given\n")
    );
    assert!(ran.out.starts_with("Usage: xm console "));
    root.run(&["console", "nope"])
        .is(3, "", "Error: Domain 'nope' does not exist.\n");
    root.run(&["console", "-q", "nope"]).is(1, "", "");
    root.run(&["console", "a"]).is(
        1,
        "",
        "Error: Cannot open console /nonexistent/tty of domain 'a': No such file or directory\n",
    );
    assert!(
        !root.path().join("var/lock/xenconsole.3").exists(),
        "a failed try holds no lock"
    );
}

#[test]
fn create_with_console_shows_the_first_line_of_the_boot() {
    let root = Root::new();
    let mut guest = Pty::new();
    let console = answers(guest.path.clone());
    let booting = guest.master.try_clone().unwrap();
    let asked = serve(&root, move |request| {
        if let Request::Unpause { .. } = request {
            (&booting)
                .write_all(b"[    0.000000] Linux version 6.1\r\n")
                .unwrap();
        }
        console(request)
    });
    root.file("web", "kernel = '/k'\n");
    let mut session = Session::start(&root, &["create", "-c", "web"]);
    let seen = session.user.read_until("6.1\r\n");
    assert_eq!(
        seen,
        "Using config file \"./web\".\r\nStarted domain web (id=3)\r\n[    0.000000] Linux version 6.1\r\n"
    );
    let asked: Vec<String> = asked
        .lock()
        .unwrap()
        .iter()
        .map(|request| {
            serde_json::to_value(request).unwrap()["request"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    assert_eq!(
        asked,
        ["create", "wait-for-devices", "console", "unpause"],
        "the console is there before the guest runs"
    );
    session.user.master.write_all(b"x").unwrap();
    assert_eq!(guest.read_until("x"), "x");
    session.user.master.write_all(b"\x1d").unwrap();
    assert_eq!(finish(&mut session.child), Some(0));
    session.is_restored();
}
