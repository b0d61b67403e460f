//! What a configuration says of an HVM domain's PC, judged.
//!
//! ```text
//!   kernel, loader --> Firmware: built-in (SeaBIOS of the host) or a BIOS image;  kernel besides a loader: started by it
//!   boot, serial, acpi, apic, pae, localtime, rtc_timeoffset --> Machine --> noxen_control::spec::Hvm
//! ```

use crate::clock;
use crate::validate::not_built;
use noxen_control::spec::{Hvm, SerialPort};
use noxen_xend_api::{DomainConfig, Fault};
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};

/// The firmware that stands in for Xen's hvmloader: the one of Debian's that has all devices in it.
const BIOS: &str = "/usr/share/seabios/bios-256k.bin";
/// Names another file in its place.
const BIOS_VARIABLE: &str = "NOXEN_BIOS";

/// The PC of an HVM domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// BIOS image.
    pub bios: PathBuf,
    /// A kernel that firmware starts in place of a boot loader.
    pub kernel: Option<PathBuf>,
    /// First serial port.
    pub serial: SerialPort,
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
    let (firmware, kernel) = match (hvm.loader.as_str(), config.kernel.as_str()) {
        ("", kernel) => (kernel, None),
        (loader, "") => (loader, None),
        (loader, kernel) => (loader, Some(PathBuf::from(kernel))),
    };
    Ok(Machine {
        bios: bios(firmware)?,
        kernel,
        serial,
    })
}

/// The BIOS image that `firmware` stands for.
fn bios(firmware: &str) -> Result<PathBuf, Fault> {
    let path = Path::new(firmware);
    let name = path.file_name().and_then(|name| name.to_str());
    match (name.unwrap_or(""), path.extension()) {
        ("" | "hvmloader", _) => Ok(std::env::var_os(BIOS_VARIABLE)
            .filter(|path| !path.is_empty())
            .map_or_else(|| BIOS.into(), PathBuf::from)),
        (_, Some(extension)) if extension == "bin" => Ok(path.into()),
        _ => Err(Fault::generic(format!(
            "Invalid Configuration: kernel = '{firmware}' of an HVM domain is neither hvmloader nor a BIOS image (.bin); \
             to start a Linux kernel without a boot loader set loader = 'hvmloader' besides"
        ))),
    }
}

impl Machine {
    /// As noxen-vmm is told, with the descriptor of the BIOS image.
    pub fn spec(&self, config: &DomainConfig, bios_fd: RawFd) -> Hvm {
        let local = match config.localtime {
            true => clock::offset_from_utc(clock::now()),
            false => 0,
        };
        Hvm {
            bios_path: self.bios.display().to_string(),
            bios_fd,
            boot: config.hvm.boot.clone(),
            acpi: config.hvm.acpi,
            apic: config.hvm.apic,
            pae: config.hvm.pae,
            clock_offset_s: local.saturating_add(config.rtc_timeoffset),
            serial: self.serial,
            second_floppy: false,
            display: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(change: impl FnOnce(&mut DomainConfig)) -> DomainConfig {
        let mut config = DomainConfig {
            builder: "hvm".into(),
            kernel: "/usr/lib/xen/boot/hvmloader".into(),
            ..DomainConfig::default()
        };
        change(&mut config);
        config
    }

    fn refusal(change: impl FnOnce(&mut DomainConfig)) -> String {
        check(&config(change)).unwrap_err().message
    }

    #[test]
    fn hvmloader_stands_for_the_hosts_bios_and_an_image_for_itself() {
        let machine = check(&config(|c| c.hvm.serial = "pty".into())).unwrap();
        assert_eq!(machine.bios, Path::new(BIOS));
        assert_eq!((machine.kernel, machine.serial), (None, SerialPort::Pty));
        let machine = check(&config(|c| c.kernel = "/opt/bios.bin".into())).unwrap();
        assert_eq!(machine.bios, Path::new("/opt/bios.bin"));
        let direct = |c: &mut DomainConfig| {
            c.hvm.loader = "/usr/lib/xen/boot/hvmloader".into();
            c.kernel = "/boot/vmlinuz".into();
        };
        let machine = check(&config(direct)).unwrap();
        assert_eq!(machine.kernel.as_deref(), Some(Path::new("/boot/vmlinuz")));
    }

    #[test]
    fn what_cannot_be_is_named_with_its_value() {
        assert!(refusal(|c| c.kernel = "/boot/vmlinuz".into()).contains("/boot/vmlinuz"));
        assert!(refusal(|c| c.hvm.boot = "x".into()).contains("boot = 'x'"));
        assert!(refusal(|c| c.hvm.boot = String::new()).contains("boot = ''"));
        assert!(refusal(|c| c.hvm.serial = "tcp:1".into()).contains("serial = 'tcp:1'"));
        assert!(refusal(|c| c.hvm.unbuilt = vec!["usb".into()]).contains("usb is not"));
        assert!(refusal(|c| c.bootloader = "pygrub".into()).contains("bootloader"));
    }

    #[test]
    fn clock_has_the_offset_that_was_asked_for() {
        let config = config(|c| c.rtc_timeoffset = -3600);
        let hvm = check(&config).unwrap().spec(&config, 7);
        assert_eq!((hvm.clock_offset_s, hvm.bios_fd), (-3600, 7));
    }
}
