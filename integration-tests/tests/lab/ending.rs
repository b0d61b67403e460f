//! How domains end: destroyed, rebooted, powered off from inside, crashed; and what on_* makes of it.

use crate::{in_lab, LIMIT};
use noxen_integration_tests::assets::Flavour;
use noxen_integration_tests::console::Console;
use noxen_integration_tests::guest::Domain;
use noxen_integration_tests::node::Node;
use noxen_integration_tests::wait;

fn debian(name: &str) -> Domain {
    Domain::debian(name, Flavour::Cloud).unwrap().memory(160)
}

/// xend refuses to restart what ran for less than a minute; lets the guest get older than that.
fn outlive_the_restart_guard(console: &mut Console) {
    console
        .run(
            "while read up idle < /proc/uptime && [ ${up%%.*} -lt 62 ]; do sleep 1; done",
            LIMIT,
        )
        .unwrap();
}

#[test]
fn destroyed_domain_leaves_nothing_behind() {
    in_lab();
    let node = Node::new().unwrap();
    let mut console = node.create_on_console(&debian("gone")).unwrap();
    console.expect("NOXEN-INIT up", LIMIT).unwrap();
    let id = node.toolctl(&["domid", "gone"]).ok().trim().to_owned();
    node.toolctl(&["destroy", "gone"]).ok();
    assert!(node.domains().is_empty());
    console.wait(LIMIT).unwrap();
    wait::until("the end of noxen-vmm", LIMIT, || {
        node.processes_of("noxen-vmm").is_empty().then_some(())
    });
    let run = node.root().join("var/run/noxen/domains").join(&id);
    assert!(!run.exists(), "{}", run.display());
    let said = node.toolctl(&["domid", "gone"]);
    assert_eq!(said.status, 3, "{said:?}");
    assert_eq!(
        said.stderr.lines().next(),
        Some("Error: Domain 'gone' does not exist.")
    );
}

#[test]
fn guest_that_powers_off_is_gone_from_the_list() {
    in_lab();
    let node = Node::new().unwrap();
    let mut console = node
        .create_on_console(&debian("off").running("echo bye"))
        .unwrap();
    console.expect("NOXEN-CMD begin\r\nbye\r\n", LIMIT).unwrap();
    node.wait_gone("off", LIMIT);
    console.wait(LIMIT).unwrap();
}

#[test]
fn guest_that_reboots_starts_again_under_its_name() {
    in_lab();
    let node = Node::new().unwrap();
    node.create(&debian("again"));
    let mut console = node.console("again").unwrap();
    console.login(LIMIT).unwrap();
    outlive_the_restart_guard(&mut console);
    let first = node.toolctl(&["domid", "again"]).ok();
    console.send("reboot\n").unwrap();
    let second = wait::until("a new domain of that name", LIMIT, || {
        let said = node.toolctl(&["domid", "again"]);
        (said.status == 0 && said.stdout != first).then_some(said.stdout)
    });
    // It has an id as soon as it is being built, and a console when that is done.
    wait::until("the new domain's start", LIMIT, || {
        let table = node.toolctl(&["list", "again"]).ok();
        let state = table.lines().nth(1)?.split_whitespace().nth(4)?.to_owned();
        ["r-----", "-b----"].contains(&state.as_str()).then_some(())
    });
    assert_ne!(first, second);
    let mut console = node.console("again").unwrap();
    console.login(LIMIT).unwrap();
    assert_eq!(node.processes_of("noxen-vmm").len(), 1);
    node.toolctl(&["destroy", "again"]).ok();
}

#[test]
fn guest_that_reboots_within_a_minute_is_not_restarted() {
    in_lab();
    let node = Node::new().unwrap();
    let mut console = node
        .create_on_console(&debian("hasty").running("reboot -f"))
        .unwrap();
    console.expect("NOXEN-CMD begin", LIMIT).unwrap();
    // Without the guard it would boot and reboot for ever.
    node.wait_gone("hasty", LIMIT);
    let log = std::fs::read_to_string(node.root().join("var/log/xen/xend.log")).unwrap();
    assert!(log.contains("restarting too fast"), "{log}");
}

#[test]
fn reboot_command_waits_for_the_new_domain() {
    in_lab();
    let node = Node::new().unwrap();
    let mut console = node.create_on_console(&debian("turn")).unwrap();
    console.login(LIMIT).unwrap();
    outlive_the_restart_guard(&mut console);
    let said = node.try_toolctl(&["reboot", "-w", "turn"], LIMIT).unwrap();
    assert_eq!(said.status, 0, "{said:?}");
    assert_eq!(said.stdout, "Domain turn rebooted\nAll domains rebooted\n");
    assert_eq!(node.domains(), ["turn"]);
}

#[test]
fn guest_that_reboots_under_on_reboot_destroy_is_gone() {
    in_lab();
    let node = Node::new().unwrap();
    let mut console = node
        .create_on_console(&debian("once").line("on_reboot = \"destroy\""))
        .unwrap();
    console.login(LIMIT).unwrap();
    console.send("reboot\n").unwrap();
    node.wait_gone("once", LIMIT);
}

#[test]
fn guest_that_panics_leaves_a_crash_record_and_is_destroyed() {
    in_lab();
    let node = Node::new().unwrap();
    let domain = debian("crash").line("on_crash = \"destroy\"");
    let mut console = node.create_on_console(&domain).unwrap();
    console.login(LIMIT).unwrap();
    console.send("echo c > /proc/sysrq-trigger\n").unwrap();
    node.wait_gone("crash", LIMIT);
    let log = node.domain_log("crash");
    let lower = log.to_lowercase();
    assert!(lower.contains("crash"), "{log}");
    assert!(lower.contains("rip"), "no registers: {log}");
    assert!(log.contains("Kernel panic"), "no last console lines: {log}");
}

#[test]
fn guest_that_panics_under_on_crash_preserve_stays_listed_as_crashed() {
    in_lab();
    let node = Node::new().unwrap();
    let domain = debian("kept").line("on_crash = \"preserve\"");
    let mut console = node.create_on_console(&domain).unwrap();
    console.login(LIMIT).unwrap();
    console.send("echo c > /proc/sysrq-trigger\n").unwrap();
    wait::until("state c in the list", LIMIT, || {
        let table = node.toolctl(&["list", "kept"]);
        let line = table.stdout.lines().nth(1)?.to_owned();
        line.split_whitespace().nth(4)?.contains('c').then_some(())
    });
    node.toolctl(&["destroy", "kept"]).ok();
    assert!(node.domains().is_empty());
}
