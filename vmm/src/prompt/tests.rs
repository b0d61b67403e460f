use super::subject::{Card, Drive, Lines, Medium, PciFunction};
use super::*;
use crate::counters::Groups;
use noxen_control::Status;
use noxen_pc::bus::Place;
use noxen_pc::usb::{Kind, Listed};
use noxen_pc::{Identity, Pointing, Touch};
use proptest::prelude::*;

/// A domain of nothing but answers; what is done to it is written down.
#[derive(Debug)]
struct Fake {
    done: Vec<String>,
    touched: Vec<Touch>,
    pointing: Option<Pointing>,
    locked: bool,
}

impl Fake {
    fn new() -> Fake {
        Fake {
            done: Vec::new(),
            touched: Vec::new(),
            pointing: Some(Pointing::Relative),
            locked: false,
        }
    }

    fn note(&mut self, what: impl Into<String>) -> Result<(), String> {
        self.done.push(what.into());
        Ok(())
    }
}

impl Subject for Fake {
    fn identity(&self) -> (String, String) {
        ("shop".into(), "0-1-2".into())
    }
    fn status(&self) -> Status {
        Status {
            domid: 3,
            pid: 1,
            paused: self.done.last().is_some_and(|last| last == "stop"),
            shutdown: None,
            crash_reason: None,
            vcpus: vec![noxen_control::message::VcpuStatus {
                online: true,
                blocked: false,
                cpu_ns: 1_260_000_000,
                cpu: Some(1),
            }],
            memory_kib: 0,
            cpu_ns: 0,
            uptime_s: 0,
            console_tty: "/dev/pts/7".into(),
            store_mfn: 0,
            store_port: 0,
            console_mfn: 0,
            console_port: 0,
            saving: None,
        }
    }
    fn registers(&mut self) -> String {
        "vCPU 0: rip 0xfff0".into()
    }
    fn counters(&self) -> Groups {
        Groups::from([("exit".into(), [("io".into(), 5)].into())])
    }
    fn drives(&self) -> Vec<Drive> {
        let medium = |path: &str, readonly| {
            Some(Medium {
                path: path.into(),
                readonly,
                bytes: 2048,
            })
        };
        let drive = |name, removable, medium| Drive {
            name,
            removable,
            locked: self.locked && removable,
            medium,
        };
        vec![
            drive("hda", false, medium("/srv/disk", false)),
            drive("hdc", true, medium("/srv/cd.iso", true)),
            drive("fda", true, None),
        ]
    }
    fn cards(&self) -> Vec<Card> {
        vec![Card {
            number: 0,
            model: "rtl8139",
            mac: "00:16:3e:00:00:01".into(),
        }]
    }
    fn pci(&self) -> Vec<PciFunction> {
        vec![PciFunction {
            place: Place {
                slot: 4,
                function: 0,
            },
            name: "rtl8139".into(),
            identity: Identity {
                vendor: 0x10ec,
                device: 0x8139,
                class: 0x02_0000,
                revision: 0,
                subsystem: (0, 0),
                pin: 1,
                multifunction: false,
            },
            irq: Some(11),
        }]
    }
    fn lines(&self) -> Lines {
        Lines {
            up: vec![(4, "serial0".into())],
            routes: [Some(10), Some(11), None, None],
        }
    }
    fn usb(&self) -> Option<Vec<Listed>> {
        let listed = |number, port: &str, what, disk| Listed {
            number,
            port: port.into(),
            what,
            disk,
        };
        Some(vec![
            listed(1, "1", "tablet", None),
            listed(2, "2", "hub", None),
            listed(3, "2.1", "disk", Some(2064)),
        ])
    }
    fn usb_add(&mut self, kind: Kind) -> Result<(), String> {
        self.note(format!("usb_add {kind:?}"))
    }
    fn usb_del(&mut self, number: u8) -> Result<(), String> {
        match number {
            2 => Err("that is a hub, which stays".into()),
            number => self.note(format!("usb_del {number}")),
        }
    }
    fn usb_room(&mut self) -> Result<&'static str, String> {
        match self.locked {
            true => Err("full".into()),
            false => Ok("sda"),
        }
    }
    fn pointing(&self) -> Option<Pointing> {
        self.pointing
    }
    fn viewers(&self) -> Vec<String> {
        vec!["127.0.0.1".into()]
    }
    fn stop(&mut self) {
        let _ = self.note("stop");
    }
    fn go_on(&mut self) -> Result<(), String> {
        self.note("cont")
    }
    fn reset(&mut self) -> Result<(), String> {
        self.note("reset")
    }
    fn press_power(&mut self) -> Result<(), String> {
        self.note("power")
    }
    fn nmi(&mut self, vcpu: u32) -> Result<(), String> {
        match vcpu {
            0 => self.note("nmi 0"),
            other => Err(format!("there is no vCPU {other}")),
        }
    }
    fn touch(&mut self, touch: Touch) -> bool {
        self.touched.push(touch);
        true
    }
    fn memory(&self, address: u64, into: &mut [u8]) -> bool {
        let end = address.checked_add(into.len() as u64);
        for (byte, at) in into.iter_mut().zip(address..) {
            *byte = at as u8;
        }
        end.is_some_and(|end| end <= 0x1000)
    }
    fn set_password(&mut self, password: Option<String>) -> Result<(), String> {
        self.note(format!("password {password:?}"))
    }
}

