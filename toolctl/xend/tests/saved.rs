//! `save`, `restore`, `suspend`, `resume` with a stand-in monitor: files, ids, names, nodes, what is left after failures.

mod support;

use noxen_xend_api::{DeviceClass, Disk, DomainInfo, Request, Response, Vif};
use noxen_xenstore::client::Nodes;
use std::path::{Path, PathBuf};
use support::Lab;

fn save(lab: &Lab, domain: &str, file: &Path, checkpoint: bool) -> Result<Response, String> {
    let request = Request::Save {
        domain: domain.into(),
        file: file.display().to_string(),
        checkpoint,
        how: Default::default(),
    };
    lab.ask(&request).map_err(|fault| fault.message)
}

fn restore(lab: &Lab, file: &Path, paused: bool) -> Result<DomainInfo, String> {
    let file = file.display().to_string();
    match lab.ask(&Request::Restore {
        file,
        paused,
        lazy: false,
    }) {
        Ok(Response::Domain { domain }) => Ok(*domain),
        Ok(other) => panic!("{other:?}"),
        Err(fault) => Err(fault.message),
    }
}

/// Files in a directory of the test's own.
fn directory(lab: &Lab) -> PathBuf {
    let path = lab.root().join("images");
    std::fs::create_dir_all(&path).unwrap();
    path
}

fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn saved_domain_leaves_nothing_and_comes_back_as_it_was() {
    let lab = Lab::new();
    let mut config = lab.config("s");
    config.memory = 40;
    config.vcpus = 2;
    config.extra = "a='b c' d".into();
    let before = lab.run(config);
    let home = format!("/local/domain/{}", before.domid.unwrap());
    let mut store = lab.store();
    store
        .write(&format!("{home}/data/mark"), "of the guest")
        .unwrap();
    let file = directory(&lab).join("s.img");
    save(&lab, "s", &file, false).unwrap();
    assert_eq!(lab.guest("s"), None);
    assert_eq!(names(&directory(&lab)), ["s.img"]);
    assert_eq!(store.read_if_present(&home).unwrap(), None);
    let bytes = std::fs::read(&file).unwrap();
    assert!(bytes.starts_with(b"LinuxGuestRecord"));

    let after = restore(&lab, &file, false).unwrap();
    assert_eq!(
        (
            after.domid,
            &after.uuid,
            &after.name,
            after.memory_mib,
            after.vcpus
        ),
        (before.domid, &before.uuid, &before.name, 40, 2)
    );
    assert_eq!(
        store.read(&format!("{home}/data/mark")).unwrap(),
        "of the guest"
    );
    assert!(file.exists());
    // The id is spoken for: neither a fresh domain nor a second one out of the file gets it.
    let fresh = lab.run(lab.config("fresh"));
    assert_ne!(fresh.domid, before.domid);
    let error = restore(&lab, &file, false).unwrap_err();
    let id = before.domid.unwrap();
    assert_eq!(error, format!("Domain 's' already exists with ID '{id}'"));
    lab.destroy("s");
    let paused = restore(&lab, &file, true).unwrap();
    assert_eq!(paused.domid, before.domid);
    lab.destroy("s");
}

