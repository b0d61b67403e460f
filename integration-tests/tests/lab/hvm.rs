//! HVM domains: a PC from its reset vector to the end.

use crate::modules::{with_modules, LOAD};
use crate::network::configure;
use crate::store::xenstore;
use crate::support::{node_with_scripts, run, Bridge};
use crate::viewer::Viewer;
use crate::{in_lab, LIMIT};
use noxen_integration_tests::assets::{self, Flavour};
use noxen_integration_tests::guest::Domain;
use noxen_integration_tests::node::Node;
use noxen_integration_tests::wait;

#[test]
fn hvm_linux_boots_through_its_bios_and_powers_off_by_acpi() {
    in_lab();
    let node = node_with_scripts();
    let _bridge = Bridge::new("nxbr9", "10.81.0.1/24");
    let domain = Domain::pc("pc")
        .unwrap()
        .line("vnc = 1\nvncdisplay = 41")
        .line("vif = [ 'type=ioemu, bridge=nxbr9' ]");
    let mut console = node.create_on_console(&domain).unwrap();
    console.expect("NOXEN-INIT up", LIMIT).unwrap();
    console.expect("# ", LIMIT).unwrap();
    let mut says = |command: &str| console.run(command, LIMIT).unwrap();
    assert_eq!(says("grep -c ^processor /proc/cpuinfo"), "2\n");
    assert_eq!(says("cat /sys/class/dmi/id/product_name"), "HVM domU\n");
    let interrupts = says("cat /proc/interrupts");
    let acpi = interrupts.lines().find(|line| line.ends_with("acpi"));
    assert!(
        acpi.is_some_and(|line| line.contains("IO-APIC")),
        "{interrupts}"
    );

    // More at once than the serial port's receiver holds.
    let long = "typed".repeat(40);
    assert_eq!(says(&format!("echo {long}")), format!("{long}\n"));

    // The card is on its bus, and its tap on the bridge.
    let card = says("cat /sys/bus/pci/devices/*:04.0/device");
    assert_eq!(card, "0x8139\n");
    let domid = node.toolctl(&["domid", "pc"]).ok();
    let tap = format!("/sys/class/net/nxbr9/brif/tap{}.0", domid.trim());
    assert!(std::path::Path::new(&tap).exists(), "{tap}");
    // A viewer sees what is written on the display's first line.
    says("printf '\\033[2J\\033[H####' >/dev/tty1");
    let port = format!("/local/domain/{}/console/vnc-port", domid.trim());
    let port = xenstore(&node, &["xenstore-read", &port]);
    let mut viewer = Viewer::connect(port.trim().parse().unwrap());
    viewer.wait(0, 16, |pixels| pixels.iter().any(|&byte| byte != 0));

    assert_eq!(node.domains(), ["pc"]);
    node.toolctl(&["pause", "pc"]).ok();
    let table = node.toolctl(&["list", "pc"]).ok();
    assert!(table.contains("--p---"), "{table}");
    node.toolctl(&["unpause", "pc"]).ok();
    let log = node.domain_log("pc");
    assert!(log.contains("firmware: SeaBIOS (version"), "{log}");

    console.send("poweroff -f\n").unwrap();
    node.wait_gone("pc", LIMIT);
}

