//! `shutdown` and `reboot`: whom they ask, what they wait for.

mod common;

use common::*;
use noxen_xend_api::{Answer, Request, ShutdownKind};
use std::sync::atomic::{AtomicU32, Ordering};

fn asked_to_stop(asked: &Asked) -> Vec<(String, ShutdownKind)> {
    let asked = asked.lock().unwrap();
    asked
        .iter()
        .filter_map(|request| match request {
            Request::Shutdown { domain, kind } => Some((domain.clone(), *kind)),
            _ => None,
        })
        .collect()
}

fn three(request: &Request) -> Answer {
    match request {
        Request::List { .. } => domains(vec![domain0(), domain("a", 1), domain("b", 2)]),
        Request::Domain { domain: name } if name == "a" => one(domain("a", 1)),
        Request::Domain { domain } => no_such(domain),
        _ => ok(),
    }
}

#[test]
fn options_choose_the_kind() {
    let uuid = domain("a", 1).uuid;
    for (args, kind) in [
        (vec!["shutdown", "a"], ShutdownKind::Poweroff),
        (vec!["shutdown", "-H", "a"], ShutdownKind::Halt),
        (vec!["shutdown", "a", "-R"], ShutdownKind::Reboot),
        (vec!["reboot", "a"], ShutdownKind::Reboot),
    ] {
        let root = Root::new();
        let asked = serve(&root, three);
        root.run(&args).is(0, "", "");
        assert_eq!(asked_to_stop(&asked), [(uuid.clone(), kind)], "{args:?}");
    }
}

#[test]
fn mistakes_are_one_line_without_usage() {
    let root = Root::new();
    let asked = serve(&root, three);
    root.run(&["shutdown", "-HR", "a"])
        .is(1, "", "Error: Can't specify halt and reboot\n");
    root.run(&["shutdown"])
        .is(1, "", "Error: No domain parameter given\n");
    root.run(&["reboot"])
        .is(1, "", "Error: No domain parameter given\n");
    root.run(&["shutdown", "a", "b"])
        .is(1, "", "Error: No multiple domain parameters allowed\n");
    root.run(&["shutdown", "zzz"])
        .is(3, "", "Error: Domain 'zzz' does not exist.\n");
    assert!(asked_to_stop(&asked).is_empty());
}

#[test]
fn all_spares_domain_0() {
    let root = Root::new();
    let asked = serve(&root, three);
    root.run(&["shutdown", "-a"]).is(0, "", "");
    let names: Vec<String> = asked_to_stop(&asked)
        .into_iter()
        .map(|(uuid, _)| uuid)
        .collect();
    assert_eq!(names, [domain("a", 1).uuid, domain("b", 2).uuid]);
}

#[test]
fn wait_ends_when_the_domain_is_gone() {
    let root = Root::new();
    let looks = AtomicU32::new(0);
    serve(&root, move |request| match request {
        Request::List { .. } if looks.fetch_add(1, Ordering::Relaxed) < 1 => {
            domains(vec![domain0(), domain("a", 1)])
        }
        Request::List { .. } => domains(vec![domain0()]),
        other => three(other),
    });
    root.run(&["shutdown", "-w", "a"])
        .is(0, "Domain a terminated\nAll domains terminated\n", "");
}

#[test]
fn wait_ends_when_the_domain_is_kept() {
    let root = Root::new();
    serve(&root, |request| match request {
        Request::List { .. } => {
            let mut kept = domain("a", 1);
            kept.state.shutdown = true;
            domains(vec![kept])
        }
        other => three(other),
    });
    root.run(&["shutdown", "--wait", "a"]).is(
        0,
        "Domain a terminated\nAll domains terminated\n",
        "",
    );
}

#[test]
fn reboot_waits_for_the_restart_count() {
    let root = Root::new();
    let looks = AtomicU32::new(0);
    serve(&root, move |request| match request {
        Request::List { .. } => {
            let look = looks.fetch_add(1, Ordering::Relaxed);
            let mut after = domain("a", 1 + look);
            after.uuid = domain("a", 1).uuid;
            after.restart_count = look;
            domains(vec![after])
        }
        other => three(other),
    });
    root.run(&["reboot", "-w", "a"])
        .is(0, "Domain a rebooted\nAll domains rebooted\n", "");
}
