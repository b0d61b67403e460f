//! Numbers of the control interfaces: `domctl` (36), `sysctl` (35), `platform_op` (7) (`domctl.h`, `sysctl.h`,
//! `platform.h`). Domains are refused all of them; the names serve the log.

abi_enums! {
    /// `cmd` of a domctl.
    pub struct Domctl(u32) {
        CREATEDOMAIN = 1, "XEN_DOMCTL_createdomain";
        DESTROYDOMAIN = 2, "XEN_DOMCTL_destroydomain";
        PAUSEDOMAIN = 3, "XEN_DOMCTL_pausedomain";
        UNPAUSEDOMAIN = 4, "XEN_DOMCTL_unpausedomain";
        GETDOMAININFO = 5, "XEN_DOMCTL_getdomaininfo";
        SETVCPUAFFINITY = 9, "XEN_DOMCTL_setvcpuaffinity";
        SHADOW_OP = 10, "XEN_DOMCTL_shadow_op";
        MAX_MEM = 11, "XEN_DOMCTL_max_mem";
        SETVCPUCONTEXT = 12, "XEN_DOMCTL_setvcpucontext";
        GETVCPUCONTEXT = 13, "XEN_DOMCTL_getvcpucontext";
        GETVCPUINFO = 14, "XEN_DOMCTL_getvcpuinfo";
        MAX_VCPUS = 15, "XEN_DOMCTL_max_vcpus";
        SCHEDULER_OP = 16, "XEN_DOMCTL_scheduler_op";
        SETDOMAINHANDLE = 17, "XEN_DOMCTL_setdomainhandle";
        SETDEBUGGING = 18, "XEN_DOMCTL_setdebugging";
        IRQ_PERMISSION = 19, "XEN_DOMCTL_irq_permission";
        IOMEM_PERMISSION = 20, "XEN_DOMCTL_iomem_permission";
        IOPORT_PERMISSION = 21, "XEN_DOMCTL_ioport_permission";
        HYPERCALL_INIT = 22, "XEN_DOMCTL_hypercall_init";
        SOFT_RESET_CONT = 23, own "XEN_DOMCTL_soft_reset_cont";
        SETTIMEOFFSET = 24, "XEN_DOMCTL_settimeoffset";
        GETVCPUAFFINITY = 25, "XEN_DOMCTL_getvcpuaffinity";
        REAL_MODE_AREA = 26, "XEN_DOMCTL_real_mode_area";
        RESUMEDOMAIN = 27, "XEN_DOMCTL_resumedomain";
        SENDTRIGGER = 28, "XEN_DOMCTL_sendtrigger";
        SUBSCRIBE = 29, "XEN_DOMCTL_subscribe";
        GETHVMCONTEXT = 33, "XEN_DOMCTL_gethvmcontext";
        SETHVMCONTEXT = 34, "XEN_DOMCTL_sethvmcontext";
        SET_ADDRESS_SIZE = 35, "XEN_DOMCTL_set_address_size";
        GET_ADDRESS_SIZE = 36, "XEN_DOMCTL_get_address_size";
        ASSIGN_DEVICE = 37, "XEN_DOMCTL_assign_device";
        BIND_PT_IRQ = 38, "XEN_DOMCTL_bind_pt_irq";
        MEMORY_MAPPING = 39, "XEN_DOMCTL_memory_mapping";
        IOPORT_MAPPING = 40, "XEN_DOMCTL_ioport_mapping";
        SET_EXT_VCPUCONTEXT = 42, "XEN_DOMCTL_set_ext_vcpucontext";
        GET_EXT_VCPUCONTEXT = 43, "XEN_DOMCTL_get_ext_vcpucontext";
        SET_OPT_FEATURE = 44, "XEN_DOMCTL_set_opt_feature";
        TEST_ASSIGN_DEVICE = 45, "XEN_DOMCTL_test_assign_device";
        SET_TARGET = 46, "XEN_DOMCTL_set_target";
        DEASSIGN_DEVICE = 47, "XEN_DOMCTL_deassign_device";
        UNBIND_PT_IRQ = 48, "XEN_DOMCTL_unbind_pt_irq";
        GET_DEVICE_GROUP = 50, "XEN_DOMCTL_get_device_group";
        DEBUG_OP = 54, "XEN_DOMCTL_debug_op";
        GETHVMCONTEXT_PARTIAL = 55, "XEN_DOMCTL_gethvmcontext_partial";
        VM_EVENT_OP = 56, "XEN_DOMCTL_vm_event_op";
        MEM_SHARING_OP = 57, "XEN_DOMCTL_mem_sharing_op";
        GETTSCINFO = 59, "XEN_DOMCTL_gettscinfo";
        SETTSCINFO = 60, "XEN_DOMCTL_settscinfo";
        GETPAGEFRAMEINFO3 = 61, "XEN_DOMCTL_getpageframeinfo3";
        SETVCPUEXTSTATE = 62, "XEN_DOMCTL_setvcpuextstate";
        GETVCPUEXTSTATE = 63, "XEN_DOMCTL_getvcpuextstate";
        SET_ACCESS_REQUIRED = 64, "XEN_DOMCTL_set_access_required";
        AUDIT_P2M = 65, "XEN_DOMCTL_audit_p2m";
        SET_VIRQ_HANDLER = 66, "XEN_DOMCTL_set_virq_handler";
        SET_BROKEN_PAGE_P2M = 67, "XEN_DOMCTL_set_broken_page_p2m";
        SETNODEAFFINITY = 68, "XEN_DOMCTL_setnodeaffinity";
        GETNODEAFFINITY = 69, "XEN_DOMCTL_getnodeaffinity";
        CACHEFLUSH = 71, "XEN_DOMCTL_cacheflush";
        GET_VCPU_MSRS = 72, "XEN_DOMCTL_get_vcpu_msrs";
        SET_VCPU_MSRS = 73, "XEN_DOMCTL_set_vcpu_msrs";
        SETVNUMAINFO = 74, "XEN_DOMCTL_setvnumainfo";
        PSR_CMT_OP = 75, "XEN_DOMCTL_psr_cmt_op";
        MONITOR_OP = 77, "XEN_DOMCTL_monitor_op";
        PSR_ALLOC = 78, "XEN_DOMCTL_psr_alloc";
        SOFT_RESET = 79, "XEN_DOMCTL_soft_reset";
        VUART_OP = 81, "XEN_DOMCTL_vuart_op";
        GET_CPU_POLICY = 82, "XEN_DOMCTL_get_cpu_policy";
        SET_CPU_POLICY = 83, "XEN_DOMCTL_set_cpu_policy";
        VMTRACE_OP = 84, "XEN_DOMCTL_vmtrace_op";
        GET_PAGING_MEMPOOL_SIZE = 85, "XEN_DOMCTL_get_paging_mempool_size";
        SET_PAGING_MEMPOOL_SIZE = 86, "XEN_DOMCTL_set_paging_mempool_size";
        GDBSX_GUESTMEMIO = 1000, "XEN_DOMCTL_gdbsx_guestmemio";
        GDBSX_PAUSEVCPU = 1001, "XEN_DOMCTL_gdbsx_pausevcpu";
        GDBSX_UNPAUSEVCPU = 1002, "XEN_DOMCTL_gdbsx_unpausevcpu";
        GDBSX_DOMSTATUS = 1003, "XEN_DOMCTL_gdbsx_domstatus";
    }

    /// `cmd` of a sysctl.
    pub struct Sysctl(u32) {
        READCONSOLE = 1, "XEN_SYSCTL_readconsole";
        TBUF_OP = 2, "XEN_SYSCTL_tbuf_op";
        PHYSINFO = 3, "XEN_SYSCTL_physinfo";
        SCHED_ID = 4, "XEN_SYSCTL_sched_id";
        PERFC_OP = 5, "XEN_SYSCTL_perfc_op";
        GETDOMAININFOLIST = 6, "XEN_SYSCTL_getdomaininfolist";
        DEBUG_KEYS = 7, "XEN_SYSCTL_debug_keys";
        GETCPUINFO = 8, "XEN_SYSCTL_getcpuinfo";
        AVAILHEAP = 9, "XEN_SYSCTL_availheap";
        GET_PMSTAT = 10, "XEN_SYSCTL_get_pmstat";
        CPU_HOTPLUG = 11, "XEN_SYSCTL_cpu_hotplug";
        PM_OP = 12, "XEN_SYSCTL_pm_op";
        PAGE_OFFLINE_OP = 14, "XEN_SYSCTL_page_offline_op";
        LOCKPROF_OP = 15, "XEN_SYSCTL_lockprof_op";
        CPUTOPOINFO = 16, "XEN_SYSCTL_cputopoinfo";
        NUMAINFO = 17, "XEN_SYSCTL_numainfo";
        CPUPOOL_OP = 18, "XEN_SYSCTL_cpupool_op";
        SCHEDULER_OP = 19, "XEN_SYSCTL_scheduler_op";
        COVERAGE_OP = 20, "XEN_SYSCTL_coverage_op";
        PSR_CMT_OP = 21, "XEN_SYSCTL_psr_cmt_op";
        PCITOPOINFO = 22, "XEN_SYSCTL_pcitopoinfo";
        PSR_ALLOC = 23, "XEN_SYSCTL_psr_alloc";
        GET_CPU_LEVELLING_CAPS = 25, "XEN_SYSCTL_get_cpu_levelling_caps";
        GET_CPU_FEATURESET = 26, "XEN_SYSCTL_get_cpu_featureset";
        LIVEPATCH_OP = 27, "XEN_SYSCTL_livepatch_op";
        GET_CPU_POLICY = 29, "XEN_SYSCTL_get_cpu_policy";
    }

    /// `cmd` of a platform_op.
    pub struct PlatformOp(u32) {
        SETTIME32 = 17, "XENPF_settime32";
        ADD_MEMTYPE = 31, "XENPF_add_memtype";
        DEL_MEMTYPE = 32, "XENPF_del_memtype";
        READ_MEMTYPE = 33, "XENPF_read_memtype";
        MICROCODE_UPDATE = 35, "XENPF_microcode_update";
        PLATFORM_QUIRK = 39, "XENPF_platform_quirk";
        GET_CPU_VERSION = 48, "XENPF_get_cpu_version";
        EFI_RUNTIME_CALL = 49, "XENPF_efi_runtime_call";
        FIRMWARE_INFO = 50, "XENPF_firmware_info";
        ENTER_ACPI_SLEEP = 51, "XENPF_enter_acpi_sleep";
        CHANGE_FREQ = 52, "XENPF_change_freq";
        GETIDLETIME = 53, "XENPF_getidletime";
        SET_PROCESSOR_PMINFO = 54, "XENPF_set_processor_pminfo";
        GET_CPUINFO = 55, "XENPF_get_cpuinfo";
        CPU_ONLINE = 56, "XENPF_cpu_online";
        CPU_OFFLINE = 57, "XENPF_cpu_offline";
        CPU_HOTADD = 58, "XENPF_cpu_hotadd";
        MEM_HOTADD = 59, "XENPF_mem_hotadd";
        CORE_PARKING = 60, "XENPF_core_parking";
        RESOURCE_OP = 61, "XENPF_resource_op";
        SETTIME64 = 62, "XENPF_settime64";
        GET_SYMBOL = 63, "XENPF_get_symbol";
    }
}

abi_consts! {
    DOMCTL_INTERFACE_VERSION: u32 = 0x15, own "XEN_DOMCTL_INTERFACE_VERSION of Xen 4.17; later headers raise it";
    SYSCTL_INTERFACE_VERSION: u32 = 0x15, own "XEN_SYSCTL_INTERFACE_VERSION of Xen 4.17; later headers raise it";
}

abi_structs! {}