#[test]
fn hvm_linux_takes_processors_in_and_lets_them_go_and_sleeps_until_it_is_woken() {
    in_lab();
    let node = node_with_scripts();
    let domain = Domain::pc("acpi")
        .unwrap()
        .vcpus(4)
        .line("vcpu_avail = 3\nnographic = 1");
    let mut console = node.create_on_console(&domain).unwrap();
    console.expect("NOXEN-INIT up", LIMIT).unwrap();
    console.expect("# ", LIMIT).unwrap();
    let cpus = "/sys/devices/system/cpu";
    let mut says = |command: &str| console.run(command, LIMIT).unwrap();
    let known = says(&format!("cat {cpus}/possible {cpus}/present {cpus}/online"));
    assert_eq!(known, "0-3\n0-1\n0-1\n");
    let until = |wanted: &str| {
        format!("n=0; until {wanted} || [ $n -ge 600 ]; do n=$((n+1)); sleep 0.1; done")
    };

    // All four, which whoever sits there takes into use.
    node.toolctl(&["vcpu-set", "acpi", "4"]).ok();
    says(&until(&format!(
        "[ -e {cpus}/cpu2/online -a -e {cpus}/cpu3/online ]"
    )));
    says(&format!(
        "for n in 2 3; do echo 1 >{cpus}/cpu$n/online; done"
    ));
    assert_eq!(says(&format!("cat {cpus}/online")), "0-3\n");
    // One, and the guest lets go of the others by itself.
    node.toolctl(&["vcpu-set", "acpi", "1"]).ok();
    says(&until(&format!("[ $(cat {cpus}/present) = 0 ]")));
    assert_eq!(says(&format!("cat {cpus}/online")), "0\n");
    let table = node.toolctl(&["vcpu-list", "acpi"]).ok();
    let gone = |line: &&str| line.split_whitespace().nth(4) == Some("--p");
    assert_eq!(table.lines().filter(gone).count(), 3, "{table}");

    let early = node.toolctl(&["trigger", "acpi", "s3resume"]);
    assert!(early.stderr.contains("does not sleep"), "{early:?}");
    for wake in ["s3resume", "power"] {
        console
            .send("echo mem >/sys/power/state; echo wo\"\"ken\n")
            .unwrap();
        wait::until("the guest's sleep", LIMIT, || {
            let log = node.domain_log("acpi");
            let asleep = log.matches("asleep (ACPI S3)").count();
            (asleep > log.matches("awake").count()).then_some(())
        });
        node.toolctl(&["trigger", "acpi", wake]).ok();
        console.expect("woken", LIMIT).unwrap();
        console.expect("# ", LIMIT).unwrap();
    }
    console.send("poweroff -f\n").unwrap();
    node.wait_gone("acpi", LIMIT);
}

#[test]
fn hvm_linux_has_the_processors_and_timers_that_its_variables_say() {
    in_lab();
    let node = node_with_scripts();
    let domain = Domain::pc("cpu")
        .unwrap()
        .line("nographic = 1\nnx = 0\nhpet = 1\nviridian = 1\ntimer_mode = 3")
        .line("cpuid = [ '1:ecx=xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx0', 'host,popcnt=0' ]");
    let domain = with_modules(domain, Flavour::Cloud, &["cpuid"], node.root());
    let mut console = node.create_on_console(&domain).unwrap();
    console.expect("NOXEN-INIT up", LIMIT).unwrap();
    console.expect("# ", LIMIT).unwrap();
    let mut says = |command: &str| console.run(command, LIMIT).unwrap();
    let flags = says("grep -m 1 ^flags /proc/cpuinfo");
    let has = |flag: &str| flags.split_whitespace().any(|other| other == flag);
    assert!(has("ssse3"), "{flags}");
    for flag in ["nx", "pni", "popcnt"] {
        assert!(!has(flag), "{flag}: {flags}");
    }

    // Microsoft's hypervisor comes first, and Linux goes by KVM's leaves behind it.
    assert_eq!(says(LOAD), "loaded\n");
    let name = |leaf: u64| {
        format!(
            "dd if=/dev/cpu/0/cpuid bs=16 skip={} count=1 2>/dev/null | dd bs=1 skip=4 2>/dev/null",
            leaf / 16
        )
    };
    assert_eq!(says(&name(0x4000_0000)), "Microsoft Hv");
    assert!(says(&name(0x4000_0100)).starts_with("KVMKVMKVM"));
    let hypervisor = says("dmesg | grep -o 'Hypervisor detected: .*'");
    assert_eq!(hypervisor, "Hypervisor detected: KVM\n");

    // Its counter is a clock, and it goes as fast as the others.
    let clocks = "/sys/devices/system/clocksource/clocksource0";
    let all = says(&format!("cat {clocks}/available_clocksource"));
    assert!(all.split_whitespace().any(|clock| clock == "hpet"), "{all}");
    assert_eq!(says("dmesg | grep -c 'hpet.*3 comparators'"), "1\n");
    says(&format!("echo hpet >{clocks}/current_clocksource"));
    assert_eq!(says(&format!("cat {clocks}/current_clocksource")), "hpet\n");
    let waited = says("a=$(date +%s); sleep 3; echo $(( $(date +%s) - a ))");
    let seconds: u32 = waited.trim().parse().unwrap();
    assert!((3..=8).contains(&seconds), "{seconds}");

    console.send("poweroff -f\n").unwrap();
    node.wait_gone("cpu", LIMIT);
}

