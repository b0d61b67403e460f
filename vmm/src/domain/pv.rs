//! Builds a PV domain: from a config and open files to a machine that stands before its first
//! instruction.
//!
//! ```text
//!   config, kernel (its width), ramdisk --> plan (all size errors) --> memory --> builder writes the guest
//!       --> monitor region: image, page tables, MonInfo, CPUID table, M2P --> VM, channels, vCPUs
//! ```

use crate::domain::calls::Shared;
use crate::domain::handover::{self, BuilderMemory, Facts};
use crate::domain::host_clock::{self, ClockSources};
use crate::domain::image::{Image, ImageError};
use crate::domain::kernel_file;
use crate::domain::laps::Laps;
use crate::domain::machine::{Identity, Machine};
use crate::domain::paging::{self, PagingError};
use crate::domain::region::{self, Needs, Region};
use crate::domain::runner;
use crate::domain::time::scale;
use crate::log::{Level, Log};
use crate::vstate::cpuid::{HostCpuid, PvParameters};
use crate::vstate::irq::{Channel, ChannelError, Doorbell};
use crate::vstate::memory::{DomainMemory, GuestMemory, MemoryError};
use crate::vstate::vcpu::{install_kick_handler, StartState, Vcpu, VcpuError};
use crate::vstate::vm::{Vm, VmError};
use kvm_bindings::KVM_MAX_CPUID_ENTRIES;
use kvm_ioctls::{Kvm, VcpuFd};
use noxen_domain_builder::{BuildError, OutsideMemory, PvLayout, Ramdisk};
use noxen_kernel_image::{Class, Kernel, KernelError};
use noxen_monitor_abi::layout::{DIRECT_MAP_VA, MAX_VCPUS, PAGE_SIZE};
use std::fs::File;
use std::io::{self, Seek};
use std::sync::mpsc::channel;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use vm_memory::GuestAddress;
use vmm_sys_util::eventfd::{EventFd, EFD_NONBLOCK};

/// Event-channel ports that every domain starts with, bound to domain 0.
pub const STORE_PORT: u32 = 1;
/// See [`STORE_PORT`].
pub const CONSOLE_PORT: u32 = 2;
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
    /// The VM; ports are bound with it.
    pub vm: Arc<Vm>,
    /// Rings the guest.
    pub doorbell: Doorbell,
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
    check(config)?;
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
    let host = host_cpuid(files.kvm)?;
    let fds = (0..config.vcpus)
        .map(|id| vm.create_vcpu(id))
        .collect::<Result<Vec<_>, _>>()?;
    let tsc_khz = tsc_khz(&fds)?;
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

    let line = eventfd()?;
    vm.doorbell_by(&line)?;
    let doorbell = Doorbell::new(memory.map.clone(), region.doorbell, line)?;
    let console = Channel::bind(&vm, &doorbell, CONSOLE_PORT)?;
    let store = Channel::bind(&vm, &doorbell, STORE_PORT)?;

    laps.lap("kvm", Instant::now());
    let (sender, reports) = channel();
    let shared = Arc::new(Shared::new(
        log,
        memory.map.clone(),
        memory.ram_file.clone(),
        region,
        max_pages,
        echo,
        sender,
        eventfd()?,
    ));
    let vcpus = start_vcpus(fds, &host, parameters, image.entry, &shared)?;
    laps.lap("vcpus", Instant::now());
    shared
        .log
        .line(Level::Info, format_args!("built in {laps}"));
    let identity = Identity {
        domid: config.domid,
        memory_kib: config.memory_mib << 10,
        console_tty: String::new(),
        store_mfn: layout.store_mfn(),
        store_port: STORE_PORT,
        console_mfn: layout.console_mfn(),
        console_port: CONSOLE_PORT,
    };
    Ok(Domain {
        machine: Machine::new(identity, vcpus, shared, reports, doorbell.clone()),
        vm,
        doorbell,
        console,
        console_page: GuestAddress(layout.console_mfn() * PAGE_SIZE),
        store,
        store_page: GuestAddress(layout.store_mfn() * PAGE_SIZE),
    })
}

fn check(config: &Config) -> Result<(), PvError> {
    if config.vcpus == 0 || config.vcpus as usize > MAX_VCPUS {
        return Err(PvError::Vcpus(config.vcpus));
    }
    let info = rustix::system::sysinfo();
    let host = (info.totalram as u64).saturating_mul(u64::from(info.mem_unit)) >> 20;
    if config.memory_mib > host {
        return Err(PvError::HostMemory {
            asked: config.memory_mib,
            host,
        });
    }
    Ok(())
}

fn host_cpuid(kvm: &Kvm) -> Result<HostCpuid, PvError> {
    let supported = kvm
        .get_supported_cpuid(KVM_MAX_CPUID_ENTRIES)
        .map_err(|source| PvError::Kvm {
            what: "tell its CPUID",
            source,
        })?;
    Ok(HostCpuid::new(&supported))
}

fn tsc_khz(fds: &[VcpuFd]) -> Result<u32, PvError> {
    match fds.first().map(VcpuFd::get_tsc_khz) {
        Some(Ok(khz)) if khz > 0 => Ok(khz),
        other => {
            let source = other.and_then(Result::err);
            Err(PvError::Kvm {
                what: "tell the TSC frequency",
                source: source.unwrap_or(kvm_ioctls::Error::new(libc::EINVAL)),
            })
        }
    }
}

/// Gives the vCPUs their start state and each a thread, paused.
fn start_vcpus(
    fds: Vec<VcpuFd>,
    host: &HostCpuid,
    parameters: PvParameters,
    entry: u64,
    shared: &Arc<Shared>,
) -> Result<Vec<runner::Handle>, PvError> {
    install_kick_handler().map_err(|source| PvError::Os {
        what: "install the handler of the kick signal",
        source,
    })?;
    let mut vcpus = Vec::new();
    for (id, fd) in (0..).zip(fds) {
        let cpuid = host.for_kvm(id, parameters).ok_or(PvError::Kvm {
            what: "take so many CPUID leaves",
            source: kvm_ioctls::Error::new(libc::E2BIG),
        })?;
        let start = StartState {
            id,
            rip: entry,
            cr3: shared.region.tables.l4,
            cr4: host.cr4(),
            xcr0: host.xcr0_mask(),
            mon_info: DIRECT_MAP_VA + shared.region.info,
        };
        let vcpu = Vcpu::new(fd, &cpuid, start)?;
        let handle = runner::spawn(vcpu, shared.clone()).map_err(|source| PvError::Os {
            what: "start a vCPU thread",
            source,
        })?;
        vcpus.push(handle);
    }
    Ok(vcpus)
}

fn eventfd() -> Result<EventFd, PvError> {
    EventFd::new(EFD_NONBLOCK).map_err(|source| PvError::Os {
        what: "make an eventfd",
        source,
    })
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
    let ramdisk = ramdisk.as_mut().map(|file| Ramdisk {
        len: ramdisk_len,
        reader: file,
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
