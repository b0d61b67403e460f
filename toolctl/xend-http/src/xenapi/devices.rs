//! Classes VBD, VIF, their metrics, VDI, console.
//!
//! A VDI is the image of a disk that some domain has; there is no store of images that xend would keep. So `VBD.create` gives a domain an image
//! that another one has, read-only or if it may be shared.

use super::failure::Failure;
use super::hardware;
use super::objects::{add, reference, references, Objects};
use super::{record, vm, Call};
use crate::tree;
use dxr::Value;
use noxen_xend_api::device::{DeviceError, Mode};
use noxen_xend_api::{
    DeviceClass, DeviceConfig, DeviceInfo, Disk, DomainInfo, Request, Response, Traffic, Vif,
};
use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

/// One device of a domain with its reference.
pub struct Owned {
    pub reference: String,
    pub owner: DomainInfo,
    pub device: DeviceInfo,
}

/// All devices of a class.
pub fn owned(call: &Call, class: DeviceClass) -> Result<Vec<Owned>, Failure> {
    let mut all = Vec::new();
    for owner in vm::all(call)? {
        for device in of(call, &owner, class) {
            all.push(Owned {
                reference: device_reference(&owner, &device, class),
                owner: owner.clone(),
                device,
            });
        }
    }
    Ok(all)
}

/// Devices of a running domain. One that ends just now has none.
fn of(call: &Call, owner: &DomainInfo, class: DeviceClass) -> Vec<DeviceInfo> {
    let domain = owner.uuid.clone();
    match owner.domid {
        None | Some(0) => Vec::new(),
        Some(_) => match call.ask.ask(Request::Devices { domain, class }) {
            Ok(Response::Devices { devices }) => devices,
            _ => Vec::new(),
        },
    }
}

fn device_reference(owner: &DomainInfo, device: &DeviceInfo, class: DeviceClass) -> String {
    let number = device.devid.to_string();
    reference(&[class.name(), &owner.uuid, &number])
}

/// References of a domain's devices of `class`, for its record.
pub fn references_of(call: &Call, owner: &DomainInfo, class: DeviceClass) -> Value {
    let all: Vec<String> = of(call, owner, class)
        .iter()
        .map(|device| device_reference(owner, device, class))
        .collect();
    references(&all)
}

/// The reference of a domain's console; none when it does not run.
pub fn console_of(owner: &DomainInfo) -> Option<String> {
    let guest = owner.domid.is_some_and(|domid| domid != 0);
    guest.then(|| reference(&["console", &owner.uuid]))
}

fn vdi_reference(disk: &Disk) -> String {
    reference(&["VDI", &disk.uname])
}

fn disk(device: &DeviceInfo) -> Option<&Disk> {
    match &device.config {
        DeviceConfig::Disk(disk) => Some(disk),
        _ => None,
    }
}

fn vif(device: &DeviceInfo) -> Option<&Vif> {
    match &device.config {
        DeviceConfig::Vif(vif) => Some(vif),
        _ => None,
    }
}

/// What the guest wrote of its end.
fn properties(device: &DeviceInfo) -> Value {
    let nodes = device.nodes.iter();
    Value::Struct(
        nodes
            .map(|(name, value)| (name.clone(), record::text(value)))
            .collect(),
    )
}

pub fn vbds(call: &Call) -> Result<Objects, Failure> {
    let mut all = Objects::new();
    for it in owned(call, DeviceClass::Vbd)? {
        let Some(disk) = disk(&it.device) else {
            continue;
        };
        let mode = if disk.mode.writes() { "RW" } else { "RO" };
        let kind = if disk.cdrom { "CD" } else { "Disk" };
        add(
            &mut all,
            it.reference.clone(),
            [
                ("VM", record::text(&it.owner.uuid)),
                ("VDI", record::text(vdi_reference(disk))),
                ("device", record::text(&disk.dev)),
                ("image", record::text(&disk.uname)),
                ("mode", record::text(mode)),
                ("type", record::text(kind)),
                ("bootable", Value::Boolean(false)),
                ("driver", record::text("paravirtualised")),
                ("metrics", record::text(&it.reference)),
                ("runtime_properties", properties(&it.device)),
            ],
        );
    }
    Ok(all)
}

