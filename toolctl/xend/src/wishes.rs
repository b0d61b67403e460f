//! What a domain's monitor window wants of xend: it opens files and ends domains, noxen-vmm does neither.
//!
//! ```text
//!   noxen-vmm --Wished--> watch.rs --> Desk: one at a time, on a thread --> done --Fulfilled{refusal}--> noxen-vmm
//!                                        monitor = 1?  else refused
//! ```
//! A medium goes the way of `block-configure`, with its checks. A picture gets its name once it is whole, and replaces nothing but
//! an earlier picture.

use crate::devices::class::Site;
use crate::devices::requests::configure_device;
use crate::devices::{self, Origin};
use crate::domain::Domain;
use crate::node::Node;
use crate::registry::Phase;
use crate::requests::running;
use crate::saved::Replacing;
use crate::{info, teardown, warning};
use noxen_control::wish::{Wish, MAX_FILE};
use noxen_xend_api::device::{number, Mode};
use noxen_xend_api::{DeviceClass, DeviceConfig, Disk, Fault};
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

/// Where the wishes of one domain come in.
#[derive(Debug, Default)]
pub struct Desk {
    busy: Arc<AtomicBool>,
}

impl Desk {
    /// Does what is wished, on a thread of its own, and says so.
    pub fn heed(&self, node: &Arc<Node>, domain: &Arc<Domain>, number: u64, wish: Wish) {
        if self.busy.swap(true, Ordering::SeqCst) {
            // noxen-vmm waits for each before it wishes again.
            warning!(
                "domain {}: its monitor wants several things at once",
                domain.domid()
            );
            return;
        }
        let (node, domain, busy) = (node.clone(), domain.clone(), self.busy.clone());
        let work = move || {
            let refusal = fulfil(&node, &domain, &wish)
                .err()
                .map(|fault| fault.message.replace(char::is_control, " "));
            busy.store(false, Ordering::SeqCst);
            // It may be gone by now, as was wished.
            let _ = domain.monitor().fulfilled(number, refusal);
        };
        let thread = std::thread::Builder::new().name("wish".into());
        if let Err(e) = thread.spawn(work) {
            self.busy.store(false, Ordering::SeqCst);
            warning!("a wish of a domain's monitor is not fulfilled: {e}");
        }
    }
}

fn fulfil(node: &Arc<Node>, domain: &Arc<Domain>, wish: &Wish) -> Result<(), Fault> {
    let _busy = node.begin();
    let record = domain.record();
    if !record.config.hvm.monitor {
        return Err(Fault::generic("the domain has no monitor (monitor = 1)"));
    }
    info!(
        "domain {} (id={}): its monitor wants {wish:?}",
        record.name, record.domid
    );
    match wish {
        Wish::Change { drive, file } => change(node, running(domain)?, drive, file),
        Wish::Eject { drive } => eject(node, running(domain)?, drive),
        Wish::UsbAdd { name, file } => usb_add(node, running(domain)?, name, file),
        Wish::UsbDel { name } => usb_del(node, running(domain)?, name),
        Wish::Screendump { file } => screendump(running(domain)?, file),
        Wish::Quit => quit(node, domain),
    }
}

/// What `disk=` has before the name of a file in a drive.
fn uname(file: &str) -> Result<String, Fault> {
    if file.is_empty() || file.len() > MAX_FILE || file.contains(char::is_control) {
        return Err(Fault::generic("that is no name of a file"));
    }
    let scheme = match file {
        _ if file.starts_with("/dev/") => "phy:",
        _ if file.starts_with('/') => "file:",
        _ => "",
    };
    Ok(format!("{scheme}{file}"))
}

fn is_floppy(drive: &str) -> bool {
    number::of_name(drive).is_some_and(|number| number >> 8 == 2)
}

fn change(node: &Node, domain: &Arc<Domain>, drive: &str, file: &str) -> Result<(), Fault> {
    let uname = uname(file)?;
    let (dev, mode) = match is_floppy(drive) {
        true => (drive.to_owned(), Mode::Write),
        false => (format!("{drive}:cdrom"), Mode::Read),
    };
    let disk = Disk::new(&uname, &dev, mode);
    let disk = disk.ok_or_else(|| Fault::generic(format!("{drive}: there is no such drive")))?;
    let number = disk.number().map_err(|e| Fault::generic(e.to_string()))?;
    let devices = domain.record().devices;
    let mut there = devices.iter().filter(|d| d.class() == DeviceClass::Vbd);
    if there.any(|device| device.devid == number) {
        return configure_device(node, domain, DeviceConfig::Disk(disk)).map(drop);
    }
    // Its medium was taken out for good.
    devices::requests::attach_device(node, domain, DeviceConfig::Disk(disk)).map(drop)
}

