//! HVM domains: display, cards and floppies as noxen-vmm is told of them.

mod support;

#[path = "support/moving.rs"]
mod moving;

use noxen_control::wish::Wish;
use noxen_xend_api::device::Vfb;
use noxen_xend_api::{Change, Disk, DomainConfig, Request, Response, Vif};
use noxen_xenstore::client::Nodes;
use support::{eventually, Lab};

/// A PC whose firmware is a file, with the fake monitor's kernel besides.
fn pc(lab: &Lab, name: &str, change: impl FnOnce(&mut DomainConfig)) -> DomainConfig {
    let mut config = lab.config(name);
    config.builder = "hvm".into();
    config.hvm.loader = lab.image("bios.bin", "firmware");
    change(&mut config);
    config
}

fn vif(text: &str) -> Vec<Vif> {
    vec![Vif::parse(text).unwrap()]
}

#[test]
fn display_is_shown_by_vnc_where_the_store_says_and_viewers_are_told() {
    let lab = Lab::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let shown = |more: &str| {
        let text = format!("vnc=1,vncdisplay={},vncpasswd=secret{more}", port - 5900);
        let screen = Vfb::parse(&text).unwrap();
        pc(&lab, "a", |config| {
            config.hvm.screen = screen;
            config.hvm.stdvga = true;
        })
    };
    let fault = lab.create(shown(",vncunused=0")).unwrap_err();
    assert!(fault.message.contains("vncunused=1"), "{}", fault.message);
    let domain = lab.create(shown("")).unwrap();
    let home = format!("/local/domain/{}", domain.domid.unwrap());
    let mut store = lab.store();
    let said = store.read(&format!("{home}/console/vnc-port")).unwrap();
    assert!(said.parse::<u16>().unwrap() > port, "{said}");
    let listen = store.read(&format!("{home}/console/vnc-listen")).unwrap();
    assert_eq!(listen, "127.0.0.1");
    let expected = Response::Vnc {
        host: "127.0.0.1".into(),
        port: said.parse().unwrap(),
        password: Some("secret".into()),
        tls: false,
    };
    let ask = Request::Vnc { domain: "a".into() };
    assert_eq!(lab.ask(&ask).unwrap(), expected);
    let log = lab.domain_log("a");
    for part in ["\"adapter\":\"standard\"", "\"memory_mib\":16", "secret"] {
        assert!(log.contains(part), "{part}: {log}");
    }
    lab.destroy("a");
    assert!(lab.traces().is_empty(), "{:?}", lab.traces());
}

#[test]
fn display_is_there_unless_it_is_not_wanted() {
    let lab = Lab::new();
    lab.create(pc(&lab, "a", |_| {})).unwrap();
    let log = lab.domain_log("a");
    assert!(log.contains("\"adapter\":\"cirrus\""), "{log}");
    assert!(log.contains("\"vnc\":null"), "{log}");
    let fault = lab.ask(&Request::Vnc { domain: "a".into() }).unwrap_err();
    assert!(fault.message.contains("; vnc=1 in"), "{}", fault.message);
    lab.create(pc(&lab, "b", |config| config.hvm.nographic = true))
        .unwrap();
    let log = lab.domain_log("b");
    assert!(log.contains("\"display\":null"), "{log}");
    // An item of vfb is the display, too.
    let item = || vec!["vnc=1,vnclisten=127.0.0.1".to_owned()];
    lab.create(pc(&lab, "c", |config| config.vfb = item()))
        .unwrap();
    let ask = Request::Vnc { domain: "c".into() };
    assert!(matches!(lab.ask(&ask), Ok(Response::Vnc { .. })));
    for name in ["a", "b", "c"] {
        lab.destroy(name);
    }
}

