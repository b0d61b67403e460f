//! The last steps to a machine, the same for a domain that is built and for one that is restored.
//!
//! ```text
//!   memory, VM, vCPUs --> doorbell, ring ports --> Shared --> a thread for each vCPU, paused --> Domain
//! ```

use crate::domain::calls::Shared;
use crate::domain::machine::{Constants, Identity, Machine};
use crate::domain::pv::{Domain, PvError, CONSOLE_PORT, STORE_PORT};
use crate::domain::region::Region;
use crate::domain::runner;
use crate::log::Log;
use crate::vstate::cpuid::{HostCpuid, PvParameters};
use crate::vstate::irq::{Channel, Doorbell, Links, Monitor};
use crate::vstate::memory::DomainMemory;
use crate::vstate::vcpu::{install_kick_handler, Vcpu};
use crate::vstate::vm::Vm;
use kvm_bindings::{CpuId, KVM_MAX_CPUID_ENTRIES};
use kvm_ioctls::{Kvm, VcpuFd};
use noxen_monitor_abi::layout::{MAX_VCPUS, PAGE_SIZE};
use std::fs::File;
use std::sync::mpsc::channel;
use std::sync::Arc;
use vm_memory::GuestAddress;
use vmm_sys_util::eventfd::{EventFd, EFD_NONBLOCK};

/// What a machine is put together from.
#[derive(Debug)]
pub struct Assembly<'a> {
    /// Domain id.
    pub domid: u32,
    /// The VM.
    pub vm: Arc<Vm>,
    /// Its memory.
    pub memory: &'a DomainMemory,
    /// Layout of the monitor's region.
    pub region: Region,
    /// vCPUs with their state, by id.
    pub vcpus: Vec<Vcpu>,
    /// What an image of it begins with.
    pub constants: Constants,
    /// Its log.
    pub log: Log,
    /// Where console_io text goes besides.
    pub echo: Option<File>,
}

impl Assembly<'_> {
    /// Puts it together.
    pub fn finish(self) -> Result<Domain, PvError> {
        install_kick_handler().map_err(|source| PvError::Os {
            what: "install the handler of the kick signal",
            source,
        })?;
        let line = eventfd()?;
        self.vm.doorbell_by(&line)?;
        let doorbell = Doorbell::new(self.memory.map.clone(), self.region.doorbell, line)?;
        let links: Arc<dyn Links> = Arc::new(Monitor {
            vm: self.vm.clone(),
            doorbell: doorbell.clone(),
        });
        let console = Channel::bind(&links, CONSOLE_PORT)?;
        let store = Channel::bind(&links, STORE_PORT)?;
        let (sender, reports) = channel();
        let shared = Arc::new(Shared::new(
            self.log,
            self.memory.map.clone(),
            self.memory.ram_file.clone(),
            self.region,
            self.constants.domain.max_pages,
            self.echo,
            sender,
            eventfd()?,
        ));
        let spawn = |vcpu| {
            runner::spawn(vcpu, shared.clone()).map_err(|source| PvError::Os {
                what: "start a vCPU thread",
                source,
            })
        };
        let vcpus = self.vcpus.into_iter().map(spawn);
        let vcpus = vcpus.collect::<Result<Vec<_>, _>>()?;
        let domain = &self.constants.domain;
        let identity = Identity {
            domid: self.domid,
            memory_kib: domain.boot_pages * (PAGE_SIZE >> 10),
            console_tty: String::new(),
            store_mfn: domain.store_mfn,
            store_port: STORE_PORT,
            console_mfn: domain.console_mfn,
            console_port: CONSOLE_PORT,
        };
        let page = |mfn: u64| GuestAddress(mfn.saturating_mul(PAGE_SIZE));
        let (console_page, store_page) = (page(domain.console_mfn), page(domain.store_mfn));
        Ok(Domain {
            machine: Machine::new(identity, self.constants, vcpus, shared, reports, doorbell),
            vm: self.vm,
            links,
            console,
            console_page,
            store,
            store_page,
        })
    }
}

/// Numbers that no host can satisfy.
pub fn check(vcpus: u32, memory_mib: u64) -> Result<(), PvError> {
    if vcpus == 0 || vcpus as usize > MAX_VCPUS {
        return Err(PvError::Vcpus(vcpus));
    }
    let info = rustix::system::sysinfo();
    let host = (info.totalram as u64).saturating_mul(u64::from(info.mem_unit)) >> 20;
    if memory_mib > host {
        return Err(PvError::HostMemory {
            asked: memory_mib,
            host,
        });
    }
    Ok(())
}

/// What this host's CPUs and KVM have.
pub fn host_cpuid(kvm: &Kvm) -> Result<HostCpuid, PvError> {
    let supported = kvm
        .get_supported_cpuid(KVM_MAX_CPUID_ENTRIES)
        .map_err(|source| PvError::Kvm {
            what: "tell its CPUID",
            source,
        })?;
    Ok(HostCpuid::new(&supported))
}

/// The CPUID of vCPU `id`.
pub fn vcpu_cpuid(host: &HostCpuid, id: u32, parameters: PvParameters) -> Result<CpuId, PvError> {
    host.for_kvm(id, parameters).ok_or(PvError::Kvm {
        what: "take so many CPUID leaves",
        source: kvm_ioctls::Error::new(libc::E2BIG),
    })
}

/// The rate of the vCPUs' TSC.
pub fn tsc_khz(fds: &[VcpuFd]) -> Result<u32, PvError> {
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

/// The MSRs that an image has of each vCPU.
pub fn msrs(kvm: &Kvm) -> Result<Arc<[u32]>, PvError> {
    let list = crate::vstate::saved::msr_list(kvm).map_err(|source| PvError::Kvm {
        what: "tell its MSRs",
        source,
    })?;
    Ok(list.into())
}

fn eventfd() -> Result<EventFd, PvError> {
    EventFd::new(EFD_NONBLOCK).map_err(|source| PvError::Os {
        what: "make an eventfd",
        source,
    })
}
