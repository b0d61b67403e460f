//! `memory_op` (12) (`memory.h`).
//!
//! The command word's low bits are the operation, bits from [`MEMOP_EXTENT_SHIFT`] up carry the progress of a
//! continued call; guests always pass 0 there.

abi_enums! {
    /// Operation of `memory_op`.
    pub struct MemoryOp(u32) {
        INCREASE_RESERVATION = 0, "XENMEM_increase_reservation";
        DECREASE_RESERVATION = 1, "XENMEM_decrease_reservation";
        MAXIMUM_RAM_PAGE = 2, "XENMEM_maximum_ram_page";
        CURRENT_RESERVATION = 3, "XENMEM_current_reservation";
        MAXIMUM_RESERVATION = 4, "XENMEM_maximum_reservation";
        MACHPHYS_MFN_LIST = 5, "XENMEM_machphys_mfn_list";
        POPULATE_PHYSMAP = 6, "XENMEM_populate_physmap";
        ADD_TO_PHYSMAP = 7, "XENMEM_add_to_physmap";
        MEMORY_MAP = 9, "XENMEM_memory_map";
        MACHINE_MEMORY_MAP = 10, "XENMEM_machine_memory_map";
        EXCHANGE = 11, "XENMEM_exchange";
        MACHPHYS_MAPPING = 12, "XENMEM_machphys_mapping";
        SET_MEMORY_MAP = 13, "XENMEM_set_memory_map";
        MAXIMUM_GPFN = 14, "XENMEM_maximum_gpfn";
        REMOVE_FROM_PHYSMAP = 15, "XENMEM_remove_from_physmap";
        SET_POD_TARGET = 16, "XENMEM_set_pod_target";
        GET_POD_TARGET = 17, "XENMEM_get_pod_target";
        GET_SHARING_FREED_PAGES = 18, "XENMEM_get_sharing_freed_pages";
        GET_SHARING_SHARED_PAGES = 19, "XENMEM_get_sharing_shared_pages";
        PAGING_OP = 20, "XENMEM_paging_op";
        ACCESS_OP = 21, "XENMEM_access_op";
        SHARING_OP = 22, "XENMEM_sharing_op";
        ADD_TO_PHYSMAP_BATCH = 23, "XENMEM_add_to_physmap_batch";
        CLAIM_PAGES = 24, "XENMEM_claim_pages";
        MACHPHYS_COMPAT_MFN_LIST = 25, "XENMEM_machphys_compat_mfn_list";
        GET_VNUMAINFO = 26, "XENMEM_get_vnumainfo";
        RESERVED_DEVICE_MEMORY_MAP = 27, "XENMEM_reserved_device_memory_map";
        ACQUIRE_RESOURCE = 28, "XENMEM_acquire_resource";
    }

    /// `space` of [`AddToPhysmap64`].
    pub struct MapSpace(u32) {
        SHARED_INFO = 0, "XENMAPSPACE_shared_info";
        GRANT_TABLE = 1, "XENMAPSPACE_grant_table";
        GMFN = 2, "XENMAPSPACE_gmfn";
        GMFN_RANGE = 3, "XENMAPSPACE_gmfn_range";
        GMFN_FOREIGN = 4, "XENMAPSPACE_gmfn_foreign";
        DEV_MMIO = 5, "XENMAPSPACE_dev_mmio";
    }

    /// `type` of an [`E820Entry`] (ACPI specification, address range types).
    pub struct E820Type(u32) {
        RAM = 1, "XEN_HVM_MEMMAP_TYPE_RAM";
        RESERVED = 2, "XEN_HVM_MEMMAP_TYPE_RESERVED";
        ACPI = 3, "XEN_HVM_MEMMAP_TYPE_ACPI";
        NVS = 4, "XEN_HVM_MEMMAP_TYPE_NVS";
        UNUSABLE = 5, "XEN_HVM_MEMMAP_TYPE_UNUSABLE";
        DISABLED = 6, "XEN_HVM_MEMMAP_TYPE_DISABLED";
        PMEM = 7, "XEN_HVM_MEMMAP_TYPE_PMEM";
    }
}

