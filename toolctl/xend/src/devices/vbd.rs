//! Disks: classes `vbd` and `tap`.
//!
//! ```text
//!   phy: file: tap: nbd:  --image::open--> fd + identity --sharing--> noxen-vmm
//!   NAME:PARAMS           --block-NAME add--> node or physical-device --open--> ...
//! ```
//! Where the host has a script `block`, as Xen's own has, it is run for `phy:`, too.

use super::class::{Class, Opened, Site};
use super::device::{Device, Identity};
use super::hotplug::{self, not_connected};
use super::image;
use super::nodes::ClassNodes;
use super::sharing::{self, Holder};
use crate::node::{internal, Options};
use crate::registry::Record;
use crate::store::StoreOp;
use noxen_control::device::DeviceSpec;
use noxen_xend_api::device::number::EXTENDED;
use noxen_xend_api::device::Image;
use noxen_xend_api::{DeviceClass, DeviceConfig, Disk, Fault};
use std::path::PathBuf;
use std::sync::PoisonError;

/// See the module.
pub struct Vbd;

fn disk(config: &DeviceConfig) -> Result<&Disk, Fault> {
    match config {
        DeviceConfig::Disk(disk) => Ok(disk),
        _ => Err(Fault::internal("not a disk")),
    }
}

fn generic(e: impl std::fmt::Display) -> Fault {
    Fault::generic(e.to_string())
}

/// A disk that cannot be whatever the host has.
pub fn check(disk: &Disk) -> Result<(), Fault> {
    disk.number().map_err(generic)?;
    disk.image().map_err(generic)?;
    if disk.cdrom && disk.mode.writes() {
        return Err(Fault::generic(format!(
            "Invalid disk {}: a cdrom has mode r",
            disk.text()
        )));
    }
    Ok(())
}

impl Class for Vbd {
    fn class(&self) -> DeviceClass {
        DeviceClass::Vbd
    }

    fn number(&self, record: &Record, config: &DeviceConfig) -> Result<u32, Fault> {
        let disk = disk(config)?;
        check(disk)?;
        let number = disk.number().map_err(generic)?;
        let taken = |d: &Device| d.class() == DeviceClass::Vbd && d.devid == number;
        match record.devices.iter().any(taken) {
            true => Err(Fault::generic(format!(
                "Device {number} is already connected."
            ))),
            false => Ok(number),
        }
    }

    fn script(&self, options: &Options, config: &DeviceConfig) -> Option<PathBuf> {
        let image = disk(config).ok()?.image().ok()?;
        let (name, wanted) = match &image {
            Image::Phy(_) => ("block".to_owned(), false),
            Image::Script(kind, _) => (format!("block-{kind}"), kind != "nbd"),
            _ => return None,
        };
        let path = hotplug::script_path(options, &name);
        (wanted || hotplug::is_executable(&path)).then_some(path)
    }

    fn nodes(&self, device: &Device) -> ClassNodes {
        let Ok(disk) = disk(&device.config) else {
            return ClassNodes::default();
        };
        let (kind, params) = disk.type_and_params();
        // Front ends know by the name whether to expect the wide numbers.
        let number = match device.devid >= EXTENDED {
            true => "virtual-device-ext",
            false => "virtual-device",
        };
        let mut frontend = vec![
            (number, device.devid.to_string()),
            ("device-type", disk.device_type().into()),
        ];
        if let Some(protocol) = &disk.protocol {
            frontend.push(("protocol", protocol.clone()));
        }
        let flag = |set: bool| u32::from(set).to_string();
        ClassNodes {
            frontend,
            backend: vec![
                ("dev", disk.dev.clone()),
                ("type", kind.into()),
                ("params", params.into()),
                ("mode", disk.mode.text().into()),
                ("removable", flag(disk.cdrom)),
                ("bootable", flag(device.bootable)),
            ],
        }
    }

