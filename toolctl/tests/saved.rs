//! `save`, `restore`, `suspend`, `resume`: what xend is asked.

mod common;

use common::*;
use noxen_xend_api::{Answer, Request};

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
    let save = |file: &str, checkpoint| Request::Save {
        domain: "3".into(),
        file: path(&root, file),
        checkpoint,
    };
    let asked = asked.lock().unwrap().clone();
    assert!(asked.contains(&save("state", false)), "{asked:?}");
    assert!(asked.contains(&save("other", true)), "{asked:?}");
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
    root.run(&["suspend", "a"]).is(0, "", "");
    root.run(&["resume", "dormant", "--paused"]).is(0, "", "");
    let asked = asked.lock().unwrap().clone();
    for request in [
        Request::Restore { file, paused: true },
        Request::Suspend { domain: "3".into() },
        Request::Resume {
            domain: "dormant".into(),
            paused: true,
        },
    ] {
        assert!(asked.contains(&request), "{request:?}: {asked:?}");
    }
}
