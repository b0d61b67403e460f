//! Devices of a domain as noxen-vmm is asked to attach them.
//!
//! ```text
//!   xend: nodes in the store, scripts, open(2) --AttachDevice + fds--> noxen-vmm: back end
//!   noxen-vmm --DeviceState--> subscribers         xend: removes the nodes once it is closed
//! ```
//! A device is known by its class and its number ([`DeviceId`]). noxen-vmm opens nothing by itself: what
//! paths stand here are names for messages and, for `frontend` and `backend`, directories of the store.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Most devices of a domain.
pub const MAX_DEVICES: usize = 256;
/// Longest string in a [`DeviceSpec`], bytes.
pub const MAX_STRING: usize = 4096;
/// Most bytes of a certificate, with those that lead to its authority, and of a key.
pub const MAX_PEM: usize = 64 << 10;

/// What kind of device, by Xen's name.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[serde(rename_all = "kebab-case")]
pub enum DeviceClass {
    /// Block device (io/blkif.h).
    Vbd,
    /// Network interface (io/netif.h).
    Vif,
    /// Screen (io/fbif.h).
    Vfb,
    /// Keyboard and pointer (io/kbdif.h).
    Vkbd,
}

impl fmt::Display for DeviceClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DeviceClass::Vbd => "vbd",
            DeviceClass::Vif => "vif",
            DeviceClass::Vfb => "vfb",
            DeviceClass::Vkbd => "vkbd",
        })
    }
}

/// One device of a domain.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[serde(deny_unknown_fields)]
pub struct DeviceId {
    /// Kind.
    pub class: DeviceClass,
    /// Number within the kind (vbd: Xen's device number, e.g. 51712 for xvda; vif: index).
    pub devid: u32,
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.class, self.devid)
    }
}

/// How the bytes of a disk are kept.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum ImageFormat {
    /// As they are: a file or a block device.
    #[default]
    Raw,
    /// QEMU's copy-on-write format, version 2 or 3.
    Qcow2,
    /// VMware's.
    Vmdk,
    /// Connectix', Microsoft's (Xen's `tap:vhd`).
    Vhd,
    /// Its successor.
    Vhdx,
    /// A connected socket of an NBD server, nothing said on it yet.
    Nbd,
}

/// Who moves the bytes between guest and host file.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Engine {
    /// io_uring where the kernel offers it, else threads.
    #[default]
    Auto,
    /// io_uring or an error.
    IoUring,
    /// Threads that call preadv and pwritev.
    Threads,
}

/// The host's side of a disk.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct DiskImage {
    /// As given by the administrator (messages only).
    pub path: String,
    /// Format.
    #[serde(default)]
    pub format: ImageFormat,
    /// Past the page cache (O_DIRECT).
    #[serde(default)]
    pub direct: bool,
    /// Engine.
    #[serde(default)]
    pub engine: Engine,
    /// Export name of an NBD server; empty for its default.
    #[serde(default)]
    pub export: String,
}

/// One device to attach. `frontend` and `backend` are absolute store paths without a slash at the end,
/// whose first nodes xend has written.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(tag = "class", rename_all = "kebab-case", deny_unknown_fields)]
pub enum DeviceSpec {
    /// A disk. Descriptors: 0 the image (or NBD socket).
    Vbd {
        /// Xen's device number.
        devid: u32,
        /// `/local/domain/N/device/vbd/DEVID`.
        frontend: String,
        /// `/local/domain/0/backend/vbd/N/DEVID`.
        backend: String,
        /// Where the bytes are.
        image: DiskImage,
        /// Writes are refused.
        readonly: bool,
        /// A CD-ROM (VDISK_CDROM).
        #[serde(default)]
        cdrom: bool,
        /// Bytes of a logical sector, 512 or 4096; default 512.
        #[serde(default)]
        sector_size: Option<u32>,
        /// Bytes of a physical sector; default: what the host says, else the logical one.
        #[serde(default)]
        physical_sector_size: Option<u32>,
        /// Offer the front end persistent grants (see docs/devices.md).
        #[serde(default)]
        persistent: bool,
    },
    /// A network interface. Descriptors: one tap queue each, and the ROM behind them if `rom` says so.
    Vif {
        /// Index.
        devid: u32,
        /// `/local/domain/N/device/vif/DEVID`.
        frontend: String,
        /// `/local/domain/0/backend/vif/N/DEVID`.
        backend: String,
        /// `aa:bb:cc:dd:ee:ff`.
        mac: String,
        /// Limit on what the guest sends.
        #[serde(default)]
        rate: Option<VifRate>,
        /// Of an HVM domain: the emulated card.
        #[serde(default)]
        model: NicModel,
        /// Of an HVM domain: the last descriptor is the card's expansion ROM, a file.
        #[serde(default)]
        rom: bool,
    },
    /// A screen. Descriptors: a listening TCP socket if `vnc` is there, else none.
    Vfb {
        /// Index.
        devid: u32,
        /// `/local/domain/N/device/vfb/DEVID`.
        frontend: String,
        /// `/local/domain/0/backend/vfb/N/DEVID`.
        backend: String,
        /// Most memory that the guest may show, MiB.
        videoram_mib: u32,
        /// Show it by VNC; input goes to the vkbd of the same number.
        #[serde(default)]
        vnc: Option<VncSpec>,
    },
    /// Keyboard and pointer. No descriptors.
    Vkbd {
        /// Index.
        devid: u32,
        /// `/local/domain/N/device/vkbd/DEVID`.
        frontend: String,
        /// `/local/domain/0/backend/vkbd/N/DEVID`.
        backend: String,
        /// Pixels that positions are counted in.
        width: u32,
        /// Lines.
        height: u32,
    },
}

