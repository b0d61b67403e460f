use super::*;

fn entry(function: u32, index: Option<u32>, regs: [u32; 4]) -> kvm_cpuid_entry2 {
    kvm_cpuid_entry2 {
        function,
        index: index.unwrap_or(0),
        flags: if index.is_some() {
            KVM_CPUID_FLAG_SIGNIFCANT_INDEX
        } else {
            0
        },
        eax: regs[0],
        ebx: regs[1],
        ecx: regs[2],
        edx: regs[3],
        ..Default::default()
    }
}

/// A host with everything in its feature words, AVX, PKRU and AMX states.
fn host() -> HostCpuid {
    let all = u32::MAX;
    HostCpuid {
        supported: vec![
            entry(0, None, [0x20, 1, 2, 3]),
            entry(1, None, [0x600f12, all, all, all]),
            entry(7, Some(0), [2, all, all, all]),
            entry(7, Some(1), [all, all, all, all]),
            entry(0xa, None, [all; 4]),
            entry(0xb, Some(0), [5, 6, 7, 8]),
            entry(0xd, Some(0), [0x6_0207, 2696, 11008, 0]),
            entry(0xd, Some(1), [0x1f, 9999, 0x1800, 0]),
            entry(0xd, Some(2), [256, 576, 0, 0]),
            entry(0xd, Some(9), [8, 2688, 0, 0]),
            entry(0xd, Some(18), [8192, 2816, 6, 0]),
            entry(0x4000_0000, None, [all; 4]),
            entry(0x8000_0000, None, [0x8000_0021, 0, 0, 0]),
            entry(0x8000_0001, None, [0, 0, all, all]),
            entry(0x8000_0008, None, [0x3030, all, 7, 9]),
            entry(0x8000_000a, None, [1, 2, 3, 4]),
        ],
    }
}

fn table() -> Vec<CpuidEntry> {
    host().pv_table(PARAMETERS)
}

const PARAMETERS: PvParameters = PvParameters {
    bits32: false,
    xen_version: 4 << 16 | 17,
    tsc_khz: 2_000_000,
    tsc_mul: 0x8000_0000,
    tsc_shift: 0,
};

fn row(leaf: u32, subleaf: u32) -> Option<CpuidEntry> {
    table()
        .into_iter()
        .find(|row| row.leaf == leaf && (row.indexed == 0 || row.subleaf == subleaf))
}

#[test]
fn guest_never_sees_what_pv_cannot_give() {
    let one = row(1, 0).unwrap();
    for (name, bit) in [
        ("vme", 1),
        ("pse", 3),
        ("mce", 7),
        ("apic", 9),
        ("mtrr", 12),
        ("pge", 13),
        ("mca", 14),
        ("pse36", 17),
    ] {
        assert_eq!(one.edx >> bit & 1, 0, "{name}");
    }
    for (name, bit) in [
        ("monitor", 3),
        ("vmx", 5),
        ("pcid", 17),
        ("x2apic", 21),
        ("tsc deadline", 24),
    ] {
        assert_eq!(one.ecx >> bit & 1, 0, "{name}");
    }
    let seven = row(7, 0).unwrap();
    for (name, bit) in [
        ("fsgsbase", 0),
        ("tsc adjust", 1),
        ("smep", 7),
        ("invpcid", 10),
        ("smap", 20),
    ] {
        assert_eq!(seven.ebx >> bit & 1, 0, "{name}");
    }
    for (name, bit) in [("umip", 2), ("pku", 3), ("la57", 16), ("rdpid", 22)] {
        assert_eq!(seven.ecx >> bit & 1, 0, "{name}");
    }
    let extended = row(0x8000_0001, 0).unwrap();
    assert_eq!(extended.edx >> 26 & 1, 0, "1 GiB pages");
    assert_eq!(extended.ecx >> 2 & 1, 0, "svm");
    for hidden in [0xa, 0x8000_000a] {
        assert_eq!(row(hidden, 0), None, "{hidden:#x}");
    }
}

#[test]
fn guest_sees_what_linux_needs() {
    let one = row(1, 0).unwrap();
    assert_eq!(one.ecx >> 26 & 0b11, 0b11, "xsave and osxsave go together");
    assert_eq!(one.ecx >> 31, 1, "hypervisor");
    let extended = row(0x8000_0001, 0).unwrap();
    for (name, bit) in [("syscall", 11), ("nx", 20), ("rdtscp", 27), ("lm", 29)] {
        assert_eq!(extended.edx >> bit & 1, 1, "{name}");
    }
}

#[test]
fn xsave_sizes_follow_the_states_that_are_left() {
    assert_eq!(host().xcr0_mask(), 0b111);
    let zero = row(0xd, 0).unwrap();
    assert_eq!((zero.eax, zero.ebx, zero.ecx), (7, 832, 832));
    let one = row(0xd, 1).unwrap();
    assert_eq!((one.eax, one.ebx, one.ecx), (7, 832, 0));
    assert_eq!(row(0xd, 9), None);
    assert_eq!(row(0xd, 18), None);
}

#[test]
fn xen_leaves_replace_those_of_kvm() {
    let base = row(XEN_BASE, 0).unwrap();
    assert_eq!(
        [base.eax, base.ebx, base.ecx, base.edx],
        [0x4000_0005, 0x566e_6558, 0x6558_4d4d, 0x4d4d_566e]
    );
    assert_eq!(row(XEN_BASE + 1, 0).unwrap().eax, 0x0004_0011);
    assert_eq!(row(XEN_BASE + 3, 0).unwrap().ecx, 2_000_000);
    assert_eq!(row(XEN_BASE + 5, 0).unwrap().ebx, 44);
    let count = table().iter().filter(|row| row.leaf == XEN_BASE).count();
    assert_eq!(count, 1);
}

