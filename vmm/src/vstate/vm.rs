//! The VM: memslots, interrupt controller, notification ports.

use crate::vstate::memory::{DomainMemory, GuestMemory, Piece, Slot};
use kvm_bindings::{
    kvm_enable_cap, kvm_irq_routing_entry, kvm_irq_routing_entry__bindgen_ty_1,
    kvm_irq_routing_irqchip, kvm_irq_routing_msi, kvm_msi, kvm_pit_config, kvm_reinject_control,
    kvm_userspace_memory_region, KvmIrqRouting, KVM_CAP_SPLIT_IRQCHIP, KVM_CAP_X86_USER_SPACE_MSR,
    KVM_IRQCHIP_IOAPIC, KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE, KVM_IRQ_ROUTING_IRQCHIP,
    KVM_IRQ_ROUTING_MSI, KVM_MEM_LOG_DIRTY_PAGES, KVM_MEM_READONLY, KVM_PIT_SPEAKER_DUMMY,
};
use kvm_ioctls::{
    Cap, IoEventAddress, Kvm, MsrExitReason, MsrFilterDefaultAction, MsrFilterRange,
    MsrFilterRangeFlags, VcpuFd, VmFd,
};
use noxen_monitor_abi::layout::vector;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use vm_memory::{GuestAddress, GuestMemoryBackend, MmapRegion};
use vmm_sys_util::eventfd::EventFd;
use vmm_sys_util::ioctl::ioctl_with_ref;

use number::KVM_REINJECT_CONTROL;

/// Nobody else needs it, so its definition is here (linux/kvm.h).
#[allow(missing_docs)]
mod number {
    vmm_sys_util::ioctl_io_nr!(KVM_REINJECT_CONTROL, kvm_bindings::KVMIO, 0x71);
}

/// GSI of the doorbell interrupt; the only one there is.
const DOORBELL_GSI: u32 = 0;
/// MSI address: local APICs, physical destination 0 (SDM 3A, 11.11.1).
const MSI_ADDRESS: u32 = 0xfee0_0000;
/// Where the destination is in that address.
const MSI_DESTINATION: u32 = 12;
/// Three pages that KVM on Intel CPUs without unrestricted guest wants; in the hole below 4 GiB.
const TSS_ADDRESS: usize = 0xfffb_d000;

/// The same of a PC, and the page of page tables that such CPUs want besides: below a BIOS of at most 2 MiB and above the APICs.
const PC_TSS_ADDRESS: usize = 0xfeff_d000;
const PC_IDENTITY_MAP: u64 = 0xfeff_c000;
/// Slots that a PC's own memory leaves for what can only be read.
const FREE_SLOT: u32 = 8;
/// Inputs of the I/O APIC.
const IO_APIC_PINS: u32 = 24;

/// What KVM refused.
#[derive(Debug, thiserror::Error)]
#[error("KVM refused to {what}: {source}")]
pub struct VmError {
    /// What was asked.
    pub what: &'static str,
    /// Its answer.
    pub source: kvm_ioctls::Error,
}

pub(super) fn refused(what: &'static str) -> impl Fn(kvm_ioctls::Error) -> VmError {
    move |source| VmError { what, source }
}

/// What a local APIC takes whatever its processor masks: delivery modes of a message (SDM 3A, 11.11.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Non-maskable interrupt.
    Nmi = 4,
    /// INIT: the first vCPU begins at its reset vector, another waits for the first to start it.
    Init = 5,
}

/// A VM with its memory and interrupt controller.
#[derive(Debug)]
pub struct Vm {
    fd: VmFd,
    /// Number of vCPU n's local APIC is n times this.
    apic_step: u32,
    slots: Vec<Slot>,
    /// Devices' memory that the guest may have; it stays mapped as long as the VM.
    lent: Mutex<Vec<Arc<MmapRegion>>>,
    /// Memory of which parts are shown to the guest at other addresses; likewise.
    shown: OnceLock<GuestMemory>,
}

