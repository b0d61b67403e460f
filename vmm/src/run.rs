//! `noxen-vmm run`: one domain without xend and xenstored, for development, tests and benches.
//!
//! ```text
//!   files by path --> domain, console on stdin/stdout, a private store in this process --> exit status
//! ```
//! console_io text goes to standard output too; log, crash records and counters to standard error.

use crate::control::server::Server;
use crate::counters::Groups;
use crate::devices::Door;
use crate::domain::pv::{self, Config, Files};
use crate::hvm::linux::Linux;
use crate::hvm::{self, service::HvmService};
use crate::log::Log;
use crate::private_store::{self, Vbd, Vif};
use crate::service::{ConsoleEnd, Service, Until};
use crate::store::Connection;
use anyhow::{bail, Context, Result};
use kvm_ioctls::Kvm;
use noxen_control::device::VncSpec;
use noxen_control::device::{DiskImage, Engine, ImageFormat, NicModel};
use noxen_control::kvm::{self, HostCpu};
use noxen_control::ram::huge_page_file_if_possible;
use noxen_control::spec::{Adapter, Display, Hvm, Pvh, SerialPort, Vnc};
use noxen_control::tap;
use noxen_control::{DeviceSpec, ShutdownReason};
use std::fs::File;
use std::net::TcpListener;
use std::os::fd::{AsFd, FromRawFd, IntoRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Most queues of a tap (as xend has it); more vCPUs share them.
const TAP_QUEUES: u32 = 4;

/// Options of `noxen-vmm run`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Kernel image of a PV domain.
    pub kernel: PathBuf,
    /// BIOS image of an HVM domain.
    pub bios: Option<PathBuf>,
    /// It finds Xen.
    pub xen: bool,
    /// The kernel is entered by its PVH entry.
    pub pvh: bool,
    /// Its boot order.
    pub boot: String,
    /// BIOS of its display.
    pub vga_bios: Option<PathBuf>,
    /// The display is a Cirrus.
    pub cirrus: bool,
    /// Where its display is shown by VNC, ADDRESS:PORT.
    pub vnc: Option<String>,
    /// Ramdisk.
    pub ramdisk: Option<PathBuf>,
    /// Memory, MiB.
    pub memory: u64,
    /// vCPUs.
    pub vcpus: u32,
    /// Kernel command line.
    pub cmdline: String,
    /// Shorten the start of kernels we know.
    pub tune: bool,
    /// A monitor image instead of the built-in one.
    pub monitor: Option<PathBuf>,
    /// Make a control socket there.
    pub control: Option<PathBuf>,
    /// Print counters at the end.
    pub counters: bool,
    /// Domain id.
    pub domid: u32,
    /// Disks xvda, xvdb, ...
    pub disks: Vec<Disk>,
    /// Taps of network interfaces, by name; made where they are not there.
    pub taps: Vec<String>,
}

/// A disk from the command line: `FILE[,ro][,qcow2|vmdk|vhd|vhdx][,direct][,threads|io-uring][,persistent]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    image: DiskImage,
    readonly: bool,
    /// For an HVM domain: a CD.
    cdrom: bool,
    /// For an HVM domain: in the floppy drive.
    floppy: bool,
    persistent: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            kernel: PathBuf::new(),
            bios: None,
            xen: false,
            pvh: false,
            boot: "cd".into(),
            vga_bios: None,
            cirrus: false,
            vnc: None,
            ramdisk: None,
            memory: 256,
            vcpus: 1,
            cmdline: String::new(),
            tune: true,
            monitor: None,
            control: None,
            counters: false,
            domid: 1,
            disks: Vec::new(),
            taps: Vec::new(),
        }
    }
}