#[test]
fn hvm_linux_has_a_usb_tablet_and_keyboard_that_viewers_move_and_type_on() {
    in_lab();
    let node = node_with_scripts();
    let mut domain = Domain::pc("usb")
        .unwrap()
        .vcpus(1)
        .line("usbdevice = [ 'tablet', 'keyboard' ]\nvnc = 1\nvncdisplay = 43");
    domain.kernel = assets::vmlinuz(Flavour::Generic).unwrap();
    domain.ramdisk = Some(assets::guest_initramfs(Flavour::Generic).unwrap());
    let modules = ["uhci-hcd", "usbhid", "hid-generic", "evdev"];
    let domain = with_modules(domain, Flavour::Generic, &modules, node.root());
    let mut console = node.create_on_console(&domain).unwrap();
    // This kernel's payload is xz, which a busy lab takes its time for.
    console.expect("NOXEN-INIT up", 2 * LIMIT).unwrap();
    console.expect("# ", LIMIT).unwrap();
    let mut says = |command: &str| console.run(command, LIMIT).unwrap();
    assert_eq!(says(LOAD), "loaded\n");
    let devices = "/proc/bus/input/devices";
    let there = |name: &str| format!("grep -q 'Noxen USB {name}' {devices}");
    let both = format!("{} && {}", there("Tablet"), there("Keyboard"));
    says(&format!(
        "n=0; until {both}; do n=$((n+1)); [ $n -lt 300 ] || break; sleep 0.1; done"
    ));
    let listed = says(&format!("cat {devices}"));
    for name in ["Noxen USB Tablet", "Noxen USB Keyboard"] {
        assert!(listed.contains(name), "{listed}");
    }

    // Events as they come, a line of hexadecimal digits each: time, type, code, value.
    for name in ["Tablet", "Keyboard"] {
        let event = format!("grep -A 5 'Noxen USB {name}' {devices} | grep -o 'event[0-9]*'");
        says(&format!("{{ cat /dev/input/$({event}) >/tmp/{name} & }}"));
    }
    let port = port_of_usb(&node);
    let mut viewer = Viewer::connect(port);
    let (width, height) = viewer.size();
    let corner = wait::until("the tablet's corner", LIMIT, || {
        // What came before the device was opened is lost.
        viewer.point(1, 1);
        viewer.point(width - 1, height - 1);
        let events = says("xxd -p -c 24 /tmp/Tablet");
        let tells = |code: u8| {
            let wanted = format!("0300{code:02x}00ff7f0000");
            events.lines().any(|line| line.ends_with(&wanted))
        };
        (tells(0) && tells(1)).then_some(events)
    });
    assert!(!corner.is_empty());
    viewer.type_text("a");
    wait::until("a key of the keyboard", LIMIT, || {
        let events = says("xxd -p -c 24 /tmp/Keyboard");
        // EV_KEY, KEY_A, pressed.
        let pressed = |line: &str| line.ends_with("01001e0001000000");
        events.lines().any(pressed).then_some(())
    });
    console.send("poweroff -f\n").unwrap();
    node.wait_gone("usb", LIMIT);
}

/// The port of the screen of the domain `usb`.
fn port_of_usb(node: &Node) -> u16 {
    let domid = node.toolctl(&["domid", "usb"]).ok();
    let port = format!("/local/domain/{}/console/vnc-port", domid.trim());
    let port = xenstore(node, &["xenstore-read", &port]);
    port.trim().parse().unwrap()
}

