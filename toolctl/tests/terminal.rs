//! What needs a terminal: the shell's line editor with its history and completion, and top with its keys.

mod common;

#[path = "common/pty.rs"]
mod pty;

use common::*;
use noxen_xend_api::{Request, Response};
use pty::{finish, resize, Session};
use rustix::termios::tcgetattr;
use std::io::Write;

impl Session {
    fn start(root: &Root, args: &[&str]) -> Session {
        let mut program = root.toolctl();
        let program = program.env("HOME", root.path()).env("TERM", "xterm");
        Session::spawn(program.args(args), 24, 100)
    }

    /// Ends the line that was typed by this key, and waits for the next prompt: one on a line of its own, since the line editor draws the old one anew.
    #[track_caller]
    fn end(&mut self, key: &str) {
        self.press(key);
        let fresh = |seen: &str| {
            seen.rsplit_once('\n')
                .is_some_and(|(_, last)| last.contains("xm> "))
        };
        self.user.read_until_it("a prompt", fresh);
    }

    fn press(&mut self, keys: &str) {
        self.user.master.write_all(keys.as_bytes()).unwrap();
    }
}

/// The order of a table's rows.
fn order(text: &str, names: [&str; 2]) -> bool {
    let [first, second] = names.map(|name| text.rfind(name).unwrap());
    first < second
}

#[test]
fn shell_completes_words_and_remembers_lines_from_one_time_to_the_next() {
    let root = Root::new();
    let asked = serve(&root, |request| match request {
        Request::List { .. } => domains(vec![domain("alpha", 1), domain("beta", 2)]),
        _ => ok(),
    });
    let pauses = || {
        let asked = asked.lock().unwrap();
        let all = asked.iter().filter_map(|request| match request {
            Request::Pause { domain } => Some(domain.clone()),
            _ => None,
        });
        all.collect::<Vec<_>>()
    };
    let mut shell = Session::start(&root, &["shell"]);
    shell.user.read_until("xm> ");
    // A subcommand, then a domain, each by its beginning.
    shell.press("pau\t");
    shell.user.read_until("pause");
    shell.press(" be\t");
    shell.user.read_until("beta");
    shell.end("\r");
    assert_eq!(pauses(), ["beta"]);
    shell.press("\x1b[A");
    shell.end("\r");
    assert_eq!(
        pauses(),
        ["beta", "beta"],
        "the line before is taken up again"
    );
    shell.press("\x04");
    assert_eq!(finish(&mut shell.child), Some(0));

    let mut shell = Session::start(&root, &["shell"]);
    shell.user.read_until("xm> ");
    shell.press("\x1b[A");
    shell.user.read_until("pause beta");
    // Ctrl-C forgets the line and does not end the shell.
    shell.end("\x03");
    shell.press("pause alpha");
    shell.user.read_until("pause alpha");
    shell.end("\r");
    assert_eq!(pauses(), ["beta", "beta", "alpha"]);
    shell.press("\x04");
    assert_eq!(finish(&mut shell.child), Some(0));
    let kept = std::fs::read_to_string(root.path().join(".xm_history")).unwrap();
    assert!(kept.lines().any(|line| line == "pause beta"), "{kept}");
    assert!(kept.lines().any(|line| line == "pause alpha"), "{kept}");
}

#[test]
fn top_fills_the_screen_obeys_its_keys_and_leaves_the_terminal_as_it_was() {
    let root = Root::new();
    let small = || {
        let mut small = domain("tenant03", 3);
        small.cpu_time_ns = 1_000_000_000;
        small
    };
    serve(&root, move |request| match request {
        Request::Info => node(),
        Request::List { .. } => domains(vec![domain0(), small()]),
        Request::VcpuList { .. } => vcpus(),
        Request::Devices { .. } => {
            noxen_xend_api::Answer::Ok(Response::Devices { devices: vec![] })
        }
        _ => generic("not this"),
    });
    let mut top = Session::start(&root, &["top", "-d", "30"]);
    let screen = top.user.read_until("Quit");
    // Its own screen; the heading, domains by name, and the line of the keys.
    assert!(screen.contains("\x1b[?1049h"), "{screen:?}");
    assert!(
        screen.contains("NAME  STATE   CPU(sec) CPU(%)"),
        "{screen:?}"
    );
    assert!(order(&screen, ["Domain-0", "tenant03"]), "{screen:?}");
    assert!(
        screen.contains("Delay 30.0s") && screen.contains("Sort order: Name"),
        "{screen:?}"
    );
    assert!(screen.lines().count() <= 24);
    top.press("v");
    assert!(top.user.read_until("Quit").contains("VCPUs(sec):"));
    top.press("v");
    assert!(!top.user.read_until("Quit").contains("VCPUs(sec):"));
    top.press("s");
    assert!(top.user.read_until("Quit").contains("Sort order: State"));
    top.press("d");
    assert!(top.user.read_until("Quit").contains("Delay 60.0s"));
    top.press("-");
    assert!(top.user.read_until("Quit").contains("Delay 30.0s"));
    // A cursor key is none of them, and a smaller terminal gets fewer lines.
    top.press("\x1b[A");
    top.press("r");
    top.user.read_until("Quit");
    resize(&top.slave, 5, 100);
    rustix::process::kill_process(
        rustix::process::Pid::from_child(&top.child),
        rustix::process::Signal::WINCH,
    )
    .unwrap();
    assert_eq!(top.user.read_until("Quit").lines().count(), 5);
    top.press("q");
    assert!(top.user.read_until("\x1b[?1049l").contains("\x1b[?25h"));
    assert_eq!(finish(&mut top.child), Some(0));
    let after = tcgetattr(&top.slave).unwrap();
    assert_eq!(
        (after.input_modes, after.local_modes),
        (top.before.input_modes, top.before.local_modes)
    );
}
