//! What a configuration says of an HVM domain's PC, judged.
//!
//! ```text
//!   kernel, loader, firmware_override --> Firmware: built-in (SeaBIOS of the host), a BIOS image, or a program that runs before the built-in one
//!   kernel besides a loader: started by it
//!   boot, serial, acpi, apic, pae, nx, cpuid.., hpet, timer_mode, localtime, rtc_timeoffset --> Machine --> noxen_control::spec::Hvm
//!   vnc.., stdvga, videoram, nographic, or one item of vfb --> Display --> its BIOS, a socket for VNC
//!   fda, fdb --> disks of those names
//! ```

use crate::clock;
use crate::validate::not_built;
use noxen_control::device::NicModel;
use noxen_control::spec::{
    self, Adapter, Cpu, CpuidRule, Hvm, Loader, Pvh, Register, SerialPort, Sound, SoundCard,
    UsbDevice, Vnc, MAX_USB, USB_DISKS,
};
use noxen_xend_api::device::{number, Mode};
use noxen_xend_api::{cpuid, Disk, DomainConfig, Fault, Vfb};
use std::fs::File;
use std::io::Read;
use std::os::fd::RawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The firmware that stands in for Xen's hvmloader: the one of Debian's that has all devices in it.
const BIOS: &str = "/usr/share/seabios/bios-256k.bin";
/// Names another file in its place.
const BIOS_VARIABLE: &str = "NOXEN_BIOS";
/// BIOS of the Cirrus card, of the same package.
const CIRRUS_BIOS: &str = "/usr/share/seabios/vgabios-cirrus.bin";
/// ... of the standard one.
const STANDARD_BIOS: &str = "/usr/share/seabios/vgabios-stdvga.bin";
/// Names another file in the place of both.
const DISPLAY_BIOS_VARIABLE: &str = "NOXEN_VGA_BIOS";
/// Memory of the Cirrus card, MiB.
const CIRRUS_MIB: u32 = 4;
/// ... of the standard one unless `videoram` says otherwise.
const STANDARD_MIB: u32 = 16;
/// Most of it.
const MAX_STANDARD_MIB: u32 = 256;
/// Where Debian's ipxe-qemu has the ROMs for network boot.
const BOOT_ROMS: &str = "/usr/lib/ipxe/qemu";

/// The PC of an HVM domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// BIOS image.
    pub bios: PathBuf,
    /// What runs before it.
    pub early: Option<PathBuf>,
    /// A kernel that firmware starts in place of a boot loader.
    pub kernel: Option<PathBuf>,
    /// Its processors.
    pub cpu: Cpu,
    /// What is at its USB controller, if it has one.
    pub usb: Option<Vec<UsbDevice>>,
    /// First serial port.
    pub serial: SerialPort,
    /// Display.
    pub display: Option<Display>,
    /// Its sound cards.
    pub sound: Vec<SoundCard>,
    /// There is a second floppy drive.
    pub second_floppy: bool,
}

/// The display of the PC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Display {
    /// Card.
    pub adapter: Adapter,
    /// Its BIOS.
    pub bios: PathBuf,
    /// Its memory, MiB.
    pub memory_mib: u32,
    /// How it is shown.
    pub screen: Vfb,
}

/// What is opened of a machine's parts.
pub struct Given {
    /// Descriptor of the BIOS image.
    pub bios_fd: RawFd,
    /// ... of what runs before it.
    pub early_fd: Option<RawFd>,
    /// ... of the display's.
    pub display_bios_fd: Option<RawFd>,
    /// Where the display is shown by VNC.
    pub vnc: Option<Vnc>,
    /// Descriptor of the file that the sound cards play into.
    pub sound_fd: Option<RawFd>,
}

