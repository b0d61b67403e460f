use super::*;

fn config(change: impl FnOnce(&mut DomainConfig)) -> DomainConfig {
    let mut config = DomainConfig {
        builder: "hvm".into(),
        kernel: "/usr/lib/xen/boot/hvmloader".into(),
        ..DomainConfig::default()
    };
    change(&mut config);
    config
}

fn refusal(change: impl FnOnce(&mut DomainConfig)) -> String {
    check(&config(change)).unwrap_err().message
}

#[test]
fn hvmloader_stands_for_the_hosts_bios_and_an_image_for_itself() {
    let machine = check(&config(|c| c.hvm.serial = "pty".into())).unwrap();
    assert_eq!(machine.bios, Path::new(BIOS));
    assert_eq!((machine.kernel, machine.serial), (None, SerialPort::Pty));
    let machine = check(&config(|c| c.kernel = "/opt/bios.bin".into())).unwrap();
    assert_eq!(machine.bios, Path::new("/opt/bios.bin"));
    let direct = |c: &mut DomainConfig| {
        c.hvm.loader = "/usr/lib/xen/boot/hvmloader".into();
        c.kernel = "/boot/vmlinuz".into();
    };
    let machine = check(&config(direct)).unwrap();
    assert_eq!(machine.kernel.as_deref(), Some(Path::new("/boot/vmlinuz")));
}

#[test]
fn xens_own_hvmloader_is_taken_where_it_is_meant_and_runs_before_the_built_in_bios() {
    let dir = crate::testing::TempDir::new("firmware");
    let file = |name: &str, bytes: &[u8]| {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path.display().to_string()
    };
    let small = file("hvmloader", b"\x7fELF\x01\x01");
    let other = file("loader.elf", b"\x7fELF\x01\x01");
    let wide = file("vmlinux", b"\x7fELF\x02\x01");
    let meant = |path: &str| {
        let path = path.to_owned();
        check(&config(|c| c.hvm.firmware_override = path))
    };
    let machine = meant(&small).unwrap();
    assert_eq!(machine.early.as_deref(), Some(Path::new(&small)));
    assert_eq!(machine.bios, Path::new(BIOS));
    let machine = meant("/opt/bios.bin").unwrap();
    assert_eq!(
        (machine.early, machine.bios),
        (None, "/opt/bios.bin".into())
    );
    for path in [&wide, "/nonexistent/hvmloader"] {
        let error = meant(path).unwrap_err().message;
        assert!(
            error.contains(path) && error.contains("32-bit ELF"),
            "{error}"
        );
    }
    // As `kernel` it is taken by its content, but for the name that stands for the built-in one.
    let early = |path: &str| check(&config(|c| c.kernel = path.into())).map(|m| m.early);
    assert_eq!(early(&small), Ok(None));
    assert_eq!(early(&other), Ok(Some(other.clone().into())));
    assert!(early(&wide).is_err());
    let both = |c: &mut DomainConfig| {
        c.hvm.firmware_override = small.clone();
        c.hvm.loader = "hvmloader".into();
        c.kernel = "/boot/vmlinuz".into();
    };
    assert!(refusal(both).contains("beside a kernel"));
}

#[test]
fn pvh_machine_has_the_processors_and_tables_that_its_variables_say() {
    let pvh = |change: fn(&mut DomainConfig)| {
        let mut config = DomainConfig {
            builder: "pvh".into(),
            ..DomainConfig::default()
        };
        change(&mut config);
        check_pvh(&config)
    };
    let plain = Pvh {
        acpi: true,
        cpu: Cpu::default(),
    };
    assert_eq!(pvh(|_| ()), Ok(plain));
    let other = pvh(|c| (c.hvm.acpi, c.hvm.nx) = (false, false)).unwrap();
    assert_eq!((other.acpi, other.cpu.nx), (false, false));
    let ruled = pvh(|c| c.hvm.cpuid = vec!["1:edx=0x1".into()]).unwrap();
    assert_eq!(ruled.cpu.cpuid.len(), 1);
    let refused = |change| pvh(change).unwrap_err().message;
    assert!(refused(|c| c.hvm.viridian = true).contains("viridian = 1"));
    assert!(refused(|c| c.hvm.cpuid = vec!["1:ecx=0".into()]).contains("register ecx"));
}

