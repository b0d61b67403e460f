//! What `vcpu-pin`, `vcpu-set`, `mem-set`, `mem-max`, `rename`, `sched-credit`, `sysrq` and `trigger` do.
//!
//! ```text
//!   Change --check--> the running domain (threads, store nodes, monitor, cgroup) --> its record on disk
//! ```
//! The record's configuration follows, so that the domain comes back from a reboot as it was.

mod cpu;
mod memory;
mod name;
mod signal;

use crate::domain::Domain;
use crate::node::{Node, Target};
use crate::registry::Phase;
use crate::{managed, share};
use noxen_xend_api::{Change, Fault, Response};
use std::sync::Arc;

/// Does `change` to what `domain` names.
pub fn change(node: &Node, domain: &str, change: Change) -> Result<Response, Fault> {
    let _busy = node.begin();
    let guest = match node.find(domain)? {
        Target::Guest(guest) => guest,
        Target::Host => return Err(not_of_the_host(domain, &change)),
        Target::Managed(config) => {
            return managed::change(node, *config, change).map(|()| Response::Ok)
        }
    };
    match change {
        Change::Pin { vcpu, cpus } => cpu::pin(node, &guest, vcpu, &cpus),
        Change::Vcpus { count } => cpu::set_count(node, &guest, count),
        Change::Memory { mib } => memory::set_target(node, &guest, mib),
        Change::MaxMemory { mib } => memory::set_maximum(node, &guest, mib),
        Change::Name { name } => name::rename(node, &guest, &name),
        Change::Credit { weight, cap } => share::set(node, &guest, weight, cap),
        Change::Sedf(change) => share::set_sedf(node, &guest, &change),
        Change::Sysrq { key } => signal::sysrq(node, &guest, key),
        Change::Trigger { trigger, vcpu } => signal::trigger(&guest, &trigger, vcpu),
    }?;
    managed::follow(node, &guest);
    Ok(Response::Ok)
}

/// Domain 0 is the host itself, which its own tools control.
fn not_of_the_host(domain: &str, change: &Change) -> Fault {
    let (what, instead) = match change {
        Change::Pin { .. } => ("pin the CPUs of", "they are the host's own"),
        Change::Vcpus { .. } => (
            "set the CPUs of",
            "take host CPUs off by /sys/devices/system/cpu/cpuN/online",
        ),
        Change::Memory { .. } | Change::MaxMemory { .. } => (
            "set the memory of",
            "it has what the guests leave of the host's",
        ),
        Change::Name { .. } => ("rename", "it is this host"),
        Change::Credit { .. } | Change::Sedf(_) => (
            "schedule",
            "use the host's own cgroups, such as systemctl set-property",
        ),
        Change::Sysrq { .. } => ("send a sysrq to", "use /proc/sysrq-trigger"),
        Change::Trigger { .. } => ("trigger", "it is this host"),
    };
    Fault::generic(format!(
        "Cannot {what} privileged domain {domain}: {instead}"
    ))
}

/// A domain that runs or is paused.
fn started(domain: &Arc<Domain>) -> Result<(), Fault> {
    match domain.record().phase {
        Phase::Running => Ok(()),
        _ => Err(Fault::generic(format!(
            "Domain '{}' is not started",
            domain.name()
        ))),
    }
}
