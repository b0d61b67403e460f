//! The managed domains on disk: `/var/lib/xend/domains/UUID/config.sxp`, in xm's format, a directory each.

use crate::{atomic, error, host};
use noxen_xend_api::info::ranges;
use noxen_xend_api::paths::Paths;
use noxen_xend_api::{Cpus, DomainConfig};
use noxen_xm_config::sxp::{self, Node as Sxp};
use noxen_xm_config::Limits;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Largest file that is read, bytes.
const LARGEST: u64 = 1 << 20;
const FILE: &str = "config.sxp";

/// Why the managed domains on disk could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum ManagedError {
    /// A file or directory could not be used.
    #[error("cannot {verb} {}: {source}", path.display())]
    Io {
        /// What was tried.
        verb: &'static str,
        /// On what.
        path: PathBuf,
        /// OS error.
        source: io::Error,
    },
    /// A file does not hold a domain.
    #[error("{}: {reason}", path.display())]
    Content {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

/// The managed domains, by UUID in lower case.
pub struct Managed {
    directory: PathBuf,
    table: Mutex<BTreeMap<String, DomainConfig>>,
}

impl Managed {
    /// Reads those of `paths`. One that cannot be read is left where it is and told in the log.
    pub fn open(paths: &Paths) -> Managed {
        let directory = paths.managed_dir();
        let mut table = BTreeMap::new();
        let entries = fs::read_dir(&directory).into_iter().flatten().flatten();
        for path in entries.map(|entry| entry.path().join(FILE)) {
            match read(&path) {
                Ok(config) => {
                    table.insert(key(&config), config);
                }
                Err(ManagedError::Io { source, .. })
                    if source.kind() == io::ErrorKind::NotFound => {}
                Err(e) => error!("a managed domain is left out: {e}"),
            }
        }
        Managed {
            directory,
            table: Mutex::new(table),
        }
    }

    fn table(&self) -> MutexGuard<'_, BTreeMap<String, DomainConfig>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every one, by UUID.
    pub fn all(&self) -> Vec<DomainConfig> {
        self.table().values().cloned().collect()
    }

    /// The one with this UUID.
    pub fn by_uuid(&self, uuid: &str) -> Option<DomainConfig> {
        self.table().get(&uuid.to_ascii_lowercase()).cloned()
    }

    /// The one of this name.
    pub fn by_name(&self, name: &str) -> Option<DomainConfig> {
        self.table().values().find(|c| c.name == name).cloned()
    }

    /// Adds or replaces `config`, which has a UUID; it is on disk when this returns.
    pub fn save(&self, config: DomainConfig) -> Result<(), ManagedError> {
        let mut table = self.table();
        let uuid = key(&config);
        let directory = self.directory.join(&uuid);
        let path = directory.join(FILE);
        let io = |verb, path: &Path| {
            let path = path.to_owned();
            move |source| ManagedError::Io { verb, path, source }
        };
        let text = expression(&config).map_err(|reason| ManagedError::Content {
            path: path.clone(),
            reason,
        })?;
        // The configuration may hold passwords of devices.
        atomic::make_directory(&directory, 0o700).map_err(io("make", &directory))?;
        atomic::write(&path, text.as_bytes(), 0o600).map_err(io("write", &path))?;
        table.insert(uuid, config);
        Ok(())
    }

    /// Forgets the one with this UUID.
    pub fn remove(&self, uuid: &str) -> Result<(), ManagedError> {
        let mut table = self.table();
        let uuid = uuid.to_ascii_lowercase();
        let directory = self.directory.join(&uuid);
        match fs::remove_dir_all(&directory) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                return Err(ManagedError::Io {
                    verb: "remove",
                    path: directory,
                    source: e,
                })
            }
            _ => {}
        }
        table.remove(&uuid);
        Ok(())
    }
}

fn key(config: &DomainConfig) -> String {
    config
        .uuid
        .as_deref()
        .unwrap_or_default()
        .to_ascii_lowercase()
}

