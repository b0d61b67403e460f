//! Counters by kind: exits that reached this process (counted here), hypercalls and traps (counted by
//! the monitor on pages that it shares), and KVM's own.

use crate::vstate::exit::{Exit, KINDS};
use crate::vstate::memory::GuestMemory;
use noxen_monitor_abi::counters as page;
use noxen_monitor_abi::layout::PAGE_SIZE;
use noxen_pv_abi::hypercall::Hypercall;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use vm_memory::{Bytes, GuestAddress};

/// Group -> kind -> count.
pub type Groups = BTreeMap<String, BTreeMap<String, u64>>;

/// Exits of one vCPU by kind, plus what came of them.
#[derive(Debug, Default)]
pub struct ExitCounters {
    kinds: [AtomicU64; KINDS.len()],
    stray_notifies: AtomicU64,
}

impl ExitCounters {
    /// Counts `exit`.
    pub fn count(&self, exit: Exit) {
        self.kinds[exit.kind()].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a notification that nobody waits for.
    pub fn count_stray_notify(&self) {
        self.stray_notifies.fetch_add(1, Ordering::Relaxed);
    }

    /// Adds what was counted to `group`.
    pub fn add_to(&self, group: &mut BTreeMap<String, u64>) {
        for (name, counter) in KINDS.iter().zip(&self.kinds) {
            add(group, name, counter.load(Ordering::Relaxed));
        }
        add(
            group,
            "stray-notify",
            self.stray_notifies.load(Ordering::Relaxed),
        );
    }
}

/// Adds the monitor's counter pages of `vcpus` vCPUs at `gpa` to `groups`.
pub fn add_monitor_pages(groups: &mut Groups, memory: &GuestMemory, gpa: u64, vcpus: u32) {
    let mut words = [0u64; page::WORDS];
    for vcpu in 0..u64::from(vcpus) {
        for (index, word) in words.iter_mut().enumerate() {
            let address = GuestAddress(gpa + vcpu * PAGE_SIZE + index as u64 * 8);
            *word = memory.load(address, Ordering::Relaxed).unwrap_or(0);
        }
        add_page(groups, &words);
    }
}

fn add_page(groups: &mut Groups, words: &[u64; page::WORDS]) {
    let mut range = |group: &str, start: usize, end: usize, name: &dyn Fn(usize) -> String| {
        let counted = words[start..end].iter().enumerate();
        for (index, count) in counted.filter(|(_, count)| **count != 0) {
            let kinds = groups.entry(group.into()).or_default();
            add(kinds, &name(index), *count);
        }
    };
    let hypercall = |number: usize| match Hypercall(number as u32).name() {
        Some(name) => name.trim_start_matches("__HYPERVISOR_").to_string(),
        None => format!("{number}"),
    };
    let named = |names: &'static [&'static str]| {
        move |index: usize| match names.get(index) {
            Some(name) => name.to_string(),
            None => format!("{index}"),
        }
    };
    range("hypercall", page::HYPERCALL, page::REFUSED, &hypercall);
    range("refused", page::REFUSED, page::TRAP, &hypercall);
    range("trap", page::TRAP, page::EMULATED, &|n| n.to_string());
    range(
        "emulated",
        page::EMULATED,
        page::OTHER,
        &named(page::EMULATED_NAMES),
    );
    range(
        "other",
        page::OTHER,
        page::OTHER + 32,
        &named(page::OTHER_NAMES),
    );
}

/// Adds `count` to `kind`, if there is anything to add.
pub fn add(group: &mut BTreeMap<String, u64>, kind: &str, count: u64) {
    if count != 0 {
        let total = group.entry(kind.into()).or_default();
        *total = total.wrapping_add(count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exits_are_counted_by_kind() {
        let counters = ExitCounters::default();
        counters.count(Exit::Shutdown);
        counters.count(Exit::Interrupted);
        counters.count(Exit::Interrupted);
        counters.count_stray_notify();
        let mut group = BTreeMap::new();
        counters.add_to(&mut group);
        let expected = [("interrupted", 2), ("shutdown", 1), ("stray-notify", 1)];
        let expected: BTreeMap<String, u64> =
            expected.iter().map(|(k, v)| (k.to_string(), *v)).collect();
        assert_eq!(group, expected);
    }

    #[test]
    fn monitor_pages_are_summed_over_vcpus_under_xen_names() {
        let memory = GuestMemory::from_ranges(&[(GuestAddress(0), 0x4000)]).unwrap();
        let set = |vcpu: u64, word: usize, value: u64| {
            let address = GuestAddress(0x1000 + vcpu * PAGE_SIZE + word as u64 * 8);
            memory.write_obj(value, address).unwrap();
        };
        set(0, page::HYPERCALL + 1, 5);
        set(1, page::HYPERCALL + 1, 7);
        set(1, page::TRAP + 14, 3);
        set(0, page::EMULATED, 2);
        set(0, page::OTHER + page::other::UPCALL, 9);
        let mut groups = Groups::new();
        add_monitor_pages(&mut groups, &memory, 0x1000, 2);
        assert_eq!(groups["hypercall"]["mmu_update"], 12);
        assert_eq!(groups["trap"]["14"], 3);
        assert_eq!(groups["emulated"]["cpuid"], 2);
        assert_eq!(groups["other"]["upcall"], 9);
    }
}
