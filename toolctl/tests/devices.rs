//! The block and network commands: what they ask xend for and what they print.

mod common;

use common::{generic, no_such, ok, serve, Root};
use noxen_xend_api::{Answer, DeviceClass, DeviceConfig, DeviceInfo, Disk, Request, Response, Vif};

fn disk() -> DeviceInfo {
    let nodes = [
        ("backend-id", "0"),
        ("virtual-device", "51713"),
        ("state", "4"),
        ("ring-ref", "8"),
        ("event-channel", "9"),
    ];
    DeviceInfo {
        devid: 51713,
        class: "vbd".into(),
        config: DeviceConfig::Disk(Disk::parse("phy:vg0/t3,xvda1,w").unwrap()),
        backend: "/local/domain/0/backend/vbd/3/51713".into(),
        nodes: nodes.map(|(k, v)| (k.into(), v.into())).into(),
        state: Some("connected".into()),
        reason: None,
        disk: None,
    }
}

fn listed(devices: Vec<DeviceInfo>) -> impl Fn(&Request) -> Answer {
    move |request| match request {
        Request::Devices { domain, .. } if domain == "a" => Answer::Ok(Response::Devices {
            devices: devices.clone(),
        }),
        _ => no_such("b"),
    }
}

#[test]
fn block_list_prints_as_xm_did_and_nothing_without_disks() {
    let root = Root::new();
    serve(&root, listed(vec![disk()]));
    root.run(&["block-list", "a"]).is(
        0,
        "Vdev  BE handle state evt-ch ring-ref BE-path\n\
         51713  0    0     4      9      8     /local/domain/0/backend/vbd/3/51713  \n",
        "",
    );
    root.run(&["block-list", "--long", "a"]).is(
        0,
        "(51713\n    ((backend-id 0)\n        (event-channel 9)\n        (ring-ref 8)\n        (state 4)\n        (virtual-device 51713)\n    )\n)\n",
        "",
    );
    let ran = root.run(&["vbd-list", "--json", "a"]);
    let value: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(value[0]["devid"], 51713);
    assert_eq!(value[0]["config"]["dev"], "xvda1");
    assert_eq!(value[0]["monitor"], "connected");
    assert_eq!(root.run(&["block-list", "b"]).status, Some(3));

    let bare = Root::new();
    serve(&bare, listed(vec![]));
    bare.run(&["block-list", "a"]).is(0, "", "");
    bare.run(&["network-list", "a"]).is(0, "", "");
}

#[test]
fn listings_take_exactly_one_domain() {
    let root = Root::new();
    for (args, wanted) in [
        (vec!["block-list"], "No domain parameter given\n"),
        (
            vec!["network-list", "a", "b"],
            "No multiple domain parameters allowed\n",
        ),
    ] {
        let ran = root.run(&args);
        assert_eq!(ran.status, Some(1));
        assert!(
            ran.out.starts_with(wanted) && ran.out.contains("Usage: xm"),
            "{ran:?}"
        );
    }
}

#[test]
fn attach_and_detach_ask_for_what_was_said() {
    let root = Root::new();
    let asked = serve(&root, |_| ok());
    for words in [
        "block-attach a phy:vg/x xvdb w!",
        "block-attach a tap:qcow2:/i xvdc:cdrom r 0",
        "block-configure a file:/new.iso hdc:cdrom r",
        "block-detach a xvdb",
        "block-detach a 51728 --force",
        "network-attach a mac=00:16:3E:00:00:01 bridge=xenbr0 script=vif-route",
        "network-attach a",
        "network-detach a 0 -f",
    ] {
        let args: Vec<&str> = words.split(' ').collect();
        root.run(&args).is(0, "", "");
    }
    root.run(&["block-detach", "a", "xvdb", "now"])
        .is(0, "Ignoring option now\n", "");
    let disk = |text: &str| DeviceConfig::Disk(Disk::parse(text).unwrap());
    let attach = |device| Request::AttachDevice {
        domain: "a".into(),
        device,
    };
    let detach = |class, device: &str, force| Request::DetachDevice {
        domain: "a".into(),
        class,
        device: device.into(),
        force,
    };
    let vif = Vif::parse("mac=00:16:3e:00:00:01,bridge=xenbr0,script=vif-route").unwrap();
    assert_eq!(
        *asked.lock().unwrap(),
        [
            attach(disk("phy:vg/x,xvdb,w!")),
            attach(disk("tap:qcow2:/i,xvdc:cdrom,r,0")),
            Request::ConfigureDevice {
                domain: "a".into(),
                device: disk("file:/new.iso,hdc:cdrom,r"),
            },
            detach(DeviceClass::Vbd, "xvdb", false),
            detach(DeviceClass::Vbd, "51728", true),
            attach(DeviceConfig::Vif(vif)),
            attach(DeviceConfig::Vif(Vif::default())),
            detach(DeviceClass::Vif, "0", true),
            detach(DeviceClass::Vbd, "xvdb", false),
        ]
    );
}

#[test]
fn words_that_mean_nothing_are_refused_before_xend_is_asked() {
    let root = Root::new();
    for (words, wanted) in [
        (
            "block-attach a phy:x xvdb",
            "'xm block-attach' requires between 4 and 5 arguments.",
        ),
        (
            "block-attach a phy:x xvdb rw",
            "Invalid mode 'rw' in disk phy:x,xvdb,rw; it is r, w or w!",
        ),
        (
            "block-attach a x xvdb w",
            "Invalid disk specifier: x,xvdb,w",
        ),
        (
            "block-attach a phy:x vdb w",
            "Unable to find number for device (vdb)",
        ),
        (
            "block-attach a tap:x:/a xvdb w",
            "tap:x not a valid disk type",
        ),
        (
            "network-attach a colour=red",
            "Invalid argument: colour=red",
        ),
        ("network-attach a bridge", "Invalid argument: bridge"),
        (
            "network-attach a mac=1",
            "Cannot create a new virtual network interface - MAC address is not valid! (1)",
        ),
        (
            "network-detach a",
            "'xm network-detach' requires between 2 and 3 arguments.",
        ),
    ] {
        let args: Vec<&str> = words.split(' ').collect();
        let ran = root.run(&args);
        assert_eq!(ran.status, Some(1), "{words}");
        assert!(
            ran.err.starts_with(&format!("Error: {wanted}\n")),
            "{words}: {ran:?}"
        );
        assert!(ran.out.starts_with("Usage: xm "), "{words}: {ran:?}");
    }
}

#[test]
fn refusal_in_two_lines_is_printed_whole() {
    let root = Root::new();
    serve(&root, |_| {
        generic("Device 51728 (vbd) could not be connected.\nDevice /dev/x is mounted in a guest domain,\nand so cannot be mounted now.")
    });
    let ran = root.run(&["block-attach", "a", "phy:x", "xvdb", "w"]);
    assert_eq!(
        ran.err,
        "Error: Device 51728 (vbd) could not be connected.\nDevice /dev/x is mounted in a guest domain,\nand so cannot be mounted now.\n"
    );
}
