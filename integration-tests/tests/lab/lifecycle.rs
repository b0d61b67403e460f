//! From `toolctl create` to a login and an orderly end, as a user does it.

use crate::{in_lab, LIMIT};
use noxen_integration_tests::assets::Flavour;
use noxen_integration_tests::guest::Domain;
use noxen_integration_tests::node::Node;
use noxen_integration_tests::wait;

/// The cloud kernel: its payload unpacks ten times faster than the generic one's.
fn debian(name: &str) -> Domain {
    Domain::debian(name, Flavour::Cloud).unwrap()
}

#[test]
fn domain_created_with_console_reaches_login_runs_commands_and_shuts_down() {
    in_lab();
    let node = Node::new().unwrap();
    let domain = Domain::debian("alpha", Flavour::Generic).unwrap();
    let mut console = node.create_on_console(&domain).unwrap();
    console.expect("NOXEN-INIT up", LIMIT).unwrap();
    console.login(LIMIT).unwrap();
    assert_eq!(
        console.run("cat /sys/hypervisor/type", LIMIT).unwrap(),
        "xen\n"
    );
    assert_eq!(
        console
            .run("cat /sys/hypervisor/guest_type", LIMIT)
            .unwrap(),
        "PV\n"
    );
    assert_eq!(
        console
            .run("grep -c ^processor /proc/cpuinfo", LIMIT)
            .unwrap(),
        "1\n"
    );
    // Memory as configured, less what the kernel keeps (its image and page structures).
    let total = console
        .run(
            "sed -n 's/MemTotal: *\\([0-9]*\\) kB/\\1/p' /proc/meminfo",
            LIMIT,
        )
        .unwrap();
    let total: u64 = total.trim().parse().unwrap();
    assert!(
        (180_000..=256 << 10).contains(&total),
        "{total} KiB of 256 MiB"
    );

    // The listing, column by column as xm printed it.
    let table = node.toolctl(&["list"]).ok();
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(
        lines[0],
        "Name                                        ID   Mem VCPUs      State   Time(s)"
    );
    assert!(lines[1].starts_with("Domain-0 "), "{table}");
    let columns: Vec<&str> = lines[2].split_whitespace().collect();
    assert_eq!(
        (columns[0], columns[2], columns[3]),
        ("alpha", "256", "1"),
        "{table}"
    );
    assert!(["r-----", "-b----"].contains(&columns[4]), "{table}");
    let id = columns[1];
    assert_eq!(node.toolctl(&["domid", "alpha"]).ok().trim(), id);
    assert_eq!(node.toolctl(&["domname", id]).ok().trim(), "alpha");
    let long = node.toolctl(&["list", "-l", "alpha"]).ok();
    assert!(long.starts_with("(domain\n"), "{long}");
    assert!(long.contains(&format!("\n    (domid {id})\n")), "{long}");
    assert!(long.contains("\n    (name alpha)\n"), "{long}");
    let json: serde_json::Value =
        serde_json::from_str(&node.toolctl(&["list", "--json"]).ok()).unwrap();
    assert!(json.to_string().contains("\"alpha\""), "{json}");
    let vcpus = node.toolctl(&["vcpu-list", "alpha"]).ok();
    assert!(
        vcpus
            .lines()
            .nth(1)
            .is_some_and(|line| line.starts_with("alpha ")),
        "{vcpus}"
    );

    let said = node
        .try_toolctl(&["shutdown", "-w", "alpha"], LIMIT)
        .unwrap();
    assert_eq!(said.status, 0, "{said:?}");
    assert_eq!(
        said.stdout,
        "Domain alpha terminated\nAll domains terminated\n"
    );
    assert!(node.domains().is_empty());
    console.wait(LIMIT).unwrap();
    assert!(node.processes_of("noxen-vmm").is_empty());
}

#[test]
fn console_is_left_by_escape_and_taken_up_again() {
    in_lab();
    let node = Node::new().unwrap();
    node.create(&debian("beta"));
    let mut console = node.console("beta").unwrap();
    console.login(LIMIT).unwrap();
    console.send([0x1d]).unwrap();
    console.wait(LIMIT).unwrap();
    assert_eq!(node.domains(), ["beta"]);
    let mut again = node.console("beta").unwrap();
    again.send("\n").unwrap();
    again.expect("# ", LIMIT).unwrap();
    assert_eq!(again.run("echo here", LIMIT).unwrap(), "here\n");
    node.toolctl(&["destroy", "beta"]).ok();
}

#[test]
fn domain_paused_makes_no_progress_and_goes_on_after_unpause() {
    in_lab();
    let node = Node::new().unwrap();
    let mut console = node.create_on_console(&debian("gamma")).unwrap();
    console.login(LIMIT).unwrap();
    console.send("while true; do echo tick; done\n").unwrap();
    console.expect("tick\r\ntick\r\n", LIMIT).unwrap();
    node.toolctl(&["pause", "gamma"]).ok();
    let state = || {
        let table = node.toolctl(&["list", "gamma"]).ok();
        table
            .lines()
            .nth(1)
            .unwrap()
            .split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let before = state();
    assert_eq!(before[4], "--p---", "{before:?}");
    // What was under way arrives; then the guest is silent and uses no time.
    let silent = wait::until("the end of output under way", LIMIT, || {
        let length = console.transcript().len();
        std::thread::sleep(std::time::Duration::from_millis(500));
        (console.transcript().len() == length).then_some(length)
    });
    assert_eq!(state()[5], before[5]);
    assert_eq!(console.transcript().len(), silent);
    node.toolctl(&["unpause", "gamma"]).ok();
    wait::until("output after unpause", LIMIT, || {
        (console.transcript().len() > silent + 100).then_some(())
    });
    console.send([0x03]).unwrap();
    console.expect("# ", LIMIT).unwrap();
    node.toolctl(&["destroy", "gamma"]).ok();
}

#[test]
fn domain_created_paused_starts_when_unpaused() {
    in_lab();
    let node = Node::new().unwrap();
    let config = node
        .config(&debian("delta").running("echo it ran"))
        .unwrap();
    node.toolctl(&["create", "-p", &config]).ok();
    let table = node.toolctl(&["list", "delta"]).ok();
    assert!(table.contains(" --p---"), "{table}");
    let mut console = node.console("delta").unwrap();
    node.toolctl(&["unpause", "delta"]).ok();
    console
        .expect("NOXEN-CMD begin\r\nit ran\r\nNOXEN-CMD end status=0", LIMIT)
        .unwrap();
    node.wait_gone("delta", LIMIT);
}

#[test]
fn two_domains_run_side_by_side_and_shutdown_all_ends_both() {
    in_lab();
    let node = Node::new().unwrap();
    let mut first = node.create_on_console(&debian("one").memory(160)).unwrap();
    let mut second = node.create_on_console(&debian("two").memory(160)).unwrap();
    first.login(LIMIT).unwrap();
    second.login(LIMIT).unwrap();
    assert_eq!(node.processes_of("noxen-vmm").len(), 2);
    assert_eq!(node.domains(), ["one", "two"]);
    let said = node.try_toolctl(&["shutdown", "-a", "-w"], LIMIT).unwrap();
    assert_eq!(said.status, 0, "{said:?}");
    assert!(
        said.stdout.ends_with("All domains terminated\n"),
        "{said:?}"
    );
    assert!(node.domains().is_empty());
}
