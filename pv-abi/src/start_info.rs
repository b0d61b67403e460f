//! `start_info`, the page whose address a PV kernel finds in rSI at entry (`xen.h`).

abi_enums! {}

abi_consts! {
    /// `flags`: privileged domain.
    SIF_PRIVILEGED: u32 = 1 << 0, "SIF_PRIVILEGED";
    SIF_INITDOMAIN: u32 = 1 << 1, "SIF_INITDOMAIN";
    SIF_MULTIBOOT_MOD: u32 = 1 << 2, "SIF_MULTIBOOT_MOD";
    /// `mod_start` is a frame number.
    SIF_MOD_START_PFN: u32 = 1 << 3, "SIF_MOD_START_PFN";
    /// The tools read the virtually mapped p2m list.
    SIF_VIRT_P2M_4TOOLS: u32 = 1 << 4, "SIF_VIRT_P2M_4TOOLS";
    SIF_PM_MASK: u32 = 0xff << 8, "SIF_PM_MASK";
    /// Bytes of the command line with its NUL.
    MAX_GUEST_CMDLINE: usize = 1024, "MAX_GUEST_CMDLINE";
    /// Value of [`HvmStartInfo::magic`].
    HVM_START_MAGIC_VALUE: u32 = 0x336e_c578, "XEN_HVM_START_MAGIC_VALUE";
}

/// [`StartInfo64::magic`] of a 64-bit domain, NUL-padded.
pub const MAGIC_64: &[u8] = b"xen-3.0-x86_64";
/// [`StartInfo32::magic`] of a 32-bit PAE domain, NUL-padded.
pub const MAGIC_32P: &[u8] = b"xen-3.0-x86_32p";

abi_structs! {
    /// Start of day of a 64-bit domain. Fields up to `console_evtchn` are also rewritten at resume.
    pub struct StartInfo64 [64] 0x490 "struct start_info" {
        /// [`MAGIC_64`].
        0 magic: [u8; 32],
        0x20 nr_pages: u64,
        /// Machine address, not frame.
        0x28 shared_info: u64,
        /// `SIF_` flags.
        0x30 flags: u32,
        0x34 _pad0: [u8; 4] = _,
        0x38 store_mfn: u64,
        /// 0 makes Linux believe that xenstored runs in this domain.
        0x40 store_evtchn: u32,
        0x44 _pad1: [u8; 4] = _,
        0x48 console_mfn: u64 = "console.domU.mfn",
        0x50 console_evtchn: u32 = "console.domU.evtchn",
        0x54 _pad2: [u8; 4] = _,
        /// Virtual address.
        0x58 pt_base: u64,
        0x60 nr_pt_frames: u64,
        /// Virtual address of the p2m list.
        0x68 mfn_list: u64,
        /// Virtual address, or frame with [`SIF_MOD_START_PFN`].
        0x70 mod_start: u64,
        /// Bytes.
        0x78 mod_len: u64,
        0x80 cmd_line: [u8; 1024],
        0x480 first_p2m_pfn: u64,
        0x488 nr_p2m_frames: u64,
    }

    /// Start of day of a 32-bit domain.
    pub struct StartInfo32 [32] 0x458 "struct start_info" {
        /// [`MAGIC_32P`].
        0 magic: [u8; 32],
        0x20 nr_pages: u32,
        /// Machine address, so below 4 GiB.
        0x24 shared_info: u32,
        0x28 flags: u32,
        0x2c store_mfn: u32,
        0x30 store_evtchn: u32,
        0x34 console_mfn: u32 = "console.domU.mfn",
        0x38 console_evtchn: u32 = "console.domU.evtchn",
        0x3c pt_base: u32,
        0x40 nr_pt_frames: u32,
        0x44 mfn_list: u32,
        0x48 mod_start: u32,
        0x4c mod_len: u32,
        0x50 cmd_line: [u8; 1024],
        0x450 first_p2m_pfn: u32,
        0x454 nr_p2m_frames: u32,
    }

    /// Element of the module list that [`SIF_MULTIBOOT_MOD`] announces.
    pub struct MultibootModList [both] 16 "struct xen_multiboot_mod_list" {
        0 mod_start: u32,
        4 mod_end: u32,
        8 cmdline: u32,
        12 pad: u32,
    }

    /// Start of day of a PVH domain, address in EBX (`arch-x86/hvm/start_info.h`).
    pub struct HvmStartInfo [both] 56 "struct hvm_start_info" {
        /// [`HVM_START_MAGIC_VALUE`].
        0 magic: u32,
        4 version: u32,
        8 flags: u32,
        12 nr_modules: u32,
        16 modlist_paddr: u64,
        24 cmdline_paddr: u64,
        32 rsdp_paddr: u64,
        /// Version 1 and later.
        40 memmap_paddr: u64,
        48 memmap_entries: u32,
        52 reserved: u32,
    }

    /// Element of [`HvmStartInfo::modlist_paddr`].
    pub struct HvmModlistEntry [both] 32 "struct hvm_modlist_entry" {
        0 paddr: u64,
        8 size: u64,
        16 cmdline_paddr: u64,
        24 reserved: u64,
    }

    /// Element of [`HvmStartInfo::memmap_paddr`]; `kind` is a [`memory::E820Type`](crate::memory::E820Type).
    pub struct HvmMemmapTableEntry [both] 24 "struct hvm_memmap_table_entry" {
        0 addr: u64,
        8 size: u64,
        16 kind: u32 = "type",
        20 reserved: u32,
    }
}
