//! A listing's cost grows with the domains, not faster. How much it is, `cargo xtask bench list` says.

mod support;

use noxen_xend_api::{DomainConfig, Request};
use std::time::Duration;
use support::Lab;

const FEW: usize = 25;
const MANY: usize = 100;
const ROUNDS: u32 = 20;

/// CPU time that a process has used, threads that have ended among it.
fn cpu_time(pid: u32) -> Duration {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, rest) = text.rsplit_once(") ").unwrap();
    let ticks: u64 = rest
        .split(' ')
        .skip(11)
        .take(2)
        .map(|field| field.parse::<u64>().unwrap())
        .sum();
    Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second())
}

/// xend's CPU time for [`ROUNDS`] listings of all domains.
fn cost(lab: &Lab, domains: usize) -> Duration {
    assert_eq!(lab.guests().len(), domains);
    let before = cpu_time(lab.pid());
    for _ in 0..ROUNDS {
        lab.guests();
    }
    cpu_time(lab.pid()) - before
}

#[test]
fn listing_of_four_times_the_domains_costs_no_more_than_eight_times_as_much() {
    let lab = Lab::new();
    let mut costs = Vec::new();
    for n in 0..MANY {
        let config = DomainConfig {
            memory: 8,
            ..lab.config(&format!("domain-{n}"))
        };
        let domain = config.name.clone();
        lab.create(config).unwrap();
        lab.ask(&Request::Unpause { domain }).unwrap();
        if n + 1 == FEW || n + 1 == MANY {
            costs.push(cost(&lab, n + 1));
        }
    }
    // A clock tick is 10 ms: what is less than a few of them says nothing.
    let few = costs[0].max(Duration::from_millis(30));
    assert!(costs[1] <= few * 8, "{ROUNDS} listings: {costs:?}");
    // Unoptimised, and so far above the 50 ms that a listing may cost.
    assert!(costs[1] / ROUNDS < Duration::from_millis(500), "{costs:?}");
}