/// Judges the variables of HVM domains.
pub fn check(config: &DomainConfig) -> Result<Machine, Fault> {
    let hvm = &config.hvm;
    if let Some(key) = hvm.unbuilt.first() {
        return Err(not_built(key));
    }
    if !config.bootloader.is_empty() {
        return Err(Fault::generic(
            "Invalid Configuration: bootloader is for paravirtual domains; an HVM domain boots from its disks (boot = 'c')",
        ));
    }
    if hvm.boot.is_empty() || hvm.boot.chars().any(|letter| !"acdn".contains(letter)) {
        return Err(Fault::generic(format!(
            "Invalid Configuration: boot = '{}': letters of a (floppy), c (disk), d (CD) and n (network), such as 'dc'",
            hvm.boot
        )));
    }
    let serial = match hvm.serial.as_str() {
        "pty" => SerialPort::Pty,
        "" | "none" | "null" => SerialPort::None,
        other => {
            return Err(Fault::generic(format!(
                "Invalid Configuration: serial = '{other}' is not supported yet; use serial = 'pty' or 'none'"
            )))
        }
    };
    if hvm.timer_mode == 0 {
        return Err(Fault::generic(
            "Invalid Configuration: timer_mode = 0: KVM's time does not stand still for missed ticks; use 1 (each is delivered later) or 3 (one for all)",
        ));
    }
    if !(1..=3).contains(&hvm.timer_mode) {
        return Err(Fault::generic(format!(
            "Invalid Configuration: timer_mode = {}: a whole number from 0 to 3",
            hvm.timer_mode
        )));
    }
    let cpu = Cpu {
        nx: hvm.nx,
        viridian: hvm.viridian,
        cpuid: rules(&hvm.cpuid)?,
        cpuid_check: rules(&hvm.cpuid_check)?,
    };
    if cpu.viridian && hvm.xen_platform_pci {
        return Err(Fault::generic(
            "Invalid Configuration: viridian = 1 and xen_platform_pci = 1 are not supported together yet; leave one of them out",
        ));
    }
    let usb = usb(hvm)?;
    let sound = sound(&hvm.soundhw)?;
    let (firmware, kernel) = match (hvm.loader.as_str(), config.kernel.as_str()) {
        ("", kernel) => (kernel, None),
        (loader, "") => (loader, None),
        (loader, kernel) => (loader, Some(PathBuf::from(kernel))),
    };
    let mut firmware = Firmware::of("kernel", firmware)?;
    if !hvm.firmware_override.is_empty() {
        firmware = Firmware::of_override(&hvm.firmware_override)?;
    }
    if firmware.early.is_some() && kernel.is_some() {
        return Err(Fault::generic(
            "Invalid Configuration: firmware_override beside a kernel that firmware starts is not supported yet; leave one of them out",
        ));
    }
    Ok(Machine {
        bios: firmware.bios,
        early: firmware.early,
        kernel,
        cpu,
        usb,
        serial,
        display: display(config)?,
        sound,
        second_floppy: [implied_disks(config), config.disk.clone()]
            .concat()
            .iter()
            .any(|disk| disk.number() == Ok(SECOND_FLOPPY)),
    })
}

/// Judges the variables of PVH domains: those of the processors are an HVM domain's.
pub fn check_pvh(config: &DomainConfig) -> Result<Pvh, Fault> {
    let hvm = &config.hvm;
    if hvm.viridian {
        return Err(Fault::generic(
            "Invalid Configuration: viridian = 1: a PVH domain finds Xen, and no other hypervisor; leave it out",
        ));
    }
    Ok(Pvh {
        acpi: hvm.acpi,
        cpu: Cpu {
            nx: hvm.nx,
            viridian: false,
            cpuid: rules(&hvm.cpuid)?,
            cpuid_check: rules(&hvm.cpuid_check)?,
        },
    })
}

/// What `soundhw` says: names with commas between them, or `all`.
fn sound(text: &str) -> Result<Vec<SoundCard>, Fault> {
    let words = text
        .split(',')
        .map(str::trim)
        .filter(|word| !word.is_empty());
    let mut cards = Vec::new();
    for word in words {
        match SoundCard::ALL.into_iter().find(|card| card.name() == word) {
            Some(card) => cards.push(card),
            None if word == "all" => cards.extend(SoundCard::ALL),
            None => {
                return Err(Fault::generic(format!(
                    "Invalid Configuration: soundhw = '{word}' is not supported yet; use es1370, sb16 or all"
                )))
            }
        }
    }
    cards.sort_unstable();
    cards.dedup();
    Ok(cards)
}

