//! `grant_table_op` (20) and the shared grant tables (`grant_table.h`).
//!
//! A batch call returns 0 and leaves a [`GrantStatus`] in each element. Granting itself is a store by the
//! guest into its table, not a hypercall.

abi_enums! {
    /// Operation of `grant_table_op`.
    pub struct GnttabOp(u32) {
        MAP_GRANT_REF = 0, "GNTTABOP_map_grant_ref";
        UNMAP_GRANT_REF = 1, "GNTTABOP_unmap_grant_ref";
        SETUP_TABLE = 2, "GNTTABOP_setup_table";
        DUMP_TABLE = 3, "GNTTABOP_dump_table";
        TRANSFER = 4, "GNTTABOP_transfer";
        COPY = 5, "GNTTABOP_copy";
        QUERY_SIZE = 6, "GNTTABOP_query_size";
        UNMAP_AND_REPLACE = 7, "GNTTABOP_unmap_and_replace";
        SET_VERSION = 8, "GNTTABOP_set_version";
        GET_STATUS_FRAMES = 9, "GNTTABOP_get_status_frames";
        GET_VERSION = 10, "GNTTABOP_get_version";
        SWAP_GRANT_REF = 11, "GNTTABOP_swap_grant_ref";
        CACHE_FLUSH = 12, "GNTTABOP_cache_flush";
    }

    /// `status` of an operation.
    pub struct GrantStatus(i16) {
        OKAY = 0, "GNTST_okay";
        GENERAL_ERROR = -1, "GNTST_general_error";
        BAD_DOMAIN = -2, "GNTST_bad_domain";
        BAD_GNTREF = -3, "GNTST_bad_gntref";
        BAD_HANDLE = -4, "GNTST_bad_handle";
        BAD_VIRT_ADDR = -5, "GNTST_bad_virt_addr";
        BAD_DEV_ADDR = -6, "GNTST_bad_dev_addr";
        NO_DEVICE_SPACE = -7, "GNTST_no_device_space";
        PERMISSION_DENIED = -8, "GNTST_permission_denied";
        BAD_PAGE = -9, "GNTST_bad_page";
        BAD_COPY_ARG = -10, "GNTST_bad_copy_arg";
        ADDRESS_TOO_BIG = -11, "GNTST_address_too_big";
        EAGAIN = -12, "GNTST_eagain";
        NO_SPACE = -13, "GNTST_no_space";
    }

    /// The type in an entry's flags, [`GTF_TYPE_MASK`].
    pub struct GrantType(u16) {
        INVALID = 0, "GTF_invalid";
        PERMIT_ACCESS = 1, "GTF_permit_access";
        ACCEPT_TRANSFER = 2, "GTF_accept_transfer";
        /// Version 2 only.
        TRANSITIVE = 3, "GTF_transitive";
    }
}

abi_consts! {
    /// Entry flags: the type.
    GTF_TYPE_MASK: u16 = 3, "GTF_type_mask";
    GTF_READONLY: u16 = 1 << 2, "GTF_readonly";
    /// Set by the hypervisor while the grant is mapped for reading.
    GTF_READING: u16 = 1 << 3, "GTF_reading";
    /// Set by the hypervisor while the grant is mapped for writing.
    GTF_WRITING: u16 = 1 << 4, "GTF_writing";
    GTF_PWT: u16 = 1 << 5, "GTF_PWT";
    GTF_PCD: u16 = 1 << 6, "GTF_PCD";
    GTF_PAT: u16 = 1 << 7, "GTF_PAT";
    /// Version 2: a [`GrantEntryV2SubPage`].
    GTF_SUB_PAGE: u16 = 1 << 8, "GTF_sub_page";
    GTF_TRANSFER_COMMITTED: u16 = 1 << 2, "GTF_transfer_committed";
    GTF_TRANSFER_COMPLETED: u16 = 1 << 3, "GTF_transfer_completed";
    /// First references, kept for the toolstack.
    GNTTAB_NR_RESERVED_ENTRIES: u32 = 8, "GNTTAB_NR_RESERVED_ENTRIES";
    /// Reference of the console ring.
    GNTTAB_RESERVED_CONSOLE: u32 = 0, "GNTTAB_RESERVED_CONSOLE";
    /// Reference of the xenstore ring.
    GNTTAB_RESERVED_XENSTORE: u32 = 1, "GNTTAB_RESERVED_XENSTORE";
    /// Map flags: for a device.
    GNTMAP_DEVICE_MAP: u32 = 1 << 0, "GNTMAP_device_map";
    /// Map flags: for the CPU.
    GNTMAP_HOST_MAP: u32 = 1 << 1, "GNTMAP_host_map";
    GNTMAP_READONLY: u32 = 1 << 2, "GNTMAP_readonly";
    GNTMAP_APPLICATION_MAP: u32 = 1 << 3, "GNTMAP_application_map";
    /// `host_addr` is the machine address of a page-table entry.
    GNTMAP_CONTAINS_PTE: u32 = 1 << 4, "GNTMAP_contains_pte";
    /// First of the bits copied to the entry's available bits.
    GNTMAP_GUEST_AVAIL_SHIFT: u32 = 16, "_GNTMAP_guest_avail0";
    GNTMAP_GUEST_AVAIL_MASK: u32 = 0xffff_0000, "GNTMAP_guest_avail_mask";
    /// Copy flags: the source is a reference.
    GNTCOPY_SOURCE_GREF: u16 = 1 << 0, "GNTCOPY_source_gref";
    /// Copy flags: the destination is a reference.
    GNTCOPY_DEST_GREF: u16 = 1 << 1, "GNTCOPY_dest_gref";
    GNTTAB_CACHE_CLEAN: u32 = 1 << 0, "GNTTAB_CACHE_CLEAN";
    GNTTAB_CACHE_INVAL: u32 = 1 << 1, "GNTTAB_CACHE_INVAL";
    GNTTAB_CACHE_SOURCE_GREF: u32 = 1 << 31, "GNTTAB_CACHE_SOURCE_GREF";
}

