//! What is known of each domain on disk, so that xend can die at any moment.
//!
//! ```text
//!   /var/lib/xend/next-domid              { boot_id, next }   raised before an id is used
//!   /var/lib/xend/domains-running/N.json  one Record a domain
//!
//!   Building --built--> Running --shut down, kept--> Preserved
//!      |                   |  \--on_*=restart--> Restarting --successor Running--> (removed)
//!      +-------------------+--------destroyed-----------------------------------> (removed)
//! ```
//! A new xend destroys what it finds `Building`, finishes what it finds `Restarting`, adopts the rest.

use crate::atomic;
use crate::devices::Device;
use crate::migrate::{Came, Moving};
use crate::upgrade::Upgrade;
use noxen_xend_api::paths::Paths;
use noxen_xend_api::{DomainConfig, Sedf};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// Domain ids end here: DOMID_FIRST_RESERVED (0x7ff0) less one.
pub const LAST_DOMID: u32 = 0x7fef;

const RECORD_VERSION: u32 = 1;

/// Where a domain is in its life.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Its monitor is being started.
    Building,
    /// It runs, or is paused.
    Running,
    /// It has shut down or crashed and is kept.
    Preserved,
    /// It is being replaced by a successor with the same configuration.
    Restarting,
}

/// One domain on disk.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Version of this structure.
    pub version: u32,
    /// Boot of the host in which the domain was built.
    pub boot_id: String,
    /// Domain id.
    pub domid: u32,
    /// Name; may differ from the configured one after rename-restart.
    pub name: String,
    /// UUID.
    pub uuid: String,
    /// As it was asked for.
    pub config: DomainConfig,
    /// Where it is in its life.
    pub phase: Phase,
    /// The domain whose place it takes.
    pub replaces: Option<u32>,
    /// Process id of its monitor.
    pub pid: Option<u32>,
    /// Start time of that process (field 22 of /proc/PID/stat), against reuse of the id.
    pub pid_start: Option<u64>,
    /// When it was built, seconds since the epoch.
    pub start_time: f64,
    /// How often this UUID was started again.
    pub restart_count: u32,
    /// Store path of its /vm node.
    pub vm_path: String,
    /// Why it shut down, once it has.
    pub shutdown_reason: Option<String>,
    /// When it was asked to shut down, seconds since the epoch.
    pub shutdown_asked: Option<f64>,
    /// What `sched-sedf` has set for it.
    #[serde(default)]
    pub sedf: Option<Sedf>,
    /// Renamed by rename-restart: the domain that is still to be started in its place.
    pub successor: Option<Successor>,
    /// Its devices, also while they come and go.
    #[serde(default)]
    pub devices: Vec<Device>,
    /// It is on its way to another host.
    #[serde(default)]
    pub moving: Option<Moving>,
    /// It has come from another host.
    #[serde(default)]
    pub came: Option<Came>,
    /// It is being handed over to another noxen-vmm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upgrade: Option<Upgrade>,
    /// By how much its guest has set the clock since it was built, seconds; `config` has it in `rtc_timeoffset`.
    #[serde(default)]
    pub clock_moved: i64,
    /// Number of its next network interface; none is used twice.
    #[serde(default)]
    pub next_vif: u32,
}

/// The domain that takes a renamed one's place.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Successor {
    /// Name.
    pub name: String,
    /// UUID.
    pub uuid: String,
    /// How often the UUID was started again.
    pub restart_count: u32,
}

impl Record {
    /// A record of a domain about to be built.
    pub fn new(
        domid: u32,
        boot_id: &str,
        name: &str,
        uuid: &str,
        config: DomainConfig,
        now: f64,
    ) -> Record {
        Record {
            version: RECORD_VERSION,
            boot_id: boot_id.to_owned(),
            domid,
            name: name.to_owned(),
            uuid: uuid.to_owned(),
            config,
            phase: Phase::Building,
            replaces: None,
            pid: None,
            pid_start: None,
            start_time: now,
            restart_count: 0,
            vm_path: format!("/vm/{uuid}"),
            shutdown_reason: None,
            shutdown_asked: None,
            sedf: None,
            successor: None,
            devices: Vec::new(),
            clock_moved: 0,
            next_vif: 0,
            moving: None,
            came: None,
            upgrade: None,
        }
    }
}

