//! HVM domains: a PC from its reset vector to the end.

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
