//! Disks and network interfaces: nodes, scripts, sharing, coming and going.

mod support;

use noxen_xend_api::{
    DeviceClass, DeviceConfig, DeviceInfo, Disk, DomainConfig, Fault, Request, Response, Vif,
};
use noxen_xenstore::client::{Client, Nodes};
use support::{eventually, Lab};

/// A script that does what it should.
const GOOD: &str = "echo \"$1 $vif $XENBUS_TYPE\" >> \"$NOXEN_ROOT/script.log\"\ncase $1 in online|add) say hotplug-status connected;; esac";

fn disk(text: &str) -> Disk {
    Disk::parse(text).unwrap()
}

fn with_disk(lab: &Lab, name: &str, text: &str) -> DomainConfig {
    DomainConfig {
        disk: vec![disk(text)],
        ..lab.config(name)
    }
}

fn with_vif(lab: &Lab, name: &str, text: &str) -> DomainConfig {
    DomainConfig {
        vif: vec![Vif::parse(text).unwrap()],
        ..lab.config(name)
    }
}

fn attach(lab: &Lab, domain: &str, device: DeviceConfig) -> Result<Response, Fault> {
    let domain = domain.into();
    lab.ask(&Request::AttachDevice { domain, device })
}

fn detach(lab: &Lab, class: DeviceClass, device: &str, force: bool) -> Result<Response, Fault> {
    lab.ask(&Request::DetachDevice {
        domain: "a".into(),
        class,
        device: device.into(),
        force,
    })
}

fn devices(lab: &Lab, domain: &str, class: DeviceClass) -> Vec<DeviceInfo> {
    let domain = domain.into();
    match lab.ask(&Request::Devices { domain, class }).unwrap() {
        Response::Devices { devices } => devices,
        other => panic!("{other:?}"),
    }
}

fn perms(store: &mut Client, path: &str) -> String {
    let mut wire = Vec::new();
    store.perms(path).unwrap().append_wire(&mut wire);
    String::from_utf8(wire).unwrap().replace('\0', " ")
}

fn script_log(lab: &Lab) -> String {
    std::fs::read_to_string(lab.root().join("script.log")).unwrap_or_default()
}

#[test]
fn disk_has_the_nodes_that_tools_read_and_noxen_vmm_gets_its_image() {
    let lab = Lab::new();
    let image = lab.image("disk.img", "hello");
    lab.create(with_disk(&lab, "a", &format!("file:{image},xvda1,w")))
        .unwrap();
    let mut store = lab.store();
    let front = "/local/domain/1/device/vbd/51713";
    let back = "/local/domain/0/backend/vbd/1/51713";
    for (path, value) in [
        (format!("{front}/backend"), back),
        (format!("{front}/backend-id"), "0"),
        (format!("{front}/state"), "1"),
        (format!("{front}/virtual-device"), "51713"),
        (format!("{front}/device-type"), "disk"),
        (format!("{back}/frontend"), front),
        (format!("{back}/frontend-id"), "1"),
        (format!("{back}/domain"), "a"),
        (format!("{back}/online"), "1"),
        (format!("{back}/state"), "2"),
        (format!("{back}/removable"), "0"),
        (format!("{back}/bootable"), "1"),
        (format!("{back}/dev"), "xvda1"),
        (format!("{back}/type"), "file"),
        (format!("{back}/params"), &image),
        (format!("{back}/mode"), "w"),
        (format!("{back}/hotplug-status"), "connected"),
    ] {
        assert_eq!(store.read(&path).unwrap(), value, "{path}");
    }
    assert_eq!(perms(&mut store, front), "n1 r0 ");
    assert_eq!(perms(&mut store, &format!("{front}/state")), "n1 r0 ");
    assert_eq!(perms(&mut store, back), "n0 r1 ");
    let vm = store.read("/local/domain/1/vm").unwrap();
    let of_vm = store.read(&format!("{vm}/device/vbd/51713/backend"));
    assert_eq!(of_vm.unwrap(), back);
    let log = lab.domain_log("a");
    assert!(
        log.contains(&format!("image {image} begins with \"hello\"")),
        "{log}"
    );
    let listed = devices(&lab, "a", DeviceClass::Vbd);
    assert_eq!((listed.len(), listed[0].number("state")), (1, Some(1)));
    assert_eq!(listed[0].state.as_deref(), Some("waiting"));
    lab.destroy("a");
    assert!(lab.traces().is_empty(), "{:?}", lab.traces());
}

