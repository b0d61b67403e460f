//! Taking a domain apart. Each step is one that may have been done before, so that a xend which died in the
//! middle, or a domain built by half, is taken apart by the same code.
//!
//! ```text
//!   console text -> monitor ends (asked, then killed) -> devices' scripts -> store released, nodes removed
//!     -> run directory -> record on disk -> table
//! ```

use crate::cgroup::Groups;
use crate::devices::{self, Site};
use crate::domain::{Domain, Life};
use crate::monitor::MonitorError;
use crate::node::Node;
use crate::{debug, error, store_nodes, warning};
use std::io;
use std::sync::PoisonError;
use std::time::Duration;

/// How long an asked monitor may take to end before it is killed.
const END: Duration = Duration::from_secs(5);
/// How long the kernel may take to end a killed one (it has a guest's memory to free).
const KILLED: Duration = Duration::from_secs(30);

/// Removes everything of `domain`; the caller is inside its gate. With `successor`, the /vm node stays and the
/// record on disk and the table entry are left for the successor to replace.
pub fn teardown(node: &Node, domain: &Domain, life: &mut Life, successor: bool) {
    if life.gone {
        return;
    }
    domain.set_dying();
    end_monitor(node, domain);
    devices::domain_gone(Site { node, domain });
    let record = domain.record();
    let domid = record.domid;
    if let Err(e) = node
        .store
        .forget(domid, &store_nodes::gone(&record, successor))
    {
        // The housekeeper removes what is left once the store is there again.
        warning!("domain {domid}: its store nodes could not be removed: {e}");
    }
    remove_run_dir(node, domid);
    Groups::of(&node.options.paths).remove(domid);
    let units = node.options.units.as_ref();
    if let Some(Err(e)) = units.map(|units| units.forget(domid)) {
        warning!("domain {domid}: {e}");
    }
    if !successor {
        node.erase(domain);
        node.forget(domid);
    }
    life.gone = true;
    debug!("domain {} (id={domid}) is gone", record.name);
}

fn end_monitor(node: &Node, domain: &Domain) {
    let Some(process) = domain.process() else {
        return;
    };
    let domid = domain.domid();
    if !process.ended() {
        if let Err(e) = ask_to_end(node, domain) {
            if !process.ended() {
                warning!("domain {domid}: its monitor does not answer ({e}); killing it");
                process.kill();
            }
        } else if !process.wait(END) {
            warning!("domain {domid}: its monitor said that it ends and did not; killing it");
            process.kill();
        }
    }
    if !process.wait(KILLED) {
        error!("domain {domid}: process {} does not die", process.pid());
    }
}

/// Keeps what the guest has said and asks the monitor to end; one that does not answer is asked only once.
fn ask_to_end(node: &Node, domain: &Domain) -> Result<(), MonitorError> {
    let text = domain.monitor().console_log()?;
    let mut dmesg = node.dmesg.lock().unwrap_or_else(PoisonError::into_inner);
    dmesg.retire(domain.domid(), &text);
    drop(dmesg);
    domain.monitor().destroy()
}

/// Removes a domain's run directory with what is in it.
pub fn remove_run_dir(node: &Node, domid: u32) {
    let path = node.options.paths.domain_run_dir(domid);
    match std::fs::remove_dir_all(&path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            error!("domain {domid}: cannot remove {}: {e}", path.display());
        }
        _ => {}
    }
}
