//! What xend looks after by itself, once a second.
//!
//! ```text
//!   xenstored gone -> start it, connect, reconcile
//!   a guest asked to shut down 300 s ago that still runs -> log line, xend/unresponsive
//! ```

use crate::adopt;
use crate::node::Node;
use crate::registry::Phase;
use crate::store::StoreOp;
use crate::{clock, error, store_nodes, warning};
use std::sync::Arc;
use std::time::Duration;

const TICK: Duration = Duration::from_secs(1);
/// Seconds a guest has to shut down before it is called unresponsive.
const SHUTDOWN_TIMEOUT_S: f64 = 300.0;

/// Runs for ever.
pub fn run(node: &Arc<Node>) {
    let mut complained = false;
    loop {
        std::thread::sleep(TICK);
        match node.store.check() {
            Ok(anew) => {
                complained = false;
                if anew {
                    adopt::reconcile_store(node);
                }
            }
            Err(e) if !complained => {
                complained = true;
                error!("{e}");
            }
            Err(_) => {}
        }
        note_unresponsive(node, clock::now());
    }
}

fn note_unresponsive(node: &Node, now: f64) {
    for domain in node.domains() {
        let due = domain.look(|record| {
            let asked = record.shutdown_asked;
            record.phase == Phase::Running
                && asked.is_some_and(|asked| now - asked > SHUTDOWN_TIMEOUT_S)
        });
        if !due {
            continue;
        }
        let record = domain.record();
        warning!(
            "Domain shutdown timeout expired: name={} id={}",
            record.name,
            record.domid
        );
        let path = format!("{}/xend/unresponsive", store_nodes::home(record.domid));
        if let Err(e) = node.store.apply(&[StoreOp::Write(path, "True".into())]) {
            warning!("domain {}: {e}", record.domid);
        }
        if let Err(e) = node.save(&domain, |r| r.shutdown_asked = None) {
            error!("domain {}: {}", record.domid, e.message);
        }
    }
}