#[test]
fn screen_and_its_keyboard_have_their_nodes_and_no_password_in_them() {
    let lab = Lab::new();
    let vfb = "vnc=1,vnclisten=127.0.0.1,vncpasswd=secret,videoram=16".to_owned();
    let config = DomainConfig {
        vfb: vec![vfb],
        ..lab.config("a")
    };
    lab.create(config).unwrap();
    let mut store = lab.store();
    for class in ["vfb", "vkbd"] {
        let back = format!("/local/domain/0/backend/{class}/1/0");
        let front = format!("/local/domain/1/device/{class}/0");
        assert_eq!(store.read(&format!("{front}/backend")).unwrap(), back);
        assert_eq!(store.read(&format!("{back}/state")).unwrap(), "2");
    }
    let back = "/local/domain/0/backend/vfb/1/0";
    let listen = store.read(&format!("{back}/vnclisten")).unwrap();
    assert_eq!(listen, "127.0.0.1");
    let password = store.read_if_present(&format!("{back}/vncpasswd"));
    assert_eq!(password.unwrap(), None);
    let log = lab.domain_log("a");
    assert!(log.contains("\"videoram_mib\":16"), "{log}");
    lab.destroy("a");
    assert!(lab.traces().is_empty(), "{:?}", lab.traces());
}