/// Runs the domain to its end: 0 after poweroff, 1 after a crash, 3 after a reboot request, 4 otherwise.
pub fn run(options: &Options) -> Result<ExitCode> {
    let node = kvm::open(Path::new("/dev/kvm"))?;
    kvm::check(&node, HostCpu::read())?;
    let kvm = kvm_from(node);
    if let Some(bios) = &options.bios {
        return run_hvm(options, bios, &kvm);
    }
    if options.pvh {
        return run_pvh(options, &kvm);
    }
    let monitor_file = match &options.monitor {
        Some(path) => Some(std::fs::read(path).with_context(|| path.display().to_string())?),
        None => None,
    };
    let monitor = match monitor_file.as_deref().or(crate::monitor_image()) {
        Some(image) => image,
        None => bail!("this build has no monitor image; give one with --monitor FILE"),
    };
    let config = Config {
        domid: options.domid,
        uuid: [0x4e; 16],
        memory_mib: options.memory,
        maxmem_mib: options.memory,
        vcpus: options.vcpus,
        kernel_path: options.kernel.display().to_string(),
        cmdline: options.cmdline.clone(),
        tune: options.tune,
    };
    let files = Files {
        kvm: &kvm,
        kernel: open(&options.kernel)?,
        unpacked: None,
        ramdisk: options.ramdisk.as_deref().map(open).transpose()?,
        ram: huge_page_file_if_possible(),
        monitor,
    };
    let stdout = File::from(std::io::stdout().as_fd().try_clone_to_owned()?);
    let stderr = File::from(std::io::stderr().as_fd().try_clone_to_owned()?);
    let stdin = File::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    let log = Log::new(Some(stderr), config.domid, "run");
    let domain = pv::build(&config, files, log, Some(stdout.try_clone()?))?;
    let (vbds, vifs) = numbered(options);
    let (store, door) = store(options, &config, &vbds, &vifs)?;
    let console = ConsoleEnd::Stream {
        output: stdout,
        input: Some(stdin),
    };
    let control = options.control.as_deref().map(listen).transpose()?;
    let mut service = Service::new(domain, console, Some(store), door, control)?;
    let (vbds, vifs) = (vbds.iter(), vifs.iter());
    attach_pv(options, vbds, vifs, |spec, fds| {
        service.devices().attach(spec, fds)
    })?;
    to_its_end(options, &mut service)
}

/// The disks and interfaces of a domain that has only paravirtual ones.
fn numbered(options: &Options) -> (Vec<Vbd>, Vec<Vif>) {
    let count = |all: usize| 0..all as u32;
    let vbds = count(options.disks.len()).map(|index| Vbd::new(options.domid, index));
    let vifs = count(options.taps.len()).map(|index| Vif::new(options.domid, index));
    (vbds.collect(), vifs.collect())
}

/// A private store for a domain with these.
fn store(
    options: &Options,
    config: &Config,
    vbds: &[Vbd],
    vifs: &[Vif],
) -> Result<(Connection, Door)> {
    let streams = private_store::start(options.domid, config, vbds, vifs)?;
    let store = Connection {
        stream: streams.guest,
        domid: options.domid,
        door: None,
    };
    Ok((store, Door::Streams(streams.tools)))
}

fn attach_pv<'a>(
    options: &Options,
    vbds: impl Iterator<Item = &'a Vbd>,
    vifs: impl Iterator<Item = &'a Vif>,
    mut attach: impl FnMut(&DeviceSpec, Vec<OwnedFd>) -> Result<(), String>,
) -> Result<()> {
    let line = |line: String| anyhow::anyhow!(line);
    for (disk, vbd) in options.disks.iter().zip(vbds) {
        attach(&disk.spec(vbd), vec![disk.open()?]).map_err(line)?;
    }
    for (name, vif) in options.taps.iter().zip(vifs) {
        let queues = tap::create(name, options.vcpus.clamp(1, TAP_QUEUES))
            .with_context(|| format!("--tap {name}"))?;
        attach(&vif_spec(vif), queues).map_err(line)?;
    }
    Ok(())
}

