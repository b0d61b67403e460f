//! From memory with all that is in it to a machine that stands before its first instruction: VM, vCPUs, bus, threads.
//!
//! ```text
//!   build.rs (a PC), pvh.rs (a kernel alone) --Front--> VM, vCPUs (reset, restored, or at a kernel's entry) --> Xen --> Pc --> threads
//! ```

use crate::domain::assemble;
use crate::domain::crew::Crew;
use crate::domain::hub::Hub;
use crate::domain::pv::PvError;
use crate::domain::runner;
use crate::domain::time::scale;
use crate::hvm::build::HvmError;
use crate::hvm::drives::Drives;
use crate::hvm::lines::Wiring;
use crate::hvm::machine::{Emulated, HvmMachine};
use crate::hvm::pc::Pc;
use crate::hvm::registry::Known;
use crate::hvm::saved::{self, Arriving, Carried};
use crate::hvm::usb_disks::UsbDisks;
use crate::hvm::video::Video;
use crate::hvm::wire::Line;
use crate::hvm::xen::domain::Drivers;
use crate::hvm::xen::{self, Xen};
use crate::log::{Level, Log};
use crate::save::restore::{hold_rate, passed, tsc_at};
use crate::vstate::chips;
use crate::vstate::cpuid::{HvmCpu, HvmXen, PvParameters};
use crate::vstate::features;
use crate::vstate::memory::{DomainMemory, Piece, Slot};
use crate::vstate::msr;
use crate::vstate::saved::pc_msr_list;
use crate::vstate::vcpu::{install_kick_handler, Flat, Vcpu};
use crate::vstate::vm::Vm;
use kvm_ioctls::Kvm;
use noxen_pc::isa_dma::IsaDma;
use noxen_pc::Bus;
use std::sync::mpsc::channel;
use std::sync::Arc;
use std::time::Instant;
use vmm_sys_util::eventfd::{EventFd, EFD_NONBLOCK};

/// All that a machine is made of before there is a VM.
pub struct Front<'a> {
    /// /dev/kvm.
    pub kvm: &'a Kvm,
    /// The domain's log.
    pub log: Log,
    /// Domain id.
    pub domid: u32,
    /// 128-bit id.
    pub uuid: [u8; 16],
    /// Memory, MiB.
    pub memory_mib: u64,
    /// vCPUs.
    pub vcpus: u32,
    /// What its processors are, but for Xen's leaves.
    pub cpu: HvmCpu<'a>,
    /// Memory, with what the guest starts from.
    pub memory: DomainMemory,
    /// How the pins of PCI slots are wired.
    pub wiring: Wiring,
    /// What KVM is told of it; `true`: it can only be read.
    pub slots: Vec<(Slot, bool)>,
    /// The piece beside RAM.
    pub region: Piece,
    /// Ticks of the timer that the guest missed are delivered as one.
    pub one_late_tick: bool,
    /// The guest finds Xen.
    pub xen: Option<Drivers>,
    /// Where the first vCPU begins; nothing: at its reset vector.
    pub entry: Option<Flat>,
    /// What a restored domain was.
    pub arriving: Option<Arriving>,
    /// Memory of the display.
    pub video: Option<Arc<Video>>,
    /// First serial port.
    pub serial: Option<Arc<Line>>,
    /// Devices.
    pub bus: Bus,
    /// Some of them.
    pub known: Known,
    /// Its drives; nothing: its devices are Xen's alone, and there are no cards either.
    pub drives: Option<DriveParts>,
}

/// Drives of a PC.
#[derive(Debug)]
pub struct DriveParts {
    /// There are two floppy drives.
    pub second_floppy: bool,
    /// Disks on USB.
    pub usb: UsbDisks,
    /// The DMA controllers, which the floppy controller uses.
    pub dma: IsaDma,
}

