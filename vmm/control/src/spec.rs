//! [`DomainSpec`]: a domain as noxen-vmm is asked to build it.

use serde::{Deserialize, Serialize};

/// Version of the spec; noxen-vmm refuses another one.
pub const SPEC_VERSION: u32 = 2;

/// What kind of domain.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Paravirtual: a kernel for Xen.
    #[default]
    Pv,
    /// A whole PC; what of the spec is about a kernel is empty.
    Hvm(Box<Hvm>),
    /// A kernel that is entered by its PVH entry; all its devices are Xen's.
    Pvh(Box<Pvh>),
}

/// The machine of a PVH domain.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Pvh {
    /// ACPI tables, which tell of the processors.
    pub acpi: bool,
    /// What its processors are.
    pub cpu: Cpu,
}

/// The PC of an HVM domain.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Hvm {
    /// Firmware as given by the administrator (messages only).
    pub bios_path: String,
    /// Inherited fd of the BIOS image.
    pub bios_fd: i32,
    /// What runs before the BIOS, as Xen's own hvmloader; nothing: the BIOS is there from the start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loader: Option<Loader>,
    /// Boot order: letters of `acdn`.
    pub boot: String,
    /// ACPI tables.
    pub acpi: bool,
    /// I/O APIC and local APICs are told of.
    pub apic: bool,
    /// The processors have PAE (and with it long mode).
    pub pae: bool,
    /// Which vCPUs are there from the start, a bit for each; nothing: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub present_vcpus: Option<u64>,
    /// What the guest's clock shows at the start less the host's UTC, seconds.
    pub clock_offset_s: i64,
    /// There is a second floppy drive.
    #[serde(default)]
    pub second_floppy: bool,
    /// The guest finds Xen (CPUID, platform device), and with it PV drivers.
    #[serde(default)]
    pub xen: bool,
    /// What its processors are, beyond `pae` and `apic`.
    #[serde(default)]
    pub cpu: Cpu,
    /// Ticks of the timer (8254) that the guest missed are delivered as one, not each.
    #[serde(default)]
    pub one_late_tick: bool,
    /// There is a high precision event timer.
    #[serde(default)]
    pub hpet: bool,
    /// There is a USB controller, with these plugged in, [`MAX_USB`] at most; nothing: there is none.
    #[serde(default)]
    pub usb: Option<Vec<UsbDevice>>,
    /// Its sound cards; nothing: there is none.
    #[serde(default)]
    pub sound: Option<Sound>,
    /// What is plugged into the first serial port.
    pub serial: SerialPort,
    /// Viewers of its display have the monitor window.
    #[serde(default)]
    pub monitor: bool,
    /// The display; nothing: there is none.
    #[serde(default)]
    pub display: Option<Display>,
}

/// A 32-bit ELF that is entered in protected mode and is given the BIOS.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Loader {
    /// As given by the administrator (messages only).
    pub path: String,
    /// Inherited fd.
    pub fd: i32,
}

/// The processors of an HVM domain.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct Cpu {
    /// Pages can be kept from being executed.
    pub nx: bool,
    /// The guest finds Microsoft's hypervisor, as far as KVM has its interfaces.
    pub viridian: bool,
    /// Changes to what CPUID tells, in this order.
    pub cpuid: Vec<CpuidRule>,
    /// What CPUID must tell here before anything is changed.
    pub cpuid_check: Vec<CpuidRule>,
}

impl Default for Cpu {
    fn default() -> Cpu {
        Cpu {
            nx: true,
            viridian: false,
            cpuid: Vec::new(),
            cpuid_check: Vec::new(),
        }
    }
}

/// Devices at the USB controller at most; hubs, which come by themselves, are not counted.
pub const MAX_USB: usize = 23;

/// The disks at the USB controller, by name. Their numbers as vbds are 2048 and 16 more for each.
pub const USB_DISKS: [&str; 8] = ["sda", "sdb", "sdc", "sdd", "sde", "sdf", "sdg", "sdh"];

/// A device at the USB controller.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum UsbDevice {
    /// Pointer that tells places.
    Tablet,
    /// Pointer that tells movements.
    Mouse,
    /// Keys.
    Keyboard,
    /// A disk.
    Disk {
        /// Number of the vbd that it is: that of sda to sdh ([`USB_DISKS`]).
        devid: u32,
    },
}

/// A sound card of an HVM domain, by xm's name.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "kebab-case")]
pub enum SoundCard {
    /// Ensoniq AudioPCI.
    Es1370,
    /// Sound Blaster 16, an ISA card.
    Sb16,
}

impl SoundCard {
    /// All of them.
    pub const ALL: [SoundCard; 2] = [SoundCard::Es1370, SoundCard::Sb16];

    /// By xm's name.
    pub fn name(self) -> &'static str {
        match self {
            SoundCard::Es1370 => "es1370",
            SoundCard::Sb16 => "sb16",
        }
    }

    /// Before there were others.
    fn first() -> Vec<SoundCard> {
        vec![SoundCard::Es1370]
    }
}

