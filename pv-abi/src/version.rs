//! `xen_version` (17): sub-operations, their answers and the feature bits (`version.h`, `features.h`).

abi_enums! {
    /// `cmd` of `xen_version`.
    pub struct VersionOp(u32) {
        /// No argument; returns (major << 16) | minor. Linux also uses it as "deliver pending events".
        VERSION = 0, "XENVER_version";
        /// `char[16]`.
        EXTRAVERSION = 1, "XENVER_extraversion";
        /// [`CompileInfo`].
        COMPILE_INFO = 2, "XENVER_compile_info";
        /// `char[1024]`.
        CAPABILITIES = 3, "XENVER_capabilities";
        /// `char[64]`.
        CHANGESET = 4, "XENVER_changeset";
        /// [`PlatformParameters64`] or [`PlatformParameters32`].
        PLATFORM_PARAMETERS = 5, "XENVER_platform_parameters";
        /// [`FeatureInfo`].
        GET_FEATURES = 6, "XENVER_get_features";
        /// No argument; returns the page size.
        PAGESIZE = 7, "XENVER_pagesize";
        /// `u8[16]`: the domain's UUID.
        GUEST_HANDLE = 8, "XENVER_guest_handle";
        /// `char[1024]`.
        COMMANDLINE = 9, "XENVER_commandline";
        BUILD_ID = 10, "XENVER_build_id";
    }

    /// Bit number of a feature in submap 0.
    pub struct Feature(u32) {
        WRITABLE_PAGE_TABLES = 0, "XENFEAT_writable_page_tables";
        WRITABLE_DESCRIPTOR_TABLES = 1, "XENFEAT_writable_descriptor_tables";
        AUTO_TRANSLATED_PHYSMAP = 2, "XENFEAT_auto_translated_physmap";
        SUPERVISOR_MODE_KERNEL = 3, "XENFEAT_supervisor_mode_kernel";
        PAE_PGDIR_ABOVE_4GB = 4, "XENFEAT_pae_pgdir_above_4gb";
        /// Linux PV panics without it.
        MMU_PT_UPDATE_PRESERVE_AD = 5, "XENFEAT_mmu_pt_update_preserve_ad";
        HIGHMEM_ASSIST = 6, "XENFEAT_highmem_assist";
        /// Linux PV panics without it.
        GNTTAB_MAP_AVAIL_BITS = 7, "XENFEAT_gnttab_map_avail_bits";
        HVM_CALLBACK_VECTOR = 8, "XENFEAT_hvm_callback_vector";
        HVM_SAFE_PVCLOCK = 9, "XENFEAT_hvm_safe_pvclock";
        HVM_PIRQS = 10, "XENFEAT_hvm_pirqs";
        DOM0 = 11, "XENFEAT_dom0";
        MEMORY_OP_VNODE_SUPPORTED = 13, "XENFEAT_memory_op_vnode_supported";
        ARM_SMCCC_SUPPORTED = 14, "XENFEAT_ARM_SMCCC_supported";
        LINUX_RSDP_UNRESTRICTED = 15, "XENFEAT_linux_rsdp_unrestricted";
        NOT_DIRECT_MAPPED = 16, "XENFEAT_not_direct_mapped";
        DIRECT_MAPPED = 17, "XENFEAT_direct_mapped";
        RUNSTATE_PHYS_AREA = 18, newer "XENFEAT_runstate_phys_area";
        VCPU_TIME_PHYS_AREA = 19, newer "XENFEAT_vcpu_time_phys_area";
        DM_MSIX_ALL_WRITES = 20, newer "XENFEAT_dm_msix_all_writes";
    }
}

impl Feature {
    /// The feature's bit in [`FeatureInfo::submap`]; 0 for a number that is not in submap 0.
    #[inline]
    #[must_use]
    pub const fn mask(self) -> u32 {
        if self.0 < 32 {
            1 << self.0
        } else {
            0
        }
    }
}

abi_consts! {
    /// Number of feature submaps.
    NR_SUBMAPS: u32 = 1, "XENFEAT_NR_SUBMAPS";
    EXTRAVERSION_LEN: usize = 16, "XEN_EXTRAVERSION_LEN";
    CAPABILITIES_INFO_LEN: usize = 1024, "XEN_CAPABILITIES_INFO_LEN";
    CHANGESET_INFO_LEN: usize = 64, "XEN_CHANGESET_INFO_LEN";
    COMMANDLINE_LEN: usize = 1024, "sizeof(xen_commandline_t)";
    GUEST_HANDLE_LEN: usize = 16, "sizeof(xen_domain_handle_t)";
    /// The interface version to which this crate was written.
    LATEST_INTERFACE_VERSION: u32 = 0x00040e00, own "__XEN_LATEST_INTERFACE_VERSION__ of Xen 4.17; later headers raise it";
}

abi_structs! {
    /// Answer to [`VersionOp::COMPILE_INFO`]; NUL-terminated strings.
    pub struct CompileInfo [both] 144 "struct xen_compile_info" {
        0 compiler: [u8; 64],
        64 compile_by: [u8; 16],
        80 compile_domain: [u8; 32],
        112 compile_date: [u8; 32],
    }

    /// Answer to [`VersionOp::PLATFORM_PARAMETERS`].
    pub struct PlatformParameters64 [64] 8 "struct xen_platform_parameters" {
        /// First virtual address that belongs to the hypervisor.
        0 virt_start: u64,
    }

    /// Answer to [`VersionOp::PLATFORM_PARAMETERS`].
    pub struct PlatformParameters32 [32] 4 "struct xen_platform_parameters" {
        /// First virtual address that belongs to the hypervisor.
        0 virt_start: u32,
    }

    /// Argument and answer of [`VersionOp::GET_FEATURES`].
    pub struct FeatureInfo [both] 8 "struct xen_feature_info" {
        /// In: which 32 features.
        0 submap_idx: u32,
        /// Out: one bit per [`Feature`].
        4 submap: u32,
    }
}
