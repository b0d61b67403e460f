//! A vCPU: how it starts, one entry, how another thread gets it out.
//!
//! ```text
//!   other thread: Kicker::kick()   immediate_exit := 1, then a signal
//!   vCPU thread:  enter()          KVM_RUN ... comes back Interrupted at once, or at the next entry
//!                 clear_kick()     immediate_exit := 0, *then* look at the commands
//! ```
//! The flag is set before the signal is sent and cleared before the commands are read, so no order of
//! the two threads loses a command.
#![allow(unsafe_code)] // A second mapping of kvm_run for the flag, and the signal to a thread.

use crate::vstate::exit::{Exit, Io};
use crate::vstate::msr::{self, MsrError};
use crate::vstate::saved::{self, SavedError};
use kvm_bindings::{
    kvm_lapic_state, kvm_mp_state, kvm_regs, kvm_segment, kvm_sregs, kvm_xcrs, CpuId,
    KVM_MP_STATE_RUNNABLE,
};
use kvm_ioctls::VcpuFd;
use noxen_monitor_abi::layout::{selector, window, PAGE_SIZE, VCPU_VA, VCPU_WINDOW};
use noxen_saved_image::state;
use rustix::mm::{mmap, MapFlags, ProtFlags};
use std::mem::offset_of;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::Arc;
use vmm_sys_util::signal::register_signal_handler;

/// CR0: PG, AM, WP, NE, ET, MP, PE.
const CR0: u64 = 0x8005_0033;
/// CR0 of a flat start: ET, PE.
const FLAT_CR0: u64 = 0x11;
/// EFER: NXE, LMA, LME, SCE.
const EFER: u64 = 0xd01;
/// APIC base: at 0xfee00000, enabled, x2APIC.
const APIC_BASE: u64 = 0xfee0_0000 | 1 << 11 | 1 << 10;
const APIC_BASE_BSP: u64 = 1 << 8;
/// MSR (SDM volume 4).
const KERNEL_GS_BASE: u32 = 0xc000_0102;

/// What the monitor is entered with; the same for all vCPUs but for what follows from `id`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StartState {
    /// vCPU id.
    pub id: u32,
    /// Entry point of the image.
    pub rip: u64,
    /// Page-table root (guest-physical).
    pub cr3: u64,
    /// CR4.
    pub cr4: u64,
    /// XCR0, 0 where the CPU has no XSAVE.
    pub xcr0: u64,
    /// Direct-map address of MonInfo.
    pub mon_info: u64,
}

/// Where a vCPU begins in 32-bit protected mode without paging (Xen docs/misc/pvh.pandoc).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flat {
    /// First instruction.
    pub eip: u32,
    /// Start info.
    pub ebx: u32,
}

