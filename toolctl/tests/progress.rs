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

#[test]
fn terminal_is_told_what_is_waited_for_and_a_pipe_is_not() {
    let root = Root::new();
    serve(&root, slow);
    let program = root.toolctl().get_program().to_str().unwrap().to_owned();
    let on_a_terminal = |words: &str| {
        // script(1) runs the line on a pseudo-terminal of its own.
        let output = Command::new("script")
            .args(["-qec", &format!("{program} {words}"), "/dev/null"])
            .env("NOXEN_ROOT", root.path())
            .stdin(std::process::Stdio::null())
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let said = on_a_terminal("pause a");
    assert!(said.contains("\rWaiting for xend | 1 s\x1b[K"), "{said:?}");
    assert!(said.ends_with("\r\x1b[K"), "{said:?}");
    assert_eq!(on_a_terminal("unpause a"), "");
    root.run(&["pause", "a"]).is(0, "", "");
}