#[test]
fn card_is_on_a_tap_of_its_own_name_and_what_is_not_built_is_named() {
    let lab = Lab::new();
    lab.script(
        "vif-bridge",
        "echo \"$1 $vif\" >> \"$NOXEN_ROOT/script.log\"\ncase $1 in online) say hotplug-status connected;; esac",
    );
    let with = |text: &str| pc(&lab, "a", |config| config.vif = vif(text));
    for (text, words) in [
        (
            "type=ioemu,model=i82551",
            "model=i82551 is not supported yet",
        ),
        ("type=netfront", "type=netfront of an HVM domain"),
        ("rate=10Mb/s", "rate of an HVM domain's card"),
    ] {
        let fault = lab.create(with(text)).unwrap_err();
        assert!(fault.message.contains(words), "{}", fault.message);
    }
    lab.create(with("type=ioemu,model=e1000,bridge=xenbr0"))
        .unwrap();
    let script_log = || std::fs::read_to_string(lab.root().join("script.log")).unwrap();
    assert_eq!(script_log(), "online tap1.0\n");
    let log = lab.domain_log("a");
    assert!(log.contains("\"model\":\"e1000\",\"rom\":false"), "{log}");
    lab.destroy("a");
    assert_eq!(script_log(), "online tap1.0\noffline tap1.0\n");
    assert!(lab.traces().is_empty(), "{:?}", lab.traces());
}

#[test]
fn floppies_are_drives_of_the_machine() {
    let lab = Lab::new();
    let (a, b) = (lab.image("a.img", "first"), lab.image("b.img", "other"));
    lab.create(pc(&lab, "a", |config| {
        config.hvm.fda = a.clone();
        config.hvm.fdb = b.clone();
    }))
    .unwrap();
    let log = lab.domain_log("a");
    assert!(log.contains("\"second_floppy\":true"), "{log}");
    for (image, begins) in [(&a, "first"), (&b, "other")] {
        let line = format!("image {image} begins with \"{begins}\"");
        assert!(log.contains(&line), "{log}");
    }
    let dev = lab.store().read("/local/domain/0/backend/vbd/1/513/dev");
    assert_eq!(dev.unwrap(), "fdb");
    lab.destroy("a");
    let twice = pc(&lab, "a", |config| {
        (config.hvm.fda, config.hvm.fdb) = (a.clone(), a.clone());
    });
    let fault = lab.create(twice).unwrap_err();
    assert!(
        fault.message.contains("already defined"),
        "{}",
        fault.message
    );
}

#[test]
fn clock_that_the_guest_has_set_is_kept_for_the_next_start() {
    let lab = Lab::new();
    let config = pc(&lab, "a", |config| config.rtc_timeoffset = 100);
    let domain = lab.run(config);
    let home = format!("/local/domain/{}", domain.domid.unwrap());
    let mut store = lab.store();
    let offset = format!(
        "{}/rtc/timeoffset",
        store.read(&format!("{home}/vm")).unwrap()
    );
    assert_eq!(store.read(&offset).unwrap(), "100");
    // What is told is the sum, so what is told twice counts once.
    for (seconds, kept) in [("60", "160"), ("60", "160"), ("-40", "60")] {
        let fault = format!("clock {seconds}");
        lab.store()
            .write(&format!("{home}/data/fault"), &fault)
            .unwrap();
        eventually("the offset in the store", || {
            (lab.store().read(&offset).unwrap() == kept).then_some(())
        });
    }
    lab.store()
        .write(&format!("{home}/control/shutdown"), "reboot")
        .unwrap();
    eventually("another domain", || {
        lab.guest("a").filter(|guest| guest.domid > domain.domid)
    });
    assert_eq!(lab.store().read(&offset).unwrap(), "60");
    eventually("a machine that begins there", || {
        lab.domain_log("a")
            .contains("\"clock_offset_s\":60")
            .then_some(())
    });
    lab.destroy("a");
}

#[test]
fn triggers_are_buttons_and_signals_of_the_pc() {
    let lab = Lab::new();
    lab.create(pc(&lab, "a", |_| {})).unwrap();
    let trigger = |name: &str, vcpu| {
        let change = Change::Trigger {
            trigger: name.into(),
            vcpu,
        };
        lab.ask(&Request::Change {
            domain: "a".into(),
            change,
        })
    };
    for name in ["power", "sleep", "reset", "s3resume"] {
        trigger(name, 0).unwrap();
    }
    trigger("init", 3).unwrap();
    let refused = |name| trigger(name, 0).unwrap_err().message;
    assert!(refused("nmi").contains("no NMI for vCPU 0"));
    assert!(refused("bell").contains("Invalid trigger: bell"));
    let log = lab.domain_log("a");
    for line in [
        "press Power",
        "press Sleep",
        "press Reset",
        "press Wake",
        "init 3",
    ] {
        assert!(log.contains(line), "{line}: {log}");
    }
    lab.destroy("a");
}

