//! What is said while something takes long: on a terminal only, after a second, and nothing of it stays.

mod common;

use common::*;
use noxen_xend_api::{Answer, Request};
use std::process::Command;
use std::time::Duration;

/// As long as a slow host needs to pause a domain.
fn slow(request: &Request) -> Answer {
    if matches!(request, Request::Pause { .. }) {
        std::thread::sleep(Duration::from_millis(1500));
    }
    ok()
}

/// What `toolctl WORDS` prints on a terminal.
fn on_a_terminal(root: &Root, words: &str, variable: (&str, &str)) -> String {
    let program = root.toolctl().get_program().to_str().unwrap().to_owned();
    // script(1) runs the line on a pseudo-terminal of its own.
    let output = Command::new("script")
        .args(["-qec", &format!("{program} {words}"), "/dev/null"])
        .env("NOXEN_ROOT", root.path())
        .env("NOXEN_XEND", "/nonexistent/xend")
        .env("TERM", "xterm")
        .env(variable.0, variable.1)
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn states_and_errors_have_colours_on_a_terminal_only() {
    let root = Root::new();
    serve(&root, |request| match request {
        Request::List { .. } => domains(vec![domain("a", 1)]),
        _ => no_such("b"),
    });
    let said = on_a_terminal(&root, "list", ("TERM", "xterm"));
    assert!(said.contains(" \x1b[32m    -b----\x1b[0m "), "{said:?}");
    let said = on_a_terminal(&root, "pause b", ("TERM", "xterm"));
    assert!(
        said.starts_with("\x1b[31mError:\x1b[0m Domain 'b'"),
        "{said:?}"
    );
    for variable in [("NO_COLOR", "1"), ("TERM", "dumb")] {
        let said = on_a_terminal(&root, "list", variable);
        assert!(
            said.contains("    -b----  ") && !said.contains('\x1b'),
            "{said:?}"
        );
    }
    assert!(!root.run(&["list"]).out.contains('\x1b'));
}

#[test]
fn terminal_is_told_what_is_waited_for_and_a_pipe_is_not() {
    let root = Root::new();
    serve(&root, slow);
    let on_a_terminal = |words: &str| on_a_terminal(&root, words, ("TERM", "xterm"));
    let said = on_a_terminal("pause a");
    assert!(said.contains("\rWaiting for xend | 1 s\x1b[K"), "{said:?}");
    assert!(said.ends_with("\r\x1b[K"), "{said:?}");
    assert_eq!(on_a_terminal("unpause a"), "");
    root.run(&["pause", "a"]).is(0, "", "");
}
