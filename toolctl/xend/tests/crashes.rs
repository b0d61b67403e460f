//! xend killed at the worst moments: what was begun is finished or undone, and no domain is lost.

mod support;

use noxen_xend_api::{Request, ShutdownKind};
use serde_json::Value;
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
