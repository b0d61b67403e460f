//! `rename`.

use crate::domain::Domain;
use crate::node::{internal, Node};
use crate::store::StoreOp;
use crate::{info, resources, store_nodes, warning};
use noxen_xend_api::Fault;
use std::sync::Arc;

/// Calls the domain `name` from now on.
pub fn rename(node: &Node, domain: &Arc<Domain>, name: &str) -> Result<(), Fault> {
    crate::validate::check_name(name)?;
    let old = domain.name();
    if old == name {
        return Ok(());
    }
    let record = node.take_name(domain, name)?;
    let home = store_nodes::home(record.domid);
    node.store
        .apply(&[
            StoreOp::Write(format!("{home}/name"), name.to_owned()),
            StoreOp::Write(format!("{}/name", record.vm_path), name.to_owned()),
        ])
        .map_err(internal)?;
    // noxen-vmm has the file open, and goes on writing to it wherever it is.
    if let Err(e) = resources::move_log(&node.options, &old, name) {
        warning!("the log of domain {name} keeps the name {old}.log: {e}");
    }
    info!("domain {old} (id={}) is now called {name}", record.domid);
    Ok(())
}
