//! `vcpu_op` (24): (cmd, vCPU, argument) (`vcpu.h`). The context of `VCPUOP_initialise` is in
//! [`vcpu_context`](crate::vcpu_context).

abi_enums! {
    /// Operation of `vcpu_op`.
    pub struct VcpuOp(u32) {
        INITIALISE = 0, "VCPUOP_initialise";
        UP = 1, "VCPUOP_up";
        DOWN = 2, "VCPUOP_down";
        IS_UP = 3, "VCPUOP_is_up";
        GET_RUNSTATE_INFO = 4, "VCPUOP_get_runstate_info";
        REGISTER_RUNSTATE_MEMORY_AREA = 5, "VCPUOP_register_runstate_memory_area";
        SET_PERIODIC_TIMER = 6, "VCPUOP_set_periodic_timer";
        STOP_PERIODIC_TIMER = 7, "VCPUOP_stop_periodic_timer";
        SET_SINGLESHOT_TIMER = 8, "VCPUOP_set_singleshot_timer";
        STOP_SINGLESHOT_TIMER = 9, "VCPUOP_stop_singleshot_timer";
        REGISTER_VCPU_INFO = 10, "VCPUOP_register_vcpu_info";
        SEND_NMI = 11, "VCPUOP_send_nmi";
        GET_PHYSID = 12, "VCPUOP_get_physid";
        REGISTER_VCPU_TIME_MEMORY_AREA = 13, "VCPUOP_register_vcpu_time_memory_area";
        REGISTER_RUNSTATE_PHYS_AREA = 14, newer "VCPUOP_register_runstate_phys_area";
        REGISTER_VCPU_TIME_PHYS_AREA = 15, newer "VCPUOP_register_vcpu_time_phys_area";
    }

    /// `state` of [`RunstateInfo64`].
    pub struct Runstate(u32) {
        RUNNING = 0, "RUNSTATE_running";
        RUNNABLE = 1, "RUNSTATE_runnable";
        BLOCKED = 2, "RUNSTATE_blocked";
        OFFLINE = 3, "RUNSTATE_offline";
    }
}

abi_consts! {
    /// In `state_entry_time` while the structure is being changed (see `VmAssist::RUNSTATE_UPDATE_FLAG`).
    RUNSTATE_UPDATE: u64 = 1 << 63, "XEN_RUNSTATE_UPDATE";
    /// In `flags` of [`SetSingleshotTimer64`]: fail with `ETIME` if the time has passed.
    SSHOTTMR_FUTURE: u32 = 1, "VCPU_SSHOTTMR_future";
}

abi_structs! {
    /// Answer to [`VcpuOp::GET_RUNSTATE_INFO`] and content of the registered area.
    pub struct RunstateInfo64 [64] 48 "struct vcpu_runstate_info" {
        /// A [`Runstate`].
        0 state: u32,
        4 _pad: [u8; 4] = _,
        /// System time in ns at which the state was entered, and [`RUNSTATE_UPDATE`].
        8 state_entry_time: u64,
        /// ns spent in each state.
        16 time: [u64; 4],
    }

    /// As [`RunstateInfo64`]; u64 is aligned to 4.
    pub struct RunstateInfo32 [32] 44 "struct vcpu_runstate_info" {
        0 state: u32,
        4 state_entry_time: u64,
        12 time: [u64; 4],
    }

    /// Argument of [`VcpuOp::REGISTER_RUNSTATE_MEMORY_AREA`]: a union of pointers and a u64. Only the
    /// pointer's width counts for a 32-bit guest.
    pub struct RegisterRunstateMemoryArea [both] 8 "struct vcpu_register_runstate_memory_area" {
        /// Guest virtual address.
        0 addr: u64 = "addr.p",
    }

    /// Argument of [`VcpuOp::SET_PERIODIC_TIMER`].
    pub struct SetPeriodicTimer [both] 8 "struct vcpu_set_periodic_timer" {
        0 period_ns: u64,
    }

    /// Argument of [`VcpuOp::SET_SINGLESHOT_TIMER`].
    pub struct SetSingleshotTimer64 [64] 16 "struct vcpu_set_singleshot_timer" {
        /// Absolute system time.
        0 timeout_abs_ns: u64,
        /// [`SSHOTTMR_FUTURE`].
        8 flags: u32,
        12 _pad: [u8; 4] = _,
    }

    /// Argument of [`VcpuOp::SET_SINGLESHOT_TIMER`].
    pub struct SetSingleshotTimer32 [32] 12 "struct vcpu_set_singleshot_timer" {
        0 timeout_abs_ns: u64,
        8 flags: u32,
    }

    /// Argument of [`VcpuOp::REGISTER_VCPU_INFO`].
    pub struct RegisterVcpuInfo [both] 16 "struct vcpu_register_vcpu_info" {
        0 mfn: u64,
        /// Bytes into the frame; the `vcpu_info` must not cross its end.
        8 offset: u32,
        12 rsvd: u32,
    }

    /// Answer to [`VcpuOp::GET_PHYSID`].
    pub struct GetPhysid [both] 8 "struct vcpu_get_physid" {
        /// APIC id in the low half, ACPI id in the high half.
        0 phys_id: u64,
    }

    /// Argument of [`VcpuOp::REGISTER_VCPU_TIME_MEMORY_AREA`]; see [`RegisterRunstateMemoryArea`].
    pub struct RegisterTimeMemoryArea [both] 8 "struct vcpu_register_time_memory_area" {
        /// Guest virtual address of a `vcpu_time_info`.
        0 addr: u64 = "addr.p",
    }
}