fn eject(node: &Node, domain: &Arc<Domain>, drive: &str) -> Result<(), Fault> {
    if let Some(empty) = Disk::new("", &format!("{drive}:cdrom"), Mode::Read) {
        if !is_floppy(drive) {
            return configure_device(node, domain, DeviceConfig::Disk(empty)).map(drop);
        }
    }
    devices::requests::detach_device(node, domain, DeviceClass::Vbd, drive, false).map(drop)
}

/// A disk that the monitor has a place for; from now on it is part of the configuration, as what `block-attach` brings.
fn usb_add(node: &Node, domain: &Arc<Domain>, name: &str, file: &str) -> Result<(), Fault> {
    uname(file)?;
    // An item of `usbdevice`, which has commas between its items where it is one text.
    if !file.starts_with('/') || file.contains(',') {
        return Err(Fault::generic(format!(
            "{file}: a path from / on, without a comma"
        )));
    }
    let disk = crate::hvm::usb_disk(name, file);
    let disk = disk.ok_or_else(|| Fault::generic(format!("{name} is no USB disk")))?;
    devices::vbd::check(&disk)?;
    let site = Site { node, domain };
    devices::attach(site, DeviceConfig::Disk(disk), Origin::Configured)?;
    node.save(domain, |record| {
        crate::hvm::remember_usb_disk(&mut record.config.hvm, name, file);
    })
    .map(drop)
}

fn usb_del(node: &Node, domain: &Arc<Domain>, name: &str) -> Result<(), Fault> {
    devices::requests::detach_device(node, domain, DeviceClass::Vbd, name, false).map(drop)
}

fn screendump(domain: &Arc<Domain>, file: &str) -> Result<(), Fault> {
    let path = Path::new(file);
    let cannot = |e: &dyn std::fmt::Display| Fault::generic(format!("{file}: {e}"));
    if !path.is_absolute() || file.len() > MAX_FILE {
        return Err(cannot(&"a path from / on"));
    }
    check_replaceable(path).map_err(|line| cannot(&line))?;
    let mut replacing = Replacing::begin(path).map_err(|e| cannot(&e))?;
    let written = domain.monitor().screendump(replacing.file());
    written.map_err(|e| cannot(&e))?;
    replacing.finish().map_err(|e| cannot(&e))
}

/// Whoever can look at a screen must not write over the host's files.
fn check_replaceable(path: &Path) -> Result<(), String> {
    let kind = match std::fs::symlink_metadata(path) {
        Ok(metadata) => metadata.file_type(),
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e.to_string()),
    };
    let mut magic = [0; 3];
    let is_picture = kind.is_file()
        && File::open(path)
            .and_then(|mut file| file.read_exact(&mut magic))
            .is_ok()
        && magic == *b"P6\n";
    match is_picture {
        true => Ok(()),
        false => Err("it is there already, and no picture (PPM)".into()),
    }
}

fn quit(node: &Arc<Node>, domain: &Arc<Domain>) -> Result<(), Fault> {
    let mut life = domain.enter();
    if life.gone || domain.record().phase == Phase::Building {
        return Ok(());
    }
    teardown::teardown(node, domain, &mut life, false);
    Ok(())
}

/// Where the medium of a floppy drive comes from when it is changed: `fda` and `fdb` stay what they are.
pub fn origin_of_floppy(fda: &str, fdb: &str, number: u32) -> Origin {
    let configured = match number & 0xff {
        0 => fda,
        _ => fdb,
    };
    match configured {
        "" => Origin::Added,
        _ => Origin::Configured,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TempDir;

    #[test]
    fn file_of_a_drive_gets_its_scheme() {
        let uname = |file: &str| uname(file).map_err(|fault| fault.message);
        assert_eq!(uname("/srv/a.iso").unwrap(), "file:/srv/a.iso");
        assert_eq!(uname("/dev/sr0").unwrap(), "phy:/dev/sr0");
        assert_eq!(uname("tap:qcow2:/srv/a").unwrap(), "tap:qcow2:/srv/a");
        for wrong in ["", "/a\nb", &format!("/{}", "x".repeat(MAX_FILE))] {
            assert!(uname(wrong).is_err(), "{wrong}");
        }
        assert!(is_floppy("fda") && !is_floppy("hdc") && !is_floppy("x"));
    }

    #[test]
    fn picture_replaces_a_picture_and_nothing_else() {
        let dir = TempDir::new("wishes");
        let file = |name: &str, bytes: &[u8]| {
            let path = dir.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            path
        };
        assert_eq!(check_replaceable(&dir.path().join("new.ppm")), Ok(()));
        assert_eq!(check_replaceable(&file("old.ppm", b"P6\n1 1\n")), Ok(()));
        assert!(check_replaceable(&file("shadow", b"root:x")).is_err());
        assert!(check_replaceable(&file("empty", b"")).is_err());
        assert!(check_replaceable(dir.path()).is_err());
        let link = dir.path().join("link.ppm");
        std::os::unix::fs::symlink(dir.path().join("old.ppm"), &link).unwrap();
        assert!(check_replaceable(&link).is_err());
    }
}
