//! Domains made and ended with the real noxen-vmm, on KVM: nothing of them stays behind.
//!
//! ```text
//!   warm-up ── counts ── create, (runs), destroy; again and again ── the same counts
//!     descriptors, threads, memory of xend and xenstored; store nodes; files; processes
//! ```
//! `toolctl/xend/tests/leaks.rs` does it a thousand times with stand-ins.

use crate::store::xenstore;
use crate::{in_lab, LIMIT};
use noxen_integration_tests::guest::Domain;
use noxen_integration_tests::node::Node;
use noxen_integration_tests::process::{self, Process};
use noxen_integration_tests::{memory, wait};
use std::time::{Duration, Instant};

const WARM_UP: usize = 5;
/// How long domains are made and ended, and how many there must be by then.
const SPELL: Duration = Duration::from_secs(30);
const LEAST: usize = 10;
/// What allocators may keep more than before, KiB; a leak of 32 KiB a domain is more.
const SLACK_KIB: u64 = 256;

/// What a daemon holds: descriptors, threads.
fn held(daemons: &[Process; 2]) -> [(usize, usize); 2] {
    let count = |p: &Process| (process::open_files(p.pid), process::threads(p.pid));
    daemons.each_ref().map(count)
}

fn private_kib(daemons: &[Process; 2]) -> [u64; 2] {
    let kib = |p: &Process| memory::usage(p.pid).map(|usage| usage.private_kib);
    daemons.each_ref().map(|p| kib(p).unwrap())
}

#[test]
fn domains_made_and_ended_on_kvm_leak_nothing() {
    in_lab();
    let node = Node::new().unwrap();
    // GRUB runs as soon as it is built, and needs little.
    let domain = Domain::grub("tenant").unwrap().memory(32);
    let config = node.config(&domain).unwrap();
    let cycle = || {
        node.toolctl(&["create", "-q", &config]).ok();
        node.toolctl(&["destroy", "tenant"]).ok();
    };
    for _ in 0..WARM_UP {
        cycle();
    }
    let daemons = ["xend", "xenstored"].map(|name| node.processes_of(name).pop().unwrap());
    // A request's thread may end a moment after its answer.
    let settle = |bound: Option<[(usize, usize); 2]>| {
        wait::until(
            "the last noxen-vmm, thread and descriptor to go",
            LIMIT,
            || {
                let now = held(&daemons);
                let within = bound.is_none_or(|bound| {
                    let each = now.iter().zip(bound);
                    each.into_iter()
                        .all(|(now, b)| now.0 <= b.0 && now.1 <= b.1)
                });
                (within && node.processes_of("noxen-vmm").is_empty()).then_some(now)
            },
        )
    };
    let holds = settle(None);
    let memory = private_kib(&daemons);
    let nodes = xenstore(&node, &["xenstore-ls", "-f", "/"]);
    // The journal of the store begins anew under another number now and then.
    let files = || {
        let mut files = node.files();
        files.retain(|path| !path.display().to_string().contains("/xenstored/state/"));
        files
    };
    let before = files();
    let start = Instant::now();
    let mut cycles = 0;
    while start.elapsed() < SPELL || cycles < LEAST {
        cycle();
        cycles += 1;
    }
    eprintln!("{cycles} domains made and ended on KVM");
    settle(Some(holds));
    assert_eq!(xenstore(&node, &["xenstore-ls", "-f", "/"]), nodes);
    assert_eq!(files(), before);
    for ((daemon, before), after) in daemons.iter().zip(memory).zip(private_kib(&daemons)) {
        let program = daemon.program();
        assert!(
            after <= before + SLACK_KIB,
            "{program} had {before} KiB, and has {after} KiB after {cycles} domains"
        );
    }
    // The same daemons as in the beginning.
    for daemon in &daemons {
        assert!(process::is_alive(daemon.pid), "{daemon:?}");
    }
}
