//! CPUID, twice: the set for KVM (what the monitor's ring 0 may use) and the table from which the
//! monitor answers a PV guest.
//!
//! ```text
//!   KVM_GET_SUPPORTED_CPUID --> for_kvm(id)   plus x2APIC, TSC deadline, the vCPU's APIC id
//!                          \--> pv_table()    minus what a PV guest may not see, plus Xen's leaves
//! ```
//! The PV table lists what passes; a leaf or bit that is not named here is hidden. Sources: SDM 2A and
//! APM 3 (CPUID), public/arch-x86/cpuid.h (Xen's leaves).

use crate::vstate::cpuid_rules as rules;
use kvm_bindings::{kvm_cpuid_entry2, CpuId, KVM_CPUID_FLAG_SIGNIFCANT_INDEX};
use noxen_control::spec::Cpu;
use noxen_monitor_abi::info::MAX_CPUID;
use noxen_monitor_abi::CpuidEntry;

/// First leaf of the processor's name (APM 3, Fn8000_000[4:2]).
const BRAND: u32 = 0x8000_0002;
/// How QEMU's TCG calls its processors.
const TCG_BRAND: &[u8] = b"QEMU TCG";

/// Whether this host's own processor is one of QEMU's TCG.
pub fn is_emulated() -> bool {
    let name = std::arch::x86_64::__cpuid(BRAND);
    [name.eax, name.ebx].map(u32::to_le_bytes).concat() == TCG_BRAND
}

/// KVM's own features, and the two that have it flush the TLB of a vCPU that did not run (Linux,
/// Documentation/virt/kvm/x86/cpuid.rst: KVM_FEATURE_STEAL_TIME, KVM_FEATURE_PV_TLB_FLUSH).
const KVM_FEATURES: u32 = 0x4000_0001;
const KVM_FLUSHES: u32 = 1 << 5 | 1 << 9;
/// First of Xen's leaves.
const XEN_BASE: u32 = 0x4000_0000;
/// Where KVM's leaves are when another hypervisor's are first; guests that know KVM look there, too.
const SECOND_BASE: u32 = 0x4000_0100;
/// All leaves of hypervisors.
const HYPERVISOR: std::ops::Range<u32> = XEN_BASE..XEN_BASE + 0x1_0000;
/// Leaf 1 ECX bits that the monitor needs of KVM.
const ECX1_X2APIC: u32 = 1 << 21;
const ECX1_TSC_DEADLINE: u32 = 1 << 24;
const ECX1_XSAVE: u32 = 1 << 26;
const ECX1_OSXSAVE: u32 = 1 << 27;
const ECX1_HYPERVISOR: u32 = 1 << 31;
/// What is of no use to 32-bit kernels: what exists for long mode, and that of SYSENTER and SYSCALL which the vendor's
/// processors do not know in compatibility mode.
const EDX1_SEP: u32 = 1 << 11;
const EDX1_PAE: u32 = 1 << 6;
const EDX1_APIC: u32 = 1 << 9;
const EDX1_HTT: u32 = 1 << 28;
const EDX_E1_NX: u32 = 1 << 20;
const ECX1_CX16: u32 = 1 << 13;
const EDX_E1_SYSCALL: u32 = 1 << 11;
const EDX_E1_LM: u32 = 1 << 29;
const ECX_E1_LAHF: u32 = 1 << 0;
/// Vendors of AMD's kind: the first four letters, leaf 0 EBX.
const AMD_AND_HYGON: [[u8; 4]; 2] = [*b"Auth", *b"Hygo"];
/// CR4 bits.
const CR4_PAE: u64 = 1 << 5;
const CR4_PGE: u64 = 1 << 7;
const CR4_OSFXSR: u64 = 1 << 9;
const CR4_OSXMMEXCPT: u64 = 1 << 10;
const CR4_OSXSAVE: u64 = 1 << 18;
/// XCR0 bits that a guest may have: x87, SSE, AVX, the three of AVX-512.
const XCR0_ALLOWED: u64 = 0b1110_0111;

/// Bits out of a list of bit numbers.
const fn bits(numbers: &[u32]) -> u32 {
    let mut value = 0;
    let mut i = 0;
    while i < numbers.len() {
        value |= 1 << numbers[i];
        i += 1;
    }
    value
}

