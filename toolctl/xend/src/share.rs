//! `sched-credit`: a domain's weight and cap, as configured and as given to the host's scheduler.

use crate::cgroup::Groups;
use crate::domain::Domain;
use crate::node::{Node, Target};
use crate::{cgroup, info, warning};
use noxen_xend_api::{DomainConfig, Fault, Share};
use std::sync::Arc;

/// Weight and cap that `config` asks for.
pub fn configured(config: &DomainConfig) -> (i64, i64) {
    (
        config.cpu_weight.unwrap_or(cgroup::DEFAULT_WEIGHT),
        config.cpu_cap.unwrap_or(0),
    )
}

/// Puts the monitor `pid` of a new domain into its group with its share. Only a share that was asked for must be had.
pub fn at_build(node: &Node, domid: u32, pid: u32, config: &DomainConfig) -> Result<(), Fault> {
    let (weight, cap) = configured(config);
    if node.options.scopes.is_some() {
        return Ok(()); // Its scope was made with them.
    }
    let groups = Groups::of(&node.options.paths);
    let done = groups
        .enter(domid, pid)
        .and_then(|()| groups.set(domid, weight, cap));
    match done {
        Ok(()) => Ok(()),
        Err(e) if (weight, cap) == (cgroup::DEFAULT_WEIGHT, 0) => {
            info!("domain {domid} runs without a CPU share of its own: {e}");
            Ok(())
        }
        Err(e) => Err(Fault::generic(format!(
            "cpu_weight = {weight}, cpu_cap = {cap} cannot be had: {e}"
        ))),
    }
}

/// Sets what is given of weight and cap.
pub fn set(
    node: &Node,
    domain: &Arc<Domain>,
    weight: Option<i64>,
    cap: Option<i64>,
) -> Result<(), Fault> {
    let record = domain.record();
    let mut config = record.config.clone();
    config.cpu_weight = weight.or(config.cpu_weight);
    config.cpu_cap = cap.or(config.cpu_cap);
    check(&config)?;
    let (weight, cap) = configured(&config);
    if let Some(scopes) = &node.options.scopes {
        scopes
            .set(record.domid, weight, cap)
            .map_err(|e| Fault::generic(format!("The CPU share cannot be set: {e}")))?;
    } else if let Some(pid) = record.pid {
        // A domain from before the host had cgroup2 has no group yet.
        let groups = Groups::of(&node.options.paths);
        groups
            .set(record.domid, weight, cap)
            .or_else(|_| {
                groups.enter(record.domid, pid)?;
                groups.set(record.domid, weight, cap)
            })
            .map_err(|e| Fault::generic(format!("The CPU share cannot be set: {e}")))?;
    } else {
        warning!("domain {} has no monitor to schedule", record.domid);
    }
    node.save(domain, |r| {
        r.config.cpu_weight = config.cpu_weight;
        r.config.cpu_cap = config.cpu_cap;
    })?;
    Ok(())
}

/// Are weight and cap in range?
pub fn check(config: &DomainConfig) -> Result<(), Fault> {
    let (weight, cap) = configured(config);
    if !(1..=65535).contains(&weight) {
        return Err(Fault::generic("weight is out of range"));
    }
    if !(0..=config.vcpus.max(1) * 100).contains(&cap) {
        return Err(Fault::generic("cap is out of range"));
    }
    Ok(())
}

/// Shares of what `targets` name.
pub fn list(targets: &[Target]) -> Vec<Share> {
    targets
        .iter()
        .map(|target| match target {
            Target::Host => Share {
                name: crate::store_nodes::DOMAIN_0_NAME.into(),
                domid: Some(0),
                weight: cgroup::DEFAULT_WEIGHT,
                cap: 0,
            },
            Target::Managed(config) => {
                let (weight, cap) = configured(config);
                Share {
                    name: config.name.clone(),
                    domid: None,
                    weight,
                    cap,
                }
            }
            Target::Guest(domain) => {
                let record = domain.record();
                let (weight, cap) = configured(&record.config);
                Share {
                    name: record.name,
                    domid: Some(record.domid),
                    weight,
                    cap,
                }
            }
        })
        .collect()
}