/// What `usb` and `usbdevice` say.
fn usb(hvm: &noxen_xend_api::Hvm) -> Result<Option<Vec<UsbDevice>>, Fault> {
    let wrong = |item: &str, why: &str| {
        Fault::generic(format!("Invalid Configuration: usbdevice = '{item}'{why}"))
    };
    let items = &hvm.usbdevice;
    if items.len() > MAX_USB {
        return Err(Fault::generic(format!(
            "Invalid Configuration: usbdevice names {} devices; {MAX_USB} are possible",
            items.len()
        )));
    }
    let mut disks = usb_disks(items).into_iter();
    let device = |item: &String| match item.trim() {
        "tablet" => Ok(UsbDevice::Tablet),
        "mouse" => Ok(UsbDevice::Mouse),
        "keyboard" => Ok(UsbDevice::Keyboard),
        other => match (disk_item(other), number_of_next(&mut disks, other)) {
            (Some((_, file)), _) if !file.starts_with('/') => {
                Err(wrong(other, ": disk: and an image's path from / on"))
            }
            (Some(_), Some(devid)) => Ok(UsbDevice::Disk { devid }),
            (Some((Some(name), _)), None) if !USB_DISKS.contains(&name) => {
                Err(wrong(other, ": a USB disk is sda to sdh"))
            }
            (Some(_), None) => Err(wrong(other, ": there are eight USB disks at most")),
            (None, _) => Err(wrong(
                other,
                " is not supported yet; use tablet, mouse, keyboard or disk:FILE",
            )),
        },
    };
    let devices: Vec<UsbDevice> = items.iter().map(device).collect::<Result<_, _>>()?;
    Ok((hvm.usb || !devices.is_empty()).then_some(devices))
}

/// The number of the disk that `item` is, which is the next of `disks` if it is one.
fn number_of_next<'a>(
    disks: &mut impl Iterator<Item = (Option<&'a str>, &'a str)>,
    item: &str,
) -> Option<u32> {
    disk_item(item)?;
    number::of_name(disks.next()?.0?)
}

/// The name, if it says one, and the file of an item of `usbdevice` that is a disk: `disk:FILE`, or `disk@NAME:FILE` as of
/// those that were plugged in while the domain ran.
fn disk_item(item: &str) -> Option<(Option<&str>, &str)> {
    let item = item.trim();
    match item.strip_prefix("disk:") {
        Some(file) => Some((None, file)),
        None => {
            let (name, file) = item.strip_prefix("disk@")?.split_once(':')?;
            Some((Some(name), file))
        }
    }
}

/// The disks among the items of `usbdevice`, with their names; who says none has the first that is free.
fn usb_disks(items: &[String]) -> Vec<(Option<&str>, &str)> {
    let disks: Vec<_> = items.iter().filter_map(|item| disk_item(item)).collect();
    let named: Vec<&str> = disks.iter().filter_map(|(name, _)| *name).collect();
    let mut free = USB_DISKS.into_iter().filter(|name| !named.contains(name));
    let name = |name: Option<&str>| match name {
        Some(name) => USB_DISKS.into_iter().find(|known| *known == name),
        None => free.next(),
    };
    let (names, files): (Vec<_>, Vec<_>) = disks.iter().copied().unzip();
    names.into_iter().map(name).zip(files).collect()
}

/// A disk was plugged in under that name.
pub fn remember_usb_disk(hvm: &mut noxen_xend_api::Hvm, name: &str, file: &str) {
    hvm.usbdevice.push(format!("disk@{name}:{file}"));
}

/// The disk of that name was taken out; the others keep their names, and the controller stays.
pub fn forget_usb_disk(hvm: &mut noxen_xend_api::Hvm, name: &str) {
    let mut disks = usb_disks(&hvm.usbdevice).into_iter();
    let kept = |item: &String| {
        let Some((disk, file)) = disk_item(item).and_then(|_| disks.next()) else {
            return Some(item.clone());
        };
        let disk = disk.filter(|disk| *disk != name)?;
        Some(format!("disk@{disk}:{file}"))
    };
    let items: Vec<String> = hvm.usbdevice.iter().filter_map(kept).collect();
    if items.len() != hvm.usbdevice.len() {
        (hvm.usb, hvm.usbdevice) = (true, items);
    }
}

/// The disk that `usb_add` wants.
pub fn usb_disk(name: &str, file: &str) -> Option<Disk> {
    let known = USB_DISKS.into_iter().find(|known| *known == name)?;
    image_disk(file, known)
}

/// A disk that a path is.
fn image_disk(path: &str, name: &str) -> Option<Disk> {
    let kind = match path.starts_with("/dev/") {
        true => "phy",
        false => "file",
    };
    Disk::new(&format!("{kind}:{path}"), name, Mode::Write)
}

/// The rules of `cpuid` or `cpuid_check`, as noxen-vmm is told them.
fn rules(items: &[String]) -> Result<Vec<CpuidRule>, Fault> {
    let rules = cpuid::parse(items).map_err(|error| Fault::generic(error.to_string()))?;
    let rule = |rule: cpuid::Rule| CpuidRule {
        leaf: rule.leaf,
        subleaf: rule.subleaf,
        register: match rule.register {
            cpuid::Register::Eax => Register::Eax,
            cpuid::Register::Ebx => Register::Ebx,
            cpuid::Register::Ecx => Register::Ecx,
            cpuid::Register::Edx => Register::Edx,
        },
        ones: rule.ones,
        zeros: rule.zeros,
        hosts: rule.hosts,
    };
    Ok(rules.into_iter().map(rule).collect())
}

