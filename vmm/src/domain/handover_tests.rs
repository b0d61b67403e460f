use super::*;
use crate::domain::region::Needs;
use crate::domain::time::scale;
use crate::vstate::memory::{DomainMemory, Piece};
use noxen_kernel_image::Class;

fn config() -> Config {
    Config {
        domid: 1,
        uuid: [0; 16],
        memory_mib: 64,
        maxmem_mib: 64,
        vcpus: 1,
        kernel_path: "k".into(),
        cmdline: String::new(),
        tune: false,
    }
}

#[test]
fn flags_are_those_that_hold() {
    let of = |first, second, third| flags([(1, first), (2, second), (4, third)]);
    assert_eq!(of(false, false, false), 0);
    assert_eq!(of(true, false, true), 5);
    assert_eq!(of(false, true, false), 2);
}

#[test]
fn m2p_inverts_the_frame_map_and_marks_the_rest_invalid() {
    const PAGES: u64 = 0xe_0000 + 1000;
    const MAX: u64 = PAGES + 500;
    let region = Region::plan(Needs {
        max_pages: MAX,
        vcpus: 1,
        image_size: 4096,
        bits32: false,
    })
    .unwrap();
    let dummy = Piece { gpa: 0, len: 4096 };
    let memory = DomainMemory::new(None, &[dummy], region.piece())
        .unwrap()
        .map;
    fill_m2p(&memory, &region, PAGES).unwrap();
    let entry = |mfn: u64| -> u64 { memory.read_obj(GuestAddress(region.m2p + mfn * 8)).unwrap() };
    for pfn in [0, 1, 511, 512, 0xd_ffff, 0xe_0000, PAGES - 1] {
        assert_eq!(entry(mfn_of_pfn(pfn)), pfn);
    }
    for mfn in [0xe_0000, 0xf_ffff, mfn_of_pfn(PAGES), mfn_of_pfn(MAX - 1)] {
        assert_eq!(entry(mfn), u64::MAX, "{mfn:#x}");
    }
}

#[test]
fn info_page_reads_back_field_by_field() {
    let memory = GuestMemory::from_ranges(&[(GuestAddress(0), 0x1000)]).unwrap();
    let region = Region::plan(Needs {
        max_pages: 1000,
        vcpus: 1,
        image_size: 4096,
        bits32: false,
    })
    .unwrap();
    let mut bytes = [0u8; size_of::<MonInfo>()];
    let host = HostCpuid::new(&kvm_bindings::CpuId::new(1).unwrap());
    let elf_layout = PvLayout {
        class: Class::Elf64,
        nr_pages: 1000,
        virt_base: 0,
        mapped_pages: 0,
        kernel: 0..1,
        ramdisk: 0..0,
        ramdisk_len: 0,
        ramdisk_mapped: false,
        p2m_list: 0..0,
        p2m_va: 0,
        p2m_tables: 0..0,
        start_info_pfn: 0,
        store_pfn: 5,
        console_pfn: 6,
        page_tables: 0..0,
        stack_pfn: 0,
        hypercall_page_gpa: None,
        entry: noxen_domain_builder::EntryState {
            rip: 0x1234,
            rsp: 0,
            rsi: 0,
            cr3: 0x5000,
            rflags: 0,
            cs: 0,
            ss: 0,
        },
        free_pfn: 0,
    };
    let info = Facts {
        config: &config(),
        region: &region,
        layout: &elf_layout,
        nr_pages: 1000,
        max_pages: 1000,
        tsc_khz: 1_000_000,
        clock: scale(1_000_000),
        boot_time: Duration::from_secs(77),
        nr_cpuid: 3,
        host: &host,
    }
    .mon_info();
    write_info(&memory, 0, &info).unwrap();
    memory.read_slice(&mut bytes, GuestAddress(0)).unwrap();
    let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    assert_eq!(word(0), MAGIC);
    assert_eq!(word(std::mem::offset_of!(MonInfo, start_rip)), 0x1234);
    assert_eq!(word(std::mem::offset_of!(MonInfo, wc_sec)), 77);
    assert_eq!(word(std::mem::offset_of!(MonInfo, m2p_entries)), 1000);
}
