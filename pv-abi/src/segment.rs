//! Selectors, the reserved part of the GDT and of the address space, `set_segment_base` (25)
//! (`arch-x86/xen.h`, `xen-x86_64.h`, `xen-x86_32.h`).
//!
//! ```text
//! GDT page 14    0xe019 / 0xe021      0xe023           0xe02b         0xe033
//! 64-bit domain  ring-1 code / data   ring-3 code 32   ring-3 data    ring-3 code 64
//! 32-bit domain  ring-1 code / data                    ring-3 code    ring-3 data
//! ```

abi_enums! {
    /// `which` of `set_segment_base`.
    pub struct SegmentBase(u32) [64] {
        FS = 0, "SEGBASE_FS";
        GS_USER = 1, "SEGBASE_GS_USER";
        GS_KERNEL = 2, "SEGBASE_GS_KERNEL";
        /// The base is a selector, loaded into GS as the user's.
        GS_USER_SEL = 3, "SEGBASE_GS_USER_SEL";
    }
}

abi_consts! {
    /// First page of the GDT that belongs to the hypervisor; the guest has those below.
    FIRST_RESERVED_GDT_PAGE: u32 = 14, "FIRST_RESERVED_GDT_PAGE";
    FIRST_RESERVED_GDT_BYTE: u32 = 14 * 4096, "FIRST_RESERVED_GDT_BYTE";
    FIRST_RESERVED_GDT_ENTRY: u32 = 14 * 512, "FIRST_RESERVED_GDT_ENTRY";

    FLAT_RING3_CS32 [64]: u16 = 0xe023, "FLAT_RING3_CS32";
    FLAT_RING3_CS64 [64]: u16 = 0xe033, "FLAT_RING3_CS64";
    FLAT_RING3_DS32 [64]: u16 = 0xe02b, "FLAT_RING3_DS32";
    FLAT_RING3_DS64 [64]: u16 = 0, "FLAT_RING3_DS64";
    FLAT_RING3_SS32 [64]: u16 = 0xe02b, "FLAT_RING3_SS32";
    FLAT_RING3_SS64 [64]: u16 = 0xe02b, "FLAT_RING3_SS64";

    /// 32-bit domain, kernel code.
    FLAT32_RING1_CS [32]: u16 = 0xe019, "FLAT_RING1_CS";
    FLAT32_RING1_DS [32]: u16 = 0xe021, "FLAT_RING1_DS";
    FLAT32_RING1_SS [32]: u16 = 0xe021, "FLAT_RING1_SS";
    /// 32-bit domain, user code.
    FLAT32_RING3_CS [32]: u16 = 0xe02b, "FLAT_RING3_CS";
    FLAT32_RING3_DS [32]: u16 = 0xe033, "FLAT_RING3_DS";
    FLAT32_RING3_SS [32]: u16 = 0xe033, "FLAT_RING3_SS";

    /// The hypervisor's part of a 64-bit address space: L4 slots 256 to 271.
    HYPERVISOR_VIRT_START_64 [64]: u64 = 0xffff_8000_0000_0000, "HYPERVISOR_VIRT_START";
    HYPERVISOR_VIRT_END_64 [64]: u64 = 0xffff_8800_0000_0000, "HYPERVISOR_VIRT_END";
    /// Machine-to-physical table, 8 bytes per frame.
    MACH2PHYS_VIRT_START_64 [64]: u64 = 0xffff_8000_0000_0000, "MACH2PHYS_VIRT_START";
    MACH2PHYS_VIRT_END_64 [64]: u64 = 0xffff_8040_0000_0000, "MACH2PHYS_VIRT_END";

    /// The hypervisor's part of a PAE address space, up to 4 GiB.
    HYPERVISOR_VIRT_START_PAE [32]: u32 = 0xf580_0000, "HYPERVISOR_VIRT_START_PAE";
    /// Machine-to-physical table, 4 bytes per frame.
    MACH2PHYS_VIRT_START_PAE [32]: u32 = 0xf580_0000, "MACH2PHYS_VIRT_START_PAE";
    MACH2PHYS_VIRT_END_PAE [32]: u32 = 0xf680_0000, "MACH2PHYS_VIRT_END_PAE";
}

abi_structs! {}

/// A 32-bit guest's CR3 of a page-table frame: the frame's top bits are folded into the low 12.
#[inline]
#[must_use]
pub const fn pfn_to_cr3_32(pfn: u32) -> u32 {
    pfn.rotate_left(12)
}

/// The page-table frame of a 32-bit guest's CR3.
#[inline]
#[must_use]
pub const fn cr3_to_pfn_32(cr3: u32) -> u32 {
    cr3.rotate_right(12)
}
