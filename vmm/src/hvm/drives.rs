//! The PC's drives: which disk of the domain is which drive of the IDE and floppy controllers, and what is in it.
//!
//! ```text
//!   before the first start:  attach(hda..hdd, xvda..xvdd, fd0, fd1) --> slots --start()--> controllers on the bus
//!   while it runs:           attach, detach of a CD or floppy --> another medium in its drive
//!   the guest unplugs its hard disks --> unplug() --> paravirtual ones, by the machine
//!   disks at the USB controller: attach(sda..) --> usb_disks.rs, and while it runs into and out of the controller
//!   medium's thread: an answer --> Pc::attend(controller)
//! ```

use crate::devices::vbd::medium::{Loaded, Tray};
use crate::devices::vbd::Config;
use crate::devices::Given;
use crate::domain::hub::{Hub, Report};
use crate::hvm::pc::Pc;
use crate::hvm::raise::DriveParts;
use crate::hvm::usb_disks::{self, UsbDisks};
use crate::log::Level;
use crate::prompt::subject;
use noxen_control::device::{
    DeviceClass, DeviceId, DeviceSpec, DeviceState, DeviceStatus, ImageFormat,
};
use noxen_control::spec::USB_DISKS;
use noxen_pc::bus::Place;
use noxen_pc::floppy::{Floppy, CHANNEL};
use noxen_pc::ide::{Drive, Ide, Kind};
use noxen_pc::isa_dma::IsaDma;
use noxen_pc::medium::Medium;
use noxen_pc::usb::{Listed, Plug};
use noxen_saved_image::hvm::Disk;
use rustix::fs::{memfd_create, MemfdFlags};
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::{Arc, OnceLock, Weak};

/// Function 1 of the PIIX3.
const IDE: Place = Place {
    slot: 1,
    function: 1,
};

/// Where a drive is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Spot {
    /// hda to hdd.
    Ide(u8),
    /// fd0, fd1.
    Floppy(u8),
    /// sda to sdh.
    Usb(u8),
}

impl Spot {
    /// That of a disk by Xen's number (xm's names: hda 768, hdc 5632, xvda 51712, fd0 512).
    fn of(devid: u32) -> Option<Spot> {
        let (major, minor) = (devid >> 8, devid & 0xff);
        match (major, minor) {
            (3, 0) => Some(Spot::Ide(0)),
            (3, 64) => Some(Spot::Ide(1)),
            (22, 0) => Some(Spot::Ide(2)),
            (22, 64) => Some(Spot::Ide(3)),
            (202, 0 | 16 | 32 | 48) => Some(Spot::Ide((minor / 16) as u8)),
            (2, 0 | 1) => Some(Spot::Floppy(minor as u8)),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Spot::Ide(index) => ["hda", "hdb", "hdc", "hdd"][usize::from(index) % 4],
            Spot::Floppy(index) => ["fd0", "fd1"][usize::from(index) % 2],
            Spot::Usb(index) => USB_DISKS[usize::from(index) % USB_DISKS.len()],
        }
    }
}

/// A drive with its medium.
#[derive(Debug)]
struct Slot {
    /// Xen's number, as it was attached.
    devid: u32,
    tray: Tray,
    /// It is a disk of the domain, also while nothing is in it.
    attached: bool,
    /// The medium's image as the administrator named it, and whether it is only read.
    label: (String, bool),
    removable: bool,
    kind: Kind,
    /// As it was attached, for another process: nothing of a drive that was never asked for.
    given: Option<Pv>,
    /// Its image is put away.
    away: bool,
    /// What a paravirtual disk in its place is made from: a hard disk's, where the guest can have one.
    pv: Option<Pv>,
}

/// A disk's description and its files once more.
#[derive(Debug)]
pub struct Pv {
    /// As it was attached.
    pub spec: DeviceSpec,
    /// Its files.
    pub fds: Vec<OwnedFd>,
}

