//! `dump-core`: a domain's memory and registers in a file for debuggers, by request or when it crashes.
//!
//! ```text
//!   NAME.new beside the file --noxen-vmm writes--> synced --> renamed --> (-C: torn down, -R: built anew)
//!            \--any error--> NAME.new removed; the domain does what it did before
//! ```

use crate::clock;
use crate::domain::Domain;
use crate::monitor::MonitorError;
use crate::node::{internal, Node};
use crate::registry::{Phase, Record};
use crate::saved::Replacing;
use crate::{info, teardown, watch};
use noxen_xend_api::paths::Paths;
use noxen_xend_api::Fault;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What becomes of the domain afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// It does what it did before.
    Nothing,
    /// It is gone.
    Crash,
    /// It is built anew.
    Reset,
}

/// Dumps the core of a domain to `file`, or to a new one in the usual place.
pub fn dump(
    node: &Arc<Node>,
    domain: &str,
    file: Option<&Path>,
    live: bool,
    after: After,
) -> Result<(), Fault> {
    let _busy = node.begin();
    let domain = node.find_guest(domain, "dump core for")?;
    let mut life = domain.enter();
    let phase = domain.record().phase;
    if life.gone || !matches!(phase, Phase::Running | Phase::Preserved) {
        return Err(Fault::generic("Domain is not running"));
    }
    write(node, &domain, file, live)?;
    match after {
        After::Nothing => {}
        After::Crash => teardown::teardown(node, &domain, &mut life, false),
        After::Reset => drop(watch::restart(node, &domain, &mut life, false)?),
    }
    Ok(())
}

/// Writes the file; whoever calls has entered the domain.
pub fn write(node: &Node, domain: &Domain, file: Option<&Path>, live: bool) -> Result<(), Fault> {
    let record = domain.record();
    let path = match file {
        Some(file) => file.to_owned(),
        None => usual(&node.options.paths, &record)?,
    };
    let cannot = |e: &dyn std::fmt::Display| {
        Fault::generic(format!("Failed to dump core: {}: {e}", path.display()))
    };
    let mut replacing = Replacing::begin(&path).map_err(|e| cannot(&e))?;
    let dumped = domain.monitor().dump_core(live, replacing.file());
    let bytes = dumped.map_err(|e| match e {
        MonitorError::Refused(line) => cannot(&line),
        other => internal(other),
    })?;
    replacing.finish().map_err(|e| cannot(&e))?;
    info!(
        "domain {} (id={}): core dumped to {}, {} MiB of memory",
        record.name,
        record.domid,
        path.display(),
        bytes >> 20
    );
    Ok(())
}

/// A new name in the usual place, which is made where it is not there.
fn usual(paths: &Paths, record: &Record) -> Result<PathBuf, Fault> {
    let dir = paths.dump_dir();
    // Memory holds secrets.
    let made = DirBuilder::new().recursive(true).mode(0o700).create(&dir);
    made.map_err(|e| Fault::generic(format!("Failed to dump core: {}: {e}", dir.display())))?;
    Ok(dir.join(name(clock::now(), &record.name, record.domid)))
}

/// `YYYY-MMDD-HHMM.SS-NAME.DOMID.core`, local time, as xend named them.
fn name(seconds: f64, domain: &str, domid: u32) -> String {
    // YYYY-MM-DD HH:MM:SS
    let stamp: String = clock::stamp(seconds)
        .char_indices()
        .filter_map(|(at, c)| match (at, c) {
            (7 | 13, _) => None,
            (10, _) => Some('-'),
            (16, _) => Some('.'),
            (_, c) => Some(c),
        })
        .collect();
    format!("{stamp}-{}.{domid}.core", domain.replace('/', "_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_is_named_as_xend_named_it() {
        let name = name(1_231_150_000.5, "shop/web", 7);
        assert!(name.starts_with("2009-0105-"), "{name}");
        assert!(name.ends_with("-shop_web.7.core"), "{name}");
        assert_eq!(name.len(), "2009-0105-HHMM.SS-shop_web.7.core".len());
        assert_eq!(&name[14..15], ".");
    }
}
