//! `xenpmu_op` (40) (`pmu.h`).

abi_enums! {
    /// Operation of `xenpmu_op`.
    pub struct PmuOp(u32) {
        MODE_GET = 0, "XENPMU_mode_get";
        MODE_SET = 1, "XENPMU_mode_set";
        FEATURE_GET = 2, "XENPMU_feature_get";
        FEATURE_SET = 3, "XENPMU_feature_set";
        INIT = 4, "XENPMU_init";
        FINISH = 5, "XENPMU_finish";
        LVTPC_SET = 6, "XENPMU_lvtpc_set";
        FLUSH = 7, "XENPMU_flush";
    }
}

abi_consts! {
    VER_MAJ: u32 = 0, "XENPMU_VER_MAJ";
    VER_MIN: u32 = 1, "XENPMU_VER_MIN";
    MODE_OFF: u64 = 0, "XENPMU_MODE_OFF";
    MODE_SELF: u64 = 1 << 0, "XENPMU_MODE_SELF";
    MODE_HV: u64 = 1 << 1, "XENPMU_MODE_HV";
    MODE_ALL: u64 = 1 << 2, "XENPMU_MODE_ALL";
    FEATURE_INTEL_BTS: u64 = 1 << 0, "XENPMU_FEATURE_INTEL_BTS";
}

abi_structs! {
    /// Argument of every operation.
    pub struct PmuParams [both] 24 "struct xen_pmu_params" {
        0 version_maj: u32 = "version.maj",
        4 version_min: u32 = "version.min",
        8 val: u64,
        16 vcpu: u32,
        20 pad: u32,
    }
}
