//! Domains on disk: `save`, `restore`, and `suspend` and `resume` of managed ones (docs/save-restore.md).
//!
//! ```text
//!   save: NAME.new beside the file --noxen-vmm writes--> synced --> renamed --> domain torn down (or runs on: -c)
//!            \--any error--> NAME.new removed, the domain runs on
//!   restore: the image's configuration and parts --> admit (name, UUID, memory; the old id if it is free)
//!            --> noxen-vmm restores, paused; meanwhile store nodes as the guest left them, devices opened
//!            --> devices joined, as the guest left them --> unpaused
//!            \--any error--> torn down; the file stays, also after success
//! ```

mod file;
mod nodes;

pub use file::Replacing;
pub use nodes::guests_own;

use crate::create;
use crate::devices::kept::{self, Kept};
use crate::domain::Domain;
use crate::managed;
use crate::monitor::{Monitor, MonitorError};
use crate::node::{internal, Node, Target};
use crate::registry::Phase;
use crate::store_nodes::GUEST_DIRECTORIES;
use crate::watch::fresh_config;
use crate::{devices, info, requests, teardown, validate};
use noxen_saved_image::{Reader, Saved};
use noxen_xend_api::migrate::SaveHow;
use noxen_xend_api::{DomainConfig, Fault};
use std::fs::File;
use std::io::{BufReader, Seek};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Name of a suspended managed domain's image, beside its configuration.
const CHECKPOINT: &str = "checkpoint.chk";

/// Writes a running domain to `path` and ends it, or with `checkpoint` lets it run on. A file that is there is replaced.
pub fn save(
    node: &Node,
    domain: &str,
    path: &Path,
    checkpoint: bool,
    how: SaveHow,
) -> Result<(), Fault> {
    let _busy = node.begin();
    let domain = node.find_guest(domain, "save")?;
    save_guest(node, &domain, path, checkpoint, how)
}

fn save_guest(
    node: &Node,
    domain: &Domain,
    path: &Path,
    checkpoint: bool,
    how: SaveHow,
) -> Result<(), Fault> {
    let mut life = domain.enter();
    let record = domain.record();
    if life.gone || record.phase != Phase::Running {
        return Err(Fault::generic("Domain is not running"));
    }
    let cannot = |e: &dyn std::fmt::Display| {
        Fault::generic(format!(
            "can't write guest state file {}: {e}",
            path.display()
        ))
    };
    let config = fresh_config(&record.config, &record.name, &record.uuid);
    let config = managed::expression(&config).map_err(Fault::internal)?;
    let was_paused = domain.monitor().status().map_err(internal)?.paused;
    let mut replacing = Replacing::begin(path).map_err(|e| cannot(&e))?;
    let directories = GUEST_DIRECTORIES.map(str::to_owned).to_vec();
    let begun = node.under_way.begin(record.domid, None);
    let ticket = begun.map_err(internal)?;
    let saver = domain.monitor().saver().map_err(internal)?;
    ticket.link(saver.stream())?;
    let saved = Monitor::save(saver, config, directories, how, replacing.file());
    let standing = saved.map_err(|e| {
        ticket.explain(match e {
            MonitorError::Refused(line) => cannot(&line),
            other => internal(other),
        })
    })?;
    // From here the domain stands still, until it is gone or `standing` is. What takes long may still be cancelled.
    let written = replacing.file().sync_all().map_err(|e| cannot(&e));
    let written = written
        .and_then(|()| ticket.commit())
        .and_then(|()| replacing.finish().map_err(|e| cannot(&e)));
    if (written.is_err() || checkpoint) && !was_paused {
        domain.monitor().unpause().map_err(internal)?;
    }
    written?;
    info!(
        "domain {} (id={}) is saved in {}, {} MiB of memory",
        record.name,
        record.domid,
        path.display(),
        standing.bytes >> 20
    );
    if !checkpoint {
        teardown::teardown(node, domain, &mut life, false);
    }
    drop(standing);
    Ok(())
}

/// Makes a domain out of the image in `path`; it runs unless `paused`.
/// All of the file is checked before anything runs, unless `lazy`: then its memory is read as the guest touches it.
pub fn restore(
    node: &Arc<Node>,
    path: &Path,
    paused: bool,
    lazy: bool,
) -> Result<Arc<Domain>, Fault> {
    let _busy = node.begin();
    let image = Image {
        lazy,
        ..open(path)?
    };
    let domain = create::restore(node, image)?;
    info!(
        "domain {} (id={}) is restored from {}",
        domain.name(),
        domain.domid(),
        path.display()
    );
    if paused {
        return Ok(domain);
    }
    match domain.monitor().unpause() {
        Ok(()) => Ok(domain),
        Err(e) => {
            teardown::teardown(node, &domain, &mut domain.enter(), false);
            Err(requests::refused(e))
        }
    }
}