#[test]
fn hvm_linux_has_usb_devices_sound_cards_a_pcnet_and_a_serial_tablet() {
    in_lab();
    let node = node_with_scripts();
    let _bridge = Bridge::new("nxbr6", "10.81.6.1/24");
    let disk = node.root().join("usb.img");
    let sectors: Vec<u8> = (0..4u32 << 20)
        .map(|at| (at / 512 + at % 7) as u8)
        .collect();
    std::fs::write(&disk, &sectors).unwrap();
    let devices = format!("usbdevice = [ 'mouse', 'disk:{}' ]", disk.display());
    let mut domain = Domain::pc("usb").unwrap().vcpus(1).line(&format!(
        "{devices}\nsoundhw = 'all'\nmonitor = 1\nvnc = 1\nvncdisplay = 44\nvif = [ 'type=ioemu, model=pcnet, bridge=nxbr6' ]"
    ));
    domain.kernel = assets::vmlinuz(Flavour::Generic).unwrap();
    domain.ramdisk = Some(assets::guest_initramfs(Flavour::Generic).unwrap());
    let modules = [
        "uhci-hcd",
        "usbhid",
        "hid-generic",
        "evdev",
        "usb-storage",
        "sd_mod",
        "snd-ens1370",
        "snd-pcm-oss",
        "pcnet32",
    ];
    let domain = with_modules(domain, Flavour::Generic, &modules, node.root());
    let mut console = node.create_on_console(&domain).unwrap();
    // This kernel's payload is xz, which a busy lab takes its time for.
    console.expect("NOXEN-INIT up", 2 * LIMIT).unwrap();
    console.expect("# ", LIMIT).unwrap();
    let mut says = |command: &str| console.run(command, LIMIT).unwrap();
    assert_eq!(says(LOAD), "loaded\n");
    let input = "/proc/bus/input/devices";
    let both = format!("grep -q 'Noxen USB Mouse' {input} && [ -e /sys/block/sda/size ]");
    says(&format!(
        "n=0; until {both}; do n=$((n+1)); [ $n -lt 300 ] || break; sleep 0.1; done"
    ));

    // All of the disk is read, and a part of it written.
    assert_eq!(says("cat /sys/block/sda/size"), "8192\n");
    says("[ -e /dev/sda ] || mknod /dev/sda b $(tr : ' ' </sys/block/sda/dev)");
    let sum = says("md5sum </dev/sda");
    let (status, expected) = run("md5sum", &[disk.to_str().unwrap()]);
    assert_eq!(
        (status, sum.split(' ').next()),
        (0, expected.split(' ').next())
    );
    says("yes written | dd of=/dev/sda bs=4096 seek=100 count=60 iflag=fullblock conv=fsync 2>/dev/null");
    let bytes = std::fs::read(&disk).unwrap();
    let (first, end) = (100 * 4096, 160 * 4096);
    assert!(bytes[first..end].chunks(8).all(|line| line == b"written\n"));
    assert!(bytes[..first] == sectors[..first] && bytes[end..] == sectors[end..]);
    let listed = node.toolctl(&["block-list", "usb"]).ok();
    assert!(listed.contains("2048"), "{listed}");

    // Movements of the viewer's pointer are the mouse's.
    let event = format!("grep -A 5 'Noxen USB Mouse' {input} | grep -o 'event[0-9]*'");
    says(&format!("{{ cat /dev/input/$({event}) >/tmp/mouse & }}"));
    let mut viewer = Viewer::connect(port_of_usb(&node));
    let mut place = (20, 20);
    viewer.point(place.0, place.1);
    wait::until("a movement of the mouse", LIMIT, || {
        // What came before the device was opened is lost, and movements that are not asked for in time are one.
        place = (place.0 + 21, place.1 + 9);
        viewer.point(place.0, place.1);
        let events = says("xxd -p -c 24 /tmp/mouse");
        // EV_REL, REL_X and REL_Y.
        let moved = ["0200000015000000", "0200010009000000"];
        moved
            .iter()
            .all(|end| events.lines().any(|line| line.ends_with(end)))
            .then_some(())
    });

    // Behind the hub that the second device brought, devices come and go by the monitor window.
    assert!(says("cat /sys/bus/usb/devices/*/product").contains("Noxen USB Hub"));
    let second = node.root().join("second.img");
    std::fs::write(&second, vec![0; 1 << 20]).unwrap();
    viewer.switch(2);
    viewer.type_text(&format!(
        "usb_add tablet\nusb_add disk:{}\n",
        second.display()
    ));
    let both = format!("grep -q 'Noxen USB Tablet' {input} && [ -e /sys/block/sdb/size ]");
    let until = |both: &str| {
        format!("n=0; until {both}; do n=$((n+1)); [ $n -lt 300 ] || break; sleep 0.1; done; {both} && echo seen")
    };
    assert_eq!(says(&until(&both)), "seen\n");
    assert_eq!(says("cat /sys/block/sdb/size"), "2048\n");
    viewer.type_text("usb_del 0.4\nusb_del 0.3\n");
    let gone = format!("! grep -q 'Noxen USB Tablet' {input} && [ ! -e /sys/block/sda ]");
    assert_eq!(says(&until(&gone)), "seen\n");
    viewer.switch(1);
    let listed = node.toolctl(&["block-list", "usb"]).ok();
    assert!(
        listed.contains("2064") && !listed.contains("2048"),
        "{listed}"
    );

    // A square wave of eight samples each way, for two seconds at 8 kHz, comes out at that pitch.
    says("[ -e /dev/dsp ] || mknod /dev/dsp c $(tr : ' ' </sys/class/sound/dsp/dev)");
    says("printf '\\377\\377\\377\\377\\377\\377\\377\\377\\0\\0\\0\\0\\0\\0\\0\\0' >/tmp/wave");
    says("i=0; while [ $i -lt 10 ]; do cat /tmp/wave /tmp/wave >/tmp/both; mv /tmp/both /tmp/wave; i=$((i+1)); done");
    assert_eq!(says("cat /tmp/wave >/dev/dsp && echo played"), "played\n");
    let wav = std::fs::read(node.root().join("usb.wav")).unwrap();
    assert!(wav.starts_with(b"RIFF"), "{:?}", &wav[..16]);
    let left = wav[44..]
        .chunks_exact(4)
        .map(|frame| i16::from_le_bytes([frame[0], frame[1]]));
    let loud: Vec<i16> = left.filter(|sample| *sample != 0).collect();
    let turns = loud
        .windows(2)
        .filter(|pair| (pair[0] > 0) != (pair[1] > 0))
        .count();
    // 16384 samples; the card's clock makes 8018 a second of what was asked for as 8000.
    let expected = 16384.0 * 44100.0 / 8018.0;
    assert!(
        (loud.len() as f64 / expected - 1.0).abs() < 0.05,
        "{} frames",
        loud.len()
    );
    assert!((1950..=2100).contains(&turns), "{turns} half waves");

    // The other card, whose driver Debian's kernel has not: by its ports. Reset, version, then 8000 bytes of the BIOS by DMA
    // channel 1 at 8 kHz, which are heard for a second.
    says("[ -e /dev/port ] || mknod /dev/port c 1 4");
    says(
        r"o() { printf \\$(printf %o $2) | dd of=/dev/port bs=1 seek=$(($1)) conv=notrunc 2>/dev/null; }",
    );
    says("i() { dd if=/dev/port bs=1 skip=$(($1)) count=1 2>/dev/null | xxd -p; }");
    assert_eq!(says("o 0x226 1; o 0x226 0; i 0x22a"), "aa\n");
    assert_eq!(says("o 0x22c 0xe1; i 0x22a; i 0x22a"), "04\n05\n");
    says("o 0xd6 0xc0; o 0xd4 0; o 0x0a 5; o 0x0c 0; o 0x0b 0x49; o 0x02 0; o 0x02 0; o 0x83 15; o 0x03 0x3f; o 0x03 0x1f; o 0x0a 1");
    let length = || {
        std::fs::metadata(node.root().join("usb.wav"))
            .unwrap()
            .len()
    };
    let before = length();
    says("o 0x22c 0x40; o 0x22c 131; o 0x22c 0x14; o 0x22c 0x3f; o 0x22c 0x1f; sleep 3");
    // Half a tenth of it may wait for the other card still.
    let frames = (length() - before) / 4;
    assert!((39_000..=46_000).contains(&frames), "{frames} frames");
    assert_eq!(
        says("o 0x224 0x82; i 0x225; i 0x22e >/dev/null; i 0x225"),
        "01\n00\n"
    );

    // The tablet on the second serial port, as GPM sets it up: its size, then where a viewer points.
    says("[ -e /dev/ttyS1 ] || mknod /dev/ttyS1 c 4 65");
    says("stty -F /dev/ttyS1 9600 raw -echo cs8 parenb parodd");
    says("{ cat /dev/ttyS1 >/tmp/tablet & }; exec 3>/dev/ttyS1; printf 'B' >&3; printf 'a' >&3; sleep 1");
    assert_eq!(says("xxd -p /tmp/tablet"), "985a2d5a2d\n");
    says("printf 'F@b' >&3; sleep 1");
    let size = viewer.size();
    viewer.point(1, 1);
    viewer.point(size.0 - 1, size.1 - 1);
    wait::until("the corner on the tablet", LIMIT, || {
        says("xxd -p /tmp/tablet")
            .ends_with("985a2d5a2d\n")
            .then_some(())
    });

    // The network card sends and receives.
    says("exec 3>&-");
    configure(&mut console, "eth0", "10.81.6.2");
    let mut says = |command: &str| console.run(command, LIMIT).unwrap();
    let driver = says("basename $(readlink /sys/class/net/eth0/device/driver)");
    assert_eq!(driver, "pcnet32\n");
    let answer = says("ping -c 3 -s 1400 -w 30 10.81.6.1 | grep -c 'bytes from'");
    assert_eq!(answer, "3\n");
    console.send("poweroff -f\n").unwrap();
    node.wait_gone("usb", LIMIT);
}