impl Vm {
    /// The KVM object.
    pub(super) fn fd(&self) -> &VmFd {
        &self.fd
    }

    /// Creates a VM that sees `memory`, with in-kernel local APICs and no other interrupt hardware
    /// (or with the PC's, where KVM cannot split it; nothing is routed to that).
    pub fn create(kvm: &Kvm, memory: &DomainMemory) -> Result<Vm, VmError> {
        let fd = kvm.create_vm().map_err(refused("create a VM"))?;
        fd.set_tss_address(TSS_ADDRESS)
            .map_err(refused("place its TSS pages"))?;
        if fd.check_extension(Cap::SplitIrqchip) {
            let split = kvm_enable_cap {
                cap: KVM_CAP_SPLIT_IRQCHIP,
                ..Default::default()
            };
            fd.enable_cap(&split)
                .map_err(refused("make local APICs (split interrupt controller)"))?;
        } else {
            fd.create_irq_chip()
                .map_err(refused("make an interrupt controller"))?;
        }
        let slots = memory.slots.clone();
        let vm = Vm {
            fd,
            apic_step: 1,
            slots,
            lent: Mutex::default(),
            shown: OnceLock::new(),
        };
        vm.set_memory(0)?;
        Ok(vm)
    }

    fn set_memory(&self, flags: u32) -> Result<(), VmError> {
        for (index, slot) in (0..).zip(&self.slots) {
            self.add_memory(index, slot, flags)?;
        }
        Ok(())
    }

    /// Has KVM note from now on which pages the guest writes, or no more.
    pub fn log_writes(&self, on: bool) -> Result<(), VmError> {
        self.set_memory(if on { KVM_MEM_LOG_DIRTY_PAGES } else { 0 })
    }

    /// The pages that the guest has written since the last call: for each piece of memory a bit a page.
    pub fn written(&self) -> Result<Vec<(Piece, Vec<u64>)>, VmError> {
        let slots = (0..).zip(&self.slots);
        slots
            .map(|(index, slot)| {
                let bits = self.fd.get_dirty_log(index, slot.piece.len as usize);
                let bits = bits.map_err(refused("tell which pages the guest has written"))?;
                Ok((slot.piece, bits))
            })
            .collect()
    }

    /// Creates a VM that sees `slots` (some can only be read), with the interrupt controllers and the timer of a PC; its local APICs have
    /// the numbers 0, `apic_step`, ...
    pub fn create_pc(kvm: &Kvm, slots: &[(Slot, bool)], apic_step: u32) -> Result<Vm, VmError> {
        let fd = kvm.create_vm().map_err(refused("create a VM"))?;
        fd.set_tss_address(PC_TSS_ADDRESS)
            .map_err(refused("place its TSS pages"))?;
        fd.set_identity_map_address(PC_IDENTITY_MAP)
            .map_err(refused("place its identity map"))?;
        fd.create_irq_chip()
            .map_err(refused("make interrupt controllers"))?;
        // Port 0x61, the speaker's, is the timer's too.
        let pit = kvm_pit_config {
            flags: KVM_PIT_SPEAKER_DUMMY,
            ..Default::default()
        };
        fd.create_pit2(pit).map_err(refused("make a timer"))?;
        let what = "route interrupts";
        let routing = KvmIrqRouting::from_entries(&pc_routes())
            .map_err(|_| refused(what)(kvm_ioctls::Error::new(libc::ENOMEM)))?;
        fd.set_gsi_routing(&routing).map_err(refused(what))?;
        // What can be written comes first; only that is ever set anew.
        let writable = slots.iter().filter(|(_, read_only)| !read_only);
        let vm = Vm {
            fd,
            apic_step,
            slots: writable.map(|(slot, _)| *slot).collect(),
            lent: Mutex::default(),
            shown: OnceLock::new(),
        };
        vm.set_memory(0)?;
        let read_only = slots.iter().filter(|(_, read_only)| *read_only);
        for (index, (slot, _)) in (vm.slots.len() as u32..).zip(read_only) {
            vm.add_memory(index, slot, KVM_MEM_READONLY)?;
        }
        Ok(vm)
    }

