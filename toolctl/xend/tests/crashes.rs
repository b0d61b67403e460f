//! xend killed at the worst moments: what was begun is finished or undone, and no domain is lost.

mod support;

use noxen_xend_api::{Client, ClientError, DomainConfig, Request, Response, ShutdownKind};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use support::{eventually, is_alive, kill, Lab};

/// Changes a domain's record behind a dead xend's back.
fn edit_record(lab: &Lab, domid: u32, change: impl FnOnce(&mut Value)) {
    let path = lab.paths().running_dir().join(format!("{domid}.json"));
    let mut record: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    change(&mut record);
    std::fs::write(&path, record.to_string()).unwrap();
}

#[test]
fn restart_cut_off_before_the_successor_is_finished_by_the_next_xend() {
    let lab = Lab::new();
    let made = lab.run(lab.config("tenant"));
    lab.kill_all_of_xend();
    edit_record(&lab, 1, |r| r["phase"] = "restarting".into());
    lab.start();
    let back = lab.guest("tenant").unwrap();
    assert_eq!((back.domid, back.restart_count), (Some(2), 1));
    assert_eq!(back.uuid, made.uuid);
    assert_eq!(back.state.letters(), "-b----");
    assert!(!is_alive(made.pid.unwrap()));
    lab.destroy("tenant");
    assert!(lab.traces().is_empty(), "{:?}", lab.traces());
}

#[test]
fn restart_cut_off_after_the_successor_keeps_the_successor() {
    let lab = Lab::new();
    let first = lab.run(lab.config("tenant"));
    let second = lab.create(lab.config("other")).unwrap();
    lab.kill_all_of_xend();
    // As if `other` were the successor of `tenant`, built but not yet unpaused.
    edit_record(&lab, 1, |r| r["phase"] = "restarting".into());
    edit_record(&lab, 2, |r| {
        r["replaces"] = 1.into();
        r["name"] = "tenant".into();
    });
    lab.start();
    let found = lab.guest("tenant").unwrap();
    assert_eq!((found.domid, found.pid), (second.domid, second.pid));
    assert_eq!(found.state.letters(), "-b----");
    assert_eq!(lab.guests().len(), 1);
    assert!(!is_alive(first.pid.unwrap()));
}

#[test]
fn rename_restart_cut_off_starts_the_successor_later() {
    let lab = Lab::new();
    let made = lab.run(lab.config("tenant"));
    lab.kill_all_of_xend();
    let uuid = "5e1ad6c1-9a0b-4a2e-8d8f-0c4b5d2f7a11";
    edit_record(&lab, 1, |r| {
        r["phase"] = "preserved".into();
        r["shutdown_reason"] = "reboot".into();
        r["name"] = format!("Domain-{uuid}").into();
        r["uuid"] = uuid.into();
        r["vm_path"] = format!("/vm/{uuid}").into();
        r["successor"] = serde_json::json!({
            "name": "tenant", "uuid": made.uuid, "restart_count": 1
        });
    });
    lab.start();
    let fresh = lab.guest("tenant").unwrap();
    assert_eq!((fresh.domid, fresh.restart_count), (Some(2), 1));
    assert_eq!(fresh.uuid, made.uuid);
    let letters = lab.letters(&format!("Domain-{uuid}"));
    assert_eq!(letters, "---s--");
}

#[test]
fn record_of_another_boot_is_forgotten() {
    let lab = Lab::new();
    let made = lab.run(lab.config("tenant"));
    lab.kill_all_of_xend();
    kill(made.pid.unwrap());
    edit_record(&lab, 1, |r| r["boot_id"] = "another".into());
    lab.start();
    assert!(lab.guests().is_empty());
    assert!(lab.traces().is_empty(), "{:?}", lab.traces());
}