/// Leaf 1 EDX: FPU DE TSC MSR PAE CX8 SEP CMOV PAT CLFSH MMX FXSR SSE SSE2.
const PV_1_EDX: u32 = bits(&[0, 2, 4, 5, 6, 8, 11, 15, 16, 19, 23, 24, 25, 26]);
/// Leaf 1 ECX: SSE3 PCLMUL SSSE3 FMA CX16 SSE4.1 SSE4.2 MOVBE POPCNT AES XSAVE AVX F16C RDRAND.
const PV_1_ECX: u32 = bits(&[0, 1, 9, 12, 13, 19, 20, 22, 23, 25, 26, 28, 29, 30]);
/// Leaf 7 EBX: BMI1 HLE AVX2 BMI2 ERMS RTM AVX512F/DQ RDSEED ADX IFMA CLFLUSHOPT CLWB PF ER CD SHA BW VL.
const PV_7_EBX: u32 = bits(&[
    3, 5, 8, 9, 16, 17, 18, 19, 21, 23, 24, 26, 27, 28, 29, 30, 31,
]);
/// Leaf 7 ECX: VBMI VBMI2 GFNI VAES VPCLMUL VNNI BITALG VPOPCNTDQ CLDEMOTE MOVDIRI MOVDIR64B.
const PV_7_ECX: u32 = bits(&[1, 6, 8, 9, 10, 11, 12, 14, 25, 27, 28]);
/// Leaf 7 EDX: 4VNNIW 4FMAPS FSRM VP2INTERSECT MD_CLEAR SERIALIZE FP16.
const PV_7_EDX: u32 = bits(&[2, 3, 4, 8, 10, 14, 23]);
/// Leaf 7.1 EAX: AVX-VNNI BF16 FZRM FSRS FSRC.
const PV_7_1_EAX: u32 = bits(&[4, 5, 10, 11, 12]);
/// Leaf 0xd.1 EAX: XSAVEOPT XSAVEC XGETBV1.
const PV_D_1_EAX: u32 = 0b111;
/// Leaf 0x80000001 EDX: AMD's copy of leaf 1, SYSCALL NX MMXEXT RDTSCP LM 3DNOW.
const PV_E1_EDX: u32 = bits(&[0, 2, 4, 5, 6, 8, 11, 15, 16, 20, 22, 23, 24, 27, 29, 30, 31]);
/// Leaf 0x80000001 ECX: LAHF LZCNT SSE4A MISALIGNSSE 3DNOWPREFETCH XOP FMA4 TBM.
const PV_E1_ECX: u32 = bits(&[0, 5, 6, 7, 8, 11, 16, 21]);
/// Leaf 0x80000007 EDX: invariant TSC.
const PV_E7_EDX: u32 = bits(&[8]);
/// Leaf 0x80000008 EBX: CLZERO RSTR_FP_ERR_PTRS WBNOINVD.
const PV_E8_EBX: u32 = bits(&[0, 2, 9]);
/// Machine address width told to guests; 44 keeps Linux on grant-table version 1.
const MACHINE_WIDTH: u32 = 44;

/// The host as a PV domain's builder needs it.
#[derive(Debug, Clone)]
pub struct HostCpuid {
    supported: Vec<kvm_cpuid_entry2>,
}

/// What the PV table takes from elsewhere.
#[derive(Debug, Clone, Copy)]
pub struct PvParameters {
    /// The guest is a 32-bit one: no long mode.
    pub bits32: bool,
    /// (major << 16) | minor of the Xen that is reported.
    pub xen_version: u32,
    /// TSC frequency.
    pub tsc_khz: u32,
    /// pvclock multiplier.
    pub tsc_mul: u32,
    /// pvclock shift.
    pub tsc_shift: i32,
}

/// What Xen's leaves tell an HVM guest.
#[derive(Debug, Clone, Copy)]
pub struct HvmXen {
    /// Domain id.
    pub domid: u32,
    /// MSR that places the hypercall page.
    pub page_msr: u32,
    /// The rest.
    pub parameters: PvParameters,
}