    /// Whether the timer (8254) delivers each tick that the guest missed, as it does at first, or one for all.
    #[allow(unsafe_code)] // kvm-ioctls does not have this one.
    pub fn deliver_each_tick(&self, each: bool) -> Result<(), VmError> {
        let control = kvm_reinject_control {
            pit_reinject: u8::from(each),
            ..Default::default()
        };
        // SAFETY: KVM reads the structure, which is the one that this request takes, and nothing else. kvm-ioctls offers no safe form.
        match unsafe { ioctl_with_ref(&self.fd, KVM_REINJECT_CONTROL(), &control) } {
            0 => Ok(()),
            _ => Err(refused("deliver late ticks of the timer as one")(
                kvm_ioctls::Error::last(),
            )),
        }
    }

    /// A number for [`Self::lend`] that the VM's own memory does not use.
    pub fn free_slot(&self) -> u32 {
        // The BIOS's slot follows those that can be written.
        self.slots.len() as u32 + FREE_SLOT
    }

    /// Lets the guest have all of `memory` at `piece` from now on, as slot `slot`, and notes what it writes there; or nowhere.
    #[allow(unsafe_code)] // KVM_SET_USER_MEMORY_REGION gives the guest a range of this process.
    pub fn lend(
        &self,
        slot: u32,
        piece: Option<Piece>,
        memory: &Arc<MmapRegion>,
    ) -> Result<(), VmError> {
        let length = piece.map_or(0, |piece| piece.len);
        if length > memory.size() as u64 {
            return Err(refused("lend more memory than there is")(
                kvm_ioctls::Error::new(libc::EINVAL),
            ));
        }
        let region = kvm_userspace_memory_region {
            slot,
            flags: KVM_MEM_LOG_DIRTY_PAGES,
            guest_phys_addr: piece.map_or(0, |piece| piece.gpa),
            memory_size: length,
            userspace_addr: memory.as_ptr() as u64,
        };
        let mut lent = self.lent.lock().unwrap_or_else(PoisonError::into_inner);
        if !lent.iter().any(|known| Arc::ptr_eq(known, memory)) {
            lent.push(memory.clone());
        }
        // SAFETY: `memory` maps [as_ptr, as_ptr + length), as was checked, and is kept in `lent` as long as the VM; all access
        // from this process goes through vm-memory's volatile accessors. kvm-ioctls offers no safe form.
        unsafe { self.fd.set_user_memory_region(region) }.map_err(refused("map a device's memory"))
    }

    /// The pages of `length` bytes of slot `slot` that the guest has written since the last call, a bit each.
    pub fn written_in(&self, slot: u32, length: usize) -> Result<Vec<u64>, VmError> {
        self.fd
            .get_dirty_log(slot, length)
            .map_err(refused("tell which pages the guest has written"))
    }

    /// Shows the `length` bytes of `memory` at `from` to the guest at `at`, as slot `slot`, or nowhere any more. It is the same memory at each call.
    pub fn show(
        &self,
        slot: u32,
        memory: &GuestMemory,
        from: GuestAddress,
        at: Option<u64>,
        length: u64,
    ) -> Result<(), VmError> {
        // Kept mapped for as long as the VM; all callers have the same.
        let memory = self.shown.get_or_init(|| memory.clone());
        let there = memory.get_slice(from, length as usize);
        let there = there.map_err(|_| {
            refused("show memory that there is not")(kvm_ioctls::Error::new(libc::EINVAL))
        })?;
        let piece = Piece {
            gpa: at.unwrap_or(0),
            len: if at.is_some() { length } else { 0 },
        };
        let hva = there.ptr_guard().as_ptr() as u64;
        self.add_memory(slot, &Slot { piece, hva }, 0)
    }

