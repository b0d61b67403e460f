//! `vcpu-pin` and `vcpu-set`.

use super::started;
use crate::domain::Domain;
use crate::node::{internal, Node};
use crate::requests::refused;
use crate::store::StoreOp;
use crate::{cpuset, host, info, pinning, store_nodes};
use noxen_xend_api::info::ranges;
use noxen_xend_api::{Cpus, Fault};
use std::sync::Arc;

/// Lets `vcpu`, or each one, run on the host CPUs of `text`.
pub fn pin(node: &Node, domain: &Arc<Domain>, vcpu: Option<u32>, text: &str) -> Result<(), Fault> {
    let record = domain.record();
    let host_cpus = host::cpus();
    let vcpus = u32::try_from(record.config.vcpus).unwrap_or(0);
    let failed = |why: String| {
        let which = vcpu.map_or("all".into(), |vcpu| vcpu.to_string());
        Fault::generic(format!("Cannot pin vcpu: {which} to cpu: {text} - {why}"))
    };
    let set = match text.trim() {
        "all" => None,
        list => Some(cpuset::parse(list, host_cpus).map_err(|e| failed(e.to_string()))?),
    };
    if let Some(vcpu) = vcpu.filter(|vcpu| *vcpu >= vcpus) {
        return Err(failed(format!(
            "there is no VCPU {vcpu}; the domain has VCPUs 0 to {}",
            vcpus.saturating_sub(1)
        )));
    }
    let chosen = vcpu.map_or(0..vcpus, |vcpu| vcpu..vcpu + 1);
    started(domain)?;
    let pid = record
        .pid
        .ok_or_else(|| failed("its monitor is not known".into()))?;
    let all: Vec<u32> = (0..host_cpus).collect();
    let cpus = set.as_deref().unwrap_or(&all);
    pinning::set(pid, chosen.clone(), cpus).map_err(|e| failed(e.to_string()))?;
    // When the monitor is asked it counts the processors that its threads may run on. If it does not answer now, it will
    // with the next listing.
    let _ = domain.status();

    let mut texts = match &record.config.cpus {
        Cpus::PerVcpu(texts) => texts.clone(),
        Cpus::All(text) => vec![text.clone(); vcpus as usize],
        Cpus::Any => match record.config.cpu {
            Some(cpu) if cpu >= 0 => vec![cpu.to_string()],
            _ => Vec::new(),
        },
    };
    texts.resize(vcpus as usize, String::new());
    for vcpu in chosen {
        texts[vcpu as usize] = set.as_deref().map(ranges).unwrap_or_default();
    }
    node.save(domain, |r| r.config.cpus = Cpus::PerVcpu(texts))?;
    Ok(())
}

/// Asks the guest to have its first `count` vCPUs online and the others not.
pub fn set_count(node: &Node, domain: &Arc<Domain>, count: i64) -> Result<(), Fault> {
    if count <= 0 {
        return Err(Fault::generic("Zero or less VCPUs is invalid"));
    }
    let record = domain.record();
    if count > record.config.vcpus {
        return Err(Fault::generic(
            "Cannot set vcpus greater than max vcpus on running domain",
        ));
    }
    started(domain)?;
    let vcpus = u32::try_from(record.config.vcpus).unwrap_or(1);
    let avail = u64::MAX >> (64 - count);
    if record.config.is_hvm() {
        domain.monitor().set_vcpus(avail).map_err(refused)?;
    }
    let mut ops = store_nodes::availability(record.domid, vcpus, avail);
    ops.push(StoreOp::Write(
        format!("{}/vcpu_avail", record.vm_path),
        avail.to_string(),
    ));
    node.store.apply(&ops).map_err(internal)?;
    info!(
        "domain {} (id={}) is asked to use {count} of its {vcpus} vCPUs",
        record.name, record.domid
    );
    node.save(domain, |r| r.config.vcpu_avail = Some(avail))?;
    Ok(())
}