/// The same of a PVH domain.
fn run_pvh(options: &Options, kvm: &Kvm) -> Result<ExitCode> {
    let config = hvm::pvh::Config {
        domid: options.domid,
        name: "run".into(),
        uuid: [0x4e; 16],
        memory_mib: options.memory,
        vcpus: options.vcpus,
        kernel_path: options.kernel.display().to_string(),
        cmdline: options.cmdline.clone(),
        pvh: Pvh {
            acpi: true,
            cpu: Default::default(),
        },
    };
    let files = hvm::pvh::Files {
        kvm,
        ram: huge_page_file_if_possible(),
        kernel: open(&options.kernel)?,
        unpacked: None,
        ramdisk: options.ramdisk.as_deref().map(open).transpose()?,
    };
    let stderr = File::from(std::io::stderr().as_fd().try_clone_to_owned()?);
    let log = Log::new(Some(stderr), config.domid, "run");
    let domain = hvm::pvh::build(&config, files, log)?;
    let console = ConsoleEnd::Stream {
        output: File::from(std::io::stdout().as_fd().try_clone_to_owned()?),
        input: Some(File::from(std::io::stdin().as_fd().try_clone_to_owned()?)),
    };
    let control = options.control.as_deref().map(listen).transpose()?;
    let (vbds, vifs) = numbered(options);
    let (store, door) = store(options, &stored(options), &vbds, &vifs)?;
    let mut service = HvmService::new(domain, console, Some(store), door, control)?;
    let (vbds, vifs) = (vbds.iter(), vifs.iter());
    attach_pv(options, vbds, vifs, |spec, fds| {
        service.machine().attach(spec, fds)
    })?;
    to_its_end(options, &mut service)
}

/// What the store tells of a domain that is no PV one.
fn stored(options: &Options) -> Config {
    Config {
        domid: options.domid,
        uuid: [0x4e; 16],
        memory_mib: options.memory,
        maxmem_mib: options.memory,
        vcpus: options.vcpus,
        kernel_path: String::new(),
        cmdline: String::new(),
        tune: false,
    }
}

fn open(path: &Path) -> Result<File> {
    File::open(path).with_context(|| format!("cannot open {}", path.display()))
}