/// Waits for the first paravirtual disk's device, 30 s at most.
const XVDA: &str =
    "n=0; while [ ! -b /dev/xvda ] && [ $n -lt 300 ]; do n=$((n+1)); sleep 0.1; done";

#[test]
fn hvm_linux_with_drivers_for_xen_has_paravirtual_disk_network_and_clock() {
    in_lab();
    let node = node_with_scripts();
    let _bridge = Bridge::new("nxbr8", "10.81.8.1/24");
    let image = node.root().join("disk.img");
    std::fs::write(&image, vec![0x5a; 4 << 20]).unwrap();
    let domain = Domain::pc("pvhvm")
        .unwrap()
        .vcpus(1)
        .line("xen_platform_pci = 1\nnographic = 1")
        .line(&format!("disk = [ 'file:{},hda,w' ]", image.display()))
        .line("vif = [ 'type=ioemu, bridge=nxbr8' ]");
    let mut console = node.create_on_console(&domain).unwrap();
    console.expect("NOXEN-INIT up", LIMIT).unwrap();
    console.expect("# ", LIMIT).unwrap();
    let mut says = |command: &str| console.run(command, LIMIT).unwrap();
    let hypervisor = says("dmesg | grep -o 'Hypervisor detected: .*'");
    assert_eq!(hypervisor, "Hypervisor detected: Xen HVM\n");
    let clock = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
    assert_eq!(says(&format!("cat {clock}")), "xen\n");

    // The disk is there once, as a paravirtual one.
    says(XVDA);
    assert_eq!(says("ls /sys/block | grep -v -e ^loop -e ^ram"), "xvda\n");
    says(
        "echo written >/tmp/w; dd if=/tmp/w of=/dev/xvda bs=512 seek=3 conv=fsync,sync 2>/dev/null",
    );
    assert_eq!(says("dd if=/dev/xvda bs=1 count=4 2>/dev/null"), "ZZZZ");
    let stored = std::fs::read(&image).unwrap();
    assert_eq!(&stored[3 * 512..3 * 512 + 8], b"written\n");

    // So is the card, whose tap stayed on its bridge.
    configure(&mut console, "eth0", "10.81.8.2");
    let mut says = |command: &str| console.run(command, LIMIT).unwrap();
    let driver = says("basename $(readlink /sys/class/net/eth0/device/driver)");
    assert_eq!(driver, "vif\n");
    let answer = says("ping -c 1 -w 30 10.81.8.1 | grep -c 'bytes from'");
    assert_eq!(answer, "1\n");
    let cards = says("grep -l 0x020000 /sys/bus/pci/devices/*/class | wc -l");
    assert_eq!(cards, "0\n");

    console.send("poweroff -f\n").unwrap();
    node.wait_gone("pvhvm", LIMIT);
}

