//! The device commands of toolctl, done.

use super::class::Site;
use super::device::Device;
use super::{attach, detach, listing, Origin};
use crate::domain::Domain;
use crate::node::Node;
use noxen_xend_api::device::number;
use noxen_xend_api::{DeviceClass, DeviceConfig, Fault, Response};
use std::sync::Arc;

/// `block-attach`, `network-attach`.
pub fn attach_device(
    node: &Node,
    domain: &Arc<Domain>,
    device: DeviceConfig,
) -> Result<Response, Fault> {
    match &device {
        DeviceConfig::Disk(disk) => super::vbd::check(disk)?,
        DeviceConfig::Vif(_) => {}
        DeviceConfig::Vfb(_) | DeviceConfig::Vkbd => {
            return Err(Fault::generic(
                "A screen cannot be attached to a running domain; put it into vfb= of its configuration",
            ))
        }
    }
    attach(Site { node, domain }, device, Origin::Added).map(|_| Response::Ok)
}

/// `block-detach`, `network-detach`.
pub fn detach_device(
    node: &Node,
    domain: &Arc<Domain>,
    class: DeviceClass,
    name: &str,
    force: bool,
) -> Result<Response, Fault> {
    let record = domain.record();
    let device = find(&record.devices, class, name)?;
    detach(Site { node, domain }, device, force).map(|()| Response::Ok)
}

/// Major number of floppies.
const FLOPPY: u32 = 2;

/// `block-configure`: out with the drive, in with the drive and its new medium.
pub fn configure_device(
    node: &Node,
    domain: &Arc<Domain>,
    device: DeviceConfig,
) -> Result<Response, Fault> {
    let site = Site { node, domain };
    let DeviceConfig::Disk(new) = &device else {
        let class = device.class().name();
        return Err(Fault::generic(format!(
            "{class} devices may not be reconfigured"
        )));
    };
    super::vbd::check(new)?;
    let record = domain.record();
    let old = find(&record.devices, DeviceClass::Vbd, &new.dev)?;
    let refused = || {
        Fault::generic(format!(
            "Refusing to reconfigure device vbd:{} to {}",
            old.devid, new.uname
        ))
    };
    let DeviceConfig::Disk(was) = &old.config else {
        return Err(refused());
    };
    let is_floppy = record.config.is_hvm() && old.devid >> 8 == FLOPPY;
    let (changes, origin) = match is_floppy {
        true => {
            let hvm = &record.config.hvm;
            let origin = crate::wishes::origin_of_floppy(&hvm.fda, &hvm.fdb, old.devid);
            (!new.cdrom, origin)
        }
        false => (was.cdrom && new.cdrom && !new.mode.writes(), Origin::Added),
    };
    if !changes {
        return Err(refused());
    }
    // What cannot be opened must not cost the guest the medium that it has.
    let image = new.image().map_err(|e| Fault::generic(e.to_string()))?;
    super::image::open(&image, new.mode.writes())
        .map_err(|why| super::hotplug::not_connected(old, &why))?;
    detach(site, old, false)?;
    attach(site, device, origin).map(|_| Response::Ok)
}

/// `block-list`, `network-list`.
pub fn list_devices(
    node: &Node,
    domain: &Arc<Domain>,
    class: DeviceClass,
) -> Result<Response, Fault> {
    listing::infos(Site { node, domain }, class).map(|devices| Response::Devices { devices })
}

/// The device that `name` means.
fn find<'a>(devices: &'a [Device], class: DeviceClass, name: &str) -> Result<&'a Device, Fault> {
    let all = devices.iter().filter(|device| device.class() == class);
    let found = meant(all.clone().map(|d| (d.devid, &d.config)), class, name)?;
    all.clone().nth(found).ok_or_else(|| not_there(name))
}

fn not_there(name: &str) -> Fault {
    Fault::generic(format!("Device {name} not connected"))
}

/// Which of a class's devices (number, configuration) `name` means: a number, `CLASS/NUMBER`, a disk's name, an interface's address.
pub fn meant<'a>(
    mut devices: impl Iterator<Item = (u32, &'a DeviceConfig)>,
    class: DeviceClass,
    name: &str,
) -> Result<usize, Fault> {
    let plain = ["vbd/", "tap/", "vif/", "vfb/", "vkbd/"]
        .iter()
        .find_map(|prefix| name.strip_prefix(prefix))
        .unwrap_or(name);
    let devid = match class {
        DeviceClass::Vbd => number::of_name(plain),
        _ => plain.parse().ok(),
    };
    let same_mac = |config: &DeviceConfig| match config {
        DeviceConfig::Vif(vif) => vif.mac.as_deref() == Some(&plain.to_ascii_lowercase()),
        _ => false,
    };
    devices
        .position(|(number, config)| devid == Some(number) || same_mac(config))
        .ok_or_else(|| not_there(name))
}
