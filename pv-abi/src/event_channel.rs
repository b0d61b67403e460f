//! `event_channel_op` (32), the event arrays of both ABIs, and virtual interrupts (`event_channel.h`, `xen.h`).
//!
//! ```text
//! 2-level   shared_info.evtchn_pending[port] -> vcpu_info.evtchn_pending_sel -> vcpu_info.evtchn_upcall_pending
//! FIFO      event word [port]: PENDING MASKED LINKED BUSY .. LINK -> control block head[priority], ready
//! ```

abi_enums! {
    /// Operation of `event_channel_op`.
    pub struct EvtchnOp(u32) {
        BIND_INTERDOMAIN = 0, "EVTCHNOP_bind_interdomain";
        BIND_VIRQ = 1, "EVTCHNOP_bind_virq";
        BIND_PIRQ = 2, "EVTCHNOP_bind_pirq";
        CLOSE = 3, "EVTCHNOP_close";
        SEND = 4, "EVTCHNOP_send";
        STATUS = 5, "EVTCHNOP_status";
        ALLOC_UNBOUND = 6, "EVTCHNOP_alloc_unbound";
        BIND_IPI = 7, "EVTCHNOP_bind_ipi";
        BIND_VCPU = 8, "EVTCHNOP_bind_vcpu";
        UNMASK = 9, "EVTCHNOP_unmask";
        RESET = 10, "EVTCHNOP_reset";
        INIT_CONTROL = 11, "EVTCHNOP_init_control";
        EXPAND_ARRAY = 12, "EVTCHNOP_expand_array";
        SET_PRIORITY = 13, "EVTCHNOP_set_priority";
        /// Internal continuation of a reset.
        RESET_CONT = 14, newer "EVTCHNOP_reset_cont";
    }

    /// `status` of [`EvtchnStatus`].
    pub struct EvtchnState(u32) {
        CLOSED = 0, "EVTCHNSTAT_closed";
        UNBOUND = 1, "EVTCHNSTAT_unbound";
        INTERDOMAIN = 2, "EVTCHNSTAT_interdomain";
        PIRQ = 3, "EVTCHNSTAT_pirq";
        VIRQ = 4, "EVTCHNSTAT_virq";
        IPI = 5, "EVTCHNSTAT_ipi";
    }

    /// A virtual interrupt. "Per vCPU" ones can be bound once on each vCPU, the others once per domain.
    pub struct Virq(u32) {
        /// Per vCPU.
        TIMER = 0, "VIRQ_TIMER";
        /// Per vCPU.
        DEBUG = 1, "VIRQ_DEBUG";
        CONSOLE = 2, "VIRQ_CONSOLE";
        DOM_EXC = 3, "VIRQ_DOM_EXC";
        TBUF = 4, "VIRQ_TBUF";
        DEBUGGER = 6, "VIRQ_DEBUGGER";
        /// Per vCPU.
        XENOPROF = 7, "VIRQ_XENOPROF";
        CON_RING = 8, "VIRQ_CON_RING";
        PCPU_STATE = 9, "VIRQ_PCPU_STATE";
        MEM_EVENT = 10, "VIRQ_MEM_EVENT";
        ARGO = 11, "VIRQ_ARGO";
        ENOMEM = 12, "VIRQ_ENOMEM";
        /// Per vCPU.
        XENPMU = 13, "VIRQ_XENPMU";
        /// On x86 the machine-check interrupt.
        ARCH_0 = 16, "VIRQ_ARCH_0";
        ARCH_1 = 17, "VIRQ_ARCH_1";
        ARCH_2 = 18, "VIRQ_ARCH_2";
        ARCH_3 = 19, "VIRQ_ARCH_3";
        ARCH_4 = 20, "VIRQ_ARCH_4";
        ARCH_5 = 21, "VIRQ_ARCH_5";
        ARCH_6 = 22, "VIRQ_ARCH_6";
        ARCH_7 = 23, "VIRQ_ARCH_7";
    }
}

impl Virq {
    /// Whether each vCPU has its own.
    #[inline]
    #[must_use]
    pub const fn is_per_vcpu(self) -> bool {
        matches!(
            self,
            Self::TIMER | Self::DEBUG | Self::XENOPROF | Self::XENPMU
        )
    }
}

abi_consts! {
    /// One past the highest virtual interrupt.
    NR_VIRQS: u32 = 24, "NR_VIRQS";
    /// In `flags` of [`EvtchnBindPirq`].
    BIND_PIRQ_WILL_SHARE: u32 = 1, "BIND_PIRQ__WILL_SHARE";
    /// Ports of the 2-level ABI.
    EVTCHN_2L_NR_CHANNELS_64 [64]: u32 = 4096, "EVTCHN_2L_NR_CHANNELS";
    /// Ports of the 2-level ABI.
    EVTCHN_2L_NR_CHANNELS_32 [32]: u32 = 1024, "EVTCHN_2L_NR_CHANNELS";
    /// Ports of the FIFO ABI.
    EVTCHN_FIFO_NR_CHANNELS: u32 = 1 << 17, "EVTCHN_FIFO_NR_CHANNELS";
    /// The highest priority.
    EVTCHN_FIFO_PRIORITY_MAX: u32 = 0, "EVTCHN_FIFO_PRIORITY_MAX";
    EVTCHN_FIFO_PRIORITY_DEFAULT: u32 = 7, "EVTCHN_FIFO_PRIORITY_DEFAULT";
    /// The lowest priority.
    EVTCHN_FIFO_PRIORITY_MIN: u32 = 15, "EVTCHN_FIFO_PRIORITY_MIN";
    EVTCHN_FIFO_MAX_QUEUES: u32 = 16, "EVTCHN_FIFO_MAX_QUEUES";
    /// Bit number in an event word.
    EVTCHN_FIFO_PENDING: u32 = 31, "EVTCHN_FIFO_PENDING";
    /// Bit number in an event word.
    EVTCHN_FIFO_MASKED: u32 = 30, "EVTCHN_FIFO_MASKED";
    /// Bit number in an event word.
    EVTCHN_FIFO_LINKED: u32 = 29, "EVTCHN_FIFO_LINKED";
    /// Bit number in an event word.
    EVTCHN_FIFO_BUSY: u32 = 28, "EVTCHN_FIFO_BUSY";
    EVTCHN_FIFO_LINK_BITS: u32 = 17, "EVTCHN_FIFO_LINK_BITS";
    /// The next port of the queue, in an event word.
    EVTCHN_FIFO_LINK_MASK: u32 = (1 << 17) - 1, "EVTCHN_FIFO_LINK_MASK";
    /// Event words in one page of the FIFO array.
    EVTCHN_FIFO_EVENTS_PER_PAGE: u32 = 1024, "(4096 / sizeof(event_word_t))";
}