/// What xend needs of an image.
pub struct Image {
    /// The file, at its start.
    pub file: File,
    /// The connection that it goes on in, where it comes from another host.
    pub stream: Option<OwnedFd>,
    /// The connection for pages that come after it, by post-copy.
    pub pages: Option<OwnedFd>,
    /// Its memory is read as the guest touches it.
    pub lazy: bool,
    /// The domain's configuration.
    pub config: DomainConfig,
    /// Domain id that it had.
    pub domid: u32,
    /// MiB that it had at boot.
    pub memory_mib: u64,
    /// vCPUs.
    pub vcpus: u32,
    /// Nodes of the store below its home.
    pub nodes: Vec<(String, String)>,
    /// Devices.
    pub devices: Vec<Kept>,
}

fn open(path: &Path) -> Result<Image, Fault> {
    let shown = path.display();
    let file = File::options()
        .read(true)
        // A FIFO must not hold xend up.
        .custom_flags(rustix::fs::OFlags::NONBLOCK.bits() as i32)
        .open(path)
        .and_then(|file| match file.metadata()?.is_file() {
            true => Ok(file),
            false => Err(std::io::Error::other("not a regular file")),
        })
        .map_err(|e| Fault::generic(format!("can't read guest state file {shown}: {e}")))?;
    let bad = |e: noxen_saved_image::ImageError| Fault::generic(e.to_string());
    let mut reader = Reader::open(BufReader::new(&file)).map_err(bad)?;
    let (state, _) = Saved::read(&mut reader).map_err(bad)?;
    let config = managed::read_expression(reader.config())
        .map_err(|e| Fault::generic(format!("not a valid guest state file: config parse: {e}")))?;
    drop(reader);
    let config = devices::complete(config)?;
    let (domid, memory_mib) = (state.domid(), state.memory_mib());
    let vcpus = state.vcpus().len() as u32;
    let (nodes, devices) = match (state, config.is_hvm()) {
        (Saved::Pv(state), false) => {
            let devices = kept::of_image(&config, &state.devices)?;
            (nodes::of_image(state.nodes.unwrap_or_default()), devices)
        }
        (Saved::Hvm(_), true) => (Vec::new(), Vec::new()),
        _ => {
            return Err(Fault::generic(
                "not a valid guest state file: its configuration is of another kind of domain than its state",
            ))
        }
    };
    (&file).rewind().map_err(internal)?;
    Ok(Image {
        file,
        stream: None,
        pages: None,
        lazy: false,
        config,
        domid,
        memory_mib,
        vcpus,
        nodes,
        devices,
    })
}

/// Does the configuration in an image fit the rest of it?
pub(crate) fn check(image: &Image, plan: &validate::Plan) -> Result<(), Fault> {
    if plan.vcpus != image.vcpus {
        return Err(Fault::generic(format!(
            "not a valid guest state file: {} vCPUs in its configuration, {} in its state",
            plan.vcpus, image.vcpus
        )));
    }
    Ok(())
}

fn checkpoint(node: &Node, uuid: &str) -> PathBuf {
    let uuid = uuid.to_ascii_lowercase();
    node.options.paths.managed_dir().join(uuid).join(CHECKPOINT)
}

/// Is the halted managed domain suspended?
pub fn is_suspended(node: &Node, config: &DomainConfig) -> bool {
    let uuid = config.uuid.as_deref().unwrap_or_default();
    checkpoint(node, uuid).exists()
}

/// `suspend`: a managed domain to disk, to its own place.
pub fn suspend(node: &Node, domain: &str) -> Result<(), Fault> {
    let _busy = node.begin();
    let domain = node.find_guest(domain, "suspend")?;
    suspend_guest(node, &domain)
}

/// The same of a domain that was found.
pub fn suspend_guest(node: &Node, domain: &Domain) -> Result<(), Fault> {
    let uuid = domain.record().uuid;
    if node.managed.by_uuid(&uuid).is_none() {
        return Err(Fault::generic(
            "Domain is not managed by Xend lifecycle support.",
        ));
    }
    save_guest(
        node,
        domain,
        &checkpoint(node, &uuid),
        false,
        SaveHow::default(),
    )
}

/// `resume`: a suspended domain goes on; its image is gone afterwards.
pub fn resume(node: &Arc<Node>, domain: &str, paused: bool) -> Result<(), Fault> {
    let config = match node.find(domain)? {
        Target::Managed(config) => config,
        Target::Guest(_) | Target::Host => {
            return Err(Fault::generic(
                "Cannot resume domain that is not suspended.",
            ))
        }
    };
    if !is_suspended(node, &config) {
        return Err(Fault::generic("Domain was not suspended by Xend"));
    }
    let path = checkpoint(node, config.uuid.as_deref().unwrap_or_default());
    // The file goes when this has worked, so all of it is to be found good before.
    restore(node, &path, paused, false)?;
    // Left behind, it would bring the domain back to this moment once more.
    std::fs::remove_file(&path).map_err(|e| {
        Fault::internal(format!(
            "the domain runs, but {} stays: {e}",
            path.display()
        ))
    })
}
