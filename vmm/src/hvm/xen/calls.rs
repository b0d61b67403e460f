//! From an exit of an HVM vCPU to what Xen does about it.
//!
//! ```text
//!   out HYPERCALL  --> registers --> hypercall() --> RAX
//!   wrmsr PAGE_MSR --> hypercall page         rdmsr MICROCODE_MSR --> the kernel's stubs are patched
//! ```

use crate::domain::runner::Next;
use crate::hvm::xen::page::hypercall_page;
use crate::hvm::xen::processor::{translate, Eyes, Processor};
use crate::hvm::xen::{stubs, Xen, HYPERCALL_PORT, MICROCODE_MSR, PAGE_MSR};
use crate::log::Level;
use crate::vstate::exit::Exit;
use crate::vstate::vcpu::Vcpu;
use noxen_control::ShutdownReason;
use noxen_monitor::cpu::Cpu;
use noxen_monitor_abi::layout::{pfn_of_mfn, PAGE_SIZE};
use noxen_pv_abi::errno::Errno;
use noxen_pv_abi::hypercall::Hypercall;
use noxen_pv_abi::sched::{SchedOp, SchedShutdown, ShutdownReason as Reason};
use std::sync::atomic::Ordering;
use vm_memory::{Bytes, GuestAddress};

/// CR0.PE, CR0.PG and EFER.LMA.
const PROTECTED: u64 = 1;
const PAGING: u64 = 1 << 31;
const LONG: u64 = 1 << 10;
/// How far from the instruction that reads the microcode's revision the kernel's stubs are looked for, bytes: both are in its text.
const REACH: u64 = 32 << 20;
/// What is looked through at once.
const WINDOW: usize = 1 << 20;
/// Both stubs.
const PAIR: u64 = 32;

/// What a hypercall comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It answers.
    Answer(Result<u64, Errno>),
    /// The domain is over.
    Stop(ShutdownReason),
}

impl Xen {
    /// Does what `exit` of `vcpu` asks of Xen; `None`: nothing in particular.
    pub fn after(&self, exit: Exit, vcpu: &Vcpu) -> Option<Next> {
        match exit {
            Exit::IoOut(port, 1, _) if port == u16::from(HYPERCALL_PORT) => {
                match self.serve(vcpu) {
                    Ok(next) => next,
                    Err(error) => Some(Next::Stop {
                        reason: ShutdownReason::Crash,
                        detail: Some(format!(
                            "KVM refused vCPU {}'s registers for a hypercall: {error}",
                            vcpu.id()
                        )),
                        record: String::new(),
                    }),
                }
            }
            Exit::MsrWrite(PAGE_MSR, value) => {
                self.write_page(value);
                None
            }
            Exit::MsrRead(MICROCODE_MSR) => {
                self.patch_stubs(vcpu);
                None
            }
            _ => None,
        }
    }

    fn serve(&self, vcpu: &Vcpu) -> Result<Option<Next>, kvm_ioctls::Error> {
        let mut regs = vcpu.fd().get_regs()?;
        let sregs = vcpu.fd().get_sregs()?;
        let kernel = sregs.cr0 & PROTECTED != 0 && sregs.ss.dpl == 0;
        let wide = sregs.efer & LONG != 0 && sregs.cs.l != 0;
        let outcome = if !kernel {
            Outcome::Answer(Err(Errno::EPERM))
        } else if !wide && sregs.cr0 & PAGING == 0 {
            // Firmware. Its addresses are physical.
            if vcpu.id() == 0 {
                self.wire_8259s(vcpu);
            }
            let args = [regs.rbx, regs.rcx, regs.rdx, regs.rsi, regs.rdi, regs.rbp];
            let args = args.map(|register| register as u32);
            self.make_narrow(vcpu.id(), &Some, regs.rax as u32, &args)
        } else if !wide {
            if !self.narrow_told.swap(true, Ordering::Relaxed) {
                self.hub.log.line(
                    Level::Warning,
                    "a 32-bit kernel makes hypercalls, which is not built yet for HVM domains; xen_platform_pci = 0 keeps it from that",
                );
            }
            Outcome::Answer(Err(Errno::ENOSYS))
        } else {
            let args = [regs.rdi, regs.rsi, regs.rdx, regs.r10, regs.r8, regs.r9];
            self.make(vcpu.id(), &|va| translate(vcpu.fd(), va), regs.rax, &args)
        };
        let (value, next) = match outcome {
            Outcome::Answer(Ok(value)) => (value, None),
            Outcome::Answer(Err(errno)) => ((-i64::from(errno.0)) as u64, None),
            Outcome::Stop(reason) => (0, Some(stop(reason))),
        };
        // KVM goes on behind the OUT by itself, which must still be where RIP is.
        regs.rax = if wide { value } else { value & 0xffff_ffff };
        vcpu.fd().set_regs(&regs)?;
        Ok(next)
    }

    /// vCPU `id` makes hypercall `number`.
    pub(super) fn make(&self, id: u32, eyes: Eyes<'_>, number: u64, args: &[u64; 6]) -> Outcome {
        let made = self.with(id, Some(eyes), |cpu| self.hypercall(cpu, number, args));
        self.settle();
        made.unwrap_or(Outcome::Answer(Err(Errno::ENOSYS)))
    }

