//! `debug-keys`: what a key of a hypervisor's console would print, written to where `dmesg` reads.
//!
//! Xen has some thirty keys, most of them about its own insides. These are the ones that mean something here.

use crate::domain::Domain;
use crate::host::MemoryAccount;
use crate::node::Node;
use crate::{clock, host, listing};
use noxen_xend_api::Fault;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

/// The keys, with what Xen calls them.
const KEYS: &[(char, &str, Print)] = &[
    ('h', "show this message", help),
    ('q', "dump domain (and guest debug) info", domains),
    ('d', "dump registers", registers),
    ('m', "memory info", memory),
    ('t', "display multi-cpu clock info", clocks),
];

type Print = fn(&Node, &mut String);

/// Presses each of `keys`.
pub fn press(node: &Node, keys: &str) -> Result<(), Fault> {
    let wanted: Vec<_> = keys
        .chars()
        .map(|key| {
            let found = KEYS.iter().find(|(k, ..)| *k == key);
            found.ok_or_else(|| {
                let known: String = KEYS.iter().map(|(k, ..)| *k).collect();
                Fault::generic(format!(
                    "Debug key '{}' does nothing here; there are {known} (h prints what they do)",
                    key.escape_default()
                ))
            })
        })
        .collect::<Result<_, _>>()?;
    let mut text = String::new();
    for (key, _, print) in wanted {
        text.push_str(&format!("'{key}' pressed\n"));
        print(node, &mut text);
    }
    let mut dmesg = node.dmesg.lock().unwrap_or_else(PoisonError::into_inner);
    dmesg.say(&text);
    Ok(())
}

fn help(_: &Node, text: &mut String) {
    for (key, what, _) in KEYS {
        text.push_str(&format!(" key '{key}' => {what}\n"));
    }
}

fn sorted(node: &Node) -> Vec<Arc<Domain>> {
    let mut all = node.domains();
    all.sort_by_key(|domain| domain.domid());
    all
}

fn domains(node: &Node, text: &mut String) {
    for domain in sorted(node) {
        let info = listing::guest(&domain);
        text.push_str(&format!(
            "General information for domain {}:\n    name={} uuid={} state={} nr_pages={} max_pages={} cpu_time={}\n",
            domain.domid(),
            info.name,
            info.uuid,
            info.state.letters(),
            info.memory_mib << 8,
            info.maxmem_mib << 8,
            info.cpu_time_ns,
        ));
        for vcpu in listing::guest_vcpus(&domain).vcpus {
            text.push_str(&format!(
                "    VCPU{}: CPU{} {} cpu_time={}\n",
                vcpu.vcpu,
                vcpu.cpu.map_or("-".into(), |cpu| cpu.to_string()),
                vcpu.letters(),
                vcpu.cpu_time_ns,
            ));
        }
    }
}

fn registers(node: &Node, text: &mut String) {
    for domain in sorted(node) {
        text.push_str(&format!("*** Dumping domain {} ***\n", domain.domid()));
        match domain.monitor().registers() {
            Ok(registers) => text.push_str(&registers),
            Err(e) => text.push_str(&format!("{e}\n")),
        }
    }
}

fn memory(node: &Node, text: &mut String) {
    let all = node.domains();
    text.push_str(&format!(
        "Physical memory information:\n    total={} MiB free={} MiB\n",
        host::total_memory_mib(),
        MemoryAccount::of(&all, Duration::ZERO).free_mib()
    ));
}

fn clocks(_: &Node, text: &mut String) {
    text.push_str(&format!(
        "CPUs={} wallclock={:.6} uptime={}s\n",
        host::cpus(),
        clock::now(),
        host::uptime_s()
    ));
}
