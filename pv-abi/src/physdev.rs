//! `physdev_op` (33) and `physdev_op_compat` (19) (`physdev.h`).

abi_enums! {
    /// Operation of `physdev_op`.
    pub struct PhysdevOp(u32) {
        /// Obsolete.
        IRQ_UNMASK_NOTIFY = 4, "PHYSDEVOP_IRQ_UNMASK_NOTIFY";
        IRQ_STATUS_QUERY = 5, "PHYSDEVOP_irq_status_query";
        SET_IOPL = 6, "PHYSDEVOP_set_iopl";
        SET_IOBITMAP = 7, "PHYSDEVOP_set_iobitmap";
        APIC_READ = 8, "PHYSDEVOP_apic_read";
        APIC_WRITE = 9, "PHYSDEVOP_apic_write";
        ALLOC_IRQ_VECTOR = 10, "PHYSDEVOP_alloc_irq_vector";
        FREE_IRQ_VECTOR = 11, "PHYSDEVOP_free_irq_vector";
        EOI = 12, "PHYSDEVOP_eoi";
        MAP_PIRQ = 13, "PHYSDEVOP_map_pirq";
        UNMAP_PIRQ = 14, "PHYSDEVOP_unmap_pirq";
        MANAGE_PCI_ADD = 15, "PHYSDEVOP_manage_pci_add";
        MANAGE_PCI_REMOVE = 16, "PHYSDEVOP_manage_pci_remove";
        PIRQ_EOI_GMFN_V1 = 17, "PHYSDEVOP_pirq_eoi_gmfn_v1";
        RESTORE_MSI = 19, "PHYSDEVOP_restore_msi";
        MANAGE_PCI_ADD_EXT = 20, "PHYSDEVOP_manage_pci_add_ext";
        SETUP_GSI = 21, "PHYSDEVOP_setup_gsi";
        GET_FREE_PIRQ = 23, "PHYSDEVOP_get_free_pirq";
        PCI_MMCFG_RESERVED = 24, "PHYSDEVOP_pci_mmcfg_reserved";
        PCI_DEVICE_ADD = 25, "PHYSDEVOP_pci_device_add";
        PCI_DEVICE_REMOVE = 26, "PHYSDEVOP_pci_device_remove";
        RESTORE_MSI_EXT = 27, "PHYSDEVOP_restore_msi_ext";
        PIRQ_EOI_GMFN_V2 = 28, "PHYSDEVOP_pirq_eoi_gmfn_v2";
        DBGP_OP = 29, "PHYSDEVOP_dbgp_op";
        PREPARE_MSIX = 30, "PHYSDEVOP_prepare_msix";
        RELEASE_MSIX = 31, "PHYSDEVOP_release_msix";
    }

    /// `type` of [`PhysdevMapPirq64`].
    pub struct MapPirqType(u32) {
        MSI = 0, "MAP_PIRQ_TYPE_MSI";
        GSI = 1, "MAP_PIRQ_TYPE_GSI";
        UNKNOWN = 2, "MAP_PIRQ_TYPE_UNKNOWN";
        MSI_SEG = 3, "MAP_PIRQ_TYPE_MSI_SEG";
        MULTI_MSI = 4, "MAP_PIRQ_TYPE_MULTI_MSI";
    }
}

abi_consts! {
    XENIRQSTAT_NEEDS_EOI: u32 = 1 << 0, "XENIRQSTAT_needs_eoi";
    XENIRQSTAT_SHARED: u32 = 1 << 1, "XENIRQSTAT_shared";
}

