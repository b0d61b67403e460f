//! Disks, network interfaces and consoles.

use super::{number, word};
use crate::error::Error;
use crate::session::{list, map, shown, text, Record, Session};
use dxr::Value;
use noxen_xend_api::device::Mode;
use noxen_xend_api::{DeviceClass, DeviceConfig, DeviceInfo, Disk, Response, Vif};
use std::collections::BTreeMap;

impl Session {
    /// The devices of a class with their references.
    fn owned(&mut self, vm: &str, class: DeviceClass) -> Result<Vec<(String, DeviceInfo)>, Error> {
        let (name, references) = match class {
            DeviceClass::Vbd => ("VBD", "VM.get_VBDs"),
            DeviceClass::Vif => ("VIF", "VM.get_VIFs"),
            DeviceClass::Vfb | DeviceClass::Vkbd => return Ok(Vec::new()),
        };
        let mut all = Vec::new();
        for reference in self.references(references, &[word(vm)])? {
            let record = self.record(&format!("{name}.get_record"), &[word(&reference)])?;
            let device = match class {
                DeviceClass::Vbd => self.disk(&record)?,
                _ => self.interface(&record)?,
            };
            if let Some((devid, config)) = device {
                let nodes = map(&record, "runtime_properties").into_iter().flatten();
                let nodes = nodes.map(|(key, value)| (key.clone(), shown(value)));
                let nodes: BTreeMap<String, String> = nodes.collect();
                let info = DeviceInfo {
                    devid,
                    class: config.backend_class().to_owned(),
                    config,
                    backend: String::new(),
                    nodes,
                    state: None,
                    reason: None,
                    disk: None,
                };
                all.push((reference, info));
            }
        }
        all.sort_by_key(|(_, device)| device.devid);
        Ok(all)
    }

    fn disk(&mut self, record: &Record) -> Result<Option<(u32, DeviceConfig)>, Error> {
        // Noxen's server says where the image is; others say so of the VDI.
        let image = match text(record, "image") {
            image if image.is_empty() && !text(record, "VDI").is_empty() => {
                let vdi = self.record("VDI.get_record", &[word(text(record, "VDI"))])?;
                map(&vdi, "other_config").map_or_else(String::new, |all| text(all, "location"))
            }
            image => image,
        };
        let dev = match text(record, "type").as_str() {
            "CD" => format!("{}:cdrom", text(record, "device")),
            _ => text(record, "device"),
        };
        let mode = match text(record, "mode").as_str() {
            "RO" => Mode::Read,
            _ => Mode::Write,
        };
        let disk = Disk::new(&image, &dev, mode);
        Ok(disk.and_then(|disk| Some((disk.number().ok()?, DeviceConfig::Disk(disk)))))
    }

    fn interface(&mut self, record: &Record) -> Result<Option<(u32, DeviceConfig)>, Error> {
        let network = text(record, "network");
        let bridge = match network.is_empty() {
            true => None,
            false => Some(self.text("network.get_name_label", &[word(network)])?),
        };
        let vif = Vif {
            mac: Some(text(record, "MAC")).filter(|mac| !mac.is_empty()),
            bridge,
            ..Vif::default()
        };
        let device = text(record, "device");
        let devid = device.trim_start_matches(|c: char| !c.is_ascii_digit());
        Ok(devid
            .parse()
            .ok()
            .map(|devid| (devid, DeviceConfig::Vif(vif))))
    }

    pub(super) fn devices(&mut self, domain: &str, class: DeviceClass) -> Result<Response, Error> {
        let vm = self.find(domain)?;
        let devices = self.owned(&vm, class)?;
        Ok(Response::Devices {
            devices: devices.into_iter().map(|(_, device)| device).collect(),
        })
    }

    pub(super) fn attach(&mut self, vm: &str, device: &DeviceConfig) -> Result<Response, Error> {
        match device {
            DeviceConfig::Disk(disk) => {
                let vdi = self.image(disk)?;
                let record = vbd(vm, &vdi, disk);
                self.call("VBD.create", &[Value::Struct(record)])?;
            }
            DeviceConfig::Vif(vif) => {
                let record = self.vif(vm, vif)?;
                self.call("VIF.create", &[Value::Struct(record)])?;
            }
            DeviceConfig::Vfb(_) | DeviceConfig::Vkbd => {
                return Err(Error::not_supported("screens are part of a configuration"))
            }
        }
        Ok(Response::Ok)
    }

    /// The reference of a disk's image, which the server is told of; empty for a drive without a medium.
    fn image(&mut self, disk: &Disk) -> Result<String, Error> {
        let what = match (&disk.backend, &disk.protocol, disk.mode) {
            (Some(_), ..) => Some("a back end in another domain"),
            (_, Some(_), _) => Some("a protocol"),
            (.., Mode::Force) => Some("mode w!"),
            _ => None,
        };
        if let Some(what) = what {
            let why = format!("no attribute of a VBD has {what}");
            return Err(Error::not_supported(why));
        }
        if disk.uname.is_empty() {
            return Ok(String::new());
        }
        let local = self.references("SR.get_by_name_label", &[word("Local")])?;
        let location = [("location".to_owned(), word(&disk.uname))];
        let record = Record::from([
            ("name_label".to_owned(), word(&disk.uname)),
            ("name_description".to_owned(), word("")),
            (
                "SR".to_owned(),
                word(local.first().map_or("", String::as_str)),
            ),
            ("virtual_size".to_owned(), number(0)),
            ("type".to_owned(), word("system")),
            ("sharable".to_owned(), Value::Boolean(false)),
            ("read_only".to_owned(), Value::Boolean(!disk.mode.writes())),
            ("other_config".to_owned(), Value::Struct(location.into())),
        ]);
        self.text("VDI.create", &[Value::Struct(record)])
    }

