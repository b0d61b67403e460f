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
            tls: false,
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

/// A domain of that configuration is built, started, and viewed.
fn created(root: &Root, config: &str, words: &[&str], environment: &[(&str, &str)]) -> Ran {
    let file = root.file("conf", config);
    let mut toolctl = root.toolctl();
    toolctl.env("PATH", root.path()).arg("create").arg(file);
    toolctl.args(words).envs(environment.iter().copied());
    Ran::of(toolctl.stdin(std::process::Stdio::null()).output().unwrap())
}

fn builder(request: &Request) -> Answer {
    match request {
        Request::Create { .. } => common::one(common::domain("a", 3)),
        Request::WaitForDevices { .. } | Request::Unpause { .. } => common::ok(),
        Request::Vnc { .. } => host(&Request::Vnc { domain: "a".into() }),
        _ => generic("nothing of this kind is to be asked"),
    }
}

/// What the viewer wrote; it runs beside `create` and may write later.
fn said(root: &Root) -> String {
    let path = root.path().join("said");
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    loop {
        match std::fs::read_to_string(&path) {
            Ok(text) if text.ends_with('\n') => {
                std::fs::remove_file(&path).unwrap();
                return text;
            }
            _ => assert!(
                std::time::Instant::now() < deadline,
                "no viewer was started"
            ),
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

#[test]
fn create_starts_the_viewer_when_an_option_or_the_configuration_says_so() {
    let root = Root::new();
    let asked = serve(&root, builder);
    let plain = "name='a'\nmemory=64\nkernel='/k'\n";
    let said_at = root.path().join("said");
    let text = format!(
        "#!/bin/sh\nread -r given\necho \"$0 $* given: $given\" >'{}'\n",
        said_at.display()
    );
    let viewer = |name: &str| {
        let path = root.file(name, &text);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    };
    // Without a viewer the domain runs nevertheless.
    let missing = created(&root, plain, &["--vncviewer"], &[]);
    assert_eq!(missing.status, Some(0), "{missing:?}");
    assert!(missing.out.contains("Started domain a"), "{missing:?}");
    assert!(missing.err.contains("tigervnc-viewer"), "{missing:?}");

    let usual = viewer("vncviewer");
    for (config, words, line) in [
        (plain, &["--vncviewer"][..], "127.0.0.1:3 given: \n"),
        (
            plain,
            &["--vncviewer-autopass"],
            "-autopass 127.0.0.1:3 given: secret\n",
        ),
        (
            "name='a'\nmemory=64\nbuilder='hvm'\nkernel='/k'\nvnc=1\nvncconsole=1\n",
            &[],
            "127.0.0.1:3 given: \n",
        ),
    ] {
        let ran = created(&root, config, words, &[]);
        assert_eq!((ran.status, ran.err.as_str()), (Some(0), ""), "{ran:?}");
        assert_eq!(said(&root), format!("{usual} {line}"));
    }
    let other = viewer("other-viewer");
    created(&root, plain, &["--vncviewer"], &[("VNCVIEWER", &other)]);
    assert_eq!(said(&root), format!("{other} 127.0.0.1:3 given: \n"));
    // Nobody asked for one.
    asked.lock().unwrap().clear();
    created(&root, plain, &[], &[]);
    let asked = asked.lock().unwrap();
    assert!(
        !asked
            .iter()
            .any(|request| matches!(request, Request::Vnc { .. })),
        "{asked:?}"
    );
}
