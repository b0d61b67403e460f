//! Other PV guests than the main one; each finds different faults.

use crate::{in_lab, LIMIT};
use noxen_integration_tests::assets::{self, Flavour};
use noxen_integration_tests::guest::Domain;
use noxen_integration_tests::image;
use noxen_integration_tests::node::Node;
use std::path::PathBuf;

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

/// A kernel without ramdisk and command line.
fn bare(name: &str, kernel: PathBuf) -> Domain {
    let mut domain = Domain::debian(name, Flavour::Generic).unwrap().memory(128);
    domain.kernel = kernel;
    domain.ramdisk = None;
    domain.extra = String::new();
    domain
}

fn grub_runs_a_command(kernel: PathBuf) {
    let node = Node::new().unwrap();
    let mut console = node.create_on_console(&bare("grub", kernel)).unwrap();
    console.expect("grub>", LIMIT).unwrap();
    console.send("echo typed text\n").unwrap();
    console.expect("typed text", LIMIT).unwrap();
    node.toolctl(&["destroy", "grub"]).ok();
}

fn gnumach_wants_its_servers(kernel: PathBuf, first_line: &str) {
    let node = Node::new().unwrap();
    let mut console = node.create_on_console(&bare("mach", kernel)).unwrap();
    for line in [first_line, "No bootstrap code loaded with the kernel!"] {
        console.expect(line, LIMIT).unwrap();
    }
    node.wait_gone("mach", LIMIT);
}

#[test]
fn grub_reaches_its_prompt() {
    in_lab();
    grub_runs_a_command(assets::grub_x86_64_xen().unwrap());
}

/// The kernel in ring 1, three levels of page tables, `int 0x82`, the console ring by 32-bit layouts.
#[test]
fn grub_32_bit_reaches_its_prompt() {
    in_lab();
    grub_runs_a_command(assets::grub_i386_xen().unwrap());
}

/// Its requests have the 32-bit layout (`protocol` x86_32-abi), its grants and events are polled for.
#[test]
fn grub_32_bit_lists_and_reads_the_files_of_its_disk() {
    in_lab();
    let node = Node::new().unwrap();
    let tree = node.root().join("tree");
    std::fs::create_dir_all(tree.join("etc")).unwrap();
    std::fs::write(tree.join("etc/only-here"), "seen by 32 bits\n").unwrap();
    let image = image::ext4(node.root(), "disk", &tree, 8).unwrap();
    let domain = bare("grub", assets::grub_i386_xen().unwrap())
        .line(&format!("disk = ['file:{},xvda,r']", image.display()));
    let mut console = node.create_on_console(&domain).unwrap();
    for (command, answer) in [
        ("", "grub>"),
        ("ls", "(xen/xvda)"),
        ("ls (xen/xvda)/etc/", "only-here"),
        ("cat (xen/xvda)/etc/only-here", "seen by 32 bits"),
    ] {
        console.send(format!("{command}\n")).unwrap();
        console.expect(answer, LIMIT).unwrap();
    }
    node.toolctl(&["destroy", "grub"]).ok();
}

/// Its legacy `__xen_guest` string, its kernel in the lower half and its direct writes to tables are what it is here for.
#[test]
fn gnumach_64_bit_boots_until_it_wants_its_servers() {
    in_lab();
    gnumach_wants_its_servers(assets::gnumach_amd64().unwrap(), "vm_page: DMA32: pages:");
}

/// A kernel in ring 1 with segments of its own, traps, events, tables that it builds anew, and its own GDT and IDT.
#[test]
fn gnumach_32_bit_boots_until_it_wants_its_servers() {
    in_lab();
    gnumach_wants_its_servers(assets::gnumach_i386().unwrap(), "vm_page:");
}
