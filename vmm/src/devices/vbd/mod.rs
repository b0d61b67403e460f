//! Disks: blkif front ends on images of the host.
//!
//! ```text
//!   ring, grants --thread.rs: noxen_devices::pv::block::Queue--> Job --engine/--> image.rs (raw, format.rs)
//!      one thread per ring: waits for {event channel, engine, stop}         io_uring or a pool of threads
//! ```
//! The same images are media of emulated drives: medium.rs.
//!
//! Data goes between image and guest memory without a copy of ours: an engine's vectors point at the granted
//! pages, or it copies between them and a mapped file (mapped/). Guest memory is never unmapped while the process
//! lives, so a front end that takes a page back under a running transfer spoils only its own data.
//!
//! `feature-persistent` is offered only where the device asks for it: it spares a hypervisor's mapping of
//! each page, which costs nothing here, and has the front end copy all data, which does.

mod blocks;
mod counts;
mod engine;
mod format;
mod image;
mod mapped;
pub mod medium;
mod nbd;
mod rings;
mod thread;
mod vectors;
mod vhd;
mod vhdx;
mod vmdk;

pub use counts::Counts;

use crate::devices::backend::{Backend, ConnectError, Context, Frontend, Published, Reporter};
use image::{Image, Wanted};
use noxen_control::device::{DeviceId, DeviceSpec, DiskImage, ImageFormat};
use noxen_devices::pv::block::{Disk, Queue, MAX_INDIRECT_SEGMENTS};
use noxen_pv_abi::blkif::{VDISK_CDROM, VDISK_READONLY, VDISK_REMOVABLE};
use noxen_saved_image::device as state;
use noxen_saved_image::Device;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use thread::QueueThread;

/// Rings of one device.
const MAX_QUEUES: u32 = 4;
/// Pages of a ring as a power of two.
const MAX_RING_PAGE_ORDER: u32 = 4;

/// What the administrator decided about a disk.
#[derive(Debug, Clone)]
pub struct Config {
    /// Which device.
    pub id: DeviceId,
    /// The host's side.
    pub image: DiskImage,
    /// Writes are refused.
    pub readonly: bool,
    /// A CD-ROM.
    pub cdrom: bool,
    /// Bytes of a logical sector.
    pub sector_size: Option<u32>,
    /// Bytes of a physical sector.
    pub physical_sector_size: Option<u32>,
    /// Offer persistent grants.
    pub persistent: bool,
}

/// One disk.
#[derive(Debug)]
pub struct Vbd {
    config: Config,
    context: Context,
    /// The image's descriptor, once more: of a process that goes on with the disk.
    fd: OwnedFd,
    /// None while it is put away.
    image: Option<Arc<Image>>,
    counts: Arc<Counts>,
    disk: Disk,
    physical: u32,
    threads: Vec<QueueThread>,
}

impl Config {
    /// That of `spec`, if it is a disk.
    pub fn of(spec: &DeviceSpec) -> Result<Config, String> {
        let DeviceSpec::Vbd {
            image,
            readonly,
            cdrom,
            sector_size,
            physical_sector_size,
            persistent,
            ..
        } = spec
        else {
            return Err("it is not a disk".into());
        };
        Ok(Config {
            id: spec.id(),
            image: image.clone(),
            readonly: *readonly,
            cdrom: *cdrom,
            sector_size: *sector_size,
            physical_sector_size: *physical_sector_size,
            persistent: *persistent,
        })
    }
}

/// The disk of `spec`, if it is one.
pub fn make(spec: &DeviceSpec, fds: Vec<OwnedFd>, context: &Context) -> Result<Vbd, String> {
    Vbd::new(Config::of(spec)?, fds, context)
}

/// The image of `config`, opened as that says.
fn open_image(config: &Config, fd: OwnedFd) -> Result<image::Opened, String> {
    let wanted = Wanted {
        image: &config.image,
        readonly: config.readonly,
        sector_size: config.sector_size,
        physical_sector_size: config.physical_sector_size,
    };
    image::open(&wanted, fd).map_err(|line| format!("{}: {line}", config.image.path))
}

fn open(config: &Config, fd: OwnedFd) -> Result<image::Opened, String> {
    let path = &config.image.path;
    let opened = open_image(config, fd)?;
    engine::check(config.image.engine, &opened.image).map_err(|line| format!("{path}: {line}"))?;
    Ok(opened)
}

impl Vbd {
    /// Opens the image behind `fds`; an error line says why it cannot be a disk.
    pub fn new(config: Config, fds: Vec<OwnedFd>, context: &Context) -> Result<Vbd, String> {
        let [fd] = <[OwnedFd; 1]>::try_from(fds).map_err(|fds| {
            format!(
                "a disk takes one descriptor, the image's; {} came along",
                fds.len()
            )
        })?;
        let kept = fd
            .try_clone()
            .map_err(|error| format!("{}: {error}", config.image.path))?;
        let opened = open(&config, fd)?;
        let disk = Disk {
            sectors: opened.sectors,
            sector_size: opened.sector_size,
            readonly: config.readonly,
            discard: opened.discard && !config.readonly,
        };
        Ok(Vbd {
            config,
            context: context.clone(),
            fd: kept,
            image: Some(Arc::new(opened.image)),
            counts: Arc::default(),
            disk,
            physical: opened.physical_sector_size,
            threads: Vec::new(),
        })
    }

