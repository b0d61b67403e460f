//! Taking up what an earlier xend left: domains go on whatever happens to xend.
//!
//! ```text
//!   record of another boot ------------------------------> removed
//!   Building ---------------------------------------------> taken apart (nobody waits for it any more)
//!   Restarting, successor runs --------------------------> removed, successor unpaused
//!   Restarting ------------------------------------------> taken apart, begun again
//!   Running, Preserved, monitor lives -------------------> watched again; what it missed is told by the monitor
//!   Running, Preserved, monitor dead --------------------> taken apart, logged
//!   being upgraded --------------------------------------> ended one way or the other (upgrade.rs), then as above
//!   run directory without a record, monitor lives -------> record made again out of the store
//! ```

use crate::create;
use crate::devices::{self, Site};
use crate::domain::Domain;
use crate::host::MemoryAccount;
use crate::migrate::{self, Came};
use crate::monitor::Monitor;
use crate::node::Node;
use crate::process::Process;
use crate::registry::{Phase, Record};
use crate::store::StoreOp;
use crate::teardown::{remove_run_dir, teardown};
use crate::{error, host, info, restore, store_nodes, upgrade, warning, watch};
use noxen_xend_api::Fault;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Does it all; xend does not listen yet.
pub fn adopt(node: &Arc<Node>) -> Result<(), Fault> {
    let mut records = Vec::new();
    for loaded in node.registry.load().map_err(crate::node::internal)? {
        match loaded {
            Ok(record) if record.boot_id == node.registry.boot_id() => records.push(record),
            Ok(record) => {
                info!(
                    "domain {} (id={}) ended with the last boot",
                    record.name, record.domid
                );
                discard(node, record.domid);
            }
            Err((domid, why)) => {
                error!("the record of domain {domid} cannot be read ({why})");
                match restore::record_of(node, domid) {
                    Some(record) => records.push(record),
                    None => discard(node, domid),
                }
            }
        }
    }
    for domid in stray_run_dirs(node, &records) {
        match restore::record_of(node, domid) {
            Some(record) => records.push(record),
            None => remove_run_dir(node, domid),
        }
    }
    for record in &records {
        node.registry.pass_over(record.domid);
    }
    let mut unfinished = Vec::new();
    for record in &records {
        if let Some(domain) = take_up(node, record, &records) {
            unfinished.push(domain);
        }
    }
    for domain in unfinished {
        // What goes wrong is in the log.
        let _ = watch::restart(node, &domain, &mut domain.enter(), true);
    }
    for domain in node.domains() {
        if let Some(successor) = domain.record().successor {
            if node.find(&successor.name).is_err() {
                watch::succeed(node, &domain, &successor);
            }
        }
    }
    reconcile_store(node);
    Ok(())
}

fn discard(node: &Node, domid: u32) {
    remove_run_dir(node, domid);
    if let Err(e) = node.registry.remove(domid) {
        error!("domain {domid}: {e}");
    }
}

fn stray_run_dirs(node: &Node, records: &[Record]) -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir(node.options.paths.domains_run_dir()) else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok()?.parse().ok())
        .filter(|domid| !records.iter().any(|r| r.domid == *domid))
        .collect()
}

/// Deals with one record; returns a domain whose restart is to be finished.
fn take_up(node: &Arc<Node>, record: &Record, all: &[Record]) -> Option<Arc<Domain>> {
    let domid = record.domid;
    let socket = node.options.paths.control_socket(domid);
    let domain = Arc::new(Domain::new(record.clone(), Monitor::new(socket)));
    upgrade::settle(node, &domain);
    let record = &domain.record();
    let process = monitor_of(node, record).filter(|process| !process.ended());
    let alive = process.is_some();
    if let Some(process) = process {
        domain.set_process(Arc::new(process));
    }
    let name = &record.name;
    match record.phase {
        Phase::Building => {
            warning!("domain {name} (id={domid}) was being built when xend ended; taking it apart");
            teardown(node, &domain, &mut domain.enter(), false);
            None
        }
        Phase::Restarting => {
            let successor = all
                .iter()
                .find(|r| r.replaces == Some(domid) && r.phase == Phase::Running);
            match successor {
                Some(successor) => {
                    info!(
                        "domain {name} (id={domid}) has been replaced by id={}",
                        successor.domid
                    );
                    teardown_replaced(node, &domain);
                    let path = node.options.paths.control_socket(successor.domid);
                    if let Err(e) = Monitor::new(path).unpause() {
                        warning!("domain {name} (id={}): {e}", successor.domid);
                    }
                    None
                }
                None => {
                    info!("domain {name} (id={domid}) was being restarted when xend ended");
                    node.insert(domain.clone());
                    Some(domain)
                }
            }
        }
        Phase::Running | Phase::Preserved if alive => {
            info!("domain {name} (id={domid}) taken up again");
            node.insert(domain.clone());
            watch::start(node, &domain);
            devices::adopt(Site {
                node,
                domain: &domain,
            });
            on_its_way(node, &domain, record);
            None
        }
        Phase::Running | Phase::Preserved => {
            error!("domain {name} (id={domid}) died while xend was away: its monitor has ended");
            teardown(node, &domain, &mut domain.enter(), false);
            None
        }
    }
}

