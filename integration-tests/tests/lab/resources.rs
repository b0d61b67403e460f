//! CPUs that come and go while a stock guest runs, its share of them; what `xm` can send to its kernel.

use crate::{in_lab, LIMIT};
use noxen_integration_tests::assets::Flavour;
use noxen_integration_tests::console::Console;
use noxen_integration_tests::guest::Domain;
use noxen_integration_tests::node::Node;
use noxen_integration_tests::wait;
use std::process::Command;

/// CPUs that the guest uses.
fn wait_cpus(console: &mut Console, wanted: &str) {
    wait::until(&format!("CPUs {wanted}"), LIMIT, || {
        let seen = console.run("cat /sys/devices/system/cpu/online", LIMIT);
        (seen.unwrap().trim() == wanted).then_some(())
    });
}

#[test]
fn cpus_come_and_go_and_signals_reach_the_kernel() {
    in_lab();
    let node = Node::new().unwrap();
    let domain = Domain::debian("cpus", Flavour::Cloud)
        .unwrap()
        .vcpus(4)
        .line("vcpu_avail = 1");
    let mut console = node.create_on_console(&domain).unwrap();
    console.login(LIMIT).unwrap();
    wait_cpus(&mut console, "0");

    node.toolctl(&["vcpu-set", "cpus", "4"]).ok();
    // Xen's driver makes the CPUs present; taking them into use is the guest's own business (udev's, usually).
    let online = "for n in 1 2 3; do until echo 1 > /sys/devices/system/cpu/cpu$n/online; do sleep 1; done; done";
    console.run(online, LIMIT).unwrap();
    wait_cpus(&mut console, "0-3");
    console.run("storm 4 10", LIMIT).unwrap();

    node.toolctl(&["vcpu-set", "cpus", "2"]).ok();
    wait_cpus(&mut console, "0-1");
    node.toolctl(&["vcpu-pin", "cpus", "1", "0"]).ok();
    let table = node.toolctl(&["vcpu-list", "cpus"]).ok();
    let rows: Vec<Vec<&str>> = table
        .lines()
        .skip(1)
        .map(|row| row.split_whitespace().collect())
        .collect();
    assert_eq!(rows.len(), 4, "{table}");
    assert_eq!(rows[1][6..], ["0"], "{table}");
    for offline in &rows[2..] {
        assert_eq!(offline[3..5], ["-", "--p"], "{table}");
    }
    assert_eq!(
        node.toolctl(&["list", "cpus"])
            .ok()
            .lines()
            .nth(1)
            .unwrap()
            .split_whitespace()
            .nth(3),
        Some("2")
    );

    node.toolctl(&["sysrq", "cpus", "h"]).ok();
    console.expect("sysrq: HELP", LIMIT).unwrap();
    node.toolctl(&["trigger", "cpus", "nmi", "1"]).ok();
    let seen = "until dmesg | grep 'NMI received.*on CPU 1'; do sleep 1; done";
    console.run(seen, LIMIT).unwrap();

    node.toolctl(&["rename", "cpus", "renamed"]).ok();
    assert_eq!(node.domains(), ["renamed"]);
    node.toolctl(&["destroy", "renamed"]).ok();
}

#[test]
fn share_of_the_cpus_is_set_in_the_domains_control_group() {
    in_lab();
    if !std::path::Path::new("/sys/fs/cgroup/cgroup.procs").exists() {
        let mounted = Command::new("mount")
            .args(["-t", "cgroup2", "none", "/sys/fs/cgroup"])
            .status()
            .unwrap();
        assert!(mounted.success());
    }
    let node = Node::new().unwrap();
    let domain = Domain::debian("share", Flavour::Cloud)
        .unwrap()
        .line("cpu_weight = 512");
    node.create(&domain);
    let pid = node.only_vmm().pid;
    let group = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let group = group.lines().find_map(|line| line.strip_prefix("0::"));
    let group = format!("/sys/fs/cgroup{}", group.unwrap());
    let read = |file: &str| std::fs::read_to_string(format!("{group}/{file}")).unwrap();
    assert_eq!(read("cpu.weight"), "200\n", "{group}");
    assert_eq!(read("cpu.max"), "max 100000\n");
    node.toolctl(&["sched-credit", "-d", "share", "-w", "128", "-c", "25"])
        .ok();
    assert_eq!(read("cpu.weight"), "50\n");
    assert_eq!(read("cpu.max"), "25000 100000\n");
    let table = node.toolctl(&["sched-credit", "-d", "share"]).ok();
    let row: Vec<&str> = table.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(row, ["share", "1", "128", "25"]);
    node.toolctl(&["destroy", "share"]).ok();
    assert!(!std::path::Path::new(&group).exists());
}
