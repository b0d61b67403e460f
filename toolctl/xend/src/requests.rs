//! Each request of toolctl, done.

use crate::core_dump::{self, After};
use crate::create::{self, Heritage};
use crate::devices::requests as devices;
use crate::devices::Site;
use crate::domain::Domain;
use crate::monitor::MonitorError;
use crate::node::{internal, Node, Target};
use crate::registry::Phase;
use crate::store::StoreOp;
use crate::{
    change, clock, debug_keys, host, info, listing, managed, migrate, saved, share, store_nodes,
    teardown, under_way, upgrade, watch,
};
use noxen_control::message::CaseButton;
use noxen_xend_api::{Fault, Request, Response, ShutdownKind, StateFilter};
use std::path::Path;
use std::sync::{Arc, PoisonError};

/// Does `request`.
pub fn handle(node: &Arc<Node>, request: Request) -> Result<Response, Fault> {
    match request {
        Request::Ping => Ok(Response::Ok),
        Request::Create { config } => {
            let _busy = node.begin();
            let domain = create::create(node, *config, Heritage::default())?;
            Ok(one(&domain))
        }
        Request::New { config } => managed::add(node, *config),
        Request::Config { domain } => managed::config(node, &domain),
        Request::Configure { config } => managed::configure(node, *config),
        Request::Start { domain } => managed::start(node, &domain).map(|domain| one(&domain)),
        Request::Delete { domain } => managed::delete(node, &domain),
        Request::WaitForDevices { domain } => {
            // Whoever built it has waited for them already; a domain that is there has its devices.
            node.find(&domain).map(|_| Response::Ok)
        }
        Request::List { domains, state } => Ok(Response::Domains {
            domains: selected(node, &domains)?
                .iter()
                .map(|target| info_of(node, target))
                .filter(|info| state.takes(info))
                .collect(),
        }),
        Request::Domain { domain } => Ok(Response::Domain {
            domain: Box::new(info_of(node, &node.find(&domain)?)),
        }),
        Request::Sxp { domains, state } => sxp(node, &domains, state),
        Request::Pause { domain } => {
            let domain = node.find_guest(&domain, "pause")?;
            running(&domain)?.monitor().pause().map_err(refused)?;
            domain.note_paused(true);
            Ok(Response::Ok)
        }
        Request::Unpause { domain } => {
            let domain = node.find_guest(&domain, "unpause")?;
            running(&domain)?.monitor().unpause().map_err(refused)?;
            if domain.look(|record| record.moving.is_some()) {
                // Whoever lets it run knows that it does not run elsewhere.
                node.save(&domain, |record| record.moving = None)?;
            }
            domain.note_paused(false);
            Ok(Response::Ok)
        }
        Request::Shutdown { domain, kind } => {
            let domain = node.find_guest(&domain, "shutdown")?;
            shutdown(node, &domain, kind)
        }
        Request::Destroy { domain } => {
            let _busy = node.begin();
            let found = node.find_guest(&domain, "destroy")?;
            if found.record().phase == Phase::Building {
                // Its creation fails when its monitor ends, and cleans up after itself.
                found.set_dying();
                if let Some(process) = found.process() {
                    process.kill();
                }
                let mut life = found.enter();
                teardown::teardown(node, &found, &mut life, false);
                return Ok(Response::Ok);
            }
            let mut life = found.enter();
            if life.gone {
                return Err(Fault::invalid_domain(&domain));
            }
            info!(
                "domain {} (id={}) is destroyed by request",
                found.name(),
                found.domid()
            );
            teardown::teardown(node, &found, &mut life, false);
            Ok(Response::Ok)
        }
        Request::Check { config } => create::check(node, *config).map(|()| Response::Ok),
        Request::Save {
            domain,
            file,
            checkpoint,
            how,
        } => saved::save(node, &domain, Path::new(&file), checkpoint, how).map(|()| Response::Ok),
        Request::DumpCore {
            domain,
            file,
            live,
            crash,
            reset,
        } => {
            let after = match (crash, reset) {
                (false, false) => After::Nothing,
                (true, false) => After::Crash,
                (false, true) => After::Reset,
                (true, true) => {
                    return Err(Fault::generic(
                        "a domain is crashed after its core is dumped, or reset, not both",
                    ))
                }
            };
            core_dump::dump(node, &domain, file.as_deref().map(Path::new), live, after)
                .map(|()| Response::Ok)
        }
        Request::Restore { file, paused, lazy } => {
            saved::restore(node, Path::new(&file), paused, lazy).map(|domain| one(&domain))
        }
        Request::Migrate { domain, how } => {
            migrate::migrate(node, &domain, &how).map(|ledger| Response::Moved {
                ledger: Box::new(ledger),
            })
        }
        Request::Transfer { domain } => {
            let domain = node.find_guest(&domain, "look at")?;
            let transfer = under_way::transfer(&domain)?;
            Ok(Response::Transfer { transfer })
        }
        Request::Cancel { domain } => {
            let domain = node.find_guest(&domain, "cancel anything of")?;
            node.under_way.cancel(domain.domid())?;
            Ok(Response::Ok)
        }
        Request::Upgrade { domain } => upgrade::upgrade(node, &domain).map(|()| Response::Ok),
        Request::Suspend { domain } => saved::suspend(node, &domain).map(|()| Response::Ok),
        Request::Resume { domain, paused } => {
            saved::resume(node, &domain, paused).map(|()| Response::Ok)
        }
        Request::Reset { domain } => {
            let _busy = node.begin();
            let found = node.find_guest(&domain, "reset")?;
            let mut life = found.enter();
            if life.gone {
                return Err(Fault::invalid_domain(&domain));
            }
            info!(
                "domain {} (id={}) is reset by request",
                found.name(),
                found.domid()
            );
            let fresh = watch::restart(node, &found, &mut life, false)?;
            Ok(one(&fresh))
        }
        Request::Change { domain, change } => change::change(node, &domain, change),
        Request::Shares { domains } => Ok(Response::Shares {
            domains: share::list(&selected(node, &domains)?),
        }),
        Request::DebugKeys { keys } => debug_keys::press(node, &keys).map(|()| Response::Ok),
        Request::VcpuList { domains } => Ok(Response::Vcpus {
            domains: selected(node, &domains)?
                .iter()
                .map(|target| match target {
                    Target::Host => listing::domain_0_vcpus(),
                    Target::Guest(guest) => listing::guest_vcpus(guest),
                    Target::Managed(config) => listing::dormant_vcpus(config),
                })
                .collect(),
        }),
        Request::Info => Ok(Response::Node {
            node: Box::new(host::node_info(&node.domains())),
        }),
        Request::Settings => Ok(Response::Settings {
            settings: node.settings().all(),
        }),
        Request::Dmesg { clear } => Ok(dmesg(node, clear)),
        Request::LogPath => Ok(Response::Text {
            text: node
                .settings()
                .log_file(&node.options.paths)
                .display()
                .to_string(),
        }),
        Request::Console { domain } => console(node, &domain),
        Request::Vnc { domain } => vnc(node, &domain),
        Request::Counters { domain } => {
            let domain = node.find_guest(&domain, "count")?;
            let groups = domain.monitor().counters().map_err(refused)?;
            Ok(Response::Counters { groups })
        }
        Request::Registers { domain } => {
            let domain = node.find_guest(&domain, "inspect")?;
            let text = domain.monitor().registers().map_err(refused)?;
            Ok(Response::Text { text })
        }
        Request::AttachDevice { domain, device } => {
            let _busy = node.begin();
            if let Target::Managed(config) = node.find(&domain)? {
                return managed::devices::attach(node, *config, device);
            }
            let domain = node.find_guest(&domain, "attach a device to")?;
            devices::attach_device(node, running(&domain)?, device)
        }
        Request::DetachDevice {
            domain,
            class,
            device,
            force,
        } => {
            let _busy = node.begin();
            if let Target::Managed(config) = node.find(&domain)? {
                return managed::devices::detach(node, *config, class, &device);
            }
            let domain = node.find_guest(&domain, "detach a device from")?;
            devices::detach_device(node, running(&domain)?, class, &device, force)
        }
        Request::ConfigureDevice { domain, device } => {
            let _busy = node.begin();
            if let Target::Managed(config) = node.find(&domain)? {
                return managed::devices::configure(node, *config, device);
            }
            let domain = node.find_guest(&domain, "configure a device of")?;
            devices::configure_device(node, running(&domain)?, device)
        }
        Request::Devices { domain, class } => {
            if let Target::Managed(config) = node.find(&domain)? {
                return Ok(managed::devices::list(&config, class));
            }
            let domain = node.find_guest(&domain, "list the devices of")?;
            devices::list_devices(node, &domain, class)
        }
    }
}

