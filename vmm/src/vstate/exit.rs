//! An exit of KVM_RUN as an owned value, so that deciding what to do needs no vCPU.

use kvm_ioctls::VcpuExit;

/// Who answers a guest's accesses to ports and to addresses that are no memory.
pub trait Io {
    /// `in`, as often as `data` has pieces of `width` bytes (an instruction with a REP prefix gets them at once).
    fn port_in(&self, port: u16, width: usize, data: &mut [u8]);
    /// `out`, likewise.
    fn port_out(&self, port: u16, width: usize, data: &[u8]);
    /// A read, at most 8 bytes.
    fn memory_read(&self, address: u64, data: &mut [u8]);
    /// A write, at most 8 bytes.
    fn memory_write(&self, address: u64, data: &[u8]);
    /// `rdmsr` of one that KVM was told to leave to us ([`crate::vstate::vm::Vm::leave_msrs`]); `None`: there is none, #GP.
    fn msr_read(&self, _index: u32) -> Option<u64> {
        None
    }
    /// `wrmsr` of such a one; false: #GP.
    fn msr_write(&self, _index: u32, _value: u64) -> bool {
        false
    }
}

/// An empty bus: reads are all ones, writes are lost.
#[derive(Debug, Clone, Copy)]
pub struct Nothing;

impl Io for Nothing {
    fn port_in(&self, _port: u16, _width: usize, data: &mut [u8]) {
        data.fill(0xff);
    }
    fn port_out(&self, _port: u16, _width: usize, _data: &[u8]) {}
    fn memory_read(&self, _address: u64, data: &mut [u8]) {
        data.fill(0xff);
    }
    fn memory_write(&self, _address: u64, _data: &[u8]) {}
}

/// Why KVM_RUN came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// `out`: port, width in bytes, value.
    IoOut(u16, u8, u32),
    /// `in`: port, width in bytes.
    IoIn(u16, u8),
    /// Read of an address without memory.
    MmioRead(u64),
    /// Write to an address without memory.
    MmioWrite(u64),
    /// `rdmsr`: number.
    MsrRead(u32),
    /// `wrmsr`: number, value.
    MsrWrite(u32, u64),
    /// `hlt` that KVM did not handle: there is no in-kernel local APIC.
    Hlt,
    /// Triple fault.
    Shutdown,
    /// The CPU refused to enter: hardware reason.
    FailEntry(u64),
    /// KVM gave up: suberror.
    InternalError(u32),
    /// A signal or the immediate-exit flag: look at the commands.
    Interrupted,
    /// KVM_RUN itself failed: errno.
    Failed(i32),
    /// Anything else: KVM_EXIT_* number.
    Other(u32),
}

/// Names of the kinds, for counters; index by [`Exit::kind`].
pub const KINDS: [&str; 13] = [
    "io-out",
    "io-in",
    "mmio-read",
    "mmio-write",
    "hlt",
    "shutdown",
    "fail-entry",
    "internal-error",
    "interrupted",
    "failed",
    "other",
    "msr-read",
    "msr-write",
];

impl Exit {
    /// Index into [`KINDS`].
    pub fn kind(&self) -> usize {
        match self {
            Exit::IoOut(..) => 0,
            Exit::IoIn(..) => 1,
            Exit::MmioRead(_) => 2,
            Exit::MmioWrite(_) => 3,
            Exit::Hlt => 4,
            Exit::Shutdown => 5,
            Exit::FailEntry(_) => 6,
            Exit::InternalError(_) => 7,
            Exit::Interrupted => 8,
            Exit::Failed(_) => 9,
            Exit::Other(_) => 10,
            Exit::MsrRead(_) => 11,
            Exit::MsrWrite(..) => 12,
        }
    }

