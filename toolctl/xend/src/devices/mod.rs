//! Devices of domains: their nodes in the store, their scripts, what of the host they stand for, and their way into and out
//! of noxen-vmm, which is their back end.
//!
//! ```text
//!   attach:  number -> record -> nodes (both ends Initialising) -> open (script, image, tap, sharing) -> AttachDevice + fds
//!   detach:  online = 0 -> DetachDevice -> closed -> script -> nodes gone -> record
//!   domain gone: scripts -> nodes gone          xend was away: what noxen-vmm has no more is taken apart
//! ```
//! The record on disk has a device before anything is made of it and until nothing of it is left. Scripts and the guest
//! may be slow, so a domain's devices have a lock of their own beside its life's.

pub mod class;
mod console;
pub mod device;
pub mod hotplug;
mod image;
pub mod kept;
mod listing;
mod mac;
mod nbd;
pub mod nodes;
pub mod relearn;
pub mod requests;
mod sharing;
mod tap;
pub mod vbd;
mod vif;
mod vmdk;
pub(crate) mod vnc;

pub use class::Site;
pub use device::Device;
pub use listing::sxp;

use crate::create::random_uuid;
use crate::domain::Domain;
use crate::hvm;
use crate::monitor::MonitorError;
use crate::node::{internal, Node};
use crate::store::StoreOp;
use crate::store_nodes::DOMAIN_0_NAME;
use crate::{debug, info, warning};
use hotplug::not_connected;
use noxen_control::device::{DeviceClass as MonitorClass, DeviceId, DeviceState};
use noxen_xend_api::{DeviceClass, DeviceConfig, DomainConfig, Fault, Vfb};
use std::sync::Arc;

/// Where a device came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The configuration, when the domain was built.
    Configured,
    /// A command, while it ran: from now on it is part of the configuration.
    Added,
}

/// Judges the devices of a configuration and gives network interfaces their addresses.
pub fn complete(mut config: DomainConfig) -> Result<DomainConfig, Fault> {
    let disks = [config.disk.clone(), hvm::implied_disks(&config)].concat();
    for disk in &disks {
        vbd::check(disk)?;
    }
    let mut seen = std::collections::BTreeSet::new();
    for disk in &disks {
        if !seen.insert(disk.number().ok()) {
            return Err(already_defined("device", &disk.dev));
        }
    }
    let unames = disks.iter().map(|disk| disk.uname.as_str());
    if let Some(uname) = twice(unames.filter(|uname| !uname.is_empty())) {
        return Err(already_defined("uname", uname));
    }
    for text in &config.vfb {
        screen(text)?;
    }
    config.vif = config
        .vif
        .into_iter()
        .map(complete_vif)
        .collect::<Result<_, _>>()?;
    for vif in config.vif.iter().filter(|_| config.is_hvm()) {
        vif::card(vif)?;
    }
    if let Some(mac) = twice(config.vif.iter().filter_map(|vif| vif.mac.as_deref())) {
        return Err(already_defined("mac", mac));
    }
    Ok(config)
}

fn screen(text: &str) -> Result<Vfb, Fault> {
    Vfb::parse(text).map_err(|e| Fault::generic(e.to_string()))
}

fn complete_vif(vif: noxen_xend_api::Vif) -> Result<noxen_xend_api::Vif, Fault> {
    let mut vif = vif.checked().map_err(|e| Fault::generic(e.to_string()))?;
    if vif.mac.is_none() {
        vif.mac = Some(mac::random().map_err(internal)?);
    }
    Ok(vif)
}

fn twice<'a>(words: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let mut seen = std::collections::BTreeSet::new();
    words.into_iter().find(|word| !seen.insert(*word))
}

fn already_defined(what: &str, which: &str) -> Fault {
    Fault::generic(format!("The {what} \"{which}\" is already defined"))
}

/// Gives a domain that has just been built the devices of its configuration.
pub fn attach_configured(site: Site<'_>) -> Result<(), Fault> {
    for device in configured(site.domain.record().config)? {
        attach(site, device, Origin::Configured)?;
    }
    Ok(())
}