/// How a screen is shown by VNC.
#[derive(Clone, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct VncSpec {
    /// Title of viewers' windows.
    pub title: String,
    /// What viewers have to know; nothing: everybody who can connect is let in.
    #[serde(default)]
    pub password: Option<String>,
    /// Layout of the guest's keyboard, as `keymap=` names it; nothing: `en-us`.
    #[serde(default)]
    pub keymap: Option<String>,
    /// TLS; nothing: in the clear.
    #[serde(default)]
    pub tls: Option<VncTls>,
}

/// What TLS of a screen takes, in PEM.
#[derive(Clone, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct VncTls {
    /// Its certificate, and what leads from it to the authority.
    pub chain: String,
    /// The key of that.
    pub key: String,
    /// Whose certificates viewers have to show; nothing: they show none.
    #[serde(default)]
    pub viewers: Option<String>,
}

/// Logs get no keys.
impl fmt::Debug for VncTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VncTls")
            .field("chain", &self.chain)
            .field("key", &"(set)")
            .field("viewers", &self.viewers)
            .finish()
    }
}

/// Logs get no passwords.
impl fmt::Debug for VncSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VncSpec")
            .field("title", &self.title)
            .field("password", &self.password.as_ref().map(|_| "(set)"))
            .field("keymap", &self.keymap)
            .field("tls", &self.tls)
            .finish()
    }
}

/// The emulated network card of an HVM domain's interface, by xm's name.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum NicModel {
    /// Realtek 8139, xm's default.
    #[default]
    Rtl8139,
    /// Intel 82540EM.
    E1000,
    /// An NE2000 on PCI.
    Ne2kPci,
    /// AMD PCnet-PCI II.
    Pcnet,
}

impl NicModel {
    /// All of them.
    pub const ALL: [NicModel; 4] = [
        NicModel::Rtl8139,
        NicModel::E1000,
        NicModel::Ne2kPci,
        NicModel::Pcnet,
    ];

    /// By xm's name.
    pub fn name(self) -> &'static str {
        match self {
            NicModel::Rtl8139 => "rtl8139",
            NicModel::E1000 => "e1000",
            NicModel::Ne2kPci => "ne2k_pci",
            NicModel::Pcnet => "pcnet",
        }
    }

    /// The card of that name, if it is built.
    pub fn of(name: &str) -> Option<NicModel> {
        NicModel::ALL.into_iter().find(|card| card.name() == name)
    }
}

/// netback's credit scheduler: so many bytes per so many microseconds.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct VifRate {
    /// Bytes of credit per period.
    pub bytes: u64,
    /// Period, microseconds.
    pub interval_us: u64,
}

impl DeviceSpec {
    /// Which device it is.
    pub fn id(&self) -> DeviceId {
        let (class, devid) = match self {
            DeviceSpec::Vbd { devid, .. } => (DeviceClass::Vbd, *devid),
            DeviceSpec::Vif { devid, .. } => (DeviceClass::Vif, *devid),
            DeviceSpec::Vfb { devid, .. } => (DeviceClass::Vfb, *devid),
            DeviceSpec::Vkbd { devid, .. } => (DeviceClass::Vkbd, *devid),
        };
        DeviceId { class, devid }
    }