#[test]
fn devices_come_back_with_their_numbers_nodes_and_scripts_and_are_judged_anew() {
    let lab = Lab::new();
    lab.script(
        "vif-bridge",
        "echo \"$1 $vif\" >> \"$NOXEN_ROOT/script.log\"\ncase $1 in online) say hotplug-status connected;; esac",
    );
    let image = lab.image("disk.img", "hello");
    let mut config = lab.config("s");
    config.disk = vec![Disk::parse(&format!("file:{image},xvda,w")).unwrap()];
    config.vif = ["mac=00:16:3e:00:00:01", "mac=00:16:3e:00:00:02"]
        .map(|text| Vif::parse(text).unwrap())
        .to_vec();
    let before = lab.run(config);
    let home = format!("/local/domain/{}", before.domid.unwrap());
    let back = format!("/local/domain/0/backend/vif/{}/1", before.domid.unwrap());
    // The first interface goes, so the other is number 1 and stays that.
    let detach = Request::DetachDevice {
        domain: "s".into(),
        class: DeviceClass::Vif,
        device: "0".into(),
        force: true,
    };
    lab.ask(&detach).unwrap();
    let mut store = lab.store();
    for (node, value) in [
        ("vbd/51712/state", "4"),
        ("vbd/51712/ring-ref", "8"),
        ("vif/1/state", "4"),
        ("vif/1/queue-0/tx-ring-ref", "9"),
    ] {
        store
            .write(&format!("{home}/device/{node}"), value)
            .unwrap();
    }
    let file = directory(&lab).join("s.img");
    save(&lab, "s", &file, false).unwrap();
    assert_eq!(store.read_if_present(&back).unwrap(), None);

    restore(&lab, &file, false).unwrap();
    for (node, value) in [
        ("vbd/51712/state", "4"),
        ("vbd/51712/ring-ref", "8"),
        ("vif/1/queue-0/tx-ring-ref", "9"),
        ("vif/1/mac", "00:16:3e:00:00:02"),
        ("vif/1/backend", back.as_str()),
    ] {
        let read = store.read(&format!("{home}/device/{node}")).unwrap();
        assert_eq!(read, value, "{node}");
    }
    assert_eq!(store.read(&format!("{back}/state")).unwrap(), "4");
    let gone = store.read_if_present(&format!("{home}/device/vif/0"));
    assert_eq!(gone.unwrap(), None);
    let id = before.domid.unwrap();
    let scripts = std::fs::read_to_string(lab.root().join("script.log")).unwrap();
    let wanted = ["online", "offline", "online"].map(|action| format!("{action} vif{id}.1\n"));
    let of_it: String = scripts
        .lines()
        .filter(|l| l.ends_with(".1"))
        .map(|l| format!("{l}\n"))
        .collect();
    assert_eq!(of_it, wanted.concat());

    // The disk is somebody else's by the time it is to come back a second time.
    lab.destroy("s");
    let mut other = lab.config("other");
    other.disk = vec![Disk::parse(&format!("file:{image},xvda,w")).unwrap()];
    lab.run(other);
    let error = restore(&lab, &file, false).unwrap_err();
    assert!(
        error.contains("51712 (vbd) could not be connected"),
        "{error}"
    );
    assert_eq!(lab.guests().len(), 1);
    lab.destroy("other");
}

#[test]
fn id_that_another_domain_has_by_now_is_not_taken_from_it() {
    let lab = Lab::new();
    let before = lab.run(lab.config("s"));
    let file = directory(&lab).join("s.img");
    save(&lab, "s", &file, false).unwrap();
    // As after a boot of the host: ids begin anew.
    lab.stop();
    std::fs::remove_file(lab.root().join("var/lib/xend/next-domid")).unwrap();
    lab.start();
    let other = lab.run(lab.config("other"));
    assert_eq!(other.domid, before.domid);
    let after = restore(&lab, &file, false).unwrap();
    assert_ne!(after.domid, before.domid);
    assert_eq!(after.uuid, before.uuid);
}

#[test]
fn save_that_fails_leaves_the_domain_running_and_the_old_file_as_it_was() {
    let lab = Lab::new();
    let info = lab.run(lab.config("s"));
    let directory = directory(&lab);
    let file = directory.join("s.img");
    std::fs::write(&file, "an older one").unwrap();
    let fault = format!("/local/domain/{}/data/fault", info.domid.unwrap());
    lab.store().write(&fault, "save").unwrap();
    let error = save(&lab, "s", &file, false).unwrap_err();
    assert!(
        error.starts_with("can't write guest state file ") && error.contains("No space left"),
        "{error}"
    );
    assert_eq!(names(&directory), ["s.img"]);
    assert_eq!(std::fs::read(&file).unwrap(), b"an older one");
    lab.store().write(&fault, "").unwrap();
    let error = save(&lab, "s", &directory, false).unwrap_err();
    assert!(error.contains("it is a directory"), "{error}");
    // It runs: a checkpoint of it works, and it still stops when asked.
    save(&lab, "s", &file, true).unwrap();
    let again = lab.guest("s").unwrap();
    assert_eq!(again.domid, info.domid);
    let request = Request::Shutdown {
        domain: "s".into(),
        kind: noxen_xend_api::ShutdownKind::Poweroff,
    };
    lab.ask(&request).unwrap();
    support::eventually("its end", || lab.guest("s").is_none().then_some(()));
}

