//! Screens, classes `vfb` and `vkbd`: one of each for every item of `vfb=`.
//!
//! ```text
//!   vfb = ['vnc=1,..'] --> vkbd 0, vfb 0 --> nodes --> noxen-vmm, with the socket of vnc.rs if it is to be shown
//! ```
//! The store has what was asked for, but no password: a guest may read its back end's nodes.

use super::class::{Class, Opened, Site};
use super::device::Device;
use super::nodes::ClassNodes;
use super::vnc;
use crate::node::{internal, Options};
use crate::registry::Record;
use noxen_control::device::DeviceSpec;
use noxen_xend_api::{DeviceClass, DeviceConfig, Fault, Vfb};
use std::path::PathBuf;

/// What Linux' front end draws on unless it is told otherwise; positions of the pointer are counted in it.
const SCREEN: (u32, u32) = (800, 600);
/// Not for the guest's eyes.
const SECRET: &str = "vncpasswd";

/// See the module.
pub struct Screen;

/// See the module.
pub struct Keyboard;

fn next(record: &Record, class: DeviceClass) -> u32 {
    let numbers = record.devices.iter().filter(|d| d.class() == class);
    numbers.map(|device| device.devid + 1).max().unwrap_or(0)
}

impl Class for Screen {
    fn class(&self) -> DeviceClass {
        DeviceClass::Vfb
    }

    fn number(&self, record: &Record, _: &DeviceConfig) -> Result<u32, Fault> {
        Ok(next(record, DeviceClass::Vfb))
    }

    fn script(&self, _: &Options, _: &DeviceConfig) -> Option<PathBuf> {
        None
    }

    fn nodes(&self, device: &Device) -> ClassNodes {
        let mut nodes = ClassNodes::default();
        if let DeviceConfig::Vfb(vfb) = &device.config {
            let shown = Vfb::KEYS.iter().filter(|key| **key != SECRET);
            let pairs = shown.filter_map(|key| Some((*key, vfb.get(key)?.to_owned())));
            nodes.backend = pairs.collect();
        }
        nodes
    }

    fn open(&self, site: Site<'_>, device: &Device) -> Result<Opened, Fault> {
        let DeviceConfig::Vfb(vfb) = &device.config else {
            return Err(Fault::internal("not a screen"));
        };
        let videoram_mib = vfb.videoram_mib();
        let domid = site.domain.domid();
        if vfb.wants_sdl() {
            crate::warning!(
                "domain {domid}: screen {} is kept, but nothing shows it: SDL is not built yet, vnc=1 is",
                device.devid
            );
        }
        let (vnc, socket) = match vfb.wants_vnc() {
            true => {
                let opened = vnc::open(site, device.devid, vfb)?;
                site.node.store.apply(&opened.nodes).map_err(internal)?;
                (Some(opened.spec), Some(opened.socket))
            }
            false => (None, None),
        };
        Ok(Opened {
            spec: DeviceSpec::Vfb {
                devid: device.devid,
                frontend: device.frontend(domid),
                backend: device.backend(domid),
                videoram_mib: videoram_mib.map_err(|e| Fault::generic(e.to_string()))?,
                vnc,
            },
            fds: socket.into_iter().collect(),
        })
    }

    fn close(&self, _: Site<'_>, _: &Device) {}
}

impl Class for Keyboard {
    fn class(&self) -> DeviceClass {
        DeviceClass::Vkbd
    }

    fn number(&self, record: &Record, _: &DeviceConfig) -> Result<u32, Fault> {
        Ok(next(record, DeviceClass::Vkbd))
    }

    fn script(&self, _: &Options, _: &DeviceConfig) -> Option<PathBuf> {
        None
    }

    fn nodes(&self, _: &Device) -> ClassNodes {
        ClassNodes::default()
    }

    fn open(&self, site: Site<'_>, device: &Device) -> Result<Opened, Fault> {
        let domid = site.domain.domid();
        Ok(Opened {
            spec: DeviceSpec::Vkbd {
                devid: device.devid,
                frontend: device.frontend(domid),
                backend: device.backend(domid),
                width: SCREEN.0,
                height: SCREEN.1,
            },
            fds: Vec::new(),
        })
    }

    fn close(&self, _: Site<'_>, _: &Device) {}
}
