//! Builds an HVM domain: from a config and open files to a PC that stands before its first instruction.
//!
//! ```text
//!   memory:  0 .. 0xa0000 RAM, .. 0xc0000 display, .. low RAM .. 3.5 GiB | hole | BIOS (read-only) .. 4 GiB | high RAM
//!   KVM:     8259s, I/O APIC, 8254, local APICs; vCPU 0 at the reset vector, the others wait for INIT and SIPI
//!   with a loader (Xen's hvmloader): no BIOS at 4 GiB; it is a module of the loader's, and vCPU 0 begins there, in protected mode
//! ```

use crate::domain::pv::PvError;
use crate::domain::{assemble, region};
use crate::hvm::lines::Wiring;
use crate::hvm::linux::{self, Linux, LinuxError};
use crate::hvm::machine::{About, HvmMachine};
use crate::hvm::pc::Pc;
use crate::hvm::pvh::load;
use crate::hvm::raise::{raise, DriveParts, Front};
use crate::hvm::registry::{self, Parts};
use crate::hvm::saved::Arriving;
use crate::hvm::screen::{Fingers, Screen};
use crate::hvm::speaker::{share, Recorder};
use crate::hvm::usb_disks::UsbDisks;
use crate::hvm::video::Video;
use crate::hvm::wire::Line;
use crate::hvm::xen::domain::Drivers;
use crate::log::{Level, Log};
use crate::prompt::Prompt;
use crate::save::restore::{Origin, RestoreError};
use crate::viewers::{self, Console, Hands, Server as Viewers, Windows};
use crate::vstate::chips::ChipsError;
use crate::vstate::cpuid::HvmCpu;
use crate::vstate::hyperv;
use crate::vstate::memory::{DomainMemory, GuestMemory, MemoryError, Piece, Slot};
use crate::vstate::vcpu::{Flat, VcpuError};
use crate::vstate::vm::VmError;
use kvm_bindings::kvm_cpuid_entry2;
use kvm_ioctls::Kvm;
use noxen_control::device::VncSpec;
use noxen_control::spec::{Adapter, Display, Hvm, SerialPort};
use noxen_hvmloader::bios::{self, BiosError};
use noxen_hvmloader::loader::{self, LoaderError};
use noxen_hvmloader::pvh::PvhError;
use noxen_hvmloader::{files, Machine, Placed, HIGH};
use noxen_kernel_image::{load_loader_file, KernelError};
use noxen_pc::backing::Backing;
use noxen_pc::isa_dma::IsaDma;
use noxen_pc::rtc::Boot;
use noxen_pc::sound::{Silence, Speaker};
use noxen_pc::vga::{self, cirrus};
use std::fs::File;
use std::io::{self, Read};
use std::net::TcpListener;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use vm_memory::{Bytes, GuestAddress};

/// Where the display's memory is; no RAM shows there.
const DISPLAY: std::ops::Range<u64> = 0xa_0000..0xc_0000;
/// Largest BIOS of a display, bytes.
const MAX_ROM: u64 = 256 << 10;
/// Least memory, MiB: the BIOS, its tables and a boot loader.
const LEAST_MIB: u64 = 8;

/// What the administrator decided.
#[derive(Debug, Clone)]
pub struct Config {
    /// Domain id.
    pub domid: u32,
    /// Name.
    pub name: String,
    /// 128-bit id.
    pub uuid: [u8; 16],
    /// Memory, MiB.
    pub memory_mib: u64,
    /// vCPUs.
    pub vcpus: u32,
    /// The machine.
    pub hvm: Hvm,
}

