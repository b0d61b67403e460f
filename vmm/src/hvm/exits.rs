//! From an exit of an HVM vCPU to what follows: a pure function. Accesses have been answered by then.

use crate::vstate::exit::Exit;

/// What follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Enter again.
    Resume,
    /// The machine resets; one line why.
    Reset(&'static str),
    /// The domain cannot go on; one line why.
    Crash(String),
}

/// Decides about `exit`.
pub fn decide(exit: Exit) -> Verdict {
    match exit {
        Exit::IoOut(..)
        | Exit::IoIn(..)
        | Exit::MmioRead(_)
        | Exit::MmioWrite(_)
        | Exit::MsrRead(_)
        | Exit::MsrWrite(..)
        | Exit::Interrupted => Verdict::Resume,
        // The kernel halts by itself; it comes here only as a spurious wake-up.
        Exit::Hlt => Verdict::Resume,
        Exit::Shutdown => Verdict::Reset("triple fault"),
        Exit::FailEntry(reason) => Verdict::Crash(format!(
            "the CPU refused to enter the guest (hardware reason {reason:#x})"
        )),
        Exit::InternalError(1) => Verdict::Crash(
            "KVM could not emulate an instruction (KVM_EXIT_INTERNAL_ERROR, suberror 1)".into(),
        ),
        Exit::InternalError(other) => {
            Verdict::Crash(format!("KVM_EXIT_INTERNAL_ERROR, suberror {other}"))
        }
        Exit::Failed(errno) => Verdict::Crash(format!(
            "KVM_RUN failed: {}",
            std::io::Error::from_raw_os_error(errno)
        )),
        Exit::Other(kvm_bindings::KVM_EXIT_SET_TPR | kvm_bindings::KVM_EXIT_IOAPIC_EOI) => {
            Verdict::Resume
        }
        Exit::Other(number) => Verdict::Crash(format!("KVM exit {number}, which is not known")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accesses_go_on_and_a_triple_fault_resets() {
        for exit in [
            Exit::IoOut(0x402, 1, 65),
            Exit::IoIn(0x60, 1),
            Exit::MmioRead(0xa_0000),
            Exit::MmioWrite(0xfeb0_0000),
            Exit::Interrupted,
        ] {
            assert_eq!(decide(exit), Verdict::Resume, "{exit:?}");
        }
        assert_eq!(decide(Exit::Shutdown), Verdict::Reset("triple fault"));
    }

    #[test]
    fn what_is_fatal_says_why_in_one_line() {
        for (exit, expected) in [
            (Exit::FailEntry(0x8000_0021), "0x80000021"),
            (Exit::InternalError(1), "emulate"),
            (Exit::InternalError(3), "suberror 3"),
            (Exit::Failed(libc::EFAULT), "Bad address"),
            (Exit::Other(1234), "1234"),
        ] {
            let Verdict::Crash(line) = decide(exit) else {
                panic!("{exit:?} was not fatal");
            };
            assert!(line.contains(expected) && !line.contains('\n'), "{line}");
        }
    }
}
