//! The host's resources that a domain's monitor gets as open files: it needs no rights of its own.

use crate::atomic;
use crate::devices::kept::Kept;
use crate::hvm::Machine;
use crate::node::Options;
use crate::saved::Image;
use crate::validate::Plan;
use noxen_control::{kvm, ram};
use noxen_xend_api::{DomainConfig, Fault};
use rustix::fs::OFlags;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// A domain's log that has grown to this is set aside before the domain is built, bytes.
const LOG_LIMIT: u64 = 1 << 20;

/// Open files for one domain.
pub struct Resources {
    /// What it is made of.
    pub source: Source,
    /// Firmware of an HVM domain.
    firmware: Option<Firmware>,
    /// /dev/kvm.
    pub kvm: File,
    /// Guest RAM on huge pages, where the host lets xend have it.
    pub ram: Option<File>,
}

/// Firmware of a PC.
pub struct Firmware {
    /// The BIOS.
    pub bios: File,
    /// What runs before it.
    pub early: Option<File>,
    /// Of the display, if it has one.
    pub display: Option<File>,
}

impl Firmware {
    /// Opens it.
    pub fn open(machine: &Machine) -> Result<Firmware, Fault> {
        Ok(Firmware {
            bios: open_image(&machine.bios, "Firmware")?,
            early: match &machine.early {
                Some(path) => Some(open_image(path, "Firmware")?),
                None => None,
            },
            display: match &machine.display {
                Some(display) => Some(open_image(&display.bios, "Firmware of the display")?),
                None => None,
            },
        })
    }
}

/// What a domain is made of.
pub enum Source {
    /// A fresh one.
    Kernel {
        /// Kernel image.
        kernel: File,
        /// Initial ramdisk.
        ramdisk: Option<File>,
    },
    /// A fresh HVM domain.
    Hvm {
        /// A kernel that it starts.
        kernel: Option<File>,
        /// That kernel's ramdisk.
        ramdisk: Option<File>,
    },
    /// One that was saved.
    Image(Box<Image>),
}

impl Resources {
    /// For the domain in `image`.
    pub fn of_image(options: &Options, image: Image, plan: &Plan) -> Result<Resources, Fault> {
        Ok(Resources {
            source: Source::Image(Box::new(image)),
            firmware: plan.hvm.as_ref().map(Firmware::open).transpose()?,
            kvm: open_kvm(&options.kvm)?,
            ram: ram::huge_page_file_if_possible(),
        })
    }

    /// Kernel image.
    pub fn kernel(&self) -> Option<&File> {
        match &self.source {
            Source::Kernel { kernel, .. } => Some(kernel),
            Source::Hvm { kernel, .. } => kernel.as_ref(),
            Source::Image(_) => None,
        }
    }

    /// Initial ramdisk.
    pub fn ramdisk(&self) -> Option<&File> {
        match &self.source {
            Source::Kernel { ramdisk, .. } | Source::Hvm { ramdisk, .. } => ramdisk.as_ref(),
            Source::Image(_) => None,
        }
    }

    /// BIOS image of an HVM domain.
    pub fn bios(&self) -> Option<&File> {
        self.firmware.as_ref().map(|firmware| &firmware.bios)
    }

    /// What runs before the BIOS of an HVM domain.
    pub fn early(&self) -> Option<&File> {
        self.firmware.as_ref()?.early.as_ref()
    }

    /// BIOS of an HVM domain's display.
    pub fn display_bios(&self) -> Option<&File> {
        self.firmware.as_ref()?.display.as_ref()
    }

    /// Image of a saved domain.
    pub fn image(&self) -> Option<&File> {
        match &self.source {
            Source::Kernel { .. } | Source::Hvm { .. } => None,
            Source::Image(image) => Some(&image.file),
        }
    }

    /// The connection that an image goes on in.
    pub fn stream(&self) -> Option<&OwnedFd> {
        match &self.source {
            Source::Image(image) => image.stream.as_ref(),
            _ => None,
        }
    }

    /// The connection for pages that come after an image.
    pub fn pages(&self) -> Option<&OwnedFd> {
        match &self.source {
            Source::Image(image) => image.pages.as_ref(),
            _ => None,
        }
    }

    /// Nodes of the store that the domain comes with.
    pub fn nodes(&self) -> &[(String, String)] {
        match &self.source {
            Source::Kernel { .. } | Source::Hvm { .. } => &[],
            Source::Image(image) => &image.nodes,
        }
    }

    /// Devices that the domain comes with.
    pub fn devices(&self) -> &[Kept] {
        match &self.source {
            Source::Kernel { .. } | Source::Hvm { .. } => &[],
            Source::Image(image) => &image.devices,
        }
    }

    /// Opens everything or says in one line what is missing.
    pub fn open(options: &Options, config: &DomainConfig, plan: &Plan) -> Result<Resources, Fault> {
        let kernel = |path: &Path| open_image(path, "Kernel image");
        let ramdisk = match config.ramdisk.as_str() {
            "" => None,
            path => Some(open_ramdisk(Path::new(path), plan)?),
        };
        let source = match &plan.hvm {
            None => Source::Kernel {
                kernel: kernel(Path::new(&config.kernel))?,
                ramdisk,
            },
            Some(machine) => Source::Hvm {
                kernel: machine.kernel.as_deref().map(kernel).transpose()?,
                ramdisk,
            },
        };
        Ok(Resources {
            source,
            firmware: plan.hvm.as_ref().map(Firmware::open).transpose()?,
            kvm: open_kvm(&options.kvm)?,
            ram: ram::huge_page_file_if_possible(),
        })
    }
}