fn run(line: &str, fake: &mut Fake) -> Outcome {
    commands::run(line, &["help".into()], fake)
}

fn said(line: &str) -> String {
    match run(line, &mut Fake::new()) {
        Outcome::Said(text) => text,
        other => panic!("{line}: {other:?}"),
    }
}

fn wish(line: &str) -> Wish {
    match run(line, &mut Fake::new()) {
        Outcome::Wants(wish) => wish,
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn subjects_are_told_of() {
    for (subject, expected) in [
        ("status", "VM status: running"),
        ("name", "shop"),
        ("uuid", "0-1-2"),
        ("cpus", "CPU #0: 1.2 s on CPU 1\n"),
        ("registers", "vCPU 0: rip 0xfff0"),
        ("kvm", "kvm support: enabled"),
        ("profile", "exit io: 5\n"),
        ("history", "0: 'help'\n"),
        (
            "block",
            "hda: removable=0 file=/srv/disk ro=0 size=2048\n\
             hdc: removable=1 locked=0 file=/srv/cd.iso ro=1 size=2048\n\
             fda: removable=1 locked=0 [not inserted]\n",
        ),
        ("network", "vif 0: model=rtl8139,macaddr=00:16:3e:00:00:01\n"),
        ("chardev", "monitor: filename=vc\nserial0: filename=pty:/dev/pts/7"),
        (
            "pci",
            "  Bus  0, device   4, function 0:\n    Class 0200: PCI device 10ec:8139 (rtl8139)\n      IRQ 11, pin A\n",
        ),
        ("irq", "IRQ 4: up (serial0)\nPCI A: IRQ 10\nPCI B: IRQ 11\nPCI C: none\nPCI D: none\n"),
        (
            "usb",
            "  Device 0.1, Port 1, Speed 12 Mb/s, Product tablet\n\
             \u{20} Device 0.2, Port 2, Speed 12 Mb/s, Product hub\n\
             \u{20} Device 0.3, Port 2.1, Speed 12 Mb/s, Product disk sdb\n",
        ),
        ("mice", "* Mouse #0: mouse"),
        ("vnc", "Client: 127.0.0.1\n"),
    ] {
        assert_eq!(said(&format!("info {subject}")), expected, "{subject}");
    }
    assert!(said("info version").starts_with("noxen-vmm "));
    assert!(said("info").contains("info block -- "));
    assert!(said("info nonsense").contains("'nonsense'"));
}

#[test]
fn usb_devices_come_at_once_and_disks_by_xend() {
    let mut fake = Fake::new();
    for (line, done) in [
        ("usb_add tablet", "usb_add Tablet"),
        ("usb_add  keyboard ", "usb_add Keyboard"),
        ("usb_del 0.1", "usb_del 1"),
    ] {
        assert_eq!(run(line, &mut fake), commands::DONE, "{line}");
        assert_eq!(fake.done.last().unwrap(), done, "{line}");
    }
    let file = "/srv/a stick.img".to_owned();
    let name = "sda".to_owned();
    assert_eq!(
        wish("usb_add disk:/srv/a stick.img"),
        Wish::UsbAdd { name, file }
    );
    let name = "sdb".to_owned();
    assert_eq!(wish("usb_del 0.3"), Wish::UsbDel { name });
    for (line, part) in [
        ("usb_add disk:stick.img", "path from / on"),
        ("usb_add host:04b3:310b", "of the host cannot be given"),
        ("usb_add printer", "'printer' is no USB device"),
        ("usb_add", "usage: usb_add"),
        ("usb_del 0.2", "stays"),
        ("usb_del 0.9", "could not find USB device '0.9'"),
        ("usb_del 1.1", "could not find"),
        ("usb_del 1", "could not find"),
    ] {
        assert!(said(line).contains(part), "{line}: {}", said(line));
    }
    let mut full = Fake::new();
    full.locked = true;
    let refused = run("usb_add disk:/a", &mut full);
    assert_eq!(refused, Outcome::Said("full".into()));
}

#[test]
fn help_lists_all_or_tells_of_one() {
    let all = said("help");
    for name in [
        "info",
        "change",
        "eject",
        "screendump",
        "sendkey",
        "quit|q",
        "help|?",
    ] {
        assert!(all.contains(&format!("{name} ")), "{name}");
    }
    assert_eq!(said("? eject").lines().count(), 1);
    assert!(said("help nothing").contains("unknown command: 'nothing'"));
    assert_eq!(
        said("format c:"),
        "unknown command: 'format'; 'help' lists the commands"
    );
    assert_eq!(said("  "), "");
    assert_eq!(said("eject"), "usage: eject [-f] DRIVE");
    assert_eq!(said("stop now"), "usage: stop");
}

#[test]
fn media_are_wished_for_by_any_name_of_their_drive() {
    let change = |drive: &str, file: &str| Wish::Change {
        drive: drive.into(),
        file: file.into(),
    };
    assert_eq!(wish("change hdc /srv/b.iso"), change("hdc", "/srv/b.iso"));
    assert_eq!(
        wish("change ide1-cd0 \"/srv/two  words\""),
        change("hdc", "/srv/two  words")
    );
    assert_eq!(
        wish("change floppy0 phy:/dev/vg/a"),
        change("fda", "phy:/dev/vg/a")
    );
    assert_eq!(said("change hda /x"), "device 'hda' is not removable");
    assert_eq!(
        said("change hdd /x"),
        "device 'hdd' not found; drives with media: hdc, fda"
    );
    assert!(said("change hdc x.iso").contains("a path from / on"));
    assert!(said(&format!("change hdc /{}", "x".repeat(2000))).contains("bytes"));
    let eject = Wish::Eject {
        drive: "hdc".into(),
    };
    assert_eq!(wish("eject hdc"), eject);
    assert_eq!(said("eject fda"), "");
    let mut locked = Fake::new();
    locked.locked = true;
    let kept = run("eject hdc", &mut locked);
    assert!(matches!(kept, Outcome::Said(line) if line.contains("is locked")));
    assert_eq!(run("eject -f hdc", &mut locked), Outcome::Wants(eject));
    let dump = Wish::Screendump {
        file: "/tmp/a b.ppm".into(),
    };
    assert_eq!(wish("screendump /tmp/a b.ppm"), dump);
    assert!(said("screendump a.ppm").contains("a path from / on"));
    assert_eq!(wish("q"), Wish::Quit);
}

#[test]
fn machine_does_what_it_is_told() {
    let mut fake = Fake::new();
    for line in [
        "stop",
        "cont",
        "c",
        "system_reset",
        "system_powerdown",
        "nmi",
        "change vnc password geheim",
    ] {
        assert_eq!(run(line, &mut fake), Outcome::Said(String::new()), "{line}");
    }
    let expected = [
        "stop",
        "cont",
        "cont",
        "reset",
        "power",
        "nmi 0",
        "password Some(\"geheim\")",
    ];
    assert_eq!(fake.done, expected);
    run("stop", &mut fake);
    let paused = Outcome::Said("VM status: paused".into());
    assert_eq!(run("info status", &mut fake), paused);
    assert_eq!(said("nmi 9"), "there is no vCPU 9");
    assert_eq!(said("nmi x"), "'x' is no number of a vCPU");
    assert!(said("change vnc secret").starts_with("usage"));
}

#[test]
fn hands_press_and_let_go() {
    let mut fake = Fake::new();
    run("sendkey ctrl-alt-delete", &mut fake);
    let key = |code, pressed| Touch::Key { code, pressed };
    let keys = [
        (29, true),
        (56, true),
        (111, true),
        (111, false),
        (56, false),
        (29, false),
    ];
    assert_eq!(fake.touched, keys.map(|(code, pressed)| key(code, pressed)));
    fake.touched.clear();
    run("mouse_move 3 -4 1", &mut fake);
    run("mouse_button 5", &mut fake);
    let moved = Touch::Motion {
        x: 3,
        y: -4,
        wheel: 1,
    };
    assert_eq!(
        fake.touched,
        [moved, key(272, true), key(273, false), key(274, true)]
    );
    fake.pointing = Some(Pointing::Absolute);
    assert!(
        matches!(run("mouse_move 1 1", &mut fake), Outcome::Said(line) if line.contains("tablet"))
    );
    assert!(said("sendkey ctrl-any").contains("unknown key: 'any'"));
    assert!(said("mouse_button 8").contains("0 to 7"));
    assert!(said("mouse_move 1 99999").contains("'99999'"));
}

#[test]
fn memory_is_shown_where_there_is_some() {
    let line = "0000000000000100: 0x03020100 0x07060504 0x0b0a0908 0x0f0e0d0c\n\
                0000000000000110: 0x13121110\n";
    assert_eq!(said("xp /5xw 0x100"), line);
    assert_eq!(said("xp/5 256"), line);
    assert_eq!(said("xp 0x100"), "0000000000000100: 0x03020100\n");
    assert_eq!(said("xp /2xb 1"), "0000000000000001: 0x01 0x02\n");
    assert_eq!(
        said("xp 0xffe"),
        "no memory at guest-physical address 0xffe"
    );
    assert!(said("xp /9999999999g 0").contains("at a time"));
    assert!(said("xp /q 0").contains("'q'"));
    assert!(said("xp 0xffffffffffffffff").contains("no memory"));
    // sum(1) of the bytes 0, 1, 2.
    assert_eq!(said("sum 0 3"), "32770");
    assert_eq!(
        said("sum 0 0x2000"),
        "no memory at guest-physical address 0x0"
    );
}

/// A prompt with what is on its window.
fn prompt() -> (Prompt, Arc<Console>, impl Fn(&str)) {
    let console = Console::new();
    let prompt = Prompt::new(console.clone(), || ());
    let inbox = prompt.inbox.clone();
    let typed = move |text: &str| lock(&inbox).extend(text.bytes());
    (prompt, console, typed)
}

#[test]
fn window_shows_what_is_typed_and_what_comes_of_it() {
    let (mut prompt, console, typed) = prompt();
    typed("info name\rinfo");
    assert_eq!(prompt.serve(&mut Fake::new()), None);
    let first = format!(
        "Noxen {} monitor - type 'help' for more information",
        env!("CARGO_PKG_VERSION")
    );
    let expected = format!("{first}\n(qemu) info name\nshop\n(qemu) info");
    assert_eq!(console.contents().trim_end(), expected);
}

#[test]
fn wish_holds_the_rest_up_until_it_is_fulfilled_or_nobody_is_there() {
    let (mut prompt, console, typed) = prompt();
    typed("eject hdc\rinfo name\rscreendump /a\rinfo uuid\r");
    let mut fake = Fake::new();
    let wished = |number, wish| Some(Event::Wished { number, wish });
    let eject = Wish::Eject {
        drive: "hdc".into(),
    };
    assert_eq!(prompt.serve(&mut fake), wished(1, eject));
    assert!(prompt.waits());
    assert_eq!(prompt.serve(&mut fake), None);
    assert!(prompt.fulfilled(2, None).is_err() && prompt.waits());
    assert_eq!(prompt.fulfilled(1, Some("no such drive")), Ok(()));
    assert!(prompt.fulfilled(1, None).is_err());
    let dump = Wish::Screendump { file: "/a".into() };
    assert_eq!(prompt.serve(&mut fake), wished(2, dump));
    prompt.is_left_alone();
    assert_eq!(prompt.serve(&mut fake), None);
    let text = console.contents();
    let shown: Vec<&str> = text.lines().skip(1).collect();
    let expected = [
        "(qemu) eject hdc",
        "no such drive",
        "(qemu) info name",
        "shop",
        "(qemu) screendump /a",
        "xend does not answer; look whether it was done, and try again once it runs",
        "(qemu) info uuid",
        "0-1-2",
        "(qemu) ",
    ];
    let trimmed: Vec<&str> = expected.iter().map(|line| line.trim_end()).collect();
    let shown: Vec<&str> = shown.iter().map(|line| line.trim_end()).collect();
    assert_eq!(shown, trimmed);
}

proptest! {
    #[test]
    fn whatever_is_typed_is_answered(
        lines in proptest::collection::vec("(help|info|change|eject|xp|xp/|sum|sendkey|mouse_move|nmi|screendump)?[ -~]{0,30}", 0..20),
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut fake = Fake::new();
        for line in &lines {
            if let Outcome::Said(text) = run(line, &mut fake) {
                prop_assert!(text.len() < 64 << 10);
            }
        }
        let (mut prompt, _, _) = prompt();
        lock(&prompt.inbox).extend(bytes);
        while let Some(Event::Wished { number, .. }) = prompt.serve(&mut fake) {
            prompt.fulfilled(number, None).unwrap();
        }
        prop_assert!(lock(&prompt.inbox).is_empty());
    }
}