/// The same of an HVM domain: COM1 is standard input and output.
fn run_hvm(options: &Options, bios: &Path, kvm: &Kvm) -> Result<ExitCode> {
    let config = hvm::build::Config {
        domid: options.domid,
        name: "run".into(),
        uuid: [0x4e; 16],
        memory_mib: options.memory,
        vcpus: options.vcpus,
        hvm: Hvm {
            bios_path: bios.display().to_string(),
            bios_fd: -1,
            loader: None,
            boot: options.boot.clone(),
            acpi: true,
            apic: true,
            pae: true,
            present_vcpus: None,
            clock_offset_s: 0,
            second_floppy: false,
            xen: options.xen,
            cpu: Default::default(),
            one_late_tick: false,
            hpet: false,
            usb: None,
            serial: SerialPort::Pty,
            monitor: false,
            sound: None,
            display: options.vga_bios.as_ref().map(|path| Display {
                adapter: match options.cirrus {
                    true => Adapter::Cirrus,
                    false => Adapter::Standard,
                },
                bios_path: path.display().to_string(),
                bios_fd: -1,
                memory_mib: if options.cirrus { 4 } else { 16 },
                vnc: options.vnc.is_some().then(|| Vnc {
                    socket_fd: -1,
                    how: VncSpec {
                        title: "run".into(),
                        password: None,
                        keymap: None,
                        tls: None,
                    },
                }),
            }),
        },
    };
    let files = hvm::build::Files {
        kvm,
        ram: huge_page_file_if_possible(),
        origin: None,
        handed: None,
        bios: open(bios)?,
        loader: None,
        display_bios: options.vga_bios.as_deref().map(open).transpose()?,
        vnc: match &options.vnc {
            Some(address) => Some(
                TcpListener::bind(address)
                    .with_context(|| format!("cannot listen on {address}"))?,
            ),
            None => None,
        },
        sound: None,
        linux: match options.kernel.as_os_str().is_empty() {
            true => None,
            false => Some(Linux {
                kernel: open(&options.kernel)?,
                path: options.kernel.display().to_string(),
                ramdisk: options.ramdisk.as_deref().map(open).transpose()?,
                cmdline: options.cmdline.clone(),
            }),
        },
    };
    let stderr = File::from(std::io::stderr().as_fd().try_clone_to_owned()?);
    let log = Log::new(Some(stderr), config.domid, "run");
    let domain = hvm::build::build(&config, files, log)?;
    let console = ConsoleEnd::Stream {
        output: File::from(std::io::stdout().as_fd().try_clone_to_owned()?),
        input: Some(File::from(std::io::stdin().as_fd().try_clone_to_owned()?)),
    };
    let control = options.control.as_deref().map(listen).transpose()?;
    let numbered = hvm_numbers(&options.disks)?;
    let (store, door) = hvm_store(options, &numbered)?;
    let mut service = HvmService::new(domain, console, store, door, control)?;
    for (devid, disk) in numbered {
        let spec = disk.spec(&Vbd::numbered(options.domid, devid));
        let attached = service.machine().attach(&spec, vec![disk.open()?]);
        attached.map_err(|line| anyhow::anyhow!(line))?;
    }
    for (index, text) in (0..).zip(&options.taps) {
        let mut words = text.splitn(3, ',');
        let name = words.next().unwrap_or_default();
        let Some(card) = NicModel::of(words.next().unwrap_or("rtl8139")) else {
            bail!("--tap {text}: an HVM domain's cards are rtl8139, e1000, ne2k_pci and pcnet");
        };
        let rom = match words.next() {
            Some(path) => std::fs::read(path).with_context(|| format!("cannot read {path}"))?,
            None => Vec::new(),
        };
        let queues = tap::create(name, 1).with_context(|| format!("cannot make the tap {name}"))?;
        let mut spec = vif_spec(&Vif::new(options.domid, index));
        if let DeviceSpec::Vif { model, .. } = &mut spec {
            *model = card;
        }
        let attached = service.machine().attach_with_rom(&spec, queues, rom);
        attached.map_err(|line| anyhow::anyhow!(line))?;
    }
    to_its_end(options, &mut service)
}

/// A domain of either kind, built and with its devices.
trait Domain {
    fn unpause(&mut self) -> Result<(), String>;
    fn serve(&mut self) -> std::io::Result<Option<ShutdownReason>>;
    fn counters(&mut self) -> Groups;
}

impl Domain for Service {
    fn unpause(&mut self) -> Result<(), String> {
        self.machine().unpause()
    }

    fn serve(&mut self) -> std::io::Result<Option<ShutdownReason>> {
        self.run(Until::Over)
    }

    fn counters(&mut self) -> Groups {
        self.machine().counters()
    }
}

impl Domain for HvmService {
    fn unpause(&mut self) -> Result<(), String> {
        self.machine().unpause()
    }

    fn serve(&mut self) -> std::io::Result<Option<ShutdownReason>> {
        self.run(Until::Over)
    }

    fn counters(&mut self) -> Groups {
        self.machine().counters()
    }
}

/// Lets the domain run until it is over, and says what is to be said of it.
fn to_its_end(options: &Options, domain: &mut impl Domain) -> Result<ExitCode> {
    domain.unpause().map_err(|line| anyhow::anyhow!(line))?;
    let over = domain.serve()?;
    if options.counters {
        print_counters(domain.counters());
    }
    if let Some(path) = &options.control {
        // It may be gone already; there is nothing more to do about it.
        let _ = std::fs::remove_file(path);
    }
    Ok(exit_code(over))
}

