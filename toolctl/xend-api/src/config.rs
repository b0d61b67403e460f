//! [`DomainConfig`]: the configuration variables of a domain, typed, as `xm create` understands them.

use crate::device::{Disk, Vfb, Vif};
use serde::{Deserialize, Serialize};

/// Which host CPUs the vCPUs may use (variable `cpus`).
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(untagged)]
pub enum Cpus {
    /// Any.
    #[default]
    Any,
    /// One set for all vCPUs, such as `0-3,5,^1`; an empty text means any.
    All(String),
    /// One set a vCPU.
    PerVcpu(Vec<String>),
}

impl Cpus {
    /// The set of each of `vcpus` vCPUs; an empty text means any.
    pub fn of_each(&self, vcpus: usize) -> Vec<String> {
        let mut sets = match self {
            Cpus::PerVcpu(sets) => sets.clone(),
            Cpus::All(set) => vec![set.clone(); vcpus],
            Cpus::Any => Vec::new(),
        };
        sets.resize(vcpus, String::new());
        sets
    }
}

/// Everything a configuration says about one domain (xm-reference: "Variables").
///
/// Numbers are wide and signed so that a wrong one reaches xend, which names it in its error. Devices that no
/// class is built for yet are kept as the strings that were written.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct DomainConfig {
    /// Name; letters, digits and `_-.:/+`.
    pub name: String,
    /// UUID as 8-4-4-4-12; random when absent.
    pub uuid: Option<String>,
    /// `linux` (PV) or `hvm`.
    pub builder: String,
    /// Kernel image, absolute path.
    pub kernel: String,
    /// Initial ramdisk, absolute path; empty for none.
    pub ramdisk: String,
    /// PV features wanted, `name`, `!name`, joined by `|`.
    pub features: String,
    /// MiB.
    pub memory: i64,
    /// MiB; `memory` when absent.
    pub maxmem: Option<i64>,
    /// MiB.
    pub shadow_memory: i64,
    /// vCPUs.
    pub vcpus: i64,
    /// Bit mask of the vCPUs that are online at boot; all when absent.
    pub vcpu_avail: Option<u64>,
    /// Host CPU of vCPU 0.
    pub cpu: Option<i64>,
    /// Host CPUs.
    pub cpus: Cpus,
    /// Weight, 1..=65535; 256 when absent.
    pub cpu_weight: Option<i64>,
    /// Per cent of one CPU; 0 or absent is uncapped.
    pub cpu_cap: Option<i64>,
    /// Path of a boot loader such as pygrub; empty for none.
    pub bootloader: String,
    /// Its arguments.
    pub bootargs: String,
    /// Shorten the start of kernels that are known, in the domain's own copy.
    pub kernel_tuning: bool,
    /// What happens when the guest powers off: destroy, restart, preserve, rename-restart, coredump-destroy,
    /// coredump-restart.
    pub on_poweroff: String,
    /// ... when it reboots.
    pub on_reboot: String,
    /// ... when it crashes.
    pub on_crash: String,
    /// ignore or start.
    pub on_xend_start: String,
    /// ignore, shutdown or suspend.
    pub on_xend_stop: String,
    /// Root device and its options, `root=` stripped.
    pub root: String,
    /// Rest of the kernel's command line.
    pub extra: String,
    /// Client's address (variable `ip`).
    pub ip: String,
    /// Net mask.
    pub netmask: String,
    /// Gateway.
    pub gateway: String,
    /// Host name.
    pub hostname: String,
    /// Interface; `eth0` when empty.
    pub interface: String,
    /// `dhcp`, `off`, ...
    pub dhcp: String,
    /// NFS server.
    pub nfs_server: Option<String>,
    /// Directory of the NFS root.
    pub nfs_root: Option<String>,
    /// Disks; the first is the one that a boot loader looks at.
    pub disk: Vec<Disk>,
    /// Network interfaces.
    pub vif: Vec<Vif>,
    /// Frame buffers, as written.
    pub vfb: Vec<String>,
    /// Virtual TPMs, as written.
    pub vtpm: Vec<String>,
    /// PCI devices, as written.
    pub pci: Vec<String>,
    /// SCSI devices, as written.
    pub vscsi: Vec<String>,
    /// I/O ports, as written.
    pub ioports: Vec<String>,
    /// Interrupts, as written.
    pub irq: Vec<String>,
    /// Security label, as written.
    pub access_control: Vec<String>,
    /// The guest's clock is local time.
    pub localtime: bool,
    /// Seconds added to the guest's clock.
    pub rtc_timeoffset: i64,
    /// What only HVM domains have.
    pub hvm: Hvm,
}