    fn open(&self, site: Site<'_>, device: &Device) -> Result<Opened, Fault> {
        let disk = disk(&device.config)?;
        let image = disk.image().map_err(generic)?;
        let writes = disk.mode.writes();
        hotplug::come(site, device, "add", &[])?;
        let opened = match (&image, &device.script) {
            (Image::Script(..), Some(_)) => {
                image::open_made_by_script(&made(site, device)?, writes)
            }
            _ => image::open(&image, writes),
        }
        .map_err(|why| refuse(site, device, "error", &why))?;
        if let Some(identity) = opened.identity {
            claim(site, device, disk, &image, identity)?;
        }
        if let Some(begin) = &opened.begin {
            begin.say().map_err(|e| {
                let why = format!("Its descriptor cannot be written: {e}");
                refuse(site, device, "error", &why)
            })?;
        }
        let backend = device.backend(site.domain.domid());
        let mut ops = vec![StoreOp::Write(
            format!("{backend}/hotplug-status"),
            "connected".into(),
        )];
        if let Some(physical) = opened.identity.and_then(Identity::physical_device) {
            let path = format!("{backend}/physical-device");
            ops.insert(0, StoreOp::Write(path, physical));
        }
        site.node.store.apply(&ops).map_err(internal)?;
        let spec = DeviceSpec::Vbd {
            devid: device.devid,
            frontend: device.frontend(site.domain.domid()),
            backend,
            image: opened.image,
            readonly: !writes,
            cdrom: disk.cdrom,
            sector_size: None,
            physical_sector_size: None,
            persistent: false,
        };
        let fds = vec![opened.fd];
        Ok(Opened { spec, fds })
    }

    fn close(&self, site: Site<'_>, device: &Device) {
        hotplug::go(site, device, "remove", &[]);
    }
}

/// The block device that a script says it has made.
fn made(site: Site<'_>, device: &Device) -> Result<String, Fault> {
    let backend = device.backend(site.domain.domid());
    let read = |name: &str| {
        let value = site.node.store.read(&format!("{backend}/{name}"));
        value.map_err(internal)
    };
    let node = read("node")?.filter(|node| node.starts_with("/dev/"));
    if let Some(node) = node {
        return Ok(node);
    }
    let numbers = read("physical-device")?;
    let numbers = numbers.as_deref().and_then(|text| {
        let (major, minor) = text.split_once(':')?;
        let hex = |text| u32::from_str_radix(text, 16).ok();
        Some((hex(major)?, hex(minor)?))
    });
    match numbers {
        Some((major, minor)) => Ok(format!("/dev/block/{major}:{minor}")),
        None => Err(not_connected(
            device,
            "Its hotplug script wrote neither node nor physical-device.",
        )),
    }
}

/// Sees that nobody else has it, and from then on it is this device's.
fn claim(
    site: Site<'_>,
    device: &Device,
    disk: &Disk,
    image: &Image,
    identity: Identity,
) -> Result<(), Fault> {
    // From the look at the others until ours can be seen.
    let gate = &site.node.sharing;
    let _gate = gate.lock().unwrap_or_else(PoisonError::into_inner);
    let holders = holders(site);
    let uuid = site.domain.record().uuid;
    if let Some(why) = sharing::refusal(image, disk.mode, identity, &uuid, &holders) {
        return Err(refuse(site, device, "busy", &why));
    }
    site.node.save(site.domain, |record| {
        for ours in &mut record.devices {
            if ours.id() == device.id() {
                ours.identity = Some(identity);
            }
        }
    })?;
    Ok(())
}

/// Every disk of every domain.
fn holders(site: Site<'_>) -> Vec<Holder> {
    let mut all = Vec::new();
    for domain in site.node.domains() {
        domain.look(|record| {
            for device in &record.devices {
                if let (Some(identity), DeviceConfig::Disk(disk)) =
                    (device.identity, &device.config)
                {
                    all.push(Holder {
                        uuid: record.uuid.clone(),
                        identity,
                        writes: disk.mode.writes(),
                    });
                }
            }
        });
    }
    all
}

/// Leaves the reason where Xen's scripts left it, and makes it the answer.
fn refuse(site: Site<'_>, device: &Device, status: &str, why: &str) -> Fault {
    let backend = device.backend(site.domain.domid());
    let write = |name: &str, value: &str| StoreOp::Write(format!("{backend}/{name}"), value.into());
    let ops = [write("hotplug-error", why), write("hotplug-status", status)];
    if let Err(e) = site.node.store.apply(&ops) {
        crate::warning!("domain {}: {e}", site.domain.domid());
    }
    match status {
        "busy" => hotplug::busy(device, why),
        _ => not_connected(device, why),
    }
}