    /// Store directories: front end's, back end's.
    pub fn paths(&self) -> (&str, &str) {
        match self {
            DeviceSpec::Vbd {
                frontend, backend, ..
            }
            | DeviceSpec::Vif {
                frontend, backend, ..
            }
            | DeviceSpec::Vfb {
                frontend, backend, ..
            }
            | DeviceSpec::Vkbd {
                frontend, backend, ..
            } => (frontend, backend),
        }
    }

    /// Whether the strings are of sane length and the paths absolute; the line says what is not.
    pub fn check(&self) -> Result<(), String> {
        let (frontend, backend) = self.paths();
        for path in [frontend, backend] {
            if !path.starts_with('/') || path.ends_with('/') {
                return Err(format!(
                    "{}: store path {path:?} is not absolute or ends with a slash",
                    self.id()
                ));
            }
        }
        let long = match self {
            DeviceSpec::Vbd { image, .. } => {
                image.path.len() > MAX_STRING || image.export.len() > MAX_STRING
            }
            DeviceSpec::Vif { mac, .. } => mac.len() > MAX_STRING,
            DeviceSpec::Vfb { vnc: Some(vnc), .. } => {
                let texts = [Some(&vnc.title), vnc.password.as_ref(), vnc.keymap.as_ref()];
                let tls = vnc.tls.as_ref();
                let files = tls.map(|tls| [Some(&tls.chain), Some(&tls.key), tls.viewers.as_ref()]);
                let longer =
                    |text: Option<&String>, most| text.is_some_and(|text| text.len() > most);
                texts.into_iter().any(|text| longer(text, MAX_STRING))
                    || files
                        .into_iter()
                        .flatten()
                        .any(|text| longer(text, MAX_PEM))
            }
            DeviceSpec::Vfb { vnc: None, .. } | DeviceSpec::Vkbd { .. } => false,
        };
        if long || frontend.len() > MAX_STRING || backend.len() > MAX_STRING {
            return Err(format!(
                "{}: a string is longer than {MAX_STRING} bytes",
                self.id()
            ));
        }
        Ok(())
    }
}

/// How far a device is.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum DeviceState {
    /// Attached; the front end has not connected yet.
    Waiting,
    /// In use by the front end.
    Connected,
    /// Being shut down.
    Closing,
    /// Let go of: noxen-vmm has forgotten it and closed its descriptors.
    Closed,
    /// Given up because the front end broke the rules; stays in the list until it is detached.
    Broken,
}

/// One device in [`crate::Reply::Devices`].
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct DeviceStatus {
    /// Which.
    #[serde(flatten)]
    pub id: DeviceId,
    /// How far.
    pub state: DeviceState,
    /// Why it is broken.
    pub reason: Option<String>,
    /// Of a disk: what it has carried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<DiskCounts>,
}

/// What a disk has carried since it was attached.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct DiskCounts {
    /// Requests that read.
    pub reads: u64,
    /// Bytes that they asked for.
    pub read_bytes: u64,
    /// Requests that wrote.
    pub writes: u64,
    /// Bytes that they brought.
    pub written_bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vif(frontend: &str) -> DeviceSpec {
        DeviceSpec::Vif {
            devid: 0,
            frontend: frontend.into(),
            backend: "/local/domain/0/backend/vif/1/0".into(),
            mac: "00:16:3e:00:00:01".into(),
            rate: None,
            model: NicModel::default(),
            rom: false,
        }
    }

    #[test]
    fn spec_with_an_unknown_field_is_refused() {
        let text =
            r#"{"class":"vif","devid":0,"frontend":"/f","backend":"/b","mac":"","colour":1}"#;
        let error = serde_json::from_str::<DeviceSpec>(text).unwrap_err();
        assert!(error.to_string().contains("colour"), "{error}");
    }

    #[test]
    fn spec_comes_back_from_its_own_text() {
        let spec = vif("/local/domain/1/device/vif/0");
        let text = serde_json::to_string(&spec).unwrap();
        assert_eq!(serde_json::from_str::<DeviceSpec>(&text).unwrap(), spec);
    }

    #[test]
    fn spec_with_a_wild_path_is_named() {
        assert!(vif("/f").check().is_ok());
        for path in ["", "relative", "/f/"] {
            assert!(vif(path).check().unwrap_err().starts_with("vif 0:"));
        }
        let long = format!("/{}", "x".repeat(MAX_STRING));
        assert!(vif(&long).check().is_err());
    }
}
