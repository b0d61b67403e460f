//! What one xend holds: options, registry, store, and the table of domains.
//!
//! ```text
//!   server threads --\                    /-- registry (disk)
//!   watcher threads ---> Node { table } --<-- store (xenstored)
//!   housekeeper ----/                     \-- monitors (control sockets)
//! ```
//! The table's lock is never held while a monitor or the store is asked.

use crate::dmesg::Dmesg;
use crate::domain::Domain;
use crate::host::MemoryAccount;
use crate::managed::Managed;
use crate::registry::{Phase, Record, Registry, LAST_DOMID};
use crate::settings::Settings;
use crate::store::StoreLink;
use crate::store_nodes::{DOMAIN_0_NAME, DOMAIN_0_UUID};
use crate::unit::Units;
use crate::{error, monitor};
use noxen_xend_api::paths::Paths;
use noxen_xend_api::{DomainConfig, Fault};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How old what is known of a guest's resident memory may be when it is judged whether a domain fits beside it.
const RESIDENT_AGE: Duration = Duration::from_secs(1);

/// How this xend is run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where everything is.
    pub paths: Paths,
    /// The noxen-vmm program.
    pub vmm: PathBuf,
    /// The xenstored program.
    pub xenstored: PathBuf,
    /// KVM's device; /dev/null for a monitor that needs none.
    pub kvm: PathBuf,
    /// The driver that makes taps; /dev/null for a monitor that needs none.
    pub tun: PathBuf,
    /// Hotplug script of network interfaces that name none.
    pub vif_script: String,
    /// How long a device may take to come.
    pub device_timeout: Duration,
    /// How long a device may take to go.
    pub detach_timeout: Duration,
    /// How long a monitor may take to build a domain.
    pub build_limit: Duration,
    /// Units for the monitors, where systemd runs the host.
    pub units: Option<Units>,
    /// A domain that ran for less is not restarted, seconds.
    pub restart_guard_s: f64,
}

/// What a domain argument names.
pub enum Target {
    /// The host.
    Host,
    /// A guest.
    Guest(Arc<Domain>),
    /// A managed domain that does not run.
    Managed(Box<DomainConfig>),
}

/// One xend.
pub struct Node {
    /// How it is run.
    pub options: Options,
    /// Disk.
    pub registry: Registry,
    /// xenstored.
    pub store: StoreLink,
    /// Managed domains.
    pub managed: Managed,
    /// Console text of domains that are gone, and what was cleared.
    pub dmesg: Mutex<Dmesg>,
    /// Domains that come from other hosts.
    pub moves: crate::migrate::Moves,
    /// Saves and moves that may still be given up.
    pub under_way: Arc<crate::under_way::UnderWay>,
    /// Held while it is seen that nobody else has a disk, until its new holder can be seen.
    pub sharing: Mutex<()>,
    settings: Mutex<Arc<Settings>>,
    domains: Mutex<BTreeMap<u32, Arc<Domain>>>,
    busy: Mutex<u32>,
    idle: Condvar,
}

/// Counts a piece of work that must not be cut off by `xend stop`.
pub struct Busy<'a>(&'a Node);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        *self.0.lock_busy() -= 1;
        self.0.idle.notify_all();
    }
}

impl Node {
    /// A node without domains yet.
    pub fn new(options: Options, registry: Registry, store: StoreLink) -> Node {
        Node {
            managed: Managed::open(&options.paths),
            options,
            registry,
            store,
            dmesg: Mutex::new(Dmesg::default()),
            moves: crate::migrate::Moves::default(),
            under_way: Arc::default(),
            sharing: Mutex::new(()),
            settings: Mutex::default(),
            domains: Mutex::new(BTreeMap::new()),
            busy: Mutex::new(0),
            idle: Condvar::new(),
        }
    }

    /// xend-config.sxp, as it was read last.
    pub fn settings(&self) -> Arc<Settings> {
        let settings = self.settings.lock();
        settings.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes other settings from now on.
    pub fn set_settings(&self, settings: Settings) {
        let mut current = self.settings.lock().unwrap_or_else(PoisonError::into_inner);
        *current = Arc::new(settings);
    }

    /// Are there `mib` beside `domains`, domain 0 keeping its `dom0-min-mem`? If not, how many MiB there are.
    fn has_memory<'a>(
        &self,
        domains: impl IntoIterator<Item = &'a Arc<Domain>> + Clone,
        mib: u64,
    ) -> Result<(), u64> {
        let least = self.settings().int("dom0-min-mem").max(0).unsigned_abs();
        let free_mib = |account: MemoryAccount| {
            let not_guests = account.free_mib() + account.domain_0_mib();
            account.free_mib().min(not_guests.saturating_sub(least))
        };
        // The dearer the look, the later: a host with room for all that its guests may ever take needs none.
        if mib <= free_mib(MemoryAccount::at_worst(domains.clone()))
            || mib <= free_mib(MemoryAccount::of(domains.clone(), RESIDENT_AGE))
        {
            return Ok(());
        }
        // Guests that have just been started have more by now than they had.
        match free_mib(MemoryAccount::of(domains, Duration::ZERO)) {
            enough if mib <= enough => Ok(()),
            little => Err(little),
        }
    }