/// Why the registry failed.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// A file or directory could not be used.
    #[error("cannot {verb} {path}: {source}")]
    Io {
        /// What was tried.
        verb: &'static str,
        /// On what.
        path: String,
        /// OS error.
        source: io::Error,
    },
    /// No id left.
    #[error("all {LAST_DOMID} domain ids of this boot are used up; reboot the host")]
    NoDomid,
}

#[derive(Serialize, Deserialize)]
struct Counter {
    boot_id: String,
    next: u32,
}

/// The registry's directory.
pub struct Registry {
    directory: PathBuf,
    counter_path: PathBuf,
    counter: Mutex<Counter>,
    boot_id: String,
}

impl Registry {
    /// Opens, or makes, the registry for the boot named by `boot_id`.
    pub fn open(paths: &Paths, boot_id: &str) -> Result<Registry, RegistryError> {
        let directory = paths.running_dir();
        atomic::make_directory(&directory, 0o700).map_err(io_error("make", &directory))?;
        let counter_path = paths.state_dir().join("next-domid");
        let counter = match fs::read(&counter_path) {
            Ok(bytes) => serde_json::from_slice::<Counter>(&bytes)
                .ok()
                .filter(|counter| counter.boot_id == boot_id),
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            Err(e) => return Err(io_error("read", &counter_path)(e)),
        };
        let registry = Registry {
            counter: Mutex::new(counter.unwrap_or(Counter {
                boot_id: boot_id.to_owned(),
                next: 1,
            })),
            directory,
            counter_path,
            boot_id: boot_id.to_owned(),
        };
        registry.sweep();
        for domid in registry.ids()? {
            registry.pass_over(domid);
        }
        Ok(registry)
    }

    /// Removes what a xend that was killed between writing and renaming has left; only one xend runs.
    fn sweep(&self) {
        let entries = fs::read_dir(&self.directory)
            .into_iter()
            .flatten()
            .flatten();
        for path in entries.map(|entry| entry.path()) {
            if path.extension().is_some_and(|e| e == "new") {
                // What stays is never read; it is tried again at the next start.
                let _ = fs::remove_file(path);
            }
        }
    }

    /// Makes sure that `domid` is not given to another domain.
    pub fn pass_over(&self, domid: u32) {
        let mut counter = self.counter();
        counter.next = counter.next.max(domid.saturating_add(1));
    }

    fn counter(&self) -> std::sync::MutexGuard<'_, Counter> {
        self.counter
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The boot whose ids these are.
    pub fn boot_id(&self) -> &str {
        &self.boot_id
    }

    /// An id that no domain of this boot has had (one that was saved has it again, when it comes back). It is on disk as used when this returns.
    pub fn next_domid(&self) -> Result<u32, RegistryError> {
        let mut counter = self.counter();
        let domid = counter.next;
        if domid > LAST_DOMID {
            return Err(RegistryError::NoDomid);
        }
        self.set_next(&mut counter, domid + 1)?;
        Ok(domid)
    }

    /// Makes sure that no later domain gets `domid`, which the caller knows to be nobody's. It is on disk as used when this
    /// returns.
    pub fn take_domid(&self, domid: u32) -> Result<(), RegistryError> {
        let mut counter = self.counter();
        if domid < counter.next {
            return Ok(());
        }
        self.set_next(&mut counter, domid + 1)
    }

    fn set_next(&self, counter: &mut Counter, next: u32) -> Result<(), RegistryError> {
        let used = Counter {
            boot_id: counter.boot_id.clone(),
            next,
        };
        let bytes = serde_json::to_vec(&used).map_err(|e| self.counter_error(e.into()))?;
        atomic::write(&self.counter_path, &bytes, 0o600).map_err(|e| self.counter_error(e))?;
        *counter = used;
        Ok(())
    }

    fn counter_error(&self, e: io::Error) -> RegistryError {
        io_error("write", &self.counter_path)(e)
    }

    fn path(&self, domid: u32) -> PathBuf {
        self.directory.join(format!("{domid}.json"))
    }

    /// Writes a record; it is on disk when this returns.
    pub fn save(&self, record: &Record) -> Result<(), RegistryError> {
        let path = self.path(record.domid);
        let bytes =
            serde_json::to_vec_pretty(record).map_err(|e| io_error("write", &path)(e.into()))?;
        atomic::write(&path, &bytes, 0o600).map_err(io_error("write", &path))
    }