    /// Has KVM leave reads of the MSRs `reads` and writes of `writes` to us (KVM_EXIT_X86_RDMSR, KVM_EXIT_X86_WRMSR).
    pub fn leave_msrs(&self, reads: &[u32], writes: &[u32]) -> Result<(), VmError> {
        let what = "leave MSRs to noxen-vmm (KVM_CAP_X86_USER_SPACE_MSR, Linux 5.10)";
        let exits = kvm_enable_cap {
            cap: KVM_CAP_X86_USER_SPACE_MSR,
            args: [u64::from(MsrExitReason::Filter.bits()), 0, 0, 0],
            ..Default::default()
        };
        self.fd.enable_cap(&exits).map_err(refused(what))?;
        let range = |flags| {
            move |base: &u32| MsrFilterRange {
                flags,
                base: *base,
                msr_count: 1,
                bitmap: &[0],
            }
        };
        let reads = reads.iter().map(range(MsrFilterRangeFlags::READ));
        let writes = writes.iter().map(range(MsrFilterRangeFlags::WRITE));
        let ranges: Vec<MsrFilterRange<'_>> = reads.chain(writes).collect();
        self.fd
            .set_msr_filter(MsrFilterDefaultAction::ALLOW, &ranges)
            .map_err(refused(what))
    }

    /// Where messages to vCPU `vcpu` go.
    fn message_to(&self, vcpu: u32) -> u32 {
        MSI_ADDRESS | (vcpu.wrapping_mul(self.apic_step) & 0xff) << MSI_DESTINATION
    }

    /// Interrupts vCPU `vcpu` with `vector`, as a message does; false: its local APIC is off, and KVM has dropped it.
    pub fn interrupt(&self, vcpu: u32, vector: u8) -> Result<bool, VmError> {
        let message = kvm_msi {
            address_lo: self.message_to(vcpu),
            data: u32::from(vector),
            ..Default::default()
        };
        self.fd
            .signal_msi(message)
            .map(|taken| taken > 0)
            .map_err(refused("send an interrupt"))
    }

    /// Gives an input of a PC's interrupt controllers a level.
    pub fn set_line(&self, line: u8, up: bool) -> Result<(), VmError> {
        self.fd
            .set_irq_line(u32::from(line), up)
            .map_err(refused("set an interrupt line"))
    }

    /// Has writes to `up` give an input of a PC's interrupt controllers a high level, which ends, and is told by `taken`, when the guest ends
    /// an interrupt of that input (KVM_IRQFD_FLAG_RESAMPLE).
    pub fn line_by(&self, line: u8, up: &EventFd, taken: &EventFd) -> Result<(), VmError> {
        self.fd
            .register_irqfd_with_resample(up, taken, u32::from(line))
            .map_err(refused("bind an interrupt line"))
    }

    /// Ends what [`Self::line_by`] began; the level is low.
    pub fn take_line_off(&self, line: u8, up: &EventFd) -> Result<(), VmError> {
        self.fd
            .unregister_irqfd(up, u32::from(line))
            .map_err(refused("let go of an interrupt line"))
    }

    /// Gives vCPU `vcpu` (below 255) `signal`.
    pub fn signal(&self, vcpu: u32, signal: Signal) -> Result<(), VmError> {
        let message = kvm_msi {
            address_lo: self.message_to(vcpu),
            data: (signal as u32) << 8,
            ..Default::default()
        };
        match self.fd.signal_msi(message) {
            Ok(taken) if taken > 0 => Ok(()),
            Ok(_) => Err(refused("signal a vCPU whose local APIC is off")(
                kvm_ioctls::Error::new(libc::EAGAIN),
            )),
            Err(error) => Err(refused("signal a vCPU")(error)),
        }
    }

