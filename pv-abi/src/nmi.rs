//! `nmi_op` (28) (`nmi.h`).

abi_enums! {
    /// Operation of `nmi_op`.
    pub struct NmiOp(u32) {
        REGISTER_CALLBACK = 0, "XENNMI_register_callback";
        UNREGISTER_CALLBACK = 1, "XENNMI_unregister_callback";
    }
}

abi_consts! {
    /// In `nmi_reason` of the shared info.
    NMIREASON_IO_ERROR: u32 = 1 << 0, "XEN_NMIREASON_io_error";
    NMIREASON_PCI_SERR: u32 = 1 << 1, "XEN_NMIREASON_pci_serr";
    NMIREASON_UNKNOWN: u32 = 1 << 2, "XEN_NMIREASON_unknown";
}

abi_structs! {
    /// Argument of [`NmiOp::REGISTER_CALLBACK`].
    pub struct NmiCallback64 [64] 16 "struct xennmi_callback" {
        0 handler_address: u64,
        8 pad: u64,
    }

    /// Argument of [`NmiOp::REGISTER_CALLBACK`].
    pub struct NmiCallback32 [32] 8 "struct xennmi_callback" {
        0 handler_address: u32,
        4 pad: u32,
    }
}