/// Open files that the domain is built from.
#[derive(Debug)]
pub struct Files<'a> {
    /// /dev/kvm.
    pub kvm: &'a Kvm,
    /// Empty file with huge pages, if there is one.
    pub ram: Option<File>,
    /// The domain is restored from it.
    pub origin: Option<Origin>,
    /// Files behind its memory, with all that is in it: another process has handed them over.
    pub handed: Option<Vec<File>>,
    /// BIOS image.
    pub bios: File,
    /// What runs before the BIOS, if anything does.
    pub loader: Option<File>,
    /// BIOS of the display, if it is there.
    pub display_bios: Option<File>,
    /// Listening socket of the display's VNC server, if it is to be shown.
    pub vnc: Option<TcpListener>,
    /// Empty file that the sound card plays into.
    pub sound: Option<File>,
    /// A kernel that is started without a boot loader.
    pub linux: Option<Linux>,
}

/// Why an HVM domain could not be built.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // The messages say it.
pub enum HvmError {
    #[error("memory = {0}: an HVM domain needs at least {LEAST_MIB} MiB")]
    Least(u64),
    #[error("boot = '{0}': its letters are a (floppy), c (disk), d (CD) and n (network)")]
    Boot(String),
    #[error("firmware {path}: {source}")]
    Bios { path: String, source: BiosError },
    #[error("firmware {path} cannot be read: {source}")]
    BiosFile { path: String, source: io::Error },
    #[error("firmware_override {path}: {source}")]
    Loader { path: String, source: LoaderError },
    #[error("firmware_override {path}: {source}")]
    LoaderImage { path: String, source: KernelError },
    #[error("firmware_override {path} cannot be read: {source}")]
    LoaderFile { path: String, source: io::Error },
    #[error("firmware_override, and {0}: they are not supported together yet")]
    LoaderBeside(&'static str),
    #[error("videoram = {0}: a standard display has 1 to 256 MiB, a power of two, and a Cirrus 4")]
    VideoMemory(u32),
    #[error("{0}")]
    Xen(String),
    #[error("{0}")]
    Cpu(String),
    #[error("viridian = 1: KVM on this host does not tell what it has of Microsoft's hypervisor interfaces (Linux 5.11 and later): {0}")]
    Viridian(kvm_ioctls::Error),
    #[error("viridian = 1 and xen_platform_pci = 1 are not supported together yet; their hypercall pages have the same MSR")]
    Both,
    #[error("display: {0}")]
    Display(String),
    #[error("{what:#x} + {length:#x} is not in guest memory; this is a fault of noxen-vmm")]
    Outside { what: u64, length: usize },
    #[error(transparent)]
    Linux(#[from] LinuxError),
    #[error("kernel {path}: {source}")]
    Kernel { path: String, source: KernelError },
    #[error("kernel {path} cannot be read: {source}")]
    KernelFile { path: String, source: io::Error },
    #[error("ramdisk: {0}")]
    Ramdisk(io::Error),
    #[error(transparent)]
    Pvh(#[from] PvhError),
    #[error(transparent)]
    Pv(#[from] PvError),
    #[error(transparent)]
    Memory(#[from] MemoryError),
    #[error(transparent)]
    Vm(#[from] VmError),
    #[error(transparent)]
    Vcpu(#[from] VcpuError),
    #[error(transparent)]
    Restore(#[from] RestoreError),
    #[error(transparent)]
    Chips(#[from] ChipsError),
    #[error("cannot {what}: {source}")]
    Os {
        what: &'static str,
        source: io::Error,
    },
}

/// A built domain.
#[derive(Debug)]
pub struct Domain {
    /// The machine, paused.
    pub machine: HvmMachine,
    /// The host's end of COM1, if there is one.
    pub serial: Option<Arc<Line>>,
    /// Serves the display's viewers, if there can be any.
    pub viewers: Option<Viewers>,
}

/// Builds the domain; nothing is left behind on failure but this process' own memory.
pub fn build(config: &Config, files: Files<'_>, log: Log) -> Result<Domain, HvmError> {
    assemble::check(config.vcpus, config.memory_mib)?;
    if config.memory_mib < LEAST_MIB {
        return Err(HvmError::Least(config.memory_mib));
    }
    let boot = boot_order(&config.hvm.boot)?;
    let image = read_bios(&files.bios, &config.hvm.bios_path)?;
    let pages = config.memory_mib << 8;
    let ram = region::ram_pieces(pages);
    let size = |first: u64| {
        let piece = ram.iter().find(|piece| piece.gpa == first);
        piece.map_or(0, |piece| piece.len)
    };
    let machine = Machine {
        low: size(0),
        high: size(HIGH),
        vcpus: config.vcpus,
        present: config.hvm.present_vcpus.unwrap_or(u64::MAX)
            & (u64::MAX >> (64 - config.vcpus.clamp(1, 64))),
        // Its drivers for Xen would have to be told, which is not built.
        sleeps: !config.hvm.xen,
        acpi: config.hvm.acpi,
        apic: config.hvm.apic,
        hpet: config.hvm.hpet,
        uuid: config.uuid,
        name: config.name.clone(),
    };
    let [rom, copy] = bios::place(&image).map_err(|source| HvmError::Bios {
        path: config.hvm.bios_path.clone(),
        source,
    })?;
    let video = match &config.hvm.display {
        Some(display) => Some(video(display, files.display_bios)?),
        None => None,
    };
    let shown = video.as_ref().map(|(memory, _)| memory.clone());
    let arriving = match files.origin {
        Some(origin) => {
            let bytes = shown.as_ref().map_or(0, |memory| memory.length());
            Some(Arriving::read(origin, config, bytes)?)
        }
        None => None,
    };
    let early = files.loader.is_some();
    if early {
        let beside = [
            (arriving.is_some(), "a saved domain"),
            (config.hvm.cpu.viridian, "viridian = 1"),
            (config.hvm.present_vcpus.is_some(), "vcpu_avail"),
            (files.linux.is_some(), "a kernel that firmware starts"),
        ];
        if let Some((_, what)) = beside.into_iter().find(|(is, _)| *is) {
            return Err(HvmError::LoaderBeside(what));
        }
    }
    let rom_piece = match &arriving {
        Some(arriving) => arriving.bios(),
        // It copies the BIOS to its place below 1 MiB, and nothing begins at the reset vector.
        None if early => Piece {
            gpa: loader::RESERVE.start,
            len: loader::RESERVE.end - loader::RESERVE.start,
        },
        None => Piece {
            gpa: rom.address,
            len: rom.bytes.len() as u64,
        },
    };
    let memory = match files.handed {
        Some(handed) => DomainMemory::handed(handed, &ram, rom_piece)?,
        None => DomainMemory::new(files.ram, &ram, rom_piece)?,
    };
    let mut firmware = files::files(&machine);
    let entry = match &files.loader {
        Some(file) => Some(load_loader(config, file, &machine, &image, &memory.map)?),
        None => None,
    };
    if early {
        // It has tables of its own.
        firmware.files.clear();
    } else if arriving.is_none() {
        for placed in firmware.placed.iter().chain([&rom, &copy]) {
            write(&memory.map, placed)?;
        }
    }
    if let Some(kernel) = files.linux {
        firmware
            .files
            .extend(linux::load(kernel, &machine, &memory.map)?);
    }
    let hyperv = hyperv_leaves(files.kvm, &config.hvm)?;
    let serial = match config.hvm.serial {
        SerialPort::None => None,
        SerialPort::Pty => Some(Line::new().map_err(|source| HvmError::Os {
            what: "make an eventfd",
            source,
        })?),
    };
    let speaker: Box<dyn Speaker> = match files.sound {
        None => Box::new(Silence),
        Some(file) => {
            let recorder = Recorder::start(file);
            Box::new(recorder.map_err(|source| HvmError::Os {
                what: "play into the file for sound",
                source,
            })?)
        }
    };
    let mut sound = config
        .hvm
        .sound
        .as_ref()
        .map_or(Vec::new(), |sound| sound.cards.clone());
    sound.sort_unstable();
    sound.dedup();
    let speakers = share(speaker, sound.len());
    let dma = IsaDma::new();
    let mut usb_disks = UsbDisks::of(config.hvm.usb.as_deref());
    let (bus, known) = registry::devices(Parts {
        display: config
            .hvm
            .display
            .as_ref()
            .zip(video.clone())
            .map(|(display, (memory, rom))| (display.adapter, memory as Arc<dyn Backing>, rom)),
        machine: &machine,
        files: firmware.files,
        boot,
        floppies: if config.hvm.second_floppy { 2 } else { 1 },
        seconds: now_seconds().saturating_add(config.hvm.clock_offset_s),
        serial: serial
            .as_ref()
            .map(|line| Box::new(line.plug()) as Box<dyn noxen_pc::serial::Wire>),
        sound: sound.into_iter().zip(speakers).collect(),
        dma: &dma,
        xen: config.hvm.xen,
        usb: config.hvm.usb.clone(),
        usb_disks: usb_disks.clone(),
    });
    usb_disks.controller = known.usb;
    let line = serial.as_ref().zip(known.serial);
    let behind = Behind {
        monitor: config.hvm.monitor,
        serial: line.map(|(line, number)| (line.clone(), number)),
    };
    let wiring = match early {
        true => Wiring::Xen,
        false => Wiring::Usual,
    };
    let mut machine = raise(Front {
        kvm: files.kvm,
        log,
        domid: config.domid,
        uuid: config.uuid,
        memory_mib: config.memory_mib,
        vcpus: config.vcpus,
        cpu: HvmCpu {
            pae: config.hvm.pae,
            apic: config.hvm.apic,
            apic_step: if early { loader::APIC_STEP } else { 1 },
            cpu: &config.hvm.cpu,
            hyperv: &hyperv,
            xen: None,
        },
        slots: slots(&memory.slots, (!early).then_some(rom_piece)),
        wiring,
        memory,
        region: rom_piece,
        one_late_tick: config.hvm.one_late_tick,
        // COM1 is the console where there is one.
        xen: (config.hvm.xen || early).then(|| Drivers {
            console: serial.is_none(),
            map: loader::e820(&machine),
            reserve: early.then_some(rom_piece),
            wiring,
        }),
        entry,
        arriving,
        video: shown,
        serial: serial.clone(),
        bus,
        known,
        drives: Some(DriveParts {
            second_floppy: config.hvm.second_floppy,
            usb: usb_disks,
            dma,
        }),
    })?;
    let mut about = About {
        name: config.name.clone(),
        uuid: hyphened(config.uuid),
        ..About::default()
    };
    let viewers = match (&config.hvm.display, files.vnc) {
        (Some(Display { vnc: Some(vnc), .. }), Some(listener)) => {
            let kept = listener.try_clone().map_err(|source| HvmError::Os {
                what: "keep the socket of its viewers",
                source,
            })?;
            machine.set_viewers(kept.into());
            let shown = show(&vnc.how, listener, machine.pc(), behind, &mut about);
            Some(shown.map_err(HvmError::Display)?)
        }
        _ => None,
    };
    machine.pc().hub().log.line(
        Level::Info,
        format_args!(
            "built: firmware {}, {} bytes",
            config.hvm.bios_path,
            image.len()
        ),
    );
    machine.tell_of_it(about);
    Ok(Domain {
        machine,
        serial,
        viewers,
    })
}

/// Puts what runs before the BIOS into memory, with what it finds there; where it begins.
fn load_loader(
    config: &Config,
    file: &File,
    machine: &Machine,
    bios: &[u8],
    memory: &GuestMemory,
) -> Result<Flat, HvmError> {
    let given = config.hvm.loader.as_ref();
    let path = || given.map_or(String::new(), |loader| loader.path.clone());
    let refused = |source| HvmError::LoaderImage {
        path: path(),
        source,
    };
    let (image, elf) = load_loader_file(file).map_err(refused)?;
    let start = loader::start(machine, image.start()..image.end(), bios);
    let start = start.map_err(|source| HvmError::Loader {
        path: path(),
        source,
    })?;
    for segment in &image.segments {
        load(memory, &elf, segment).map_err(|source| HvmError::LoaderFile {
            path: path(),
            source,
        })?;
    }
    for placed in &start.placed {
        write(memory, placed)?;
    }
    Ok(Flat {
        eip: image.entry,
        ebx: start.info,
    })
}

/// Leaves of Microsoft's hypervisor, if the guest is to find it.
fn hyperv_leaves(kvm: &Kvm, hvm: &Hvm) -> Result<Vec<kvm_cpuid_entry2>, HvmError> {
    if !hvm.cpu.viridian {
        return Ok(Vec::new());
    }
    if hvm.xen {
        return Err(HvmError::Both);
    }
    let leaves = hyperv::leaves(&hyperv::supported(kvm).map_err(HvmError::Viridian)?);
    match leaves.is_empty() {
        true => Err(HvmError::Viridian(kvm_ioctls::Error::new(libc::ENOTSUP))),
        false => Ok(leaves),
    }
}

/// The display's memory and its BIOS.
fn video(display: &Display, bios: Option<File>) -> Result<(Arc<Video>, Vec<u8>), HvmError> {
    let bytes = u64::from(display.memory_mib) << 20;
    let fits = match display.adapter {
        Adapter::Standard => vga::MEMORY.contains(&bytes) && bytes.is_power_of_two(),
        Adapter::Cirrus => bytes == cirrus::MEMORY,
    };
    if !fits {
        return Err(HvmError::VideoMemory(display.memory_mib));
    }
    let memory = Video::new(bytes as usize).map_err(|source| HvmError::Os {
        what: "map the display's memory",
        source,
    })?;
    let mut rom = Vec::new();
    if let Some(file) = bios {
        let read = file.take(MAX_ROM + 1).read_to_end(&mut rom);
        read.map_err(|source| HvmError::BiosFile {
            path: display.bios_path.clone(),
            source,
        })?;
        if rom.len() as u64 > MAX_ROM || !rom.starts_with(&[0x55, 0xaa]) {
            return Err(HvmError::Display(format!(
                "{} is no option ROM of at most {MAX_ROM} bytes (it begins with 55 aa)",
                display.bios_path
            )));
        }
    }
    Ok((memory, rom))
}

/// What viewers find behind the guest's screen.
struct Behind {
    /// The monitor window.
    monitor: bool,
    /// COM1, with its number on the bus.
    serial: Option<(Arc<Line>, usize)>,
}

/// Shows the display of `pc`, and text windows behind it, to those who connect to `listener`.
fn show(
    how: &VncSpec,
    listener: TcpListener,
    pc: &Arc<Pc>,
    behind: Behind,
    about: &mut About,
) -> Result<Viewers, String> {
    let house = viewers::house(how)?;
    about.book = Some(house.book.clone());
    let [monitor, port] = [Console::new(), Console::new()];
    match behind.monitor {
        true => {
            let hub = pc.hub().clone();
            about.prompt = Some(Prompt::new(monitor.clone(), move || hub.wake()));
        }
        false => monitor.write(NO_MONITOR),
    }
    match behind.serial {
        Some((line, number)) => {
            line.show();
            let (shown, pc) = (line.clone(), pc.clone());
            port.show_from(Box::new(move || shown.take_shown()));
            port.type_into(Box::new(move |bytes| {
                line.type_in(bytes);
                pc.attend(number);
            }));
        }
        None => port.write(NO_SERIAL),
    }
    let windows = Windows::new(Arc::new(Screen::new(pc.clone())), vec![monitor, port]);
    let fingers = Box::new(Fingers(pc.clone()));
    let hands = Hands::new(windows.clone(), fingers, house.settings.layout);
    let hub = pc.hub().clone();
    Viewers::start(
        "vnc".into(),
        listener,
        house,
        windows,
        Box::new(hands),
        Box::new(move |level, line| hub.log.guest_line(level, line)),
    )
    .map_err(|error| format!("VNC: {error}"))
}

const NO_MONITOR: &[u8] =
    b"This domain has no monitor; monitor = 1 in its configuration gives it one.\r\n";
const NO_SERIAL: &[u8] =
    b"This domain has no serial port; serial = 'pty' in its configuration gives it one.\r\n";

/// A UUID as it is written.
fn hyphened(uuid: [u8; 16]) -> String {
    let digits =
        |bytes: &[u8]| -> String { bytes.iter().map(|byte| format!("{byte:02x}")).collect() };
    [0..4, 4..6, 6..8, 8..10, 10..16]
        .map(|part| digits(&uuid[part]))
        .join("-")
}

fn boot_order(text: &str) -> Result<Vec<Boot>, HvmError> {
    let letters = text.chars().map(Boot::of);
    letters
        .collect::<Option<Vec<Boot>>>()
        .ok_or_else(|| HvmError::Boot(text.into()))
}

fn read_bios(file: &File, path: &str) -> Result<Vec<u8>, HvmError> {
    let mut image = Vec::new();
    // One byte more than there may be, so that a longer file is not taken for a whole one.
    let most = *bios::SIZES.end() as u64 + 1;
    file.take(most)
        .read_to_end(&mut image)
        .map_err(|source| HvmError::BiosFile {
            path: path.into(),
            source,
        })?;
    Ok(image)
}

fn now_seconds() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| i64::try_from(now.as_secs()).unwrap_or(i64::MAX))
}

/// Puts bytes into memory.
pub(super) fn write(memory: &GuestMemory, placed: &Placed) -> Result<(), HvmError> {
    memory
        .write_slice(&placed.bytes, GuestAddress(placed.address))
        .map_err(|_| HvmError::Outside {
            what: placed.address,
            length: placed.bytes.len(),
        })
}

/// What KVM is told: RAM without the display's window, and the BIOS, if there is one, which can only be read.
fn slots(all: &[Slot], rom: Option<Piece>) -> Vec<(Slot, bool)> {
    let part = |slot: &Slot, first: u64, end: u64| Slot {
        piece: Piece {
            gpa: first,
            len: end - first,
        },
        hva: slot.hva + (first - slot.piece.gpa),
    };
    let mut told = Vec::new();
    for slot in all {
        let end = slot.piece.gpa + slot.piece.len;
        if slot.piece.gpa == 0 && end > DISPLAY.end {
            told.push((part(slot, 0, DISPLAY.start), false));
            told.push((part(slot, DISPLAY.end, end), false));
        } else {
            told.push((*slot, Some(slot.piece) == rom));
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_is_cut_out_and_the_bios_is_read_only() {
        let slot = |gpa, len, hva| Slot {
            piece: Piece { gpa, len },
            hva,
        };
        let rom = slot(0xfffc_0000, 0x4_0000, 0x7000_0000);
        let told = slots(&[slot(0, 0x100_0000, 0x1000_0000), rom], Some(rom.piece));
        assert_eq!(
            told,
            [
                (slot(0, 0xa_0000, 0x1000_0000), false),
                (slot(0xc_0000, 0xf4_0000, 0x100c_0000), false),
                (rom, true),
            ]
        );
    }

    #[test]
    fn boot_order_takes_its_four_letters() {
        let order = boot_order("dca").unwrap();
        assert_eq!(order, [Boot::Cd, Boot::Disk, Boot::Floppy]);
        let error = boot_order("cx").unwrap_err().to_string();
        assert!(error.contains("'cx'"), "{error}");
    }
}
