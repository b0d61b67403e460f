//! [`Xen`]: what an HVM domain has of Xen, for its vCPUs' threads, back ends and timers.

use crate::devices::backend::{Context, Granted};
use crate::domain::hub::{lock, Hub};
use crate::domain::region::{EVTCHN_PORTS, GRANT_FRAMES};
use crate::domain::time::{scale, Scale};
use crate::hvm::lines::Wiring;
use crate::hvm::xen::alarms::Alarms;
use crate::hvm::xen::callback::Callback;
use crate::hvm::xen::pages;
use crate::hvm::xen::params::Params;
use crate::hvm::xen::processor::{host_tsc, Eyes, Processor, Scratch};
use crate::hvm::xen::{memory, MICROCODE_MSR, PAGE_MSR, VERSION};
use crate::log::Level;
use crate::vstate::chips;
use crate::vstate::irq::{ChannelError, Links};
use crate::vstate::memory::{GuestMemory, Piece};
use crate::vstate::vm::Vm;
use noxen_devices::pv::written::Written;
use noxen_monitor::cpu::{bits, info, Cpu};
use noxen_monitor::domain::Domain;
use noxen_monitor::machine::Machine as _;
use noxen_monitor::vcpu::Vcpu;
use noxen_monitor_abi::layout::{mfn_of_pfn, MAX_VCPUS};
use noxen_monitor_abi::pages::Doorbell as Page;
use noxen_monitor_abi::MonInfo;
use noxen_pv_abi::memory::E820Entry;
use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::mem::offset_of;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use vm_memory::GuestAddress;
use vmm_sys_util::eventfd::EventFd;

/// Stack of the thread of the timers.
const STACK: usize = 256 << 10;

/// What it is made from.
pub struct Parts {
    /// What all threads share; its memory has none of Xen's pages.
    pub hub: Arc<Hub>,
    /// The VM.
    pub host: Arc<dyn Host>,
    /// File of the guest's RAM.
    pub ram_file: Arc<File>,
    /// Domain id.
    pub domid: u32,
    /// 128-bit id.
    pub uuid: [u8; 16],
    /// vCPUs.
    pub vcpus: u32,
    /// Frames of RAM.
    pub frames: u64,
    /// Rate of the guest's TSC.
    pub tsc_khz: u32,
    /// The guest's TSC at a moment ago.
    pub tsc: u64,
    /// Revision of the microcode, as KVM tells the guest.
    pub microcode: u64,
    /// What Xen is to it besides.
    pub drivers: Drivers,
}

/// What Xen is to the guest.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Drivers {
    /// The guest has a paravirtual console.
    pub console: bool,
    /// The memory map that it is told; empty: it knows its memory otherwise.
    pub map: Vec<E820Entry>,
    /// Memory beside RAM that it may take.
    pub reserve: Option<Piece>,
    /// How the pins of PCI slots are wired.
    pub wiring: Wiring,
}

/// The domain's share of Xen.
pub struct Xen {
    pub(super) hub: Arc<Hub>,
    pub(super) host: Arc<dyn Host>,
    /// The guest's RAM and Xen's pages.
    pub(super) memory: GuestMemory,
    pub(super) dom: Domain,
    vcpus: Vec<Mutex<Vcpu>>,
    /// Whoever makes ports pending from outside.
    outside: Mutex<Vcpu>,
    /// Where the guest has shared_info; 0: nowhere yet.
    pub(super) shared_info: AtomicU64,
    pub(super) params: Params,
    pub(super) reservation: memory::Reservation,
    /// Interrupt vector of each vCPU's upcalls; 0: none.
    pub(super) vectors: [AtomicU8; MAX_VCPUS],
    /// vCPUs whose upcall was dropped, a bit each.
    owed: AtomicU64,
    /// How a guest without vectors is told of events.
    pub(super) callback: Callback,
    pub(super) alarms: Alarms,
    pub(super) tsc_khz: u32,
    /// The guest's TSC less the host's.
    pub(super) tsc_offset: u64,
    pub(super) microcode: u64,
    pub(super) drivers: Drivers,
    /// Guest-physical address of the stubs that were patched last; 0: none.
    pub(super) stubs: AtomicU64,
    /// A 32-bit kernel was told that it is not served.
    pub(super) narrow_told: AtomicBool,
    events: RwLock<BTreeMap<u32, EventFd>>,
    written: &'static Written,
}

impl fmt::Debug for Xen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Xen").finish_non_exhaustive()
    }
}

/// Why it could not be had, one line.
pub type Failed = String;

