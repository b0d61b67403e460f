//! One thread a domain: waits for what its monitor reports and acts on it.
//!
//! ```text
//!   subscribe --Shutdown--> decide (lifecycle) --> destroy | restart | preserve | rename-restart
//!      |  \--connection lost, process lives--> subscribe again
//!      \--process ended--> teardown: the domain has died
//! ```

use crate::create::{self, Heritage};
use crate::devices::{self, Site};
use crate::domain::{Domain, Life};
use crate::lifecycle::{self, Decision, Then};
use crate::node::Node;
use crate::registry::{Phase, Successor};
use crate::store::StoreOp;
use crate::teardown::teardown;
use crate::wishes::Desk;
use crate::{clock, core_dump, error, info, store_nodes, warning};
use noxen_control::device::DeviceId;
use noxen_control::{Event, ShutdownReason};
use noxen_xend_api::{DomainConfig, Fault};
use std::sync::Arc;
use std::time::Duration;

const STACK: usize = 256 << 10;
/// Pause between attempts to reach a monitor that lives but does not answer.
const RETRY: Duration = Duration::from_secs(1);

/// Starts the watcher of `domain`.
pub fn start(node: &Arc<Node>, domain: &Arc<Domain>) {
    let (node, domain) = (node.clone(), domain.clone());
    let name = format!("watch-{}", domain.domid());
    let thread = std::thread::Builder::new().name(name).stack_size(STACK);
    if let Err(e) = thread.spawn(move || watch(&node, &domain)) {
        error!("no watcher could be started, events of a domain will be missed: {e}");
    }
}

fn watch(node: &Arc<Node>, domain: &Arc<Domain>) {
    let mut complained = false;
    let desk = Desk::default();
    loop {
        match domain.monitor().subscribe() {
            Ok(mut events) => {
                complained = false;
                while let Ok(event) = events.wait() {
                    match event {
                        Event::Shutdown { reason, detail } => {
                            if on_shutdown(node, domain, reason, detail.as_deref()) {
                                return;
                            }
                        }
                        Event::DeviceState {
                            class,
                            devid,
                            state,
                            reason,
                        } => {
                            let id = DeviceId { class, devid };
                            devices::changed(node, domain, id, state, reason.as_deref());
                        }
                        Event::ClockMoved { seconds } => keep_clock(node, domain, seconds),
                        Event::Wished { number, wish } => desk.heed(node, domain, number, wish),
                        Event::VcpuOnline { .. } => {}
                    }
                }
            }
            Err(e) if !complained => {
                complained = true;
                if !domain.is_dying() {
                    warning!(
                        "domain {}: its monitor is not reachable: {e}",
                        domain.domid()
                    );
                }
            }
            Err(_) => {}
        }
        // The connection is gone: either the process is, or it will take a new one.
        let ended = domain.process().is_none_or(|p| p.wait(RETRY));
        if ended && on_death(node, domain) {
            return;
        }
        if domain.enter().gone {
            return;
        }
    }
}

/// The monitor's process has ended. True when the domain is gone, and not in another process since.
fn on_death(node: &Arc<Node>, domain: &Arc<Domain>) -> bool {
    let _busy = node.begin();
    let mut life = domain.enter();
    if life.gone {
        return true;
    }
    if domain.process().is_some_and(|process| !process.ended()) {
        return false;
    }
    let record = domain.record();
    error!(
        "domain {} (id={}) died: its monitor ended without being asked to; see {}",
        record.name,
        record.domid,
        crate::resources::log_path(&node.options, &record.name).display()
    );
    teardown(node, domain, &mut life, false);
    true
}

/// The guest has set its clock by `seconds` since it was built: whatever starts it again begins from there.
fn keep_clock(node: &Node, domain: &Domain, seconds: i64) {
    let saved = node.save(domain, |r| {
        let since = seconds.saturating_sub(r.clock_moved);
        r.config.rtc_timeoffset = r.config.rtc_timeoffset.saturating_add(since);
        r.clock_moved = seconds;
    });
    let stored = saved.and_then(|record| {
        let path = format!("{}/rtc/timeoffset", record.vm_path);
        let value = record.config.rtc_timeoffset.to_string();
        let written = node.store.apply(&[StoreOp::Write(path, value)]);
        written.map_err(|e| Fault::internal(e.to_string()))
    });
    if let Err(e) = stored {
        warning!(
            "domain {}: its clock's offset is not kept: {}",
            domain.domid(),
            e.message
        );
    }
}

/// The guest has stopped. True when the domain is gone.
fn on_shutdown(
    node: &Arc<Node>,
    domain: &Arc<Domain>,
    reason: ShutdownReason,
    detail: Option<&str>,
) -> bool {
    let _busy = node.begin();
    let mut life = domain.enter();
    if life.gone {
        return true;
    }
    let record = domain.record();
    if record.phase == Phase::Preserved {
        return false; // Acted upon before; a new subscriber is told again.
    }
    let (name, domid) = (&record.name, record.domid);
    let word = lifecycle::reason_word(reason);
    match detail {
        Some(detail) => info!("domain {name} (id={domid}) has shut down: {word}: {detail}"),
        None => info!("domain {name} (id={domid}) has shut down: {word}"),
    }
    let elapsed = clock::now() - record.start_time;
    let decision = lifecycle::decide(
        &record.config,
        reason,
        elapsed,
        node.options.restart_guard_s,
    );
    log_decision(name, elapsed, decision);
    note_reason(node, domain, word);
    let asked = node.settings().bool("enable-dump") && reason == ShutdownReason::Crash;
    if decision.dump || asked {
        if let Err(fault) = core_dump::write(node, domain, None, false) {
            error!("domain {name} (id={domid}): {}", fault.message);
        }
    }
    match decision.then {
        Then::Destroy => {
            teardown(node, domain, &mut life, false);
            true
        }
        Then::Restart => {
            // What went wrong is in the log; there is nobody else to tell.
            let _ = restart(node, domain, &mut life, true);
            true
        }
        Then::Preserve => {
            preserve(node, domain, word);
            false
        }
        Then::RenameRestart => {
            rename_restart(node, domain, word);
            false
        }
    }
}

