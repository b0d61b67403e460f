//! Xen's CPUID leaves and the forced-emulation prefix (`arch-x86/cpuid.h`, `arch-x86/xen.h`).
//!
//! Leaves are relative to a base, 0x40000000 or a multiple of 0x100 above it:
//!
//! | leaf | eax | ebx | ecx | edx |
//! |---|---|---|---|---|
//! | base | last leaf | "XenV" | "MMXe" | "nVMM" |
//! | +1 | version | | | |
//! | +2 | hypercall pages | MSR that places them | features 1 | features 2 |
//! | +3 | TSC mode flags / offset / host kHz, by sub-leaf | | | |
//! | +4 | HVM flags | vCPU id | domain id | |
//! | +5 | | PV: width of machine addresses | | |

abi_enums! {}

abi_consts! {
    /// First base.
    FIRST_LEAF: u32 = 0x4000_0000, "XEN_CPUID_FIRST_LEAF";
    /// Distance of the possible bases.
    LEAF_STRIDE: u32 = 0x100, own "arch-x86/cpuid.h: leaves may be at 0x40000x00";
    SIGNATURE_EBX: u32 = 0x566e_6558, "XEN_CPUID_SIGNATURE_EBX";
    SIGNATURE_ECX: u32 = 0x6558_4d4d, "XEN_CPUID_SIGNATURE_ECX";
    SIGNATURE_EDX: u32 = 0x4d4d_566e, "XEN_CPUID_SIGNATURE_EDX";
    /// Offset of the last leaf.
    MAX_NUM_LEAVES: u32 = 5, "XEN_CPUID_MAX_NUM_LEAVES";
    /// Leaf +2 ecx.
    FEAT1_MMU_PT_UPDATE_PRESERVE_AD: u32 = 1 << 0, "XEN_CPUID_FEAT1_MMU_PT_UPDATE_PRESERVE_AD";
    /// Leaf +4 eax.
    HVM_APIC_ACCESS_VIRT: u32 = 1 << 0, "XEN_HVM_CPUID_APIC_ACCESS_VIRT";
    /// Leaf +4 eax.
    HVM_X2APIC_VIRT: u32 = 1 << 1, "XEN_HVM_CPUID_X2APIC_VIRT";
    /// Leaf +4 eax.
    HVM_IOMMU_MAPPINGS: u32 = 1 << 2, "XEN_HVM_CPUID_IOMMU_MAPPINGS";
    /// Leaf +4 eax: ebx is the vCPU id.
    HVM_VCPU_ID_PRESENT: u32 = 1 << 3, "XEN_HVM_CPUID_VCPU_ID_PRESENT";
    /// Leaf +4 eax: ecx is the domain id.
    HVM_DOMID_PRESENT: u32 = 1 << 4, "XEN_HVM_CPUID_DOMID_PRESENT";
    /// Leaf +4 eax: interrupt destinations of more than 8 bits.
    HVM_EXT_DEST_ID: u32 = 1 << 5, "XEN_HVM_CPUID_EXT_DEST_ID";
    /// Leaf +4 eax: per-vCPU upcall vectors, which the guest ends at its APIC.
    HVM_UPCALL_VECTOR: u32 = 1 << 6, "XEN_HVM_CPUID_UPCALL_VECTOR";
    /// Leaf +5 ebx.
    MACHINE_ADDRESS_WIDTH_MASK: u32 = 0xff, "XEN_CPUID_MACHINE_ADDRESS_WIDTH_MASK";
    /// Leaf +3, sub-leaf 0, eax: RDTSC is emulated.
    TSC_VTSC: u32 = 1 << 0, own "arch-x86/cpuid.h, text on leaf 4 (0x40000x03)";
    /// Leaf +3, sub-leaf 0, eax: the host's TSC is safe to use.
    TSC_HOST_SAFE: u32 = 1 << 1, own "arch-x86/cpuid.h, text on leaf 4 (0x40000x03)";
    /// Leaf +3, sub-leaf 0, eax: the boot CPU has RDTSCP.
    TSC_RDTSCP: u32 = 1 << 2, own "arch-x86/cpuid.h, text on leaf 4 (0x40000x03)";
}

abi_structs! {
    /// One leaf, as tools exchange it.
    pub struct CpuidLeaf [both] 24 "struct xen_cpuid_leaf" {
        0 leaf: u32,
        /// All ones: the leaf has no sub-leaves.
        4 subleaf: u32,
        8 a: u32,
        12 b: u32,
        16 c: u32,
        20 d: u32,
    }

    /// One MSR, as tools exchange it.
    pub struct MsrEntry [both] 16 "struct xen_msr_entry" {
        0 idx: u32,
        4 flags: u32,
        8 val: u64,
    }
}

/// Bytes that make the next instruction (CPUID) emulated: `ud2` and "xen".
pub const EMULATE_PREFIX: &[u8] = &[0x0f, 0x0b, b'x', b'e', b'n'];