    fn lock_busy(&self) -> MutexGuard<'_, u32> {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Marks work that changes domains.
    pub fn begin(&self) -> Busy<'_> {
        *self.lock_busy() += 1;
        Busy(self)
    }

    /// Waits until no such work is under way, at most `timeout`. True when there is none.
    pub fn wait_idle(&self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        let mut busy = self.lock_busy();
        while *busy > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let woken = self.idle.wait_timeout(busy, left);
            busy = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    fn table(&self) -> MutexGuard<'_, BTreeMap<u32, Arc<Domain>>> {
        self.domains.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every guest, by id.
    pub fn domains(&self) -> Vec<Arc<Domain>> {
        self.table().values().cloned().collect()
    }

    /// The guest with this id.
    pub fn by_id(&self, domid: u32) -> Option<Arc<Domain>> {
        self.table().get(&domid).cloned()
    }

    /// The managed domains that do not run.
    pub fn dormant(&self) -> Vec<DomainConfig> {
        let table = self.table();
        let running: Vec<String> = table.values().map(|d| d.look(|r| r.uuid.clone())).collect();
        let mut all = self.managed.all();
        all.retain(|config| {
            let uuid = config.uuid.as_deref().unwrap_or_default();
            !running.iter().any(|other| other.eq_ignore_ascii_case(uuid))
        });
        all
    }

    /// Finds what `domain` names: a running one's name, a managed one's name, an id, a running one's UUID, a managed
    /// one's, in that order.
    pub fn find(&self, domain: &str) -> Result<Target, Fault> {
        let table = self.table();
        if let Some(guest) = table.values().find(|d| d.look(|r| r.name == domain)) {
            return Ok(Target::Guest(guest.clone()));
        }
        if domain == DOMAIN_0_NAME {
            return Ok(Target::Host);
        }
        // One that runs was found by the name that it has now.
        let runs = |config: &DomainConfig| {
            let uuid = config.uuid.as_deref().unwrap_or_default();
            table
                .values()
                .any(|d| d.look(|r| r.uuid.eq_ignore_ascii_case(uuid)))
        };
        let dormant = |config: Option<DomainConfig>| {
            config
                .filter(|config| !runs(config))
                .map(|config| Target::Managed(Box::new(config)))
        };
        if let Some(managed) = dormant(self.managed.by_name(domain)) {
            return Ok(managed);
        }
        if let Ok(domid) = domain.parse::<u32>() {
            if domid == 0 {
                return Ok(Target::Host);
            }
            if let Some(guest) = table.get(&domid) {
                return Ok(Target::Guest(guest.clone()));
            }
        }
        let same = |uuid: &str| uuid.eq_ignore_ascii_case(domain);
        if same(DOMAIN_0_UUID) {
            return Ok(Target::Host);
        }
        table
            .values()
            .find(|d| d.look(|r| same(&r.uuid)))
            .map(|guest| Target::Guest(guest.clone()))
            .or_else(|| dormant(self.managed.by_uuid(domain)))
            .ok_or_else(|| Fault::invalid_domain(domain))
    }

    /// Finds a guest; domain 0 is refused with `Cannot VERB privileged domain X`.
    pub fn find_guest(&self, domain: &str, verb: &str) -> Result<Arc<Domain>, Fault> {
        match self.find(domain)? {
            Target::Guest(guest) => Ok(guest),
            Target::Host => Err(Fault::generic(format!(
                "Cannot {verb} privileged domain {domain}"
            ))),
            Target::Managed(_) => Err(Fault::generic(format!("Domain '{domain}' is not started"))),
        }
    }

    /// Gives a new domain its id and its place in the table, if name and UUID are free and memory suffices.
    /// `draft` becomes its record, under the new id; its record on disk says Building when this returns.
    pub fn admit(&self, draft: Record, memory_mib: u64) -> Result<Arc<Domain>, Fault> {
        let mut table = self.table();
        let others = table
            .values()
            .filter(|other| Some(other.domid()) != draft.replaces);
        let taken = others.clone().find(|other| {
            other.look(|r| r.name == draft.name || r.uuid.eq_ignore_ascii_case(&draft.uuid))
        });
        if let Some(other) = taken {
            return Err(already_exists(&other.name(), other.domid()));
        }
        if draft.name == DOMAIN_0_NAME || draft.uuid == DOMAIN_0_UUID {
            return Err(already_exists(DOMAIN_0_NAME, 0));
        }
        if let Some(managed) = self.managed.by_name(&draft.name) {
            let same = |uuid: &str| uuid.eq_ignore_ascii_case(&draft.uuid);
            if !managed.uuid.as_deref().is_some_and(same) {
                return Err(Fault::generic(format!(
                    "VM name '{}' already exists: it is a managed domain, which xm start starts and xm delete removes",
                    draft.name
                )));
            }
        }
        if let Err(free_mib) = self.has_memory(others, memory_mib) {
            return Err(Fault::generic(format!(
                "Not enough memory: domain '{}' needs {memory_mib} MiB but the host has {free_mib} MiB left; \
                 lower memory = or end another domain",
                draft.name
            )));
        }
        let domid = match draft.domid {
            // One that comes back gets its id again, where nobody has it.
            wanted @ 1..=LAST_DOMID if !table.contains_key(&wanted) => {
                self.registry.take_domid(wanted).map_err(internal)?;
                wanted
            }
            _ => self.registry.next_domid().map_err(internal)?,
        };
        let mut record = draft;
        record.domid = domid;
        record.phase = Phase::Building;
        self.registry.save(&record).map_err(internal)?;
        let socket = self.options.paths.control_socket(domid);
        let replaces = record.replaces;
        let domain = Arc::new(Domain::new(record, monitor::Monitor::new(socket)));
        if let Some(old) = replaces {
            table.remove(&old);
        }
        table.insert(domid, domain.clone());
        Ok(domain)
    }

    /// Sets aside memory for a domain that is asked to have `mib`: its record says so when this returns.
    pub fn promise_memory(&self, domain: &Domain, mib: i64) -> Result<Record, Fault> {
        let table = self.table();
        let more = mib.saturating_sub(domain.look(|r| r.config.memory));
        let wanted = more.max(0).unsigned_abs();
        if let Err(free_mib) = self.has_memory(table.values(), wanted) {
            return Err(Fault::generic(format!(
                "Not enough memory: domain '{}' would need {more} MiB more but the host has {free_mib} MiB left; \
                 end or shrink another domain",
                domain.name()
            )));
        }
        self.save(domain, |r| {
            // Where nobody has set a maximum, it is what the domain was created with, and stays that.
            r.config.maxmem = Some(r.config.maxmem_mib());
            r.config.memory = mib;
        })
    }

    /// Gives a domain another name that nobody has.
    pub fn take_name(&self, domain: &Domain, name: &str) -> Result<Record, Fault> {
        let table = self.table();
        self.check_name_in(&table, name)?;
        self.save(domain, |r| r.name = name.to_owned())
    }

    /// Refuses a name that somebody has.
    pub fn check_name_free(&self, name: &str) -> Result<(), Fault> {
        self.check_name_in(&self.table(), name)
    }

    fn check_name_in(&self, table: &BTreeMap<u32, Arc<Domain>>, name: &str) -> Result<(), Fault> {
        let taken = |domid: u32| {
            Fault::generic(format!("VM name '{name}' already exists as domain {domid}"))
        };
        if name == DOMAIN_0_NAME {
            return Err(taken(0));
        }
        if let Some(other) = table.values().find(|d| d.look(|r| r.name == name)) {
            return Err(taken(other.domid()));
        }
        match self.managed.by_name(name) {
            Some(_) => Err(Fault::generic(format!("VM name '{name}' already exists"))),
            None => Ok(()),
        }
    }

    /// Refuses a name or UUID that a running or managed domain has.
    pub fn check_free(&self, name: &str, uuid: &str) -> Result<(), Fault> {
        let table = self.table();
        let same =
            |other: &Domain| other.look(|r| r.name == name || r.uuid.eq_ignore_ascii_case(uuid));
        if let Some(other) = table.values().find(|other| same(other)) {
            return Err(already_exists(&other.name(), other.domid()));
        }
        if name == DOMAIN_0_NAME || uuid == DOMAIN_0_UUID {
            return Err(already_exists(DOMAIN_0_NAME, 0));
        }
        let managed = self
            .managed
            .by_name(name)
            .or_else(|| self.managed.by_uuid(uuid));
        match managed {
            Some(other) => Err(Fault::generic(format!(
                "Domain '{}' already exists: it is a managed domain, which xm delete removes",
                other.name
            ))),
            None => Ok(()),
        }
    }

    /// Puts a domain found at start into the table.
    pub fn insert(&self, domain: Arc<Domain>) {
        self.table().insert(domain.domid(), domain);
    }

    /// Takes a domain out of the table, if it is still that one.
    pub fn forget(&self, domid: u32) {
        self.table().remove(&domid);
    }

    /// Changes a domain's record in memory and on disk.
    pub fn save(&self, domain: &Domain, change: impl FnOnce(&mut Record)) -> Result<Record, Fault> {
        let saving = domain.saving();
        let record = domain.update(change);
        if !saving.erased {
            self.registry.save(&record).map_err(internal)?;
        }
        Ok(record)
    }

    /// Removes a domain's record from the disk; no later change is written.
    pub fn erase(&self, domain: &Domain) {
        let mut saving = domain.saving();
        saving.erased = true;
        if let Err(e) = self.registry.remove(domain.domid()) {
            error!("domain {}: {e}", domain.domid());
        }
    }
}

fn already_exists(name: &str, domid: u32) -> Fault {
    Fault::generic(format!("Domain '{name}' already exists with ID '{domid}'"))
}

/// An error of xend's own as a fault of code 1.
pub fn internal(error: impl std::fmt::Display) -> Fault {
    Fault::internal(error.to_string())
}
