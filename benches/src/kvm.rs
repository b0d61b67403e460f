//! What KVM counts of a VM anyway: reading it costs the guest nothing, unlike tracing.
//!
//! ```text
//!   /sys/kernel/debug/kvm/PID-FD/{exits,io_exits,halt_exits,...}    PID: the process that made the VM
//! ```
//! Source: Linux, Documentation/virt/kvm/api.rst, KVM_GET_STATS_FD; debugfs shows the same counters.

use anyhow::{bail, Context, Result};
use rustix::mount::{mount, MountFlags};
use std::collections::BTreeMap;
use std::path::Path;

/// The counter of all exits.
pub const EXITS: &str = "exits";

/// Every counter of the VMs of process `pid` that is not 0, summed over them.
pub fn counters(pid: u32) -> Result<BTreeMap<String, u64>> {
    let debugfs = Path::new("/sys/kernel/debug");
    let all = debugfs.join("kvm");
    if !all.exists() {
        mount("debugfs", debugfs, "debugfs", MountFlags::empty(), None)
            .context("cannot mount debugfs")?;
    }
    let mut sums = BTreeMap::new();
    let mut vms = 0;
    for entry in std::fs::read_dir(&all).with_context(|| all.display().to_string())? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.split('-').next() != Some(&pid.to_string()) {
            continue;
        }
        vms += 1;
        for counter in std::fs::read_dir(entry.path())? {
            let counter = counter?;
            // Directories of vCPUs and files that are no plain number are passed over.
            let value = std::fs::read_to_string(counter.path())
                .ok()
                .and_then(|text| text.trim().parse::<u64>().ok());
            if let Some(value) = value.filter(|value| *value != 0) {
                let name = counter.file_name().to_string_lossy().into_owned();
                *sums.entry(name).or_insert(0) += value;
            }
        }
    }
    if vms == 0 {
        bail!("KVM keeps no counters for process {pid}: has its guest ended?");
    }
    Ok(sums)
}
