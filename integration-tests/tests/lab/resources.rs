//! Memory and CPUs that come and go while a stock guest runs, its share of them; what `xm` can send to its kernel.

use crate::{in_lab, LIMIT};
use noxen_integration_tests::assets::Flavour;
use noxen_integration_tests::console::Console;
use noxen_integration_tests::guest::Domain;
use noxen_integration_tests::memory;
use noxen_integration_tests::node::Node;
use noxen_integration_tests::wait;
use std::process::Command;

/// The monitor's own region, huge pages of which a part was given back.
const SLACK_KIB: u64 = 48 << 10;

/// What the host has of the guest's memory.
fn resident_kib(node: &Node) -> u64 {
    memory::usage(node.only_vmm().pid).unwrap().guest_kib
}

/// Has a domain's memory set, and waits until `list` shows it (column `Mem`).
fn set_memory(node: &Node, domain: &str, mib: u64) {
    node.toolctl(&["mem-set", domain, &mib.to_string()]).ok();
    wait::until(&format!("{mib} MiB"), LIMIT, || {
        let table = node.toolctl(&["list", domain]).ok();
        let row = table.lines().nth(1).unwrap();
        let listed = row.split_whitespace().nth(2).unwrap();
        (listed == mib.to_string()).then_some(())
    });
}

/// Fills that many MiB of the guest's memory and gives them back to its kernel.
fn use_memory(console: &mut Console, mib: u64) {
    let command = format!(
        "mount -t tmpfs -o size=2g none /mnt && dd if=/dev/zero of=/mnt/x bs=1M count={mib} 2>/dev/null && umount /mnt"
    );
    console.run(&command, LIMIT).unwrap();
}

/// MemTotal of the guest, KiB.
fn total_kib(console: &mut Console) -> u64 {
    let total = "sed -n 's/MemTotal: *\\([0-9]*\\) kB/\\1/p' /proc/meminfo";
    console.run(total, LIMIT).unwrap().trim().parse().unwrap()
}

#[test]
fn memory_is_given_back_to_the_host_and_taken_again_beyond_what_it_was_at_boot() {
    in_lab();
    let node = Node::new().unwrap();
    let domain = Domain::debian("balloon", Flavour::Cloud)
        .unwrap()
        .memory(512)
        .line("maxmem = 768");
    let mut console = node.create_on_console(&domain).unwrap();
    console.login(LIMIT).unwrap();
    use_memory(&mut console, 340);
    let full = resident_kib(&node);
    assert!(full > 340 << 10, "{full} KiB are resident");
    let at_boot = total_kib(&mut console);

    set_memory(&node, "balloon", 256);
    wait::until("memory back at the host", LIMIT, || {
        (resident_kib(&node) <= (256 << 10) + SLACK_KIB).then_some(())
    });
    let less = total_kib(&mut console);
    assert!(less < 256 << 10, "{less} KiB in the guest");

    set_memory(&node, "balloon", 768);
    let more = total_kib(&mut console);
    assert!(more > at_boot + (200 << 10), "{more} KiB after {at_boot}");
    use_memory(&mut console, 420);
    let grown = resident_kib(&node);
    assert!(grown > 420 << 10, "{grown} KiB are resident");

    let said = node.toolctl(&["mem-set", "balloon", "1g"]);
    assert_eq!(said.status, 1);
    assert!(said.stderr.contains("at most 768 MiB"), "{}", said.stderr);
    let log = "dmesg | grep -c -E 'BUG|Oops|WARNING:|soft lockup' || true";
    assert_eq!(console.run(log, LIMIT).unwrap(), "0\n");
    node.toolctl(&["destroy", "balloon"]).ok();
}

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
    node.toolctl(&["sched-sedf", "share", "-p", "40", "-s", "10", "-e", "0"])
        .ok();
    assert_eq!(read("cpu.max"), "10000 40000\n");
    node.toolctl(&["sched-sedf", "share", "-e", "1"]).ok();
    assert_eq!(read("cpu.max"), "max 40000\n");
    node.toolctl(&["destroy", "share"]).ok();
    assert!(!std::path::Path::new(&group).exists());
}
