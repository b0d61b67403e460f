//! A hundred domains on one host, with the real noxen-vmm on KVM.
//!
//! ```text
//!   create 1 .. 10 ── .. ── create 91 .. 100      middle time of the last ten against that of the first ten
//! ```
//! By the clock, since what xend, xenstored, noxen-vmm and the kernel each do is in it. A host that was busy with
//! something else is given a second chance. `toolctl/xend/tests/create_time.rs` counts the daemons' work alone.

use crate::in_lab;
use noxen_integration_tests::guest::Domain;
use noxen_integration_tests::node::Node;
use std::time::{Duration, Instant};

const DOMAINS: usize = 100;
/// How many at either end are compared.
const ENDS: usize = 10;
/// How much longer one of the last may take.
const MOST: f64 = 1.2;
const TRIES: usize = 2;

fn middle(times: &[Duration]) -> Duration {
    let mut times = times.to_vec();
    times.sort();
    times[times.len() / 2]
}

/// Creates them, ends them, and says how many times as long as the first the last took.
fn growth() -> f64 {
    let node = Node::new().unwrap();
    // The daemons start with the first request.
    node.toolctl(&["list"]).ok();
    let create = |number: usize| {
        let domain = Domain::grub(&format!("idle{number}")).unwrap().memory(32);
        let config = node.config(&domain).unwrap();
        let start = Instant::now();
        // Paused, it takes nothing of the processor from those that are made after it.
        node.toolctl(&["create", "-q", "-p", &config]).ok();
        start.elapsed()
    };
    // The kernel's file is unpacked, and what it is read from is warm.
    create(0);
    let times: Vec<Duration> = (1..=DOMAINS).map(create).collect();
    assert_eq!(node.domains().len(), DOMAINS + 1);
    let (first, last) = (middle(&times[..ENDS]), middle(&times[DOMAINS - ENDS..]));
    println!("one of the first {ENDS}: {first:?}, of the last: {last:?}; all: {times:?}");
    last.as_secs_f64() / first.as_secs_f64()
}

#[test]
fn last_ten_of_a_hundred_idle_domains_take_as_long_as_the_first() {
    in_lab();
    let tries: Vec<f64> = std::iter::repeat_with(growth)
        .take(TRIES)
        .inspect(|ratio| println!("{ratio:.2} times"))
        .take_while(|ratio| *ratio > MOST)
        .collect();
    assert!(
        tries.len() < TRIES,
        "{tries:.2?} times as long, at most {MOST}"
    );
}