fn one(domain: &Domain) -> Response {
    Response::Domain {
        domain: Box::new(listing::guest(domain)),
    }
}

/// A monitor's refusal as a fault.
pub fn refused(e: MonitorError) -> Fault {
    match e {
        MonitorError::Refused(message) => Fault::generic(message.replace(char::is_control, " ")),
        other => internal(other),
    }
}

fn being_created(domain: &str) -> Fault {
    Fault::generic(format!(
        "Domain '{domain}' is still being created; wait for the command that creates it"
    ))
}

/// A domain that can still run.
pub fn running(domain: &Arc<Domain>) -> Result<&Arc<Domain>, Fault> {
    let record = domain.record();
    match record.phase {
        Phase::Running => Ok(domain),
        Phase::Building => Err(being_created(&record.name)),
        Phase::Preserved | Phase::Restarting => Err(Fault::generic(format!(
            "Domain '{}' has shut down ({}); destroy it",
            record.name,
            record.shutdown_reason.as_deref().unwrap_or("restarting")
        ))),
    }
}

/// Those named, in that order; without names all, by name.
fn selected(node: &Node, names: &[String]) -> Result<Vec<Target>, Fault> {
    if !names.is_empty() {
        return names.iter().map(|name| node.find(name)).collect();
    }
    let guests = node.domains().into_iter();
    let mut all: Vec<Target> = guests.map(Target::Guest).collect();
    all.push(Target::Host);
    let dormant = node.dormant().into_iter().map(Box::new);
    all.extend(dormant.map(Target::Managed));
    all.sort_by_cached_key(|target| match target {
        Target::Host => store_nodes::DOMAIN_0_NAME.to_owned(),
        Target::Guest(guest) => guest.name(),
        Target::Managed(config) => config.name.clone(),
    });
    Ok(all)
}