#[test]
fn file_that_is_no_image_is_refused_and_nothing_is_left() {
    let lab = Lab::new();
    lab.run(lab.config("s"));
    let directory = directory(&lab);
    let file = directory.join("s.img");
    save(&lab, "s", &file, false).unwrap();
    let good = std::fs::read(&file).unwrap();
    let bad = directory.join("bad");
    for (bytes, word) in [
        (
            &b"kernel = '/boot/vmlinuz'"[..],
            "not a valid guest state file: found",
        ),
        (&good[..100], "ends in the middle of"),
        (&good[..good.len() - 1], "ends in the middle of"),
    ] {
        std::fs::write(&bad, bytes).unwrap();
        let error = restore(&lab, &bad, false).unwrap_err();
        assert!(error.contains(word) && !error.contains('\n'), "{error}");
        assert_eq!(lab.guests().len(), 0);
    }
    let missing = restore(&lab, &directory.join("none"), false).unwrap_err();
    assert!(missing.contains("can't read guest state file"), "{missing}");
}

#[test]
fn managed_domain_is_suspended_and_resumed() {
    let lab = Lab::new();
    let config = lab.config("m");
    lab.ask(&Request::New {
        config: Box::new(config),
    })
    .unwrap();
    let start = Request::Start { domain: "m".into() };
    lab.ask(&start).unwrap();
    lab.ask(&Request::Unpause { domain: "m".into() }).unwrap();
    let id = lab.guest("m").unwrap().domid;
    let suspend = Request::Suspend { domain: "m".into() };
    let resume = Request::Resume {
        domain: "m".into(),
        paused: false,
    };
    let error = lab.ask(&resume).unwrap_err().message;
    assert_eq!(error, "Cannot resume domain that is not suspended.");
    lab.ask(&suspend).unwrap();
    let info = lab.guest("m").unwrap();
    assert_eq!((info.domid, info.suspended), (None, true));
    assert!(noxen_xend_api::StateFilter::Suspended.takes(&info));
    let error = lab.ask(&start).unwrap_err().message;
    assert!(error.contains("is suspended; xm resume"), "{error}");
    // Over a restart of xend.
    lab.stop();
    lab.start();
    lab.ask(&resume).unwrap();
    assert_eq!(lab.guest("m").unwrap().domid, id);
    lab.destroy("m");
    let error = lab.ask(&resume).unwrap_err().message;
    assert_eq!(error, "Domain was not suspended by Xend");
    lab.run(lab.config("other"));
    let other = Request::Suspend {
        domain: "other".into(),
    };
    let error = lab.ask(&other).unwrap_err().message;
    assert_eq!(error, "Domain is not managed by Xend lifecycle support.");
}

#[test]
fn how_a_domain_is_to_be_saved_or_moved_reaches_its_monitor() {
    let lab = Lab::new();
    lab.run(lab.config("m"));
    let request = Request::Save {
        domain: "m".into(),
        file: lab.root().join("m.img").display().to_string(),
        checkpoint: true,
        how: noxen_xend_api::migrate::SaveHow {
            by_guest: true,
            compress: true,
        },
    };
    lab.ask(&request).unwrap();
    let log = lab.domain_log("m");
    assert!(
        log.contains("save SaveHow { guest: true, compress: true }"),
        "{log}"
    );
    lab.destroy("m");
}
