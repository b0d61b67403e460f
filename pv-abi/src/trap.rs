//! `set_trap_table` (0): the virtual IDT (`arch-x86/xen.h`).

abi_enums! {}

abi_consts! {
    /// In `flags`: lowest privilege (highest ring) that may raise the vector by INT n.
    TRAP_DPL_MASK: u8 = 3, own "arch-x86/xen.h, TI_GET_DPL";
    /// In `flags`: mask events on entry.
    TRAP_MASK_EVENTS: u8 = 4, own "arch-x86/xen.h, TI_GET_IF";
    /// Vectors of the virtual IDT.
    TRAP_VECTORS: usize = 256, own "x86: an IDT has 256 vectors";
}

abi_structs! {
    /// One exception handler; `address` 0 ends a table.
    pub struct TrapInfo64 [64] 16 "struct trap_info" {
        0 vector: u8,
        /// [`TRAP_DPL_MASK`] and [`TRAP_MASK_EVENTS`].
        1 flags: u8,
        2 cs: u16,
        4 _pad: [u8; 4] = _,
        8 address: u64,
    }

    /// One exception handler; `address` 0 ends a table.
    pub struct TrapInfo32 [32] 8 "struct trap_info" {
        0 vector: u8,
        1 flags: u8,
        2 cs: u16,
        4 address: u32,
    }
}

impl TrapInfo64 {
    /// Ring from which INT n may reach the handler.
    #[inline]
    #[must_use]
    pub const fn dpl(&self) -> u8 {
        self.flags & TRAP_DPL_MASK
    }

    /// Whether entry masks events.
    #[inline]
    #[must_use]
    pub const fn masks_events(&self) -> bool {
        self.flags & TRAP_MASK_EVENTS != 0
    }
}

impl TrapInfo32 {
    /// Ring from which INT n may reach the handler.
    #[inline]
    #[must_use]
    pub const fn dpl(&self) -> u8 {
        self.flags & TRAP_DPL_MASK
    }

    /// Whether entry masks events.
    #[inline]
    #[must_use]
    pub const fn masks_events(&self) -> bool {
        self.flags & TRAP_MASK_EVENTS != 0
    }
}
