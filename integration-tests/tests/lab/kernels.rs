//! Other PV guests than the main one; each finds different faults.

use crate::{in_lab, LIMIT};
use noxen_integration_tests::assets::{self, Flavour};
use noxen_integration_tests::guest::Domain;
use noxen_integration_tests::node::Node;

#[test]
fn cloud_kernel_runs_a_command_on_two_vcpus() {
    in_lab();
    let node = Node::new().unwrap();
    let domain = Domain::debian("cloud", Flavour::Cloud)
        .unwrap()
        .vcpus(2)
        .running("uname -r; storm 2 10");
    let mut console = node.create_on_console(&domain).unwrap();
    let version = assets::version(Flavour::Cloud).unwrap();
    console
        .expect(
            &format!("NOXEN-CMD begin\r\n{version}\r\nSTORM ok 2\r\n"),
            LIMIT,
        )
        .unwrap();
    console.expect("NOXEN-CMD end status=0", LIMIT).unwrap();
    node.wait_gone("cloud", LIMIT);
}

#[test]
fn grub_reaches_its_prompt() {
    in_lab();
    let node = Node::new().unwrap();
    let mut domain = Domain::debian("grub", Flavour::Generic)
        .unwrap()
        .memory(128);
    domain.kernel = assets::grub_x86_64_xen().unwrap();
    domain.ramdisk = None;
    domain.extra = String::new();
    let mut console = node.create_on_console(&domain).unwrap();
    console.expect("grub>", LIMIT).unwrap();
    console.send("echo typed text\n").unwrap();
    console.expect("typed text", LIMIT).unwrap();
    node.toolctl(&["destroy", "grub"]).ok();
}

/// Its legacy `__xen_guest` string, its kernel in the lower half and its direct writes to tables are what it is here for.
#[test]
fn gnumach_64_bit_boots_until_it_wants_its_servers() {
    in_lab();
    let node = Node::new().unwrap();
    let mut domain = Domain::debian("mach", Flavour::Generic)
        .unwrap()
        .memory(128);
    domain.kernel = assets::gnumach_amd64().unwrap();
    domain.ramdisk = None;
    domain.extra = String::new();
    let mut console = node.create_on_console(&domain).unwrap();
    for line in [
        "vm_page: DMA32: pages:",
        "No bootstrap code loaded with the kernel!",
    ] {
        console.expect(line, LIMIT).unwrap();
    }
    node.wait_gone("mach", LIMIT);
}
