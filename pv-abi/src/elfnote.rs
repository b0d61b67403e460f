//! Notes by which a kernel image tells the domain builder what it needs (`elfnote.h`).

abi_enums! {
    /// `n_type` of a note named [`NOTE_NAME`].
    pub struct ElfNote(u32) {
        INFO = 0, "XEN_ELFNOTE_INFO";
        ENTRY = 1, "XEN_ELFNOTE_ENTRY";
        HYPERCALL_PAGE = 2, "XEN_ELFNOTE_HYPERCALL_PAGE";
        VIRT_BASE = 3, "XEN_ELFNOTE_VIRT_BASE";
        PADDR_OFFSET = 4, "XEN_ELFNOTE_PADDR_OFFSET";
        XEN_VERSION = 5, "XEN_ELFNOTE_XEN_VERSION";
        GUEST_OS = 6, "XEN_ELFNOTE_GUEST_OS";
        GUEST_VERSION = 7, "XEN_ELFNOTE_GUEST_VERSION";
        LOADER = 8, "XEN_ELFNOTE_LOADER";
        PAE_MODE = 9, "XEN_ELFNOTE_PAE_MODE";
        FEATURES = 10, "XEN_ELFNOTE_FEATURES";
        BSD_SYMTAB = 11, "XEN_ELFNOTE_BSD_SYMTAB";
        HV_START_LOW = 12, "XEN_ELFNOTE_HV_START_LOW";
        L1_MFN_VALID = 13, "XEN_ELFNOTE_L1_MFN_VALID";
        SUSPEND_CANCEL = 14, "XEN_ELFNOTE_SUSPEND_CANCEL";
        INIT_P2M = 15, "XEN_ELFNOTE_INIT_P2M";
        MOD_START_PFN = 16, "XEN_ELFNOTE_MOD_START_PFN";
        SUPPORTED_FEATURES = 17, "XEN_ELFNOTE_SUPPORTED_FEATURES";
        PHYS32_ENTRY = 18, "XEN_ELFNOTE_PHYS32_ENTRY";
        /// In a Xen crash dump.
        CRASH_INFO = 0x100_0001, "XEN_ELFNOTE_CRASH_INFO";
        CRASH_REGS = 0x100_0002, "XEN_ELFNOTE_CRASH_REGS";
        /// In a domain's core dump (`xm dump-core`).
        DUMPCORE_NONE = 0x200_0000, "XEN_ELFNOTE_DUMPCORE_NONE";
        DUMPCORE_HEADER = 0x200_0001, "XEN_ELFNOTE_DUMPCORE_HEADER";
        DUMPCORE_XEN_VERSION = 0x200_0002, "XEN_ELFNOTE_DUMPCORE_XEN_VERSION";
        DUMPCORE_FORMAT_VERSION = 0x200_0003, "XEN_ELFNOTE_DUMPCORE_FORMAT_VERSION";
    }
}

abi_consts! {
    /// The highest note of a kernel image.
    ELFNOTE_MAX: u32 = 18, "XEN_ELFNOTE_MAX";
}

abi_structs! {}

/// Name of the notes, with its NUL.
pub const NOTE_NAME: &[u8] = b"Xen\0";
