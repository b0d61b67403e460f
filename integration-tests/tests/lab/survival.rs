//! A domain outlives the tools.

use crate::{in_lab, LIMIT};
use noxen_integration_tests::assets::Flavour;
use noxen_integration_tests::guest::Domain;
use noxen_integration_tests::node::Node;
use noxen_integration_tests::{process, wait};
use rustix::process::Signal;

#[test]
fn domain_runs_on_and_is_adopted_after_xend_was_killed() {
    in_lab();
    let node = Node::new().unwrap();
    node.create(&Domain::debian("stays", Flavour::Cloud).unwrap());
    let mut console = node.console("stays").unwrap();
    console.login(LIMIT).unwrap();
    let id = node.toolctl(&["domid", "stays"]).ok();
    let vmm = node.only_vmm();
    // The daemon and, if it has one, its watchdog.
    for daemon in node.processes_of("xend") {
        process::signal(daemon.pid, Signal::KILL);
    }
    wait::until("the end of xend", LIMIT, || {
        node.processes_of("xend").is_empty().then_some(())
    });
    assert_eq!(
        console.run("echo still here", LIMIT).unwrap(),
        "still here\n"
    );
    // The next command starts a new one, which finds the domain.
    assert_eq!(node.toolctl(&["domid", "stays"]).ok(), id);
    assert_eq!(node.only_vmm(), vmm);
    node.toolctl(&["pause", "stays"]).ok();
    node.toolctl(&["unpause", "stays"]).ok();
    assert_eq!(console.run("echo and here", LIMIT).unwrap(), "and here\n");
    let said = node
        .try_toolctl(&["shutdown", "-w", "stays"], LIMIT)
        .unwrap();
    assert_eq!(said.status, 0, "{said:?}");
    assert!(node.processes_of("noxen-vmm").is_empty());
}
