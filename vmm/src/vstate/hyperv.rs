//! Microsoft's hypervisor interfaces as KVM has them (`viridian`): which leaves of CPUID tell of them.
//!
//! ```text
//!   KVM_GET_SUPPORTED_HV_CPUID --> leaves(): what Xen's viridian shows, where KVM has it --> first leaves of a vCPU
//! ```
//! KVM serves the MSRs and hypercalls themselves. What needs a thread's help (SynIC, its timers, the debugger) stays hidden.
//! Source: Hypervisor Top Level Functional Specification 6.0b, chapters 2 to 5; Linux, Documentation/virt/kvm/api.rst.

use kvm_bindings::{kvm_cpuid_entry2, CpuId};
use kvm_ioctls::{Error, Kvm};
use vmm_sys_util::ioctl::ioctl_with_mut_ref;

/// Nobody else needs it, so its definition is here: KVM_GET_SUPPORTED_HV_CPUID (linux/kvm.h).
#[allow(missing_docs)]
mod number {
    vmm_sys_util::ioctl_iowr_nr!(
        KVM_GET_SUPPORTED_HV_CPUID,
        kvm_bindings::KVMIO,
        0xc1,
        kvm_bindings::kvm_cpuid2
    );
}

/// Room for KVM's answer, rows; it has about a dozen.
const ROWS: usize = 64;
const BASE: u32 = 0x4000_0000;
/// What a guest looks for; KVM calls itself "Linux KVM Hv".
const NAME: &[u8; 12] = b"Microsoft Hv";
/// The last leaf that a guest is told of: limits.
const LAST: u32 = BASE + 5;
/// Leaf 3 EAX: partition reference counter (1), APIC (4) and hypercall (5) MSRs, the vCPU's index (6), the TSC page (9), rates (11).
const MSRS: u32 = 1 << 1 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 9 | 1 << 11;
/// Leaf 3 EDX: the MSRs of the rates (8).
const FEATURES: u32 = 1 << 8;
/// Leaf 4 EAX: flush remote TLBs by hypercalls (2), MSRs for the APIC (3), no watchdogs (5).
const ADVICE: u32 = 1 << 2 | 1 << 3 | 1 << 5;
/// Leaf 4 EBX: never tell the hypervisor of long spinning.
const NEVER: u32 = u32::MAX;

/// What KVM supports of them.
#[allow(unsafe_code)] // kvm-ioctls does not have this one.
pub fn supported(kvm: &Kvm) -> Result<Vec<kvm_cpuid_entry2>, Error> {
    let mut cpuid = CpuId::new(ROWS).map_err(|_| Error::new(libc::ENOMEM))?;
    // SAFETY: `cpuid` is one `kvm_cpuid2` with room for `nent` = ROWS rows behind it, of which KVM fills no more, and puts their
    // number into `nent`; it lives across the call. kvm-ioctls offers no safe form.
    let answer = unsafe {
        let whole = &mut *cpuid.as_mut_fam_struct_ptr();
        ioctl_with_mut_ref(kvm, number::KVM_GET_SUPPORTED_HV_CPUID(), whole)
    };
    match answer {
        0 => Ok(cpuid.as_slice().to_vec()),
        _ => Err(Error::last()),
    }
}

/// The leaves that a guest finds, of those that KVM supports; empty if that is not what a guest needs at least.
pub fn leaves(supported: &[kvm_cpuid_entry2]) -> Vec<kvm_cpuid_entry2> {
    let shown = supported
        .iter()
        .filter(|row| (BASE..=LAST).contains(&row.function));
    let mut rows: Vec<kvm_cpuid_entry2> = shown.copied().collect();
    for row in &mut rows {
        match row.function - BASE {
            0 => {
                let word = |at: usize| {
                    let part: [u8; 4] = std::array::from_fn(|byte| NAME[at + byte]);
                    u32::from_le_bytes(part)
                };
                (row.eax, row.ebx, row.ecx, row.edx) = (LAST, word(0), word(4), word(8));
            }
            3 => {
                row.eax &= MSRS;
                (row.ebx, row.ecx) = (0, 0);
                row.edx &= FEATURES;
            }
            4 => {
                row.eax &= ADVICE;
                row.ebx = NEVER;
            }
            _ => {}
        }
    }
    match rows.len() {
        6 => rows,
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(function: u32, value: u32) -> kvm_cpuid_entry2 {
        kvm_cpuid_entry2 {
            function,
            eax: value,
            ebx: value,
            ecx: value,
            edx: value,
            ..Default::default()
        }
    }

    #[test]
    fn guest_finds_no_more_than_kvm_serves_alone() {
        let all: Vec<_> = (0..12).map(|leaf| row(BASE + leaf, u32::MAX)).collect();
        let rows = leaves(&all);
        assert_eq!(rows.len(), 6);
        let name = [rows[0].ebx, rows[0].ecx, rows[0].edx].map(u32::to_le_bytes);
        assert_eq!((rows[0].eax, name.as_flattened()), (LAST, &NAME[..]));
        assert_eq!(
            [rows[3].eax, rows[3].ebx, rows[3].ecx, rows[3].edx],
            [MSRS, 0, 0, FEATURES]
        );
        assert_eq!((rows[4].eax, rows[4].ebx), (ADVICE, NEVER));
        let few: Vec<_> = (0..6).map(|leaf| row(BASE + leaf, 0)).collect();
        assert_eq!(leaves(&few)[3].eax, 0);
        assert!(leaves(&all[..4]).is_empty());
    }
}
