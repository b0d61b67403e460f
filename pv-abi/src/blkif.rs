//! Block devices: requests and responses on the ring (`io/blkif.h`). Sectors are 512 bytes.
//!
//! The layout follows the front end's word size, not the back end's; the front end says which in its node
//! `protocol` ([`PROTOCOL_64`], [`PROTOCOL_32`]).

abi_enums! {
    /// `operation`.
    pub struct BlkifOp(u8) {
        READ = 0, "BLKIF_OP_READ";
        WRITE = 1, "BLKIF_OP_WRITE";
        WRITE_BARRIER = 2, "BLKIF_OP_WRITE_BARRIER";
        FLUSH_DISKCACHE = 3, "BLKIF_OP_FLUSH_DISKCACHE";
        /// Was a packet command.
        RESERVED_1 = 4, "BLKIF_OP_RESERVED_1";
        DISCARD = 5, "BLKIF_OP_DISCARD";
        INDIRECT = 6, "BLKIF_OP_INDIRECT";
    }

    /// `status` of a response.
    pub struct BlkifStatus(i16) {
        OKAY = 0, "BLKIF_RSP_OKAY";
        ERROR = -1, "BLKIF_RSP_ERROR";
        EOPNOTSUPP = -2, "BLKIF_RSP_EOPNOTSUPP";
    }
}

abi_consts! {
    MAX_SEGMENTS_PER_REQUEST: usize = 11, "BLKIF_MAX_SEGMENTS_PER_REQUEST";
    MAX_INDIRECT_PAGES_PER_REQUEST: usize = 8, "BLKIF_MAX_INDIRECT_PAGES_PER_REQUEST";
    /// Segments in one page of an indirect request.
    SEGMENTS_PER_INDIRECT_PAGE: usize = 512, "(4096 / sizeof(struct blkif_request_segment))";
    DISCARD_SECURE: u8 = 1, "BLKIF_DISCARD_SECURE";
    /// Bits of the node `info`.
    VDISK_CDROM: u32 = 1, "VDISK_CDROM";
    VDISK_REMOVABLE: u32 = 2, "VDISK_REMOVABLE";
    VDISK_READONLY: u32 = 4, "VDISK_READONLY";
    /// Bytes of an entry on the ring.
    RING_ENTRY_SIZE_64 [64]: usize = 112, "sizeof(union blkif_sring_entry)";
    /// Bytes of an entry on the ring.
    RING_ENTRY_SIZE_32 [32]: usize = 108, "sizeof(union blkif_sring_entry)";
}

abi_structs! {
    /// Part of a page to transfer.
    pub struct BlkifSegment [both] 8 "struct blkif_request_segment" {
        0 gref: u32,
        /// First sector of the page, 0 to 7.
        4 first_sect: u8,
        /// Last sector of the page, included.
        5 last_sect: u8,
        6 _pad: [u8; 2] = _,
    }

    /// A direct request.
    pub struct BlkifRequest64 [64] 112 "struct blkif_request" {
        /// A [`BlkifOp`].
        0 operation: u8,
        1 nr_segments: u8,
        2 handle: u16,
        4 _pad: [u8; 4] = _,
        /// Echoed in the response.
        8 id: u64,
        16 sector_number: u64,
        24 seg: [BlkifSegment; 11],
    }

    /// A direct request.
    pub struct BlkifRequest32 [32] 108 "struct blkif_request" {
        0 operation: u8,
        1 nr_segments: u8,
        2 handle: u16,
        4 id: u64,
        12 sector_number: u64,
        20 seg: [BlkifSegment; 11],
    }

    /// A request with [`BlkifOp::DISCARD`].
    pub struct BlkifRequestDiscard64 [64] 32 "struct blkif_request_discard" {
        0 operation: u8,
        /// [`DISCARD_SECURE`].
        1 flag: u8,
        2 handle: u16,
        4 _pad: [u8; 4] = _,
        8 id: u64,
        16 sector_number: u64,
        24 nr_sectors: u64,
    }

    /// A request with [`BlkifOp::DISCARD`].
    pub struct BlkifRequestDiscard32 [32] 28 "struct blkif_request_discard" {
        0 operation: u8,
        1 flag: u8,
        2 handle: u16,
        4 id: u64,
        12 sector_number: u64,
        20 nr_sectors: u64,
    }

    /// A request with [`BlkifOp::INDIRECT`]: the segments are in pages of their own.
    pub struct BlkifRequestIndirect64 [64] 64 "struct blkif_request_indirect" {
        0 operation: u8,
        1 indirect_op: u8,
        2 nr_segments: u16,
        4 _pad0: [u8; 4] = _,
        8 id: u64,
        16 sector_number: u64,
        24 handle: u16,
        26 _pad1: [u8; 2] = _,
        28 indirect_grefs: [u32; 8],
        60 _pad2: [u8; 4] = _,
    }

    /// A request with [`BlkifOp::INDIRECT`].
    pub struct BlkifRequestIndirect32 [32] 64 "struct blkif_request_indirect" {
        0 operation: u8,
        1 indirect_op: u8,
        2 nr_segments: u16,
        4 id: u64,
        12 sector_number: u64,
        20 handle: u16,
        22 _pad0: [u8; 2] = _,
        24 indirect_grefs: [u32; 8],
        56 pad: u64,
    }

    /// A response.
    pub struct BlkifResponse64 [64] 16 "struct blkif_response" {
        0 id: u64,
        8 operation: u8,
        9 _pad0: [u8; 1] = _,
        /// A [`BlkifStatus`].
        10 status: i16,
        12 _pad1: [u8; 4] = _,
    }

    /// A response.
    pub struct BlkifResponse32 [32] 12 "struct blkif_response" {
        0 id: u64,
        8 operation: u8,
        9 _pad: [u8; 1] = _,
        10 status: i16,
    }
}

/// Node `protocol` of a 64-bit front end (`io/protocols.h`).
pub const PROTOCOL_64: &[u8] = b"x86_64-abi";
/// Node `protocol` of a 32-bit front end.
pub const PROTOCOL_32: &[u8] = b"x86_32-abi";
