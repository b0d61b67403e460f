//! HVM domains: a PC from its reset vector to the end.

use crate::{in_lab, LIMIT};
use noxen_integration_tests::assets::Flavour;
use noxen_integration_tests::guest::Domain;
use noxen_integration_tests::node::Node;

#[test]
fn hvm_linux_boots_through_its_bios_and_powers_off_by_acpi() {
    in_lab();
    let node = Node::new().unwrap();
    let mut domain = Domain::debian("pc", Flavour::Cloud)
        .unwrap()
        .vcpus(2)
        .line("builder = 'hvm'")
        .line("loader = '/usr/lib/xen/boot/hvmloader'")
        .line("serial = 'pty'");
    domain.extra = "console=ttyS0 quiet noxen.autologin".into();
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