abi_structs! {
    /// Argument of [`EvtchnOp::ALLOC_UNBOUND`].
    pub struct EvtchnAllocUnbound [both] 8 "struct evtchn_alloc_unbound" {
        0 dom: u16,
        2 remote_dom: u16,
        /// Out.
        4 port: u32,
    }

    /// Argument of [`EvtchnOp::BIND_INTERDOMAIN`].
    pub struct EvtchnBindInterdomain [both] 12 "struct evtchn_bind_interdomain" {
        0 remote_dom: u16,
        2 _pad: [u8; 2] = _,
        4 remote_port: u32,
        /// Out.
        8 local_port: u32,
    }

    /// Argument of [`EvtchnOp::BIND_VIRQ`].
    pub struct EvtchnBindVirq [both] 12 "struct evtchn_bind_virq" {
        /// A [`Virq`].
        0 virq: u32,
        4 vcpu: u32,
        /// Out.
        8 port: u32,
    }

    /// Argument of [`EvtchnOp::BIND_PIRQ`].
    pub struct EvtchnBindPirq [both] 12 "struct evtchn_bind_pirq" {
        0 pirq: u32,
        4 flags: u32,
        /// Out.
        8 port: u32,
    }

    /// Argument of [`EvtchnOp::BIND_IPI`].
    pub struct EvtchnBindIpi [both] 8 "struct evtchn_bind_ipi" {
        0 vcpu: u32,
        /// Out.
        4 port: u32,
    }

    /// Argument of [`EvtchnOp::CLOSE`].
    pub struct EvtchnClose [both] 4 "struct evtchn_close" {
        0 port: u32,
    }

    /// Argument of [`EvtchnOp::SEND`].
    pub struct EvtchnSend [both] 4 "struct evtchn_send" {
        0 port: u32,
    }

    /// Argument of [`EvtchnOp::STATUS`]. The last two fields are a union in C.
    pub struct EvtchnStatus [both] 24 "struct evtchn_status" {
        0 dom: u16,
        2 _pad: [u8; 2] = _,
        4 port: u32,
        /// Out: an [`EvtchnState`].
        8 status: u32,
        12 vcpu: u32,
        /// Unbound and interdomain: the other domain; pirq, virq: its number (32 bits).
        16 detail: u32 = "u.pirq",
        /// Interdomain: the other port.
        20 remote_port: u32 = "u.interdomain.port",
    }

    /// Argument of [`EvtchnOp::BIND_VCPU`].
    pub struct EvtchnBindVcpu [both] 8 "struct evtchn_bind_vcpu" {
        0 port: u32,
        4 vcpu: u32,
    }

    /// Argument of [`EvtchnOp::UNMASK`].
    pub struct EvtchnUnmask [both] 4 "struct evtchn_unmask" {
        0 port: u32,
    }

    /// Argument of [`EvtchnOp::RESET`].
    pub struct EvtchnReset [both] 2 "struct evtchn_reset" {
        0 dom: u16,
    }

    /// Argument of [`EvtchnOp::INIT_CONTROL`].
    pub struct EvtchnInitControl [both] 24 "struct evtchn_init_control" {
        0 control_gfn: u64,
        /// Of the control block in the frame; a multiple of 8.
        8 offset: u32,
        12 vcpu: u32,
        /// Out: [`EVTCHN_FIFO_LINK_BITS`].
        16 link_bits: u8,
        17 _pad: [u8; 7],
    }

    /// Argument of [`EvtchnOp::EXPAND_ARRAY`].
    pub struct EvtchnExpandArray [both] 8 "struct evtchn_expand_array" {
        0 array_gfn: u64,
    }

    /// Argument of [`EvtchnOp::SET_PRIORITY`].
    pub struct EvtchnSetPriority [both] 8 "struct evtchn_set_priority" {
        0 port: u32,
        4 priority: u32,
    }

    /// Argument of hypercall 16: the operation with its argument behind it.
    pub struct EvtchnOpCompat [both] 28 "struct evtchn_op" {
        /// An [`EvtchnOp`], `UNMASK` at most.
        0 cmd: u32,
        /// The operation's own structure.
        4 argument: [u8; 24] = "u",
    }

    /// A vCPU's control block of the FIFO ABI.
    pub struct EvtchnFifoControlBlock [both] 72 "struct evtchn_fifo_control_block" {
        /// One bit per queue that has events.
        0 ready: u32,
        4 _rsvd: u32,
        /// First port of each queue.
        8 head: [u32; 16],
    }
}