/// Number of the second floppy drive.
const SECOND_FLOPPY: u32 = 2 << 8 | 1;

/// How the display is shown; none: there is no display.
pub fn screen(config: &DomainConfig) -> Result<Option<Vfb>, Fault> {
    if config.hvm.nographic {
        return Ok(None);
    }
    match config.vfb.as_slice() {
        [] => Ok(Some(config.hvm.screen.clone())),
        [text] => Vfb::parse(text)
            .map(Some)
            .map_err(|e| Fault::generic(e.to_string())),
        several => Err(Fault::generic(format!(
            "Invalid Configuration: vfb has {} items; an HVM domain has one screen",
            several.len()
        ))),
    }
}

fn display(config: &DomainConfig) -> Result<Option<Display>, Fault> {
    let Some(screen) = screen(config)? else {
        return Ok(None);
    };
    if screen.wants_sdl() {
        return Err(not_built("sdl"));
    }
    let (adapter, bios) = match config.hvm.stdvga {
        true => (Adapter::Standard, STANDARD_BIOS),
        false => (Adapter::Cirrus, CIRRUS_BIOS),
    };
    screen
        .vnc_port()
        .map_err(|e| Fault::generic(e.to_string()))?;
    Ok(Some(Display {
        adapter,
        bios: instead(DISPLAY_BIOS_VARIABLE).unwrap_or_else(|| bios.into()),
        memory_mib: videoram(adapter, screen.get("videoram"))?,
        screen,
    }))
}

fn videoram(adapter: Adapter, asked: Option<&str>) -> Result<u32, Fault> {
    let wrong = |text: &str, why: &str| {
        Fault::generic(format!("Invalid Configuration: videoram = {text}: {why}"))
    };
    let number = |text: &str| {
        let number = text.parse::<u32>().ok().filter(|mib| *mib > 0);
        number.ok_or_else(|| wrong(text, "a number of MiB from 1 on"))
    };
    match (adapter, asked) {
        (Adapter::Standard, None) => Ok(STANDARD_MIB),
        (Adapter::Standard, Some(text)) => match number(text)? {
            mib if mib.is_power_of_two() && mib <= MAX_STANDARD_MIB => Ok(mib),
            _ => Err(wrong(
                text,
                "a standard VGA card has a power of two, 1 to 256 MiB",
            )),
        },
        (Adapter::Cirrus, None) => Ok(CIRRUS_MIB),
        (Adapter::Cirrus, Some(text)) => match number(text)? {
            mib if mib <= CIRRUS_MIB => Ok(CIRRUS_MIB),
            _ => Err(wrong(
                text,
                "the Cirrus card has 4 MiB; stdvga = 1 gives one with more",
            )),
        },
    }
}

/// The disks that `fda`, `fdb` and `usbdevice` are.
pub fn implied_disks(config: &DomainConfig) -> Vec<Disk> {
    if !config.is_hvm() {
        return Vec::new();
    }
    let drives = [("fda", &config.hvm.fda), ("fdb", &config.hvm.fdb)];
    let given = drives.into_iter().filter(|(_, path)| !path.is_empty());
    let floppies = given.filter_map(|(drive, path)| image_disk(path, drive));
    let usb = usb_disks(&config.hvm.usbdevice).into_iter();
    let usb = usb.filter_map(|(name, file)| image_disk(file, name?));
    floppies.chain(usb).collect()
}

/// The directory of files that sound cards play into; without it nobody listens.
const SOUND_VARIABLE: &str = "NOXEN_SOUND";

/// The file that the sound cards of the domain `name` play into, if there is to be one.
pub fn sound_file(machine: &Machine, name: &str) -> Result<Option<File>, Fault> {
    let Some(directory) = instead(SOUND_VARIABLE).filter(|_| !machine.sound.is_empty()) else {
        return Ok(None);
    };
    let path = directory.join(format!("{}.wav", name.replace('/', "_")));
    let opened = File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits() as i32)
        .open(&path);
    let cannot = |e| {
        Fault::generic(format!(
            "Sound cannot be written to {}: {e}",
            path.display()
        ))
    };
    opened.map(Some).map_err(cannot)
}

/// The ROM by which firmware boots from the network through `card`.
pub fn boot_rom(card: NicModel) -> PathBuf {
    Path::new(BOOT_ROMS).join(format!("pxe-{}.rom", card.name()))
}