pub fn vifs(call: &Call) -> Result<Objects, Failure> {
    let mut all = Objects::new();
    for it in owned(call, DeviceClass::Vif)? {
        let Some(vif) = vif(&it.device) else { continue };
        let network = vif
            .bridge
            .as_deref()
            .map_or_else(String::new, hardware::network_reference);
        add(
            &mut all,
            it.reference.clone(),
            [
                ("VM", record::text(&it.owner.uuid)),
                ("network", record::text(network)),
                ("device", record::text(format!("eth{}", it.device.devid))),
                ("MAC", record::text(vif.mac.as_deref().unwrap_or(""))),
                ("MTU", record::number(1500)),
                ("metrics", record::text(&it.reference)),
                ("security_label", record::text("")),
                ("runtime_properties", properties(&it.device)),
            ],
        );
    }
    Ok(all)
}

/// The back ends of disks count nothing, so there is only when that was said.
pub fn vbd_metrics(call: &Call) -> Result<Objects, Failure> {
    let mut all = Objects::new();
    for it in owned(call, DeviceClass::Vbd)? {
        let now = record::time(SystemTime::now());
        add(&mut all, it.reference, [("last_updated", now)]);
    }
    Ok(all)
}

/// Totals of an interface; rates are for whoever asks twice.
pub fn vif_metrics(call: &Call) -> Result<Objects, Failure> {
    let mut all = Objects::new();
    for it in owned(call, DeviceClass::Vif)? {
        let traffic = Traffic::of(it.owner.domid.unwrap_or(0), it.device.devid);
        add(
            &mut all,
            it.reference,
            [
                ("io_total_read_kbs", record::number(traffic.received / 1024)),
                ("io_total_write_kbs", record::number(traffic.sent / 1024)),
                ("last_updated", record::time(SystemTime::now())),
            ],
        );
    }
    Ok(all)
}

/// The images of all disks, each once.
pub fn vdis(call: &Call) -> Result<Objects, Failure> {
    let mut users: BTreeMap<String, (Disk, BTreeSet<String>)> = BTreeMap::new();
    for it in owned(call, DeviceClass::Vbd)? {
        if let Some(disk) = disk(&it.device) {
            let entry = users.entry(vdi_reference(disk));
            let (_, vbds) = entry.or_insert_with(|| (disk.clone(), BTreeSet::new()));
            vbds.insert(it.reference);
        }
    }
    let mut all = Objects::new();
    for (reference, (disk, vbds)) in users {
        let size = bytes_of(&disk);
        add(
            &mut all,
            reference,
            [
                ("name_label", record::text(&disk.uname)),
                ("name_description", record::text("")),
                ("SR", record::text(hardware::repository())),
                ("VBDs", references(&vbds)),
                ("crash_dumps", references([])),
                ("virtual_size", record::number(size)),
                ("physical_utilisation", record::number(size)),
                ("type", record::text("system")),
                ("sharable", Value::Boolean(disk.mode == Mode::Force)),
                ("read_only", Value::Boolean(!disk.mode.writes())),
                ("other_config", Value::Struct(BTreeMap::new())),
                ("security_label", record::text("")),
            ],
        );
    }
    Ok(all)
}

/// Length of the file that an image is in; 0 for what is no file.
fn bytes_of(disk: &Disk) -> u64 {
    let (_, path) = disk.type_and_params();
    std::fs::metadata(path).map_or(0, |meta| meta.len())
}

pub fn consoles(call: &Call) -> Result<Objects, Failure> {
    let mut all = Objects::new();
    for owner in vm::all(call)? {
        let Some(reference) = console_of(&owner) else {
            continue;
        };
        add(
            &mut all,
            reference,
            [
                ("VM", record::text(&owner.uuid)),
                ("protocol", record::text("vt100")),
                (
                    "location",
                    record::text(owner.console_tty.as_deref().unwrap_or("")),
                ),
                ("other_config", Value::Struct(BTreeMap::new())),
            ],
        );
    }
    Ok(all)
}

/// `CLASS.create(record)`; None for classes whose objects are not made.
pub fn create(class: &str, call: &mut Call) -> Option<Result<Value, Failure>> {
    match class {
        "VBD" | "VIF" => Some(attach(class, call)),
        _ => None,
    }
}

