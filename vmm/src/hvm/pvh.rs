//! Builds a PVH domain: a kernel that is entered by its PVH entry, on a machine without firmware, whose devices are Xen's.
//!
//! ```text
//!   memory:  0 .. kernel | start info | ramdisk .. low RAM | hole: ACPI tables (read-only), Xen's pages | high RAM
//!   vCPU 0:  32-bit protected mode, no paging, EIP at PHYS32_ENTRY, EBX at the start info; the others wait for INIT and SIPI
//! ```
//! The guest is told of local APICs alone; KVM's other interrupt controllers are there, as in a PC, and nobody uses them.

use crate::domain::kernel_file::load_pvh;
use crate::domain::{assemble, region};
use crate::hvm::build::{write, Domain, HvmError};
use crate::hvm::lines::Wiring;
use crate::hvm::raise::{raise, Front};
use crate::hvm::registry;
use crate::hvm::xen::domain::Drivers;
use crate::log::{Level, Log};
use crate::vstate::cpuid::HvmCpu;
use crate::vstate::memory::{DomainMemory, GuestMemory, Piece};
use crate::vstate::vcpu::Flat;
use kvm_ioctls::Kvm;
use noxen_control::spec::Pvh;
use noxen_hvmloader::pvh::{self, ACPI, ACPI_ROOM};
use noxen_hvmloader::{acpi, Machine, HIGH};
use noxen_kernel_image::{Segment, Source};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use vm_memory::{Bytes, GuestAddress};

/// What is copied into guest memory at once, bytes.
const CHUNK: usize = 1 << 20;

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
    /// Path of the kernel, for messages.
    pub kernel_path: String,
    /// Command line.
    pub cmdline: String,
    /// The machine.
    pub pvh: Pvh,
}

/// Open files that the domain is built from.
#[derive(Debug)]
pub struct Files<'a> {
    /// /dev/kvm.
    pub kvm: &'a Kvm,
    /// Empty file with huge pages, if there is one.
    pub ram: Option<File>,
    /// Kernel.
    pub kernel: File,
    /// Empty file for the ELF of a packed one, which is kept.
    pub unpacked: Option<File>,
    /// Ramdisk.
    pub ramdisk: Option<File>,
}

/// Builds the domain; nothing is left behind on failure but this process' own memory.
pub fn build(config: &Config, files: Files<'_>, log: Log) -> Result<Domain, HvmError> {
    assemble::check(config.vcpus, config.memory_mib)?;
    let refused = |source| HvmError::Kernel {
        path: config.kernel_path.clone(),
        source,
    };
    let (image, elf) = load_pvh(&files.kernel, files.unpacked, &log).map_err(refused)?;
    let ram = region::ram_pieces(config.memory_mib << 8);
    let size = |first: u64| {
        let piece = ram.iter().find(|piece| piece.gpa == first);
        piece.map_or(0, |piece| piece.len)
    };
    let machine = Machine {
        low: size(0),
        high: size(HIGH),
        vcpus: config.vcpus,
        present: u64::MAX,
        sleeps: false,
        acpi: config.pvh.acpi,
        apic: true,
        hpet: false,
        uuid: config.uuid,
        name: config.name.clone(),
    };
    let ramdisk = match &files.ramdisk {
        Some(file) => file.metadata().map_err(HvmError::Ramdisk)?.len(),
        None => 0,
    };
    let rsdp = if machine.acpi { ACPI } else { 0 };
    let start = pvh::start(&machine, image.end(), ramdisk, &config.cmdline, rsdp)?;
    let region = Piece {
        gpa: ACPI,
        len: ACPI_ROOM,
    };
    let memory = DomainMemory::new(files.ram, &ram, region)?;
    for segment in &image.segments {
        load(&memory.map, &elf, segment).map_err(|source| HvmError::KernelFile {
            path: config.kernel_path.clone(),
            source,
        })?;
    }
    if let Some(mut file) = files.ramdisk {
        copy(&memory.map, start.ramdisk, &mut file, ramdisk).map_err(HvmError::Ramdisk)?;
    }
    write(&memory.map, &start.info)?;
    if machine.acpi {
        write(&memory.map, &acpi::reduced(&machine, ACPI))?;
    }
    let slots = memory.slots.iter();
    let machine = raise(Front {
        kvm: files.kvm,
        log,
        domid: config.domid,
        uuid: config.uuid,
        memory_mib: config.memory_mib,
        vcpus: config.vcpus,
        cpu: HvmCpu {
            pae: true,
            apic: true,
            apic_step: 1,
            cpu: &config.pvh.cpu,
            hyperv: &[],
            xen: None,
        },
        slots: slots.map(|slot| (*slot, slot.piece == region)).collect(),
        memory,
        region,
        one_late_tick: false,
        wiring: Wiring::Usual,
        xen: Some(Drivers {
            console: true,
            ..Drivers::default()
        }),
        entry: Some(Flat {
            eip: image.entry,
            // Below the end of low RAM.
            ebx: start.info.address as u32,
        }),
        arriving: None,
        video: None,
        serial: None,
        bus: registry::without_a_pc(),
        known: registry::Known::default(),
        drives: None,
    })?;
    machine.pc().hub().log.line(
        Level::Info,
        format_args!("built: PVH entry at {:#x}", image.entry),
    );
    Ok(Domain {
        machine,
        serial: None,
        viewers: None,
    })
}

/// Puts what the file has of a segment into memory, which reads as zero until then.
pub(super) fn load(memory: &GuestMemory, elf: &dyn Source, segment: &Segment) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK.min(segment.file.len())];
    let mut done = 0;
    while done < segment.file.len() {
        let part = chunk.len().min(segment.file.len() - done);
        elf.read_at((segment.file.start + done) as u64, &mut chunk[..part])?;
        memory
            .write_slice(&chunk[..part], GuestAddress(segment.offset + done as u64))
            .map_err(io::Error::other)?;
        done += part;
    }
    Ok(())
}

/// Copies `length` bytes of `file` into memory.
pub(super) fn copy(memory: &GuestMemory, at: u64, file: &mut File, length: u64) -> io::Result<()> {
    file.seek(SeekFrom::Start(0))?;
    let mut chunk = vec![0; CHUNK];
    let mut done = 0;
    while done < length {
        let part = chunk.len().min((length - done) as usize);
        file.read_exact(&mut chunk[..part])?;
        memory
            .write_slice(&chunk[..part], GuestAddress(at + done))
            .map_err(io::Error::other)?;
        done += part as u64;
    }
    Ok(())
}
