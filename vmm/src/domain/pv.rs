//! Builds a PV domain: from a config and open files to a machine that stands before its first
//! instruction.
//!
//! ```text
//!   config, kernel, ramdisk --> plan (all size errors) --> memory --> builder writes the guest
//!       --> monitor region: image, page tables, MonInfo, CPUID table, M2P --> VM, channels, vCPUs
//! ```

use crate::domain::calls::Shared;
use crate::domain::image::{Image, ImageError};
use crate::domain::machine::{Identity, Machine};
use crate::domain::paging::{self, PagingError};
use crate::domain::region::{self, Needs, Region};
use crate::domain::runner;
use crate::domain::time::{scale, Scale};
use crate::domain::unpacked;
use crate::log::Log;
use crate::vstate::cpuid::{HostCpuid, PvParameters};
use crate::vstate::irq::{Channel, ChannelError, Doorbell};
use crate::vstate::memory::{DomainMemory, GuestMemory, MemoryError};
use crate::vstate::vcpu::{install_kick_handler, StartState, Vcpu, VcpuError};
use crate::vstate::vm::{Vm, VmError};
use kvm_bindings::KVM_MAX_CPUID_ENTRIES;
use kvm_ioctls::Kvm;
use noxen_domain_builder::{BuildError, OutsideMemory, PvLayout, Ramdisk};
use noxen_kernel_image::KernelError;
use noxen_monitor_abi::layout::{
    mfn_of_pfn, ABI_VERSION, DIRECT_MAP_VA, MAGIC, MAX_VCPUS, PAGE_SIZE,
};
use noxen_monitor_abi::{CpuidEntry, MonInfo};
use std::fs::File;
use std::io::{self, Seek};
use std::sync::mpsc::channel;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use vm_memory::{Bytes, GuestAddress};
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
    pub vm: Vm,
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

/// noxen-vmm's memory as the builder wants it.
struct BuilderMemory<'a>(&'a GuestMemory);

impl noxen_domain_builder::GuestMemory for BuilderMemory<'_> {
    fn write(&mut self, gpa: u64, bytes: &[u8]) -> Result<(), OutsideMemory> {
        self.0
            .write_slice(bytes, GuestAddress(gpa))
            .map_err(|_| OutsideMemory {
                gpa,
                len: bytes.len(),
            })
    }
}