/// What Xen needs of the VM.
pub trait Host: fmt::Debug + Send + Sync {
    /// Interrupts vCPU `vcpu` with `vector`; false: it cannot take it yet, and it is lost. The line says why not.
    fn interrupt(&self, vcpu: u32, vector: u8) -> Result<bool, String>;

    /// Shows `length` bytes of `memory` at `from` to the guest at `at`, or nowhere any more; `number` tells what is shown from other things
    /// shown. The line says why not.
    fn show(
        &self,
        number: u32,
        memory: &GuestMemory,
        from: GuestAddress,
        at: Option<u64>,
        length: u64,
    ) -> Result<(), String>;

    /// Has writes to `up` raise an input of the interrupt controllers, until the guest ends an interrupt of that input, which is told by `taken`. The
    /// line says why not.
    fn line_by(&self, input: u8, up: &EventFd, taken: &EventFd) -> Result<(), String>;

    /// Ends that; the input is down as far as `up` is concerned. The line says why not.
    fn take_line_off(&self, input: u8, up: &EventFd) -> Result<(), String>;

    /// Whether the 8259s go through the first input of the I/O APIC. The line says why that cannot be told.
    fn wired_by_io_apic(&self) -> Result<bool, String>;
}

impl Host for Vm {
    fn interrupt(&self, vcpu: u32, vector: u8) -> Result<bool, String> {
        Vm::interrupt(self, vcpu, vector).map_err(|error| error.to_string())
    }

    fn show(
        &self,
        number: u32,
        memory: &GuestMemory,
        from: GuestAddress,
        at: Option<u64>,
        length: u64,
    ) -> Result<(), String> {
        // The first free one is the display's.
        let slot = self.free_slot() + 1 + number;
        Vm::show(self, slot, memory, from, at, length).map_err(|error| error.to_string())
    }

    fn line_by(&self, input: u8, up: &EventFd, taken: &EventFd) -> Result<(), String> {
        Vm::line_by(self, input, up, taken).map_err(|error| error.to_string())
    }

    fn take_line_off(&self, input: u8, up: &EventFd) -> Result<(), String> {
        Vm::take_line_off(self, input, up).map_err(|error| error.to_string())
    }

    fn wired_by_io_apic(&self) -> Result<bool, String> {
        chips::wired_by_io_apic(self).map_err(|error| error.to_string())
    }
}

/// Has KVM leave to us what a guest with drivers for Xen needs. The line says why not.
pub fn prepare(vm: &Vm) -> Result<(), Failed> {
    let left = vm.leave_msrs(&[MICROCODE_MSR], &[PAGE_MSR]);
    left.map_err(|error| format!("drivers for Xen: {error}; xen_platform_pci = 0 does without"))
}

impl Xen {
    /// For a guest that has not started yet.
    pub fn new(parts: Parts) -> Result<Arc<Xen>, Failed> {
        let memory = pages::add_to(&parts.hub.memory)?;
        let ram_end = mfn_of_pfn(parts.frames.max(1) - 1) + 1;
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or(Duration::ZERO);
        let tsc_offset = parts.tsc.wrapping_sub(host_tsc());
        let info = mon_info(&parts, ram_end, now);
        let mut dom = Domain::new(info);
        dom.start(info, [0; 16]);
        let new = |id| {
            let mut vcpu = Vcpu::new(id);
            vcpu.vcpu_info = pages::SHARED_INFO + 64 * u64::from(id);
            Mutex::new(vcpu)
        };
        let xen = Xen {
            vcpus: (0..parts.vcpus).map(new).collect(),
            outside: Mutex::new(Vcpu::new(MAX_VCPUS as u32)),
            dom,
            memory,
            shared_info: AtomicU64::new(0),
            params: Params::default(),
            reservation: memory::Reservation::new(
                parts.ram_file,
                parts.frames,
                parts.drivers.reserve,
            ),
            owed: AtomicU64::new(0),
            vectors: [const { AtomicU8::new(0) }; MAX_VCPUS],
            callback: Callback::new(parts.drivers.wiring)
                .map_err(|error| format!("drivers for Xen: {error}"))?,
            alarms: Alarms::new(parts.vcpus),
            tsc_khz: parts.tsc_khz,
            tsc_offset,
            microcode: parts.microcode,
            drivers: parts.drivers,
            stubs: AtomicU64::new(0),
            narrow_told: AtomicBool::new(false),
            events: RwLock::default(),
            // A process has one domain, and its memory lives as long as the process.
            written: Box::leak(Box::new(Written::new(ram_end))),
            hub: parts.hub,
            host: parts.host,
        };
        xen.show_rings()?;
        xen.outside_of_vcpus(|cpu| cpu.boot_ports());
        for id in 0..parts.vcpus {
            xen.with(id, None, |cpu| {
                cpu.set_runstate(0);
                cpu.publish_time();
            });
        }
        Ok(Arc::new(xen))
    }