/// Ends what a move to or from another host was in the middle of.
fn on_its_way(node: &Arc<Node>, domain: &Arc<Domain>, record: &Record) {
    if let Some(came) = record.came.as_ref().filter(|came| came.due) {
        let settled = Came {
            due: false,
            ..came.clone()
        };
        if let Err(e) = domain.monitor().unpause() {
            warning!("domain {}: {e}", record.domid);
        }
        if let Err(e) = node.save(domain, |r| r.came = Some(settled)) {
            warning!("domain {}: {}", record.domid, e.message);
        }
    }
    if let Some(there) = &record.moving {
        migrate::settle(node, domain, there);
    }
}

/// The monitor's process, as the record says; one that was started just before xend died is not in the record
/// yet and is found by the file that it writes first.
fn monitor_of(node: &Node, record: &Record) -> Option<Process> {
    if let Some((pid, start)) = record.pid.zip(record.pid_start) {
        return Process::adopt(pid, start).ok();
    }
    let pid_file = node.options.paths.pid_file(record.domid);
    let socket = node.options.paths.control_socket(record.domid);
    let deadline = Instant::now() + Duration::from_secs(2);
    loop {
        let found = Process::find(&pid_file, create::SPEC_ARGUMENT);
        // Whoever holds the socket is the monitor, or about to become it.
        if found.is_some() || UnixStream::connect(&socket).is_err() || Instant::now() > deadline {
            return found;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// What is left of a domain whose successor runs; the /vm node is the successor's.
fn teardown_replaced(node: &Node, domain: &Domain) {
    teardown(node, domain, &mut domain.enter(), true);
    node.erase(domain);
}

/// Makes the store say what is: domain 0 is there, domains that run are, others are not. Called at start and
/// whenever the connection to xenstored had to be made anew.
pub fn reconcile_store(node: &Node) {
    if let Err(e) = try_reconcile(node) {
        error!("the store could not be brought up to date: {e}");
    }
}

fn try_reconcile(node: &Node) -> Result<(), crate::store::StoreError> {
    let domains = node.domains();
    let memory_kib = MemoryAccount::of(&domains, Duration::ZERO).domain_0_mib() * 1024;
    node.store
        .apply(&store_nodes::domain_0(host::cpus(), memory_kib))?;
    for domid in node.store.directory("/local/domain")? {
        let Ok(domid) = domid.parse::<u32>() else {
            continue;
        };
        // A domain made since the list was taken is in the table before it is in the store.
        if domid != 0 && node.by_id(domid).is_none() {
            info!("domain {domid} is gone, removing its store nodes");
            let vm = node
                .store
                .read(&format!("{}/vm", store_nodes::home(domid)))?;
            let mut ops = vec![StoreOp::Remove(store_nodes::home(domid))];
            let in_use = |vm: &String| node.domains().iter().any(|d| d.record().vm_path == *vm);
            if let Some(vm) = vm.filter(|vm| vm.starts_with("/vm/") && !in_use(vm)) {
                ops.push(StoreOp::Remove(vm));
            }
            node.store.forget(domid, &ops)?;
        }
    }
    for domain in domains {
        let record = domain.record();
        if record.phase == Phase::Building || domain.is_dying() {
            continue;
        }
        if let (Some(status), true) = domain.status() {
            refresh(node, &domain, &record, &status)?;
        }
    }
    Ok(())
}

/// Writes a running domain's nodes again where the store has lost them.
fn refresh(
    node: &Node,
    domain: &Domain,
    record: &Record,
    status: &noxen_control::Status,
) -> Result<(), crate::store::StoreError> {
    let home = store_nodes::home(record.domid);
    if node.store.read(&format!("{home}/domid"))?.is_none() {
        match crate::validate::check(&record.config, host::cpus()) {
            Ok(plan) => {
                let mut ops = store_nodes::before_build(record, &plan);
                let limit_kib = node.settings().int("console-limit");
                ops.push(store_nodes::console_limit(record.domid, limit_kib));
                node.store.apply(&ops)?;
            }
            Err(e) => warning!("domain {}: {}", record.domid, e.message),
        }
    }
    if !node.store.is_introduced(record.domid)? {
        if let Err(e) = create::connect(node, domain, status) {
            warning!("domain {}: {}", record.domid, e.message);
        }
    }
    Ok(())
}
