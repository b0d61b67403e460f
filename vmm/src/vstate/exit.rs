//! An exit of KVM_RUN as an owned value, so that deciding what to do needs no vCPU.

use kvm_ioctls::VcpuExit;

/// Why KVM_RUN came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// `out`: port, width in bytes, value.
    IoOut(u16, u8, u32),
    /// `in`: port, width in bytes. The value read is all ones.
    IoIn(u16, u8),
    /// Read of an address without memory.
    MmioRead(u64),
    /// Write to an address without memory.
    MmioWrite(u64),
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
pub const KINDS: [&str; 11] = [
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
        }
    }

    /// Takes the exit over from kvm-ioctls; answers reads with all ones, as an empty bus does.
    pub fn from_kvm(result: Result<VcpuExit<'_>, kvm_ioctls::Error>) -> Exit {
        let exit = match result {
            Ok(exit) => exit,
            Err(error) if matches!(error.errno(), libc::EINTR | libc::EAGAIN) => {
                return Exit::Interrupted
            }
            Err(error) => return Exit::Failed(error.errno()),
        };
        match exit {
            VcpuExit::IoOut(port, data) => Exit::IoOut(port, data.len() as u8, little_endian(data)),
            VcpuExit::IoIn(port, data) => {
                data.fill(0xff);
                Exit::IoIn(port, data.len() as u8)
            }
            VcpuExit::MmioRead(address, data) => {
                data.fill(0xff);
                Exit::MmioRead(address)
            }
            VcpuExit::MmioWrite(address, _) => Exit::MmioWrite(address),
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
        VcpuExit::X86Rdmsr(_) => kvm::KVM_EXIT_X86_RDMSR,
        VcpuExit::X86Wrmsr(_) => kvm::KVM_EXIT_X86_WRMSR,
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

    #[test]
    fn out_data_is_read_little_endian_and_by_width() {
        let exit = Exit::from_kvm(Ok(VcpuExit::IoOut(0x4e50, &[0x78, 0x56, 0x34, 0x12])));
        assert_eq!(exit, Exit::IoOut(0x4e50, 4, 0x1234_5678));
        let exit = Exit::from_kvm(Ok(VcpuExit::IoOut(1, &[0x78])));
        assert_eq!(exit, Exit::IoOut(1, 1, 0x78));
    }

    #[test]
    fn reads_are_answered_with_all_ones() {
        let mut data = [0u8; 2];
        let exit = Exit::from_kvm(Ok(VcpuExit::IoIn(0x60, &mut data)));
        assert_eq!((exit, data), (Exit::IoIn(0x60, 2), [0xff; 2]));
    }

    #[test]
    fn signal_during_run_is_an_interruption_not_a_failure() {
        let eintr = Err(kvm_ioctls::Error::new(libc::EINTR));
        assert_eq!(Exit::from_kvm(eintr), Exit::Interrupted);
        let efault = Err(kvm_ioctls::Error::new(libc::EFAULT));
        assert_eq!(Exit::from_kvm(efault), Exit::Failed(libc::EFAULT));
    }

    #[test]
    fn kinds_have_distinct_names() {
        let mut names = KINDS.to_vec();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), KINDS.len());
    }
}