/// The numbers of the controllers on the bus, once they are there.
#[derive(Debug, Default)]
struct Controllers {
    ide: OnceLock<usize>,
    floppy: OnceLock<usize>,
}

/// All drives of a PC.
#[derive(Debug)]
pub struct Drives {
    pc: Weak<Pc>,
    hub: Arc<Hub>,
    slots: BTreeMap<Spot, Slot>,
    /// Those of drives whose disks were unplugged.
    empty: Vec<Tray>,
    controllers: Arc<Controllers>,
    second_floppy: bool,
    usb: UsbDisks,
    /// Until they are on the bus.
    dma: Option<IsaDma>,
    /// The guest can unplug hard disks for paravirtual ones.
    unplugs: bool,
}

impl Drives {
    /// No drive yet; `second_floppy` of the parts: the firmware is told of two floppy drives.
    pub fn new(pc: &Arc<Pc>, parts: DriveParts) -> Drives {
        Drives {
            pc: Arc::downgrade(pc),
            hub: pc.hub().clone(),
            slots: BTreeMap::new(),
            empty: Vec::new(),
            controllers: Arc::default(),
            second_floppy: parts.second_floppy,
            usb: parts.usb,
            dma: Some(parts.dma),
            unplugs: pc.xen().is_some(),
        }
    }

    fn has_started(&self) -> bool {
        self.controllers.ide.get().is_some()
    }

    /// Puts a disk into the machine, or a medium into a drive of a machine that runs. The line says why not.
    pub fn attach(&mut self, spec: &DeviceSpec, fds: Vec<OwnedFd>) -> Result<(), String> {
        let config = Config::of(spec)?;
        let devid = config.id.devid;
        let spot = self.spot(devid).ok_or_else(|| {
            format!(
                "{}: an HVM domain has disks hda to hdd or xvda to xvdd, floppies fd0 and fd1",
                config.id
            )
        })?;
        let is_disk = !config.cdrom && matches!(spot, Spot::Ide(_));
        let once_more = || -> Result<Pv, String> {
            Ok(Pv {
                spec: spec.clone(),
                fds: again(&fds).map_err(|error| format!("{}: {error}", config.id))?,
            })
        };
        let pv = match self.unplugs && is_disk {
            true => Some(once_more()?),
            false => None,
        };
        let given = once_more()?;
        let loaded = Loaded::open(&config, fds)?;
        self.put(spot, &config, loaded, given, pv)
    }

    /// Whether a disk of this number can be a drive.
    pub fn takes(&self, devid: u32) -> bool {
        self.spot(devid).is_some()
    }

    fn spot(&self, devid: u32) -> Option<Spot> {
        let usb = || {
            self.usb.find(devid)?;
            let at = (0..USB_DISKS.len() as u8).find(|at| usb_disks::number((*at).into()) == devid);
            at.map(Spot::Usb)
        };
        Spot::of(devid).or_else(usb)
    }

    /// What is plugged into the USB controller; nothing: there is none.
    pub fn usb(&self) -> Option<Vec<Listed>> {
        let pc = self.pc.upgrade()?;
        pc.usb(self.usb.controller?, |usb, _| Ok(usb.listed())).ok()
    }

    /// Plugs something into the USB controller that is no disk. The line says why not.
    pub fn usb_add(&self, plug: Plug) -> Result<(), String> {
        let (pc, number) = self.usb_controller()?;
        pc.usb(number, |usb, turn| {
            usb.plug(plug, turn).map_err(|e| e.to_string())
        })
    }

    /// Takes something out of the USB controller that is no disk. The line says why not.
    pub fn usb_del(&self, number: u8) -> Result<(), String> {
        let (pc, controller) = self.usb_controller()?;
        pc.usb(controller, |usb, turn| {
            usb.unplug(number, turn).map_err(|e| e.to_string())
        })
    }