/// What an HVM guest's processors are.
#[derive(Debug, Clone, Copy)]
pub struct HvmCpu<'a> {
    /// Physical address extension, and long mode.
    pub pae: bool,
    /// Local APICs are told of.
    pub apic: bool,
    /// Number of vCPU n's local APIC is n times this.
    pub apic_step: u32,
    /// What the administrator decided besides.
    pub cpu: &'a Cpu,
    /// Leaves of Microsoft's hypervisor, which come first; empty: there is none.
    pub hyperv: &'a [kvm_cpuid_entry2],
    /// Xen's leaves in the place of KVM's.
    pub xen: Option<HvmXen>,
}

impl HostCpuid {
    /// From KVM_GET_SUPPORTED_CPUID.
    pub fn new(supported: &CpuId) -> HostCpuid {
        HostCpuid {
            supported: supported.as_slice().to_vec(),
        }
    }

    fn leaf(&self, leaf: u32, subleaf: u32) -> Option<kvm_cpuid_entry2> {
        let indexed = |entry: &kvm_cpuid_entry2| entry.flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX != 0;
        self.supported
            .iter()
            .find(|entry| entry.function == leaf && (!indexed(entry) || entry.index == subleaf))
            .copied()
    }

    fn has_xsave(&self) -> bool {
        self.leaf(1, 0)
            .is_some_and(|entry| entry.ecx & ECX1_XSAVE != 0)
    }

    /// KVM tells in a steal-time record which vCPUs do not run, and flushes the TLB of a vCPU that did not run, where its steal-time record asks for it.
    pub fn flushes_tlbs(&self) -> bool {
        self.leaf(KVM_FEATURES, 0)
            .is_some_and(|entry| entry.eax & KVM_FLUSHES == KVM_FLUSHES)
    }

    /// CR4 for the monitor.
    pub fn cr4(&self) -> u64 {
        let xsave = if self.has_xsave() { CR4_OSXSAVE } else { 0 };
        CR4_PAE | CR4_PGE | CR4_OSFXSR | CR4_OSXMMEXCPT | xsave
    }

    /// XCR0 bits that the guest may set.
    pub fn xcr0_mask(&self) -> u64 {
        match self.leaf(0xd, 0) {
            Some(entry) if self.has_xsave() => {
                (u64::from(entry.eax) | u64::from(entry.edx) << 32) & XCR0_ALLOWED
            }
            _ => 0,
        }
    }

    /// The set for KVM_SET_CPUID2 of vCPU `id`. Fails (`None`) only when there are too many entries.
    ///
    /// User space of the guest executes CPUID without the monitor: it finds Xen's leaves here too, in
    /// place of KVM's, whose features the monitor uses without asking.
    pub fn for_kvm(&self, id: u32, parameters: PvParameters) -> Option<CpuId> {
        let mut entries: Vec<kvm_cpuid_entry2> = self
            .supported
            .iter()
            .filter(|entry| !HYPERVISOR.contains(&entry.function))
            .copied()
            .collect();
        entries.extend(xen_leaves(parameters).iter().map(kvm_entry));
        for entry in &mut entries {
            match entry.function {
                1 => {
                    entry.ecx |= ECX1_X2APIC | ECX1_TSC_DEADLINE | ECX1_HYPERVISOR;
                    entry.ebx = entry.ebx & 0x00ff_ffff | id << 24;
                }
                0xb | 0x1f => entry.edx = id,
                0x8000_001e => entry.eax = id,
                _ => {}
            }
        }
        CpuId::from_entries(&entries).ok()
    }

    /// The set of an HVM domain's vCPU `id`: all that KVM can do, with its own leaves for guests that know them, or with Xen's in
    /// their place. Linux goes by the leaves with the highest number, and KVM's could only be above Xen's. Each vCPU is a
    /// processor with one core. Fails (`None`) only when there are too many entries.
    pub fn for_hvm(&self, id: u32, hvm: &HvmCpu<'_>) -> Option<CpuId> {
        let mut entries = self.plain_hvm(id, hvm);
        rules::apply(&hvm.cpu.cpuid, &mut entries, &self.supported);
        CpuId::from_entries(&entries).ok()
    }