/// Makes the machine, paused.
pub fn raise(front: Front<'_>) -> Result<HvmMachine, HvmError> {
    let Front { kvm, log, cpu, .. } = front;
    let vm = Arc::new(Vm::create_pc(kvm, &front.slots, cpu.apic_step)?);
    if front.one_late_tick {
        vm.deliver_each_tick(false)?;
    }
    let host = assemble::host_cpuid(kvm)?;
    host.judge(&cpu).map_err(HvmError::Cpu)?;
    let table = host.hvm_table(&cpu).unwrap_or_default();
    let arrived = match front.arriving {
        Some(arriving) => {
            arriving.check_cpu(&table)?;
            let begun = Instant::now();
            let state = arriving.fill(&front.memory.map, front.video.as_deref())?;
            let took = begun.elapsed();
            log.line(
                Level::Info,
                format_args!("restored from an image in {took:?}"),
            );
            Some(state)
        }
        None => None,
    };
    install_kick_handler().map_err(|source| HvmError::Os {
        what: "install the handler of the kick signal",
        source,
    })?;
    let fds = (0..front.vcpus)
        .map(|id| vm.create_vcpu(id))
        .collect::<Result<Vec<_>, _>>()?;
    let now = saved::host_now();
    if let Some(state) = &arrived {
        chips::apply(&vm, &state.chips, passed(&state.clock, now))?;
        hold_rate(&fds, state.clock.tsc_khz)?;
    }
    let tsc_khz = assemble::tsc_khz(&fds)?;
    let msrs: Arc<[u32]> = pc_msr_list(kvm)
        .map_err(|source| PvError::Kvm {
            what: "tell its MSRs",
            source,
        })?
        .into();
    let mut vcpus = Vec::new();
    for (id, fd) in (0..).zip(fds) {
        let xen = front.xen.as_ref();
        let xen = xen.map(|_| xen_leaves(front.domid, tsc_khz));
        let cpuid = host
            .for_hvm(id, &HvmCpu { xen, ..cpu })
            .ok_or(PvError::Kvm {
                what: "take so many CPUID leaves",
                source: kvm_ioctls::Error::new(libc::E2BIG),
            })?;
        vcpus.push(match (&arrived, front.entry) {
            (Some(state), _) => {
                let tsc = tsc_at(&state.clock, now);
                Vcpu::restored(fd, &cpuid, &state.vcpus[id as usize], tsc, Some(&msrs))?
            }
            (None, Some(entry)) if id == 0 => Vcpu::flat(fd, id, &cpuid, entry, &msrs)?,
            (None, _) => Vcpu::reset(fd, id, &cpuid, &msrs)?,
        });
    }
    let (sender, reports) = channel();
    let wake = EventFd::new(EFD_NONBLOCK).map_err(|source| HvmError::Os {
        what: "make an eventfd",
        source,
    })?;
    let hub = Arc::new(Hub::new(log, front.memory.map.clone(), sender, wake));
    if let Some(memory) = &front.video {
        memory.set_slot(vm.clone(), vm.free_slot());
    }
    let carried = Carried {
        vm: vm.clone(),
        msrs,
        tsc_khz,
        features: features::of(&table),
        bios: front.region,
        video: front.video,
        serial: front.serial,
        viridian: cpu.cpu.viridian,
        arrived,
    };
    let xen = match vcpus.first().zip(front.xen) {
        Some((first, drivers)) => Some(
            xen::domain::prepare(&vm)
                .and_then(|()| {
                    Xen::new(xen::domain::Parts {
                        hub: hub.clone(),
                        host: vm.clone(),
                        ram_file: front.memory.ram_file.clone(),
                        domid: front.domid,
                        uuid: front.uuid,
                        vcpus: front.vcpus,
                        frames: front.memory_mib << 8,
                        tsc_khz,
                        tsc: crate::vstate::saved::tsc(first.fd()),
                        microcode: msr::get(first.fd(), xen::MICROCODE_MSR).unwrap_or(0),
                        drivers,
                    })
                })
                .map_err(HvmError::Xen)?,
        ),
        None => None,
    };
    let pc = Arc::new(Pc::new(
        hub.clone(),
        vm,
        front.bus,
        front.wiring,
        xen.clone(),
    ));
    let threads = |source| HvmError::Os {
        what: "start a thread",
        source,
    };
    pc.start_alarm().map_err(threads)?;
    if let Some(xen) = &xen {
        xen.start().map_err(threads)?;
    }
    let handles = vcpus
        .into_iter()
        .map(|vcpu| runner::spawn(vcpu, pc.clone()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(threads)?;
    let crew = Crew::new(front.domid, handles, hub, reports);
    let emulated = front
        .drives
        .map(|parts| Emulated::new(&pc, Drives::new(&pc, parts)));
    Ok(HvmMachine::new(
        front.domid,
        front.memory_mib << 10,
        crew,
        pc,
        front.known,
        emulated,
        carried,
    ))
}

/// What Xen's leaves tell.
fn xen_leaves(domid: u32, tsc_khz: u32) -> HvmXen {
    let clock = scale(u64::from(tsc_khz));
    HvmXen {
        domid,
        page_msr: xen::PAGE_MSR,
        parameters: PvParameters {
            bits32: false,
            xen_version: xen::VERSION,
            tsc_khz,
            tsc_mul: clock.mul,
            tsc_shift: clock.shift,
        },
    }
}