    fn vif(&mut self, vm: &str, vif: &Vif) -> Result<Record, Error> {
        let known = ["mac", "bridge"];
        let pairs = vif.pairs();
        if let Some((key, _)) = pairs.iter().find(|(key, _)| !known.contains(key)) {
            let why = format!("no attribute of a VIF has {key}");
            return Err(Error::not_supported(why));
        }
        let network = match &vif.bridge {
            None => String::new(),
            Some(bridge) => self
                .references("network.get_by_name_label", &[word(bridge)])?
                .into_iter()
                .next()
                .ok_or_else(|| {
                    Error::not_supported(format!("the server has no network {bridge}"))
                })?,
        };
        Ok(Record::from([
            ("VM".to_owned(), word(vm)),
            ("network".to_owned(), word(network)),
            ("device".to_owned(), word("")),
            ("MAC".to_owned(), word(vif.mac.as_deref().unwrap_or(""))),
            ("MTU".to_owned(), number(1500)),
        ]))
    }

    pub(super) fn detach(
        &mut self,
        domain: &str,
        class: DeviceClass,
        name: &str,
        force: bool,
    ) -> Result<Response, Error> {
        if force {
            return Err(Error::not_supported("a device is not taken by force"));
        }
        let vm = self.find(domain)?;
        let plain = name.rsplit('/').next().unwrap_or(name);
        let wanted = match class {
            DeviceClass::Vbd => noxen_xend_api::device::number::of_name(plain),
            _ => plain.parse().ok(),
        };
        let same = |device: &DeviceInfo| match &device.config {
            DeviceConfig::Vif(vif) => vif.mac.as_deref() == Some(&plain.to_ascii_lowercase()),
            _ => false,
        };
        let devices = self.owned(&vm, class)?;
        let found = devices
            .into_iter()
            .find(|(_, device)| Some(device.devid) == wanted || same(device));
        let Some((reference, _)) = found else {
            let line = format!("Device {name} not connected");
            return Err(Error::Failure(vec!["INTERNAL_ERROR".into(), line]));
        };
        let method = match class {
            DeviceClass::Vif => "VIF.destroy",
            _ => "VBD.destroy",
        };
        self.call(method, &[word(reference)])?;
        Ok(Response::Ok)
    }

    pub(super) fn configure(
        &mut self,
        domain: &str,
        device: &DeviceConfig,
    ) -> Result<Response, Error> {
        let DeviceConfig::Disk(disk) = device else {
            return Err(Error::NotSupported(None));
        };
        let vm = self.find(domain)?;
        let number = disk.number().ok();
        let devices = self.owned(&vm, DeviceClass::Vbd)?;
        let found = devices
            .into_iter()
            .find(|(_, known)| Some(known.devid) == number);
        let Some((reference, _)) = found else {
            let line = format!("Device {} not connected", disk.dev);
            return Err(Error::Failure(vec!["INTERNAL_ERROR".into(), line]));
        };
        let vdi = self.image(disk)?;
        self.call("VBD.media_change", &[word(reference), word(vdi)])?;
        Ok(Response::Ok)
    }

    /// The text console; its terminal is on the server's host.
    pub(super) fn console(&mut self, domain: &str) -> Result<Response, Error> {
        let vm = self.find(domain)?;
        let record = self.record("VM.get_record", &[word(vm)])?;
        if !self.is_local() {
            let why = format!(
                "the console of {domain} is a terminal of {}; run xm console there",
                self.place()
            );
            return Err(Error::not_supported(why));
        }
        for reference in list(&record, "consoles") {
            let console = self.record("console.get_record", &[word(reference)])?;
            if let (Ok(domid), "vt100") = (
                text(&record, "domid").parse(),
                text(&console, "protocol").as_str(),
            ) {
                let tty = text(&console, "location");
                return Ok(Response::Console { domid, tty });
            }
        }
        let line = format!("Domain '{domain}' is not started");
        Err(Error::Failure(vec!["INTERNAL_ERROR".into(), line]))
    }
}

fn vbd(vm: &str, vdi: &str, disk: &Disk) -> Record {
    let mode = if disk.mode.writes() { "RW" } else { "RO" };
    let kind = if disk.cdrom { "CD" } else { "Disk" };
    Record::from([
        ("VM".to_owned(), word(vm)),
        ("VDI".to_owned(), word(vdi)),
        ("device".to_owned(), word(&disk.dev)),
        ("mode".to_owned(), word(mode)),
        ("type".to_owned(), word(kind)),
        ("bootable".to_owned(), Value::Boolean(false)),
        ("driver".to_owned(), word("paravirtualised")),
    ])
}
