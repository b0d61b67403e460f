//! What is told of devices: rows of `block-list` and `network-list`, and their part of `list -l`.

use super::class::Site;
use super::device::Device;
use super::monitor_class;
use crate::node::internal;
use noxen_control::device::{DeviceState, DeviceStatus};
use noxen_xend_api::{DeviceClass, DeviceConfig, DeviceInfo, DiskTraffic, Fault};
use noxen_xm_config::sxp::Node as Sxp;
use noxen_xm_config::{disk_node, vfb_node, vif_node};
use std::collections::BTreeMap;

/// Nodes of a front end that are shown, at most: the guest owns the directory.
const MAX_NODES: usize = 64;
/// Longest value shown, characters.
const MAX_VALUE: usize = 256;

/// The devices of `class`, by number.
pub fn infos(site: Site<'_>, class: DeviceClass) -> Result<Vec<DeviceInfo>, Fault> {
    let record = site.domain.record();
    let mut devices: Vec<&Device> = record
        .devices
        .iter()
        .filter(|device| device.class() == class)
        .collect();
    devices.sort_by_key(|device| device.devid);
    if devices.is_empty() {
        return Ok(Vec::new());
    }
    let statuses = site.domain.monitor().devices().unwrap_or_default();
    devices
        .into_iter()
        .map(|device| {
            let status = statuses.iter().find(|status| {
                status.id.class == monitor_class(class) && status.id.devid == device.devid
            });
            info(site, device, status)
        })
        .collect()
}

fn info(
    site: Site<'_>,
    device: &Device,
    status: Option<&DeviceStatus>,
) -> Result<DeviceInfo, Fault> {
    let domid = site.domain.domid();
    let frontend = device.frontend(domid);
    let store = &site.node.store;
    let mut nodes = BTreeMap::new();
    for name in store
        .directory(&frontend)
        .map_err(internal)?
        .into_iter()
        .take(MAX_NODES)
    {
        let value = store.read(&format!("{frontend}/{name}"));
        if let Some(value) = value.map_err(internal)? {
            nodes.insert(name, shown(&value));
        }
    }
    // A front end with several queues has its rings one level below.
    for name in ["tx-ring-ref", "rx-ring-ref", "event-channel"] {
        if !nodes.contains_key(name) && nodes.contains_key("queue-0") {
            let value = store.read(&format!("{frontend}/queue-0/{name}"));
            if let Some(value) = value.map_err(internal)? {
                nodes.insert(name.into(), shown(&value));
            }
        }
    }
    Ok(DeviceInfo {
        devid: device.devid,
        class: device.config.backend_class().into(),
        config: device.config.clone(),
        backend: device.backend(domid),
        nodes,
        state: status.map(|status| state_word(status.state).to_owned()),
        reason: status.and_then(|status| status.reason.clone()),
        disk: status
            .and_then(|status| status.disk)
            .map(|counts| DiskTraffic {
                reads: counts.reads,
                read_bytes: counts.read_bytes,
                writes: counts.writes,
                written_bytes: counts.written_bytes,
            }),
    })
}

/// A guest's text, fit for a terminal.
fn shown(value: &str) -> String {
    value
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(MAX_VALUE)
        .collect()
}

fn state_word(state: DeviceState) -> &'static str {
    match state {
        DeviceState::Waiting => "waiting",
        DeviceState::Connected => "connected",
        DeviceState::Closing => "closing",
        DeviceState::Closed => "closed",
        DeviceState::Broken => "broken",
    }
}

/// `(device (vbd ..))` as `list -l` shows it.
pub fn sxp(device: &Device) -> Sxp {
    let mut node = match &device.config {
        DeviceConfig::Disk(disk) => {
            let node = disk_node(disk);
            let dev = format!("{}:{}", disk.dev, disk.device_type());
            let members = node.members().iter().map(|member| match member.key() {
                Some("dev") => Sxp::pair("dev", dev.as_str()),
                _ => member.clone(),
            });
            Sxp::list(disk.class(), members.collect())
        }
        DeviceConfig::Vif(vif) => vif_node(vif),
        DeviceConfig::Vfb(vfb) => vfb_node(vfb),
        DeviceConfig::Vkbd => Sxp::list("vkbd", Vec::new()),
    };
    if let (Some(script), None) = (&device.script, node.get("script")) {
        if device.class() == DeviceClass::Vif {
            node.push(Sxp::pair("script", script.display().to_string()));
        }
    }
    node.push(Sxp::pair("uuid", device.uuid.as_str()));
    if node.get("backend").is_none() {
        node.push(Sxp::pair("backend", "0"));
    }
    if device.class() == DeviceClass::Vbd {
        node.push(Sxp::pair(
            "bootable",
            u32::from(device.bootable).to_string(),
        ));
        node.push(Sxp::pair("VDI", ""));
    }
    Sxp::list("device", vec![node])
}
