//! How often a domain leaves for KVM: counted by the kernel, per VM, from kernel entry to a shell and to the login.

use crate::{in_lab, LIMIT};
use noxen_integration_tests::assets::Flavour;
use noxen_integration_tests::guest::Domain;
use noxen_integration_tests::node::Node;
use std::fmt::{self, Display, Formatter};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

/// What may be counted: all exits, and those that are left without the host's own ticks. A tenth above the most that was measured, which differs
/// from boot to boot by a fifth (docs/performance.md has them by kind); whoever takes some away lowers these numbers. The goal is 3000 for all, to the
/// shell.
struct Bound {
    all: u64,
    of_guest: u64,
}

/// Bounds at one pace of virtual time: the ticks of host and guest are as many as a boot lasts, all else is not.
struct Bounds {
    /// To the prompt of a shell that is the first program.
    to_shell: Bound,
    /// To the login of our initramfs, some thirty programs later.
    to_login: Bound,
}

/// Two nanoseconds an instruction.
const SLOW: Bounds = Bounds {
    to_shell: Bound {
        all: 3900,
        of_guest: 2700,
    },
    to_login: Bound {
        all: 4950,
        of_guest: 3700,
    },
};
/// One nanosecond an instruction.
const FAST: Bounds = Bounds {
    to_shell: Bound {
        all: 3000,
        of_guest: 2300,
    },
    to_login: Bound {
        all: 3700,
        of_guest: 3100,
    },
};

/// What KVM counts of a VM by itself (Linux, arch/x86/include/asm/kvm_host.h, `struct kvm_vcpu_stat`): all exits, those that
/// an interrupt of the host made, and some other kinds.
const KINDS: [&str; 6] = [
    "exits",
    "irq_exits",
    "halt_exits",
    "hypercalls",
    "io_exits",
    "irq_window_exits",
];

/// KVM's own counts for a process's VM, by [`KINDS`] (Linux, Documentation/virt/kvm/api.rst, statistics; debugfs).
fn exits(pid: u32) -> [u64; KINDS.len()] {
    let debugfs = Path::new("/sys/kernel/debug");
    if !debugfs.join("kvm").exists() {
        let mounted = Command::new("mount")
            .args(["-t", "debugfs", "debugfs", "/sys/kernel/debug"])
            .status();
        assert!(mounted.unwrap().success());
    }
    let mut count = None;
    for entry in std::fs::read_dir(debugfs.join("kvm")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if name.starts_with(&format!("{pid}-")) {
            let figure = |name: &str| -> u64 {
                let text = std::fs::read_to_string(path.join(name)).unwrap();
                text.trim().parse().unwrap()
            };
            count = Some(KINDS.map(figure));
        }
    }
    count.unwrap_or_else(|| panic!("KVM keeps no statistics for process {pid}"))
}

#[test]
fn boot_with_two_vcpus_takes_no_more_exits_than_measured() {
    in_lab();
    // In real time every tick of host and guest counts, for as long as a busy machine makes the boot last.
    let bounds = match std::env::var("NOXEN_LAB_ICOUNT").as_deref() {
        Ok("1") => FAST,
        Ok("2") => SLOW,
        other => panic!(
            "this test counts in virtual time, 1 or 2 ns an instruction, not {other:?}: `cargo xtask test exits`, or \
             `cargo xtask lab --icount -- <this binary> exits`"
        ),
    };
    let node = Node::new().unwrap();
    let login = Domain::debian("login", Flavour::Generic).unwrap().vcpus(2);
    let mut shell = Domain {
        name: "shell".to_owned(),
        ..login.clone()
    };
    shell.extra.push_str(" rdinit=/bin/sh");
    let counts = [
        (boot(&node, &shell, "/ # "), bounds.to_shell),
        (boot(&node, &login, "login: "), bounds.to_login),
    ];
    for (count, bound) in counts {
        assert!(count.all < bound.all, "{count}");
        assert!(count.all - count.own_ticks < bound.of_guest, "{count}");
    }
}

/// Exits of a boot.
struct Count {
    until: String,
    all: u64,
    by_kind: [u64; KINDS.len()],
    own_ticks: u64,
    took_ms: u128,
}

impl Display for Count {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Count {
            until,
            all,
            by_kind,
            own_ticks,
            took_ms,
        } = self;
        write!(f, "exits from kernel entry to {until:?}:")?;
        for (kind, number) in KINDS.iter().zip(by_kind) {
            write!(f, " {kind} {number}")?;
        }
        write!(
            f,
            "; the host's own ticks, at most: {own_ticks}; without those: {}; it took {took_ms} ms",
            all - own_ticks
        )
    }
}

/// Boots `domain` until it prints `until`.
fn boot(node: &Node, domain: &Domain, until: &str) -> Count {
    let config = node.config(domain).unwrap();
    node.toolctl(&["create", "-p", &config]).ok();
    let mut console = node.console(&domain.name).unwrap();
    let vmm = node.only_vmm().pid;
    let (before, start) = (exits(vmm), Instant::now());
    node.toolctl(&["unpause", &domain.name]).ok();
    console.expect(until, LIMIT).unwrap();
    let (after, took) = (exits(vmm), start.elapsed());
    let by_kind: [u64; KINDS.len()] = std::array::from_fn(|kind| after[kind] - before[kind]);
    let [all, interrupts, ..] = by_kind;
    // A processor that is busy all the time has one of its own per period of the coarse clocks; where a vCPU was not in its guest
    // then, that was no exit.
    let tick = rustix::time::clock_getres(rustix::time::ClockId::MonotonicCoarse).tv_nsec as u128;
    let count = Count {
        until: until.to_owned(),
        all,
        by_kind,
        own_ticks: interrupts.min((took.as_nanos() / tick) as u64),
        took_ms: took.as_millis(),
    };
    println!("{count}");
    node.toolctl(&["destroy", &domain.name]).ok();
    node.wait_gone(&domain.name, LIMIT);
    count
}
