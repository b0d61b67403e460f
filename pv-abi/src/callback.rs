//! `callback_op` (30): where events, failsafe and system calls enter the guest kernel (`callback.h`).

abi_enums! {
    /// Operation of `callback_op`.
    pub struct CallbackOp(u32) {
        REGISTER = 0, "CALLBACKOP_register";
        UNREGISTER = 1, "CALLBACKOP_unregister";
    }

    /// Which entry.
    pub struct CallbackType(u16) {
        EVENT = 0, "CALLBACKTYPE_event";
        FAILSAFE = 1, "CALLBACKTYPE_failsafe";
        /// 64-bit guests.
        SYSCALL = 2, "CALLBACKTYPE_syscall";
        SYSENTER_DEPRECATED = 3, "CALLBACKTYPE_sysenter_deprecated";
        NMI = 4, "CALLBACKTYPE_nmi";
        SYSENTER = 5, "CALLBACKTYPE_sysenter";
        /// SYSCALL from compatibility mode.
        SYSCALL32 = 7, "CALLBACKTYPE_syscall32";
    }
}

abi_consts! {
    /// `flags`: mask events on entry.
    CALLBACKF_MASK_EVENTS: u16 = 1, "CALLBACKF_mask_events";
}

abi_structs! {
    /// Argument of [`CallbackOp::REGISTER`].
    pub struct CallbackRegister64 [64] 16 "struct callback_register" {
        /// A [`CallbackType`].
        0 kind: u16 = "type",
        2 flags: u16,
        4 _pad: [u8; 4] = _,
        8 address: u64,
    }

    /// Argument of [`CallbackOp::REGISTER`].
    pub struct CallbackRegister32 [32] 12 "struct callback_register" {
        0 kind: u16 = "type",
        2 flags: u16,
        4 cs: u32 = "address.cs",
        8 eip: u32 = "address.eip",
    }

    /// Argument of [`CallbackOp::UNREGISTER`].
    pub struct CallbackUnregister [both] 4 "struct callback_unregister" {
        0 kind: u16 = "type",
        2 _unused: u16,
    }
}
