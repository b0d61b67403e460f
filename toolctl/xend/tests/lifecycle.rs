//! What becomes of a guest that stops.

mod support;

use noxen_xend_api::{Request, ShutdownKind};
use noxen_xenstore::client::Nodes;
use support::{eventually, is_alive, Lab};

fn shutdown(lab: &Lab, name: &str, kind: ShutdownKind) {
    let domain = name.into();
    lab.ask(&Request::Shutdown { domain, kind }).unwrap();
}

fn fault(lab: &Lab, domid: u32, word: &str) {
    let path = format!("/local/domain/{domid}/data/fault");
    lab.store().write(&path, word).unwrap();
}

#[test]
fn poweroff_destroys_by_default() {
    let lab = Lab::new();
    let made = lab.run(lab.config("tenant"));
    shutdown(&lab, "tenant", ShutdownKind::Halt);
    eventually("the domain is gone", || {
        lab.guests().is_empty().then_some(())
    });
    eventually("nothing is left", || lab.traces().is_empty().then_some(()));
    assert!(!is_alive(made.pid.unwrap()));
}

#[test]
fn reboot_restarts_under_a_new_id_with_the_same_uuid() {
    let lab = Lab::new();
    let made = lab.run(lab.config("tenant"));
    shutdown(&lab, "tenant", ShutdownKind::Reboot);
    let again = eventually("the domain is back", || {
        lab.guest("tenant")
            .filter(|d| d.restart_count == 1 && d.state.blocked)
    });
    assert_eq!((again.domid, &again.uuid), (Some(2), &made.uuid));
    let count = format!("/vm/{}/xend/restart_count", made.uuid);
    assert_eq!(lab.store().read(&count).unwrap(), "1");
    let reason = format!("/vm/{}/xend/last_shutdown_reason", made.uuid);
    assert_eq!(lab.store().read(&reason).unwrap(), "reboot");
    assert!(!lab
        .traces()
        .iter()
        .any(|t| t.starts_with("/local/domain/1")));
    eventually("one record is left", || {
        (std::fs::read_dir(lab.paths().running_dir())
            .unwrap()
            .count()
            == 1)
            .then_some(())
    });
    assert!(!is_alive(made.pid.unwrap()));
}

#[test]
fn restart_within_the_guard_destroys_instead() {
    let lab = Lab::with_guard("60");
    lab.run(lab.config("tenant"));
    shutdown(&lab, "tenant", ShutdownKind::Reboot);
    eventually("the domain is gone", || {
        lab.guests().is_empty().then_some(())
    });
    let log = lab.log();
    assert!(
        log.contains("VM tenant restarting too fast (Elapsed time: "),
        "{log}"
    );
    assert!(log.contains("Refusing to restart to avoid loops."), "{log}");
}

#[test]
fn preserve_keeps_the_domain_until_destroyed() {
    let lab = Lab::new();
    let mut config = lab.config("off");
    config.on_poweroff = "preserve".into();
    lab.run(config);
    let mut config = lab.config("crashed");
    config.on_crash = "preserve".into();
    let crashed = lab.run(config);
    shutdown(&lab, "off", ShutdownKind::Poweroff);
    fault(&lab, crashed.domid.unwrap(), "crash");
    eventually("both have stopped", || {
        (lab.letters("off") == "---s--" && lab.letters("crashed") == "----c-").then_some(())
    });
    eventually("it is marked as complete", || {
        lab.store()
            .read_if_present("/local/domain/1/xend/shutdown_completed")
            .unwrap()
    });
    let unpause = Request::Unpause {
        domain: "off".into(),
    };
    eventually("it is kept for good", || {
        let refused = lab.ask(&unpause).err()?;
        refused
            .message
            .contains("has shut down (poweroff)")
            .then_some(())
    });
    lab.destroy("off");
    lab.destroy("crashed");
    assert!(lab.traces().is_empty(), "{:?}", lab.traces());
}

#[test]
fn crash_restarts_by_default() {
    let lab = Lab::new();
    let made = lab.run(lab.config("tenant"));
    fault(&lab, made.domid.unwrap(), "crash");
    eventually("the domain is back", || {
        lab.guest("tenant").filter(|d| d.domid == Some(2))
    });
}