/// A private store for an HVM domain that can have drivers for Xen.
fn hvm_store(options: &Options, disks: &[(u32, &Disk)]) -> Result<(Option<Connection>, Door)> {
    if !options.xen {
        return Ok((None, Door::Streams(Vec::new())));
    }
    // A CD stays a drive of the machine.
    let disks = disks.iter().filter(|(_, disk)| !disk.cdrom && !disk.floppy);
    let vbds: Vec<Vbd> = disks
        .map(|(devid, _)| Vbd::numbered(options.domid, *devid))
        .collect();
    let vifs: Vec<Vif> = (0..options.taps.len() as u32)
        .map(|index| Vif::new(options.domid, index))
        .collect();
    let (store, door) = store(options, &stored(options), &vbds, &vifs)?;
    Ok((Some(store), door))
}

/// The drives of an HVM domain's disks by Xen's numbers: hda to hdd in order, the first CD in hdc if that is free, floppies fd0.
fn hvm_numbers(disks: &[Disk]) -> Result<Vec<(u32, &Disk)>> {
    const IDE: [u32; 4] = [768, 832, 5632, 5696];
    const FLOPPY: u32 = 512;
    let mut taken: Vec<(u32, &Disk)> = Vec::new();
    for disk in disks {
        let order = match (disk.floppy, disk.cdrom) {
            (true, _) => vec![FLOPPY],
            (_, true) => vec![IDE[2], IDE[3], IDE[1], IDE[0]],
            _ => IDE.to_vec(),
        };
        let free = |number: &u32| taken.iter().all(|(other, _)| other != number);
        let Some(number) = order.into_iter().find(free) else {
            bail!(
                "--disk {}: an HVM domain has four drives and a floppy",
                disk.image.path
            );
        };
        taken.push((number, disk));
    }
    Ok(taken)
}

fn exit_code(over: Option<ShutdownReason>) -> ExitCode {
    ExitCode::from(match over {
        Some(ShutdownReason::Poweroff) => 0,
        Some(ShutdownReason::Crash) => 1,
        Some(ShutdownReason::Reboot) => 3,
        _ => 4,
    })
}

fn vif_spec(vif: &Vif) -> DeviceSpec {
    DeviceSpec::Vif {
        devid: vif.devid,
        frontend: vif.frontend.clone(),
        backend: vif.backend.clone(),
        mac: vif.mac.clone(),
        rate: None,
        model: NicModel::default(),
        rom: false,
    }
}

impl Disk {
    fn parse(text: &str) -> Result<Disk> {
        let mut words = text.split(',');
        let mut disk = Disk {
            image: DiskImage {
                path: words.next().unwrap_or_default().into(),
                format: ImageFormat::Raw,
                direct: false,
                engine: Engine::Auto,
                export: String::new(),
            },
            readonly: false,
            cdrom: false,
            floppy: false,
            persistent: false,
        };
        for word in words {
            match word {
                "ro" => disk.readonly = true,
                "cdrom" => (disk.cdrom, disk.readonly) = (true, true),
                "floppy" => disk.floppy = true,
                "persistent" => disk.persistent = true,
                "direct" => disk.image.direct = true,
                "qcow2" => disk.image.format = ImageFormat::Qcow2,
                "vmdk" => disk.image.format = ImageFormat::Vmdk,
                "vhd" => disk.image.format = ImageFormat::Vhd,
                "vhdx" => disk.image.format = ImageFormat::Vhdx,
                "threads" => disk.image.engine = Engine::Threads,
                "io-uring" => disk.image.engine = Engine::IoUring,
                other => bail!("--disk {text}: {other} is not known; see noxen-vmm --help"),
            }
        }
        Ok(disk)
    }

    fn open(&self) -> Result<OwnedFd> {
        let direct = if self.image.direct { libc::O_DIRECT } else { 0 };
        let file = File::options()
            .read(true)
            .write(!self.readonly)
            .custom_flags(direct)
            .open(&self.image.path)
            .with_context(|| format!("cannot open {}", self.image.path))?;
        Ok(file.into())
    }

