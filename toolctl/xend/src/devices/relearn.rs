//! Devices whose record was lost, learnt again: which there are from noxen-vmm, what they are from the store.

use super::device::Device;
use crate::node::Node;
use crate::{monitor::Monitor, warning};
use noxen_control::device::{DeviceClass as MonitorClass, DeviceId};
use noxen_xend_api::device::Mode;
use noxen_xend_api::{DeviceConfig, Disk, Vfb, Vif};

/// The devices that the monitor of `domid` has, those of its nodes that make sense.
pub fn devices(node: &Node, monitor: &Monitor, domid: u32) -> Vec<Device> {
    let statuses = monitor.devices().unwrap_or_default();
    let learn = |id: DeviceId| {
        let device = one(node, domid, id);
        if device.is_none() {
            warning!("domain {domid}: nothing in the store says what device {id} is");
        }
        device
    };
    statuses
        .into_iter()
        .filter_map(|status| learn(status.id))
        .collect()
}

fn one(node: &Node, domid: u32, id: DeviceId) -> Option<Device> {
    let directories: &[&str] = match id.class {
        MonitorClass::Vbd => &["vbd", "tap"],
        MonitorClass::Vif => &["vif"],
        MonitorClass::Vfb => &["vfb"],
        MonitorClass::Vkbd => &["vkbd"],
    };
    let backend = directories
        .iter()
        .map(|class| format!("/local/domain/0/backend/{class}/{domid}/{}", id.devid))
        .find(|path| matches!(node.store.read(&format!("{path}/frontend")), Ok(Some(_))))?;
    let read = |name: &str| {
        let value = node.store.read(&format!("{backend}/{name}")).ok().flatten();
        value.filter(|value| !value.is_empty())
    };
    let config = match id.class {
        MonitorClass::Vbd => {
            let uname = read("type").zip(read("params"));
            let uname = uname.map_or_else(String::new, |(kind, params)| format!("{kind}:{params}"));
            let mode = Mode::parse(&read("mode")?)?;
            let mut disk = Disk::new(&uname, &read("dev")?, mode)
                .or_else(|| Disk::new("", &format!("{}:cdrom", read("dev")?), mode))?;
            disk.cdrom = read("removable").as_deref() == Some("1");
            DeviceConfig::Disk(disk)
        }
        MonitorClass::Vif => {
            let mut vif = Vif::default();
            for name in [
                "mac", "bridge", "ip", "vifname", "type", "model", "accel", "script",
            ] {
                if let Some(value) = read(name) {
                    vif.set(name, &value).ok()?;
                }
            }
            DeviceConfig::Vif(vif)
        }
        MonitorClass::Vfb => {
            let mut vfb = Vfb::default();
            for name in Vfb::KEYS {
                if let Some(value) = read(name) {
                    vfb.set(name, &value).ok()?;
                }
            }
            DeviceConfig::Vfb(vfb)
        }
        MonitorClass::Vkbd => DeviceConfig::Vkbd,
    };
    let class = super::class::of(config.class());
    Some(Device {
        devid: id.devid,
        uuid: read("uuid").or_else(|| crate::create::random_uuid().ok())?,
        bootable: read("bootable").as_deref() == Some("1"),
        script: class.script(&node.options, &config),
        identity: super::image::identity_of(&config),
        config,
    })
}