abi_structs! {
    /// A version 1 entry.
    pub struct GrantEntryV1 [both] 8 "struct grant_entry_v1" {
        /// A [`GrantType`] and `GTF_` flags.
        0 flags: u16,
        2 domid: u16,
        4 frame: u32,
    }

    /// First half of every version 2 entry.
    pub struct GrantEntryHeader [both] 4 "struct grant_entry_header" {
        0 flags: u16,
        2 domid: u16,
    }

    /// A version 2 entry that grants a page.
    pub struct GrantEntryV2FullPage [both] 16 "union grant_entry_v2" {
        0 hdr: GrantEntryHeader = "full_page.hdr",
        4 pad0: u32 = "full_page.pad0",
        8 frame: u64 = "full_page.frame",
    }

    /// A version 2 entry with [`GTF_SUB_PAGE`].
    pub struct GrantEntryV2SubPage [both] 16 "union grant_entry_v2" {
        0 hdr: GrantEntryHeader = "sub_page.hdr",
        4 page_off: u16 = "sub_page.page_off",
        6 length: u16 = "sub_page.length",
        8 frame: u64 = "sub_page.frame",
    }

    /// A version 2 entry of [`GrantType::TRANSITIVE`].
    pub struct GrantEntryV2Transitive [both] 16 "union grant_entry_v2" {
        0 hdr: GrantEntryHeader = "transitive.hdr",
        4 trans_domid: u16 = "transitive.trans_domid",
        6 pad0: u16 = "transitive.pad0",
        8 gref: u32 = "transitive.gref",
        12 _pad: [u8; 4] = _,
    }

    /// Element of [`GnttabOp::MAP_GRANT_REF`].
    pub struct MapGrantRef [both] 32 "struct gnttab_map_grant_ref" {
        0 host_addr: u64,
        /// `GNTMAP_` flags.
        8 flags: u32,
        12 grant_ref: u32 = "ref",
        16 dom: u16,
        /// Out: a [`GrantStatus`].
        18 status: i16,
        /// Out.
        20 handle: u32,
        /// Out.
        24 dev_bus_addr: u64,
    }

    /// Element of [`GnttabOp::UNMAP_GRANT_REF`].
    pub struct UnmapGrantRef [both] 24 "struct gnttab_unmap_grant_ref" {
        0 host_addr: u64,
        8 dev_bus_addr: u64,
        16 handle: u32,
        20 status: i16,
        22 _pad: [u8; 2] = _,
    }

    /// Argument of [`GnttabOp::SETUP_TABLE`].
    pub struct SetupTable64 [64] 24 "struct gnttab_setup_table" {
        0 dom: u16,
        2 _pad0: [u8; 2] = _,
        4 nr_frames: u32,
        8 status: i16,
        10 _pad1: [u8; 6] = _,
        /// Guest pointer to `nr_frames` frame numbers of 8 bytes, written.
        16 frame_list: u64,
    }

    /// Argument of [`GnttabOp::SETUP_TABLE`].
    pub struct SetupTable32 [32] 16 "struct gnttab_setup_table" {
        0 dom: u16,
        2 _pad0: [u8; 2] = _,
        4 nr_frames: u32,
        8 status: i16,
        10 _pad1: [u8; 2] = _,
        12 frame_list: u32,
    }

    /// Argument of [`GnttabOp::DUMP_TABLE`].
    pub struct DumpTable [both] 4 "struct gnttab_dump_table" {
        0 dom: u16,
        2 status: i16,
    }

    /// Element of [`GnttabOp::TRANSFER`].
    pub struct GnttabTransfer64 [64] 24 "struct gnttab_transfer" {
        0 mfn: u64,
        8 domid: u16,
        10 _pad0: [u8; 2] = _,
        12 grant_ref: u32 = "ref",
        16 status: i16,
        18 _pad1: [u8; 6] = _,
    }

    /// Element of [`GnttabOp::TRANSFER`].
    pub struct GnttabTransfer32 [32] 16 "struct gnttab_transfer" {
        0 mfn: u32,
        4 domid: u16,
        6 _pad0: [u8; 2] = _,
        8 grant_ref: u32 = "ref",
        12 status: i16,
        14 _pad1: [u8; 2] = _,
    }

    /// One end of a copy.
    pub struct GnttabCopyPtr64 [64] 16 "struct gnttab_copy_ptr" {
        /// Frame number, or grant reference in the low 4 bytes.
        0 frame: u64 = "u.gmfn",
        8 domid: u16,
        10 offset: u16,
        12 _pad: [u8; 4] = _,
    }

    /// One end of a copy.
    pub struct GnttabCopyPtr32 [32] 8 "struct gnttab_copy_ptr" {
        0 frame: u32 = "u.gmfn",
        4 domid: u16,
        6 offset: u16,
    }

    /// Element of [`GnttabOp::COPY`].
    pub struct GnttabCopy64 [64] 40 "struct gnttab_copy" {
        0 source: GnttabCopyPtr64,
        16 dest: GnttabCopyPtr64,
        32 len: u16,
        /// `GNTCOPY_` flags.
        34 flags: u16,
        36 status: i16,
        38 _pad: [u8; 2] = _,
    }

    /// Element of [`GnttabOp::COPY`].
    pub struct GnttabCopy32 [32] 24 "struct gnttab_copy" {
        0 source: GnttabCopyPtr32,
        8 dest: GnttabCopyPtr32,
        16 len: u16,
        18 flags: u16,
        20 status: i16,
        22 _pad: [u8; 2] = _,
    }

    /// Argument of [`GnttabOp::QUERY_SIZE`].
    pub struct QuerySize [both] 16 "struct gnttab_query_size" {
        0 dom: u16,
        2 _pad0: [u8; 2] = _,
        4 nr_frames: u32,
        8 max_nr_frames: u32,
        12 status: i16,
        14 _pad1: [u8; 2] = _,
    }

    /// Element of [`GnttabOp::UNMAP_AND_REPLACE`].
    pub struct UnmapAndReplace [both] 24 "struct gnttab_unmap_and_replace" {
        0 host_addr: u64,
        8 new_addr: u64,
        16 handle: u32,
        20 status: i16,
        22 _pad: [u8; 2] = _,
    }

    /// Argument of [`GnttabOp::SET_VERSION`].
    pub struct SetVersion [both] 4 "struct gnttab_set_version" {
        /// In: asked for; out: in force.
        0 version: u32,
    }

    /// Argument of [`GnttabOp::GET_STATUS_FRAMES`].
    pub struct GetStatusFrames64 [64] 16 "struct gnttab_get_status_frames" {
        0 nr_frames: u32,
        4 dom: u16,
        6 status: i16,
        /// Guest pointer to u64 frame numbers, in 32-bit guests too.
        8 frame_list: u64,
    }

    /// Argument of [`GnttabOp::GET_STATUS_FRAMES`].
    pub struct GetStatusFrames32 [32] 12 "struct gnttab_get_status_frames" {
        0 nr_frames: u32,
        4 dom: u16,
        6 status: i16,
        8 frame_list: u32,
    }

    /// Argument of [`GnttabOp::GET_VERSION`].
    pub struct GetVersion [both] 8 "struct gnttab_get_version" {
        0 dom: u16,
        2 pad: u16,
        4 version: u32,
    }

    /// Element of [`GnttabOp::SWAP_GRANT_REF`].
    pub struct SwapGrantRef [both] 12 "struct gnttab_swap_grant_ref" {
        0 ref_a: u32,
        4 ref_b: u32,
        8 status: i16,
        10 _pad: [u8; 2] = _,
    }

    /// Element of [`GnttabOp::CACHE_FLUSH`].
    pub struct CacheFlush [both] 16 "struct gnttab_cache_flush" {
        /// Bus address, or grant reference in the low 4 bytes.
        0 addr: u64 = "a.dev_bus_addr",
        8 offset: u16,
        10 length: u16,
        12 op: u32,
    }
}