    /// The same before the administrator's rules.
    fn plain_hvm(&self, id: u32, hvm: &HvmCpu<'_>) -> Vec<kvm_cpuid_entry2> {
        let HvmCpu { pae, apic, .. } = *hvm;
        let number = id * hvm.apic_step;
        let mut entries = self.supported.clone();
        if let Some(xen) = hvm.xen {
            entries.retain(|entry| !HYPERVISOR.contains(&entry.function));
            entries.extend(xen_hvm_leaves(xen, id).iter().map(kvm_entry));
        }
        if !hvm.hyperv.is_empty() {
            make_room(&mut entries);
            entries.extend(hvm.hyperv);
        }
        entries.retain(|entry| !matches!(entry.function, 0xb | 0x1f));
        for entry in &mut entries {
            match entry.function {
                1 => {
                    entry.ecx |= ECX1_X2APIC | ECX1_TSC_DEADLINE | ECX1_HYPERVISOR;
                    // One logical processor here; not one of several.
                    entry.ebx = entry.ebx & 0xff00 | 1 << 16 | number << 24;
                    entry.edx &= !EDX1_HTT;
                    if !pae {
                        entry.edx &= !EDX1_PAE;
                    }
                    if !apic {
                        entry.edx &= !EDX1_APIC;
                        entry.ecx &= !(ECX1_X2APIC | ECX1_TSC_DEADLINE);
                    }
                }
                4 => entry.eax &= 0x3fff,
                0x8000_0001 => {
                    if !pae {
                        entry.edx &= !(EDX_E1_LM | EDX_E1_NX);
                    }
                    if !hvm.cpu.nx {
                        entry.edx &= !EDX_E1_NX;
                    }
                }
                0x8000_0008 => entry.ecx = 0,
                0x8000_001d => entry.eax &= 0x3fff,
                0x8000_001e => (entry.eax, entry.ebx, entry.ecx) = (number, number, 0),
                _ => {}
            }
        }
        entries.extend(flat_topology(number).iter().map(kvm_entry));
        entries
    }

    /// Whether `cpuid` asks for nothing that KVM cannot do here, and all that `cpuid_check` wants is there; the error is a line.
    pub fn judge(&self, hvm: &HvmCpu<'_>) -> Result<(), String> {
        rules::check(&hvm.cpu.cpuid_check, &self.supported)?;
        rules::judge(&hvm.cpu.cpuid, &self.supported, &self.plain_hvm(0, hvm))
    }

    /// What an HVM guest finds, as rows.
    pub fn hvm_table(&self, hvm: &HvmCpu<'_>) -> Option<Vec<CpuidEntry>> {
        let entries = self.for_hvm(0, hvm)?;
        Some(entries.as_slice().iter().map(plain_row).collect())
    }

    /// The table for the monitor, at most [`MAX_CPUID`] rows.
    pub fn pv_table(&self, parameters: PvParameters) -> Vec<CpuidEntry> {
        let vendor = self.supported.iter().find(|entry| entry.function == 0);
        let amd = vendor.is_some_and(|entry| AMD_AND_HYGON.contains(&entry.ebx.to_le_bytes()));
        let mut table: Vec<CpuidEntry> = self
            .supported
            .iter()
            .filter_map(|entry| self.pv_row(entry))
            .map(|row| {
                if parameters.bits32 {
                    narrow(row, amd)
                } else {
                    row
                }
            })
            .collect();
        table.extend(topology());
        table.extend(xen_leaves(parameters));
        table.truncate(MAX_CPUID);
        table
    }

