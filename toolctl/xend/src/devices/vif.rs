//! Network interfaces: class `vif`.
//!
//! ```text
//!   tap vifN.I made --> SCRIPT online (joins a bridge, ..) --> hotplug-status --> queues to noxen-vmm
//!   noxen-vmm lets go: the tap vanishes --> SCRIPT offline
//! ```
//! An HVM domain's interface is an emulated card; its tap is called tapN.I.

use super::class::{Class, Opened, Site};
use super::device::Device;
use super::hotplug::{self, not_connected};
use super::nodes::ClassNodes;
use super::tap;
use crate::node::Options;
use crate::registry::Record;
use crate::{hvm, resources, warning};
use noxen_control::device::{DeviceSpec, NicModel, VifRate};
use noxen_xend_api::device::Rate;
use noxen_xend_api::{DeviceClass, DeviceConfig, Fault, Vif as Config};
use std::os::fd::OwnedFd;
use std::path::PathBuf;

/// See the module.
pub struct Vif;

fn vif(config: &DeviceConfig) -> Result<&Config, Fault> {
    match config {
        DeviceConfig::Vif(vif) => Ok(vif),
        _ => Err(Fault::internal("not a network interface")),
    }
}

/// The host's interface before a script gives it another name.
fn interface(site: Site<'_>, device: &Device) -> String {
    let kind = match site.domain.record().config.is_hvm() {
        true => "tap",
        false => "vif",
    };
    format!("{kind}{}.{}", site.domain.domid(), device.devid)
}

/// The card that an HVM domain's interface is to be.
pub fn card(vif: &Config) -> Result<NicModel, Fault> {
    let refuse = |what: String| Fault::generic(format!("Invalid Configuration: vif: {what}"));
    if let Some(other) = vif.r#type.as_deref().filter(|kind| *kind != "ioemu") {
        return Err(refuse(format!(
            "type={other} of an HVM domain is not supported yet; use type=ioemu"
        )));
    }
    if vif.rate().is_some_and(|rate| rate != Rate::UNLIMITED) {
        return Err(refuse(
            "rate of an HVM domain's card is not supported yet; remove it".into(),
        ));
    }
    let Some(name) = vif.model.as_deref() else {
        return Ok(NicModel::default());
    };
    NicModel::of(name).ok_or_else(|| {
        let known = NicModel::ALL.map(NicModel::name).join(", ");
        refuse(format!(
            "model={name} is not supported yet; there are {known}"
        ))
    })
}

/// The ROM by which firmware boots from the network, if the configuration wants that and the host has it.
fn boot_rom(site: Site<'_>, device: &Device, card: NicModel) -> Result<Option<OwnedFd>, Fault> {
    if !site.domain.record().config.hvm.boot.contains('n') {
        return Ok(None);
    }
    let path = hvm::boot_rom(card);
    if !path.exists() {
        warning!(
            "domain {}: vif {} cannot boot from the network: there is no {} (package ipxe-qemu)",
            site.domain.domid(),
            device.devid,
            path.display()
        );
        return Ok(None);
    }
    let file = resources::open_image(&path, "Boot ROM")?;
    Ok(Some(file.into()))
}

impl Class for Vif {
    fn class(&self) -> DeviceClass {
        DeviceClass::Vif
    }

    fn number(&self, record: &Record, config: &DeviceConfig) -> Result<u32, Fault> {
        let new = vif(config)?;
        for device in &record.devices {
            if let DeviceConfig::Vif(old) = &device.config {
                if old.mac == new.mac {
                    return Err(Fault::generic(format!(
                        "The mac \"{}\" is already defined",
                        new.mac.as_deref().unwrap_or("")
                    )));
                }
            }
        }
        Ok(record.next_vif)
    }

    fn script(&self, options: &Options, config: &DeviceConfig) -> Option<PathBuf> {
        let asked = vif(config).ok()?.script.as_deref();
        let name = asked.unwrap_or(&options.vif_script);
        Some(hotplug::script_path(options, name))
    }

    fn nodes(&self, device: &Device) -> ClassNodes {
        let Ok(vif) = vif(&device.config) else {
            return ClassNodes::default();
        };
        let mac = vif.mac.clone().unwrap_or_default();
        let script = device.script.as_ref();
        let script = script.map_or_else(String::new, |path| path.display().to_string());
        let mut backend = vec![
            ("script", script),
            ("mac", mac.clone()),
            ("handle", device.devid.to_string()),
        ];
        for (name, value) in [
            ("bridge", &vif.bridge),
            ("ip", &vif.ip),
            ("vifname", &vif.vifname),
            ("type", &vif.r#type),
            ("model", &vif.model),
            ("accel", &vif.accel),
        ] {
            if let Some(value) = value {
                backend.push((name, value.clone()));
            }
        }
        if let Some(rate) = vif.rate() {
            backend.push(("rate", rate.to_string()));
        }
        ClassNodes {
            frontend: vec![("handle", device.devid.to_string()), ("mac", mac)],
            backend,
        }
    }

    fn open(&self, site: Site<'_>, device: &Device) -> Result<Opened, Fault> {
        let vif = vif(&device.config)?;
        let name = interface(site, device);
        let config = site.domain.record().config;
        let (model, rom, vcpus) = match config.is_hvm() {
            true => {
                let card = card(vif)?;
                (card, boot_rom(site, device, card)?, 1)
            }
            // A paravirtual domain has no card.
            false => (NicModel::default(), None, config.vcpus.clamp(1, 64) as u32),
        };
        let mut fds = tap::create(&site.node.options.tun, &name, vcpus).map_err(|e| {
            not_connected(device, &format!("The interface {name} cannot be made: {e}"))
        })?;
        hotplug::come(site, device, "online", &[("vif", &name)])?;
        let rate = vif.rate().filter(|rate| *rate != Rate::UNLIMITED);
        let spec = DeviceSpec::Vif {
            devid: device.devid,
            frontend: device.frontend(site.domain.domid()),
            backend: device.backend(site.domain.domid()),
            mac: vif.mac.clone().unwrap_or_default(),
            rate: rate.map(|rate| VifRate {
                bytes: rate.bytes.into(),
                interval_us: rate.interval_us.into(),
            }),
            model,
            rom: rom.is_some(),
        };
        fds.extend(rom);
        Ok(Opened { spec, fds })
    }

    fn close(&self, site: Site<'_>, device: &Device) {
        hotplug::go(
            site,
            device,
            "offline",
            &[("vif", &interface(site, device))],
        );
    }
}
