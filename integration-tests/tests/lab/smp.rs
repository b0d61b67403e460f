//! Several vCPUs: all used, right under a storm of memory management, and through a thousand pauses; also where they share
//! one processor.

use crate::{in_lab, LIMIT};
use noxen_control::client::Client as Monitor;
use noxen_control::{Reply, Request as Ask};
use noxen_integration_tests::assets::Flavour;
use noxen_integration_tests::console::Console;
use noxen_integration_tests::guest::Domain;
use noxen_integration_tests::memory::Cop;
use noxen_integration_tests::node::Node;
use noxen_integration_tests::process::open_files;
use noxen_integration_tests::wait::until;
use noxen_xend_api::paths::Paths;
use noxen_xend_api::{Client, Request};
use std::time::Duration;

const STORM: Duration = Duration::from_secs(600);

#[test]
fn four_vcpus_are_seen_and_survive_a_storm_on_all_of_them() {
    in_lab();
    let node = Node::new().unwrap();
    let domain = Domain::debian("storm", Flavour::Generic).unwrap().vcpus(4);
    let mut console = node.create_on_console(&domain).unwrap();
    console.login(LIMIT).unwrap();
    let cop = Cop::watch(node.only_vmm().pid);
    assert_eq!(
        console
            .run("grep -c ^processor /proc/cpuinfo", LIMIT)
            .unwrap(),
        "4\n"
    );
    assert_eq!(console.run("storm 8 40", STORM).unwrap(), "STORM ok 8\n");
    // Every CPU had its share: user and system ticks in /proc/stat.
    let busy = console
        .run(
            "awk '/^cpu[0-9]/ && $2+$4 > 0 {n++} END {print n}' /proc/stat",
            LIMIT,
        )
        .unwrap();
    assert_eq!(busy, "4\n");
    let listed = node.toolctl(&["vcpu-list", "storm"]).ok();
    assert_eq!(listed.lines().count(), 5, "{listed}");
    let log = console
        .run(
            "dmesg | grep -c -E 'BUG|Oops|WARNING:|soft lockup|rcu.*stall' || true",
            LIMIT,
        )
        .unwrap();
    assert_eq!(
        log,
        "0\n",
        "{}",
        console.run("dmesg | tail -60", LIMIT).unwrap()
    );
    // The promise for a domain with a console only.
    let usage = cop.highest();
    assert!(usage.private_kib <= 5 * 1024, "{usage:?}");
    assert!(
        usage.guest_kib > 50 * 1024,
        "guest RAM is not told apart: {usage:?}"
    );
    let said = node
        .try_toolctl(&["shutdown", "-w", "storm"], LIMIT)
        .unwrap();
    assert_eq!(said.status, 0, "{said:?}");
}

/// The most that a domain may have: every one is woken, set up and counted by the guest's own kernel.
#[test]
fn thirty_two_vcpus_are_all_brought_up() {
    in_lab();
    let node = Node::new().unwrap();
    let mut domain = Domain::debian("wide", Flavour::Cloud).unwrap().vcpus(32);
    domain.extra.push_str(" noxen.quietinit");
    let domain = domain.running("grep -c ^processor /proc/cpuinfo");
    let mut console = node.create_on_console(&domain).unwrap();
    console
        .expect("smp: Brought up 1 node, 32 CPUs", LIMIT)
        .unwrap();
    let listed = node.toolctl(&["vcpu-list", "wide"]).ok();
    assert_eq!(listed.lines().count(), 1 + 32, "{listed}");
    console.expect("NOXEN-CMD begin\r\n32\r\n", LIMIT).unwrap();
    console.expect("NOXEN-CMD end status=0", LIMIT).unwrap();
    node.wait_gone("wide", LIMIT);
}

