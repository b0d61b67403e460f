//! What a class of devices does; `CLASSES` is the registry, one line each.

use super::device::Device;
use super::nodes::ClassNodes;
use super::{console, vbd, vif};
use crate::domain::Domain;
use crate::node::{Node, Options};
use crate::registry::Record;
use noxen_control::device::DeviceSpec;
use noxen_xend_api::{DeviceClass, DeviceConfig, Fault};
use std::os::fd::OwnedFd;
use std::path::PathBuf;

/// Where a device belongs.
#[derive(Clone, Copy)]
pub struct Site<'a> {
    /// The host.
    pub node: &'a Node,
    /// The domain.
    pub domain: &'a Domain,
}

/// What noxen-vmm is sent.
pub struct Opened {
    /// The device.
    pub spec: DeviceSpec,
    /// Its descriptors, in the order that the spec says.
    pub fds: Vec<OwnedFd>,
}

/// A class of devices.
pub trait Class: Sync {
    /// Which.
    fn class(&self) -> DeviceClass;

    /// The number that a new device of `config` gets.
    fn number(&self, record: &Record, config: &DeviceConfig) -> Result<u32, Fault>;

    /// The script that is run for it.
    fn script(&self, options: &Options, config: &DeviceConfig) -> Option<PathBuf>;

    /// Its own nodes.
    fn nodes(&self, device: &Device) -> ClassNodes;

    /// Opens what it needs of the host. Its nodes are in the store. [`Class::close`] follows also when this fails.
    fn open(&self, site: Site<'_>, device: &Device) -> Result<Opened, Fault>;

    /// Takes back what `open` did beyond descriptors. May be done twice.
    fn close(&self, site: Site<'_>, device: &Device);
}

/// All of them.
const CLASSES: &[&dyn Class] = &[&vbd::Vbd, &vif::Vif, &console::Screen, &console::Keyboard];

/// The class called so.
pub fn of(class: DeviceClass) -> &'static dyn Class {
    CLASSES
        .iter()
        .copied()
        .find(|c| c.class() == class)
        .unwrap_or(CLASSES[0])
}
