//! How often a domain leaves for KVM: counted by the kernel, per VM, from kernel entry to the login.

use crate::{in_lab, LIMIT};
use noxen_integration_tests::assets::Flavour;
use noxen_integration_tests::guest::Domain;
use noxen_integration_tests::node::Node;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

/// Above what was measured by what two runs differ (docs/performance.md has them by kind): all exits, and those that are left without
/// the host's own ticks. The goal is 3000 for all; whoever takes some away lowers these numbers.
const MEASURED: u64 = 7200;
const MEASURED_OF_GUEST: u64 = 6200;

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
    let (before, start) = (exits(vmm), Instant::now());
    node.toolctl(&["unpause", "exits"]).ok();
    console.expect("login: ", LIMIT).unwrap();
    let (after, took) = (exits(vmm), start.elapsed());
    let all = after.0 - before.0;
    let interrupts = after.1 - before.1;
    // A processor that is busy all the time has one of its own per period of the coarse clocks; where a vCPU was not in its guest
    // then, that was no exit.
    let tick = rustix::time::clock_getres(rustix::time::ClockId::MonotonicCoarse).tv_nsec as u128;
    let own = interrupts.min((took.as_nanos() / tick) as u64);
    let text = format!(
        "exits from kernel entry to login: {all}, of these interrupts of the host: {interrupts}, of these its own ticks, at most: {own}; \
         without those: {}; it took {} ms",
        all - own,
        took.as_millis()
    );
    println!("{text}");
    assert!(all < MEASURED, "{text}");
    assert!(all - own < MEASURED_OF_GUEST, "{text}");
    node.toolctl(&["destroy", "exits"]).ok();
}
