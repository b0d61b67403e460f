//! Managed domains: configurations that xend keeps, whether their domains run or not.
//!
//! ```text
//!   new --> halted --start--> running (an ordinary domain with the same UUID) --ends--> halted --delete--> gone
//!             \--on_xend_start = start, when xend starts--^    ^--on_xend_stop = shutdown: asked to stop with xend
//! ```
//!   running --suspend--> halted, with its state on disk --resume--> running
//! A change of a running managed domain is written into its configuration, too.

pub mod devices;
mod store;

pub use store::{expression, read_expression, Managed, ManagedError};

use crate::create::{self, Heritage};
use crate::domain::Domain;
use crate::node::{internal, Node, Target};
use crate::registry::Phase;
use crate::watch::fresh_config;
use crate::{error, host, info, saved, share, store_nodes, validate, warning};
use noxen_xend_api::{Change, Cpus, DomainConfig, Fault, Response, ShutdownKind};
use std::sync::Arc;

/// `new`: keeps `config`.
pub fn add(node: &Node, mut config: DomainConfig) -> Result<Response, Fault> {
    let _busy = node.begin();
    validate::check(&config, host::cpus())?;
    let uuid = match config.uuid.take() {
        Some(uuid) => uuid.to_ascii_lowercase(),
        None => create::random_uuid()?,
    };
    node.check_free(&config.name, &uuid)?;
    info!("domain {} ({uuid}) is managed from now on", config.name);
    config.uuid = Some(uuid);
    node.managed.save(config).map_err(internal)?;
    Ok(Response::Ok)
}

/// What a domain is built from, as it is now.
pub fn config(node: &Node, domain: &str) -> Result<Response, Fault> {
    let config = match node.find(domain)? {
        Target::Managed(config) => config,
        Target::Guest(guest) => {
            let record = guest.record();
            Box::new(fresh_config(&record.config, &record.name, &record.uuid))
        }
        Target::Host => {
            return Err(Fault::generic(format!(
                "{domain} is this host, which is built from nothing"
            )))
        }
    };
    Ok(Response::Config { config })
}

/// Another configuration for a halted domain; one that is suspended goes on with what it was built from.
pub fn configure(node: &Node, config: DomainConfig) -> Result<Response, Fault> {
    let _busy = node.begin();
    let uuid = config.uuid.clone().unwrap_or_default();
    let before = match node.find(&uuid)? {
        Target::Managed(before)
            if before
                .uuid
                .as_deref()
                .is_some_and(|known| known.eq_ignore_ascii_case(&uuid)) =>
        {
            before
        }
        Target::Managed(_) | Target::Guest(_) | Target::Host => {
            return Err(Fault::generic("Domain is not halted."))
        }
    };
    if saved::is_suspended(node, &before) {
        return Err(Fault::generic(format!(
            "Domain '{}' is suspended; xm resume lets it go on, and then it can be shut down and changed",
            before.name
        )));
    }
    validate::check(&config, host::cpus())?;
    if config.name != before.name {
        node.check_name_free(&config.name)?;
    }
    node.managed.save(config).map_err(internal)?;
    Ok(Response::Ok)
}

/// `start`: builds the domain and leaves it paused.
pub fn start(node: &Arc<Node>, domain: &str) -> Result<Arc<Domain>, Fault> {
    let _busy = node.begin();
    match node.find(domain)? {
        Target::Managed(config) if saved::is_suspended(node, &config) => {
            Err(Fault::generic(format!(
                "Domain '{}' is suspended; xm resume lets it go on",
                config.name
            )))
        }
        Target::Managed(config) => create::create(node, *config, Heritage::default()),
        Target::Guest(_) | Target::Host => Err(Fault::generic("Domain is already running")),
    }
}

/// `delete`: forgets a halted domain.
pub fn delete(node: &Node, domain: &str) -> Result<Response, Fault> {
    let _busy = node.begin();
    match node.find(domain)? {
        Target::Managed(config) => {
            let uuid = config.uuid.unwrap_or_default();
            node.managed.remove(&uuid).map_err(internal)?;
            info!("domain {} ({uuid}) is no longer managed", config.name);
            Ok(Response::Ok)
        }
        Target::Guest(_) | Target::Host => Err(Fault::generic("Domain is not halted.")),
    }
}

/// Writes what has become of a running domain into its managed configuration, if it has one.
pub fn follow(node: &Node, domain: &Domain) {
    let record = domain.record();
    if node.managed.by_uuid(&record.uuid).is_none() {
        return;
    }
    let config = fresh_config(&record.config, &record.name, &record.uuid);
    if let Err(e) = node.managed.save(config) {
        error!("domain {}: {e}", record.name);
    }
}

