//! Builds a PV domain: from a config and open files to a machine that stands before its first
//! instruction.
//!
//! ```text
//!   config, kernel (its width), ramdisk --> plan (all size errors) --> memory --> builder writes the guest
//!       --> monitor region: image, page tables, MonInfo, CPUID table, M2P --> VM, channels, vCPUs
//! ```

use crate::domain::assemble::{self, Assembly};
use crate::domain::handover::{self, BuilderMemory, Facts};
use crate::domain::host_clock::{self, ClockSources};
use crate::domain::image::{Image, ImageError};
use crate::domain::kernel_file::{self, Mapped};
use crate::domain::laps::Laps;
use crate::domain::machine::{Constants, Machine};
use crate::domain::paging::{self, PagingError};
use crate::domain::region::{self, Needs, Region};
use crate::domain::time::scale;
use crate::log::{Level, Log};
use crate::vstate::cpuid::{HostCpuid, PvParameters};
use crate::vstate::features;
use crate::vstate::irq::{Channel, ChannelError, Links};
use crate::vstate::memory::{DomainMemory, GuestMemory, MemoryError};
use crate::vstate::vcpu::{StartState, Vcpu, VcpuError};
use crate::vstate::vm::{Vm, VmError};
use kvm_ioctls::{Kvm, VcpuFd};
use noxen_domain_builder::{BuildError, OutsideMemory, PvLayout, Ramdisk};
use noxen_kernel_image::{Class, Kernel, KernelError, Room};
use noxen_monitor_abi::layout::{ABI_VERSION, DIRECT_MAP_VA, MAX_VCPUS};
use noxen_saved_image::state;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use vm_memory::GuestAddress;

/// Event-channel ports that every domain starts with, bound to domain 0.
pub const STORE_PORT: u32 = 1;
/// See [`STORE_PORT`].
pub const CONSOLE_PORT: u32 = 2;
/// Number of the rule by which the monitor's region is laid out ([`Region::plan`], the constants of `region` and of
/// `noxen_monitor_abi::layout`): it rises when images of before can no longer be laid out by it.
pub const LAYOUT: u32 = 1;
/// Bytes of a ramdisk that are read at a time where it cannot be mapped.
const BUFFER: usize = 256 << 10;
/// The Xen that guests are told of: 4.17.
pub const XEN_VERSION: u32 = 4 << 16 | 17;

/// What the administrator decided.
#[derive(Debug, Clone)]
pub struct Config {
    /// Domain id.
    pub domid: u32,
    /// 128-bit id.
    pub uuid: [u8; 16],
    /// Memory at start, MiB.
    pub memory_mib: u64,
    /// Most memory, MiB.
    pub maxmem_mib: u64,
    /// vCPUs.
    pub vcpus: u32,
    /// Kernel path, for messages.
    pub kernel_path: String,
    /// Kernel command line.
    pub cmdline: String,
    /// Shorten the start of kernels we know (noxen-domain-builder, `tune`).
    pub tune: bool,
}

/// Open files that the domain is built from.
#[derive(Debug)]
pub struct Files<'a> {
    /// /dev/kvm.
    pub kvm: &'a Kvm,
    /// Kernel image.
    pub kernel: File,
    /// Empty file that is to hold the ELF of a packed kernel.
    pub unpacked: Option<File>,
    /// Ramdisk.
    pub ramdisk: Option<File>,
    /// Empty file with huge pages, if there is one.
    pub ram: Option<File>,
    /// The monitor's ELF.
    pub monitor: &'a [u8],
}

