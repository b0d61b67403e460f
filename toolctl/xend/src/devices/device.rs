//! One device as a domain's record has it, and its places in the store.

use noxen_control::device::DeviceId;
use noxen_xend_api::{DeviceClass, DeviceConfig};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// A device that a domain has, or is being given.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Device {
    /// Number within its class: a disk's `virtual-device`, an interface's index.
    pub devid: u32,
    /// As it was asked for, with whatever xend chose.
    pub config: DeviceConfig,
    /// UUID.
    pub uuid: String,
    /// The disk that a boot loader looks at.
    #[serde(default)]
    pub bootable: bool,
    /// Hotplug script that is run when it comes and when it goes.
    #[serde(default)]
    pub script: Option<PathBuf>,
    /// What of the host it stands for, once that is open.
    #[serde(default)]
    pub identity: Option<Identity>,
}

/// What two disks have in common when they are the same.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Identity {
    /// A block device.
    Block {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A file.
    File {
        /// st_dev.
        device: u64,
        /// st_ino.
        inode: u64,
    },
}

impl Identity {
    /// The node `physical-device`, which only block devices have.
    pub fn physical_device(self) -> Option<String> {
        match self {
            Identity::Block { major, minor } => Some(format!("{major:x}:{minor:x}")),
            Identity::File { .. } => None,
        }
    }
}

impl Device {
    /// Its class.
    pub fn class(&self) -> DeviceClass {
        self.config.class()
    }

    /// What noxen-vmm calls it.
    pub fn id(&self) -> DeviceId {
        DeviceId {
            class: super::monitor_class(self.class()),
            devid: self.devid,
        }
    }

    /// `/local/domain/N/device/CLASS/DEVID`.
    pub fn frontend(&self, domid: u32) -> String {
        format!(
            "/local/domain/{domid}/device/{}/{}",
            self.class().name(),
            self.devid
        )
    }

    /// `/local/domain/0/backend/CLASS/N/DEVID`.
    pub fn backend(&self, domid: u32) -> String {
        format!("/local/domain/0/{}", self.xenbus_path(domid))
    }

    /// `backend/CLASS/N/DEVID`, as scripts get it.
    pub fn xenbus_path(&self, domid: u32) -> String {
        let class = self.config.backend_class();
        format!("backend/{class}/{domid}/{}", self.devid)
    }

    /// `51712 (vbd)`, as messages name it.
    pub fn shown(&self) -> String {
        format!("{} ({})", self.devid, self.config.backend_class())
    }
}
