//! Idle domains made one after another: the last of a hundred cost xend and xenstored no more work than the first.
//!
//! ```text
//!   crowded: 0 ....... 80 domains │ 81st, 82nd, ... 100th
//!   empty:                        │ 1st,  2nd,  ...  20th      made in turn with those: both meet the same host
//! ```
//! Work is CPU time of both daemons by the kernel's own clock for a process, to the nanosecond. What else the host does
//! (caches, the other thread of a core) adds to both alike, since they are measured at the same time; and it only
//! ever adds, so that the least of each counts.

mod support;

use nix::sys::time::TimeValLike;
use nix::time::{clock_gettime, ClockId};
use nix::unistd::Pid;
use support::Lab;

/// Domains of the crowded host in the end, and how many are made in turn.
const DOMAINS: usize = 100;
const PAIRS: usize = 20;
/// What one may take beside one of the first.
const RATIO: f64 = 1.2;
/// Work that grows does so in every try.
const TRIES: usize = 5;

/// A host whose daemons run, and have done what they do once only.
struct Host {
    lab: Lab,
    clocks: [ClockId; 2],
    made: usize,
}

impl Host {
    fn new() -> Host {
        let lab = Lab::new();
        let clock = |pid: u32| ClockId::pid_cpu_clock_id(Pid::from_raw(pid as i32)).unwrap();
        let clocks = [lab.pid(), lab.store_pid()].map(clock);
        let mut host = Host {
            lab,
            clocks,
            made: 0,
        };
        // The first one of all pays for what is made once.
        host.make();
        let first = "idle-0";
        host.lab.destroy(first);
        support::eventually("the first domain gone", || {
            host.lab.guest(first).is_none().then_some(())
        });
        host
    }

    /// CPU time of both daemons so far, ended threads included, ns.
    fn work(&self) -> i64 {
        let read = |clock: &ClockId| clock_gettime(*clock).unwrap().num_nanoseconds();
        self.clocks.iter().map(read).sum()
    }

    /// What one more domain takes, ns.
    fn make(&mut self) -> i64 {
        let before = self.work();
        self.lab.run(noxen_xend_api::DomainConfig {
            memory: 4,
            ..self.lab.config(&format!("idle-{}", self.made))
        });
        self.made += 1;
        self.work() - before
    }
}

/// The least, to which nothing that the host did besides has added.
fn least(values: impl Iterator<Item = i64>) -> f64 {
    values.min().unwrap_or(0) as f64
}

/// What one of the last domains takes beside one of the first.
fn growth() -> f64 {
    let (mut crowded, mut empty) = (Host::new(), Host::new());
    while crowded.made <= DOMAINS - PAIRS {
        crowded.make();
    }
    let pairs: Vec<[i64; 2]> = (0..PAIRS).map(|_| [crowded.make(), empty.make()]).collect();
    let [last, first] = [0, 1].map(|of| least(pairs.iter().map(|pair| pair[of])));
    eprintln!(
        "CPU time of xend and xenstored for one domain: {:.0} us of the last, {:.0} us of the first: {:.3}",
        last / 1e3,
        first / 1e3,
        last / first
    );
    last / first
}

#[test]
fn last_of_a_hundred_domains_costs_no_more_work_than_the_first() {
    let mut seen = Vec::new();
    while seen.len() < TRIES && seen.last().is_none_or(|ratio| *ratio > RATIO) {
        seen.push(growth());
    }
    let best = seen.last().copied().unwrap_or(f64::MAX);
    assert!(best <= RATIO, "{seen:.2?}");
}