#[test]
fn hvm_linux_without_vectors_is_told_of_events_by_the_platform_devices_interrupt() {
    in_lab();
    let node = node_with_scripts();
    let image = node.root().join("disk.img");
    std::fs::write(&image, vec![0x5a; 1 << 20]).unwrap();
    let mut domain = Domain::pc("line")
        .unwrap()
        .vcpus(1)
        .line("xen_platform_pci = 1\nnographic = 1")
        .line(&format!("disk = [ 'file:{},hda,w' ]", image.display()));
    domain.extra.push_str(" xen_no_vector_callback");
    let mut console = node.create_on_console(&domain).unwrap();
    console.expect("NOXEN-INIT up", LIMIT).unwrap();
    console.expect("# ", LIMIT).unwrap();
    let mut says = |command: &str| console.run(command, LIMIT).unwrap();
    says(XVDA);
    let sum = says("dd if=/dev/xvda bs=64k 2>/dev/null | md5sum");
    let (_, expected) = run("md5sum", &[image.to_str().unwrap()]);
    assert_eq!(sum.split(' ').next(), expected.split(' ').next());
    // No upcall came by a vector, and each that came was a level that was taken.
    let interrupts = says("cat /proc/interrupts");
    let count = |name: &str| {
        let line = interrupts.lines().find(|line| line.contains(name))?;
        line.split_whitespace().nth(1)?.parse::<u32>().ok()
    };
    let platform = count("xen-platform-pci").unwrap_or(0);
    assert!((5..5000).contains(&platform), "{interrupts}");
    assert_eq!(count("HYP:").unwrap_or(0), 0, "{interrupts}");
    console.send("poweroff -f\n").unwrap();
    node.wait_gone("line", LIMIT);
}

