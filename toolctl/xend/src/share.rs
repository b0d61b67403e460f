//! `sched-credit`: a domain's weight and cap, as configured and as given to the host's scheduler.

use crate::cgroup::Groups;
use crate::domain::Domain;
use crate::node::{Node, Target};
use crate::{cgroup, info, warning};
use noxen_xend_api::{DomainConfig, Fault, Sedf, SedfChange, Share};
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
    if node.options.units.is_some() {
        return Ok(()); // Its unit was started with them.
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
    if let (Some(units), Some(pid)) = (&node.options.units, record.pid) {
        units
            .set(record.domid, pid, (weight, cap))
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

/// Sets what is given of period, slice and so on.
pub fn set_sedf(node: &Node, domain: &Arc<Domain>, change: &SedfChange) -> Result<(), Fault> {
    let record = domain.record();
    let sedf = changed(record.sedf.unwrap_or_default(), change)?;
    let cannot = |why: String| Fault::generic(format!("The CPU share cannot be set: {why}"));
    match node.options.units.as_ref().zip(record.pid) {
        // systemd chooses the period; the ratio is kept.
        Some((units, pid)) => {
            let cap = match sedf.extra {
                true => 0,
                false => (sedf.slice_ms * 100.0 / sedf.period_ms).ceil() as i64,
            };
            let (weight, _) = configured(&record.config);
            let weight = if sedf.weight == 0 {
                weight
            } else {
                sedf.weight
            };
            units
                .set(record.domid, pid, (weight, cap))
                .map_err(|e| cannot(e.to_string()))?;
        }
        None => Groups::of(&node.options.paths)
            .set_sedf(record.domid, &sedf)
            .map_err(|e| cannot(e.to_string()))?,
    }
    node.save(domain, |r| r.sedf = Some(sedf))?;
    Ok(())
}

/// `sedf` with `change`, if Linux's scheduler can do that.
fn changed(sedf: Sedf, change: &SedfChange) -> Result<Sedf, Fault> {
    let sedf = Sedf {
        period_ms: change.period_ms.unwrap_or(sedf.period_ms),
        slice_ms: change.slice_ms.unwrap_or(sedf.slice_ms),
        latency_ms: change.latency_ms.unwrap_or(sedf.latency_ms),
        extra: change.extra.unwrap_or(sedf.extra),
        weight: change.weight.unwrap_or(sedf.weight),
    };
    let wrong = if !(1.0..=1000.0).contains(&sedf.period_ms) {
        "the period must be from 1 to 1000 ms"
    } else if !sedf.slice_ms.is_finite() || sedf.slice_ms < 0.0 {
        "the slice must be 0 ms or more"
    } else if !sedf.extra && sedf.slice_ms < 1.0 {
        "a domain without extra time needs a slice of 1 ms or more"
    } else if !(0.0..=1e6).contains(&sedf.latency_ms) {
        "the latency must be 0 ms or more"
    } else if !(0..=65535).contains(&sedf.weight) {
        "the weight must be from 1 to 65535, or 0 for none"
    } else {
        return Ok(sedf);
    };
    // xm printed the hypervisor's -EINVAL.
    Err(Fault::generic(format!(
        "Failed to set sedf parameters (rv=-22): {wrong}."
    )))
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
                sedf: Sedf::default(),
            },
            Target::Managed(config) => {
                let (weight, cap) = configured(config);
                Share {
                    name: config.name.clone(),
                    domid: None,
                    weight,
                    cap,
                    sedf: Sedf::default(),
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
                    sedf: record.sedf.unwrap_or_default(),
                }
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sedf_keeps_what_is_not_given_and_refuses_what_no_scheduler_does() {
        let first = SedfChange {
            period_ms: Some(20.0),
            slice_ms: Some(5.0),
            extra: Some(false),
            ..SedfChange::default()
        };
        let sedf = changed(Sedf::default(), &first).unwrap();
        assert_eq!(
            (sedf.period_ms, sedf.slice_ms, sedf.extra),
            (20.0, 5.0, false)
        );
        let second = SedfChange {
            weight: Some(2),
            ..SedfChange::default()
        };
        let sedf = changed(sedf, &second).unwrap();
        assert_eq!((sedf.period_ms, sedf.weight), (20.0, 2));
        for wrong in [
            SedfChange {
                period_ms: Some(0.5),
                ..SedfChange::default()
            },
            SedfChange {
                slice_ms: Some(0.0),
                ..SedfChange::default()
            },
            SedfChange {
                slice_ms: Some(f64::NAN),
                ..SedfChange::default()
            },
            SedfChange {
                weight: Some(-1),
                ..SedfChange::default()
            },
        ] {
            let text = changed(sedf, &wrong).unwrap_err().message;
            assert!(
                text.starts_with("Failed to set sedf parameters (rv=-22): "),
                "{text}"
            );
        }
    }
}