    pub(super) fn hypercall(
        &self,
        cpu: &mut Cpu<'_, Processor<'_>>,
        number: u64,
        args: &[u64; 6],
    ) -> Outcome {
        cpu.count_hypercall(number);
        let answer = match u32::try_from(number).map(Hypercall) {
            Ok(Hypercall::MEMORY_OP) => self.memory_op(cpu, args),
            Ok(Hypercall::HVM_OP) => self.hvm_op(cpu, args),
            Ok(Hypercall::SCHED_OP) => return self.sched_op(cpu, args),
            _ => cpu.hvm_hypercall(number, args),
        };
        if answer == Err(Errno::ENOSYS) {
            cpu.count_refused(number);
        }
        Outcome::Answer(answer)
    }

    fn sched_op(&self, cpu: &mut Cpu<'_, Processor<'_>>, args: &[u64; 6]) -> Outcome {
        let [cmd, at, ..] = *args;
        match SchedOp(cmd as u32) {
            // A guest that blocks or polls here has halted by other means before, or comes again: it may find that nothing has
            // happened, and the host may run somebody else meanwhile.
            SchedOp::YIELD | SchedOp::BLOCK | SchedOp::POLL => {
                std::thread::yield_now();
                Outcome::Answer(Ok(0))
            }
            SchedOp::SHUTDOWN => {
                let Ok(bytes) = cpu.read_array(at) else {
                    return Outcome::Answer(Err(Errno::EFAULT));
                };
                let reason = SchedShutdown::from_bytes(&bytes).reason;
                match Reason(reason) {
                    Reason::POWEROFF => Outcome::Stop(ShutdownReason::Poweroff),
                    Reason::REBOOT => Outcome::Stop(ShutdownReason::Reboot),
                    Reason::CRASH => Outcome::Stop(ShutdownReason::Crash),
                    Reason::WATCHDOG => Outcome::Stop(ShutdownReason::Watchdog),
                    Reason::SOFT_RESET => Outcome::Stop(ShutdownReason::SoftReset),
                    // It goes on at once: a suspend that was cancelled. Saving needs no help of the guest.
                    Reason::SUSPEND => Outcome::Answer(Ok(1)),
                    _ => Outcome::Answer(Err(Errno::EINVAL)),
                }
            }
            SchedOp::SHUTDOWN_CODE => Outcome::Answer(Ok(0)),
            SchedOp::REMOTE_SHUTDOWN | SchedOp::PIN_OVERRIDE => Outcome::Answer(Err(Errno::EPERM)),
            _ => {
                cpu.count_refused(u64::from(Hypercall::SCHED_OP.0));
                Outcome::Answer(Err(Errno::ENOSYS))
            }
        }
    }

    /// Writes the hypercall page where the guest wants it.
    fn write_page(&self, value: u64) {
        let page = value & !(PAGE_SIZE - 1);
        let is_ram = pfn_of_mfn(page / PAGE_SIZE).is_some() && page / PAGE_SIZE < self.ram_end();
        let written = is_ram
            && self
                .hub
                .memory
                .write_slice(&hypercall_page(), GuestAddress(page))
                .is_ok();
        if !written {
            self.hub.log.guest_line(
                Level::Warning,
                format_args!(
                    "the guest wants its hypercall page at {page:#x}, where it has no RAM"
                ),
            );
        }
    }

    /// Makes the stubs of the kernel that `vcpu` is in leave for here.
    fn patch_stubs(&self, vcpu: &Vcpu) {
        let place = vcpu
            .fd()
            .get_regs()
            .ok()
            .and_then(|regs| translate(vcpu.fd(), regs.rip));
        let Some(place) = place else { return };
        let known = self.stubs.load(Ordering::SeqCst);
        let near = known != 0 && known.abs_diff(place) <= REACH;
        if near && self.is_patched(known) {
            return;
        }
        let Some(found) = self.look_around(place) else {
            // Firmware, another system, or a kernel that uses the hypercall page.
            return;
        };
        for at in found {
            if self
                .hub
                .memory
                .write_slice(&stubs::PATCH, GuestAddress(at))
                .is_err()
            {
                return;
            }
        }
        self.stubs.store(found[0], Ordering::SeqCst);
        self.hub.log.guest_line(
            Level::Info,
            format_args!(
                "the guest's kernel makes hypercalls at {:#x} and {:#x}",
                found[0], found[1]
            ),
        );
    }

    fn is_patched(&self, at: u64) -> bool {
        let mut bytes = [0; 3];
        let read = self.hub.memory.read_slice(&mut bytes, GuestAddress(at));
        read.is_ok() && bytes == stubs::PATCH
    }

    /// Finds stubs in the memory around `place`: behind it first, where they are in Debian's kernels.
    fn look_around(&self, place: u64) -> Option<[u64; 2]> {
        let place = place & !(WINDOW as u64 - 1);
        let steps = REACH / WINDOW as u64;
        let behind = (0..steps).filter_map(|step| place.checked_add(step * WINDOW as u64));
        let before = (1..=steps).filter_map(|step| place.checked_sub(step * WINDOW as u64));
        let mut window = vec![0; WINDOW + PAIR as usize];
        behind.chain(before).find_map(|first| {
            let length = [window.len(), WINDOW].into_iter().find(|length| {
                let into = &mut window[..*length];
                self.hub
                    .memory
                    .read_slice(into, GuestAddress(first))
                    .is_ok()
            })?;
            let offsets = stubs::find(&window[..length])?;
            Some(offsets.map(|offset| first + offset as u64))
        })
    }
}

fn stop(reason: ShutdownReason) -> Next {
    Next::Stop {
        reason,
        detail: (reason == ShutdownReason::Crash)
            .then(|| "the guest shut down with reason \"crash\"".into()),
        record: String::new(),
    }
}

#[cfg(test)]
#[path = "calls_tests.rs"]
mod tests;
