//! `vncviewer`: the program that it runs, with a stand-in for that.

mod common;

use common::{generic, serve, Ran, Root};
use noxen_xend_api::{Answer, Request, Response};
use std::os::unix::fs::PermissionsExt;

/// A viewer that says how it was called and what it was given.
const VIEWER: &str = "#!/bin/sh\nread -r given\necho \"called: $* given: $given\"\n";

fn host(request: &Request) -> Answer {
    match request {
        Request::Vnc { domain } if domain == "a" => Answer::Ok(Response::Vnc {
            host: "127.0.0.1".into(),
            port: 5903,
            password: Some("secret".into()),
        }),
        _ => generic("nothing of this kind is to be asked"),
    }
}

fn run(root: &Root, words: &[&str]) -> Ran {
    let mut toolctl = root.toolctl();
    // No viewer of this machine's.
    toolctl.env("PATH", root.path()).args(words);
    Ran::of(toolctl.stdin(std::process::Stdio::null()).output().unwrap())
}

#[test]
fn viewer_is_called_with_the_display_and_given_the_password_if_asked() {
    let root = Root::new();
    serve(&root, host);
    let missing = run(&root, &["vncviewer", "a"]);
    assert!(missing.err.contains("tigervnc-viewer"), "{missing:?}");
    let viewer = root.file("vncviewer", VIEWER);
    std::fs::set_permissions(viewer, std::fs::Permissions::from_mode(0o755)).unwrap();
    let plain = run(&root, &["vncviewer", "a"]);
    let called = "called: 127.0.0.1:3 given: \n";
    plain.is(0, &format!("invoking  vncviewer 127.0.0.1:3\n{called}"), "");
    let told = run(&root, &["vncviewer", "--autopass", "a"]);
    let called = "called: -autopass 127.0.0.1:3 given: secret\n";
    told.is(
        0,
        &format!("invoking  vncviewer -autopass 127.0.0.1:3\n{called}"),
        "",
    );
}
