//! Looking for the next request before sleeping: what it must not cost.

mod daemon;

use daemon::{wait_for, Daemon};
use noxen_xenstore::client::{Client, Nodes};
use std::time::Duration;

/// A count of `memreport`.
fn count(client: &mut Client, name: &str) -> u64 {
    let report = client.control(&["memreport"]).unwrap();
    let row = report.lines().find_map(|line| {
        let (left, right) = line.split_once(':')?;
        (left.trim() == name).then(|| right.trim().parse().unwrap())
    });
    row.unwrap_or_else(|| panic!("no {name} in {report}"))
}

/// One request after the other, each sent when the one before was answered.
fn one_at_a_time(client: &mut Client, requests: usize) {
    for _ in 0..requests {
        assert!(!client.is_introduced(7).unwrap());
    }
}

/// Nanoseconds that the daemon has run.
fn run_ns(daemon: &Daemon) -> u64 {
    let path = format!("/proc/{}/schedstat", daemon.pid());
    let text = std::fs::read_to_string(path).unwrap();
    text.split_whitespace().next().unwrap().parse().unwrap()
}

#[test]
fn idle_daemon_sleeps() {
    let daemon = Daemon::start_with(&["--poll-us", "1000"]);
    let mut client = daemon.client();
    one_at_a_time(&mut client, 2000);
    let (sleeps, spent) = (count(&mut client, "sleeps"), count(&mut client, "poll us"));
    let run = run_ns(&daemon);
    // The second is what is measured.
    std::thread::sleep(Duration::from_secs(1));
    let run = run_ns(&daemon) - run;
    let sleeps = count(&mut client, "sleeps") - sleeps;
    let spent = count(&mut client, "poll us") - spent;
    // One window behind each of the two requests, one sleep through the whole second.
    assert!((1..=3).contains(&sleeps), "{sleeps} sleeps");
    assert!(spent < 3000, "{spent} us of looking");
    assert!(run < 20_000_000, "{run} ns of processor time in a second");
}

#[test]
fn nobody_asked_or_one_processor_keeps_it_from_looking() {
    let daemon = Daemon::start();
    let mut client = daemon.client();
    one_at_a_time(&mut client, 2000);
    let looks = ["poll hits", "poll misses"].map(|name| count(&mut client, name));
    assert_eq!(looks, [0, 0], "not asked for");

    let mut one = rustix::thread::CpuSet::new();
    let allowed = rustix::thread::sched_getaffinity(None).unwrap();
    let first = (0..rustix::thread::CpuSet::MAX_CPU).find(|cpu| allowed.is_set(*cpu));
    one.set(first.unwrap());
    // The daemon has this thread's processors from its first request on.
    rustix::thread::sched_setaffinity(None, &one).unwrap();
    let daemon = Daemon::start_with(&["--poll-us", "1000"]);
    rustix::thread::sched_setaffinity(None, &allowed).unwrap();
    let mut client = daemon.client();
    one_at_a_time(&mut client, 2000);
    let looks = ["poll hits", "poll misses"].map(|name| count(&mut client, name));
    assert_eq!(looks, [0, 0], "one processor");
}

#[test]
fn requests_met_awake_are_answered_and_so_is_everybody_else() {
    let cpus = rustix::thread::sched_getaffinity(None).unwrap().count();
    if cpus < 2 {
        eprintln!("not tried: it takes two processors, there is {cpus}");
        return;
    }
    let daemon = Daemon::start_with(&["--poll-us", "1000"]);
    let (mut busy, mut other) = (daemon.client(), daemon.client());
    busy.watch("/watched", "token").unwrap();
    busy.next_event(Some(daemon::PATIENCE)).unwrap().unwrap();
    let mut round = 0u32;
    // How often looking pays is the machine's matter; that it does at all is not.
    wait_for("a request that was met awake", || {
        one_at_a_time(&mut busy, 200);
        round += 1;
        other.write("/watched", round.to_string()).unwrap();
        let event = busy.next_event(Some(daemon::PATIENCE)).unwrap().unwrap();
        assert_eq!(event.path, "/watched");
        assert_eq!(busy.read("/watched").unwrap(), round.to_string());
        count(&mut other, "poll hits") > 0
    });
    assert!(count(&mut other, "sleeps") > 0);
}
