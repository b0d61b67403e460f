//! Counters per operation: what was counted between two stops of the guest, less what a stop itself costs.

use crate::contender::Counters;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The group of the threads' CPU times, ns.
pub const CPU_TIME: &str = "cpu-ns";

/// All counters at one moment, `group/kind` to count.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts(BTreeMap<String, u64>);

impl Counts {
    /// KVM's counters and our monitor's.
    pub fn new(kvm: &BTreeMap<String, u64>, monitor: &Counters) -> Counts {
        let mut all = BTreeMap::new();
        for (kind, count) in kvm {
            all.insert(format!("kvm/{kind}"), *count);
        }
        for (group, kinds) in monitor {
            // noxen-vmm's group "kvm" is what KVM says anyway.
            for (kind, count) in kinds.iter().filter(|_| group != "kvm") {
                all.insert(format!("{group}/{kind}"), *count);
            }
        }
        Counts(all)
    }

    /// What came since `earlier`.
    pub fn since(&self, earlier: &Counts) -> Counts {
        self.minus(earlier)
    }

    /// These without those; nothing goes below 0.
    pub fn minus(&self, other: &Counts) -> Counts {
        let left = self.0.iter().map(|(name, count)| {
            let other = other.0.get(name).copied().unwrap_or(0);
            (name.clone(), count.saturating_sub(other))
        });
        Counts(left.filter(|(_, count)| *count != 0).collect())
    }

    /// Divided by a number of operations.
    pub fn per(&self, operations: u64) -> PerOperation {
        let share = |count: &u64| *count as f64 / operations.max(1) as f64;
        let all = self.0.iter();
        PerOperation(
            all.map(|(name, count)| (name.clone(), share(count)))
                .collect(),
        )
    }
}

/// Counters of one operation.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PerOperation(BTreeMap<String, f64>);

impl PerOperation {
    /// Exits to KVM, of any kind.
    pub fn exits(&self) -> f64 {
        self.get("kvm/exits")
    }

    /// Entries into the monitor: hypercalls (a list of them is one), exceptions, system calls, interrupts.
    pub fn entries(&self) -> f64 {
        let groups = ["hypercall/", "trap/", "emulated/"];
        let others = [
            "syscall",
            "pf-user-bit",
            "pf-promote",
            "pf-spurious",
            "doorbell",
        ];
        let counted = self.0.iter().filter(|(name, _)| {
            groups.iter().any(|group| name.starts_with(group))
                || others
                    .iter()
                    .any(|other| **name == format!("other/{other}"))
        });
        let sum: f64 = counted.map(|(_, count)| count).sum();
        sum - self.get("other/batched")
    }

    fn get(&self, name: &str) -> f64 {
        self.0.get(name).copied().unwrap_or(0.0)
    }

    /// The monitor's counters that come to at least a twentieth an operation, largest first: `syscall 1, iret 1`.
    pub fn kinds(&self) -> String {
        let mut kinds: Vec<(&str, f64)> = self
            .0
            .iter()
            .filter(|(name, count)| !["kvm", CPU_TIME].contains(&group(name)) && **count >= 0.05)
            .map(|(name, count)| (name.as_str(), *count))
            .collect();
        kinds.sort_by(|a, b| b.1.total_cmp(&a.1));
        let shown = kinds.iter().map(|(name, count)| {
            let name = name.strip_prefix("hypercall/").unwrap_or(name);
            format!("{} {}", name.replace('/', " "), short(*count))
        });
        shown.collect::<Vec<_>>().join(", ")
    }

    /// Where the monitor's process spent its CPU time, ns by thread, from a tenth of a microsecond: `vcpu0 8100, vif0-q0 2200`.
    pub fn cpu_times(&self) -> String {
        let threads = self.0.iter().filter(|(name, _)| group(name) == CPU_TIME);
        let mut threads: Vec<(&str, f64)> = threads
            .filter_map(|(name, ns)| Some((name.split_once('/')?.1, *ns)))
            .filter(|(_, ns)| *ns >= 100.0)
            .collect();
        threads.sort_by(|a, b| b.1.total_cmp(&a.1));
        let shown = threads.iter().map(|(name, ns)| format!("{name} {ns:.0}"));
        shown.collect::<Vec<_>>().join(", ")
    }
}

fn group(name: &str) -> &str {
    name.split_once('/').map_or(name, |(group, _)| group)
}

/// A count an operation: whole numbers without decimals.
pub fn short(count: f64) -> String {
    if count > 0.0 && count < 0.1 {
        format!("{count:.3}")
    } else if (count - count.round()).abs() < 0.02 || count >= 100.0 {
        format!("{count:.0}")
    } else {
        format!("{count:.1}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(list: &[(&str, &str, u64)], exits: u64) -> Counts {
        let mut monitor = Counters::new();
        for (group, kind, count) in list {
            let kinds = monitor.entry((*group).to_owned()).or_default();
            kinds.insert((*kind).to_owned(), *count);
        }
        Counts::new(&BTreeMap::from([("exits".to_owned(), exits)]), &monitor)
    }

    #[test]
    fn stop_is_taken_off_and_the_rest_divided() {
        let stop = counts(&[("hypercall", "sched_op", 4)], 10);
        let work = counts(
            &[
                ("hypercall", "sched_op", 4),
                ("hypercall", "iret", 100),
                ("other", "syscall", 100),
            ],
            60,
        );
        let each = work.minus(&stop).per(100);
        assert!((each.exits() - 0.5).abs() < 1e-9);
        assert!((each.entries() - 2.0).abs() < 1e-9, "{each:?}");
        assert_eq!(each.kinds(), "iret 1, other syscall 1");
        assert_eq!(each.cpu_times(), "");
    }

    #[test]
    fn cpu_times_stand_apart_from_what_is_counted() {
        let work = counts(
            &[
                ("hypercall", "iret", 10),
                (CPU_TIME, "vcpu0", 20_000),
                (CPU_TIME, "vif0-q0", 81_000),
                (CPU_TIME, "control", 900),
            ],
            0,
        );
        let each = work.per(10);
        assert_eq!(each.kinds(), "iret 1");
        assert_eq!(each.cpu_times(), "vif0-q0 8100, vcpu0 2000");
    }

    #[test]
    fn calls_in_a_list_are_one_entry() {
        let work = counts(
            &[
                ("hypercall", "multicall", 10),
                ("hypercall", "mmu_update", 30),
                ("other", "batched", 30),
            ],
            0,
        );
        assert!((work.per(10).entries() - 1.0).abs() < 1e-9);
    }

    #[test]
    fn numbers_are_as_short_as_they_are_exact() {
        assert_eq!(short(2.004), "2");
        assert_eq!(short(0.25), "0.2");
        assert_eq!(short(0.012), "0.012");
        assert_eq!(short(345.6), "346");
    }
}