    /// Takes the exit over from kvm-ioctls; `io` answers accesses. `width` tells the bytes of each access by port I/O.
    pub fn from_kvm(
        result: Result<VcpuExit<'_>, kvm_ioctls::Error>,
        width: impl FnOnce() -> usize,
        io: &dyn Io,
    ) -> Exit {
        let exit = match result {
            Ok(exit) => exit,
            Err(error) if matches!(error.errno(), libc::EINTR | libc::EAGAIN) => {
                return Exit::Interrupted
            }
            Err(error) => return Exit::Failed(error.errno()),
        };
        match exit {
            VcpuExit::IoOut(port, data) => {
                io.port_out(port, width(), data);
                Exit::IoOut(port, data.len() as u8, little_endian(data))
            }
            VcpuExit::IoIn(port, data) => {
                io.port_in(port, width(), data);
                Exit::IoIn(port, data.len() as u8)
            }
            VcpuExit::MmioRead(address, data) => {
                io.memory_read(address, data);
                Exit::MmioRead(address)
            }
            VcpuExit::MmioWrite(address, data) => {
                io.memory_write(address, data);
                Exit::MmioWrite(address)
            }
            VcpuExit::X86Rdmsr(exit) => {
                match io.msr_read(exit.index) {
                    Some(value) => *exit.data = value,
                    None => *exit.error = 1,
                }
                Exit::MsrRead(exit.index)
            }
            VcpuExit::X86Wrmsr(exit) => {
                if !io.msr_write(exit.index, exit.data) {
                    *exit.error = 1;
                }
                Exit::MsrWrite(exit.index, exit.data)
            }
            VcpuExit::Hlt => Exit::Hlt,
            VcpuExit::Shutdown => Exit::Shutdown,
            VcpuExit::FailEntry(reason, _cpu) => Exit::FailEntry(reason),
            VcpuExit::InternalError => Exit::InternalError(0),
            VcpuExit::Intr => Exit::Interrupted,
            VcpuExit::Unsupported(number) => Exit::Other(number),
            other => Exit::Other(number_of(&other)),
        }
    }
}

/// KVM_EXIT_* of the rare exits that can happen on x86.
fn number_of(exit: &VcpuExit<'_>) -> u32 {
    use kvm_bindings as kvm;
    match exit {
        VcpuExit::Exception => kvm::KVM_EXIT_EXCEPTION,
        VcpuExit::Hypercall(_) => kvm::KVM_EXIT_HYPERCALL,
        VcpuExit::Debug(_) => kvm::KVM_EXIT_DEBUG,
        VcpuExit::IrqWindowOpen => kvm::KVM_EXIT_IRQ_WINDOW_OPEN,
        VcpuExit::SetTpr => kvm::KVM_EXIT_SET_TPR,
        VcpuExit::TprAccess => kvm::KVM_EXIT_TPR_ACCESS,
        VcpuExit::Nmi => kvm::KVM_EXIT_NMI,
        VcpuExit::SystemEvent(..) => kvm::KVM_EXIT_SYSTEM_EVENT,
        VcpuExit::IoapicEoi(_) => kvm::KVM_EXIT_IOAPIC_EOI,
        VcpuExit::MemoryFault { .. } => kvm::KVM_EXIT_MEMORY_FAULT,
        _ => kvm::KVM_EXIT_UNKNOWN,
    }
}

fn little_endian(data: &[u8]) -> u32 {
    data.iter()
        .take(4)
        .rev()
        .fold(0, |value, byte| value << 8 | u32::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(result: Result<VcpuExit<'_>, kvm_ioctls::Error>) -> Exit {
        Exit::from_kvm(result, || 1, &Nothing)
    }

    #[test]
    fn out_data_is_read_little_endian_and_by_width() {
        let exit = taken(Ok(VcpuExit::IoOut(0x4e50, &[0x78, 0x56, 0x34, 0x12])));
        assert_eq!(exit, Exit::IoOut(0x4e50, 4, 0x1234_5678));
        let exit = taken(Ok(VcpuExit::IoOut(1, &[0x78])));
        assert_eq!(exit, Exit::IoOut(1, 1, 0x78));
    }

    #[test]
    fn reads_of_an_empty_bus_are_answered_with_all_ones() {
        let mut data = [0u8; 2];
        let exit = taken(Ok(VcpuExit::IoIn(0x60, &mut data)));
        assert_eq!((exit, data), (Exit::IoIn(0x60, 2), [0xff; 2]));
    }

    #[test]
    fn signal_during_run_is_an_interruption_not_a_failure() {
        let eintr = Err(kvm_ioctls::Error::new(libc::EINTR));
        assert_eq!(taken(eintr), Exit::Interrupted);
        let efault = Err(kvm_ioctls::Error::new(libc::EFAULT));
        assert_eq!(taken(efault), Exit::Failed(libc::EFAULT));
    }

    #[test]
    fn kinds_have_distinct_names() {
        let mut names = KINDS.to_vec();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), KINDS.len());
    }
}