#[test]
fn screen_by_tls_takes_its_certificate_and_viewers_learn_of_it() {
    let directory = std::env::temp_dir().join(format!("noxen-vnc-papers-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let lab = Lab::new();
    let settings = |more: &str| {
        lab.settings(&format!(
            "(vnc-tls yes) (vnc-x509-cert-dir {}){more}",
            directory.display()
        ));
        let reloaded = lab.xend(&["reload"]);
        assert!(reloaded.status.success(), "{reloaded:?}");
    };
    settings("");
    let config = || DomainConfig {
        vfb: vec!["vnc=1".into()],
        ..lab.config("a")
    };
    let fault = lab.create(config()).unwrap_err();
    let missing = directory.join("server-cert.pem");
    let words = [missing.to_str().unwrap(), "vnc-x509-cert-dir"];
    assert!(
        words.iter().all(|word| fault.message.contains(word)),
        "{}",
        fault.message
    );
    assert!(lab.traces().is_empty(), "{:?}", lab.traces());

    for name in ["server-cert.pem", "server-key.pem"] {
        std::fs::write(directory.join(name), format!("of {name}")).unwrap();
    }
    let domain = lab.create(config()).unwrap();
    let node = format!("/local/domain/{}/console/vnc-tls", domain.domid.unwrap());
    assert_eq!(lab.store().read(&node).unwrap(), "1");
    let shown = lab.ask(&Request::Vnc { domain: "a".into() }).unwrap();
    assert!(
        matches!(shown, Response::Vnc { tls: true, .. }),
        "{shown:?}"
    );
    // The stand-in for noxen-vmm logs what it is told; xend logs no key.
    assert!(lab.domain_log("a").contains("of server-key.pem"));
    assert!(!lab.log().contains("of server-key.pem"));
    lab.destroy("a");

    settings(" (vnc-x509-verify yes)");
    let fault = lab.create(config()).unwrap_err();
    assert!(fault.message.contains("ca-cert.pem"), "{}", fault.message);
    std::fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn screen_is_shown_on_the_first_free_display_and_viewers_learn_which() {
    let lab = Lab::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let config = |vnc: &str| DomainConfig {
        vfb: vec![format!("{vnc},vncdisplay={}", port - 5900)],
        ..lab.config("a")
    };
    let fault = lab.create(config("vnc=1,vncunused=0")).unwrap_err();
    assert!(fault.message.contains("vncunused=1"), "{}", fault.message);
    let domain = lab.create(config("vnc=1,vncpasswd=secret")).unwrap();
    let home = format!("/local/domain/{}", domain.domid.unwrap());
    let shown = lab
        .store()
        .read(&format!("{home}/console/vnc-port"))
        .unwrap();
    assert!(shown.parse::<u16>().unwrap() > port, "{shown}");
    let ask = Request::Vnc { domain: "a".into() };
    let expected = Response::Vnc {
        host: "127.0.0.1".into(),
        port: shown.parse().unwrap(),
        password: Some("secret".into()),
        tls: false,
    };
    assert_eq!(lab.ask(&ask).unwrap(), expected);
    lab.destroy("a");
    lab.create(lab.config("b")).unwrap();
    let fault = lab.ask(&Request::Vnc { domain: "b".into() }).unwrap_err();
    assert!(fault.message.contains("vfb=['vnc=1']"), "{}", fault.message);
    lab.destroy("b");
}

#[test]
fn screen_that_cannot_be_is_named() {
    let lab = Lab::new();
    for (text, words) in [
        ("vncc=1", "configuration option vncc unknown to vfbs"),
        ("videoram=0", "videoram=0 of a vfb"),
        ("vncdisplay=x", "vncdisplay=x"),
    ] {
        let config = DomainConfig {
            vfb: vec![text.to_owned()],
            ..lab.config("a")
        };
        let fault = lab.create(config).unwrap_err();
        assert!(fault.message.contains(words), "{}", fault.message);
    }
    let fault = attach(&lab, "Domain-0", DeviceConfig::Vkbd).unwrap_err();
    assert!(!fault.message.is_empty());
}

#[test]
fn interface_runs_its_script_when_it_comes_and_when_it_goes() {
    let lab = Lab::new();
    lab.script("vif-bridge", GOOD);
    lab.create(with_vif(
        &lab,
        "a",
        "bridge=xenbr0,rate=10Mb/s,ip=10.0.0.2 10.0.0.3",
    ))
    .unwrap();
    let mut store = lab.store();
    let mut read = |name: &str| store.read(&format!("/local/domain/0/backend/vif/1/0/{name}"));
    assert_eq!(read("bridge").unwrap(), "xenbr0");
    assert_eq!(read("rate").unwrap(), "62500,50000");
    assert_eq!(read("ip").unwrap(), "10.0.0.2 10.0.0.3");
    assert_eq!(read("handle").unwrap(), "0");
    assert!(read("script")
        .unwrap()
        .ends_with("/etc/xen/scripts/vif-bridge"));
    let mac = read("mac").unwrap();
    assert!(mac.starts_with("00:16:3e:"), "{mac}");
    let front = store.read("/local/domain/1/device/vif/0/mac").unwrap();
    assert_eq!(front, mac);
    let next = store.read("/local/domain/1/device-misc/vif/nextDeviceID");
    assert_eq!(next.unwrap(), "1");
    assert_eq!(script_log(&lab), "online vif1.0 vif\n");
    lab.destroy("a");
    assert_eq!(script_log(&lab), "online vif1.0 vif\noffline vif1.0 vif\n");
    assert!(lab.traces().is_empty(), "{:?}", lab.traces());
}

#[test]
fn script_that_fails_or_says_nothing_is_told_in_xms_words() {
    let lab = Lab::new();
    lab.script("says-nothing", "exit 0");
    lab.script(
        "fails",
        "say hotplug-error 'no such bridge'; say hotplug-status error; exit 1",
    );
    lab.script("breaks", "exit 3");
    for (script, wanted) in [
        ("says-nothing", "Device 0 (vif) could not be connected. Hotplug scripts not working."),
        ("fails", "Device 0 (vif) could not be connected. no such bridge"),
        ("breaks", "Device 0 (vif) could not be connected. Its hotplug script ended with exit status: 3; see "),
        ("none", "Device 0 (vif) could not be connected. The hotplug script "),
    ] {
        let text = lab.refusal(with_vif(&lab, "a", &format!("script={script}")));
        assert!(text.starts_with(wanted), "{script}: {text}");
        assert!(lab.traces().is_empty(), "{:?}", lab.traces());
    }
}

#[test]
fn disk_in_use_is_refused_to_another_domain_but_not_to_the_same_one() {
    let lab = Lab::new();
    let image = lab.image("disk.img", "x");
    lab.run(with_disk(&lab, "a", &format!("file:{image},xvda,w")));
    let refused = |text: &str| lab.create(with_disk(&lab, "b", text)).unwrap_err().message;
    assert_eq!(
        refused(&format!("file:{image},xvda,w")),
        format!("Device 51712 (vbd) could not be connected.\nFile {image} is mounted in a guest domain,\nand so cannot be mounted now.")
    );
    assert_eq!(
        refused(&format!("tap:aio:{image},xvda,r")),
        format!(
            "Device 51712 (tap) could not be connected.\n{image} already in use by other domain"
        )
    );
    assert!(lab.guest("b").is_none());
    // Its own second disk of the same file, as the manual allows.
    let again = disk(&format!("file:{image},xvdb,r"));
    attach(&lab, "a", DeviceConfig::Disk(again)).unwrap();
    lab.create(with_disk(&lab, "b", &format!("file:{image},xvda,w!")))
        .unwrap();
    lab.destroy("b");
    lab.destroy("a");
    lab.create(with_disk(&lab, "b", &format!("file:{image},xvda,w")))
        .unwrap();
}

#[test]
fn readers_share_a_disk_that_nobody_writes() {
    let lab = Lab::new();
    let image = lab.image("disk.img", "x");
    let text = format!("tap:aio:{image},xvda,r");
    lab.create(with_disk(&lab, "a", &text)).unwrap();
    lab.create(with_disk(&lab, "b", &text)).unwrap();
    let writer = lab.create(with_disk(&lab, "c", &format!("tap:aio:{image},xvda,w")));
    assert!(writer.unwrap_err().message.contains("already in use"));
}

#[test]
fn configuration_of_impossible_devices_leaves_nothing() {
    let lab = Lab::new();
    let image = lab.image("disk.img", "refuse");
    for (texts, wanted) in [
        (
            vec!["file:/nonexistent,xvda,w"],
            "Device 51712 (vbd) could not be connected. /nonexistent does not exist.",
        ),
        (
            vec!["phy:nonexistent,xvda,w"],
            "Device 51712 (vbd) could not be connected. /dev/nonexistent does not exist.",
        ),
        (
            vec!["drbd:r0,xvda,w"],
            "Device 51712 (vbd) could not be connected. The hotplug script ",
        ),
        (
            vec!["file:/a,vda,w"],
            "Unable to find number for device (vda)",
        ),
        (
            vec!["tap:floppy:/a,xvda,w"],
            "tap:floppy not a valid disk type",
        ),
        (
            vec!["file:/a,xvda,w,store"],
            "Cannot configure device for unknown backend store",
        ),
        (
            vec!["file:/a,xvda,w", "file:/b,xvda,w"],
            "The device \"xvda\" is already defined",
        ),
        (
            vec!["file:/a,xvda,w", "file:/a,xvdb,w"],
            "The uname \"file:/a\" is already defined",
        ),
        (
            vec!["file:/a,xvda:cdrom,w"],
            "Invalid disk file:/a,xvda:cdrom,w: a cdrom has mode r",
        ),
        (
            vec![&format!("file:{image},xvda,w")],
            "Device 51712 (vbd) could not be connected. the image is not of its format",
        ),
    ] {
        let config = DomainConfig {
            disk: texts.iter().map(|text| disk(text)).collect(),
            ..lab.config("a")
        };
        let text = lab.refusal(config);
        assert!(text.starts_with(wanted), "{texts:?}: {text}");
        assert!(lab.traces().is_empty(), "{texts:?}: {:?}", lab.traces());
    }
    let text = lab.refusal(with_vif(&lab, "a", "mac=00:16:3e"));
    assert!(
        text.starts_with(
            "Cannot create a new virtual network interface - MAC address is not valid!"
        ),
        "{text}"
    );
}

#[test]
fn device_attached_while_it_runs_stays_through_a_reboot_and_goes_when_detached() {
    let lab = Lab::new();
    lab.script("vif-bridge", GOOD);
    let image = lab.image("disk.img", "x");
    let first = lab.run(with_vif(&lab, "a", ""));
    attach(
        &lab,
        "a",
        DeviceConfig::Disk(disk(&format!("file:{image},xvdb,w"))),
    )
    .unwrap();
    attach(
        &lab,
        "a",
        DeviceConfig::Vif(Vif::parse("bridge=b2").unwrap()),
    )
    .unwrap();
    let again = attach(
        &lab,
        "a",
        DeviceConfig::Disk(disk(&format!("file:{image},xvdb,r"))),
    );
    assert_eq!(
        again.unwrap_err().message,
        "Device 51728 is already connected."
    );
    let macs = |lab: &Lab| -> Vec<_> {
        let all = devices(lab, "a", DeviceClass::Vif);
        all.iter()
            .map(|d| (d.devid, d.nodes["mac"].clone()))
            .collect()
    };
    let before = macs(&lab);
    assert_eq!(before.iter().map(|v| v.0).collect::<Vec<_>>(), [0, 1]);
    let domain = "a".into();
    lab.ask(&Request::Reset { domain }).unwrap();
    let second = lab.guest("a").unwrap();
    assert_ne!((first.domid, &first.uuid), (second.domid, &String::new()));
    assert_eq!(macs(&lab), before, "an address is kept");
    assert_eq!(devices(&lab, "a", DeviceClass::Vbd).len(), 1);

    detach(&lab, DeviceClass::Vbd, "/dev/xvdb", false).unwrap();
    detach(&lab, DeviceClass::Vif, &before[1].1.to_uppercase(), false).unwrap();
    detach(&lab, DeviceClass::Vif, "0", false).unwrap();
    assert!(devices(&lab, "a", DeviceClass::Vbd).is_empty());
    assert!(lab.store_tree("/local/domain/2/device/vif").len() < 2);
    assert_eq!(
        detach(&lab, DeviceClass::Vbd, "xvdb", false)
            .unwrap_err()
            .message,
        "Device xvdb not connected"
    );
    // An index is not used twice.
    attach(&lab, "a", DeviceConfig::Vif(Vif::default())).unwrap();
    assert_eq!(macs(&lab)[0].0, 2);
    lab.destroy("a");
    assert_eq!(script_log(&lab).matches("online").count(), 5);
    assert_eq!(script_log(&lab).matches("offline").count(), 5);
}

#[test]
fn guest_that_does_not_let_go_keeps_its_disk_until_it_is_forced() {
    let lab = Lab::new();
    let image = lab.image("disk.img", "x");
    lab.run(with_disk(&lab, "a", &format!("file:{image},xvda,w")));
    lab.store()
        .write("/local/domain/1/data/hold", "51712")
        .unwrap();
    let text = detach(&lab, DeviceClass::Vbd, "51712", false)
        .unwrap_err()
        .message;
    assert_eq!(text, "Device 51712 (vbd) could not be disconnected. ");
    assert_eq!(
        devices(&lab, "a", DeviceClass::Vbd)[0].state.as_deref(),
        Some("closing")
    );
    detach(&lab, DeviceClass::Vbd, "vbd/51712", true).unwrap();
    assert!(devices(&lab, "a", DeviceClass::Vbd).is_empty());
}

#[test]
fn devices_are_taken_up_again_by_the_next_xend() {
    let lab = Lab::new();
    lab.script("vif-bridge", GOOD);
    let image = lab.image("disk.img", "x");
    let mut config = with_vif(&lab, "a", "bridge=b1");
    config.disk.push(disk(&format!("file:{image},xvda,w")));
    lab.run(config);
    let listed = devices(&lab, "a", DeviceClass::Vif);
    lab.kill_all_of_xend();
    lab.start();
    assert_eq!(devices(&lab, "a", DeviceClass::Vif), listed);
    let busy = lab.create(with_disk(&lab, "b", &format!("file:{image},xvda,w")));
    assert!(busy
        .unwrap_err()
        .message
        .contains("is mounted in a guest domain"));

    // The record is lost as well: noxen-vmm and the store know.
    lab.kill_all_of_xend();
    std::fs::remove_file(lab.paths().running_dir().join("1.json")).unwrap();
    lab.start();
    let learnt = devices(&lab, "a", DeviceClass::Vif);
    assert_eq!((learnt[0].devid, &learnt[0].nodes), (0, &listed[0].nodes));
    let busy = lab.create(with_disk(&lab, "b", &format!("file:{image},xvda,w")));
    assert!(busy
        .unwrap_err()
        .message
        .contains("is mounted in a guest domain"));
    detach(&lab, DeviceClass::Vbd, "xvda", false).unwrap();
    lab.destroy("a");
    assert!(script_log(&lab).contains("offline vif1.0 vif"));
    assert!(lab.traces().is_empty(), "{:?}", lab.traces());
}

#[test]
fn medium_of_a_cdrom_is_changed_and_of_a_disk_is_not() {
    let lab = Lab::new();
    let (one, two) = (lab.image("one.iso", "one"), lab.image("two.iso", "two"));
    let mut config = with_disk(&lab, "a", ",xvdc:cdrom,r");
    config.disk.push(disk(&format!("file:{one},xvda,w")));
    lab.run(config);
    let configure = |text: &str| {
        let device = DeviceConfig::Disk(disk(text));
        let domain = "a".into();
        lab.ask(&Request::ConfigureDevice { domain, device })
    };
    configure(&format!("file:{two},xvdc:cdrom,r")).unwrap();
    assert!(lab.domain_log("a").contains("begins with \"two\""));
    let back = "/local/domain/0/backend/vbd/1/51744/params";
    assert_eq!(lab.store().read(back).unwrap(), two);
    assert_eq!(
        configure(&format!("file:{two},xvda,w"))
            .unwrap_err()
            .message,
        format!("Refusing to reconfigure device vbd:51712 to file:{two}")
    );
    assert!(configure("file:/nonexistent,xvdc:cdrom,r").is_err());
    assert_eq!(lab.store().read(back).unwrap(), two, "the old medium stays");
}

#[test]
fn script_makes_the_device_of_a_type_of_its_own() {
    let lab = Lab::new();
    lab.script("block-lv", "echo \"$1\" >> \"$NOXEN_ROOT/script.log\"\n[ $1 = add ] && { say node /dev/null; say hotplug-status connected; }\nexit 0");
    let text = lab.refusal(with_disk(&lab, "a", "lv:data,xvda,w"));
    assert_eq!(
        text,
        "Device 51712 (vbd) could not be connected. /dev/null is not a block device."
    );
    assert_eq!(script_log(&lab), "add\nremove\n");
}

#[test]
fn crashed_domain_that_is_renamed_leaves_its_disk_to_its_successor() {
    let lab = Lab::new();
    let image = lab.image("disk.img", "x");
    let mut config = with_disk(&lab, "a", &format!("file:{image},xvda,w"));
    config.on_crash = "rename-restart".into();
    lab.run(config);
    lab.store()
        .write("/local/domain/1/data/fault", "crash")
        .unwrap();
    eventually("the successor has the disk", || {
        lab.guest("a").filter(|g| g.domid == Some(2))?;
        (devices(&lab, "a", DeviceClass::Vbd).len() == 1).then_some(())
    });
    assert!(devices(&lab, "1", DeviceClass::Vbd).is_empty());
}

#[test]
fn listing_in_full_shows_the_devices() {
    let lab = Lab::new();
    lab.script("vif-bridge", GOOD);
    let image = lab.image("disk.img", "x");
    let mut config = with_vif(&lab, "a", "mac=00:16:3e:00:01:03,bridge=xenbr0");
    config.disk.push(disk(&format!("file:{image},xvda1,w")));
    lab.create(config).unwrap();
    let request = Request::Sxp {
        domains: vec!["a".into()],
        state: Default::default(),
    };
    let Response::Texts { texts } = lab.ask(&request).unwrap() else {
        panic!();
    };
    let flat = texts[0].split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        flat.contains("(device ( vif (mac 00:16:3e:00:01:03) (bridge xenbr0)")
            || flat.contains("(device (vif (mac 00:16:3e:00:01:03) (bridge xenbr0)"),
        "{flat}"
    );
    assert!(
        flat.contains("(dev xvda1:disk)")
            && flat.contains("(bootable 1)")
            && flat.contains("(VDI )"),
        "{flat}"
    );
}