#[test]
fn rename_restart_keeps_the_dead_one_under_a_new_name() {
    let lab = Lab::new();
    let mut config = lab.config("tenant");
    config.on_reboot = "rename-restart".into();
    let made = lab.run(config);
    shutdown(&lab, "tenant", ShutdownKind::Reboot);
    let fresh = eventually("the domain is back", || {
        lab.guest("tenant")
            .filter(|d| d.domid == Some(2) && d.state.blocked)
    });
    assert_eq!((&fresh.uuid, fresh.restart_count), (&made.uuid, 1));
    let dead = lab
        .guests()
        .into_iter()
        .find(|d| d.domid == Some(1))
        .unwrap();
    assert_ne!(dead.uuid, made.uuid);
    assert_eq!(dead.name, format!("Domain-{}", dead.uuid));
    assert_eq!(dead.state.letters(), "---s--");
    assert_eq!(lab.store().read("/local/domain/1/name").unwrap(), dead.name);
    let path = format!("/vm/{}/name", made.uuid);
    assert_eq!(lab.store().read(&path).unwrap(), "tenant");
    lab.destroy(&dead.name);
    lab.destroy("tenant");
    assert!(lab.traces().is_empty(), "{:?}", lab.traces());
}

#[test]
fn crash_with_a_coredump_value_leaves_a_core_file_and_other_values_none() {
    let lab = Lab::new();
    for (name, value) in [("plain", "destroy"), ("tenant", "coredump-destroy")] {
        let mut config = lab.config(name);
        config.on_crash = value.into();
        let made = lab.run(config);
        fault(&lab, made.domid.unwrap(), "crash");
        eventually("the domain is gone", || {
            lab.guests().is_empty().then_some(())
        });
    }
    let files = cores(&lab);
    let [(name, text)] = files.as_slice() else {
        panic!("{files:?}");
    };
    assert!(name.ends_with("-tenant.2.core"), "{name}");
    assert_eq!(text, "core of tenant, live false, Some(Crash)");
    assert!(lab.log().contains("core dumped to "), "{}", lab.log());
}

/// Core files by name, with what is in them.
fn cores(lab: &Lab) -> Vec<(String, String)> {
    let Ok(files) = std::fs::read_dir(lab.paths().dump_dir()) else {
        return Vec::new();
    };
    files
        .map(|file| {
            let path = file.unwrap().path();
            let text = std::fs::read_to_string(&path).unwrap();
            (path.display().to_string(), text)
        })
        .collect()
}

#[test]
fn dump_core_writes_the_file_and_does_afterwards_what_is_asked() {
    let lab = Lab::new();
    let made = lab.run(lab.config("tenant"));
    let path = lab.root().join("core").display().to_string();
    let dump = |file: Option<&str>, live, crash, reset| {
        lab.ask(&Request::DumpCore {
            domain: "tenant".into(),
            file: file.map(str::to_owned),
            live,
            crash,
            reset,
        })
    };
    dump(Some(&path), true, false, false).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text, "core of tenant, live true, None");
    assert_eq!(lab.guest("tenant").unwrap().domid, made.domid);
    let error = dump(Some("/nowhere/core"), false, true, false).unwrap_err();
    assert!(
        error.message.contains("Failed to dump core: /nowhere/core"),
        "{error:?}"
    );
    assert!(dump(None, false, true, true).is_err());
    // Nothing was written, so it still runs.
    assert_eq!(lab.guest("tenant").unwrap().domid, made.domid);
    dump(None, false, false, true).unwrap();
    assert_eq!(cores(&lab).len(), 1);
    let fresh = lab.guest("tenant").unwrap();
    assert!(fresh.domid > made.domid && fresh.uuid == made.uuid);
    dump(Some(&path), false, true, false).unwrap();
    assert!(lab.guests().is_empty());
    assert!(lab.traces().is_empty(), "{:?}", lab.traces());
}

