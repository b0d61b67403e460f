//! The disks at a PC's USB controller: the controller is there before their images are.
//!
//! ```text
//!   spec: Disk{devid} --registry--> Uhci with a Place      attach(vbd devid) --drives.rs--> Tray --fill--> Place
//!   while it runs: room_for() --> a name --wish--> xend --attach(vbd of that name)--> drives.rs: Tray, Uhci::plug
//! ```

use crate::domain::hub::lock;
use noxen_control::spec::{UsbDevice, USB_DISKS};
use noxen_pc::medium::{Answer, Disc, Medium, Request};
use std::sync::{Arc, Mutex};

/// Where the medium of a disk comes.
#[derive(Debug, Clone, Default)]
pub struct Place(Arc<Mutex<Option<Box<dyn Medium>>>>);

impl Place {
    /// The medium has come.
    pub fn fill(&self, medium: Box<dyn Medium>) {
        *lock(&self.0) = Some(medium);
    }
}

impl Medium for Place {
    fn disc(&self) -> Disc {
        let medium = lock(&self.0);
        medium
            .as_ref()
            .map_or(Disc::default(), |medium| medium.disc())
    }

    fn begin(&mut self, request: Request) {
        if let Some(medium) = &mut *lock(&self.0) {
            medium.begin(request);
        }
    }

    fn finished(&mut self) -> Option<Answer> {
        lock(&self.0).as_mut()?.finished()
    }
}

/// All of them, with their numbers as vbds.
#[derive(Debug, Clone, Default)]
pub struct UsbDisks {
    /// Number on the bus of the controller that they are at.
    pub controller: Option<usize>,
    disks: Vec<(u32, Place)>,
}

impl UsbDisks {
    /// Those of `devices`, empty.
    pub fn of(devices: Option<&[UsbDevice]>) -> UsbDisks {
        let disk = |device: &UsbDevice| match device {
            UsbDevice::Disk { devid } => Some((*devid, Place::default())),
            _ => None,
        };
        let disks = devices.unwrap_or_default().iter().filter_map(disk);
        UsbDisks {
            controller: None,
            disks: disks.collect(),
        }
    }

    /// Where the medium of a disk comes, if it is one that is known here.
    pub fn find(&self, devid: u32) -> Option<&Place> {
        let found = self.disks.iter().find(|(number, _)| *number == devid);
        found.map(|(_, place)| place)
    }

    /// From now on a disk of this number is one of these.
    pub fn expect(&mut self, devid: u32) {
        if self.find(devid).is_none() {
            self.disks.push((devid, Place::default()));
        }
    }

    /// A disk comes once more; where its medium comes then.
    pub fn anew(&mut self, devid: u32) -> Place {
        self.disks.retain(|(number, _)| *number != devid);
        let place = Place::default();
        self.disks.push((devid, place.clone()));
        place
    }
}

/// The name of the disk of that number.
pub fn name(devid: u32) -> Option<&'static str> {
    let found = (0..).zip(USB_DISKS).find(|(at, _)| number(*at) == devid);
    found.map(|(_, name)| name)
}

/// The number of the disk `at` of [`USB_DISKS`].
pub fn number(at: u32) -> u32 {
    8 << 8 | at << 4
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A medium of 512 bytes.
    #[derive(Debug)]
    struct Sector;

    impl Medium for Sector {
        fn disc(&self) -> Disc {
            Disc {
                bytes: Some(512),
                ..Disc::default()
            }
        }
        fn begin(&mut self, _request: Request) {}
        fn finished(&mut self) -> Option<Answer> {
            None
        }
    }

    #[test]
    fn disks_have_their_numbers_by_name() {
        assert_eq!((number(0), number(7)), (2048, 2160));
        assert_eq!((name(2064), name(2160)), (Some("sdb"), Some("sdh")));
        assert_eq!((name(2049), name(2176), name(0)), (None, None, None));
    }

    #[test]
    fn expected_disk_is_known_and_one_that_comes_again_has_no_old_medium() {
        let mut disks = UsbDisks::of(Some(&[UsbDevice::Disk { devid: 2048 }]));
        assert!(disks.find(2048).is_some() && disks.find(2064).is_none());
        disks.expect(2064);
        let place = disks.find(2064).cloned().unwrap();
        place.fill(Box::new(Sector));
        disks.expect(2064);
        assert_eq!(disks.find(2064).unwrap().disc().bytes, Some(512));
        assert_eq!(disks.anew(2064).disc().bytes, None);
    }
}
