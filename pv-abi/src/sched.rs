//! `sched_op` (29) and the older `sched_op_compat` (6) (`sched.h`).

abi_enums! {
    /// Operation of `sched_op`. The compat call has the first three, with the argument in a register.
    pub struct SchedOp(u32) {
        YIELD = 0, "SCHEDOP_yield";
        /// Enables events, then waits for one.
        BLOCK = 1, "SCHEDOP_block";
        /// Argument [`SchedShutdown`]; for a suspend the start_info frame is the third argument.
        SHUTDOWN = 2, "SCHEDOP_shutdown";
        /// Argument [`SchedPoll64`] or [`SchedPoll32`].
        POLL = 3, "SCHEDOP_poll";
        REMOTE_SHUTDOWN = 4, "SCHEDOP_remote_shutdown";
        /// Argument [`SchedShutdown`]: latch the reason only.
        SHUTDOWN_CODE = 5, "SCHEDOP_shutdown_code";
        /// Argument [`SchedWatchdog`].
        WATCHDOG = 6, "SCHEDOP_watchdog";
        PIN_OVERRIDE = 7, "SCHEDOP_pin_override";
    }

    /// `reason` of a shutdown.
    pub struct ShutdownReason(u32) {
        POWEROFF = 0, "SHUTDOWN_poweroff";
        REBOOT = 1, "SHUTDOWN_reboot";
        SUSPEND = 2, "SHUTDOWN_suspend";
        CRASH = 3, "SHUTDOWN_crash";
        WATCHDOG = 4, "SHUTDOWN_watchdog";
        SOFT_RESET = 5, "SHUTDOWN_soft_reset";
    }
}

abi_consts! {
    /// The largest shutdown reason with a meaning.
    SHUTDOWN_MAX: u32 = 5, "SHUTDOWN_MAX";
    /// The most ports that one poll may name.
    SCHED_POLL_MAX_PORTS: u32 = 128, own "Xen's do_poll answers -EINVAL above";
}

abi_structs! {
    /// Argument of [`SchedOp::SHUTDOWN`].
    pub struct SchedShutdown [both] 4 "struct sched_shutdown" {
        /// A [`ShutdownReason`].
        0 reason: u32,
    }

    /// Argument of [`SchedOp::POLL`].
    pub struct SchedPoll64 [64] 24 "struct sched_poll" {
        /// Guest pointer to `nr_ports` ports of 4 bytes.
        0 ports: u64,
        8 nr_ports: u32,
        12 _pad: [u8; 4] = _,
        /// Absolute system time in ns; 0 for none.
        16 timeout: u64,
    }

    /// Argument of [`SchedOp::POLL`].
    pub struct SchedPoll32 [32] 16 "struct sched_poll" {
        0 ports: u32,
        4 nr_ports: u32,
        8 timeout: u64,
    }

    /// Argument of [`SchedOp::REMOTE_SHUTDOWN`].
    pub struct SchedRemoteShutdown [both] 8 "struct sched_remote_shutdown" {
        0 domain_id: u16,
        2 _pad: [u8; 2] = _,
        4 reason: u32,
    }

    /// Argument of [`SchedOp::WATCHDOG`].
    pub struct SchedWatchdog [both] 8 "struct sched_watchdog" {
        /// 0: a new one, whose number is returned.
        0 id: u32,
        /// Seconds; 0 destroys.
        4 timeout: u32,
    }

    /// Argument of [`SchedOp::PIN_OVERRIDE`].
    pub struct SchedPinOverride [both] 4 "struct sched_pin_override" {
        0 pcpu: i32,
    }
}