fn info_of(node: &Node, target: &Target) -> noxen_xend_api::DomainInfo {
    match target {
        Target::Host => listing::domain_0(node),
        Target::Guest(guest) => {
            let mut info = listing::guest(guest);
            info.managed = node.managed.by_uuid(&info.uuid).is_some();
            info
        }
        Target::Managed(config) => listing::dormant(config, saved::is_suspended(node, config)),
    }
}

fn sxp(node: &Node, names: &[String], state: StateFilter) -> Result<Response, Fault> {
    let mut texts = Vec::new();
    for target in selected(node, names)? {
        if state != StateFilter::All && !state.takes(&info_of(node, &target)) {
            continue;
        }
        texts.push(match &target {
            Target::Host => listing::domain_0_sxp(node).pretty(),
            Target::Guest(guest) => listing::guest_sxp(guest).pretty(),
            Target::Managed(config) => listing::dormant_sxp(config).pretty(),
        });
    }
    Ok(Response::Texts { texts })
}

/// Asks the guest: a write to its control/shutdown, nothing more.
fn shutdown(node: &Node, domain: &Arc<Domain>, kind: ShutdownKind) -> Result<Response, Fault> {
    if domain.record().phase == Phase::Preserved {
        // It is off already; `shutdown -w` and scripts that shut down twice rely on this being no error.
        return Ok(Response::Ok);
    }
    running(domain)?;
    let home = store_nodes::home(domain.domid());
    let now = clock::now();
    node.save(domain, |r| r.shutdown_asked = Some(now))?;
    node.store
        .apply(&[
            StoreOp::Write(
                format!("{home}/xend/shutdown_start_time"),
                format!("{now:.6}"),
            ),
            StoreOp::Write(format!("{home}/control/shutdown"), kind.word().into()),
        ])
        .map_err(internal)?;
    if domain.record().config.is_hvm() {
        // Without drivers for Xen a guest does not look at the store; a PC's operating system knows its power button.
        domain.monitor().press(CaseButton::Power).map_err(refused)?;
    }
    info!(
        "domain {} (id={}) is asked to {}",
        domain.name(),
        domain.domid(),
        kind.word()
    );
    Ok(Response::Ok)
}

fn dmesg(node: &Node, clear: bool) -> Response {
    let live: Vec<(u32, String)> = node
        .domains()
        .iter()
        .filter_map(|d| Some((d.domid(), d.monitor().console_log().ok()?)))
        .collect();
    let mut dmesg = node.dmesg.lock().unwrap_or_else(PoisonError::into_inner);
    Response::Text {
        text: dmesg.read(&live, clear),
    }
}

fn vnc(node: &Node, domain: &str) -> Result<Response, Fault> {
    let found = node.find_guest(domain, "show the screen of")?;
    let site = Site {
        node,
        domain: &found,
    };
    crate::devices::vnc::find(site, domain)
}

fn console(node: &Node, domain: &str) -> Result<Response, Fault> {
    let found = node.find_guest(domain, "attach to the console of")?;
    let (status, _) = found.status();
    match status {
        Some(status) if !status.console_tty.is_empty() => Ok(Response::Console {
            domid: found.domid(),
            tty: status.console_tty,
        }),
        _ => Err(Fault::generic(format!(
            "Domain '{domain}' has no console at the moment; try again"
        ))),
    }
}
