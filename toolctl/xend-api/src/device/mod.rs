//! Devices of a domain, typed: what a configuration, a command and xend say of a disk or a network interface.
//!
//! ```text
//!   'phy:vg/t,xvda1,w'          --Disk::parse--> Disk --image()--> Image   --number()--> virtual-device
//!   'mac=..,bridge=xenbr0'      --Vif::parse---> Vif  --rate()---> Rate
//! ```
//! Texts are xm's (xm-reference: "Storage", "vif option string"). Parsing is pure; what depends on the host is xend's.

mod disk;
mod error;
pub mod number;
mod rate;
mod vfb;
mod vif;

pub use disk::{Disk, Image, Mode, TapDriver};
pub use error::DeviceError;
pub use rate::Rate;
pub use vfb::Vfb;
pub use vif::Vif;

use crate::traffic::DiskTraffic;
use serde::{Deserialize, Serialize};

/// A device of any class.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(tag = "class", rename_all = "kebab-case")]
pub enum DeviceConfig {
    /// Class `vbd` or `tap`.
    Disk(Disk),
    /// Class `vif`.
    Vif(Vif),
    /// Class `vfb`.
    Vfb(Vfb),
    /// Class `vkbd`: nothing is to be said of it.
    Vkbd,
}

impl DeviceConfig {
    /// Its class.
    pub fn class(&self) -> DeviceClass {
        match self {
            DeviceConfig::Disk(_) => DeviceClass::Vbd,
            DeviceConfig::Vif(_) => DeviceClass::Vif,
            DeviceConfig::Vfb(_) => DeviceClass::Vfb,
            DeviceConfig::Vkbd => DeviceClass::Vkbd,
        }
    }

    /// Directory of its back end: the class, or `tap`.
    pub fn backend_class(&self) -> &'static str {
        match self {
            DeviceConfig::Disk(disk) => disk.class(),
            other => other.class().name(),
        }
    }

    /// The domain that is to have the back end.
    pub fn backend(&self) -> Option<&str> {
        match self {
            DeviceConfig::Disk(disk) => disk.backend.as_deref(),
            DeviceConfig::Vif(vif) => vif.backend.as_deref(),
            DeviceConfig::Vfb(_) | DeviceConfig::Vkbd => None,
        }
    }
}

/// Which kind of device a command means.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum DeviceClass {
    /// Disks, `vbd` and `tap` alike: their front ends share `device/vbd`.
    Vbd,
    /// Network interfaces.
    Vif,
    /// Screens.
    Vfb,
    /// Keyboards and pointers.
    Vkbd,
}

impl DeviceClass {
    /// The directory below `device/`.
    pub fn name(self) -> &'static str {
        match self {
            DeviceClass::Vbd => "vbd",
            DeviceClass::Vif => "vif",
            DeviceClass::Vfb => "vfb",
            DeviceClass::Vkbd => "vkbd",
        }
    }
}

/// `key=value` words; blanks around them and their signs do not count.
fn pairs<'a>(
    words: impl IntoIterator<Item = &'a str>,
) -> impl Iterator<Item = Result<(&'a str, &'a str), DeviceError>> {
    let words = words.into_iter().map(str::trim).filter(|w| !w.is_empty());
    words.map(|word| {
        let (key, value) = word
            .split_once('=')
            .ok_or_else(|| DeviceError::Pair(word.to_owned()))?;
        Ok((key.trim(), value.trim()))
    })
}

/// One device of a running domain, for listings.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct DeviceInfo {
    /// Number within its class.
    pub devid: u32,
    /// The directory of its back end.
    pub class: String,
    /// As it was asked for.
    pub config: DeviceConfig,
    /// Where its back end is in the store.
    pub backend: String,
    /// Front end's nodes by name. The guest writes these.
    pub nodes: std::collections::BTreeMap<String, String>,
    /// What noxen-vmm says of it: waiting, connected, closing, broken; nothing when it does not answer.
    pub state: Option<String>,
    /// Why it is broken.
    pub reason: Option<String>,
    /// What it has carried, if it is a disk in use.
    #[serde(default)]
    pub disk: Option<DiskTraffic>,
}

impl DeviceInfo {
    /// A node of the front end as a number; none when the guest wrote none.
    pub fn number(&self, name: &str) -> Option<i64> {
        self.nodes.get(name)?.parse().ok()
    }
}