fn attach(class: &str, call: &mut Call) -> Result<Value, Failure> {
    let wanted = call.record(2)?;
    call.end()?;
    let get = |name: &str| match wanted.get(name) {
        Some(Value::String(text)) => text.as_str(),
        _ => "",
    };
    let owner = vm::find(call, get("VM"))?;
    let (kind, device, number) = match class {
        "VBD" => {
            let disk = wanted_disk(call, &get)?;
            let number = disk
                .number()
                .map_err(|e| Failure::not_supported("device", get("device"), &e.to_string()))?;
            (DeviceClass::Vbd, DeviceConfig::Disk(disk), Some(number))
        }
        _ => (
            DeviceClass::Vif,
            DeviceConfig::Vif(wanted_vif(call, &get)?),
            None,
        ),
    };
    let before: BTreeSet<u32> = of(call, &owner, kind).iter().map(|d| d.devid).collect();
    let domain = owner.uuid.clone();
    tree::done(call.ask, Request::AttachDevice { domain, device })?;
    // xend numbers interfaces itself: the new one is the one that was not there.
    let made = of(call, &owner, kind)
        .into_iter()
        .find(|device| match number {
            Some(number) => device.devid == number,
            None => !before.contains(&device.devid),
        });
    match made {
        Some(device) => Ok(record::text(device_reference(&owner, &device, kind))),
        None => Err(Failure::Internal(
            "the device was attached, and is gone already".into(),
        )),
    }
}

/// The disk of a VBD's record, with the image of its VDI.
fn wanted_disk<'a>(call: &Call, get: &dyn Fn(&'static str) -> &'a str) -> Result<Disk, Failure> {
    let handle = get("VDI");
    let image = owned(call, DeviceClass::Vbd)?
        .iter()
        .filter_map(|it| disk(&it.device))
        .find(|disk| vdi_reference(disk) == handle)
        .map(|disk| disk.uname.clone())
        .ok_or_else(|| Failure::HandleInvalid("VDI", handle.to_owned()))?;
    let mode = match get("mode") {
        "RO" => "r",
        "RW" | "" => "w",
        other => return Err(Failure::not_supported("mode", other, "it is RO or RW")),
    };
    let dev = match get("type") {
        "CD" => format!("{}:cdrom", get("device")),
        _ => get("device").to_owned(),
    };
    Mode::parse(mode)
        .and_then(|mode| Disk::new(&image, &dev, mode))
        .ok_or_else(|| Failure::not_supported("device", get("device"), "it is no name of a disk"))
}

/// The interface of a VIF's record, on the bridge of its network.
fn wanted_vif<'a>(call: &Call, get: &dyn Fn(&'static str) -> &'a str) -> Result<Vif, Failure> {
    let mut vif = Vif::default();
    let network = get("network");
    if !network.is_empty() {
        let bridge = hardware::bridge(call, network)?;
        vif.set("bridge", &bridge)
            .map_err(|e| Failure::not_supported("network", network, &e.to_string()))?;
    }
    let mac = get("MAC");
    let wrong = |e: DeviceError| Failure::not_supported("MAC", mac, &e.to_string());
    if !mac.is_empty() {
        vif.set("mac", mac).map_err(wrong)?;
    }
    vif.checked().map_err(wrong)
}

/// `CLASS.destroy(reference)`; None for classes whose objects are not destroyed.
pub fn destroy(class: &str, handle: &str, call: &mut Call) -> Option<Result<Value, Failure>> {
    let kind = match class {
        "VBD" => DeviceClass::Vbd,
        "VIF" => DeviceClass::Vif,
        _ => return None,
    };
    Some(detach(kind, handle, call))
}

fn detach(class: DeviceClass, handle: &str, call: &mut Call) -> Result<Value, Failure> {
    call.end()?;
    let found = owned(call, class)?
        .into_iter()
        .find(|it| it.reference == handle);
    let Some(it) = found else {
        let class = if class == DeviceClass::Vbd {
            "VBD"
        } else {
            "VIF"
        };
        return Err(Failure::HandleInvalid(class, handle.to_owned()));
    };
    tree::done(
        call.ask,
        Request::DetachDevice {
            domain: it.owner.uuid,
            class,
            device: it.device.devid.to_string(),
            force: false,
        },
    )?;
    Ok(record::text(""))
}
