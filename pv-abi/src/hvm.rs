//! `hvm_op` (34) and HVM parameters (`hvm/hvm_op.h`, `hvm/params.h`).

abi_enums! {
    /// Operation of `hvm_op`.
    pub struct HvmOp(u32) {
        SET_PARAM = 0, "HVMOP_set_param";
        GET_PARAM = 1, "HVMOP_get_param";
        SET_PCI_INTX_LEVEL = 2, own "HVMOP_set_pci_intx_level";
        SET_ISA_IRQ_LEVEL = 3, own "HVMOP_set_isa_irq_level";
        SET_PCI_LINK_ROUTE = 4, own "HVMOP_set_pci_link_route";
        FLUSH_TLBS = 5, "HVMOP_flush_tlbs";
        PAGETABLE_DYING = 9, "HVMOP_pagetable_dying";
        GET_TIME = 10, "HVMOP_get_time";
        XENTRACE = 11, "HVMOP_xentrace";
        SET_MEM_ACCESS = 12, "HVMOP_set_mem_access";
        GET_MEM_ACCESS = 13, "HVMOP_get_mem_access";
        GET_MEM_TYPE = 15, "HVMOP_get_mem_type";
        SET_EVTCHN_UPCALL_VECTOR = 23, "HVMOP_set_evtchn_upcall_vector";
        GUEST_REQUEST_VM_EVENT = 24, "HVMOP_guest_request_vm_event";
        ALTP2M = 25, "HVMOP_altp2m";
    }

    /// `index` of [`HvmParamArg`].
    pub struct HvmParam(u32) {
        CALLBACK_IRQ = 0, "HVM_PARAM_CALLBACK_IRQ";
        STORE_PFN = 1, "HVM_PARAM_STORE_PFN";
        STORE_EVTCHN = 2, "HVM_PARAM_STORE_EVTCHN";
        PAE_ENABLED = 4, "HVM_PARAM_PAE_ENABLED";
        IOREQ_PFN = 5, "HVM_PARAM_IOREQ_PFN";
        BUFIOREQ_PFN = 6, "HVM_PARAM_BUFIOREQ_PFN";
        VIRIDIAN = 9, "HVM_PARAM_VIRIDIAN";
        TIMER_MODE = 10, "HVM_PARAM_TIMER_MODE";
        HPET_ENABLED = 11, "HVM_PARAM_HPET_ENABLED";
        IDENT_PT = 12, "HVM_PARAM_IDENT_PT";
        DM_DOMAIN = 13, "HVM_PARAM_DM_DOMAIN";
        ACPI_S_STATE = 14, "HVM_PARAM_ACPI_S_STATE";
        VM86_TSS = 15, "HVM_PARAM_VM86_TSS";
        VPT_ALIGN = 16, "HVM_PARAM_VPT_ALIGN";
        CONSOLE_PFN = 17, "HVM_PARAM_CONSOLE_PFN";
        CONSOLE_EVTCHN = 18, "HVM_PARAM_CONSOLE_EVTCHN";
        ACPI_IOPORTS_LOCATION = 19, "HVM_PARAM_ACPI_IOPORTS_LOCATION";
        MEMORY_EVENT_CR0 = 20, "HVM_PARAM_MEMORY_EVENT_CR0";
        MEMORY_EVENT_CR3 = 21, "HVM_PARAM_MEMORY_EVENT_CR3";
        MEMORY_EVENT_CR4 = 22, "HVM_PARAM_MEMORY_EVENT_CR4";
        MEMORY_EVENT_INT3 = 23, "HVM_PARAM_MEMORY_EVENT_INT3";
        NESTEDHVM = 24, "HVM_PARAM_NESTEDHVM";
        MEMORY_EVENT_SINGLE_STEP = 25, "HVM_PARAM_MEMORY_EVENT_SINGLE_STEP";
        BUFIOREQ_EVTCHN = 26, "HVM_PARAM_BUFIOREQ_EVTCHN";
        PAGING_RING_PFN = 27, "HVM_PARAM_PAGING_RING_PFN";
        MONITOR_RING_PFN = 28, "HVM_PARAM_MONITOR_RING_PFN";
        SHARING_RING_PFN = 29, "HVM_PARAM_SHARING_RING_PFN";
        MEMORY_EVENT_MSR = 30, "HVM_PARAM_MEMORY_EVENT_MSR";
        TRIPLE_FAULT_REASON = 31, "HVM_PARAM_TRIPLE_FAULT_REASON";
        IOREQ_SERVER_PFN = 32, "HVM_PARAM_IOREQ_SERVER_PFN";
        NR_IOREQ_SERVER_PAGES = 33, "HVM_PARAM_NR_IOREQ_SERVER_PAGES";
        VM_GENERATION_ID_ADDR = 34, "HVM_PARAM_VM_GENERATION_ID_ADDR";
        ALTP2M = 35, "HVM_PARAM_ALTP2M";
        X87_FIP_WIDTH = 36, "HVM_PARAM_X87_FIP_WIDTH";
        VM86_TSS_SIZED = 37, "HVM_PARAM_VM86_TSS_SIZED";
        MCA_CAP = 38, "HVM_PARAM_MCA_CAP";
    }

    /// Bits 63:56 of [`HvmParam::CALLBACK_IRQ`]'s value.
    pub struct CallbackVia(u32) {
        /// Bits 31:0 are the GSI; value 0 as a whole switches callbacks off.
        GSI = 0, "HVM_PARAM_CALLBACK_TYPE_GSI";
        /// Bits 47:32 domain, 31:16 bus, 15:8 device and function, 1:0 INTx.
        PCI_INTX = 1, "HVM_PARAM_CALLBACK_TYPE_PCI_INTX";
        /// Bits 7:0 are the vector.
        VECTOR = 2, "HVM_PARAM_CALLBACK_TYPE_VECTOR";
    }

    /// Value of [`HvmParam::TIMER_MODE`].
    pub struct TimerMode(u32) {
        DELAY_FOR_MISSED_TICKS = 0, "HVMPTM_delay_for_missed_ticks";
        NO_DELAY_FOR_MISSED_TICKS = 1, "HVMPTM_no_delay_for_missed_ticks";
        NO_MISSED_TICKS_PENDING = 2, "HVMPTM_no_missed_ticks_pending";
        ONE_MISSED_TICK_PENDING = 3, "HVMPTM_one_missed_tick_pending";
    }

    /// `mem_type` of [`HvmGetMemType`].
    pub struct MemType(u16) {
        RAM_RW = 0, "HVMMEM_ram_rw";
        RAM_RO = 1, "HVMMEM_ram_ro";
        MMIO_DM = 2, "HVMMEM_mmio_dm";
        UNUSED = 3, "HVMMEM_unused";
        IOREQ_SERVER = 4, "HVMMEM_ioreq_server";
    }
}