abi_consts! {
    /// First bit of a continued call's progress in the command word.
    MEMOP_EXTENT_SHIFT: u32 = 6, own "Xen's MEMOP_EXTENT_SHIFT, hypercall continuation";
    /// The operation in the command word.
    MEMOP_CMD_MASK: u32 = 0x3f, own "Xen's MEMOP_CMD_MASK, hypercall continuation";
    POPULATE_ON_DEMAND: u32 = 1 << 16, "XENMEMF_populate_on_demand";
    EXACT_NODE_REQUEST: u32 = 1 << 17, "XENMEMF_exact_node_request";
    VNODE: u32 = 1 << 18, "XENMEMF_vnode";
    /// In `idx` of [`AddToPhysmap64`] with [`MapSpace::GRANT_TABLE`]: a status frame, not a shared one.
    MAPIDX_GRANT_TABLE_STATUS: u32 = 0x8000_0000, "XENMAPIDX_grant_table_status";
}

abi_structs! {
    /// Argument of increase, decrease and populate.
    pub struct MemoryReservation64 [64] 32 "struct xen_memory_reservation" {
        /// Guest pointer to `nr_extents` frame numbers of 8 bytes.
        0 extent_start: u64,
        8 nr_extents: u64,
        /// Each extent is 2^order frames.
        16 extent_order: u32,
        /// Bits 0-7 address bits, 8-15 node + 1, then [`POPULATE_ON_DEMAND`] and so on.
        20 mem_flags: u32,
        24 domid: u16,
        26 _pad: [u8; 6] = _,
    }

    /// Argument of increase, decrease and populate.
    pub struct MemoryReservation32 [32] 20 "struct xen_memory_reservation" {
        /// Guest pointer to `nr_extents` frame numbers of 4 bytes.
        0 extent_start: u32,
        4 nr_extents: u32,
        8 extent_order: u32,
        12 mem_flags: u32,
        16 domid: u16,
        18 _pad: [u8; 2] = _,
    }

    /// Argument of [`MemoryOp::EXCHANGE`].
    pub struct MemoryExchange64 [64] 72 "struct xen_memory_exchange" {
        0 input: MemoryReservation64 = "in",
        32 output: MemoryReservation64 = "out",
        64 nr_exchanged: u64,
    }

    /// Argument of [`MemoryOp::EXCHANGE`].
    pub struct MemoryExchange32 [32] 44 "struct xen_memory_exchange" {
        0 input: MemoryReservation32 = "in",
        20 output: MemoryReservation32 = "out",
        40 nr_exchanged: u32,
    }

    /// Argument of [`MemoryOp::CURRENT_RESERVATION`], [`MemoryOp::MAXIMUM_RESERVATION`], [`MemoryOp::MAXIMUM_GPFN`].
    pub struct MemoryDomain [both] 2 "struct xen_memory_domain" {
        0 domid: u16,
    }

    /// Argument of [`MemoryOp::MACHPHYS_MFN_LIST`].
    pub struct MachphysMfnList64 [64] 24 "struct xen_machphys_mfn_list" {
        0 max_extents: u32,
        4 _pad0: [u8; 4] = _,
        8 extent_start: u64,
        16 nr_extents: u32,
        20 _pad1: [u8; 4] = _,
    }

    /// Argument of [`MemoryOp::MACHPHYS_MFN_LIST`].
    pub struct MachphysMfnList32 [32] 12 "struct xen_machphys_mfn_list" {
        0 max_extents: u32,
        4 extent_start: u32,
        8 nr_extents: u32,
    }

    /// Answer to [`MemoryOp::MACHPHYS_MAPPING`].
    pub struct MachphysMapping64 [64] 24 "struct xen_machphys_mapping" {
        0 v_start: u64,
        8 v_end: u64,
        /// Index of the last valid entry.
        16 max_mfn: u64,
    }

    /// Answer to [`MemoryOp::MACHPHYS_MAPPING`].
    pub struct MachphysMapping32 [32] 12 "struct xen_machphys_mapping" {
        0 v_start: u32,
        4 v_end: u32,
        8 max_mfn: u32,
    }

    /// Argument of [`MemoryOp::ADD_TO_PHYSMAP`].
    pub struct AddToPhysmap64 [64] 24 "struct xen_add_to_physmap" {
        0 domid: u16,
        /// Frames, for [`MapSpace::GMFN_RANGE`] only.
        2 size: u16,
        /// A [`MapSpace`].
        4 space: u32,
        8 idx: u64,
        16 gpfn: u64,
    }

    /// Argument of [`MemoryOp::ADD_TO_PHYSMAP`].
    pub struct AddToPhysmap32 [32] 16 "struct xen_add_to_physmap" {
        0 domid: u16,
        2 size: u16,
        4 space: u32,
        8 idx: u32,
        12 gpfn: u32,
    }

    /// Argument of [`MemoryOp::ADD_TO_PHYSMAP_BATCH`].
    pub struct AddToPhysmapBatch64 [64] 32 "struct xen_add_to_physmap_batch" {
        0 domid: u16,
        2 space: u16,
        4 size: u16,
        6 foreign_domid: u16 = "u.foreign_domid",
        8 idxs: u64,
        16 gpfns: u64,
        /// Guest pointer to `size` error numbers of 4 bytes.
        24 errs: u64,
    }

    /// Argument of [`MemoryOp::ADD_TO_PHYSMAP_BATCH`].
    pub struct AddToPhysmapBatch32 [32] 20 "struct xen_add_to_physmap_batch" {
        0 domid: u16,
        2 space: u16,
        4 size: u16,
        6 foreign_domid: u16 = "u.foreign_domid",
        8 idxs: u32,
        12 gpfns: u32,
        16 errs: u32,
    }

    /// Argument of [`MemoryOp::REMOVE_FROM_PHYSMAP`].
    pub struct RemoveFromPhysmap64 [64] 16 "struct xen_remove_from_physmap" {
        0 domid: u16,
        2 _pad: [u8; 6] = _,
        8 gpfn: u64,
    }

    /// Argument of [`MemoryOp::REMOVE_FROM_PHYSMAP`].
    pub struct RemoveFromPhysmap32 [32] 8 "struct xen_remove_from_physmap" {
        0 domid: u16,
        2 _pad: [u8; 2] = _,
        4 gpfn: u32,
    }

    /// Argument of [`MemoryOp::MEMORY_MAP`] and [`MemoryOp::MACHINE_MEMORY_MAP`].
    pub struct MemoryMap64 [64] 16 "struct xen_memory_map" {
        /// In: room in the buffer; out: entries written.
        0 nr_entries: u32,
        4 _pad: [u8; 4] = _,
        /// Guest pointer to [`E820Entry`]s, 20 bytes each.
        8 buffer: u64,
    }

    /// Argument of [`MemoryOp::MEMORY_MAP`] and [`MemoryOp::MACHINE_MEMORY_MAP`].
    pub struct MemoryMap32 [32] 8 "struct xen_memory_map" {
        0 nr_entries: u32,
        4 buffer: u32,
    }

    /// One entry of a memory map, packed: the BIOS call INT 15h, E820h.
    pub struct E820Entry [packed] 20 "struct { uint64_t addr; uint64_t size; uint32_t type; } __attribute__((packed))" {
        0 addr: u64,
        8 size: u64,
        /// An [`E820Type`].
        16 kind: u32 = "type",
    }

    /// Argument of [`MemoryOp::ACQUIRE_RESOURCE`].
    pub struct MemAcquireResource64 [64] 32 "struct xen_mem_acquire_resource" {
        0 domid: u16,
        2 kind: u16 = "type",
        4 id: u32,
        8 nr_frames: u32,
        12 pad: u32,
        16 frame: u64,
        24 frame_list: u64,
    }

    /// Argument of [`MemoryOp::ACQUIRE_RESOURCE`].
    pub struct MemAcquireResource32 [32] 28 "struct xen_mem_acquire_resource" {
        0 domid: u16,
        2 kind: u16 = "type",
        4 id: u32,
        8 nr_frames: u32,
        12 pad: u32,
        16 frame: u64,
        24 frame_list: u32,
    }
}
