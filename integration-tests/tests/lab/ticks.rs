//! A guest whose ticks were made to meet the host's: its clock is still right, and the same on all vCPUs.

use crate::{in_lab, LIMIT};
use noxen_integration_tests::assets::Flavour;
use noxen_integration_tests::guest::Domain;
use noxen_integration_tests::node::Node;
use noxen_integration_tests::wait::until;
use std::time::{SystemTime, UNIX_EPOCH};

/// How far the guest's clock may be from the host's, seconds: it reads whole ones, a console is slow here, and a kernel whose clock is
/// made of ticks, as it is at first, loses those that a busy machine does not give it.
const CLOCK: i64 = 5;

#[test]
fn guest_whose_ticks_meet_the_hosts_has_a_right_clock() {
    in_lab();
    let clock = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
    let goes_by_tsc = std::fs::read_to_string(clock).unwrap().trim() == "tsc";
    let node = Node::new().unwrap();
    let domain = Domain::debian("ticks", Flavour::Generic).unwrap().vcpus(2);
    let mut console = node.create_on_console(&domain).unwrap();
    console.login(LIMIT).unwrap();
    if goes_by_tsc {
        // Its ticks may have met the host's by chance.
        until("what became of the guest's ticks", LIMIT, || {
            let log = node.domain_log("ticks");
            let told = ["now meet the host's", "stay where they are"];
            told.iter().any(|text| log.contains(text)).then_some(())
        });
    }
    let text = console.run("date +%s", LIMIT).unwrap();
    let host = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let ahead = text.trim().parse::<i64>().unwrap() - host.as_secs() as i64;
    assert!(ahead.abs() <= CLOCK, "the guest's clock is {ahead} s ahead");
    let complaints =
        "dmesg | grep -E 'clocksource.*unstable|went backward|BUG:|WARNING:|rcu.*stall|soft lockup' || true";
    assert_eq!(console.run(complaints, LIMIT).unwrap(), "");
    // Sleeps end on every vCPU when they should.
    let slept = console
        .run(
            "for n in 1 2 3 4; do (sleep 2; echo up) & done; wait; echo all",
            LIMIT,
        )
        .unwrap();
    assert_eq!(slept.matches("up").count(), 4, "{slept}");
    node.toolctl(&["destroy", "ticks"]).ok();
    node.wait_gone("ticks", LIMIT);
}
