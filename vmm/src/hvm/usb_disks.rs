//! The disks at a PC's USB controller: the controller is there before their images are.
//!
//! ```text
//!   spec: Disk{devid} --registry--> Uhci with a Place      attach(vbd devid) --drives.rs--> Tray --fill--> Place
//! ```

use crate::domain::hub::lock;
use noxen_control::spec::UsbDevice;
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

    /// Which one, from 0 on, and where its medium comes.
    pub fn find(&self, devid: u32) -> Option<(u8, &Place)> {
        let at = self.disks.iter().position(|(number, _)| *number == devid)?;
        Some((at as u8, &self.disks[at].1))
    }
}