/// The file that a variable of the environment names.
fn instead(variable: &str) -> Option<PathBuf> {
    let path = std::env::var_os(variable).filter(|path| !path.is_empty());
    path.map(PathBuf::from)
}

/// What a PC begins with.
struct Firmware {
    /// BIOS image.
    bios: PathBuf,
    /// A program that runs before it.
    early: Option<PathBuf>,
}

impl Firmware {
    fn of_image(bios: PathBuf) -> Firmware {
        Firmware { bios, early: None }
    }

    fn built_in() -> Firmware {
        Firmware::of_image(instead(BIOS_VARIABLE).unwrap_or_else(|| BIOS.into()))
    }

    fn before_built_in(early: &Path) -> Firmware {
        Firmware {
            early: Some(early.into()),
            ..Firmware::built_in()
        }
    }

    /// What the value of `kernel` or `loader` stands for: a name `hvmloader` for the built-in one, wherever and whatever it is.
    fn of(variable: &str, value: &str) -> Result<Firmware, Fault> {
        let path = Path::new(value);
        let name = path.file_name().and_then(|name| name.to_str());
        match (name.unwrap_or(""), path.extension()) {
            ("" | "hvmloader", _) => Ok(Firmware::built_in()),
            (_, Some(extension)) if extension == "bin" => Ok(Firmware::of_image(path.into())),
            _ if is_small_elf(path) => Ok(Firmware::before_built_in(path)),
            _ => Err(Fault::generic(format!(
                "Invalid Configuration: {variable} = '{value}' of an HVM domain is neither hvmloader nor a BIOS image (.bin) nor a 32-bit ELF; \
                 to start a Linux kernel without a boot loader set loader = 'hvmloader' besides"
            ))),
        }
    }

    /// What the value of `firmware_override` stands for: itself.
    fn of_override(value: &str) -> Result<Firmware, Fault> {
        let path = Path::new(value);
        match path.extension() {
            Some(extension) if extension == "bin" => Ok(Firmware::of_image(path.into())),
            _ if is_small_elf(path) => Ok(Firmware::before_built_in(path)),
            _ => Err(Fault::generic(format!(
                "Invalid Configuration: firmware_override = '{value}' is neither a BIOS image (.bin) nor a 32-bit ELF such as Xen's hvmloader, \
                 or cannot be read"
            ))),
        }
    }
}

/// It begins as a 32-bit ELF does.
fn is_small_elf(path: &Path) -> bool {
    let mut first = [0; 5];
    let file = crate::resources::open_image(path, "Firmware").ok();
    let read = file.and_then(|mut file| file.read_exact(&mut first).ok());
    read.is_some() && first == *b"\x7fELF\x01"
}

impl Machine {
    /// The screen that is to be shown by VNC.
    pub fn shown(&self) -> Option<&Vfb> {
        let screen = &self.display.as_ref()?.screen;
        screen.wants_vnc().then_some(screen)
    }

    /// As noxen-vmm is told.
    pub fn spec(&self, config: &DomainConfig, given: Given) -> Hvm {
        let local = match config.localtime {
            true => clock::offset_from_utc(clock::now()),
            false => 0,
        };
        Hvm {
            bios_path: self.bios.display().to_string(),
            bios_fd: given.bios_fd,
            loader: self.early.as_ref().zip(given.early_fd).map(|(path, fd)| {
                let path = path.display().to_string();
                Loader { path, fd }
            }),
            boot: config.hvm.boot.clone(),
            acpi: config.hvm.acpi,
            apic: config.hvm.apic,
            pae: config.hvm.pae,
            present_vcpus: config.vcpu_avail,
            clock_offset_s: local.saturating_add(config.rtc_timeoffset),
            cpu: self.cpu.clone(),
            one_late_tick: config.hvm.timer_mode != 1,
            hpet: config.hvm.hpet,
            usb: self.usb.clone(),
            serial: self.serial,
            monitor: config.hvm.monitor,
            sound: (!self.sound.is_empty()).then(|| Sound {
                cards: self.sound.clone(),
                file_fd: given.sound_fd,
            }),
            second_floppy: self.second_floppy,
            xen: config.hvm.xen_platform_pci,
            display: self
                .display
                .as_ref()
                .zip(given.display_bios_fd)
                .map(|(display, bios_fd)| spec::Display {
                    adapter: display.adapter,
                    bios_path: display.bios.display().to_string(),
                    bios_fd,
                    memory_mib: display.memory_mib,
                    vnc: given.vnc,
                }),
        }
    }
}

#[cfg(test)]
#[path = "hvm_tests.rs"]
mod tests;
