//! A thousand domains made and ended: nothing stays behind in xend, xenstored, the store or on the disk.

mod support;

use std::path::Path;
use support::{eventually, Lab};

const WARM_UP: usize = 100;
const CYCLES: usize = 1000;
/// What the memory of a daemon may differ by after the cycles: what allocators keep varies by some pages, and a leak
/// of 2 KiB a domain would be twice as much.
const SLACK_KIB: u64 = 1024;

fn count(path: &str) -> usize {
    std::fs::read_dir(path).map_or(0, Iterator::count)
}

fn files_below(path: &Path) -> Vec<String> {
    let mut out = Vec::new();
    for entry in std::fs::read_dir(path).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            out.extend(files_below(&path));
        }
        out.push(path.display().to_string());
    }
    out.sort();
    out
}

/// What a process holds.
#[derive(Debug, PartialEq, Eq)]
struct Held {
    fds: usize,
    threads: usize,
}

fn held(pid: u32) -> Held {
    Held {
        fds: count(&format!("/proc/{pid}/fd")),
        threads: count(&format!("/proc/{pid}/task")),
    }
}

/// Memory of its own, without files that it has mapped, KiB.
fn memory_kib(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find_map(|l| l.strip_prefix("RssAnon:"));
    let number = line.and_then(|l| l.split_whitespace().next()?.parse().ok());
    number.unwrap()
}

#[test]
fn thousand_domains_made_and_ended_leak_nothing() {
    let lab = Lab::new();
    let daemons = [lab.pid(), lab.store_pid()];
    let cycle = || {
        lab.run(lab.config("tenant"));
        lab.destroy("tenant");
    };
    // What a xend without domains has: those that serve, and whatever each of its servers needs.
    let mut threads = held(daemons[0]).threads;
    eventually("the threads of its start have ended", || {
        std::thread::sleep(std::time::Duration::from_millis(50));
        let before = std::mem::replace(&mut threads, held(daemons[0]).threads);
        (before == threads).then_some(())
    });
    // Threads of ended connections and watchers go a moment later.
    let settled = || {
        eventually("the last threads have ended", || {
            (held(daemons[0]).threads == threads).then_some(())
        });
        // Logs, the journal and the counter of ids are there to be written.
        daemons.map(held)
    };
    for _ in 0..WARM_UP {
        cycle();
    }
    let holds = settled();
    let memory = daemons.map(memory_kib);
    let (nodes, files) = (lab.store_tree(""), files_below(lab.root()));
    for _ in 0..CYCLES {
        cycle();
    }
    assert_eq!(settled(), holds);
    assert_eq!(lab.store_tree(""), nodes);
    // An old log may have come; the store's journal begins anew under another number now and then.
    let lasting = |files: Vec<String>| -> Vec<String> {
        let passing = |name: &String| name.ends_with(".log.1") || name.contains("/state/state.");
        files.into_iter().filter(|name| !passing(name)).collect()
    };
    assert_eq!(lasting(files_below(lab.root())), lasting(files));
    assert!(count(&format!("{}/var/run/xenstored/state", lab.root().display())) <= 2);
    for (pid, before) in daemons.into_iter().zip(memory) {
        let after = memory_kib(pid);
        assert!(
            after <= before + SLACK_KIB,
            "process {pid} had {before} KiB, and has {after} KiB after {CYCLES} domains"
        );
    }
    let next = lab.run(lab.config("tenant"));
    assert_eq!(next.domid, Some((WARM_UP + CYCLES + 1) as u32));
    let groups: Vec<String> = std::fs::read_to_string("/proc/self/mounts")
        .unwrap()
        .lines()
        .filter(|line| line.split(' ').nth(2) == Some("cgroup2"))
        .filter_map(|line| line.split(' ').nth(1).map(str::to_owned))
        .collect();
    lab.destroy("tenant");
    let name = format!(
        "noxen{}",
        lab.root().display().to_string().replace('/', "-")
    );
    for mount in groups {
        assert!(!Path::new(&mount).join(&name).exists());
    }
}