    fn spec(&self, vbd: &Vbd) -> DeviceSpec {
        DeviceSpec::Vbd {
            devid: vbd.devid,
            frontend: vbd.frontend.clone(),
            backend: vbd.backend.clone(),
            image: self.image.clone(),
            readonly: self.readonly,
            cdrom: self.cdrom,
            sector_size: None,
            physical_sector_size: None,
            persistent: self.persistent,
        }
    }
}

fn listen(path: &Path) -> Result<Server> {
    let listener =
        UnixListener::bind(path).with_context(|| format!("cannot listen at {}", path.display()))?;
    Ok(Server::new(listener)?)
}

fn print_counters(groups: Groups) {
    for (group, kinds) in groups {
        for (kind, count) in kinds {
            eprintln!("counter {group} {kind} {count}");
        }
    }
}

/// Takes an open /dev/kvm over.
#[allow(unsafe_code)]
pub fn kvm_from(node: File) -> kvm_ioctls::Kvm {
    // SAFETY: the descriptor was owned by `node`, which is given up; `Kvm` owns it from here.
    // kvm-ioctls has no constructor from an owned descriptor.
    unsafe { kvm_ioctls::Kvm::from_raw_fd(node.into_raw_fd()) }
}

/// Parses the arguments after `run`.
pub fn parse(arguments: &[String]) -> Result<Options> {
    let mut options = Options::default();
    let mut rest = arguments.iter();
    while let Some(name) = rest.next() {
        if name == "--counters" {
            options.counters = true;
            continue;
        }
        if name == "--cirrus" {
            options.cirrus = true;
            continue;
        }
        if name == "--xen" {
            options.xen = true;
            continue;
        }
        if name == "--pvh" {
            options.pvh = true;
            continue;
        }
        if name == "--no-tune" {
            options.tune = false;
            continue;
        }
        let Some(value) = rest.next() else {
            bail!("{name} needs a value, or is not an option of run; see noxen-vmm --help");
        };
        let number = || -> Result<u64> {
            value
                .parse()
                .with_context(|| format!("{name} {value}: not a whole number"))
        };
        match name.as_str() {
            "--kernel" => options.kernel = value.into(),
            "--bios" => options.bios = Some(value.into()),
            "--boot" => options.boot.clone_from(value),
            "--vga-bios" => options.vga_bios = Some(value.into()),
            "--vnc" => options.vnc = Some(value.clone()),
            "--ramdisk" => options.ramdisk = Some(value.into()),
            "--memory" => options.memory = number()?,
            "--vcpus" => options.vcpus = u32::try_from(number()?).unwrap_or(u32::MAX),
            "--cmdline" => options.cmdline.clone_from(value),
            "--monitor" => options.monitor = Some(value.into()),
            "--control" => options.control = Some(value.into()),
            "--disk" => options.disks.push(Disk::parse(value)?),
            "--tap" => options.taps.push(value.clone()),
            "--domid" => options.domid = u32::try_from(number()?).unwrap_or(u32::MAX),
            other => bail!("{other} is not an option of run; see noxen-vmm --help"),
        }
    }
    if options.kernel.as_os_str().is_empty() && options.bios.is_none() {
        bail!("run needs --kernel FILE or --bios FILE");
    }
    if options.memory == 0 {
        bail!("--memory 0: a domain needs memory");
    }
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(String::from).collect()
    }

    #[test]
    fn parse_takes_all_options() {
        let options = parse(&words(
            "--kernel k --ramdisk r --memory 64 --vcpus 2 --cmdline quiet --counters --tap t0 --tap t1",
        ))
        .unwrap();
        assert_eq!(options.kernel, PathBuf::from("k"));
        assert_eq!((options.memory, options.vcpus), (64, 2));
        assert!(options.counters);
        assert_eq!(options.taps, ["t0", "t1"]);
    }

    #[test]
    fn parse_refuses_what_it_does_not_know() {
        for text in [
            "",
            "--kernel",
            "--kernel k --frob 1",
            "--kernel k --memory x",
            "--kernel k --memory 0",
        ] {
            assert!(parse(&words(text)).is_err(), "{text}");
        }
    }
}