/// Why a domain could not be built.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // The messages say it.
pub enum PvError {
    #[error("vcpus = {0}: a domain has 1 to {MAX_VCPUS}")]
    Vcpus(u32),
    #[error("memory = {asked} MiB: this host has {host} MiB in all")]
    HostMemory { asked: u64, host: u64 },
    #[error("kernel {path}: {source}")]
    Kernel { path: String, source: KernelError },
    #[error("cannot use the ramdisk: {0}")]
    Ramdisk(io::Error),
    #[error("kernel {path}: {source}")]
    Build { path: String, source: BuildError },
    #[error(transparent)]
    Layout(#[from] region::TooLarge),
    #[error(transparent)]
    Memory(#[from] MemoryError),
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error(transparent)]
    Paging(#[from] PagingError),
    #[error("{0}; this is a fault of noxen-vmm")]
    Outside(#[from] OutsideMemory),
    #[error(transparent)]
    Vm(#[from] VmError),
    #[error(transparent)]
    Vcpu(#[from] VcpuError),
    #[error(transparent)]
    Channel(#[from] ChannelError),
    #[error("cannot {what}: {source}")]
    Os {
        what: &'static str,
        source: io::Error,
    },
    #[error("KVM refused to {what}: {source}")]
    Kvm {
        what: &'static str,
        source: kvm_ioctls::Error,
    },
}

/// A built domain and its way to the back ends.
#[derive(Debug)]
pub struct Domain {
    /// The machine, paused.
    pub machine: Machine,
    /// The VM.
    pub vm: Arc<Vm>,
    /// Its event channels.
    pub links: Arc<dyn Links>,
    /// The console's port.
    pub console: Channel,
    /// Guest-physical address of the console ring.
    pub console_page: GuestAddress,
    /// The store's port.
    pub store: Channel,
    /// Guest-physical address of the xenstore ring.
    pub store_page: GuestAddress,
}

/// Builds the domain; nothing is left behind on failure but this process' own memory.
pub fn build(
    config: &Config,
    mut files: Files<'_>,
    log: Log,
    echo: Option<File>,
) -> Result<Domain, PvError> {
    let mut laps = Laps::start(Instant::now());
    assemble::check(config.vcpus, config.memory_mib)?;
    let distrust =
        ClockSources::read().and_then(|clocks| host_clock::distrusted_tsc(&clocks, config.vcpus));
    if let Some(text) = distrust {
        log.line(Level::Warning, text);
    }
    let image = Image::parse(files.monitor)?;
    let nr_pages = config.memory_mib << 8;
    let max_pages = config.maxmem_mib.max(config.memory_mib) << 8;
    let kernel =
        kernel_file::load(&files.kernel, files.unpacked.take(), &log).map_err(|source| {
            PvError::Kernel {
                path: config.kernel_path.clone(),
                source,
            }
        })?;
    laps.lap("kernel file", Instant::now());
    let bits32 = kernel.image.class == Class::Elf32;
    let region = Region::plan(Needs {
        max_pages,
        vcpus: config.vcpus,
        image_size: image.size(),
        bits32,
    })?;
    let ram = region::ram_pieces(max_pages);
    let memory = DomainMemory::new(files.ram.take(), &ram, region.piece())?;
    laps.lap("memory", Instant::now());
    handover::load_monitor(&memory.map, &region, &image)?;
    paging::build(&memory.map, &region, &image, config.vcpus, &ram)?;
    laps.lap("monitor", Instant::now());
    let layout = load_guest(
        config,
        &kernel,
        files.ramdisk.take(),
        &memory.map,
        &region,
        nr_pages,
        max_pages,
    )?;
    drop(kernel);
    laps.lap("guest", Instant::now());
    handover::fill_m2p(&memory.map, &region, nr_pages)?;
    laps.lap("m2p", Instant::now());

    let vm = Arc::new(Vm::create(files.kvm, &memory)?);
    let host = assemble::host_cpuid(files.kvm)?;
    let fds = (0..config.vcpus)
        .map(|id| vm.create_vcpu(id))
        .collect::<Result<Vec<_>, _>>()?;
    let tsc_khz = assemble::tsc_khz(&fds)?;
    let clock = scale(u64::from(tsc_khz));
    let boot_time = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    let parameters = PvParameters {
        bits32,
        xen_version: XEN_VERSION,
        tsc_khz,
        tsc_mul: clock.mul,
        tsc_shift: clock.shift,
    };
    let table = host.pv_table(parameters);
    handover::write_cpuid(&memory.map, &region, &table)?;
    handover::init_shared_pages(&memory.map, &region, &layout, boot_time)?;
    let info = Facts {
        config,
        region: &region,
        layout: &layout,
        nr_pages,
        max_pages,
        tsc_khz,
        clock,
        boot_time,
        nr_cpuid: table.len() as u32,
        host: &host,
    }
    .mon_info();
    handover::write_info(&memory.map, region.info, &info)?;

    laps.lap("kvm", Instant::now());
    let constants = Constants {
        domain: state::Domain {
            domid: config.domid,
            boot_pages: nr_pages,
            max_pages,
            vcpus: config.vcpus,
            bits32,
            layout: LAYOUT,
            image_size: image.size(),
            region_size: region.size,
            monitor_abi: ABI_VERSION,
            store_mfn: layout.store_mfn(),
            console_mfn: layout.console_mfn(),
            features: features::of(&table),
        },
        tsc_khz,
        msrs: assemble::msrs(files.kvm)?,
    };
    let assembly = Assembly {
        domid: config.domid,
        vm,
        memory: &memory,
        region,
        vcpus: start_vcpus(fds, &host, parameters, image.entry, &region)?,
        constants,
        log,
        echo,
    };
    let domain = assembly.finish()?;
    laps.lap("vcpus", Instant::now());
    let log = &domain.machine.shared().log;
    log.line(Level::Info, format_args!("built in {laps}"));
    Ok(domain)
}

/// Gives the vCPUs their start state.
fn start_vcpus(
    fds: Vec<VcpuFd>,
    host: &HostCpuid,
    parameters: PvParameters,
    entry: u64,
    region: &Region,
) -> Result<Vec<Vcpu>, PvError> {
    let mut vcpus = Vec::new();
    for (id, fd) in (0..).zip(fds) {
        let cpuid = assemble::vcpu_cpuid(host, id, parameters)?;
        let start = StartState {
            id,
            rip: entry,
            cr3: region.tables.l4,
            cr4: host.cr4(),
            xcr0: host.xcr0_mask(),
            mon_info: DIRECT_MAP_VA + region.info,
        };
        vcpus.push(Vcpu::new(fd, &cpuid, start)?);
    }
    Ok(vcpus)
}

/// Reads kernel and ramdisk into the guest.
fn load_guest(
    config: &Config,
    kernel: &Kernel<'_>,
    mut ramdisk: Option<File>,
    memory: &GuestMemory,
    region: &Region,
    nr_pages: u64,
    max_pages: u64,
) -> Result<PvLayout, PvError> {
    let ramdisk_len = match &mut ramdisk {
        Some(file) => ramdisk_len(file).map_err(PvError::Ramdisk)?,
        None => 0,
    };
    let spec = noxen_domain_builder::DomainSpec {
        nr_pages,
        max_pages,
        ramdisk_len,
        cmdline: config.cmdline.as_bytes(),
        shared_info_gpa: region.shared_info,
        console_port: CONSOLE_PORT,
        store_port: STORE_PORT,
        flags: 0,
        monitor_slots: paging::slots(memory, region)?,
        tune: config.tune,
    };
    let failed = |source| PvError::Build {
        path: config.kernel_path.clone(),
        source,
    };
    let layout = noxen_domain_builder::plan(&kernel.image, &spec).map_err(failed)?;
    // Read through a buffer it would be copied twice. What cannot be mapped still is.
    let mapped = ramdisk
        .as_ref()
        .and_then(|file| Mapped::of(file, ramdisk_len).ok());
    let mut reader = ramdisk.as_ref().map(|file| -> Box<dyn BufRead> {
        match &mapped {
            Some(mapped) => Box::new(mapped.bytes()),
            None => Box::new(BufReader::with_capacity(BUFFER, file)),
        }
    });
    let ramdisk = reader.as_mut().map(|reader| Ramdisk {
        len: ramdisk_len,
        reader,
    });
    layout
        .write(
            &kernel.image,
            &kernel.elf,
            ramdisk,
            &spec,
            &mut BuilderMemory(memory),
        )
        .map_err(failed)?;
    Ok(layout)
}

/// Bytes of a ramdisk, whose position is then at its start.
fn ramdisk_len(file: &mut File) -> io::Result<u64> {
    let about = file.metadata()?;
    if !about.is_file() {
        // A device or a pipe may never end.
        return Err(io::Error::other("it is not a regular file"));
    }
    file.rewind()?;
    Ok(about.len())
}

#[cfg(test)]
#[path = "pv_tests.rs"]
mod tests;