#[test]
fn thousand_pauses_do_no_harm_to_a_busy_guest() {
    in_lab();
    let node = Node::new().unwrap();
    let domain = Domain::debian("pauses", Flavour::Cloud).unwrap().vcpus(4);
    let mut console = node.create_on_console(&domain).unwrap();
    console.login(LIMIT).unwrap();
    console.send("storm 4 1000000 & \n").unwrap();
    console.expect("# ", LIMIT).unwrap();
    let vmm = node.only_vmm();
    let files = open_files(vmm.pid);
    // toolctl's own requests, without two thousand starts of a program.
    let mut xend = Client::connect(&Paths::under(node.root())).unwrap();
    let domain = || "pauses".to_owned();
    for cycle in 0..1000 {
        xend.ask_ok(&Request::Pause { domain: domain() })
            .unwrap_or_else(|error| panic!("pause {cycle}: {error}"));
        xend.ask_ok(&Request::Unpause { domain: domain() })
            .unwrap_or_else(|error| panic!("unpause {cycle}: {error}"));
    }
    // A connection may be open at the moment of either count, so a leak shows only in what stays.
    until(
        "noxen-vmm to have no more files open than before",
        LIMIT,
        || (open_files(vmm.pid) <= files).then_some(()),
    );
    console.send("\n").unwrap();
    console.run("kill %1; wait; true", LIMIT).unwrap();
    let text = console.transcript();
    assert!(!text.contains("STORM bad"), "{text}");
    let log = console
        .run(
            "dmesg | grep -c -E 'BUG|Oops|soft lockup|rcu.*stall' || true",
            LIMIT,
        )
        .unwrap();
    assert_eq!(log, "0\n");
    assert_eq!(console.run("echo alive", LIMIT).unwrap(), "alive\n");
}

/// Lines that two processes hand each other to and fro.
const ROUNDS: u64 = 500;

/// Polls before halts while two shells do that.
fn polls_of_handing_over(node: &Node, console: &mut Console) -> u64 {
    let polls = || {
        let socket = node
            .control_socket()
            .expect("the domain has a control socket");
        let mut monitor = Monitor::connect(&socket, Some(LIMIT)).unwrap();
        match monitor.ask(&Ask::Counters).unwrap() {
            Reply::Counters { groups } => groups["other"].get("poll").copied().unwrap_or(0),
            other => panic!("asked for counters, noxen-vmm answered {other:?}"),
        }
    };
    let before = polls();
    let said = console.run(&format!("sh /tmp/hand {ROUNDS}"), STORM);
    assert_eq!(said.unwrap(), "handed over\n");
    polls() - before
}

/// Where vCPUs share a processor none waits awake for another one, and all else goes as ever.
#[test]
fn vcpus_pinned_to_one_processor_do_not_poll_and_survive_a_storm() {
    in_lab();
    let node = Node::new().unwrap();
    let domain = Domain::debian("one", Flavour::Generic).unwrap().vcpus(2);
    let mut console = node.create_on_console(&domain).unwrap();
    console.login(LIMIT).unwrap();
    // Each waits for the other's line before it goes on.
    let script = "mkfifo /tmp/a /tmp/b; (while read x; do echo $x; done < /tmp/a > /tmp/b) & exec 3> /tmp/a 4< /tmp/b; \
                  i=0; while [ $i -lt $1 ]; do echo $i >&3; read y <&4; [ $y = $i ] || echo lost $i; i=$((i+1)); done; \
                  exec 3>&- 4<&-; wait; rm /tmp/a /tmp/b; echo handed over";
    let written = console.run(&format!("echo '{script}' > /tmp/hand"), LIMIT);
    assert_eq!(written.unwrap(), "");
    node.toolctl(&["vcpu-pin", "one", "all", "0"]).ok();
    assert_eq!(polls_of_handing_over(&node, &mut console), 0);
    assert_eq!(console.run("storm 4 10", STORM).unwrap(), "STORM ok 4\n");
    node.toolctl(&["vcpu-pin", "one", "all", "all"]).ok();
    assert_eq!(console.run("storm 4 10", STORM).unwrap(), "STORM ok 4\n");
    polls_of_handing_over(&node, &mut console);
    let log = console.run(
        "dmesg | grep -c -E 'BUG|Oops|soft lockup|rcu.*stall' || true",
        LIMIT,
    );
    assert_eq!(log.unwrap(), "0\n");
    assert_eq!(
        node.try_toolctl(&["shutdown", "-w", "one"], LIMIT)
            .unwrap()
            .status,
        0
    );
}
