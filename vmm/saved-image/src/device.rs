//! PV devices as they are written: what is neither in the guest's memory nor in its nodes of the store.
//!
//! ```text
//!   vbd, vif, vfb, vkbd (a unit for each device) --State::read--> State::devices, in the order of the file
//! ```
//! Rings, grants and event channels lie in the guest's memory, and where they are the front end's nodes say. What of the
//! host a device stands for is in the configuration; whoever restores the domain opens it anew.

use crate::error::ImageError;
use crate::state::{parse, structure, Bytes, Unit};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Most devices of an image.
pub const MAX_DEVICES: usize = 256;
/// Most addresses on an interface's multicast list, most inputs that wait for a keyboard's front end.
pub const MAX_ITEMS: usize = 4096;

/// A disk. All that was under way is finished.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Vbd {
    /// Xen's device number.
    pub devid: u32,
    /// A front end used it.
    pub connected: bool,
}

/// A network interface. Requests that the guest had sent and nobody has taken are in the ring.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Vif {
    /// Number.
    pub devid: u32,
    /// A front end used it.
    pub connected: bool,
    /// Its address, `aa:bb:cc:dd:ee:ff`: by that it is found in the configuration.
    pub mac: String,
    /// Groups that the guest wants to hear, six bytes each.
    pub multicast: Vec<Bytes>,
}

/// A screen.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Vfb {
    /// Number.
    pub devid: u32,
    /// The picture's form, while a front end uses it: the guest may have changed it since it wrote its page.
    pub geometry: Option<Geometry>,
}

/// Form of a picture.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Geometry {
    /// Pixels.
    pub width: u32,
    /// Lines.
    pub height: u32,
    /// Bits per pixel.
    pub depth: u32,
    /// Bytes per line.
    pub stride: u32,
    /// First byte of the picture in the frame buffer.
    pub offset: u32,
}

/// A keyboard and pointer.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Vkbd {
    /// Number.
    pub devid: u32,
    /// A front end used it.
    pub connected: bool,
    /// The last position told, which movements are counted from.
    pub last: Option<(i32, i32)>,
    /// What the guest's ring had no room for.
    pub pending: Vec<Input>,
}

/// What a person did.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Input {
    /// A key or button.
    Key {
        /// Linux' code.
        code: u32,
        /// Down.
        pressed: bool,
    },
    /// The pointer moved.
    Motion {
        /// To the right.
        x: i32,
        /// Down.
        y: i32,
        /// Wheel, clicks.
        wheel: i32,
    },
    /// The pointer is there.
    Position {
        /// From the left.
        x: i32,
        /// From the top.
        y: i32,
        /// Wheel, clicks.
        wheel: i32,
    },
}

/// A device of any class.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // The structures say it.
pub enum Device {
    Vbd(Vbd),
    Vif(Vif),
    Vfb(Vfb),
    Vkbd(Vkbd),
}

macro_rules! classes {
    ($($class:ident $name:literal $version:literal)*) => {
        $(impl Unit for $class {
            const NAME: &'static str = $name;
            const VERSION: u32 = $version;
        })*

        impl Device {
            /// Its class, by Xen's name, and its number.
            pub fn id(&self) -> (&'static str, u32) {
                match self {
                    $(Device::$class(device) => ($name, device.devid),)*
                }
            }

            /// Reads a unit; none if it is not a device's.
            pub(crate) fn of_unit(name: &str, version: u32, body: &[u8], writer: &str) -> Option<Result<Device, ImageError>> {
                match (name, version) {
                    $(($name, $version) => Some(parse(body, writer).map(Device::$class)),)*
                    _ => None,
                }
            }
        }

        impl<W: std::io::Write> crate::Writer<W> {
            /// Writes a device.
            pub fn device(&mut self, device: &Device) -> std::io::Result<()> {
                match device {
                    $(Device::$class(device) => self.unit(device),)*
                }
            }
        }
    };
}

classes! {
    Vbd "vbd" 1
    Vif "vif" 1
    Vfb "vfb" 1
    Vkbd "vkbd" 1
}

impl Device {
    /// A front end used it.
    pub fn is_connected(&self) -> bool {
        match self {
            Device::Vbd(vbd) => vbd.connected,
            Device::Vif(vif) => vif.connected,
            Device::Vfb(vfb) => vfb.geometry.is_some(),
            Device::Vkbd(vkbd) => vkbd.connected,
        }
    }

    /// Makes it one that no front end uses.
    pub fn disconnect(&mut self) {
        match self {
            Device::Vbd(vbd) => vbd.connected = false,
            Device::Vif(vif) => (vif.connected, vif.multicast) = (false, Vec::new()),
            Device::Vfb(vfb) => vfb.geometry = None,
            Device::Vkbd(vkbd) => {
                (vkbd.connected, vkbd.last, vkbd.pending) = (false, None, Vec::new());
            }
        }
    }

    fn items(&self) -> usize {
        match self {
            Device::Vif(vif) => vif.multicast.len(),
            Device::Vkbd(vkbd) => vkbd.pending.len(),
            Device::Vbd(_) | Device::Vfb(_) => 0,
        }
    }
}

/// Each device once, and none with more than it can have.
pub(crate) fn check(devices: &[Device]) -> Result<(), ImageError> {
    let mut seen = BTreeSet::new();
    for device in devices {
        let (class, devid) = device.id();
        if !seen.insert((class, devid)) {
            return Err(structure(&format!(
                "its device {class} {devid} comes twice"
            )));
        }
        if device.items() > MAX_ITEMS {
            return Err(structure(&format!(
                "its device {class} {devid} has more than a device can have"
            )));
        }
    }
    Ok(())
}