#[test]
fn guest_that_does_not_shut_down_is_called_unresponsive_after_five_minutes() {
    use noxen_xenstore::client::Nodes;
    let lab = Lab::new();
    // Paused, so that it cannot do what it is asked.
    lab.create(lab.config("tenant")).unwrap();
    lab.ask(&Request::Shutdown {
        domain: "tenant".into(),
        kind: ShutdownKind::Poweroff,
    })
    .unwrap();
    lab.kill_all_of_xend();
    edit_record(&lab, 1, |r| {
        let asked = r["shutdown_asked"].as_f64().unwrap();
        r["shutdown_asked"] = (asked - 301.0).into();
    });
    lab.start();
    let path = "/local/domain/1/xend/unresponsive";
    let value = eventually("it is marked", || {
        lab.store().read_if_present(path).unwrap()
    });
    assert_eq!(value, "True");
    let want = "Domain shutdown timeout expired: name=tenant id=1";
    assert_eq!(lab.log().matches(want).count(), 1);
    assert_eq!(lab.letters("tenant"), "--p---");
}

/// Asks until xend answers; none when the connection broke and it is not known whether it was done.
fn ask_through(lab: &Lab, request: &Request) -> Option<Result<Response, String>> {
    let mut client = eventually("xend listens", || Client::connect(&lab.paths()).ok());
    client.set_timeout(Some(Duration::from_secs(60))).unwrap();
    match client.ask(request) {
        Ok(response) => Some(Ok(response)),
        Err(ClientError::Fault(fault)) => Some(Err(fault.message)),
        Err(_) => None,
    }
}

/// Makes and ends domains called `worker-N`; returns what must exist in the end: name -> alive for sure, or not
/// known.
fn churn(lab: &Lab, worker: usize, stop: &AtomicBool) -> BTreeMap<String, bool> {
    let mut known = BTreeMap::new();
    for n in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let name = format!("churn-{worker}-{n}");
        let config = Box::new(DomainConfig {
            memory: 8,
            ..lab.config(&name)
        });
        match ask_through(lab, &Request::Create { config }) {
            Some(Ok(_)) => known.insert(name.clone(), true),
            Some(Err(message)) => panic!("{name}: {message}"),
            None => known.insert(name.clone(), false),
        };
        if n % 3 == 0 {
            continue;
        }
        match ask_through(
            lab,
            &Request::Destroy {
                domain: name.clone(),
            },
        ) {
            Some(Ok(_)) => known.remove(&name),
            Some(Err(message)) => {
                let unsure = known.remove(&name) == Some(false);
                assert!(unsure && message.contains("does not exist"), "{message}");
                None
            }
            None => known.insert(name, false),
        };
    }
    known
}

#[test]
fn xend_killed_again_and_again_under_load_loses_no_domain() {
    let lab = Lab::new();
    let stop = AtomicBool::new(false);
    let known = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..2)
            .map(|w| {
                let (lab, stop) = (&lab, &stop);
                scope.spawn(move || churn(lab, w, stop))
            })
            .collect();
        for _ in 0..6 {
            let made = lab.root().join("var/lib/xend/next-domid");
            let before = std::fs::read(&made).ok();
            eventually("it makes domains", || {
                (std::fs::read(&made).ok() != before).then_some(())
            });
            kill(lab.pid());
        }
        stop.store(true, Ordering::Relaxed);
        workers
            .into_iter()
            .flat_map(|worker| worker.join().unwrap())
            .collect::<BTreeMap<String, bool>>()
    });
    eventually("xend listens", || Client::connect(&lab.paths()).ok());
    let guests = lab.guests();
    for (name, sure) in &known {
        let found = guests.iter().any(|g| g.name == *name);
        assert!(found || !sure, "{name} is lost");
    }
    for guest in &guests {
        assert!(
            known.contains_key(&guest.name),
            "{} was destroyed",
            guest.name
        );
        assert!(is_alive(guest.pid.unwrap()));
        lab.destroy(&guest.name);
    }
    assert!(lab.traces().is_empty(), "{:?}", lab.traces());
    let root = lab.root().as_os_str().as_encoded_bytes();
    assert_eq!(monitors_of(root), Vec::<u32>::new());
}

/// Fake monitors whose environment names `root`.
fn monitors_of(root: &[u8]) -> Vec<u32> {
    let want = [b"NOXEN_ROOT=", root, b"\0"].concat();
    std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok()?.parse().ok())
        .filter(|pid: &u32| {
            let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            name.starts_with("xend-fake") && environment.windows(want.len()).any(|w| w == want)
        })
        .collect()
}
