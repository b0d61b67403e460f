//! MSRs that a vCPU starts with.

use kvm_bindings::{kvm_msr_entry, Msrs};
use kvm_ioctls::VcpuFd;

/// Time-stamp counter (SDM volume 4).
pub const IA32_TSC: u32 = 0x10;
/// When the local APIC's timer fires, as a value of that counter.
pub const IA32_TSC_DEADLINE: u32 = 0x6e0;
/// Page attribute table.
const IA32_PAT: u32 = 0x277;
/// The PAT that PV guests are promised (public/xen.h): WB, WT, UC-, UC, WC, WP, UC, UC.
pub const XEN_PAT: u64 = 0x0005_0100_0007_0406;

/// Why MSRs could not be set.
#[derive(Debug, thiserror::Error)]
#[error("KVM did not take MSR {index:#x} of a vCPU: {reason}")]
pub struct MsrError {
    index: u32,
    reason: String,
}

/// Sets the start values: TSC 0, which KVM keeps in step over all vCPUs, and Xen's PAT.
pub fn set_start(vcpu: &VcpuFd) -> Result<(), MsrError> {
    for (index, data) in [(IA32_TSC, 0), (IA32_PAT, XEN_PAT)] {
        set(vcpu, index, data)?;
    }
    Ok(())
}

/// Sets one MSR.
pub fn set(vcpu: &VcpuFd, index: u32, data: u64) -> Result<(), MsrError> {
    let fail = |reason: String| MsrError { index, reason };
    let entry = kvm_msr_entry {
        index,
        data,
        ..Default::default()
    };
    let msrs = Msrs::from_entries(&[entry]).map_err(|error| fail(format!("{error:?}")))?;
    match vcpu.set_msrs(&msrs) {
        Ok(1) => Ok(()),
        Ok(_) => Err(fail("refused".into())),
        Err(error) => Err(fail(error.to_string())),
    }
}

/// Reads one MSR.
pub fn get(vcpu: &VcpuFd, index: u32) -> Result<u64, MsrError> {
    let fail = |reason: String| MsrError { index, reason };
    let entry = kvm_msr_entry {
        index,
        ..Default::default()
    };
    let mut msrs = Msrs::from_entries(&[entry]).map_err(|error| fail(format!("{error:?}")))?;
    match vcpu.get_msrs(&mut msrs) {
        Ok(1) => Ok(msrs.as_slice().first().map_or(0, |entry| entry.data)),
        Ok(_) => Err(fail("cannot be read".into())),
        Err(error) => Err(fail(error.to_string())),
    }
}