/// The devices of a configuration, in the order in which a domain gets them.
fn configured(mut config: DomainConfig) -> Result<Vec<DeviceConfig>, Fault> {
    config.disk.extend(hvm::implied_disks(&config));
    if config.is_hvm() {
        // It is the machine's display.
        config.vfb.clear();
    }
    let disks = config.disk.into_iter().map(DeviceConfig::Disk);
    let mut devices: Vec<DeviceConfig> = disks.collect();
    devices.extend(config.vif.into_iter().map(DeviceConfig::Vif));
    for text in config.vfb {
        devices.extend([DeviceConfig::Vkbd, DeviceConfig::Vfb(screen(&text)?)]);
    }
    Ok(devices)
}

/// Gives a domain one device; its number. On failure nothing of it is left.
pub fn attach(site: Site<'_>, config: DeviceConfig, origin: Origin) -> Result<u32, Fault> {
    let config = match config {
        DeviceConfig::Vif(vif) => DeviceConfig::Vif(complete_vif(vif)?),
        disk => disk,
    };
    check_backend(site.node, &config)?;
    let _gate = site.domain.devices();
    let class = class::of(config.class());
    let device = record_new(site, config, None)?;
    let domid = site.domain.domid();
    let connected =
        open(site, class, &device, &[]).and_then(|opened| hand_over(site, &device, opened));
    if let Err(fault) = connected {
        info!(
            "domain {domid}: device {} could not be attached: {}",
            device.shown(),
            fault.message
        );
        remove(site, &device);
        return Err(fault);
    }
    if origin == Origin::Added {
        site.node.save(site.domain, |r| match &device.config {
            DeviceConfig::Disk(disk) => r.config.disk.push(disk.clone()),
            DeviceConfig::Vif(vif) => r.config.vif.push(vif.clone()),
            // These come by a configuration only.
            DeviceConfig::Vfb(_) | DeviceConfig::Vkbd => {}
        })?;
    }
    info!("domain {domid}: device {} attached", device.shown());
    Ok(device.devid)
}

/// Puts a device that is to be into the domain's record; it gets the next number of its class, unless it has one.
fn record_new(site: Site<'_>, config: DeviceConfig, devid: Option<u32>) -> Result<Device, Fault> {
    let class = class::of(config.class());
    let record = site.domain.record();
    let device = Device {
        devid: match devid {
            Some(devid) => devid,
            None => class.number(&record, &config)?,
        },
        script: class.script(&site.node.options, &config),
        uuid: random_uuid()?,
        bootable: config.class() == DeviceClass::Vbd
            && !record.devices.iter().any(|d| d.class() == DeviceClass::Vbd),
        identity: None,
        config,
    };
    site.node.save(site.domain, |record| {
        if device.class() == DeviceClass::Vif {
            record.next_vif = record.next_vif.max(device.devid.saturating_add(1));
        }
        record.devices.push(device.clone());
    })?;
    Ok(device)
}

/// Makes a device's nodes and opens what it stands for. `before`: nodes below the home of a guest that had it before.
fn open(
    site: Site<'_>,
    class: &dyn class::Class,
    device: &Device,
    before: &[(String, String)],
) -> Result<class::Opened, Fault> {
    let record = site.domain.record();
    let mut ops = nodes::attach(&record, device, class.nodes(device));
    let frontend = device.frontend(record.domid);
    let kept = kept::nodes_of(device, before);
    ops.extend(
        kept.map(|(name, value)| StoreOp::Write(format!("{frontend}/{name}"), value.into())),
    );
    if device.class() == DeviceClass::Vif {
        let home = crate::store_nodes::home(record.domid);
        let path = format!("{home}/device-misc/vif/nextDeviceID");
        ops.push(StoreOp::Write(path, record.next_vif.to_string()));
    }
    site.node.store.apply(&ops).map_err(internal)?;
    class.open(site, device)
}