    #[allow(unsafe_code)] // KVM_SET_USER_MEMORY_REGION gives the guest a range of this process.
    fn add_memory(&self, index: u32, slot: &Slot, flags: u32) -> Result<(), VmError> {
        let region = kvm_userspace_memory_region {
            slot: index,
            flags,
            guest_phys_addr: slot.piece.gpa,
            memory_size: slot.piece.len,
            userspace_addr: slot.hva,
        };
        // SAFETY: `DomainMemory` maps [hva, hva + len) of each of its slots for guest memory alone and never unmaps it (nor does
        // `shown`, which is kept as long as the VM), and all access from this process goes through vm-memory's volatile accessors. kvm-ioctls offers
        // no safe form.
        unsafe { self.fd.set_user_memory_region(region) }
            .map_err(refused("take the guest's memory"))
    }

    /// Makes writing to `line` raise the doorbell vector on vCPU 0.
    pub fn doorbell_by(&self, line: &EventFd) -> Result<(), VmError> {
        let entry = kvm_irq_routing_entry {
            gsi: DOORBELL_GSI,
            type_: KVM_IRQ_ROUTING_MSI,
            u: kvm_irq_routing_entry__bindgen_ty_1 {
                msi: kvm_irq_routing_msi {
                    address_lo: MSI_ADDRESS,
                    address_hi: 0,
                    data: u32::from(vector::DOORBELL),
                    ..Default::default()
                },
            },
            ..Default::default()
        };
        let what = "route the doorbell interrupt";
        let routing = KvmIrqRouting::from_entries(&[entry])
            .map_err(|_| refused(what)(kvm_ioctls::Error::new(libc::ENOMEM)))?;
        self.fd.set_gsi_routing(&routing).map_err(refused(what))?;
        self.fd
            .register_irqfd(line, DOORBELL_GSI)
            .map_err(refused("bind the doorbell interrupt"))
    }

    /// Makes a 32-bit `out` of `value` to I/O port `io_port` signal `event` without leaving the kernel.
    pub fn notify_by(&self, event: &EventFd, io_port: u16, value: u32) -> Result<(), VmError> {
        self.fd
            .register_ioevent(event, &IoEventAddress::Pio(u64::from(io_port)), value)
            .map_err(refused("bind an event channel"))
    }

    /// Ends what [`Self::notify_by`] began.
    pub fn forget_notify(&self, event: &EventFd, io_port: u16, value: u32) -> Result<(), VmError> {
        self.fd
            .unregister_ioevent(event, &IoEventAddress::Pio(u64::from(io_port)), value)
            .map_err(refused("let go of an event channel"))
    }

    /// Creates vCPU `id`; KVM's number of it is its local APIC's.
    pub fn create_vcpu(&self, id: u32) -> Result<VcpuFd, VmError> {
        self.fd
            .create_vcpu(u64::from(id) * u64::from(self.apic_step))
            .map_err(refused("create a vCPU"))
    }
}

/// ISA line n is input n of the 8259s and of the I/O APIC, but for the timer's, which is pin 2 there, where the second 8259 has
/// its place on the first.
fn pc_routes() -> Vec<kvm_irq_routing_entry> {
    let entry = |gsi, irqchip, pin| kvm_irq_routing_entry {
        gsi,
        type_: KVM_IRQ_ROUTING_IRQCHIP,
        u: kvm_irq_routing_entry__bindgen_ty_1 {
            irqchip: kvm_irq_routing_irqchip { irqchip, pin },
        },
        ..Default::default()
    };
    let mut routes = Vec::new();
    for line in 0..IO_APIC_PINS {
        match line {
            2 => continue,
            0..8 => routes.push(entry(line, KVM_IRQCHIP_PIC_MASTER, line)),
            8..16 => routes.push(entry(line, KVM_IRQCHIP_PIC_SLAVE, line - 8)),
            _ => {}
        }
        let pin = if line == 0 { 2 } else { line };
        routes.push(entry(line, KVM_IRQCHIP_IOAPIC, pin));
    }
    routes
}
