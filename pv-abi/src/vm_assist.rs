//! `vm_assist` (21): (command, type) (`xen.h`).

abi_enums! {
    /// What to do with the assist.
    pub struct VmAssistCmd(u32) {
        ENABLE = 0, "VMASST_CMD_enable";
        DISABLE = 1, "VMASST_CMD_disable";
    }

    /// Which assist; also the bit number in `vm_assist` of a vCPU context.
    pub struct VmAssist(u32) {
        FOUR_GB_SEGMENTS = 0, "VMASST_TYPE_4gb_segments";
        FOUR_GB_SEGMENTS_NOTIFY = 1, "VMASST_TYPE_4gb_segments_notify";
        WRITABLE_PAGETABLES = 2, "VMASST_TYPE_writable_pagetables";
        PAE_EXTENDED_CR3 = 3, "VMASST_TYPE_pae_extended_cr3";
        ARCHITECTURAL_IOPL = 4, "VMASST_TYPE_architectural_iopl";
        RUNSTATE_UPDATE_FLAG = 5, "VMASST_TYPE_runstate_update_flag";
        M2P_STRICT = 32, "VMASST_TYPE_m2p_strict";
    }
}

abi_consts! {}
abi_structs! {}