abi_structs! {
    /// Argument of [`PhysdevOp::EOI`].
    pub struct PhysdevEoi [both] 4 "struct physdev_eoi" {
        0 irq: u32,
    }

    /// Argument of [`PhysdevOp::IRQ_STATUS_QUERY`].
    pub struct PhysdevIrqStatusQuery [both] 8 "struct physdev_irq_status_query" {
        0 irq: u32,
        /// Out: `XENIRQSTAT_` flags.
        4 flags: u32,
    }

    /// Argument of [`PhysdevOp::SET_IOPL`].
    pub struct PhysdevSetIopl [both] 4 "struct physdev_set_iopl" {
        0 iopl: u32,
    }

    /// Argument of [`PhysdevOp::SET_IOBITMAP`].
    pub struct PhysdevSetIobitmap64 [64] 16 "struct physdev_set_iobitmap" {
        /// Guest pointer.
        0 bitmap: u64,
        8 nr_ports: u32,
        12 _pad: [u8; 4] = _,
    }

    /// Argument of [`PhysdevOp::SET_IOBITMAP`].
    pub struct PhysdevSetIobitmap32 [32] 8 "struct physdev_set_iobitmap" {
        0 bitmap: u32,
        4 nr_ports: u32,
    }

    /// Argument of [`PhysdevOp::PIRQ_EOI_GMFN_V2`].
    pub struct PhysdevPirqEoiGmfn64 [64] 8 "struct physdev_pirq_eoi_gmfn" {
        0 gmfn: u64,
    }

    /// Argument of [`PhysdevOp::PIRQ_EOI_GMFN_V2`].
    pub struct PhysdevPirqEoiGmfn32 [32] 4 "struct physdev_pirq_eoi_gmfn" {
        0 gmfn: u32,
    }

    /// Argument of [`PhysdevOp::APIC_READ`] and [`PhysdevOp::APIC_WRITE`].
    pub struct PhysdevApic64 [64] 16 "struct physdev_apic" {
        0 apic_physbase: u64,
        8 reg: u32,
        12 value: u32,
    }

    /// Argument of [`PhysdevOp::APIC_READ`] and [`PhysdevOp::APIC_WRITE`].
    pub struct PhysdevApic32 [32] 12 "struct physdev_apic" {
        0 apic_physbase: u32,
        4 reg: u32,
        8 value: u32,
    }

    /// Argument of [`PhysdevOp::ALLOC_IRQ_VECTOR`].
    pub struct PhysdevIrq [both] 8 "struct physdev_irq" {
        0 irq: u32,
        4 vector: u32,
    }

    /// Argument of [`PhysdevOp::MAP_PIRQ`].
    pub struct PhysdevMapPirq64 [64] 40 "struct physdev_map_pirq" {
        0 domid: u16,
        2 _pad0: [u8; 2] = _,
        /// A [`MapPirqType`].
        4 kind: u32 = "type",
        8 index: i32,
        12 pirq: i32,
        16 bus: i32,
        20 devfn: i32,
        24 entry_nr: i32,
        28 _pad1: [u8; 4] = _,
        32 table_base: u64,
    }

    /// Argument of [`PhysdevOp::MAP_PIRQ`].
    pub struct PhysdevMapPirq32 [32] 36 "struct physdev_map_pirq" {
        0 domid: u16,
        2 _pad0: [u8; 2] = _,
        4 kind: u32 = "type",
        8 index: i32,
        12 pirq: i32,
        16 bus: i32,
        20 devfn: i32,
        24 entry_nr: i32,
        28 table_base: u64,
    }

    /// Argument of [`PhysdevOp::UNMAP_PIRQ`].
    pub struct PhysdevUnmapPirq [both] 8 "struct physdev_unmap_pirq" {
        0 domid: u16,
        2 _pad: [u8; 2] = _,
        4 pirq: i32,
    }

    /// Argument of [`PhysdevOp::GET_FREE_PIRQ`].
    pub struct PhysdevGetFreePirq [both] 8 "struct physdev_get_free_pirq" {
        0 kind: i32 = "type",
        4 pirq: u32,
    }

    /// Argument of [`PhysdevOp::PCI_DEVICE_REMOVE`], [`PhysdevOp::RESTORE_MSI_EXT`], [`PhysdevOp::PREPARE_MSIX`].
    pub struct PhysdevPciDevice [both] 4 "struct physdev_pci_device" {
        0 seg: u16,
        2 bus: u8,
        3 devfn: u8,
    }
}