#[test]
fn what_cannot_be_is_named_with_its_value() {
    assert!(refusal(|c| c.kernel = "/boot/vmlinuz".into()).contains("/boot/vmlinuz"));
    assert!(refusal(|c| c.hvm.boot = "x".into()).contains("boot = 'x'"));
    assert!(refusal(|c| c.hvm.boot = String::new()).contains("boot = ''"));
    assert!(refusal(|c| c.hvm.serial = "tcp:1".into()).contains("serial = 'tcp:1'"));
    assert!(refusal(|c| c.hvm.timer_mode = 0).contains("timer_mode = 0: KVM"));
    let usb = |text: &'static str| {
        refusal(move |c| c.hvm.usbdevice = text.split(' ').map(String::from).collect())
    };
    assert!(usb("host:04b4:0001").contains("usbdevice = 'host:04b4:0001'"));
    assert!(usb("disk:a.img").contains("path from / on"));
    assert!(usb("disk@sdi:/a").contains("sda to sdh"));
    let many: &'static str =
        "disk:/a disk:/a disk:/a disk:/a disk:/a disk:/a disk:/a disk:/a disk:/a";
    assert!(usb(many).contains("eight USB disks"));
    let mice = |c: &mut DomainConfig| c.hvm.usbdevice = vec!["mouse".into(); 24];
    assert!(refusal(mice).contains("names 24 devices; 23 are possible"));
    assert!(refusal(|c| c.hvm.soundhw = "ac97".into()).contains("soundhw = 'ac97'"));
    for (text, cards) in [
        ("", &[][..]),
        ("sb16", &[SoundCard::Sb16]),
        ("sb16, es1370,sb16", &SoundCard::ALL),
        ("all", &SoundCard::ALL),
    ] {
        assert_eq!(sound(text).unwrap(), cards, "{text}");
    }
    assert!(refusal(|c| c.hvm.timer_mode = 4).contains("timer_mode = 4"));
    assert!(refusal(|c| c.hvm.cpuid = vec!["1:ecx=0".into()]).contains("register ecx"));
    assert!(refusal(|c| c.hvm.cpuid_check = vec!["x".into()]).contains("'x' is no leaf"));
    let both = |c: &mut DomainConfig| (c.hvm.viridian, c.hvm.xen_platform_pci) = (true, true);
    assert!(refusal(both).contains("not supported together"));
    assert!(refusal(|c| c.hvm.unbuilt = vec!["isa".into()]).contains("isa is not"));
    assert!(refusal(|c| c.bootloader = "pygrub".into()).contains("bootloader"));
}

#[test]
fn display_is_a_cirrus_unless_another_is_asked_for() {
    let display = |change: fn(&mut DomainConfig)| check(&config(change)).unwrap().display;
    let plain = display(|_| {}).unwrap();
    assert_eq!((plain.adapter, plain.memory_mib), (Adapter::Cirrus, 4));
    assert!(!plain.screen.wants_vnc());
    let standard = |c: &mut DomainConfig| {
        c.hvm.stdvga = true;
        c.hvm.screen = Vfb::parse("vnc=1,videoram=32").unwrap();
    };
    let machine = check(&config(standard)).unwrap();
    assert_eq!(machine.shown().unwrap().get("videoram"), Some("32"));
    let standard = machine.display.unwrap();
    assert_eq!(
        (standard.adapter, standard.memory_mib),
        (Adapter::Standard, 32)
    );
    assert!(standard.bios.ends_with("vgabios-stdvga.bin"));
    assert_eq!(display(|c| c.hvm.nographic = true), None);
    let item = display(|c| c.vfb = vec!["vnc=1,vncdisplay=9".into()]).unwrap();
    assert_eq!(item.screen.vnc_port(), Ok(5909));
}

#[test]
fn display_that_cannot_be_is_named() {
    let screen = |text: &'static str| {
        move |c: &mut DomainConfig| {
            for pair in text.split(',') {
                let (key, value) = pair.split_once('=').unwrap();
                c.hvm.screen.set(key, value).unwrap();
            }
        }
    };
    assert!(refusal(screen("videoram=16")).contains("stdvga"));
    assert!(refusal(screen("videoram=x")).contains("videoram = x"));
    assert!(refusal(screen("vncdisplay=99999")).contains("vncdisplay"));
    let odd = |c: &mut DomainConfig| {
        c.hvm.stdvga = true;
        screen("videoram=24")(c);
    };
    assert!(refusal(odd).contains("power of two"));
    assert!(refusal(|c| c.vfb = vec!["sdl=1".into()]).contains("sdl is not"));
    assert!(refusal(|c| c.vfb = vec!["vnc=1".into(); 2]).contains("2 items"));
}