    /// The name under which a disk more can come to the USB controller. The line says why none can.
    pub fn usb_room(&mut self) -> Result<&'static str, String> {
        self.usb_controller()?;
        let free = (0..USB_DISKS.len() as u8).find(|at| !self.slots.contains_key(&Spot::Usb(*at)));
        let at = free.ok_or_else(|| {
            let count = USB_DISKS.len();
            format!("{count} USB disks are plugged in, and no more are possible")
        })?;
        self.usb.expect(usb_disks::number(at.into()));
        Ok(Spot::Usb(at).name())
    }

    fn usb_controller(&self) -> Result<(Arc<Pc>, usize), String> {
        let pc = self.pc.upgrade();
        pc.zip(self.usb.controller)
            .ok_or_else(|| "USB support not enabled (usb = 1)".into())
    }

    /// The guest unplugs hard disks (`but_first`: not that of hda): they are gone from the drives, and nothing is done to their
    /// images any more.
    pub fn unplug(&mut self, but_first: bool) -> Vec<Pv> {
        let mut gone = Vec::new();
        let slots = std::mem::take(&mut self.slots);
        for (spot, mut slot) in slots {
            let stays = but_first && spot == Spot::Ide(0);
            match slot.pv.take_if(|_| !stays) {
                Some(pv) => {
                    slot.tray.take_out();
                    // The drive keeps its thread, which answers that there is no medium.
                    self.empty.push(slot.tray);
                    gone.push(pv);
                }
                None => {
                    self.slots.insert(spot, slot);
                }
            }
        }
        gone
    }

    fn put(
        &mut self,
        spot: Spot,
        config: &Config,
        loaded: Loaded,
        given: Pv,
        pv: Option<Pv>,
    ) -> Result<(), String> {
        if spot == Spot::Floppy(1) && !self.second_floppy {
            return Err(format!(
                "{}: this machine was made without a second floppy drive",
                config.id
            ));
        }
        let started = self.has_started();
        let label = (config.image.path.clone(), config.readonly);
        // A drive without a medium comes as an empty image.
        let loaded = (!loaded.is_empty()).then_some(loaded);
        if let Some(slot) = self.slots.get_mut(&spot) {
            if slot.attached && slot.tray.is_loaded() {
                return Err(format!(
                    "{}: {} is vbd {} already",
                    config.id,
                    spot.name(),
                    slot.devid
                ));
            }
            slot.devid = config.id.devid;
            slot.attached = true;
            slot.label = label;
            slot.given = Some(given);
            slot.tray.insert(loaded);
            return Ok(());
        }
        let on_usb = matches!(spot, Spot::Usb(_));
        if started && !on_usb {
            return Err(format!(
                "{}: the machine runs and has no drive {}: only CDs and floppies can be changed",
                config.id,
                spot.name()
            ));
        }
        let removable = config.cdrom || matches!(spot, Spot::Floppy(_));
        let tray = self.tray(spot, loaded)?;
        if on_usb && started {
            let devid = config.id.devid;
            let place = self.usb.anew(devid);
            place.fill(tray.medium());
            self.usb_add(Plug::Disk(devid, Box::new(place)))
                .map_err(|line| format!("{}: {line}", config.id))?;
        } else if let Some(place) = self.usb.find(config.id.devid) {
            place.fill(tray.medium());
        }
        let kind = if config.cdrom { Kind::Cd } else { Kind::Disk };
        let slot = Slot {
            devid: config.id.devid,
            tray,
            attached: true,
            label,
            removable,
            kind,
            given: Some(given),
            away: false,
            pv,
        };
        self.slots.insert(spot, slot);
        Ok(())
    }

    fn tray(&self, spot: Spot, inside: Option<Loaded>) -> Result<Tray, String> {
        let (pc, controllers) = (self.pc.clone(), self.controllers.clone());
        let usb = self.usb.controller;
        let notify = move || {
            let number = match spot {
                Spot::Ide(_) => controllers.ide.get(),
                Spot::Floppy(_) => controllers.floppy.get(),
                Spot::Usb(_) => usb.as_ref(),
            };
            if let Some((pc, number)) = pc.upgrade().zip(number) {
                pc.attend(*number);
            }
        };
        let (hub, name) = (self.hub.clone(), spot.name());
        let log = move |line: String| {
            hub.log
                .guest_line(Level::Warning, format_args!("{name}: {line}"));
        };
        Tray::new(name, inside, notify, log).map_err(|error| format!("{name}: {error}"))
    }

    /// Takes a medium out of its drive. The line says why not.
    pub fn detach(&mut self, devid: u32) -> Result<(), String> {
        let found = self.slots.iter_mut().find(|(_, slot)| slot.devid == devid);
        let Some((spot, slot)) = found else {
            return Err(format!("vbd {devid} is not attached"));
        };
        let spot = *spot;
        if let (Spot::Usb(_), true) = (spot, self.controllers.ide.get().is_some()) {
            let (pc, controller) = self.usb_controller()?;
            pc.usb(controller, |usb, turn| {
                usb.unplug_disk(devid, turn).map_err(|e| e.to_string())
            })?;
            // What it still writes it writes to the end.
            self.slots.remove(&spot);
            self.let_go(devid);
            return Ok(());
        }
        if !slot.removable {
            return Err(format!(
                "{} is a hard disk: it cannot be taken out of a running PC; shut the domain down first",
                spot.name()
            ));
        }
        slot.attached = false;
        slot.tray.insert(None);
        self.let_go(devid);
        Ok(())
    }

    fn let_go(&self, devid: u32) {
        self.hub.report(Report::Device(DeviceStatus {
            id: DeviceId {
                class: DeviceClass::Vbd,
                devid,
            },
            state: DeviceState::Closed,
            reason: None,
            disk: None,
        }));
    }

    /// What another process makes the same drives of; the images are not closed. The line says why not.
    pub fn again(&self) -> Result<Vec<Given>, String> {
        let mut all = Vec::new();
        for slot in self.slots.values() {
            let Some(given) = &slot.given else { continue };
            let id = given.spec.id();
            let failed = |error: std::io::Error| format!("{id}: {error}");
            let mut spec = given.spec.clone();
            let mut fds = again(&given.fds).map_err(failed)?;
            if let DeviceSpec::Vbd { image, .. } = &mut spec {
                if image.format == ImageFormat::Nbd {
                    return Err(format!("{id}: a connection to an NBD server cannot be handed over; save and restore the domain instead"));
                }
                if !slot.tray.is_loaded() {
                    // Its medium was taken out: it is a drive with an empty one.
                    image.path = "no medium".into();
                    (image.format, image.direct) = (ImageFormat::Raw, false);
                    let empty = memfd_create("empty-medium", MemfdFlags::CLOEXEC);
                    fds = vec![empty.map_err(|errno| failed(errno.into()))?];
                }
            }
            all.push((spec, fds));
        }
        Ok(all)
    }

    /// Closes all images, of which the drives notice nothing; [`Self::bring_back`] ends that.
    pub fn put_away(&mut self) {
        for slot in self.slots.values_mut() {
            slot.away = slot.tray.put_away();
        }
    }

    /// Has requests wait until [`Self::bring_back`].
    pub fn hold(&self) {
        self.slots.values().for_each(|slot| slot.tray.hold());
    }

    /// Goes on with the images, opened again where they were put away; lines of those that cannot be.
    pub fn bring_back(&mut self) -> Vec<String> {
        let mut wrong = Vec::new();
        for slot in self.slots.values_mut() {
            let opened = match &slot.given {
                Some(given) if std::mem::take(&mut slot.away) => reopen(given).map(Some),
                _ => Ok(None),
            };
            slot.tray.bring_back(opened.unwrap_or_else(|line| {
                wrong.push(line);
                None
            }));
        }
        wrong
    }

    /// What is attached.
    pub fn list(&self) -> Vec<DeviceStatus> {
        let attached = self.slots.values().filter(|slot| slot.attached);
        attached
            .map(|slot| DeviceStatus {
                id: DeviceId {
                    class: DeviceClass::Vbd,
                    devid: slot.devid,
                },
                state: DeviceState::Connected,
                reason: None,
                disk: None,
            })
            .collect()
    }

    /// The drives as the monitor window shows them.
    pub fn shown(&self) -> Vec<subject::Drive> {
        let drive = |(spot, slot): (&Spot, &Slot)| {
            let bytes = slot.tray.medium().disc().bytes;
            subject::Drive {
                name: match spot {
                    Spot::Floppy(0) => "fda",
                    Spot::Floppy(_) => "fdb",
                    Spot::Ide(_) | Spot::Usb(_) => spot.name(),
                },
                removable: slot.removable,
                locked: slot.tray.is_kept(),
                medium: bytes.map(|bytes| subject::Medium {
                    path: slot.label.0.clone(),
                    readonly: slot.label.1,
                    bytes,
                }),
            }
        };
        self.slots.iter().map(drive).collect()
    }

    /// What is in the drives.
    pub fn discs(&self) -> Vec<Disk> {
        let disc = |slot: &Slot| {
            let bytes = slot.tray.medium().disc().bytes?;
            Some(Disk {
                devid: slot.devid,
                bytes,
            })
        };
        self.slots.values().filter_map(disc).collect()
    }

    /// Puts the controllers into the machine, once, before its firmware runs.
    pub fn start(&mut self) -> Result<(), String> {
        let Some(pc) = self.pc.upgrade().filter(|_| !self.has_started()) else {
            return Ok(());
        };
        // The first floppy drive is always there, as on every PC of the time; its disk may come later.
        if !self.slots.contains_key(&Spot::Floppy(0)) {
            let slot = Slot {
                devid: 2 << 8,
                tray: self.tray(Spot::Floppy(0), None)?,
                attached: false,
                label: Default::default(),
                removable: true,
                kind: Kind::Disk,
                given: None,
                away: false,
                pv: None,
            };
            self.slots.insert(Spot::Floppy(0), slot);
        }
        let drives = [0u8, 1, 2, 3].map(|index| {
            let slot = self.slots.get(&Spot::Ide(index))?;
            Some(Drive::new(
                slot.kind,
                &format!("NX{index:05}"),
                slot.tray.medium(),
            ))
        });
        let media = [0u8, 1].map(|index| -> Option<Box<dyn Medium>> {
            Some(self.slots.get(&Spot::Floppy(index))?.tray.medium())
        });
        let dma = self.dma.take().unwrap_or_else(IsaDma::new);
        let floppy = Floppy::new(media, dma.line(CHANNEL));
        let ide = pc.add(|bus| bus.add(Box::new(Ide::new(drives)), Some(IDE)));
        pc.add(|bus| bus.add(Box::new(dma), None));
        let floppy = pc.add(|bus| bus.add(Box::new(floppy), None));
        // Nobody else sets them.
        let _ = self.controllers.ide.set(ide);
        let _ = self.controllers.floppy.set(floppy);
        Ok(())
    }
}

fn reopen(given: &Pv) -> Result<Loaded, String> {
    let config = Config::of(&given.spec)?;
    let fds = again(&given.fds).map_err(|error| format!("{}: {error}", config.id))?;
    Loaded::open(&config, fds)
}

/// The same files.
pub fn again(fds: &[OwnedFd]) -> std::io::Result<Vec<OwnedFd>> {
    fds.iter().map(OwnedFd::try_clone).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_have_their_drives_by_name() {
        for (devid, expected) in [
            (768, Some(Spot::Ide(0))),
            (832, Some(Spot::Ide(1))),
            (5632, Some(Spot::Ide(2))),
            (51712, Some(Spot::Ide(0))),
            (51712 + 48, Some(Spot::Ide(3))),
            (512, Some(Spot::Floppy(0))),
            (769, None),
            (2048, None),
            (u32::MAX, None),
        ] {
            assert_eq!(Spot::of(devid), expected, "{devid}");
        }
    }
}
