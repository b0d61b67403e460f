//! `mmu_update` (1), `mmuext_op` (26), `update_va_mapping` (14) (`xen.h`).
//!
//! Both batch calls take (array, count, `done`, foreign domain). Bit 31 of the count says that the call is
//! the continuation of a preempted one. The foreign domain's low half owns the mapped frames, its high half,
//! when not 0, is 1 + the domain that owns the page tables.

abi_enums! {
    /// Bits 1:0 of [`MmuUpdate::ptr`].
    pub struct MmuUpdateKind(u32) {
        NORMAL_PT_UPDATE = 0, "MMU_NORMAL_PT_UPDATE";
        /// Write the machine-to-physical entry of the frame at `ptr`.
        MACHPHYS_UPDATE = 1, "MMU_MACHPHYS_UPDATE";
        /// As normal, keeping the Accessed and Dirty bits of the old entry.
        PT_UPDATE_PRESERVE_AD = 2, "MMU_PT_UPDATE_PRESERVE_AD";
        PT_UPDATE_NO_TRANSLATE = 3, "MMU_PT_UPDATE_NO_TRANSLATE";
    }

    /// `cmd` of an [`MmuextOp64`].
    pub struct MmuextCmd(u32) {
        PIN_L1_TABLE = 0, "MMUEXT_PIN_L1_TABLE";
        PIN_L2_TABLE = 1, "MMUEXT_PIN_L2_TABLE";
        PIN_L3_TABLE = 2, "MMUEXT_PIN_L3_TABLE";
        PIN_L4_TABLE = 3, "MMUEXT_PIN_L4_TABLE";
        UNPIN_TABLE = 4, "MMUEXT_UNPIN_TABLE";
        NEW_BASEPTR = 5, "MMUEXT_NEW_BASEPTR";
        TLB_FLUSH_LOCAL = 6, "MMUEXT_TLB_FLUSH_LOCAL";
        INVLPG_LOCAL = 7, "MMUEXT_INVLPG_LOCAL";
        TLB_FLUSH_MULTI = 8, "MMUEXT_TLB_FLUSH_MULTI";
        INVLPG_MULTI = 9, "MMUEXT_INVLPG_MULTI";
        TLB_FLUSH_ALL = 10, "MMUEXT_TLB_FLUSH_ALL";
        INVLPG_ALL = 11, "MMUEXT_INVLPG_ALL";
        FLUSH_CACHE = 12, "MMUEXT_FLUSH_CACHE";
        SET_LDT = 13, "MMUEXT_SET_LDT";
        NEW_USER_BASEPTR = 15, "MMUEXT_NEW_USER_BASEPTR";
        CLEAR_PAGE = 16, "MMUEXT_CLEAR_PAGE";
        COPY_PAGE = 17, "MMUEXT_COPY_PAGE";
        FLUSH_CACHE_GLOBAL = 18, "MMUEXT_FLUSH_CACHE_GLOBAL";
        MARK_SUPER = 19, "MMUEXT_MARK_SUPER";
        UNMARK_SUPER = 20, "MMUEXT_UNMARK_SUPER";
    }
}

abi_consts! {
    /// The kind of update in `ptr`.
    MMU_UPDATE_KIND_MASK: u64 = 3, own "xen.h, mmu_update: ptr[1:0] is the sub-command";
    /// In the count of both batch calls: continuation of a preempted call.
    MMU_UPDATE_PREEMPTED: u32 = 1 << 31, own "Xen's MMU_UPDATE_PREEMPTED, arch/x86 mm";
    /// `update_va_mapping` flags: no flush.
    UVMF_NONE: u64 = 0, "UVMF_NONE";
    /// Flush the whole TLB.
    UVMF_TLB_FLUSH: u64 = 1, "UVMF_TLB_FLUSH";
    /// Flush one address.
    UVMF_INVLPG: u64 = 2, "UVMF_INVLPG";
    UVMF_FLUSHTYPE_MASK: u64 = 3, "UVMF_FLUSHTYPE_MASK";
    /// The flags word, less its two low bits, is a guest pointer to a bitmap of vCPUs.
    UVMF_MULTI: u64 = 0, "UVMF_MULTI";
    UVMF_LOCAL: u64 = 0, "UVMF_LOCAL";
    UVMF_ALL: u64 = 1 << 2, "UVMF_ALL";
}

abi_structs! {
    /// One request of `mmu_update`.
    pub struct MmuUpdate [both] 16 "struct mmu_update" {
        /// Machine address of the entry; bits 1:0 are an [`MmuUpdateKind`].
        0 ptr: u64,
        8 val: u64,
    }

    /// One request of `mmuext_op`.
    pub struct MmuextOp64 [64] 24 "struct mmuext_op" {
        /// An [`MmuextCmd`].
        0 cmd: u32,
        4 _pad: [u8; 4] = _,
        /// Frame number or linear address.
        8 arg1: u64,
        /// Number of LDT entries, guest pointer to a bitmap of vCPUs, or source frame.
        16 arg2: u64,
    }

    /// One request of `mmuext_op`.
    pub struct MmuextOp32 [32] 12 "struct mmuext_op" {
        0 cmd: u32,
        4 arg1: u32,
        8 arg2: u32,
    }
}

impl MmuUpdate {
    /// What to do.
    #[inline]
    #[must_use]
    pub const fn kind(&self) -> MmuUpdateKind {
        MmuUpdateKind((self.ptr & MMU_UPDATE_KIND_MASK) as u32)
    }

    /// Machine address without the kind.
    #[inline]
    #[must_use]
    pub const fn address(&self) -> u64 {
        self.ptr & !MMU_UPDATE_KIND_MASK
    }
}