#[test]
fn kvm_gets_the_vcpus_apic_id_and_the_timer() {
    let cpuid = host().for_kvm(5, PARAMETERS).unwrap();
    let find = |leaf| {
        *cpuid
            .as_slice()
            .iter()
            .find(|e| e.function == leaf)
            .unwrap()
    };
    assert_eq!(find(1).ebx >> 24, 5);
    assert_eq!(find(0xb).edx, 5);
    assert_eq!(
        find(1).ecx & (ECX1_X2APIC | ECX1_TSC_DEADLINE),
        ECX1_X2APIC | ECX1_TSC_DEADLINE
    );
}

#[test]
fn user_space_finds_xen_and_not_kvm() {
    let cpuid = host().for_kvm(0, PARAMETERS).unwrap();
    let bases: Vec<_> = cpuid
        .as_slice()
        .iter()
        .filter(|entry| entry.function == XEN_BASE)
        .collect();
    assert_eq!(bases.len(), 1);
    assert_eq!((bases[0].eax, bases[0].ebx), (XEN_BASE + 5, 0x566e_6558));
}

#[test]
fn host_without_xsave_has_neither_cr4_bit_nor_leaf() {
    let mut host = host();
    host.supported[1].ecx &= !ECX1_XSAVE;
    assert_eq!(host.cr4() & CR4_OSXSAVE, 0);
    assert_eq!(host.xcr0_mask(), 0);
    assert!(host.pv_table(PARAMETERS).iter().all(|r| r.leaf != 0xd));
}

#[test]
fn table_fits_its_pages_however_many_leaves_the_host_has() {
    let mut host = host();
    for index in 0..300 {
        host.supported.push(entry(4, Some(index), [1; 4]));
    }
    assert_eq!(host.pv_table(PARAMETERS).len(), MAX_CPUID);
}

#[test]
fn hvm_guest_finds_xen_in_the_place_of_kvm_or_kvm_alone() {
    let leaf = |cpuid: &CpuId, number: u32| {
        let found = cpuid
            .as_slice()
            .iter()
            .find(|entry| entry.function == number);
        found.map(|entry| [entry.eax, entry.ebx, entry.ecx, entry.edx])
    };
    let cpu = Cpu::default();
    let mut hvm = HvmCpu {
        pae: true,
        apic: true,
        apic_step: 1,
        cpu: &cpu,
        hyperv: &[],
        xen: None,
    };
    let plain = host().for_hvm(1, &hvm).unwrap();
    assert_eq!(leaf(&plain, XEN_BASE), Some([u32::MAX; 4]));
    let xen = HvmXen {
        domid: 7,
        page_msr: 0x4000_0000,
        parameters: PARAMETERS,
    };
    hvm.xen = Some(xen);
    let cpuid = host().for_hvm(1, &hvm).unwrap();
    assert_eq!(
        leaf(&cpuid, XEN_BASE).unwrap()[..2],
        [XEN_BASE + 4, 0x566e_6558]
    );
    assert_eq!(leaf(&cpuid, XEN_BASE + 2), Some([1, 0x4000_0000, 0, 0]));
    // vCPU and domain are told; vectors per vCPU.
    assert_eq!(leaf(&cpuid, XEN_BASE + 4), Some([0b101_1000, 1, 7, 0]));
    assert_eq!(leaf(&cpuid, XEN_BASE + 5), None);
    // Its local APIC may have another number than it has.
    hvm.apic_step = 2;
    let cpuid = host().for_hvm(1, &hvm).unwrap();
    assert_eq!(leaf(&cpuid, 1).unwrap()[1] >> 24, 2);
    assert_eq!(leaf(&cpuid, 0xb).unwrap()[3], 2);
    assert_eq!(leaf(&cpuid, XEN_BASE + 4).unwrap()[1], 1);
}

#[test]
fn hvm_guest_has_what_its_cpu_keys_say() {
    let found = |cpu: &Cpu, hyperv: &[kvm_cpuid_entry2], number: u32| {
        let hvm = HvmCpu {
            pae: true,
            apic: true,
            apic_step: 1,
            cpu,
            hyperv,
            xen: None,
        };
        host().judge(&hvm).unwrap();
        let cpuid = host().for_hvm(0, &hvm).unwrap();
        let mut all = cpuid.as_slice().iter();
        all.find(|entry| entry.function == number).copied()
    };
    let plain = Cpu::default();
    let nx = |cpu| found(cpu, &[], 0x8000_0001).unwrap().edx & EDX_E1_NX;
    assert_ne!(nx(&plain), 0);
    assert_eq!(
        nx(&Cpu {
            nx: false,
            ..Cpu::default()
        }),
        0
    );
    let no_sse3 = noxen_control::spec::CpuidRule {
        leaf: 1,
        subleaf: None,
        register: noxen_control::spec::Register::Ecx,
        ones: 0,
        zeros: 1,
        hosts: 0,
    };
    let ruled = Cpu {
        cpuid: vec![no_sse3],
        ..Cpu::default()
    };
    assert_eq!(found(&plain, &[], 1).unwrap().ecx & 1, 1);
    assert_eq!(found(&ruled, &[], 1).unwrap().ecx & 1, 0);
    // Microsoft's leaves come first, and KVM's are where its guests find them next.
    let first = entry(XEN_BASE, None, [XEN_BASE + 5, 1, 2, 3]);
    let other = found(&plain, &[first], XEN_BASE).unwrap();
    assert_eq!([other.eax, other.ebx], [XEN_BASE + 5, 1]);
    assert_eq!(found(&plain, &[first], SECOND_BASE).unwrap().ebx, u32::MAX);
}
