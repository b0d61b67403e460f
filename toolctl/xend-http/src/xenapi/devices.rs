//! Classes VBD, VIF, their metrics, VDI, console.
//!
//! A VDI is the image of a disk that some domain has, or that a client has named; there is no store of images that xend would keep.

use super::failure::Failure;
use super::hardware;
use super::load::{Carried, Flow};
use super::objects::{add, reference, references, Objects};
use super::{record, vm, Call, Record};
use crate::tree;
use dxr::Value;
use noxen_xend_api::device::{DeviceError, Mode};
use noxen_xend_api::{
    DeviceClass, DeviceConfig, DeviceInfo, Disk, DomainInfo, Request, Response, Traffic, Vfb, Vif,
};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

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

/// Devices of a domain. One that ends just now has none.
fn of(call: &Call, owner: &DomainInfo, class: DeviceClass) -> Vec<DeviceInfo> {
    let domain = owner.uuid.clone();
    match owner.domid {
        Some(0) => Vec::new(),
        _ => match call.ask.ask(Request::Devices { domain, class }) {
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

/// A domain's consoles: the text of one that runs, and its screens.
pub fn consoles_of(call: &Call, owner: &DomainInfo) -> Objects {
    let mut all = Objects::new();
    let mut one = |reference: String, protocol: &str, location: &str| {
        add(
            &mut all,
            reference,
            [
                ("VM", record::text(&owner.uuid)),
                ("protocol", record::text(protocol)),
                ("location", record::text(location)),
                ("other_config", Value::Struct(BTreeMap::new())),
            ],
        );
    };
    if owner.domid.is_some_and(|domid| domid != 0) {
        let tty = owner.console_tty.as_deref().unwrap_or("");
        one(console_reference(owner), "vt100", tty);
    }
    for screen in of(call, owner, DeviceClass::Vfb) {
        let location = screen_place(call, owner).unwrap_or_default();
        one(screen_reference(owner, screen.devid), "rfb", &location);
    }
    all
}

/// ADDRESS:PORT of the VNC server of a domain that runs.
fn screen_place(call: &Call, owner: &DomainInfo) -> Option<String> {
    owner.domid?;
    let domain = owner.uuid.clone();
    match call.ask.ask(Request::Vnc { domain }) {
        Ok(Response::Vnc { host, port, .. }) => Some(format!("{host}:{port}")),
        _ => None,
    }
}

/// The reference of a domain's text console, which it has when it runs.
fn console_reference(owner: &DomainInfo) -> String {
    reference(&["console", &owner.uuid])
}

fn screen_reference(owner: &DomainInfo, number: u32) -> String {
    reference(&["screen", &owner.uuid, &number.to_string()])
}

/// The reference of the image at `place`, such as `phy:vg0/a`.
pub fn vdi_reference(place: &str) -> String {
    reference(&["VDI", place])
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
                ("VDI", record::text(vdi_reference(&disk.uname))),
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

/// What a device has carried since its domain was started.
fn carried(it: Owned, read: u64, written: u64) -> Carried {
    let started = Duration::try_from_secs_f64(it.owner.start_time.max(0.0)).unwrap_or_default();
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH + started);
    Carried {
        reference: it.reference,
        domid: it.owner.domid.unwrap_or(0),
        read,
        written,
        since: since.unwrap_or_default(),
    }
}

/// Records of metrics: totals, and rates since somebody asked a second ago or more.
pub fn metrics(flow: &Flow, all: &[Carried]) -> Objects {
    let rates = flow.rates(all);
    let mut objects = Objects::new();
    for it in all {
        let rates = rates.get(&it.reference).copied().unwrap_or_default();
        add(
            &mut objects,
            it.reference.clone(),
            [
                ("io_read_kbs", Value::Double(rates.read)),
                ("io_write_kbs", Value::Double(rates.written)),
                ("io_total_read_kbs", record::number(it.read / 1024)),
                ("io_total_write_kbs", record::number(it.written / 1024)),
                ("last_updated", record::time(SystemTime::now())),
            ],
        );
    }
    objects
}

pub fn vbd_metrics(call: &Call) -> Result<Objects, Failure> {
    let all = owned(call, DeviceClass::Vbd)?.into_iter().map(|it| {
        let disk = it.device.disk.unwrap_or_default();
        carried(it, disk.read_bytes, disk.written_bytes)
    });
    Ok(metrics(&call.load.disks, &all.collect::<Vec<_>>()))
}

pub fn vif_metrics(call: &Call) -> Result<Objects, Failure> {
    let all = owned(call, DeviceClass::Vif)?.into_iter().map(|it| {
        let traffic = Traffic::of(it.owner.domid.unwrap_or(0), it.device.devid);
        carried(it, traffic.received, traffic.sent)
    });
    Ok(metrics(&call.load.interfaces, &all.collect::<Vec<_>>()))
}

/// The images of all disks, each once, and those that clients have named.
pub fn vdis(call: &Call) -> Result<Objects, Failure> {
    let mut users: BTreeMap<String, (Option<Disk>, BTreeSet<String>)> = BTreeMap::new();
    for it in owned(call, DeviceClass::Vbd)? {
        if let Some(disk) = disk(&it.device) {
            let entry = users.entry(disk.uname.clone());
            let (_, vbds) = entry.or_insert_with(|| (Some(disk.clone()), BTreeSet::new()));
            vbds.insert(it.reference);
        }
    }
    for place in call.images.all() {
        users.entry(place).or_default();
    }
    let mut all = Objects::new();
    for (place, (disk, vbds)) in users {
        let size = bytes_of(&place);
        let mode = disk.map_or(Mode::Write, |disk| disk.mode);
        let location = BTreeMap::from([("location".to_owned(), record::text(&place))]);
        add(
            &mut all,
            vdi_reference(&place),
            [
                ("name_label", record::text(&place)),
                ("name_description", record::text("")),
                ("SR", record::text(hardware::repository())),
                ("VBDs", references(&vbds)),
                ("crash_dumps", references([])),
                ("virtual_size", record::number(size)),
                ("physical_utilisation", record::number(size)),
                ("type", record::text("system")),
                ("sharable", Value::Boolean(mode == Mode::Force)),
                ("read_only", Value::Boolean(!mode.writes())),
                ("other_config", Value::Struct(location)),
                ("security_label", record::text("")),
            ],
        );
    }
    Ok(all)
}

/// Length of the file that an image is in; 0 for what is no file.
fn bytes_of(place: &str) -> u64 {
    let path = place.rsplit(':').next().unwrap_or_default();
    std::fs::metadata(path).map_or(0, |meta| meta.len())
}

pub fn consoles(call: &Call) -> Result<Objects, Failure> {
    let mut all = Objects::new();
    for owner in vm::all(call)? {
        all.extend(consoles_of(call, &owner));
    }
    Ok(all)
}

/// `CLASS.create(record)`; None for classes whose objects are not made.
pub fn create(class: &str, call: &mut Call) -> Option<Result<Value, Failure>> {
    match class {
        "VBD" | "VIF" => Some(attach(class, call)),
        "VDI" => Some(name_image(call)),
        "console" => Some(new_console(call)),
        _ => None,
    }
}

/// The text of member `name`; empty where there is none.
fn member<'a>(record: &'a Record, name: &str) -> &'a str {
    match record.get(name) {
        Some(Value::String(text)) => text,
        _ => "",
    }
}

/// `VDI.create`: an image that is there already.
fn name_image(call: &mut Call) -> Result<Value, Failure> {
    let wanted = call.record(2)?;
    call.end()?;
    let place = match wanted.get("other_config") {
        Some(Value::Struct(config)) => member(config, "location"),
        _ => "",
    };
    match place.split_once(':') {
        Some((kind, rest)) if !kind.is_empty() && !rest.is_empty() => {
            Ok(record::text(call.images.note(place)))
        }
        _ => Err(Failure::not_supported(
            "other_config",
            place,
            "no image is made here: location names one that is there, such as phy:vg0/a or file:/images/a",
        )),
    }
}

/// `console.create`: every domain has its text; a screen is an entry of a halted domain's configuration.
fn new_console(call: &mut Call) -> Result<Value, Failure> {
    let wanted = call.record(2)?;
    call.end()?;
    let owner = vm::find(call, member(&wanted, "VM"))?;
    match member(&wanted, "protocol") {
        "vt100" => Ok(record::text(console_reference(&owner))),
        "rfb" => {
            let mut vfb = Vfb::default();
            let wrong = |e: DeviceError| Failure::not_supported("other_config", "", &e.to_string());
            if let Some(Value::Struct(pairs)) = wanted.get("other_config") {
                for name in pairs.keys() {
                    vfb.set(name, member(pairs, name)).map_err(wrong)?;
                }
            }
            let domain = owner.uuid.clone();
            let device = DeviceConfig::Vfb(vfb);
            tree::done(call.ask, Request::AttachDevice { domain, device })?;
            Ok(record::text(screen_reference(&owner, 0)))
        }
        other => Err(Failure::not_supported(
            "protocol",
            other,
            "it is vt100 or rfb",
        )),
    }
}

fn attach(class: &str, call: &mut Call) -> Result<Value, Failure> {
    let wanted = call.record(2)?;
    call.end()?;
    let get = |name: &str| member(&wanted, name);
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

/// Where the image of that reference is.
fn place_of(call: &Call, handle: &str) -> Result<String, Failure> {
    let mut known = call.images.all();
    for it in owned(call, DeviceClass::Vbd)? {
        known.extend(disk(&it.device).map(|disk| disk.uname.clone()));
    }
    known
        .into_iter()
        .find(|place| vdi_reference(place) == handle)
        .ok_or_else(|| Failure::HandleInvalid("VDI", handle.to_owned()))
}

/// `VBD.media_change(vbd, vdi)`.
pub fn media_change(handle: &str, call: &mut Call) -> Result<Value, Failure> {
    let image = call.text(3)?;
    call.end()?;
    let it = one(call, DeviceClass::Vbd, handle)?;
    let mut disk = match disk(&it.device) {
        Some(disk) => disk.clone(),
        None => return Err(Failure::HandleInvalid("VBD", handle.to_owned())),
    };
    disk.uname = place_of(call, &image)?;
    let request = Request::ConfigureDevice {
        domain: it.owner.uuid,
        device: DeviceConfig::Disk(disk),
    };
    tree::done(call.ask, request)?;
    Ok(record::text(""))
}

/// The disk of a VBD's record, with the image of its VDI.
fn wanted_disk<'a>(call: &Call, get: &dyn Fn(&'static str) -> &'a str) -> Result<Disk, Failure> {
    let image = match get("VDI") {
        // A drive without a medium.
        "" if get("type") == "CD" => String::new(),
        handle => place_of(call, handle)?,
    };
    let mode = match get("mode") {
        "RO" => "r",
        "RW" | "" if get("type") == "CD" => "r",
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
    Some(match class {
        "VBD" => detach(DeviceClass::Vbd, handle, call),
        "VIF" => detach(DeviceClass::Vif, handle, call),
        "VDI" => forget_image(handle, call),
        _ => return None,
    })
}

/// `VDI.destroy`: of one that a client named; the image itself stays.
fn forget_image(handle: &str, call: &mut Call) -> Result<Value, Failure> {
    call.end()?;
    match call.images.forget(handle) {
        true => Ok(record::text("")),
        false => Err(Failure::not_supported(
            "VDI",
            handle,
            "a domain has it; its images are removed with the host's own tools",
        )),
    }
}

/// The device of that reference.
fn one(call: &Call, class: DeviceClass, handle: &str) -> Result<Owned, Failure> {
    let name = match class {
        DeviceClass::Vif => "VIF",
        _ => "VBD",
    };
    owned(call, class)?
        .into_iter()
        .find(|it| it.reference == handle)
        .ok_or_else(|| Failure::HandleInvalid(name, handle.to_owned()))
}

fn detach(class: DeviceClass, handle: &str, call: &mut Call) -> Result<Value, Failure> {
    call.end()?;
    let it = one(call, class, handle)?;
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
