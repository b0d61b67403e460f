//! HVM domains: a PC from its reset vector to the end.

use crate::network::configure;
use crate::store::xenstore;
use crate::support::{node_with_scripts, Bridge};
use crate::viewer::Viewer;
use crate::{in_lab, LIMIT};
use noxen_integration_tests::guest::Domain;

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
    says("n=0; while [ ! -b /dev/xvda ] && [ $n -lt 300 ]; do n=$((n+1)); sleep 0.1; done");
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
