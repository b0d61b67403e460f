//! Passed-through PCI devices: one page with one outstanding operation in each direction (`io/pciif.h`).

abi_enums! {
    /// `cmd` of [`PciOp`] and [`PcieAerOp`].
    pub struct PciCmd(u32) {
        CONF_READ = 0, "XEN_PCI_OP_conf_read";
        CONF_WRITE = 1, "XEN_PCI_OP_conf_write";
        ENABLE_MSI = 2, "XEN_PCI_OP_enable_msi";
        DISABLE_MSI = 3, "XEN_PCI_OP_disable_msi";
        ENABLE_MSIX = 4, "XEN_PCI_OP_enable_msix";
        DISABLE_MSIX = 5, "XEN_PCI_OP_disable_msix";
        AER_DETECTED = 6, "XEN_PCI_OP_aer_detected";
        AER_RESUME = 7, "XEN_PCI_OP_aer_resume";
        AER_MMIO = 8, "XEN_PCI_OP_aer_mmio";
        AER_SLOTRESET = 9, "XEN_PCI_OP_aer_slotreset";
        ENABLE_MULTI_MSI = 10, "XEN_PCI_OP_enable_multi_msi";
    }

    /// `err` of [`PciOp`].
    pub struct PciError(i32) {
        SUCCESS = 0, "XEN_PCI_ERR_success";
        DEV_NOT_FOUND = -1, "XEN_PCI_ERR_dev_not_found";
        INVALID_OFFSET = -2, "XEN_PCI_ERR_invalid_offset";
        ACCESS_DENIED = -3, "XEN_PCI_ERR_access_denied";
        NOT_IMPLEMENTED = -4, "XEN_PCI_ERR_not_implemented";
        OP_FAILED = -5, "XEN_PCI_ERR_op_failed";
    }
}

abi_consts! {
    /// `flags`: the front end waits for `op`.
    PCIF_ACTIVE: u32 = 1 << 0, "XEN_PCIF_active";
    /// `flags`: the front end handles errors.
    PCIB_AERHANDLER: u32 = 1 << 1, "XEN_PCIB_AERHANDLER";
    /// `flags`: the back end waits for `aer_op`.
    PCIB_ACTIVE: u32 = 1 << 2, "XEN_PCIB_active";
    /// The most MSI-X vectors of one operation.
    SH_INFO_MAX_VEC: usize = 128, "SH_INFO_MAX_VEC";
}

abi_structs! {
    /// One MSI-X vector.
    pub struct MsixEntry [both] 4 "struct xen_msix_entry" {
        0 vector: u16,
        2 entry: u16,
    }

    /// An operation of the front end.
    pub struct PciOp [both] 548 "struct xen_pci_op" {
        /// A [`PciCmd`].
        0 cmd: u32,
        /// Out: a [`PciError`].
        4 err: i32,
        8 domain: u32,
        12 bus: u32,
        16 devfn: u32,
        20 offset: i32,
        24 size: i32,
        28 value: u32,
        /// Number of vectors.
        32 info: u32,
        36 msix_entries: [MsixEntry; 128],
    }

    /// An operation of the back end.
    pub struct PcieAerOp [both] 20 "struct xen_pcie_aer_op" {
        0 cmd: u32,
        4 err: i32,
        8 domain: u32,
        12 bus: u32,
        16 devfn: u32,
    }

    /// The page.
    pub struct PciSharedInfo [both] 572 "struct xen_pci_sharedinfo" {
        0 flags: u32,
        4 op: PciOp,
        552 aer_op: PcieAerOp,
    }
}

/// Node `magic` of the front end: the protocol's version.
pub const PCI_MAGIC: &[u8] = b"7";