/// Changes a halted domain: its configuration is all there is.
pub fn change(node: &Node, mut config: DomainConfig, change: Change) -> Result<(), Fault> {
    let name = config.name.clone();
    match change {
        Change::Memory { mib } => config.memory = mib,
        Change::MaxMemory { mib } => config.maxmem = Some(mib),
        Change::Vcpus { count } if count <= 0 => {
            return Err(Fault::generic("Zero or less VCPUs is invalid"))
        }
        Change::Vcpus { count } => (config.vcpus, config.vcpu_avail) = (count, None),
        Change::Name { name } => {
            validate::check_name(&name)?;
            node.check_name_free(&name)?;
            config.name = name;
        }
        Change::Credit { weight, cap } => {
            config.cpu_weight = weight.or(config.cpu_weight);
            config.cpu_cap = cap.or(config.cpu_cap);
            share::check(&config)?;
        }
        Change::Pin { vcpu, cpus } => pin(&mut config, vcpu, &cpus)?,
        Change::Sysrq { .. } | Change::Trigger { .. } | Change::Sedf(_) => {
            return Err(Fault::generic(format!("Domain '{name}' is not started")))
        }
    }
    validate::check(&config, host::cpus())?;
    node.managed.save(config).map_err(internal)
}

fn pin(config: &mut DomainConfig, vcpu: Option<u32>, text: &str) -> Result<(), Fault> {
    let set = match text.trim() {
        "all" => "",
        set => set,
    };
    let Some(vcpu) = vcpu else {
        config.cpus = Cpus::All(set.to_owned());
        return Ok(());
    };
    let vcpus = usize::try_from(config.vcpus).unwrap_or(0);
    let mut sets = config.cpus.of_each(vcpus);
    match sets.get_mut(vcpu as usize) {
        Some(place) => *place = set.to_owned(),
        None => {
            return Err(Fault::generic(format!(
                "Cannot pin vcpu: {vcpu} to cpu: {text} - the domain has {vcpus} VCPUs"
            )))
        }
    }
    config.cpus = Cpus::PerVcpu(sets);
    Ok(())
}

/// UUIDs of the domains that are to start with xend: those there before anybody can make others.
pub fn starters(node: &Node) -> Vec<String> {
    node.dormant()
        .into_iter()
        .filter(|config| config.on_xend_start == "start")
        .filter_map(|config| config.uuid)
        .collect()
}

/// Starts [`starters`], as far as nobody has started or deleted them meanwhile.
pub fn at_start(node: &Arc<Node>, starters: &[String]) {
    let wanted = |config: &DomainConfig| {
        let uuid = config.uuid.as_ref();
        uuid.is_some_and(|uuid| starters.contains(uuid))
    };
    for config in node.dormant().into_iter().filter(wanted) {
        let name = config.name.clone();
        info!("domain {name} starts with xend");
        if saved::is_suspended(node, &config) {
            if let Err(fault) = saved::resume(node, &name, false) {
                error!("domain {name} does not resume with xend: {}", fault.message);
            }
            continue;
        }
        // Until it runs: a xend that stops before would leave it paused.
        let _busy = node.begin();
        match create::create(node, config, Heritage::default()) {
            Ok(domain) => {
                if let Err(e) = domain.monitor().unpause() {
                    error!("domain {name}: {e}");
                }
            }
            Err(fault) => error!("domain {name} does not start with xend: {}", fault.message),
        }
    }
}

/// Asks the domains that are to stop with xend to do so; does not wait for them.
pub fn at_stop(node: &Node) {
    for domain in node.domains() {
        let record = domain.record();
        if node.managed.by_uuid(&record.uuid).is_none() || record.phase != Phase::Running {
            continue;
        }
        match record.config.on_xend_stop.as_str() {
            "shutdown" => {
                let path = format!("{}/control/shutdown", store_nodes::home(record.domid));
                let word = ShutdownKind::Poweroff.word().to_owned();
                info!("domain {} is asked to shut down with xend", record.name);
                if let Err(e) = node
                    .store
                    .apply(&[crate::store::StoreOp::Write(path, word)])
                {
                    error!("domain {}: {e}", record.name);
                }
            }
            "suspend" => {
                info!("domain {} is suspended with xend", record.name);
                if let Err(fault) = saved::suspend_guest(node, &domain) {
                    warning!("domain {} runs on: {}", record.name, fault.message);
                }
            }
            _ => {}
        }
    }
}