#[test]
fn floppies_are_disks_and_the_second_one_makes_a_drive() {
    let both = config(|c| (c.hvm.fda, c.hvm.fdb) = ("/a.img".into(), "/dev/vg/b".into()));
    let texts: Vec<String> = implied_disks(&both).iter().map(Disk::text).collect();
    assert_eq!(texts, ["file:/a.img,fda,w", "phy:/dev/vg/b,fdb,w"]);
    assert!(check(&both).unwrap().second_floppy);
    let first = config(|c| c.hvm.fda = "/a.img".into());
    assert!(!check(&first).unwrap().second_floppy);
}

#[test]
fn disks_at_the_usb_controller_are_disks_of_the_domain() {
    let config = config(|c| {
        let names = ["disk:/a.img", "mouse"];
        c.hvm.usbdevice = names.map(String::from).to_vec();
    });
    let expected = vec![UsbDevice::Disk { devid: 2048 }, UsbDevice::Mouse];
    assert_eq!(check(&config).unwrap().usb, Some(expected));
    // A disk that is taken out leaves the names of the others as they are.
    let hvm = &mut config.clone().hvm;
    hvm.usbdevice = ["disk:/a", "disk@sdc:/c", "mouse", "disk:/b"]
        .map(String::from)
        .into();
    remember_usb_disk(hvm, "sdd", "/d");
    forget_usb_disk(hvm, "sda");
    forget_usb_disk(hvm, "sde");
    let expected = ["disk@sdc:/c", "mouse", "disk@sdb:/b", "disk@sdd:/d"];
    assert_eq!(hvm.usbdevice, expected);
    let numbers = [2080, 0, 2064, 2096].into_iter();
    let device = |devid| match devid {
        0 => UsbDevice::Mouse,
        devid => UsbDevice::Disk { devid },
    };
    let devices: Vec<UsbDevice> = numbers.map(device).collect();
    assert_eq!(super::usb(hvm).unwrap(), Some(devices));
    hvm.usbdevice = vec!["disk:/a".into()];
    hvm.usb = false;
    forget_usb_disk(hvm, "sda");
    assert_eq!((hvm.usb, hvm.usbdevice.len()), (true, 0));
    let texts: Vec<String> = implied_disks(&config).iter().map(Disk::text).collect();
    assert_eq!(texts, ["file:/a.img,sda,w"]);
}

#[test]
fn processors_are_as_their_variables_say() {
    let machine = check(&config(|_| {})).unwrap();
    assert_eq!(machine.cpu, Cpu::default());
    assert_eq!(machine.usb, None);
    let usb = |c: &mut DomainConfig| c.hvm.usb = true;
    assert_eq!(check(&config(usb)).unwrap().usb, Some(Vec::new()));
    let tablet = |c: &mut DomainConfig| c.hvm.usbdevice = vec!["tablet".into()];
    assert_eq!(
        check(&config(tablet)).unwrap().usb,
        Some(vec![UsbDevice::Tablet])
    );
    let asked = config(|c| {
        c.hvm.nx = false;
        c.hvm.timer_mode = 3;
        c.hvm.hpet = true;
        c.hvm.cpuid = vec!["7,0:ebx=0xf0".into()];
    });
    let given = Given {
        bios_fd: 7,
        early_fd: None,
        display_bios_fd: None,
        vnc: None,
        sound_fd: None,
    };
    let hvm = check(&asked).unwrap().spec(&asked, given);
    assert!(hvm.one_late_tick && hvm.hpet && !hvm.cpu.nx);
    let rule = hvm.cpu.cpuid[0];
    assert_eq!(
        (rule.leaf, rule.subleaf, rule.register),
        (7, Some(0), Register::Ebx)
    );
    assert_eq!((rule.ones, rule.zeros), (0xf0, !0xf0));
}

#[test]
fn clock_has_the_offset_that_was_asked_for() {
    let config = config(|c| c.rtc_timeoffset = -3600);
    let given = Given {
        bios_fd: 7,
        early_fd: None,
        display_bios_fd: Some(8),
        vnc: None,
        sound_fd: None,
    };
    let hvm = check(&config).unwrap().spec(&config, given);
    assert_eq!((hvm.clock_offset_s, hvm.bios_fd), (-3600, 7));
}