    /// Starts the thread of the timers; it ends with the process.
    pub fn start(self: &Arc<Xen>) -> std::io::Result<()> {
        let xen = self.clone();
        std::thread::Builder::new()
            .name("xen-timers".into())
            .stack_size(STACK)
            .spawn(move || loop {
                let vcpu = xen.alarms.next();
                xen.with(vcpu, None, |cpu| cpu.run_timers());
                xen.settle();
            })?;
        let xen = self.clone();
        std::thread::Builder::new()
            .name("xen-callback".into())
            .stack_size(STACK)
            .spawn(move || loop {
                match xen.callback.wait_taken() {
                    Ok(()) => xen.look_at_callback(),
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                    Err(error) => {
                        let line = format_args!("upcalls by a line: {error}");
                        return xen.hub.log.line(Level::Error, line);
                    }
                }
            })
            .map(drop)
    }

    /// The line is up where something is pending for the first vCPU.
    pub(super) fn look_at_callback(&self) {
        if self.is_upcall_pending(0) {
            self.callback.raise();
        }
    }

    /// The bridge routes PCI lines so from now on.
    pub fn route(&self, routes: [Option<u8>; 4]) {
        match self.callback.route(&*self.host, routes) {
            Ok(true) => self.look_at_callback(),
            Ok(false) => {}
            Err(error) => self.hub.log.guest_line(Level::Error, error),
        }
    }

    /// The guest's RAM with the pages that it shares with back ends.
    pub fn memory(&self) -> &GuestMemory {
        &self.memory
    }

    /// What back ends may use of the domain.
    pub fn context(&self, links: Arc<dyn Links>) -> Context {
        let granted = Granted {
            table: pages::GRANTS,
            frames: GRANT_FRAMES,
            ram_end: self.ram_end(),
            written: self.written,
        };
        Context::new(self.hub.clone(), links, self.memory.clone(), granted)
    }

    /// The guest has a paravirtual console.
    pub fn has_console(&self) -> bool {
        self.drivers.console
    }

    /// Revision of the microcode, as KVM tells it.
    pub fn microcode(&self) -> u64 {
        self.microcode
    }

    /// First frame number that is not RAM.
    pub fn ram_end(&self) -> u64 {
        self.dom.info.ram_end_mfn
    }

    /// Lets `work` at vCPU `id`, if there is one.
    pub(super) fn with<T>(
        &self,
        id: u32,
        eyes: Option<Eyes<'_>>,
        work: impl FnOnce(&mut Cpu<'_, Processor<'_>>) -> T,
    ) -> Option<T> {
        self.with_scratch(id, eyes, None, work)
    }

    /// The same with memory of the call's own.
    pub(super) fn with_scratch<T>(
        &self,
        id: u32,
        eyes: Option<Eyes<'_>>,
        scratch: Option<&Scratch>,
        work: impl FnOnce(&mut Cpu<'_, Processor<'_>>) -> T,
    ) -> Option<T> {
        let mut own = lock(self.vcpus.get(id as usize)?);
        // Another vCPU may have given it a new one.
        own.vcpu_info = self.dom.vcpu(id)?.vcpu_info.load(Ordering::SeqCst);
        let processor = Processor {
            xen: self,
            id,
            eyes,
            scratch,
        };
        Some(work(&mut Cpu {
            m: &processor,
            dom: &self.dom,
            v: &mut own,
        }))
    }

    /// Lets `work` at the ports, from outside of the vCPUs.
    fn outside_of_vcpus<T>(&self, work: impl FnOnce(&mut Cpu<'_, Processor<'_>>) -> T) -> T {
        let processor = Processor {
            xen: self,
            id: MAX_VCPUS as u32,
            eyes: None,
            scratch: None,
        };
        let mut own = lock(&self.outside);
        work(&mut Cpu {
            m: &processor,
            dom: &self.dom,
            v: &mut own,
        })
    }

