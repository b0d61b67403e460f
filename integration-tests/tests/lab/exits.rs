//! How often a domain leaves for KVM: counted by the kernel, per VM, from kernel entry to the login.

use crate::{in_lab, LIMIT};
use noxen_integration_tests::assets::Flavour;
use noxen_integration_tests::guest::Domain;
use noxen_integration_tests::node::Node;
use std::path::Path;
use std::process::Command;

/// Above what was measured by what two runs differ: of these about 1030 are the host's own ticks (docs/performance.md). The
/// goal is 3000; whoever takes some away lowers this number.
const MEASURED: u64 = 7200;

/// KVM's own counts for a process's VM: all exits, and those that an interrupt of the host made
/// (Linux, Documentation/virt/kvm/api.rst, statistics; debugfs).
fn exits(pid: u32) -> (u64, u64) {
    let debugfs = Path::new("/sys/kernel/debug");
    if !debugfs.join("kvm").exists() {
        let mounted = Command::new("mount")
            .args(["-t", "debugfs", "debugfs", "/sys/kernel/debug"])
            .status();
        assert!(mounted.unwrap().success());
    }
    let mut count = None;
    for entry in std::fs::read_dir(debugfs.join("kvm")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if name.starts_with(&format!("{pid}-")) {
            let figure = |name: &str| -> u64 {
                let text = std::fs::read_to_string(path.join(name)).unwrap();
                text.trim().parse().unwrap()
            };
            count = Some((figure("exits"), figure("irq_exits")));
        }
    }
    count.unwrap_or_else(|| panic!("KVM keeps no statistics for process {pid}"))
}

#[test]
fn boot_with_two_vcpus_takes_no_more_exits_than_measured() {
    in_lab();
    // In real time every tick of host and guest counts, for as long as a busy machine makes the boot last.
    assert!(
        std::env::var_os("NOXEN_LAB_ICOUNT").is_some(),
        "this test counts in virtual time: `cargo xtask test exits`, or `cargo xtask lab --icount -- <this binary> exits`"
    );
    let node = Node::new().unwrap();
    let domain = Domain::debian("exits", Flavour::Generic).unwrap().vcpus(2);
    let config = node.config(&domain).unwrap();
    node.toolctl(&["create", "-p", &config]).ok();
    let mut console = node.console("exits").unwrap();
    let vmm = node.only_vmm().pid;
    let before = exits(vmm);
    node.toolctl(&["unpause", "exits"]).ok();
    console.expect("login: ", LIMIT).unwrap();
    let after = exits(vmm);
    let all = after.0 - before.0;
    let ticks = after.1 - before.1;
    println!("exits from kernel entry to login: {all}, of these interrupts of the host: {ticks}");
    assert!(
        all < MEASURED,
        "{all} exits, of these interrupts of the host: {ticks}"
    );
    node.toolctl(&["destroy", "exits"]).ok();
}