/// The sound cards of an HVM domain.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Sound {
    /// Which, each once.
    #[serde(default = "SoundCard::first")]
    pub cards: Vec<SoundCard>,
    /// Inherited fd of an empty file that they play into (WAV); nothing: nobody listens.
    #[serde(default)]
    pub file_fd: Option<i32>,
}

/// A register that CPUID fills.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Register {
    /// EAX.
    Eax,
    /// EBX.
    Ebx,
    /// ECX.
    Ecx,
    /// EDX.
    Edx,
}

/// Bits of one register of one leaf of CPUID; a bit is in one mask at most.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct CpuidRule {
    /// EAX before the instruction.
    pub leaf: u32,
    /// ECX before it; nothing: whatever it is.
    #[serde(default)]
    pub subleaf: Option<u32>,
    /// Register.
    pub register: Register,
    /// Bits that are 1 (or have to be).
    #[serde(default)]
    pub ones: u32,
    /// Bits that are 0 (or have to be).
    #[serde(default)]
    pub zeros: u32,
    /// Bits that are as the host has them.
    #[serde(default)]
    pub hosts: u32,
}

/// A display adapter.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Adapter {
    /// VGA with VBE, as `stdvga=1` wants it.
    #[default]
    Standard,
    /// Cirrus Logic CL-GD5446, with 4 MiB.
    Cirrus,
}

/// The display of an HVM domain.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Display {
    /// Which.
    #[serde(default)]
    pub adapter: Adapter,
    /// Its BIOS as given by the administrator (messages only).
    pub bios_path: String,
    /// Inherited fd of its BIOS.
    pub bios_fd: i32,
    /// Its memory, MiB: a power of two, 1 to 256.
    pub memory_mib: u32,
    /// Show it by VNC.
    #[serde(default)]
    pub vnc: Option<Vnc>,
}

/// Where an HVM domain's display is shown by VNC, and how.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Vnc {
    /// Inherited fd of a listening TCP socket.
    pub socket_fd: i32,
    /// How.
    pub how: crate::device::VncSpec,
}

/// Where a serial port of an HVM domain goes.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum SerialPort {
    /// There is none.
    #[default]
    None,
    /// To the domain's console.
    Pty,
}

/// Everything noxen-vmm needs to build and run one domain. Unknown fields are an error.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct DomainSpec {
    /// [`SPEC_VERSION`].
    pub version: u32,
    /// Domain id (1..=0x7fef).
    pub domid: u32,
    /// What kind of domain.
    #[serde(default)]
    pub kind: Kind,
    /// Domain name (log lines only; an HVM guest may see it).
    pub name: String,
    /// UUID as 8-4-4-4-12 hex.
    pub uuid: String,
    /// Memory at boot, MiB.
    pub memory_mib: u64,
    /// Most memory ever, MiB (>= memory_mib).
    pub maxmem_mib: u64,
    /// vCPUs that exist.
    pub vcpus: u32,
    /// Kernel image as given by the administrator (messages only).
    pub kernel_path: String,
    /// Inherited fd of the kernel image; absent with `restore_fd`.
    pub kernel_fd: Option<i32>,
    /// Inherited fd of a saved domain's image, at its start: the domain is restored from it, its memory and vCPUs are
    /// the image's, and it is built from nothing else.
    #[serde(default)]
    pub restore_fd: Option<i32>,
    /// Of a file: memory is read as the guest touches it, and what is found wrong then ends the domain.
    #[serde(default)]
    pub lazy: bool,
    /// Inherited fd of the stream that the image goes on in where the file of `restore_fd` ends: it comes from another host.
    #[serde(default)]
    pub stream_fd: Option<i32>,
    /// Inherited fd of a unix socket over which another noxen-vmm hands the domain over (`handover.rs`): with its memory, its state and
    /// its devices; nothing else of it is built from, and `store_fd` comes later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handover_fd: Option<i32>,
    /// Inherited fd of the connection for pages that come after the domain, by post-copy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pages_fd: Option<i32>,
    /// Inherited fd of an empty, writable regular file for the ELF of a packed kernel. Its content is whole, and
    /// means something, only once "ready" was said; it stays empty when the kernel is not packed.
    #[serde(default)]
    pub unpacked_fd: Option<i32>,
    /// Inherited fd of the ramdisk.
    pub ramdisk_fd: Option<i32>,
    /// Kernel command line, at most 1023 bytes.
    pub cmdline: String,
    /// Shorten the start of kernels we know, in the domain's own copy of the kernel.
    #[serde(default = "yes")]
    pub tune_kernel: bool,
    /// Inherited fd of /dev/kvm.
    pub kvm_fd: i32,
    /// Inherited fd of an empty file on a huge-page tmpfs for guest RAM; memfd_create when absent.
    pub ram_fd: Option<i32>,
    /// Inherited fd of the listening control socket.
    pub control_fd: i32,
    /// Inherited fd of a connection to xenstored's domain socket, already attached as this domain.
    pub store_fd: Option<i32>,
    /// Inherited fd of the domain's log, opened for append.
    pub log_fd: Option<i32>,
    /// Inherited fd: one line is written when the domain is built ("ready\n") or has failed ("error: TEXT\n"),
    /// then it is closed.
    pub ready_fd: i32,
}

fn yes() -> bool {
    true
}