/// Opens a regular file; `what` begins the line that says why not.
pub fn open_image(path: &Path, what: &str) -> Result<File, Fault> {
    let shown = path.display();
    // Non-blocking: a FIFO must not hold xend up. For regular files it means nothing.
    let file = File::options()
        .read(true)
        .custom_flags(OFlags::NONBLOCK.bits() as i32)
        .open(path)
        .map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => Fault::generic(format!("{what} does not exist: {shown}")),
            _ => Fault::generic(format!("{what} cannot be opened: {shown}: {e}")),
        })?;
    match file.metadata() {
        Ok(metadata) if metadata.is_file() => Ok(file),
        Ok(_) => Err(Fault::generic(format!("{what} is not a file: {shown}"))),
        Err(e) => Err(Fault::generic(format!(
            "{what} cannot be read: {shown}: {e}"
        ))),
    }
}

fn open_ramdisk(path: &Path, plan: &Plan) -> Result<File, Fault> {
    let file = open_image(path, "Kernel ramdisk")?;
    let bytes = file.metadata().map_or(0, |m| m.len());
    if bytes >= plan.memory_mib << 20 {
        return Err(Fault::generic(format!(
            "Kernel ramdisk {} has {} MiB and does not fit into memory = {} MiB; raise memory",
            path.display(),
            bytes.div_ceil(1 << 20),
            plan.memory_mib
        )));
    }
    Ok(file)
}

/// /dev/null stands in for KVM in tests whose monitor needs none; it alone is not judged.
pub fn open_kvm(path: &Path) -> Result<File, Fault> {
    let fault = |e: kvm::KvmError| Fault::generic(e.to_string());
    let file = kvm::open(path).map_err(fault)?;
    if path != Path::new("/dev/null") {
        kvm::check(&file, kvm::HostCpu::read()).map_err(fault)?;
    }
    Ok(file)
}

/// Where the log of a domain called `name` is; a `/` in the name is no directory.
pub fn log_path(options: &Options, name: &str) -> PathBuf {
    let file = format!("{}.log", name.replace('/', "_"));
    options.paths.domain_log_dir().join(file)
}

/// Opens a domain's log for append.
pub fn open_log(options: &Options, name: &str) -> Result<File, Fault> {
    let path = log_path(options, name);
    let fault = |e: io::Error| {
        Fault::internal(format!(
            "cannot open the domain's log {}: {e}",
            path.display()
        ))
    };
    atomic::make_directory(&options.paths.domain_log_dir(), 0o750).map_err(fault)?;
    if std::fs::metadata(&path).is_ok_and(|m| m.len() > LOG_LIMIT) {
        set_aside(&path).map_err(fault)?;
    }
    File::options()
        .append(true)
        .create(true)
        .mode(0o640)
        .open(&path)
        .map_err(fault)
}

/// The log goes on under the name that the domain has now; one of an earlier domain of that name is set aside.
pub fn move_log(options: &Options, from: &str, to: &str) -> io::Result<()> {
    let (from, to) = (log_path(options, from), log_path(options, to));
    if from == to || !from.exists() {
        return Ok(());
    }
    if to.exists() {
        set_aside(&to)?;
    }
    std::fs::rename(from, to)
}

fn set_aside(path: &Path) -> io::Result<()> {
    let mut aside = path.as_os_str().to_owned();
    aside.push(".1");
    std::fs::rename(path, aside)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TempDir;
    use std::fs;

    fn text(result: Result<File, Fault>) -> String {
        result.err().unwrap().message
    }

    #[test]
    fn open_image_names_each_way_to_be_no_image() {
        let dir = TempDir::new("image");
        let missing = dir.path().join("none");
        let shown = missing.display();
        assert_eq!(
            text(open_image(&missing, "Kernel image")),
            format!("Kernel image does not exist: {shown}")
        );
        assert!(text(open_image(dir.path(), "Kernel image")).contains("is not a file"));
        let fifo = dir.path().join("fifo");
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, mode).unwrap();
        assert!(text(open_image(&fifo, "Kernel image")).contains("is not a file"));
    }

    #[test]
    fn open_ramdisk_larger_than_memory_is_refused() {
        let dir = TempDir::new("image");
        let path = dir.path().join("initrd");
        File::create(&path).unwrap().set_len(128 << 20).unwrap();
        let plan = Plan {
            memory_mib: 128,
            maxmem_mib: 128,
            vcpus: 1,
            vcpu_avail: 1,
            cmdline: String::new(),
            hvm: None,
            pvh: None,
            pinning: vec![None],
        };
        assert!(text(open_ramdisk(&path, &plan)).contains("does not fit into memory = 128 MiB"));
        fs::write(&path, "small").unwrap();
        assert!(open_ramdisk(&path, &plan).is_ok());
    }
}