    /// What a guest may see of `entry`.
    fn pv_row(&self, entry: &kvm_cpuid_entry2) -> Option<CpuidEntry> {
        let mut row = plain_row(entry);
        match (entry.function, entry.index) {
            (0, _) => row.eax = row.eax.min(0xd),
            (1, _) => {
                row.ebx = row.ebx & 0xff00 | 1 << 16;
                row.ecx = row.ecx & PV_1_ECX | ECX1_HYPERVISOR;
                if row.ecx & ECX1_XSAVE != 0 {
                    row.ecx |= ECX1_OSXSAVE;
                }
                row.edx &= PV_1_EDX;
            }
            (2, _) => {}
            // Caches: one core, one thread behind each.
            (4, _) => row.eax &= 0x3fff,
            (7, 0) => {
                row.eax = row.eax.min(1);
                row.ebx &= PV_7_EBX;
                row.ecx &= PV_7_ECX;
                row.edx &= PV_7_EDX;
            }
            (7, 1) => {
                row.eax &= PV_7_1_EAX;
                (row.ebx, row.ecx, row.edx) = (0, 0, 0);
            }
            (0xd, _) => return self.pv_xsave_row(row),
            (0x8000_0000, _) => row.eax = row.eax.min(0x8000_0008),
            (0x8000_0001, _) => {
                row.ecx &= PV_E1_ECX;
                row.edx &= PV_E1_EDX;
            }
            (0x8000_0002..=0x8000_0006, _) => {}
            (0x8000_0007, _) => {
                (row.eax, row.ebx, row.ecx) = (0, 0, 0);
                row.edx &= PV_E7_EDX;
            }
            (0x8000_0008, _) => {
                row.ebx &= PV_E8_EBX;
                (row.ecx, row.edx) = (0, 0);
            }
            _ => return None,
        }
        Some(row)
    }

    /// Leaf 0xd for the XCR0 bits that a guest may have. Sizes are those with all of them enabled.
    fn pv_xsave_row(&self, mut row: CpuidEntry) -> Option<CpuidEntry> {
        let mask = self.xcr0_mask();
        match row.subleaf {
            _ if mask == 0 => return None,
            0 => {
                row.eax = mask as u32;
                row.edx = (mask >> 32) as u32;
                row.ebx = self.xsave_size(mask);
                row.ecx = row.ebx;
            }
            1 => {
                row.eax &= PV_D_1_EAX;
                row.ebx = self.xsavec_size(mask);
                (row.ecx, row.edx) = (0, 0);
            }
            n if n < 64 && mask >> n & 1 == 1 => {}
            _ => return None,
        }
        Some(row)
    }

    /// Size of the standard-format area: legacy region and header, then each part at its place.
    fn xsave_size(&self, mask: u64) -> u32 {
        self.parts(mask)
            .map(|part| part.ebx.saturating_add(part.eax))
            .fold(576, u32::max)
    }

    /// Size of the compacted-format area: parts one after the other, 64-byte aligned if they say so.
    fn xsavec_size(&self, mask: u64) -> u32 {
        self.parts(mask).fold(576, |size: u32, part| {
            let start = match part.ecx & 2 {
                0 => size,
                _ => size.next_multiple_of(64),
            };
            start.saturating_add(part.eax)
        })
    }

    fn parts(&self, mask: u64) -> impl Iterator<Item = kvm_cpuid_entry2> + '_ {
        (2..64u32)
            .filter(move |n| mask >> n & 1 == 1)
            .filter_map(|n| self.leaf(0xd, n))
    }
}

/// Moves KVM's leaves out of the first place of hypervisors.
fn make_room(entries: &mut [kvm_cpuid_entry2]) {
    let moved = HYPERVISOR.start..SECOND_BASE;
    for entry in entries
        .iter_mut()
        .filter(|entry| moved.contains(&entry.function))
    {
        entry.function += SECOND_BASE - XEN_BASE;
        // The first one tells the last; 0 means 0x40000001 (cpuid.rst).
        if entry.function == SECOND_BASE {
            entry.eax = entry
                .eax
                .max(KVM_FEATURES)
                .saturating_add(SECOND_BASE - XEN_BASE);
        }
    }
}

/// A row as KVM has it.
fn plain_row(entry: &kvm_cpuid_entry2) -> CpuidEntry {
    CpuidEntry {
        leaf: entry.function,
        subleaf: entry.index,
        indexed: u32::from(entry.flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX != 0),
        eax: entry.eax,
        ebx: entry.ebx,
        ecx: entry.ecx,
        edx: entry.edx,
    }
}

/// A row without what a 32-bit kernel cannot use.
fn narrow(mut row: CpuidEntry, amd: bool) -> CpuidEntry {
    match row.leaf {
        1 => {
            // Below a 64-bit monitor AMD's have SYSCALL alone, the others SYSENTER.
            if amd {
                row.edx &= !EDX1_SEP;
            }
            row.ecx &= !ECX1_CX16;
        }
        0x8000_0001 => {
            row.edx &= !EDX_E1_LM;
            if !amd {
                row.edx &= !EDX_E1_SYSCALL;
            }
            row.ecx &= !ECX_E1_LAHF;
        }
        _ => {}
    }
    row
}