fn log_decision(name: &str, elapsed: f64, decision: Decision) {
    if decision.too_fast {
        error!(
            "VM {name} restarting too fast (Elapsed time: {elapsed:.6} seconds). Refusing to restart to avoid loops."
        );
    }
}

fn note_reason(node: &Node, domain: &Domain, word: &str) {
    let path = format!("{}/xend/last_shutdown_reason", domain.record().vm_path);
    if let Err(e) = node.store.apply(&[StoreOp::Write(path, word.to_owned())]) {
        warning!("domain {}: {e}", domain.domid());
    }
}

fn preserve(node: &Node, domain: &Domain, word: &str) {
    let saved = node.save(domain, |r| {
        r.phase = Phase::Preserved;
        r.shutdown_reason = Some(word.to_owned());
        r.shutdown_asked = None;
    });
    if let Err(e) = saved {
        error!("domain {}: {}", domain.domid(), e.message);
    }
    let path = format!(
        "{}/xend/shutdown_completed",
        store_nodes::home(domain.domid())
    );
    if let Err(e) = node.store.apply(&[StoreOp::Write(path, "True".into())]) {
        warning!("domain {}: {e}", domain.domid());
    }
    info!(
        "domain {} (id={}) is kept until it is destroyed",
        domain.name(),
        domain.domid()
    );
}

/// Replaces a domain by a fresh one of the same configuration, name and UUID. `count`: as a restart.
pub fn restart(
    node: &Arc<Node>,
    domain: &Arc<Domain>,
    life: &mut Life,
    count: bool,
) -> Result<Arc<Domain>, Fault> {
    let record = node.save(domain, |r| r.phase = Phase::Restarting);
    let record = record.unwrap_or_else(|e| {
        error!("domain {}: {}", domain.domid(), e.message);
        domain.record()
    });
    teardown(node, domain, life, true);
    let result = begin_again(
        node,
        fresh_config(&record.config, &record.name, &record.uuid),
        Heritage {
            replaces: Some(record.domid),
            restart_count: record.restart_count + u32::from(count),
        },
    );
    node.forget(record.domid);
    node.erase(domain);
    if result.is_err() {
        let vm = StoreOp::Remove(record.vm_path.clone());
        if let Err(e) = node.store.apply(&[vm]) {
            warning!("domain {}: {e}", record.domid);
        }
    }
    result
}

/// `config` with the name and UUID that the domain has by now.
pub fn fresh_config(config: &DomainConfig, name: &str, uuid: &str) -> DomainConfig {
    DomainConfig {
        name: name.to_owned(),
        uuid: Some(uuid.to_owned()),
        ..config.clone()
    }
}

/// Creates a domain once more and lets it run.
pub fn begin_again(
    node: &Arc<Node>,
    config: DomainConfig,
    heritage: Heritage,
) -> Result<Arc<Domain>, Fault> {
    let name = config.name.clone();
    let created =
        create::create(node, config, heritage).and_then(|fresh| match fresh.monitor().unpause() {
            Ok(()) => Ok(fresh),
            Err(e) => {
                teardown(node, &fresh, &mut fresh.enter(), false);
                Err(Fault::internal(e.to_string()))
            }
        });
    match &created {
        Ok(fresh) => info!("domain {name} restarted (id={})", fresh.domid()),
        Err(fault) => error!("domain {name} could not be restarted: {}", fault.message),
    }
    created
}

/// Keeps the dead one under a new name and UUID and starts a fresh one in its place.
fn rename_restart(node: &Arc<Node>, domain: &Arc<Domain>, word: &str) {
    let old = domain.record();
    let uuid = match create::random_uuid() {
        Ok(uuid) => uuid,
        Err(e) => {
            error!(
                "domain {}: {}; it is kept, not restarted",
                old.domid, e.message
            );
            return preserve(node, domain, word);
        }
    };
    let successor = Successor {
        name: old.name.clone(),
        uuid: old.uuid.clone(),
        restart_count: old.restart_count + 1,
    };
    let renamed = node.save(domain, |r| {
        r.name = format!("Domain-{uuid}");
        r.uuid.clone_from(&uuid);
        r.vm_path = format!("/vm/{uuid}");
        r.successor = Some(successor.clone());
    });
    match renamed {
        Ok(record) => {
            info!(
                "domain {} (id={}) is now {}",
                old.name, old.domid, record.name
            );
            let ops = store_nodes::renamed(&record, &old.vm_path);
            if let Err(e) = node.store.apply(&ops) {
                warning!("domain {}: {e}", old.domid);
            }
        }
        Err(e) => error!("domain {}: {}", old.domid, e.message),
    }
    preserve(node, domain, word);
    // The dead one needs them no more, and its successor may not share them.
    devices::release(Site { node, domain });
    succeed(node, domain, &successor);
}

/// Starts the domain that takes a renamed one's place, and notes that it was done.
pub fn succeed(node: &Arc<Node>, domain: &Domain, successor: &Successor) {
    let config = fresh_config(&domain.record().config, &successor.name, &successor.uuid);
    let heritage = Heritage {
        replaces: None,
        restart_count: successor.restart_count,
    };
    // What went wrong is in the log.
    let _ = begin_again(node, config, heritage);
    if let Err(e) = node.save(domain, |r| r.successor = None) {
        error!("domain {}: {}", domain.domid(), e.message);
    }
}
