//! `mem-set` and `mem-max`.
//!
//! ```text
//!   mem-set: memory/target --watch--> the guest's balloon driver --decrease/populate--> monitor
//!   mem-max: the monitor's ceiling, memory/static-max
//! ```

use super::started;
use crate::domain::Domain;
use crate::node::{internal, Node};
use crate::store::StoreOp;
use crate::{info, store_nodes};
use noxen_xend_api::Fault;
use std::sync::Arc;

/// Asks the guest to have `mib` of memory.
pub fn set_target(node: &Node, domain: &Arc<Domain>, mib: i64) -> Result<(), Fault> {
    let record = domain.record();
    let maximum = record.config.maxmem_mib();
    if mib <= 0 {
        return Err(Fault::generic(format!(
            "Invalid memory size {mib}: give at least 1 MiB"
        )));
    }
    if mib > maximum {
        return Err(Fault::generic(format!(
            "Domain '{}' may have at most {maximum} MiB (its maxmem); raise that by mem-max first",
            record.name
        )));
    }
    started(domain)?;
    node.promise_memory(domain, mib)?;
    let home = store_nodes::home(record.domid);
    node.store
        .apply(&[
            StoreOp::Write(format!("{home}/memory/target"), (mib * 1024).to_string()),
            StoreOp::Write(format!("{}/memory", record.vm_path), mib.to_string()),
        ])
        .map_err(internal)?;
    info!(
        "domain {} (id={}) is asked to have {mib} MiB",
        record.name, record.domid
    );
    Ok(())
}

/// Bounds the memory that the guest may have.
pub fn set_maximum(node: &Node, domain: &Arc<Domain>, mib: i64) -> Result<(), Fault> {
    let record = domain.record();
    if mib < record.config.memory {
        return Err(Fault::generic(format!(
            "Domain '{}' is to have {} MiB, more than a maximum of {mib} MiB; lower that by mem-set first",
            record.name, record.config.memory
        )));
    }
    started(domain)?;
    let kib = mib.unsigned_abs().saturating_mul(1024);
    domain
        .monitor()
        .set_max_memory(kib)
        .map_err(crate::requests::refused)?;
    let home = store_nodes::home(record.domid);
    node.store
        .apply(&[
            StoreOp::Write(format!("{home}/memory/static-max"), kib.to_string()),
            StoreOp::Write(format!("{}/maxmem", record.vm_path), mib.to_string()),
        ])
        .map_err(internal)?;
    node.save(domain, |r| r.config.maxmem = Some(mib))?;
    Ok(())
}