fn read(path: &Path) -> Result<DomainConfig, ManagedError> {
    let io = |source| ManagedError::Io {
        verb: "read",
        path: path.to_owned(),
        source,
    };
    let content = |reason: String| ManagedError::Content {
        path: path.to_owned(),
        reason,
    };
    if fs::metadata(path).map_err(io)?.len() > LARGEST {
        return Err(content("it is larger than a configuration can be".into()));
    }
    let text = fs::read_to_string(path).map_err(io)?;
    let node = sxp::parse(&text, &Limits::default()).map_err(|e| content(e.to_string()))?;
    let config = noxen_xm_config::from_sxp(&node).map_err(|e| content(e.to_string()))?;
    let directory = path.parent().and_then(Path::file_name);
    match config.uuid.as_deref().map(str::to_ascii_lowercase) {
        Some(uuid) if directory.is_some_and(|name| *name == *uuid) => Ok(config),
        _ => Err(content("its uuid is not its directory's name".into())),
    }
}

/// The configuration in such a text.
pub fn read_expression(text: &str) -> Result<DomainConfig, String> {
    let node = sxp::parse(text, &Limits::default()).map_err(|e| e.to_string())?;
    noxen_xm_config::from_sxp(&node).map_err(|e| e.to_string())
}

/// `(domain ...)` as text.
pub fn expression(config: &DomainConfig) -> Result<String, String> {
    let mut config = config.clone();
    if let Cpus::PerVcpu(sets) = &mut config.cpus {
        // An empty atom would vanish from the list, and the sets behind it would move to other vCPUs.
        let all: Vec<u32> = (0..host::cpus()).collect();
        for set in sets.iter_mut().filter(|set| set.trim().is_empty()) {
            *set = ranges(&all);
        }
    }
    let node = noxen_xm_config::to_sxp(&config).map_err(|e| e.to_string())?;
    let Sxp::List(mut items) = node else {
        return Err("the configuration makes no list".into());
    };
    if let Some(tag) = items.first_mut() {
        *tag = Sxp::atom("domain");
    }
    Ok(format!("{}\n", Sxp::List(items).pretty()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TempDir;

    const UUID: &str = "5e1ad6c1-9a0b-4a2e-8d8f-0c4b5d2f7a11";

    fn config(name: &str) -> DomainConfig {
        DomainConfig {
            name: name.into(),
            uuid: Some(UUID.into()),
            kernel: "/boot/vmlinuz".into(),
            extra: "console=hvc0 a='b c'".into(),
            vcpus: 2,
            cpus: Cpus::PerVcpu(vec![String::new(), "0".into()]),
            on_xend_start: "start".into(),
            ..DomainConfig::default()
        }
    }

    #[test]
    fn saved_domain_is_read_again_as_it_was() {
        let dir = TempDir::new("managed");
        let paths = Paths::under(dir.path());
        let managed = Managed::open(&paths);
        managed.save(config("a")).unwrap();
        let path = paths.managed_dir().join(UUID).join(FILE);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("(domain\n    (name a)"), "{text}");
        let again = Managed::open(&paths).by_name("a").unwrap();
        assert_eq!(again.extra, config("a").extra);
        assert_eq!(again.on_xend_start, "start");
        match again.cpus {
            Cpus::PerVcpu(sets) => assert_eq!(sets[1], "0"),
            other => panic!("{other:?}"),
        }
        managed.remove(UUID).unwrap();
        assert!(!path.parent().unwrap().exists());
        assert!(Managed::open(&paths).all().is_empty());
    }

    #[test]
    fn damaged_or_misplaced_files_are_left_out() {
        let dir = TempDir::new("managed");
        let paths = Paths::under(dir.path());
        let at = |name: &str, text: &str| {
            let directory = paths.managed_dir().join(name);
            fs::create_dir_all(&directory).unwrap();
            fs::write(directory.join(FILE), text).unwrap();
        };
        at("one", "(domain (name");
        at("two", &expression(&config("two")).unwrap());
        at("three", "(domain (name x) (memory much))");
        fs::create_dir_all(paths.managed_dir().join("four")).unwrap();
        at(UUID, &expression(&config("good")).unwrap());
        let all = Managed::open(&paths).all();
        let names: Vec<_> = all.iter().map(|c| c.name.as_str()).collect();
        assert_eq!(names, ["good"]);
    }
}
