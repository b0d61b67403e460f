//! `info` about the domain and its processors.

use super::{Call, Subject, Topic};
use noxen_control::ShutdownReason;
use std::fmt::Write;

pub(super) const TOPICS: &[Topic] = &[
    Topic {
        name: "version",
        help: "version of Noxen",
        tell: |_, _| format!("noxen-vmm {}", env!("CARGO_PKG_VERSION")),
    },
    Topic {
        name: "status",
        help: "whether the guest runs",
        tell: status,
    },
    Topic {
        name: "name",
        help: "name of the domain",
        tell: |_, subject| subject.identity().0,
    },
    Topic {
        name: "uuid",
        help: "UUID of the domain",
        tell: |_, subject| subject.identity().1,
    },
    Topic {
        name: "cpus",
        help: "vCPUs, with the CPU time that they have used",
        tell: cpus,
    },
    Topic {
        name: "registers",
        help: "registers of all vCPUs",
        tell: |_, subject| subject.registers(),
    },
    Topic {
        name: "kvm",
        help: "whether KVM runs the guest",
        tell: |_, _| "kvm support: enabled".into(),
    },
    Topic {
        name: "profile",
        help: "exits to noxen-vmm and KVM, by kind",
        tell: profile,
    },
    Topic {
        name: "history",
        help: "commands so far",
        tell: |call, _| {
            let lines = call.history.iter().enumerate();
            lines.fold(String::new(), |mut text, (index, line)| {
                let _ = writeln!(text, "{index}: '{line}'");
                text
            })
        },
    },
];

fn status(_: &Call, subject: &mut dyn Subject) -> String {
    let status = subject.status();
    let what = match status.shutdown {
        Some(ShutdownReason::Poweroff) => "shutdown (powered off)",
        Some(ShutdownReason::Reboot) => "shutdown (rebooting)",
        Some(ShutdownReason::Crash) => "shutdown (crashed)",
        Some(_) => "shutdown",
        None if status.paused => "paused",
        None => "running",
    };
    format!("VM status: {what}")
}

fn cpus(_: &Call, subject: &mut dyn Subject) -> String {
    let mut text = String::new();
    for (index, vcpu) in subject.status().vcpus.iter().enumerate() {
        let on = vcpu
            .cpu
            .map_or(String::new(), |cpu| format!(" on CPU {cpu}"));
        let seconds = vcpu.cpu_ns / 1_000_000_000;
        let tenths = vcpu.cpu_ns / 100_000_000 % 10;
        let _ = writeln!(text, "CPU #{index}: {seconds}.{tenths} s{on}");
    }
    text
}

fn profile(_: &Call, subject: &mut dyn Subject) -> String {
    let mut text = String::new();
    for (group, kinds) in subject.counters() {
        for (kind, count) in kinds {
            let _ = writeln!(text, "{group} {kind}: {count}");
        }
    }
    text
}
