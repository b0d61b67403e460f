//! noxen-vmm: one process per domain.
//!
//! ```text
//!   spec.rs (from xend)  run.rs (by hand)
//!          \             /
//!        domain/pv.rs  build: memory, guest, monitor region, VM, vCPUs
//!               |
//!        service.rs    main loop: console, store, control socket        vCPU threads: domain/runner.rs
//!               |                                                             |
//!        hvm/          the same of an HVM domain: a PC of noxen-pc's devices
//!        control/  domain/machine.rs (pause, status, ...)  <--channels-->  dispatch.rs, domain/calls.rs
//!               |
//!        save/         a domain into a file, and out of one       core_dump/  for a debugger
//!        devices/      PV devices: bus thread, back ends
//!        prompt/       the monitor window: commands that a person types about a running domain
//!        vstate/       what wraps a KVM object
//! ```
//! The monitor (crate noxen-monitor) runs inside the VM; what it shares with this process is defined in
//! noxen-monitor-abi and is untrusted input here.

pub mod console_end;
pub mod control;
pub mod core_dump;
pub mod counters;
pub mod crash;
pub mod devices;
pub mod dispatch;
pub mod domain;
pub mod guest_console;
pub mod hvm;
pub mod log;
pub mod private_store;
pub mod prompt;
pub mod run;
pub mod save;
pub mod service;
pub mod spec;
pub mod store;
pub mod viewers;
pub mod vstate;
mod waiting;

/// The monitor that this build carries.
pub fn monitor_image() -> Option<&'static [u8]> {
    #[cfg(feature = "image")]
    return Some(noxen_monitor::IMAGE);
    #[cfg(not(feature = "image"))]
    None
}

/// An error with its causes in one line. Causes whose text an outer error already quotes are left out.
pub fn one_line(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1) {
        let cause = cause.to_string();
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text.replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("outer: {source}")]
    struct Quoting {
        source: std::fmt::Error,
    }

    #[test]
    fn one_line_names_each_cause_once() {
        let quoting = Quoting {
            source: std::fmt::Error,
        };
        let inner = std::fmt::Error.to_string();
        let error = anyhow::Error::from(quoting).context("asked\nfor");
        assert_eq!(one_line(&error), format!("asked for: outer: {inner}"));
    }
}