    /// Forgets a domain.
    pub fn remove(&self, domid: u32) -> Result<(), RegistryError> {
        let path = self.path(domid);
        atomic::remove(&path).map_err(io_error("remove", &path))
    }

    fn ids(&self) -> Result<Vec<u32>, RegistryError> {
        let entries = fs::read_dir(&self.directory).map_err(io_error("read", &self.directory))?;
        let mut ids: Vec<u32> = entries
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter_map(|name| name.strip_suffix(".json")?.parse().ok())
            .collect();
        ids.sort_unstable();
        Ok(ids)
    }

    /// Every record, by id; for one that cannot be read, its id and why.
    #[allow(clippy::type_complexity)]
    pub fn load(&self) -> Result<Vec<Result<Record, (u32, String)>>, RegistryError> {
        let load = |domid: u32| {
            let text = fs::read(self.path(domid)).map_err(|e| (domid, e.to_string()))?;
            let record: Record =
                serde_json::from_slice(&text).map_err(|e| (domid, e.to_string()))?;
            if record.version != RECORD_VERSION || record.domid != domid {
                let found = format!("version {} of domain {}", record.version, record.domid);
                return Err((domid, found));
            }
            Ok(record)
        };
        Ok(self.ids()?.into_iter().map(load).collect())
    }
}

fn io_error<'a>(verb: &'static str, path: &'a Path) -> impl Fn(io::Error) -> RegistryError + 'a {
    move |source| RegistryError::Io {
        verb,
        path: path.display().to_string(),
        source,
    }
}

/// The kernel's name for this boot.
pub fn boot_id() -> io::Result<String> {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|text| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TempDir;

    fn registry(dir: &TempDir, boot: &str) -> Registry {
        Registry::open(&Paths::under(dir.path()), boot).unwrap()
    }

    #[test]
    fn next_domid_is_never_given_twice_in_a_boot() {
        let dir = TempDir::new("registry");
        let first = registry(&dir, "boot-a");
        assert_eq!(first.next_domid().unwrap(), 1);
        assert_eq!(first.next_domid().unwrap(), 2);
        drop(first);
        assert_eq!(registry(&dir, "boot-a").next_domid().unwrap(), 3);
        assert_eq!(registry(&dir, "boot-b").next_domid().unwrap(), 1);
    }

    #[test]
    fn next_domid_with_a_torn_counter_goes_on_after_the_records() {
        let dir = TempDir::new("registry");
        let first = registry(&dir, "boot-a");
        let config = DomainConfig::default();
        first
            .save(&Record::new(7, "boot-a", "x", "u", config, 0.0))
            .unwrap();
        fs::write(dir.path().join("var/lib/xend/next-domid"), "{\"boo").unwrap();
        assert_eq!(registry(&dir, "boot-a").next_domid().unwrap(), 8);
    }

    #[test]
    fn next_domid_after_the_last_is_refused() {
        let dir = TempDir::new("registry");
        let r = registry(&dir, "boot-a");
        r.counter().next = LAST_DOMID;
        assert_eq!(r.next_domid().unwrap(), LAST_DOMID);
        assert!(matches!(r.next_domid(), Err(RegistryError::NoDomid)));
    }

    #[test]
    fn open_sweeps_away_what_was_never_renamed() {
        let dir = TempDir::new("registry");
        drop(registry(&dir, "boot-a"));
        let half = dir.path().join("var/lib/xend/domains-running/4.json.new");
        fs::write(&half, "{").unwrap();
        let r = registry(&dir, "boot-a");
        assert!(!half.exists());
        assert_eq!(r.next_domid().unwrap(), 1);
    }

    #[test]
    fn load_returns_what_was_saved_and_names_what_is_broken() {
        let dir = TempDir::new("registry");
        let r = registry(&dir, "boot-a");
        let record = Record::new(2, "boot-a", "x", "u", DomainConfig::default(), 1.5);
        r.save(&record).unwrap();
        fs::write(r.path(3), "not json").unwrap();
        let mut loaded = r.load().unwrap();
        assert_eq!(loaded.remove(0).unwrap(), record);
        assert_eq!(loaded.remove(0).unwrap_err().0, 3);
        r.remove(2).unwrap();
        assert_eq!(r.load().unwrap().len(), 1);
    }
}