/// Gives it to noxen-vmm.
fn hand_over(site: Site<'_>, device: &Device, opened: class::Opened) -> Result<(), Fault> {
    let attached = site.domain.monitor().attach(opened.spec, &opened.fds);
    attached.map_err(|e| match e {
        MonitorError::Refused(why) => not_connected(device, &why.replace(char::is_control, " ")),
        other => internal(other),
    })
}

/// Only this host has back ends; what else is named is an error.
fn check_backend(node: &Node, config: &DeviceConfig) -> Result<(), Fault> {
    let Some(name) = config.backend() else {
        return Ok(());
    };
    if name == "0" || name == DOMAIN_0_NAME {
        return Ok(());
    }
    Err(Fault::generic(match node.find(name) {
        Err(_) => format!("Cannot configure device for unknown backend {name}"),
        Ok(_) => format!(
            "Cannot configure device for backend {name}: back ends in other domains than 0 are not supported yet"
        ),
    }))
}

/// Takes a device from a domain: asks the guest first, unless `force`.
pub fn detach(site: Site<'_>, device: &Device, force: bool) -> Result<(), Fault> {
    match let_go(site, device, force) {
        Ok(true) => {}
        Ok(false) => {
            return Err(Fault::generic(format!(
                "Device {} could not be disconnected. ",
                device.shown()
            )))
        }
        Err(MonitorError::Refused(why)) => {
            return Err(Fault::generic(format!(
                "Device {} could not be disconnected. {}",
                device.shown(),
                why.replace(char::is_control, " ")
            )))
        }
        Err(other) => return Err(internal(other)),
    }
    finish(site, device.id());
    Ok(())
}

/// noxen-vmm has let go of a device: takes apart what is left. Done once, however many wait for it.
pub fn finish(site: Site<'_>, id: DeviceId) {
    let _gate = site.domain.devices();
    let record = site.domain.record();
    let Some(device) = record.devices.iter().find(|d| d.id() == id) else {
        return;
    };
    // All of a dying domain's are taken apart together. One that is there is another of the same number.
    if site.domain.is_dying() || is_there(site, id) {
        return;
    }
    let online = format!("{}/online", device.backend(record.domid));
    let asked = !matches!(site.node.store.read(&online), Ok(Some(online)) if online != "0");
    remove(site, device);
    info!(
        "domain {}: device {} detached",
        record.domid,
        device.shown()
    );
    if !asked {
        return; // The guest let go of it by itself; the configuration still has it.
    }
    let forgotten = site.node.save(site.domain, |r| match &device.config {
        DeviceConfig::Disk(disk) => {
            r.config.disk.retain(|other| other != disk);
            if r.config.is_hvm() {
                hvm::forget_usb_disk(&mut r.config.hvm, &disk.dev);
            }
        }
        DeviceConfig::Vif(vif) => r.config.vif.retain(|other| other != vif),
        // Both of an item of `vfb=` belong to it; what the guest let go of comes again with it.
        DeviceConfig::Vfb(_) | DeviceConfig::Vkbd => {}
    });
    if let Err(e) = forgotten {
        warning!("domain {}: {}", record.domid, e.message);
    }
}

/// Does noxen-vmm have it? One that does not answer is taken to have it: what is gone with it is seen otherwise.
fn is_there(site: Site<'_>, id: DeviceId) -> bool {
    match site.domain.monitor().devices() {
        Ok(devices) => devices
            .iter()
            .any(|status| status.id == id && status.state != DeviceState::Closed),
        Err(_) => true,
    }
}

/// noxen-vmm says that a device has changed.
pub fn changed(
    node: &Arc<Node>,
    domain: &Arc<Domain>,
    id: DeviceId,
    state: DeviceState,
    reason: Option<&str>,
) {
    let domid = domain.domid();
    match state {
        DeviceState::Broken => warning!(
            "domain {domid}: device {id} was given up: {}",
            reason.unwrap_or("no reason was given")
        ),
        DeviceState::Closed => {
            // Its script may be slow, and the next event may be the domain's end.
            let (node, domain) = (node.clone(), domain.clone());
            let work = move || {
                finish(
                    Site {
                        node: &node,
                        domain: &domain,
                    },
                    id,
                )
            };
            let thread = std::thread::Builder::new().name("device-closed".into());
            if let Err(e) = thread.spawn(work) {
                warning!("domain {domid}: device {id} is not cleared away: {e}");
            }
        }
        state => debug!("domain {domid}: device {id} is {state:?}"),
    }
}