/// Variables of HVM domains.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct Hvm {
    /// Boot order: letters of `acdn`.
    pub boot: String,
    /// Where the first serial port goes; empty for none.
    pub serial: String,
    /// ACPI tables.
    pub acpi: bool,
    /// I/O APIC and local APICs.
    pub apic: bool,
    /// Physical address extension, and with it long mode.
    pub pae: bool,
    /// Pages can be kept from being executed.
    #[serde(skip_serializing_if = "Clone::clone")]
    pub nx: bool,
    /// High precision event timer.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub hpet: bool,
    /// Microsoft's hypervisor interfaces, as far as KVM has them.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub viridian: bool,
    /// What happens to ticks that the guest missed, 0 to 3.
    #[serde(skip_serializing_if = "is_usual_timer_mode")]
    pub timer_mode: i64,
    /// CPUID bits that the guest finds, as [`crate::cpuid`] reads them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cpuid: Vec<String>,
    /// CPUID bits that the host must have.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cpuid_check: Vec<String>,
    /// USB controller; the devices imply it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub usb: bool,
    /// USB devices, as written: `tablet`, `mouse`, `keyboard`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub usbdevice: Vec<String>,
    /// Sound cards, as written: `es1370`; empty for none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub soundhw: String,
    /// Viewers of the display have the monitor window.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub monitor: bool,
    /// Device model, as written; the devices are built in.
    pub device_model: String,
    /// Firmware in place of `kernel`, which is then booted by it.
    pub loader: String,
    /// What runs before the BIOS, or a BIOS image; empty: nothing, and the firmware that `kernel` or `loader` stands for.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub firmware_override: String,
    /// How the display is shown and what memory it has; an item of `vfb` counts in its place.
    pub screen: Vfb,
    /// Standard VGA in place of the Cirrus card.
    pub stdvga: bool,
    /// No display.
    pub nographic: bool,
    /// A viewer is started on the display once the domain runs, where `create` was typed.
    // Left out where it says nothing, so that a xend from before it takes what toolctl sends until it is restarted.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub vncconsole: bool,
    /// Image in the first floppy drive, a path; empty for none.
    pub fda: String,
    /// ... in the second, which is there only with it.
    pub fdb: String,
    /// The guest finds Xen and its platform device.
    pub xen_platform_pci: bool,
    /// Variables that say something of which nothing is built yet.
    pub unbuilt: Vec<String>,
}

/// xm's default of `timer_mode`: ticks that were missed are delivered later, and the guest's time goes on.
const TIMER_MODE: i64 = 1;

fn is_usual_timer_mode(mode: &i64) -> bool {
    *mode == TIMER_MODE
}

impl Default for Hvm {
    /// xm's defaults.
    fn default() -> Hvm {
        Hvm {
            boot: "c".into(),
            serial: String::new(),
            acpi: true,
            apic: true,
            pae: true,
            nx: true,
            hpet: false,
            viridian: false,
            timer_mode: TIMER_MODE,
            cpuid: Vec::new(),
            cpuid_check: Vec::new(),
            usb: false,
            usbdevice: Vec::new(),
            soundhw: String::new(),
            monitor: false,
            device_model: String::new(),
            loader: String::new(),
            firmware_override: String::new(),
            screen: Vfb::default(),
            stdvga: false,
            nographic: false,
            vncconsole: false,
            fda: String::new(),
            fdb: String::new(),
            xen_platform_pci: false,
            unbuilt: Vec::new(),
        }
    }
}

impl Default for DomainConfig {
    /// xm's defaults. `name` and `kernel` are empty and must be set.
    fn default() -> DomainConfig {
        DomainConfig {
            name: String::new(),
            uuid: None,
            builder: "linux".into(),
            kernel: String::new(),
            ramdisk: String::new(),
            features: String::new(),
            memory: 128,
            maxmem: None,
            shadow_memory: 0,
            vcpus: 1,
            vcpu_avail: None,
            cpu: None,
            cpus: Cpus::Any,
            cpu_weight: None,
            cpu_cap: None,
            bootloader: String::new(),
            bootargs: String::new(),
            kernel_tuning: true,
            on_poweroff: "destroy".into(),
            on_reboot: "restart".into(),
            on_crash: "restart".into(),
            on_xend_start: "ignore".into(),
            on_xend_stop: "ignore".into(),
            root: String::new(),
            extra: String::new(),
            ip: String::new(),
            netmask: String::new(),
            gateway: String::new(),
            hostname: String::new(),
            interface: String::new(),
            dhcp: "off".into(),
            nfs_server: None,
            nfs_root: None,
            disk: Vec::new(),
            vif: Vec::new(),
            vfb: Vec::new(),
            vtpm: Vec::new(),
            pci: Vec::new(),
            vscsi: Vec::new(),
            ioports: Vec::new(),
            irq: Vec::new(),
            access_control: Vec::new(),
            localtime: false,
            rtc_timeoffset: 0,
            hvm: Hvm::default(),
        }
    }
}

impl DomainConfig {
    /// A whole PC rather than a kernel for Xen.
    pub fn is_hvm(&self) -> bool {
        self.builder == "hvm"
    }

    /// A kernel that is entered by its PVH entry.
    pub fn is_pvh(&self) -> bool {
        self.builder == "pvh"
    }

    /// Most memory the domain may ever have, MiB as configured.
    pub fn maxmem_mib(&self) -> i64 {
        self.maxmem.unwrap_or(self.memory)
    }
}

/// A random UUID, of the kernel's.
pub fn random_uuid() -> std::io::Result<String> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/uuid")?;
    Ok(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn config_roundtrips_with_every_kind_of_cpus() {
        for cpus in [
            Cpus::Any,
            Cpus::All("0-3,^1".into()),
            Cpus::PerVcpu(vec!["0".into(), "1".into()]),
        ] {
            let config = DomainConfig {
                name: "a".into(),
                cpus,
                ..DomainConfig::default()
            };
            let text = serde_json::to_string(&config).unwrap();
            assert_eq!(serde_json::from_str::<DomainConfig>(&text).unwrap(), config);
        }
    }

    #[test]
    fn config_with_unknown_key_is_refused() {
        assert!(serde_json::from_str::<DomainConfig>(r#"{"nmae":"a"}"#).is_err());
    }
}