    /// The image, opened again if it was put away.
    fn image(&mut self) -> Result<Arc<Image>, String> {
        if let Some(image) = &self.image {
            return Ok(image.clone());
        }
        let fd = self.fd.try_clone().map_err(|error| error.to_string())?;
        let image = Arc::new(open(&self.config, fd)?.image);
        self.image = Some(image.clone());
        Ok(image)
    }

    /// What it has carried.
    pub fn counts(&self) -> Arc<Counts> {
        self.counts.clone()
    }

    /// Bits of the node `info` (VDISK_*).
    fn info(&self) -> u32 {
        let mut info = 0;
        if self.config.cdrom {
            // Its medium can be changed, as the node `removable` says.
            info |= VDISK_CDROM | VDISK_REMOVABLE;
        }
        if self.config.readonly {
            info |= VDISK_READONLY;
        }
        info
    }
}

impl Backend for Vbd {
    fn features(&self) -> Published {
        let flag = |on: bool| u32::from(on).to_string();
        let mut nodes = vec![
            ("feature-flush-cache", flag(true)),
            ("feature-barrier", flag(true)),
            ("feature-persistent", flag(self.config.persistent)),
            (
                "feature-max-indirect-segments",
                MAX_INDIRECT_SEGMENTS.to_string(),
            ),
            ("max-ring-page-order", MAX_RING_PAGE_ORDER.to_string()),
            ("multi-queue-max-queues", MAX_QUEUES.to_string()),
            ("feature-discard", flag(self.disk.discard)),
        ];
        if self.disk.discard {
            nodes.extend([
                ("discard-granularity", self.disk.sector_size.to_string()),
                ("discard-alignment", "0".into()),
                ("discard-secure", "0".into()),
            ]);
        }
        nodes
    }

    fn connect(
        &mut self,
        frontend: &mut Frontend<'_>,
        reporter: Reporter,
    ) -> Result<Published, ConnectError> {
        let limits = rings::Limits {
            queues: MAX_QUEUES,
            page_order: MAX_RING_PAGE_ORDER,
        };
        let wiring = rings::read(frontend, limits)?;
        let persistent = self.config.persistent && wiring.persistent;
        let image = self.image().map_err(ConnectError::refused)?;
        let mut threads = Vec::new();
        for (index, wire) in wiring.rings.iter().enumerate() {
            let (pages, ring) = rings::map(&self.context, wire, wiring.protocol)?;
            let channel = self.context.bind(wire.port)?;
            let engine = engine::make(
                self.config.image.engine,
                &image,
                self.context.memory(),
                ring.entries(),
            )
            .map_err(ConnectError::refused)?;
            let grants = *self.context.grants();
            let reporter = reporter.clone();
            let queue = Queue::new(ring, wiring.protocol, grants, self.disk, persistent);
            threads.push(
                QueueThread::start(thread::Work {
                    name: format!("vbd-{}-{index}", self.config.id.devid),
                    memory: self.context.memory().clone(),
                    queue,
                    channel,
                    engine,
                    counts: self.counts.clone(),
                    report: Box::new(move |why| reporter.broken(why)),
                    pages: Some(pages),
                })
                .map_err(ConnectError::refused)?,
            );
        }
        self.threads = threads;
        Ok(vec![
            ("sectors", self.disk.sectors.to_string()),
            ("info", self.info().to_string()),
            ("sector-size", self.disk.sector_size.to_string()),
            ("physical-sector-size", self.physical.to_string()),
        ])
    }

    fn disconnect(&mut self) {
        // Each ends what it has begun when it is dropped.
        self.threads.clear();
    }

    fn freeze(&mut self) -> Device {
        let connected = !self.threads.is_empty();
        // All at once, then each is waited for.
        self.threads.iter().for_each(QueueThread::stop_still);
        self.threads.clear();
        Device::Vbd(state::Vbd {
            devid: self.config.id.devid,
            connected,
        })
    }

    fn take_up(&mut self, _saved: Device) {
        // All of it is in the rings.
    }

    fn again(&self) -> Result<Vec<OwnedFd>, String> {
        if self.config.image.format == ImageFormat::Nbd {
            return Err("a connection to an NBD server cannot be handed over; save and restore the domain instead".into());
        }
        let fd = self.fd.try_clone().map_err(|error| error.to_string())?;
        Ok(vec![fd])
    }

    fn put_away(&mut self) {
        // The threads that used it are gone, so this closes it.
        self.image = None;
    }
}