#[test]
fn restart_whose_kernel_has_gone_ends_the_domain_and_leaves_nothing() {
    let lab = Lab::new();
    let mut config = lab.config("tenant");
    config.kernel = lab.kernel("mortal", "ok");
    let kernel = config.kernel.clone();
    lab.run(config);
    std::fs::remove_file(&kernel).unwrap();
    shutdown(&lab, "tenant", ShutdownKind::Reboot);
    eventually("the domain is gone", || {
        lab.guests().is_empty().then_some(())
    });
    eventually("nothing is left", || lab.traces().is_empty().then_some(()));
    let want =
        format!("domain tenant could not be restarted: Kernel image does not exist: {kernel}");
    assert!(lab.log().contains(&want), "{}", lab.log());
}

#[test]
fn reset_gives_a_fresh_domain_without_counting_as_a_restart() {
    let lab = Lab::with_guard("60");
    let made = lab.run(lab.config("tenant"));
    lab.ask(&Request::Reset {
        domain: "tenant".into(),
    })
    .unwrap();
    let again = lab.guest("tenant").unwrap();
    assert_eq!(
        (again.domid, again.restart_count, &again.uuid),
        (Some(2), 0, &made.uuid)
    );
    assert_eq!(again.state.letters(), "-b----");
}

/// What a domain whose guest has stopped has become.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
enum Became {
    Gone,
    Fresh,
    Kept,
    KeptAndFresh,
}

const VALUES: [(&str, Became); 6] = [
    ("destroy", Became::Gone),
    ("restart", Became::Fresh),
    ("preserve", Became::Kept),
    ("rename-restart", Became::KeptAndFresh),
    ("coredump-destroy", Became::Gone),
    ("coredump-restart", Became::Fresh),
];

/// Stops one domain for each value of `on_EVENT` and sees what becomes of each.
fn every_value(event: &str, stop: impl Fn(&Lab, &str, u32)) {
    let lab = Lab::new();
    let mut made = Vec::new();
    for (value, expected) in VALUES {
        let mut config = lab.config(&format!("{event}-{value}"));
        let field = match event {
            "poweroff" => &mut config.on_poweroff,
            "reboot" => &mut config.on_reboot,
            _ => &mut config.on_crash,
        };
        *field = value.into();
        made.push((lab.run(config), expected));
    }
    for (domain, _) in &made {
        stop(&lab, &domain.name, domain.domid.unwrap());
    }
    for (old, expected) in made {
        let became = || {
            let guests = lab.guests();
            let kept = guests.iter().find(|g| g.domid == old.domid);
            let fresh = guests
                .iter()
                .find(|g| g.name == old.name && g.domid > old.domid && g.state.blocked);
            let fresh = fresh.filter(|g| g.uuid == old.uuid && g.restart_count == 1);
            match (kept, fresh) {
                (None, None) => Some(Became::Gone),
                (None, Some(_)) => Some(Became::Fresh),
                (Some(kept), None) if kept.state.shutdown || kept.state.crashed => {
                    (kept.name == old.name).then_some(Became::Kept)
                }
                (Some(kept), Some(_)) if kept.state.shutdown || kept.state.crashed => {
                    (kept.name.starts_with("Domain-")).then_some(Became::KeptAndFresh)
                }
                _ => None,
            }
        };
        eventually(&format!("{} is {expected:?}", old.name), || {
            (became() == Some(expected)).then_some(())
        });
    }
    for guest in lab.guests() {
        lab.destroy(&guest.uuid);
    }
    assert!(lab.traces().is_empty(), "{:?}", lab.traces());
}

#[test]
fn poweroff_with_every_value_does_what_it_says() {
    every_value("poweroff", |lab, name, _| {
        shutdown(lab, name, ShutdownKind::Poweroff)
    });
}

#[test]
fn reboot_with_every_value_does_what_it_says() {
    every_value("reboot", |lab, name, _| {
        shutdown(lab, name, ShutdownKind::Reboot)
    });
}

#[test]
fn crash_with_every_value_does_what_it_says() {
    every_value("crash", |lab, _, domid| fault(lab, domid, "crash"));
}
