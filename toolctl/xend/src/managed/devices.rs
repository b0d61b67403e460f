//! Devices of a halted managed domain: entries of its configuration, and nothing on the host.
//!
//! ```text
//!   attach, detach, configure --DomainConfig changed--> config.sxp      list: as it will have them
//! ```

use super::configure as replace;
use crate::devices::{complete, requests::meant};
use crate::node::Node;
use noxen_xend_api::{
    DeviceClass, DeviceConfig, DeviceInfo, Disk, DomainConfig, Fault, Response, Vfb,
};
use std::collections::BTreeMap;

/// Interfaces that a configuration may name: xend's own limit is the guest's.
const MOST: usize = 256;

/// One more device.
pub fn attach(
    node: &Node,
    mut config: DomainConfig,
    device: DeviceConfig,
) -> Result<Response, Fault> {
    match device {
        DeviceConfig::Disk(disk) => config.disk.push(disk),
        DeviceConfig::Vif(vif) => config.vif.push(vif),
        DeviceConfig::Vfb(vfb) if config.vfb.is_empty() => config.vfb.push(vfb.text()),
        DeviceConfig::Vfb(_) => return Err(Fault::generic("The domain has a screen already")),
        // A keyboard comes with the screen.
        DeviceConfig::Vkbd => return Ok(Response::Ok),
    }
    if config.disk.len().max(config.vif.len()) > MOST {
        return Err(Fault::generic(format!(
            "A configuration has at most {MOST} devices of a class"
        )));
    }
    // Judged as a whole: two disks of one name, two interfaces of one address.
    replace(node, complete(config)?)
}

/// One device less.
pub fn detach(
    node: &Node,
    mut config: DomainConfig,
    class: DeviceClass,
    name: &str,
) -> Result<Response, Fault> {
    let position = find(&config, class, name)?;
    match class {
        DeviceClass::Vbd => drop(config.disk.remove(position)),
        DeviceClass::Vif => drop(config.vif.remove(position)),
        DeviceClass::Vfb => drop(config.vfb.remove(position)),
        DeviceClass::Vkbd => {}
    }
    replace(node, config)
}

/// Another medium for a removable drive.
pub fn configure(
    node: &Node,
    mut config: DomainConfig,
    device: DeviceConfig,
) -> Result<Response, Fault> {
    let DeviceConfig::Disk(new) = device else {
        let class = device.class().name();
        return Err(Fault::generic(format!(
            "{class} devices may not be reconfigured"
        )));
    };
    let position = find(&config, DeviceClass::Vbd, &new.dev)?;
    match config.disk.get_mut(position) {
        Some(was) if was.cdrom && new.cdrom && !new.mode.writes() => *was = new,
        _ => {
            return Err(Fault::generic(format!(
                "Refusing to reconfigure device vbd:{} to {}",
                new.dev, new.uname
            )))
        }
    }
    replace(node, complete(config)?)
}

/// As they will be.
pub fn list(config: &DomainConfig, class: DeviceClass) -> Response {
    let devices = all(config, class)
        .into_iter()
        .map(|(devid, config)| DeviceInfo {
            devid,
            class: config.backend_class().to_owned(),
            config,
            backend: String::new(),
            nodes: BTreeMap::new(),
            state: None,
            reason: None,
            disk: None,
        })
        .collect();
    Response::Devices { devices }
}

fn disks(config: &DomainConfig) -> impl Iterator<Item = (u32, &Disk)> {
    let all = config.disk.iter();
    all.filter_map(|disk| Some((disk.number().ok()?, disk)))
}

/// Devices with their numbers, in the configuration's order.
fn all(config: &DomainConfig, class: DeviceClass) -> Vec<(u32, DeviceConfig)> {
    match class {
        DeviceClass::Vbd => disks(config)
            .map(|(number, disk)| (number, DeviceConfig::Disk(disk.clone())))
            .collect(),
        DeviceClass::Vif => (0..)
            .zip(&config.vif)
            .map(|(number, vif)| (number, DeviceConfig::Vif(vif.clone())))
            .collect(),
        DeviceClass::Vfb => (0..)
            .zip(&config.vfb)
            .filter_map(|(number, text)| Some((number, DeviceConfig::Vfb(Vfb::parse(text).ok()?))))
            .collect(),
        DeviceClass::Vkbd => Vec::new(),
    }
}

/// Where in the configuration the device is that `name` means.
fn find(config: &DomainConfig, class: DeviceClass, name: &str) -> Result<usize, Fault> {
    let devices = all(config, class);
    let found = meant(
        devices.iter().map(|(devid, config)| (*devid, config)),
        class,
        name,
    )?;
    let missing = || Fault::generic(format!("Device {name} not connected"));
    let Some((_, wanted)) = devices.get(found) else {
        return Err(missing());
    };
    let position = match wanted {
        DeviceConfig::Disk(disk) => config.disk.iter().position(|known| known == disk),
        _ => Some(found),
    };
    position.ok_or_else(missing)
}