#[test]
fn hvm_linux_without_a_serial_port_has_its_shell_on_xens_console() {
    in_lab();
    let node = node_with_scripts();
    let mut domain = Domain::pc("hvc")
        .unwrap()
        .vcpus(1)
        .line("xen_platform_pci = 1\nnographic = 1\nserial = 'none'");
    domain.extra = "console=hvc0 quiet noxen.autologin".into();
    let mut console = node.create_on_console(&domain).unwrap();
    console.expect("NOXEN-INIT up", LIMIT).unwrap();
    console.expect("# ", LIMIT).unwrap();
    let mut says = |command: &str| console.run(command, LIMIT).unwrap();
    assert_eq!(says("cat /sys/class/tty/console/active"), "hvc0\n");
    // More at once than the ring holds.
    let long = "typed".repeat(40);
    assert_eq!(says(&format!("echo {long}")), format!("{long}\n"));
    assert_eq!(says("seq 2000 | wc -c"), "8893\n");
    console.send("poweroff -f\n").unwrap();
    node.wait_gone("hvc", LIMIT);
}

#[test]
fn pvh_linux_boots_to_a_login_on_its_console_with_paravirtual_disk_and_network() {
    in_lab();
    let node = node_with_scripts();
    let _bridge = Bridge::new("nxbr7", "10.81.7.1/24");
    let image = node.root().join("disk.img");
    std::fs::write(&image, vec![0x5a; 4 << 20]).unwrap();
    let mut domain = Domain::debian("pvh", Flavour::Cloud)
        .unwrap()
        .vcpus(1)
        .line("type = 'pvh'")
        .line(&format!("disk = [ 'file:{},xvda,w' ]", image.display()))
        .line("vif = [ 'bridge=nxbr7' ]");
    domain.extra.push_str(" quiet");
    let mut console = node.create_on_console(&domain).unwrap();
    console.login(LIMIT).unwrap();
    let mut says = |command: &str| console.run(command, LIMIT).unwrap();
    let booted = says("dmesg | grep -o -e 'Hypervisor detected: .*' -e 'Booting.*kernel on .*'");
    assert!(booted.contains("Hypervisor detected: Xen HVM"), "{booted}");
    assert!(booted.contains("kernel on Xen PVH"), "{booted}");
    assert_eq!(says("grep -c ^processor /proc/cpuinfo"), "1\n");
    assert_eq!(says("ls /sys/bus/pci/devices 2>/dev/null | wc -l"), "0\n");

    says(XVDA);
    assert_eq!(says("dd if=/dev/xvda bs=1 count=4 2>/dev/null"), "ZZZZ");
    configure(&mut console, "eth0", "10.81.7.2");
    let mut says = |command: &str| console.run(command, LIMIT).unwrap();
    let answer = says("ping -c 1 -w 30 10.81.7.1 | grep -c 'bytes from'");
    assert_eq!(answer, "1\n");

    assert_eq!(node.domains(), ["pvh"]);
    node.toolctl(&["pause", "pvh"]).ok();
    let table = node.toolctl(&["list", "pvh"]).ok();
    assert!(table.contains("--p---"), "{table}");
    node.toolctl(&["unpause", "pvh"]).ok();
    let saved = node.root().join("saved").display().to_string();
    let refused = node.toolctl(&["save", "pvh", &saved]);
    let line = "saving a PVH domain is not built yet";
    assert!(
        refused.status != 0 && refused.stderr.contains(line),
        "{refused:?}"
    );
    // The guest's kernel powers off, by the sleep registers of its ACPI.
    node.toolctl(&["shutdown", "-w", "pvh"]).ok();
    node.wait_gone("pvh", LIMIT);
}
