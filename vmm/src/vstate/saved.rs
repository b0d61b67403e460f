//! A vCPU's state as KVM tells and takes it (linux/kvm.h; Documentation/virt/kvm/api.rst).
//!
//! ```text
//!   capture(fd) --> state::Vcpu --> apply(fd, TSC): CPUID set before; nothing has run
//! ```
//! Order of apply: APIC base (in sregs) before the APIC, the TSC before the APIC's deadline, events last.
#![allow(unsafe_code)] // KVM_SET_XSAVE.

use crate::vstate::msr::{self, IA32_TSC, IA32_TSC_DEADLINE};
use kvm_bindings::{
    kvm_debugregs, kvm_lapic_state, kvm_mp_state, kvm_regs, kvm_sregs, kvm_vcpu_events, kvm_xcrs,
    kvm_xsave,
};
use kvm_ioctls::{Kvm, VcpuFd};
use noxen_saved_image::state::{self, Bytes};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// MSRs of hypervisors other than KVM, and of Hyper-V's interface: no guest here has them.
const SYNTHETIC: std::ops::Range<u32> = 0x4000_0000..0x4000_1000;

/// Why a vCPU's state could not be had or set.
#[derive(Debug, thiserror::Error)]
pub enum SavedError {
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
    Msr(#[from] msr::MsrError),
    /// A structure of another size.
    #[error("the {what} of vCPU {id} in the image have {length} bytes, KVM's have {wanted}")]
    Size {
        /// Which structure.
        what: &'static str,
        /// vCPU.
        id: u32,
        /// Bytes there.
        length: usize,
        /// Bytes wanted.
        wanted: usize,
    },
}

/// Memory type range registers, fixed and variable (SDM 3A, 11.11.2), which KVM keeps and does not have on its list (before
/// Linux 6.5).
fn mtrrs() -> impl Iterator<Item = u32> {
    let fixed = [0x250, 0x258, 0x259].into_iter().chain(0x268..0x270);
    (0x200..0x210).chain(fixed).chain([0x2ff])
}

/// The MSRs of a PC's vCPU: those, and [`msr_list`].
pub fn pc_msr_list(kvm: &Kvm) -> Result<Vec<u32>, kvm_ioctls::Error> {
    let listed = msr_list(kvm)?;
    let more = mtrrs().filter(|index| !listed.contains(index));
    Ok(more.chain(listed.iter().copied()).collect())
}

/// The MSRs that KVM keeps for a vCPU, the TSC's two last.
pub fn msr_list(kvm: &Kvm) -> Result<Vec<u32>, kvm_ioctls::Error> {
    let list = kvm.get_msr_index_list()?;
    let plain = |index: &u32| {
        *index != IA32_TSC && *index != IA32_TSC_DEADLINE && !SYNTHETIC.contains(index)
    };
    let mut all: Vec<u32> = list.as_slice().iter().copied().filter(plain).collect();
    all.push(IA32_TSC_DEADLINE);
    Ok(all)
}

/// The TSC of a vCPU that stands still.
pub fn tsc(fd: &VcpuFd) -> u64 {
    msr::get(fd, IA32_TSC).unwrap_or(0)
}

fn bytes<T: IntoBytes + Immutable>(value: &T) -> Bytes {
    Bytes(value.as_bytes().to_vec())
}

/// The state of vCPU `id`, which stands still with no exit pending.
pub fn capture(fd: &VcpuFd, id: u32, msrs: &[u32]) -> Result<state::Vcpu, SavedError> {
    let refused = |what| move |source| SavedError::Kvm { what, id, source };
    // First: reading it settles what the APIC has for the vCPU, and with it the events.
    let mp_state = fd.get_mp_state().map_err(refused("tell the run state"))?;
    let xcrs = match fd.get_xcrs() {
        Ok(xcrs) if xcrs.nr_xcrs > 0 => bytes(&xcrs),
        // A CPU without XSAVE has none.
        _ => Bytes::default(),
    };
    Ok(state::Vcpu {
        id,
        regs: bytes(&fd.get_regs().map_err(refused("tell the registers"))?),
        sregs: bytes(
            &fd.get_sregs()
                .map_err(refused("tell the system registers"))?,
        ),
        xsave: bytes(&fd.get_xsave().map_err(refused("tell the FPU state"))?),
        xcrs,
        debug: bytes(
            &fd.get_debug_regs()
                .map_err(refused("tell the debug registers"))?,
        ),
        lapic: bytes(&fd.get_lapic().map_err(refused("tell the APIC's state"))?),
        events: bytes(&fd.get_vcpu_events().map_err(refused("tell the events"))?),
        mp_state: mp_state.mp_state,
        msrs: msrs
            .iter()
            // What is on KVM's list but not in this CPU cannot be read; the guest has none of it.
            .filter_map(|index| Some((*index, msr::get(fd, *index).ok()?)))
            .collect(),
    })
}

/// Gives a vCPU that is not in the guest that state, and the TSC value `tsc`, if it is not to go on.
pub fn apply(fd: &VcpuFd, saved: &state::Vcpu, tsc: Option<u64>) -> Result<(), SavedError> {
    let id = saved.id;
    let refused = |what| move |source| SavedError::Kvm { what, id, source };
    fd.set_regs(&structure::<kvm_regs>(id, "registers", &saved.regs)?)
        .map_err(refused("set the registers"))?;
    fd.set_sregs(&structure::<kvm_sregs>(
        id,
        "system registers",
        &saved.sregs,
    )?)
    .map_err(refused("set the system registers"))?;
    if !saved.xcrs.0.is_empty() {
        fd.set_xcrs(&structure::<kvm_xcrs>(id, "XCRs", &saved.xcrs)?)
            .map_err(refused("set XCR0"))?;
    }
    let xsave = structure::<kvm_xsave>(id, "FPU state", &saved.xsave)?;
    // SAFETY: KVM reads 4096 bytes, the size of the structure; longer state exists only for features that a process
    // has to ask for (arch_prctl ARCH_REQ_XCOMP_GUEST_PERM), and this one does not.
    unsafe { fd.set_xsave(&xsave) }.map_err(refused("set the FPU state"))?;
    fd.set_debug_regs(&structure::<kvm_debugregs>(
        id,
        "debug registers",
        &saved.debug,
    )?)
    .map_err(refused("set the debug registers"))?;
    if let Some(tsc) = tsc {
        set_tsc(fd, id, tsc)?;
    }
    fd.set_lapic(&structure::<kvm_lapic_state>(
        id,
        "APIC registers",
        &saved.lapic,
    )?)
    .map_err(refused("set the APIC's state"))?;
    for (index, value) in &saved.msrs {
        // One that cannot be written and holds the value already is as it was.
        if let Err(error) = msr::set(fd, *index, *value) {
            if msr::get(fd, *index).ok() != Some(*value) {
                return Err(error.into());
            }
        }
    }
    let events = structure::<kvm_vcpu_events>(id, "events", &saved.events)?;
    fd.set_vcpu_events(&events)
        .map_err(refused("set the events"))?;
    let state = kvm_mp_state {
        mp_state: saved.mp_state,
    };
    fd.set_mp_state(state).map_err(refused("set the run state"))
}

/// KVM takes a value close to what the TSC is for an attempt to bring vCPUs in step, and keeps them as they are: the
/// first vCPU goes far away before, the others follow it.
pub(super) fn set_tsc(fd: &VcpuFd, id: u32, tsc: u64) -> Result<(), msr::MsrError> {
    const FAR: u64 = 1 << 44;
    if id == 0 {
        msr::set(fd, IA32_TSC, tsc.wrapping_add(FAR))?;
    }
    msr::set(fd, IA32_TSC, tsc)
}

fn structure<T: FromBytes>(id: u32, what: &'static str, saved: &Bytes) -> Result<T, SavedError> {
    T::read_from_bytes(&saved.0).map_err(|_| SavedError::Size {
        what,
        id,
        length: saved.0.len(),
        wanted: size_of::<T>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structure_of_another_size_is_refused_with_both() {
        let error = structure::<kvm_regs>(3, "registers", &Bytes(vec![0; 7])).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("vCPU 3") && text.contains(" 7 bytes") && text.contains("144"),
            "{text}"
        );
    }

    #[test]
    fn structure_comes_back_as_it_was() {
        let regs = kvm_regs {
            rip: 0x1234_5678_9abc_def0,
            rflags: 2,
            ..Default::default()
        };
        let back: kvm_regs = structure(0, "registers", &bytes(&regs)).unwrap();
        assert_eq!(back, regs);
    }
}