#[test]
fn pc_is_saved_and_restored_with_its_firmware_and_devices_as_new() {
    let lab = Lab::new();
    let disk = lab.image("disk.img", "0123456789abcdef");
    let made = lab.run(pc(&lab, "a", |config| {
        config.disk = vec![noxen_xend_api::Disk::parse(&format!("file:{disk},hda,w")).unwrap()];
    }));
    let file = lab.root().join("a.img").display().to_string();
    lab.ask(&Request::Save {
        domain: "a".into(),
        file: file.clone(),
        checkpoint: false,
        how: Default::default(),
    })
    .unwrap();
    assert!(lab.guests().is_empty());
    lab.ask(&Request::Restore {
        file,
        paused: false,
        lazy: false,
    })
    .unwrap();
    let back = lab.guest("a").unwrap();
    assert_eq!((back.domid, &back.uuid), (made.domid, &made.uuid));
    let log = lab.domain_log("a");
    for words in ["built of", "machine {", "begins with \"0123456789abcdef\""] {
        assert_eq!(log.matches(words).count(), 2, "{words}: {log}");
    }
    lab.destroy("a");
    assert!(lab.traces().is_empty(), "{:?}", lab.traces());
}

#[test]
fn pc_goes_to_another_host_with_its_devices_as_new_there() {
    let here = Lab::new();
    let (there, port) = moving::target("");
    let disk = here.image("disk.img", "0123456789abcdef");
    let made = here.run(pc(&here, "m", |config| {
        config.disk = vec![noxen_xend_api::Disk::parse(&format!("file:{disk},hda,w")).unwrap()];
    }));
    moving::migrate(&here, port).unwrap();
    assert!(here.guests().is_empty());
    assert!(here.traces().is_empty(), "{:?}", here.traces());
    let came = there.guest("m").unwrap();
    assert_eq!(came.uuid, made.uuid);
    moving::runs(&there);
    let log = there.domain_log("m");
    for words in ["machine {", "begins with \"0123456789abcdef\""] {
        assert_eq!(log.matches(words).count(), 1, "{words}: {log}");
    }
    there.destroy("m");
    assert!(there.traces().is_empty(), "{:?}", there.traces());
}

#[test]
fn pc_whose_disk_is_not_there_stays_and_runs_on() {
    let here = Lab::new();
    let (there, port) = moving::target("");
    let disk = here.image("disk.img", "0123456789abcdef");
    here.run(pc(&here, "m", |config| {
        config.disk = vec![noxen_xend_api::Disk::parse(&format!("file:{disk},hda,w")).unwrap()];
    }));
    // The one that has it open keeps it.
    std::fs::remove_file(&disk).unwrap();
    let error = moving::migrate(&here, port).unwrap_err();
    assert!(error.contains("the other host refused"), "{error}");
    assert!(there.guests().is_empty());
    assert!(there.traces().is_empty(), "{:?}", there.traces());
    moving::runs(&here);
}

#[test]
fn managed_pc_is_suspended_and_resumed() {
    let lab = Lab::new();
    let domain = || "m".to_owned();
    let config = Box::new(pc(&lab, "m", |_| {}));
    lab.ask(&Request::New { config }).unwrap();
    lab.ask(&Request::Start { domain: domain() }).unwrap();
    lab.ask(&Request::Unpause { domain: domain() }).unwrap();
    let id = lab.guest("m").unwrap().domid;
    lab.ask(&Request::Suspend { domain: domain() }).unwrap();
    let info = lab.guest("m").unwrap();
    assert_eq!((info.domid, info.suspended), (None, true));
    let paused = false;
    lab.ask(&Request::Resume {
        domain: domain(),
        paused,
    })
    .unwrap();
    assert_eq!(lab.guest("m").unwrap().domid, id);
    assert_eq!(lab.domain_log("m").matches("built of").count(), 2);
    lab.destroy("m");
}

