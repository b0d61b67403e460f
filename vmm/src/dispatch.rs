//! From an exit to what to do about it: a pure function.
//!
//! ```text
//!   KVM_RUN --Exit--> decide() --Action--> vCPU thread acts, then re-enters, looks at commands or stops
//! ```

use crate::vstate::exit::Exit;
use noxen_monitor_abi::layout::port;

/// What a vCPU thread does after an exit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Enter again.
    Resume,
    /// Look at the commands first.
    LookAtCommands,
    /// Serve the synchronous call in this vCPU's call page.
    Call,
    /// The guest notified a port to which nothing is bound: count it, enter again.
    StrayNotify(u32),
    /// The domain cannot go on; the line says why.
    Crash(String),
}

/// Decides about `exit` of vCPU `vcpu`.
pub fn decide(exit: Exit, vcpu: u32) -> Action {
    match exit {
        Exit::IoOut(port::CALL, 4, value) if value == vcpu => Action::Call,
        Exit::IoOut(port::CALL, width, value) => Action::Crash(format!(
            "the monitor called as vCPU {value} ({width} bytes) from vCPU {vcpu}"
        )),
        // A bound port never gets here: KVM answers it with an ioeventfd.
        Exit::IoOut(port::NOTIFY, 4, value) => Action::StrayNotify(value),
        Exit::IoOut(port, width, value) => Action::Crash(format!(
            "the monitor wrote {value:#x} ({width} bytes) to I/O port {port:#x}, which does not exist"
        )),
        Exit::IoIn(port, _) => Action::Crash(format!(
            "the monitor read I/O port {port:#x}, which does not exist"
        )),
        Exit::MmioRead(address) => Action::Crash(format!(
            "read of guest-physical address {address:#x}, where there is no memory"
        )),
        Exit::MmioWrite(address) => Action::Crash(format!(
            "write to guest-physical address {address:#x}, where there is no memory"
        )),
        Exit::MsrRead(index) | Exit::MsrWrite(index, _) => Action::Crash(format!(
            "MSR {index:#x} left KVM, which was not asked to leave any"
        )),
        Exit::Hlt => Action::Crash("halted without a local APIC".into()),
        Exit::Shutdown => Action::Crash("triple fault".into()),
        Exit::FailEntry(reason) => Action::Crash(format!(
            "the CPU refused to enter the guest (hardware reason {reason:#x})"
        )),
        Exit::InternalError(suberror) => Action::Crash(match suberror {
            1 => "KVM could not emulate an instruction (KVM_EXIT_INTERNAL_ERROR, suberror 1)".into(),
            other => format!("KVM_EXIT_INTERNAL_ERROR, suberror {other}"),
        }),
        Exit::Interrupted => Action::LookAtCommands,
        Exit::Failed(errno) => Action::Crash(format!(
            "KVM_RUN failed: {}",
            std::io::Error::from_raw_os_error(errno)
        )),
        // KVM_EXIT_SET_TPR and KVM_EXIT_IOAPIC_EOI carry nothing that anybody here waits for.
        Exit::Other(kvm_bindings::KVM_EXIT_SET_TPR | kvm_bindings::KVM_EXIT_IOAPIC_EOI) => {
            Action::Resume
        }
        Exit::Other(number) => Action::Crash(format!("KVM exit {number}, which is not known")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn call_of_ones_own_vcpu_is_served() {
        assert_eq!(decide(Exit::IoOut(port::CALL, 4, 3), 3), Action::Call);
    }

    #[test]
    fn call_in_the_name_of_another_vcpu_crashes() {
        assert!(matches!(
            decide(Exit::IoOut(port::CALL, 4, 2), 3),
            Action::Crash(_)
        ));
        assert!(matches!(
            decide(Exit::IoOut(port::CALL, 1, 3), 3),
            Action::Crash(_)
        ));
    }

    #[test]
    fn notify_without_a_binding_is_stray() {
        assert_eq!(
            decide(Exit::IoOut(port::NOTIFY, 4, 77), 0),
            Action::StrayNotify(77)
        );
    }

    #[test]
    fn interruption_looks_at_commands() {
        assert_eq!(decide(Exit::Interrupted, 0), Action::LookAtCommands);
    }

    #[test]
    fn everything_fatal_says_why_in_one_line() {
        let cases = [
            (Exit::Shutdown, "triple fault"),
            (Exit::MmioRead(0xdead_0000), "0xdead0000"),
            (Exit::MmioWrite(0xbeef_0000), "0xbeef0000"),
            (Exit::IoIn(0x60, 1), "0x60"),
            (Exit::IoOut(0x80, 1, 5), "0x80"),
            (Exit::FailEntry(0x8000_0021), "0x80000021"),
            (Exit::InternalError(1), "emulate"),
            (Exit::Failed(libc::EFAULT), "Bad address"),
            (Exit::Other(1234), "1234"),
            (Exit::Hlt, "APIC"),
        ];
        for (exit, expected) in cases {
            let Action::Crash(line) = decide(exit, 0) else {
                panic!("{exit:?} was not fatal");
            };
            assert!(line.contains(expected) && !line.contains('\n'), "{line}");
        }
    }
}