/// Why a vCPU could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum VcpuError {
    /// An ioctl.
    #[error("KVM refused to {what} of vCPU {id}: {source}")]
    Kvm {
        /// What was asked.
        what: &'static str,
        /// vCPU.
        id: u32,
        /// Its answer.
        source: kvm_ioctls::Error,
    },
    /// An MSR.
    #[error(transparent)]
    Msr(#[from] MsrError),
    /// The state out of an image.
    #[error(transparent)]
    Saved(#[from] SavedError),
    /// The flag's page or the signal.
    #[error("cannot prepare the way to stop vCPU {id}: {source}")]
    Kick {
        /// vCPU.
        id: u32,
        /// OS error.
        source: std::io::Error,
    },
}

/// A vCPU, owned by its thread.
#[derive(Debug)]
pub struct Vcpu {
    id: u32,
    fd: VcpuFd,
    flag: Arc<Flag>,
    pending: bool,
    /// A PC's: its state after reset.
    start: Option<Box<state::Vcpu>>,
}

/// Registers as KVM gives them.
#[derive(Debug, Clone, Copy)]
pub struct Registers {
    /// General registers.
    pub general: kvm_regs,
    /// Segments, control registers.
    pub system: kvm_sregs,
}

/// What a core file tells of a vCPU.
#[derive(Debug, Clone, Copy)]
pub struct Snapshot {
    /// Registers.
    pub registers: Registers,
    /// The base of GS that SWAPGS would bring.
    pub other_gs_base: u64,
}

impl Vcpu {
    /// Gives `fd` its CPUID and start state.
    pub fn new(fd: VcpuFd, cpuid: &CpuId, start: StartState) -> Result<Vcpu, VcpuError> {
        let id = start.id;
        let refused = |what| move |source| VcpuError::Kvm { what, id, source };
        // CPUID first: it decides which CR4 bits and MSRs KVM takes.
        fd.set_cpuid2(cpuid).map_err(refused("set the CPUID"))?;
        let reset = fd.get_sregs().map_err(refused("read the registers"))?;
        fd.set_sregs(&system_registers(reset, start))
            .map_err(refused("set the system registers"))?;
        fd.set_regs(&general_registers(start))
            .map_err(refused("set the registers"))?;
        if start.xcr0 != 0 {
            // All that the guest may ever enable, so that its own XSETBV changes nothing in hardware:
            // QEMU's TCG lets a nested guest's XSETBV past KVM, which then restores the value it knows.
            fd.set_xcrs(&xcr0(start.xcr0))
                .map_err(refused("set XCR0"))?;
        }
        msr::set_start(&fd)?;
        // Those beyond the first would wait for INIT and SIPI.
        let runnable = kvm_mp_state {
            mp_state: KVM_MP_STATE_RUNNABLE,
        };
        fd.set_mp_state(runnable)
            .map_err(refused("start the APIC"))?;
        Vcpu::whole(id, fd, None)
    }

    /// Gives `fd` its CPUID; it stays as a processor is after reset, vCPUs beyond the first waiting for INIT and SIPI. `msrs` are those
    /// that it has.
    pub fn reset(fd: VcpuFd, id: u32, cpuid: &CpuId, msrs: &[u32]) -> Result<Vcpu, VcpuError> {
        fd.set_cpuid2(cpuid).map_err(|source| VcpuError::Kvm {
            what: "set the CPUID",
            id,
            source,
        })?;
        let start = saved::capture(&fd, id, msrs)?;
        Vcpu::whole(id, fd, Some(Box::new(start)))
    }

    /// Gives `fd` its CPUID; it begins at `entry`.
    pub fn flat(
        fd: VcpuFd,
        id: u32,
        cpuid: &CpuId,
        entry: Flat,
        msrs: &[u32],
    ) -> Result<Vcpu, VcpuError> {
        let vcpu = Vcpu::reset(fd, id, cpuid, msrs)?;
        let refused = |what| move |source| VcpuError::Kvm { what, id, source };
        let reset = vcpu.fd.get_sregs();
        let reset = reset.map_err(refused("read the registers"))?;
        vcpu.fd
            .set_sregs(&flat_registers(reset))
            .map_err(refused("set the system registers"))?;
        let general = kvm_regs {
            rip: entry.eip.into(),
            rbx: entry.ebx.into(),
            rflags: 2,
            ..Default::default()
        };
        vcpu.fd
            .set_regs(&general)
            .map_err(refused("set the registers"))?;
        let apic = vcpu.fd.get_lapic();
        let mut apic = apic.map_err(refused("tell the APIC's state"))?;
        enable(&mut apic);
        vcpu.fd
            .set_lapic(&apic)
            .map_err(refused("enable the APIC"))?;
        Ok(vcpu)
    }

    /// Gives `fd` its CPUID and the state that was saved, with the TSC at `tsc`. A PC's has the MSRs `start`.
    pub fn restored(
        fd: VcpuFd,
        cpuid: &CpuId,
        state: &state::Vcpu,
        tsc: u64,
        start: Option<&[u32]>,
    ) -> Result<Vcpu, VcpuError> {
        let id = state.id;
        fd.set_cpuid2(cpuid).map_err(|source| VcpuError::Kvm {
            what: "set the CPUID",
            id,
            source,
        })?;
        let start = start
            .map(|msrs| saved::capture(&fd, id, msrs))
            .transpose()?;
        saved::apply(&fd, state, Some(tsc))?;
        Vcpu::whole(id, fd, start.map(Box::new))
    }

    /// Brings a PC's vCPU, which is not in the guest, into its state after reset; its TSC goes on.
    pub fn start_again(&mut self) -> Result<(), SavedError> {
        self.pending = false;
        match &self.start {
            Some(start) => saved::apply(&self.fd, start, None),
            None => Ok(()),
        }
    }

    fn whole(id: u32, fd: VcpuFd, start: Option<Box<state::Vcpu>>) -> Result<Vcpu, VcpuError> {
        let flag = Flag::map(&fd).map_err(|source| VcpuError::Kick { id, source })?;
        Ok(Vcpu {
            id,
            fd,
            flag: Arc::new(flag),
            pending: false,
            start,
        })
    }

    /// vCPU id.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// The underlying KVM object.
    pub fn fd(&self) -> &VcpuFd {
        &self.fd
    }

    /// The flag half of a [`Kicker`].
    pub fn flag(&self) -> Arc<Flag> {
        self.flag.clone()
    }

    /// Runs the guest until something is to be done.
    pub fn enter(&mut self, io: &dyn Io) -> Exit {
        let flag = &self.flag;
        let exit = Exit::from_kvm(self.fd.run(), || flag.io_width(), io);
        self.pending = exit != Exit::Interrupted;
        match exit {
            Exit::InternalError(_) => Exit::InternalError(self.suberror()),
            exit => exit,
        }
    }

    /// Forgets a kick. Look at the commands only after this.
    pub fn clear_kick(&mut self) {
        self.flag.byte().store(0, Ordering::SeqCst);
    }

    /// The completion rule: an exit by port I/O, MMIO or MSR is complete, and the registers are the
    /// guest's, only after the next KVM_RUN; one with immediate_exit set does just that. Returns an
    /// exit other than an interruption if one comes instead.
    pub fn complete_exit(&mut self, io: &dyn Io) -> Option<Exit> {
        if !self.pending {
            return None;
        }
        self.flag.byte().store(1, Ordering::SeqCst);
        let exit = self.enter(io);
        (exit != Exit::Interrupted).then_some(exit)
    }

    /// The registers; meaningful once [`Self::complete_exit`] has been done.
    pub fn registers(&self) -> Result<Registers, kvm_ioctls::Error> {
        Ok(Registers {
            general: self.fd.get_regs()?,
            system: self.fd.get_sregs()?,
        })
    }

    /// The registers, for a core file.
    pub fn snapshot(&self) -> Result<Snapshot, VcpuError> {
        let registers = self.registers().map_err(|source| VcpuError::Kvm {
            what: "tell the registers",
            id: self.id,
            source,
        })?;
        Ok(Snapshot {
            registers,
            other_gs_base: msr::get(&self.fd, KERNEL_GS_BASE)?,
        })
    }

    fn suberror(&mut self) -> u32 {
        let run = self.fd.get_kvm_run();
        // SAFETY: `internal` is the member of the union that KVM fills for KVM_EXIT_INTERNAL_ERROR, and
        // any bits are a valid u32. kvm-ioctls does not hand it out.
        unsafe { run.__bindgen_anon_1.internal.suberror }
    }
}

/// A vCPU's kvm_run page, mapped a second time for its immediate_exit byte: the thread that runs the
/// vCPU holds the first mapping exclusively.
#[derive(Debug)]
pub struct Flag(NonNull<AtomicU8>);

// SAFETY: the pointer is to shared memory that stays mapped, and it is used only as atomics.
unsafe impl Send for Flag {}
// SAFETY: as above.
unsafe impl Sync for Flag {}

impl Flag {
    fn map(fd: &VcpuFd) -> std::io::Result<Flag> {
        use std::os::fd::{AsRawFd, BorrowedFd};
        // SAFETY: `fd` is open for the whole of this call.
        let fd = unsafe { BorrowedFd::borrow_raw(fd.as_raw_fd()) };
        // SAFETY: maps the kvm_run page, which KVM shares at offset 0 of a vCPU's descriptor, at an
        // address of the kernel's choice; it is never unmapped.
        let page = unsafe {
            mmap(
                ptr::null_mut(),
                PAGE_SIZE as usize,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                fd,
                0,
            )
        }?;
        NonNull::new(page.cast::<AtomicU8>())
            .map(Flag)
            .ok_or_else(|| std::io::ErrorKind::InvalidData.into())
    }

    fn at(&self, offset: usize) -> &AtomicU8 {
        // SAFETY: callers name fields of kvm_run, all of which lie in the page that `map` mapped for as long
        // as the process lives; u8 has no alignment, and KVM reads and writes the bytes whole.
        unsafe { self.0.add(offset).as_ref() }
    }

    fn byte(&self) -> &AtomicU8 {
        self.at(offset_of!(kvm_bindings::kvm_run, immediate_exit))
    }

    /// Bytes of each access of the exit by port I/O that KVM_RUN came back with; kvm-ioctls tells only their sum.
    fn io_width(&self) -> usize {
        use kvm_bindings::{kvm_run, kvm_run__bindgen_ty_1__bindgen_ty_4 as io};
        let offset = offset_of!(kvm_run, __bindgen_anon_1) + offset_of!(io, size);
        usize::from(self.at(offset).load(Ordering::Relaxed))
    }
}

/// Gets a vCPU out of the guest from any thread.
#[derive(Debug, Clone)]
pub struct Kicker {
    flag: Arc<Flag>,
    thread: libc::pthread_t,
}

impl Kicker {
    /// A kicker for the calling thread, which is to run the vCPU of `flag`, and which outlives it.
    pub fn for_this_thread(flag: Arc<Flag>) -> Kicker {
        Kicker {
            flag,
            // SAFETY: has no preconditions.
            thread: unsafe { libc::pthread_self() },
        }
    }

    /// Makes the current or next entry come back.
    pub fn kick(&self) {
        self.flag.byte().store(1, Ordering::SeqCst);
        // SAFETY: vCPU threads end only with the process (they park after their last command), so the
        // handle is valid; the signal has a handler that does nothing.
        unsafe { libc::pthread_kill(self.thread, kick_signal()) };
    }

    /// CPU time of the thread, ns.
    pub fn cpu_time_ns(&self) -> u64 {
        let mut clock = 0;
        let mut time = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: the thread handle is valid (see `kick`), the pointers are to locals.
        let ok = unsafe {
            libc::pthread_getcpuclockid(self.thread, &mut clock) == 0
                && libc::clock_gettime(clock, &mut time) == 0
        };
        if !ok {
            return 0;
        }
        time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
    }
}

fn kick_signal() -> libc::c_int {
    libc::SIGRTMIN()
}

/// Installs the handler of the kick signal; once per process, before the first vCPU thread.
pub fn install_kick_handler() -> std::io::Result<()> {
    extern "C" fn nothing(_: libc::c_int, _: *mut libc::siginfo_t, _: *mut libc::c_void) {}
    register_signal_handler(kick_signal(), nothing).map_err(std::io::Error::from)
}

fn general_registers(start: StartState) -> kvm_regs {
    let window = VCPU_VA + u64::from(start.id) * VCPU_WINDOW;
    kvm_regs {
        rip: start.rip,
        rsp: window + window::STACK + window::STACK_SIZE,
        rdi: start.mon_info,
        rsi: u64::from(start.id),
        rflags: 2,
        ..Default::default()
    }
}

fn xcr0(value: u64) -> kvm_xcrs {
    let mut xcrs = kvm_xcrs {
        nr_xcrs: 1,
        ..Default::default()
    };
    xcrs.xcrs[0].value = value;
    xcrs
}

fn system_registers(reset: kvm_sregs, start: StartState) -> kvm_sregs {
    let window = VCPU_VA + u64::from(start.id) * VCPU_WINDOW;
    let code = kvm_segment {
        selector: selector::MON_CS,
        limit: 0xffff_ffff,
        type_: 0xb,
        present: 1,
        s: 1,
        l: 1,
        g: 1,
        ..Default::default()
    };
    let data = kvm_segment {
        selector: selector::MON_SS,
        type_: 3,
        db: 1,
        l: 0,
        ..code
    };
    let mut sregs = reset;
    sregs.cs = code;
    sregs.ss = data;
    sregs.ds = data;
    sregs.es = data;
    sregs.fs = data;
    sregs.gs = data;
    sregs.tr = kvm_segment {
        selector: selector::TSS,
        base: window + window::TSS,
        limit: 0x67,
        type_: 0xb,
        present: 1,
        ..Default::default()
    };
    sregs.ldt = kvm_segment {
        unusable: 1,
        ..Default::default()
    };
    sregs.gdt.base = window + window::GDT;
    sregs.gdt.limit = 0xffff;
    sregs.idt.base = window + window::IDT;
    sregs.idt.limit = 0xfff;
    sregs.cr0 = CR0;
    sregs.cr3 = start.cr3;
    sregs.cr4 = start.cr4;
    sregs.efer = EFER;
    sregs.apic_base = APIC_BASE | if start.id == 0 { APIC_BASE_BSP } else { 0 };
    sregs
}

/// Spurious interrupt vector register, and its bit that enables the APIC (SDM 3A, 11.9).
const APIC_SVR: usize = 0xf0;
const APIC_SVR_ENABLED: u32 = 1 << 8;

/// Enables the APIC, as firmware does in a PC: KVM drops what is sent to one that is not, where Xen keeps an upcall until its kernel has
/// enabled it, and an upcall is sent once.
fn enable(apic: &mut kvm_lapic_state) {
    for (register, byte) in apic.regs[APIC_SVR..]
        .iter_mut()
        .zip((APIC_SVR_ENABLED | 0xff).to_le_bytes())
    {
        *register = byte as _;
    }
}

/// Segments of 4 GiB from 0 on, protected mode, no paging.
fn flat_registers(reset: kvm_sregs) -> kvm_sregs {
    let code = kvm_segment {
        selector: 1 << 3,
        limit: 0xffff_ffff,
        type_: 0xb,
        present: 1,
        db: 1,
        s: 1,
        g: 1,
        ..Default::default()
    };
    let data = kvm_segment {
        selector: 2 << 3,
        type_: 3,
        ..code
    };
    let mut sregs = reset;
    sregs.cs = code;
    sregs.ss = data;
    sregs.ds = data;
    sregs.es = data;
    sregs.fs = data;
    sregs.gs = data;
    sregs.tr = kvm_segment {
        selector: 3 << 3,
        limit: 0x67,
        type_: 0xb,
        present: 1,
        ..Default::default()
    };
    sregs.cr0 = FLAT_CR0;
    sregs.cr4 = 0;
    sregs.efer = 0;
    sregs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flat_start_is_protected_mode_without_paging_on_whole_segments() {
        let sregs = flat_registers(kvm_sregs {
            cr0: 0x6000_0010,
            cr4: 1 << 5,
            apic_base: APIC_BASE_BSP,
            ..Default::default()
        });
        assert_eq!((sregs.cr0, sregs.cr4, sregs.efer), (0x11, 0, 0));
        assert_eq!((sregs.cs.db, sregs.cs.l, sregs.cs.type_), (1, 0, 0xb));
        for segment in [sregs.cs, sregs.ds, sregs.es, sregs.ss] {
            assert_eq!((segment.base, segment.limit), (0, 0xffff_ffff));
        }
        assert_eq!((sregs.tr.base, sregs.tr.limit, sregs.tr.s), (0, 0x67, 0));
        assert_eq!(sregs.apic_base, APIC_BASE_BSP);
    }

    #[test]
    fn apic_of_a_flat_start_takes_interrupts() {
        let mut apic = kvm_lapic_state::default();
        enable(&mut apic);
        let svr: [u8; 5] = std::array::from_fn(|byte| apic.regs[APIC_SVR + byte] as u8);
        assert_eq!(svr, [0xff, 1, 0, 0, 0]);
    }

    const START: StartState = StartState {
        id: 3,
        rip: 0xffff_8700_0000_0000,
        cr3: 0x4000_1000,
        cr4: 0x6a0,
        xcr0: 7,
        mon_info: 0xffff_8400_4000_0000,
    };

    #[test]
    fn start_state_is_long_mode_on_the_vcpus_own_stack() {
        let regs = general_registers(START);
        let sregs = system_registers(kvm_sregs::default(), START);
        assert_eq!(regs.rsp, 0xffff_8700_4032_8000);
        assert_eq!((regs.rdi, regs.rsi), (START.mon_info, 3));
        assert_eq!((sregs.efer, sregs.cs.l, sregs.cs.db), (0xd01, 1, 0));
        assert_eq!(sregs.gdt.base, 0xffff_8700_4030_0000);
    }

    #[test]
    fn only_the_first_vcpu_is_the_boot_processor() {
        let other = system_registers(kvm_sregs::default(), START);
        let first = system_registers(kvm_sregs::default(), StartState { id: 0, ..START });
        assert_eq!(other.apic_base & APIC_BASE_BSP, 0);
        assert_eq!(first.apic_base & APIC_BASE_BSP, APIC_BASE_BSP);
    }
}