/// Builds the domain; nothing is left behind on failure but this process' own memory.
pub fn build(
    config: &Config,
    mut files: Files<'_>,
    log: Log,
    echo: Option<File>,
) -> Result<Domain, PvError> {
    check(config)?;
    let image = Image::parse(files.monitor)?;
    let nr_pages = config.memory_mib << 8;
    let max_pages = config.maxmem_mib.max(config.memory_mib) << 8;
    let region = Region::plan(Needs {
        max_pages,
        vcpus: config.vcpus,
        image_size: image.size(),
    })?;
    let ram = region::ram_pieces(max_pages);
    let memory = DomainMemory::new(files.ram.take(), &ram, region.piece())?;
    load_monitor(&memory.map, &region, &image)?;
    paging::build(&memory.map, &region, &image, config.vcpus, &ram)?;
    let layout = load_guest(
        config,
        &mut files,
        &log,
        &memory.map,
        &region,
        nr_pages,
        max_pages,
    )?;
    fill_m2p(&memory.map, &region, nr_pages)?;

    let vm = Vm::create(files.kvm, &memory)?;
    let supported = files
        .kvm
        .get_supported_cpuid(KVM_MAX_CPUID_ENTRIES)
        .map_err(|source| PvError::Kvm {
            what: "tell its CPUID",
            source,
        })?;
    let host = HostCpuid::new(&supported);
    let fds = (0..config.vcpus)
        .map(|id| vm.create_vcpu(id))
        .collect::<Result<Vec<_>, _>>()?;
    let tsc_khz = match fds.first().map(|fd| fd.get_tsc_khz()) {
        Some(Ok(khz)) if khz > 0 => khz,
        other => {
            let source = other.and_then(Result::err);
            return Err(PvError::Kvm {
                what: "tell the TSC frequency",
                source: source.unwrap_or(kvm_ioctls::Error::new(libc::EINVAL)),
            });
        }
    };
    let clock = scale(u64::from(tsc_khz));
    let boot_time = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    let table = host.pv_table(PvParameters {
        xen_version: XEN_VERSION,
        tsc_khz,
        tsc_mul: clock.mul,
        tsc_shift: clock.shift,
    });
    write_cpuid(&memory.map, &region, &table)?;
    init_shared_pages(&memory.map, &region, &layout, boot_time)?;
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
    write_info(&memory.map, region.info, &info)?;

    let line = eventfd()?;
    vm.doorbell_by(&line)?;
    let doorbell = Doorbell::new(memory.map.clone(), region.doorbell, line)?;
    let console = Channel::bind(&vm, &doorbell, CONSOLE_PORT)?;
    let store = Channel::bind(&vm, &doorbell, STORE_PORT)?;

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
    install_kick_handler().map_err(|source| PvError::Os {
        what: "install the handler of the kick signal",
        source,
    })?;
    let mut vcpus = Vec::new();
    for (id, fd) in (0..).zip(fds) {
        let cpuid = host.for_kvm(id).ok_or(PvError::Kvm {
            what: "take so many CPUID leaves",
            source: kvm_ioctls::Error::new(libc::E2BIG),
        })?;
        let start = StartState {
            id,
            rip: image.entry,
            cr3: region.tables.l4,
            cr4: host.cr4(),
            xcr0: host.xcr0_mask(),
            mon_info: DIRECT_MAP_VA + region.info,
        };
        let vcpu = Vcpu::new(fd, &cpuid, start)?;
        let handle = runner::spawn(vcpu, shared.clone()).map_err(|source| PvError::Os {
            what: "start a vCPU thread",
            source,
        })?;
        vcpus.push(handle);
    }
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
        machine: Machine::new(identity, vcpus, shared, reports),
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

fn eventfd() -> Result<EventFd, PvError> {
    EventFd::new(EFD_NONBLOCK).map_err(|source| PvError::Os {
        what: "make an eventfd",
        source,
    })
}

fn write(memory: &GuestMemory, gpa: u64, bytes: &[u8]) -> Result<(), OutsideMemory> {
    noxen_domain_builder::GuestMemory::write(&mut BuilderMemory(memory), gpa, bytes)
}

fn load_monitor(
    memory: &GuestMemory,
    region: &Region,
    image: &Image<'_>,
) -> Result<(), OutsideMemory> {
    for part in &image.parts {
        write(memory, region.image + part.offset, part.bytes)?;
    }
    Ok(())
}

/// Reads kernel and ramdisk into the guest; their buffers are gone when this returns.
fn load_guest(
    config: &Config,
    files: &mut Files<'_>,
    log: &Log,
    memory: &GuestMemory,
    region: &Region,
    nr_pages: u64,
    max_pages: u64,
) -> Result<PvLayout, PvError> {
    let path = || config.kernel_path.clone();
    let kernel = unpacked::load(&files.kernel, files.unpacked.take(), log).map_err(|source| {
        PvError::Kernel {
            path: path(),
            source,
        }
    })?;
    let ramdisk_len = match &mut files.ramdisk {
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
        path: path(),
        source,
    };
    let layout = noxen_domain_builder::plan(&kernel.image, &spec).map_err(failed)?;
    let ramdisk = files.ramdisk.as_mut().map(|file| Ramdisk {
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

/// Machine frame -> pseudo-physical frame; all ones where there is none.
fn fill_m2p(memory: &GuestMemory, region: &Region, nr_pages: u64) -> Result<(), OutsideMemory> {
    const CHUNK: u64 = 512;
    let mut bytes = Vec::new();
    for first in (0..region.ram_end_mfn).step_by(CHUNK as usize) {
        bytes.clear();
        for mfn in first..(first + CHUNK).min(region.ram_end_mfn) {
            let pfn = noxen_monitor_abi::layout::pfn_of_mfn(mfn).filter(|pfn| *pfn < nr_pages);
            debug_assert!(pfn.is_none_or(|pfn| mfn_of_pfn(pfn) == mfn));
            bytes.extend_from_slice(&pfn.unwrap_or(u64::MAX).to_le_bytes());
        }
        write(memory, region.m2p + first * 8, &bytes)?;
    }
    Ok(())
}

fn write_cpuid(
    memory: &GuestMemory,
    region: &Region,
    table: &[CpuidEntry],
) -> Result<(), OutsideMemory> {
    let bytes: Vec<u8> = table
        .iter()
        .flat_map(|row| {
            [
                row.leaf,
                row.subleaf,
                row.indexed,
                row.eax,
                row.ebx,
                row.ecx,
                row.edx,
            ]
        })
        .flat_map(u32::to_le_bytes)
        .collect();
    write(memory, region.cpuid, &bytes)
}

fn init_shared_pages(
    memory: &GuestMemory,
    region: &Region,
    layout: &PvLayout,
    boot_time: Duration,
) -> Result<(), OutsideMemory> {
    let shared_info = region.shared_info;
    noxen_domain_builder::init_shared_info(&mut BuilderMemory(memory), shared_info, boot_time)?;
    let seeds = noxen_domain_builder::grant_seeds(layout.console_mfn(), layout.store_mfn(), 0);
    write(memory, region.grants, &seeds)
}

/// All that goes into MonInfo.
struct Facts<'a> {
    config: &'a Config,
    region: &'a Region,
    layout: &'a PvLayout,
    nr_pages: u64,
    max_pages: u64,
    tsc_khz: u32,
    clock: Scale,
    boot_time: Duration,
    nr_cpuid: u32,
    host: &'a HostCpuid,
}

impl Facts<'_> {
    fn mon_info(&self) -> MonInfo {
        let (region, layout) = (self.region, self.layout);
        MonInfo {
            magic: MAGIC,
            abi_version: ABI_VERSION,
            nr_vcpus: self.config.vcpus,
            domid: self.config.domid,
            flags: 0,
            nr_pages: self.nr_pages,
            max_pages: self.max_pages,
            ram_end_mfn: region.ram_end_mfn,
            region_gpa: region.base,
            region_size: region.size,
            l4_gpa: region.tables.l4,
            window_l1_gpa: region.tables.window_l1(),
            zero_gpa: region.zero,
            m2p_gpa: region.m2p,
            m2p_entries: region.ram_end_mfn,
            shared_info_gpa: region.shared_info,
            grant_gpa: region.grants,
            nr_grant_frames: region::GRANT_FRAMES,
            nr_evtchns: region::EVTCHN_PORTS,
            frame_table_gpa: region.frame_table,
            evtchn_gpa: region.evtchn,
            domain_gpa: region.domain,
            domain_size: region::DOMAIN_SIZE,
            doorbell_gpa: region.doorbell,
            call_gpa: region.call,
            counters_gpa: region.counters,
            crash_gpa: region.crash,
            public_gpa: region.public,
            cpuid_gpa: region.cpuid,
            nr_cpuid: self.nr_cpuid,
            xen_version: XEN_VERSION,
            uuid: self.config.uuid,
            start_rip: layout.entry.rip,
            start_rsp: layout.entry.rsp,
            start_rsi: layout.entry.rsi,
            start_cr3: layout.entry.cr3,
            store_port: STORE_PORT,
            console_port: CONSOLE_PORT,
            tsc_khz: u64::from(self.tsc_khz),
            tsc_mul: self.clock.mul,
            tsc_shift: self.clock.shift,
            // The TSC is written 0 on every vCPU when it is made.
            base_tsc: 0,
            base_ns: 0,
            wc_sec: self.boot_time.as_secs(),
            wc_nsec: self.boot_time.subsec_nanos(),
            reserved0: 0,
            xcr0_mask: self.host.xcr0_mask(),
            cr4: self.host.cr4(),
        }
    }
}

/// MonInfo as bytes: its fields in order, as `repr(C)` lays them out.
#[allow(unsafe_code)]
fn write_info(memory: &GuestMemory, gpa: u64, info: &MonInfo) -> Result<(), OutsideMemory> {
    let pointer = std::ptr::from_ref(info).cast::<u8>();
    // SAFETY: MonInfo is repr(C), holds integers only and has no padding (checked below), so all its
    // bytes are initialised; the slice lives within this function. The ABI crate is no_std without
    // dependencies and offers no byte view.
    let bytes = unsafe { std::slice::from_raw_parts(pointer, size_of::<MonInfo>()) };
    write(memory, gpa, bytes)
}

/// 33 fields of 8 bytes, 14 of 4, one of 16: no padding.
const _: () = assert!(size_of::<MonInfo>() == 33 * 8 + 14 * 4 + 16);

#[cfg(test)]
#[path = "pv_tests.rs"]
mod tests;