/// A row as KVM takes it.
fn kvm_entry(row: &CpuidEntry) -> kvm_cpuid_entry2 {
    kvm_cpuid_entry2 {
        function: row.leaf,
        index: row.subleaf,
        flags: if row.indexed != 0 {
            KVM_CPUID_FLAG_SIGNIFCANT_INDEX
        } else {
            0
        },
        eax: row.eax,
        ebx: row.ebx,
        ecx: row.ecx,
        edx: row.edx,
        ..Default::default()
    }
}

/// Leaf 0xb: one thread per core; the monitor fills EDX with the vCPU's APIC id (2 * id).
fn topology() -> [CpuidEntry; 3] {
    let level = |subleaf, shift, count, kind: u32| CpuidEntry {
        leaf: 0xb,
        subleaf,
        indexed: 1,
        eax: shift,
        ebx: count,
        ecx: kind << 8 | subleaf,
        edx: 0,
    };
    [level(0, 1, 1, 1), level(1, 7, 1, 2), level(2, 0, 0, 0)]
}

/// Leaf 0xb of a processor with one core and one thread.
fn flat_topology(id: u32) -> [CpuidEntry; 3] {
    let level = |subleaf, kind: u32| CpuidEntry {
        leaf: 0xb,
        subleaf,
        indexed: 1,
        eax: 0,
        ebx: u32::from(kind != 0),
        ecx: kind << 8 | subleaf,
        edx: id,
    };
    [level(0, 1), level(1, 2), level(2, 0)]
}

/// Xen's leaves.
fn xen_leaves(parameters: PvParameters) -> Vec<CpuidEntry> {
    let row = |offset, subleaf, indexed, [eax, ebx, ecx, edx]: [u32; 4]| CpuidEntry {
        leaf: XEN_BASE + offset,
        subleaf,
        indexed,
        eax,
        ebx,
        ecx,
        edx,
    };
    const HOST_TSC_SAFE: u32 = 1 << 1;
    const PRESERVE_AD: u32 = 1 << 0;
    let signature = |part: &[u8; 4]| u32::from_le_bytes(*part);
    let name = [
        XEN_BASE + 5,
        signature(b"XenV"),
        signature(b"MMXe"),
        signature(b"nVMM"),
    ];
    let (mul, shift) = (parameters.tsc_mul, parameters.tsc_shift as u32);
    vec![
        row(0, 0, 0, name),
        row(1, 0, 0, [parameters.xen_version, 0, 0, 0]),
        row(2, 0, 0, [1, XEN_BASE, PRESERVE_AD, 0]),
        row(3, 0, 1, [HOST_TSC_SAFE, 0, parameters.tsc_khz, 0]),
        row(3, 1, 1, [0, 0, mul, shift]),
        row(3, 2, 1, [parameters.tsc_khz, 0, 0, 0]),
        row(4, 0, 0, [0; 4]),
        row(5, 0, 0, [0, MACHINE_WIDTH, 0, 0]),
    ]
}

/// Those of HVM guests: each vCPU has its number, and an interrupt vector of its own for events.
fn xen_hvm_leaves(xen: HvmXen, id: u32) -> Vec<CpuidEntry> {
    use noxen_pv_abi::cpuid::{HVM_DOMID_PRESENT, HVM_UPCALL_VECTOR, HVM_VCPU_ID_PRESENT};
    const LAST: u32 = XEN_BASE + 4;
    let mut rows = xen_leaves(xen.parameters);
    rows.retain(|row| row.leaf <= LAST);
    for row in &mut rows {
        match row.leaf {
            XEN_BASE => row.eax = LAST,
            leaf if leaf == XEN_BASE + 2 => (row.ebx, row.ecx) = (xen.page_msr, 0),
            LAST => {
                row.eax = HVM_VCPU_ID_PRESENT | HVM_DOMID_PRESENT | HVM_UPCALL_VECTOR;
                (row.ebx, row.ecx) = (id, xen.domid);
            }
            _ => {}
        }
    }
    rows
}

#[cfg(test)]
#[path = "cpuid_tests.rs"]
mod tests;