#[test]
fn wishes_of_the_monitor_window_are_fulfilled_where_the_domain_has_one() {
    let lab = Lab::new();
    let (one, two) = (lab.image("one.iso", "one"), lab.image("two.iso", "two"));
    let floppies = [lab.image("a.img", "a"), lab.image("b.img", "b")];
    let config = pc(&lab, "a", |config| {
        config.hvm.monitor = true;
        config.hvm.fda.clone_from(&floppies[0]);
        config.disk = vec![Disk::parse(&format!("file:{one},hdc:cdrom,r")).unwrap()];
    });
    let domid = lab.run(config).domid.unwrap();
    // What is said of a wish.
    let ask = |domid: u32, wish: &Wish| {
        let home = format!("/local/domain/{domid}/data");
        let mut store = lab.store();
        store.write(&format!("{home}/fulfilled"), "").unwrap();
        let text = format!("wish {}", serde_json::to_string(wish).unwrap());
        store.write(&format!("{home}/fault"), &text).unwrap();
        eventually("an answer to a wish", || {
            let answer = lab.store().read(&format!("{home}/fulfilled")).unwrap();
            answer.strip_prefix("1 ").map(str::to_owned)
        })
    };
    let change = |drive: &str, file: &str| Wish::Change {
        drive: drive.into(),
        file: file.into(),
    };
    let eject = |drive: &str| Wish::Eject {
        drive: drive.into(),
    };
    let params = |number: u32| {
        let path = format!("/local/domain/0/backend/vbd/{domid}/{number}/params");
        lab.store().read_if_present(&path).unwrap()
    };
    assert_eq!(ask(domid, &change("hdc", &two)), "done");
    assert_eq!(params(5632), Some(two.clone()));
    let nothing = ask(domid, &change("hdc", "/nonexistent.iso"));
    assert!(nothing.contains("/nonexistent.iso"), "{nothing}");
    assert_eq!(params(5632), Some(two.clone()));
    assert_eq!(ask(domid, &eject("hdc")), "done");
    assert_eq!(params(5632).as_deref(), Some(""));
    assert_eq!(ask(domid, &change("hdc", &one)), "done");
    assert_eq!(ask(domid, &change("fda", &floppies[1])), "done");
    assert_eq!(params(512), Some(floppies[1].clone()));
    assert_eq!(ask(domid, &eject("fda")), "done");
    assert_eq!(params(512), None);
    assert_eq!(ask(domid, &change("fda", &floppies[1])), "done");

    // A USB disk comes and goes, with its place in the configuration.
    let stick = lab.image("stick.img", "stick");
    let usb = |file: &str| Wish::UsbAdd {
        name: "sdb".into(),
        file: file.into(),
    };
    let items = || {
        let asked = Request::Config { domain: "a".into() };
        match lab.ask(&asked).unwrap() {
            Response::Config { config } => config.hvm.usbdevice,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(ask(domid, &usb(&stick)), "done");
    assert_eq!(params(2064), Some(stick.clone()));
    assert_eq!(items(), [format!("disk@sdb:{stick}")]);
    let twice = ask(domid, &usb(&two));
    assert!(twice.contains("already connected"), "{twice}");
    let gone = ask(domid, &usb("/nonexistent.img"));
    assert_ne!(gone, "done");
    assert_eq!(items().len(), 1);
    let name = "sdb".to_owned();
    assert_eq!(ask(domid, &Wish::UsbDel { name: name.clone() }), "done");
    assert_eq!((params(2064), items().len()), (None, 0));
    assert_ne!(ask(domid, &Wish::UsbDel { name }), "done");

    let picture = lab.image("screen.ppm", "P6\nold");
    let dump = |file: &str| Wish::Screendump { file: file.into() };
    assert_eq!(ask(domid, &dump(&picture)), "done");
    assert!(std::fs::read(&picture).unwrap().ends_with(b"abc"));
    let kept = ask(domid, &dump(&one));
    assert!(kept.contains("there already"), "{kept}");

    let other = lab.run(pc(&lab, "b", |_| {})).domid.unwrap();
    let refused = "the domain has no monitor (monitor = 1)";
    assert_eq!(ask(other, &dump(&picture)), refused);

    let home = format!("/local/domain/{domid}/data/fault");
    let quit = format!("wish {}", serde_json::to_string(&Wish::Quit).unwrap());
    lab.store().write(&home, &quit).unwrap();
    eventually("the domain is gone", || {
        lab.guest("a").is_none().then_some(())
    });
    lab.destroy("b");
    assert!(lab.traces().is_empty(), "{:?}", lab.traces());
}