    /// An event is pending for `vcpu`.
    pub(super) fn upcall(&self, vcpu: u32) {
        let Some(vector) = self.vectors.get(vcpu as usize) else {
            return;
        };
        match vector.load(Ordering::SeqCst) {
            // By a line, if it has one. Where it has not said how yet it is told when it does.
            0 if vcpu == 0 => self.callback.raise(),
            0 => {}
            vector => match self.host.interrupt(vcpu, vector) {
                Ok(true) => {}
                Ok(false) => {
                    self.owed.fetch_or(1 << vcpu, Ordering::SeqCst);
                }
                Err(error) => self.hub.log.guest_line(Level::Error, error),
            },
        }
    }

    /// Upcalls that KVM has dropped are made again: a vCPU's first ones come before it has enabled its local APIC, and as long as they are
    /// pending there are no others. Xen looks when the APIC is enabled, which nobody tells us of; here it is after each hypercall and each timer,
    /// and a vCPU that begins makes hypercalls.
    pub(super) fn settle(&self) {
        if self.owed.load(Ordering::SeqCst) == 0 {
            return;
        }
        for vcpu in bits(self.owed.swap(0, Ordering::SeqCst)) {
            if self.is_upcall_pending(vcpu) {
                self.upcall(vcpu);
            }
        }
    }

    /// Is an event pending for `vcpu`?
    pub(super) fn is_upcall_pending(&self, vcpu: u32) -> bool {
        let processor = Processor {
            xen: self,
            id: vcpu,
            eyes: None,
            scratch: None,
        };
        let at = self
            .dom
            .vcpu(vcpu)
            .map(|vcpu| vcpu.vcpu_info.load(Ordering::SeqCst));
        at.and_then(|at| processor.byte(at + info::PENDING))
            .is_some_and(|pending| pending.load(Ordering::SeqCst) != 0)
    }

    /// The guest sent on an event channel to a back end.
    pub(super) fn notify(&self, port: u32) {
        let events = self.events.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(event) = events.get(&port) {
            // Only a counter at its limit refuses, and then it is readable.
            let _ = event.write(1);
        }
    }

    /// Text of the guest's console_io.
    pub(super) fn says(&self, text: &[u8]) {
        lock(&self.hub.messages).push(text);
    }
}

impl Links for Xen {
    fn bind(&self, port: u32, event: &EventFd) -> Result<(), ChannelError> {
        let event = event.try_clone().map_err(ChannelError::EventFd)?;
        let mut events = self.events.write().unwrap_or_else(PoisonError::into_inner);
        events.insert(port, event);
        Ok(())
    }

    fn unbind(&self, port: u32, _event: &EventFd) {
        let mut events = self.events.write().unwrap_or_else(PoisonError::into_inner);
        events.remove(&port);
    }

    fn set_quiet(&self, port: u32, quiet: bool) {
        let processor = Processor {
            xen: self,
            id: 0,
            eyes: None,
            scratch: None,
        };
        let word = offset_of!(Page, quiet) as u64 + u64::from(port / 64) * 8;
        let Some(word) = processor.word(pages::DOORBELL + word) else {
            return;
        };
        let bit = 1u64 << (port % 64);
        match quiet {
            true => word.fetch_or(bit, Ordering::SeqCst),
            false => word.fetch_and(!bit, Ordering::SeqCst),
        };
    }

    fn ring(&self, port: u32) {
        self.outside_of_vcpus(|cpu| {
            if cpu.is_external(port) {
                cpu.raise(port);
            }
        });
        self.settle();
    }
}

fn mon_info(parts: &Parts, ram_end: u64, now: Duration) -> MonInfo {
    let Scale { mul, shift } = scale(u64::from(parts.tsc_khz));
    MonInfo {
        nr_vcpus: parts.vcpus,
        domid: parts.domid,
        nr_pages: parts.frames,
        max_pages: parts.frames,
        ram_end_mfn: ram_end,
        shared_info_gpa: pages::SHARED_INFO,
        doorbell_gpa: pages::DOORBELL,
        public_gpa: pages::PUBLIC,
        counters_gpa: pages::COUNTERS,
        grant_gpa: pages::GRANTS,
        nr_grant_frames: GRANT_FRAMES,
        evtchn_gpa: pages::PORTS,
        nr_evtchns: EVTCHN_PORTS,
        xen_version: VERSION,
        uuid: parts.uuid,
        store_port: crate::domain::pv::STORE_PORT,
        console_port: crate::domain::pv::CONSOLE_PORT,
        tsc_khz: u64::from(parts.tsc_khz),
        tsc_mul: mul,
        tsc_shift: shift,
        // The guest's TSC counts from about now, and so does its time.
        base_tsc: parts.tsc,
        base_ns: 0,
        wc_sec: now.as_secs(),
        wc_nsec: now.subsec_nanos(),
        ..MonInfo::default()
    }
}
