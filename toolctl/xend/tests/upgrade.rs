//! `upgrade` with stand-in monitors: the domain goes on in another process and nothing else changes; whatever fails, and whoever is killed,
//! one process runs it and nothing is left of the other.
//!
//! ```text
//!   data/upgrade in the store has one of the two monitors fail --> the domain runs on in the old process, as if nothing had been
//!   the old one waits for a file --> xend killed, started again --> one process, unpaused
//! ```

mod support;

use noxen_xend_api::device::Vfb;
use noxen_xend_api::{Disk, Request, Vif};
use noxen_xenstore::client::Nodes;
use std::path::Path;
use support::{eventually, is_alive, kill, Lab};

fn upgrade(lab: &Lab, domain: &str) -> Result<(), String> {
    let request = Request::Upgrade {
        domain: domain.into(),
    };
    lab.ask(&request).map(drop).map_err(|fault| fault.message)
}

fn record(lab: &Lab, domid: u32) -> serde_json::Value {
    let path = lab.paths().running_dir().join(format!("{domid}.json"));
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn monitor(lab: &Lab, domid: u32) -> u32 {
    record(lab, domid)["pid"].as_u64().unwrap() as u32
}

/// Names in the domain's run directory.
fn run_dir(lab: &Lab, domid: u32) -> Vec<String> {
    let entries = std::fs::read_dir(lab.paths().domain_run_dir(domid)).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// A domain that holds a lock while it runs, with a disk and an interface; its id.
fn domain(lab: &Lab, name: &str) -> u32 {
    let mut config = lab.config(name);
    config.memory = 16;
    config.extra = format!("alive={}", lab.root().join(name).display());
    lab.run(config).domid.unwrap()
}

fn twice(lab: &Lab, name: &str) -> bool {
    lab.root().join(format!("{name}.twice")).exists()
}

/// It runs, once, in the process that its record names, and answers to its store.
fn runs(lab: &Lab, name: &str, domid: u32) {
    eventually("it runs", || {
        (lab.letters(name).trim_matches('-') != "p").then_some(())
    });
    assert!(!twice(lab, name), "two processes ran it");
    assert_eq!(run_dir(lab, domid), ["control.sock", "pid"]);
    let record = record(lab, domid);
    assert!(record.get("upgrade").is_none(), "{record}");
    assert!(is_alive(monitor(lab, domid)));
    let pid = std::fs::read_to_string(lab.paths().pid_file(domid)).unwrap();
    assert_eq!(pid.trim(), monitor(lab, domid).to_string());
}

#[test]
fn domain_goes_on_in_another_process_and_nothing_else_changes() {
    let lab = Lab::new();
    lab.script(
        "vif-bridge",
        "echo \"$1 $vif\" >> \"$NOXEN_ROOT/script.log\"\ncase $1 in online) say hotplug-status connected;; esac",
    );
    lab.kernel("console", "console");
    let mut config = lab.config("u");
    config.kernel = lab.kernel("console", "console");
    config.memory = 16;
    config.vcpus = 2;
    config.extra = format!("alive={}", lab.root().join("u").display());
    let image = lab.image("disk.img", "hello");
    config.disk = vec![Disk::parse(&format!("file:{image},xvda,w")).unwrap()];
    config.vif = vec![Vif::parse("mac=00:16:3e:00:00:01").unwrap()];
    let before = lab.run(config);
    let domid = before.domid.unwrap();
    let old = monitor(&lab, domid);
    let home = format!("/local/domain/{domid}");
    let nodes = |lab: &Lab| {
        let mut all = lab.store_tree(&home);
        all.extend(lab.store_tree("/local/domain/0/backend"));
        all
    };
    let (was, scripts) = (
        nodes(&lab),
        std::fs::read(lab.root().join("script.log")).unwrap(),
    );
    let tty = lab.store().read(&format!("{home}/console/tty")).unwrap();

    upgrade(&lab, "u").unwrap();
    let new = monitor(&lab, domid);
    assert_ne!(new, old);
    eventually("the old process is gone", || (!is_alive(old)).then_some(()));
    runs(&lab, "u", domid);
    assert_eq!(nodes(&lab), was);
    assert_eq!(
        std::fs::read(lab.root().join("script.log")).unwrap(),
        scripts
    );
    assert_eq!(
        lab.store().read(&format!("{home}/console/tty")).unwrap(),
        tty
    );
    let after = lab.guest("u").unwrap();
    assert_eq!(
        (
            after.domid,
            &after.uuid,
            &after.name,
            after.memory_mib,
            after.vcpus
        ),
        (
            before.domid,
            &before.uuid,
            &before.name,
            before.memory_mib,
            before.vcpus
        )
    );
    assert!(lab
        .domain_log("u")
        .contains(&format!("domain {domid} goes on, 2 devices")));

    // The new process is heard: events, devices, and one more upgrade; paused it stays paused.
    let pause = Request::Pause { domain: "u".into() };
    lab.ask(&pause).unwrap();
    upgrade(&lab, "u").unwrap();
    assert_eq!(lab.letters("u"), "--p---");
    let unpause = Request::Unpause { domain: "u".into() };
    lab.ask(&unpause).unwrap();
    runs(&lab, "u", domid);
    lab.store()
        .write(&format!("{home}/control/shutdown"), "poweroff")
        .unwrap();
    eventually("it is gone", || lab.guest("u").is_none().then_some(()));
    assert!(!lab.paths().domain_run_dir(domid).exists());
}

#[test]
fn failure_of_either_process_leaves_it_running_in_the_old_one_with_one_line() {
    let lab = Lab::new();
    let domid = domain(&lab, "u");
    let old = monitor(&lab, domid);
    for (order, expected) in [
        ("new exits", ""),
        (
            "new refuses",
            "the new noxen-vmm cannot take the domain: not this one",
        ),
        ("old refuses", "the guest stays in a transaction"),
        (
            "new exits late",
            "the new noxen-vmm cannot take the domain: ",
        ),
        (
            "new refuses late",
            "the new noxen-vmm cannot take the domain: not like this",
        ),
    ] {
        let path = format!("/local/domain/{domid}/data/upgrade");
        lab.store().write(&path, order).unwrap();
        let line = upgrade(&lab, "u").unwrap_err();
        assert!(
            line.starts_with(expected) && !line.contains('\n'),
            "{order}: {line}"
        );
        assert_eq!(monitor(&lab, domid), old, "{order}");
        runs(&lab, "u", domid);
    }
    // A program that cannot be started, and a domain that is none.
    lab.store()
        .write(&format!("/local/domain/{domid}/data/upgrade"), "")
        .unwrap();
    assert_eq!(
        upgrade(&lab, "0").unwrap_err(),
        "Cannot upgrade privileged domain 0"
    );
    assert!(upgrade(&lab, "nobody").unwrap_err().contains("nobody"));
    // It still can be.
    upgrade(&lab, "u").unwrap();
    assert_ne!(monitor(&lab, domid), old);
    runs(&lab, "u", domid);
}

#[test]
fn process_that_is_killed_with_the_only_copy_ends_the_domain_and_nothing_is_left() {
    for order in ["old exits", "new exits last"] {
        let lab = Lab::new();
        let domid = domain(&lab, "u");
        let path = format!("/local/domain/{domid}/data/upgrade");
        lab.store().write(&path, order).unwrap();
        let line = upgrade(&lab, "u").unwrap_err();
        assert!(!line.contains('\n'), "{line}");
        eventually("the domain is gone", || {
            lab.guest("u").is_none().then_some(())
        });
        assert!(!twice(&lab, "u"));
        assert!(!lab.paths().domain_run_dir(domid).exists(), "{order}");
        assert_eq!(lab.traces(), Vec::<String>::new(), "{order}");
    }
}

/// A request that breaks off with xend.
fn begin(lab: &Lab) -> std::thread::JoinHandle<()> {
    let mut client = lab.client();
    let request = Request::Upgrade { domain: "u".into() };
    std::thread::spawn(move || drop(client.ask(&request)))
}

#[test]
fn xend_killed_before_the_domain_is_given_away_leaves_it_to_the_old_process() {
    let lab = Lab::new();
    let domid = domain(&lab, "u");
    let old = monitor(&lab, domid);
    let gate = lab.root().join("gate");
    let path = format!("/local/domain/{domid}/data/upgrade");
    let order = format!("wait {}", gate.display());
    lab.store().write(&path, &order).unwrap();
    let asked = begin(&lab);
    let reached = format!("{}.reached", gate.display());
    eventually("the old one is asked", || {
        Path::new(&reached).exists().then_some(())
    });
    let new: u32 = record(&lab, domid)["upgrade"]["other"]["pid"]
        .as_u64()
        .unwrap() as u32;
    assert!(is_alive(new) && new != old);
    kill(lab.pid());
    asked.join().unwrap();
    std::fs::write(&gate, "").unwrap();
    lab.store().write(&path, "").unwrap();
    lab.start();
    assert_eq!(monitor(&lab, domid), old);
    eventually("the new one is gone", || (!is_alive(new)).then_some(()));
    runs(&lab, "u", domid);
    upgrade(&lab, "u").unwrap();
    runs(&lab, "u", domid);
}

#[test]
fn xend_killed_at_any_moment_leaves_one_process_that_runs_it() {
    let lab = Lab::new();
    let domid = domain(&lab, "u");
    for round in 0..24u64 {
        let asked = begin(&lab);
        // No synchronisation: moments at random are what is wanted, from before its beginning to after its end.
        std::thread::sleep(std::time::Duration::from_millis(round * 5 % 37));
        kill(lab.pid());
        asked.join().unwrap();
        lab.start();
        runs(&lab, "u", domid);
        let pid = monitor(&lab, domid);
        let others = lab.traces();
        assert!(
            others.iter().all(|trace| !trace.contains("upgrade")),
            "round {round}: {others:?}"
        );
        assert!(is_alive(pid), "round {round}");
    }
}

#[test]
fn pc_with_a_screen_goes_on_and_is_shown_where_it_was() {
    let lab = Lab::new();
    let mut config = lab.config("u");
    config.builder = "hvm".into();
    config.hvm.loader = lab.image("bios.bin", "firmware");
    config.hvm.screen = Vfb::parse("vnc=1,vncunused=1").unwrap();
    config.hvm.stdvga = true;
    let image = lab.image("disk.img", "hello");
    config.disk = vec![Disk::parse(&format!("file:{image},hda,w")).unwrap()];
    let domid = lab.run(config).domid.unwrap();
    let port = format!("/local/domain/{domid}/console/vnc-port");
    let (old, shown) = (monitor(&lab, domid), lab.store().read(&port).unwrap());
    upgrade(&lab, "u").unwrap();
    assert_ne!(monitor(&lab, domid), old);
    runs(&lab, "u", domid);
    assert_eq!(lab.store().read(&port).unwrap(), shown);
    assert!(lab
        .domain_log("u")
        .contains(&format!("domain {domid} goes on, 1 devices")));
}