abi_consts! {
    /// One past the highest parameter.
    HVM_NR_PARAMS: u32 = 39, "HVM_NR_PARAMS";
    /// The [`CallbackVia`] in the parameter's value.
    CALLBACK_IRQ_TYPE_MASK: u64 = 0xff00_0000_0000_0000, "HVM_PARAM_CALLBACK_IRQ_TYPE_MASK";
    HVMPV_BASE_FREQ: u64 = 1 << 0, "HVMPV_base_freq";
    HVMPV_NO_FREQ: u64 = 1 << 1, "HVMPV_no_freq";
    HVMPV_TIME_REF_COUNT: u64 = 1 << 2, "HVMPV_time_ref_count";
    HVMPV_REFERENCE_TSC: u64 = 1 << 3, "HVMPV_reference_tsc";
    HVMPV_HCALL_REMOTE_TLB_FLUSH: u64 = 1 << 4, "HVMPV_hcall_remote_tlb_flush";
    HVMPV_APIC_ASSIST: u64 = 1 << 5, "HVMPV_apic_assist";
    HVMPV_CRASH_CTL: u64 = 1 << 6, "HVMPV_crash_ctl";
    HVMPV_SYNIC: u64 = 1 << 7, "HVMPV_synic";
    HVMPV_STIMER: u64 = 1 << 8, "HVMPV_stimer";
    HVMPV_HCALL_IPI: u64 = 1 << 9, "HVMPV_hcall_ipi";
    HVMPV_EX_PROCESSOR_MASKS: u64 = 1 << 10, "HVMPV_ex_processor_masks";
    HVMPV_NO_VP_LIMIT: u64 = 1 << 11, "HVMPV_no_vp_limit";
    HVMPV_CPU_HOTPLUG: u64 = 1 << 12, "HVMPV_cpu_hotplug";
    /// First I/O port of the unplug protocol.
    UNPLUG_IOPORT: u16 = 0x10, own "Xen docs/misc/hvm-emulated-unplug.pandoc";
    /// What a read of [`UNPLUG_IOPORT`] answers.
    UNPLUG_MAGIC: u16 = 0x49d2, own "Xen docs/misc/hvm-emulated-unplug.pandoc";
}

abi_structs! {
    /// Argument of [`HvmOp::SET_PARAM`] and [`HvmOp::GET_PARAM`].
    pub struct HvmParamArg [both] 16 "struct xen_hvm_param" {
        0 domid: u16,
        2 pad: u16,
        /// An [`HvmParam`].
        4 index: u32,
        8 value: u64,
    }

    /// Argument of [`HvmOp::PAGETABLE_DYING`].
    pub struct HvmPagetableDying [both] 16 "struct xen_hvm_pagetable_dying" {
        0 domid: u16,
        2 pad: [u16; 3],
        8 gpa: u64,
    }

    /// Answer to [`HvmOp::GET_TIME`].
    pub struct HvmGetTime [both] 8 "struct xen_hvm_get_time" {
        /// System time in ns.
        0 now: u64,
    }

    /// Argument of [`HvmOp::GET_MEM_TYPE`].
    pub struct HvmGetMemType [both] 16 "struct xen_hvm_get_mem_type" {
        0 domid: u16,
        /// Out: a [`MemType`].
        2 mem_type: u16,
        4 pad: [u16; 2],
        8 pfn: u64,
    }

    /// Argument of [`HvmOp::SET_EVTCHN_UPCALL_VECTOR`].
    pub struct HvmEvtchnUpcallVector [both] 8 "struct xen_hvm_evtchn_upcall_vector" {
        0 vcpu: u32,
        4 vector: u8,
        5 _pad: [u8; 3] = _,
    }
}