/// Script, nodes, record; what fails is logged and the rest is done.
fn remove(site: Site<'_>, device: &Device) {
    class::of(device.class()).close(site, device);
    let record = site.domain.record();
    if let Err(e) = site.node.store.apply(&nodes::detached(&record, device)) {
        warning!("domain {}: {e}", record.domid);
    }
    let id = device.id();
    let saved = site
        .node
        .save(site.domain, |r| r.devices.retain(|other| other.id() != id));
    if let Err(e) = saved {
        warning!("domain {}: {}", record.domid, e.message);
    }
}

/// Takes every device from a domain whose guest has ended while its monitor is kept: a successor wants them. The
/// configuration keeps them.
pub fn release(site: Site<'_>) {
    let _gate = site.domain.devices();
    let domid = site.domain.domid();
    for device in site.domain.record().devices {
        match let_go(site, &device, true) {
            Ok(true) => {}
            Ok(false) => warning!(
                "domain {domid}: noxen-vmm does not let go of device {}",
                device.shown()
            ),
            Err(e) => warning!("domain {domid}: {e}"),
        }
        remove(site, &device);
    }
}

/// Marks a device as going and has noxen-vmm let go of it. False when the guest does not in time.
fn let_go(site: Site<'_>, device: &Device, force: bool) -> Result<bool, MonitorError> {
    let online = format!("{}/online", device.backend(site.domain.domid()));
    if let Err(e) = site.node.store.apply(&[StoreOp::Write(online, "0".into())]) {
        warning!("domain {}: {e}", site.domain.domid());
    }
    let timeout = site.node.options.detach_timeout;
    site.domain.monitor().detach(device.id(), force, timeout)
}

/// The domain's monitor has ended: scripts are run and nodes removed, the record goes with the domain.
pub fn domain_gone(site: Site<'_>) {
    let _gate = site.domain.devices();
    let record = site.domain.record();
    let mut ops = nodes::domain_gone(record.domid);
    for device in &record.devices {
        class::of(device.class()).close(site, device);
        ops.extend(nodes::detached(&record, device));
    }
    if let Err(e) = site.node.store.apply(&ops) {
        warning!("domain {}: {e}", record.domid);
    }
}

/// xend was away: a device that noxen-vmm has no more is taken apart, one that nothing is known of is let go.
pub fn adopt(site: Site<'_>) {
    let domid = site.domain.domid();
    let there = match site.domain.monitor().devices() {
        Ok(there) => there,
        Err(e) => return warning!("domain {domid}: its devices are not known: {e}"),
    };
    let record = site.domain.record();
    for device in &record.devices {
        if !there.iter().any(|status| status.id == device.id()) {
            info!(
                "domain {domid}: device {} went while xend was away",
                device.shown()
            );
            finish(site, device.id());
        }
    }
    for status in there {
        if !record.devices.iter().any(|device| device.id() == status.id) {
            warning!(
                "domain {domid}: device {} has no record; it is let go",
                status.id
            );
            let timeout = site.node.options.detach_timeout;
            if let Err(e) = site.domain.monitor().detach(status.id, true, timeout) {
                warning!("domain {domid}: {e}");
            }
        }
    }
}

/// The class of requests as noxen-vmm names it.
pub fn monitor_class(class: DeviceClass) -> MonitorClass {
    match class {
        DeviceClass::Vbd => MonitorClass::Vbd,
        DeviceClass::Vif => MonitorClass::Vif,
        DeviceClass::Vfb => MonitorClass::Vfb,
        DeviceClass::Vkbd => MonitorClass::Vkbd,
    }
}
