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
mod vif;

pub use disk::{Disk, Image, Mode, TapDriver};
pub use error::DeviceError;
pub use rate::Rate;
pub use vif::Vif;

use serde::{Deserialize, Serialize};

/// A device of any class.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(tag = "class", rename_all = "kebab-case")]
pub enum DeviceConfig {
    /// Class `vbd` or `tap`.
    Disk(Disk),
    /// Class `vif`.
    Vif(Vif),
}

/// Which kind of device a command means.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum DeviceClass {
    /// Disks, `vbd` and `tap` alike: their front ends share `device/vbd`.
    Vbd,
    /// Network interfaces.
    Vif,
}

impl DeviceClass {
    /// The directory below `device/`.
    pub fn name(self) -> &'static str {
        match self {
            DeviceClass::Vbd => "vbd",
            DeviceClass::Vif => "vif",
        }
    }
}
