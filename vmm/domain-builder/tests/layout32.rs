//! 32-bit domains of Debian's grub and GNU Mach, looked at through their own three levels of page tables.

mod support;

use std::collections::BTreeMap;

use noxen_domain_builder::{plan, DomainSpec, PvLayout, Ramdisk, MAX_PAGES_32};
use noxen_kernel_image::{load, Class, KernelImage, PaeMode, Source};
use noxen_pv_abi::start_info::StartInfo32;
use noxen_pv_abi::AbiValue;
use support::{asset, small_image, spec, Sparse, PAGE};

const SHARED_INFO: u64 = 0x4000_7000;

fn spec_32(mib: u64, ramdisk_len: u64) -> DomainSpec<'static> {
    DomainSpec {
        shared_info_gpa: SHARED_INFO,
        ..spec(mib, ramdisk_len)
    }
}

struct Built {
    layout: PvLayout,
    memory: Sparse,
    /// Virtual page to (guest-physical page, writable).
    pages: BTreeMap<u64, (u64, bool)>,
    /// Tables with their level, in the order of their addresses.
    tables: Vec<(u64, u32)>,
    start: StartInfo32,
}

/// Walks as a PAE processor does: four L3 entries, then two levels of 512.
fn walk(memory: &Sparse, table: u64, level: u32, va: u64, built: &mut Built) {
    built.tables.push((table, level));
    for slot in 0..if level == 3 { 4 } else { 512 } {
        let entry = memory.read_u64(table + slot * 8);
        if entry & 1 == 0 {
            continue;
        }
        assert_eq!(entry >> 52, 0, "high bits set in {entry:#x}");
        let next = va | slot << (12 + 9 * (level - 1));
        let gpa = entry & 0x000f_ffff_ffff_f000;
        if level > 1 {
            walk(memory, gpa, level - 1, next, built);
        } else {
            assert_eq!(entry & 4, 0, "{next:#x} is open to ring 3");
            built.pages.insert(next, (gpa, entry & 2 != 0));
        }
    }
    if level == 3 {
        assert!(
            memory.read(table + 32, 4064).iter().all(|b| *b == 0),
            "an L3 has four entries"
        );
    }
}

fn build(image: &KernelImage, elf: &dyn Source, ramdisk: &[u8], mib: u64) -> Built {
    let spec = spec_32(mib, ramdisk.len() as u64);
    let layout = plan(image, &spec).unwrap_or_else(|e| panic!("{e}"));
    let mut memory = Sparse::new(spec.nr_pages);
    let mut reader = ramdisk;
    let source = (!ramdisk.is_empty()).then_some(Ramdisk {
        len: ramdisk.len() as u64,
        reader: &mut reader,
    });
    layout
        .write(image, elf, source, &spec, &mut memory)
        .unwrap_or_else(|e| panic!("{e}"));
    let start = memory.read(layout.start_info_pfn * PAGE, StartInfo32::SIZE);
    let mut built = Built {
        start: StartInfo32::read_from(&start, 0).expect("whole"),
        pages: BTreeMap::new(),
        tables: Vec::new(),
        memory: Sparse::new(0),
        layout: layout.clone(),
    };
    walk(&memory, layout.entry.cr3, 3, 0, &mut built);
    built.memory = memory;
    built
}

impl Built {
    fn read(&self, va: u64, len: usize) -> Vec<u8> {
        (va..va + len as u64)
            .step_by(PAGE as usize)
            .flat_map(|at| {
                self.memory
                    .read(self.pages[&(at & !0xfff)].0, PAGE as usize)
            })
            .skip((va % PAGE) as usize)
            .take(len)
            .collect()
    }
}

/// Everything that is true of any 32-bit domain.
fn check(image: &KernelImage, ramdisk: &[u8], mib: u64, built: &Built) {
    let Built { layout, start, .. } = built;
    let va = |pfn: u64| image.virt_base + pfn * PAGE;
    let tables: Vec<u64> = built.tables.iter().map(|(gpa, _)| *gpa).collect();
    // One mapping from VIRT_BASE, in order; tables read-only, all else writable.
    assert_eq!(built.pages.len() as u64, layout.mapped_pages);
    for pfn in 0..layout.mapped_pages {
        let gpa = pfn * PAGE;
        assert_eq!(
            built.pages[&va(pfn)],
            (gpa, !tables.contains(&gpa)),
            "frame {pfn:#x}"
        );
    }
    assert!(va(layout.mapped_pages).is_multiple_of(4 << 20));
    assert!(layout.mapped_pages >= layout.stack_pfn + 1 + 128);
    // The tables are those named, the L3 first, with an L2 for the last gigabyte.
    let mut found = tables.clone();
    found.sort_unstable();
    let named: Vec<u64> = layout.page_tables.clone().map(|pfn| pfn * PAGE).collect();
    assert_eq!((found, tables[0]), (named, layout.page_tables.start * PAGE));
    assert_ne!(built.memory.read_u64(layout.entry.cr3 + 24) & 1, 0);
    // start_info.
    assert_eq!(&start.magic[..16], b"xen-3.0-x86_32p\0");
    assert_eq!(
        (u64::from(start.nr_pages), u64::from(start.shared_info)),
        (mib * 256, SHARED_INFO)
    );
    assert_eq!((start.store_evtchn, start.console_evtchn), (1, 2));
    assert_eq!(
        (u64::from(start.store_mfn), u64::from(start.console_mfn)),
        (layout.store_pfn, layout.console_pfn)
    );
    assert_eq!(u64::from(start.pt_base), va(layout.page_tables.start));
    assert_eq!(
        u64::from(start.nr_pt_frames),
        layout.page_tables.end - layout.page_tables.start
    );
    assert!(start
        .cmd_line
        .starts_with(b"root=/dev/xvda1 ro console=hvc0\0"));
    // The p2m list has words of 4 bytes.
    let list = built.read(u64::from(start.mfn_list), start.nr_pages as usize * 4);
    for (pfn, word) in list.chunks_exact(4).enumerate() {
        let mfn = if pfn < 0xe_0000 { pfn } else { pfn + 0x2_0000 };
        assert_eq!(word, (mfn as u32).to_le_bytes(), "p2m[{pfn:#x}]");
    }
    assert_eq!(start.mod_len as usize, ramdisk.len());
    if !ramdisk.is_empty() {
        assert!(built.read(u64::from(start.mod_start), ramdisk.len()) == ramdisk);
    }
    // Entry: ring 1.
    assert_eq!((layout.entry.cs, layout.entry.ss), (0xe019, 0xe021));
    assert_eq!(
        (layout.entry.rip, layout.entry.rflags),
        (image.entry, 0x202)
    );
    assert_eq!(layout.entry.rsi, va(layout.start_info_pfn));
    assert_eq!(layout.entry.rsp, va(layout.stack_pfn) + PAGE);
}

#[test]
fn grub_i386_in_32_mib_is_whole() {
    let file = asset("grub-i386-xen.bin");
    let kernel = load(&file).expect("grub");
    let built = build(&kernel.image, &kernel.elf, &[], 32);
    check(&kernel.image, &[], 32, &built);
    // It is at 0, so the L2 of the last gigabyte is one more table, the last.
    let last = (built.layout.page_tables.end - 1) * PAGE;
    assert_eq!(
        built.memory.read_u64(built.layout.entry.cr3 + 24) & !0xfff,
        last
    );
    assert!(built
        .memory
        .read(last, PAGE as usize)
        .iter()
        .all(|b| *b == 0));
    let text = built.read(0, 4);
    assert_ne!(text, [0; 4]);
}

#[test]
fn gnumach_i386_in_64_mib_with_mapped_ramdisk_is_whole() {
    let file = asset("gnumach-i386.gz");
    let kernel = load(&file).expect("GNU Mach");
    let ramdisk: Vec<u8> = (0..700_000u32).map(|i| (i % 253) as u8).collect();
    let built = build(&kernel.image, &kernel.elf, &ramdisk, 64);
    check(&kernel.image, &ramdisk, 64, &built);
    let stub = built.read(0xc000_2000 + 14 * 32, 9);
    assert_eq!(stub, *b"\xb8\x0e\0\0\0\xcd\x82\xc3\xcc");
}

fn small_32() -> (KernelImage, Vec<u8>) {
    let (mut image, elf) = small_image(false);
    image.class = Class::Elf32;
    image.pae = Some(PaeMode::Yes);
    image.virt_base = 0xc000_0000;
    image.entry = 0xc010_0000;
    image.hypercall_page = Some(0xc010_2000);
    (image, elf)
}

#[test]
fn small_kernels_in_many_sizes_are_whole() {
    for virt_base in [0, 0x4000_0000, 0xbfe0_0000, 0xc000_0000] {
        for mib in [12, 127, 3583, 3585, 5000] {
            let (mut image, elf) = small_32();
            image.virt_base = virt_base;
            image.entry = virt_base + 0x10_0000;
            image.hypercall_page = None;
            let built = build(&image, &elf, &[], mib);
            check(&image, &[], mib, &built);
        }
    }
}

#[test]
fn what_does_not_fit_32_bits_is_refused() {
    let (image, _) = small_32();
    let refused = |spec: &DomainSpec<'_>| plan(&image, spec).expect_err("too much").to_string();
    let mut large = spec_32(64, 0);
    large.max_pages = MAX_PAGES_32 + 1;
    assert_eq!(
        refused(&large),
        "the domain is to have 4063233 pages of memory; at most 4063232 (15872 MiB) are supported for a 32-bit kernel"
    );
    // The mapping would reach the M2P.
    let error = refused(&spec_32(1200, 900 << 20));
    assert!(
        error.contains("mapped from VIRT_BASE 0xc0000000"),
        "{error}"
    );
    let mut high = spec_32(64, 0);
    high.shared_info_gpa = 1 << 32;
    assert!(refused(&high).contains("below 4 GiB"));
    let mut flat = image.clone();
    flat.pae = None;
    let error = plan(&flat, &spec_32(64, 0))
        .expect_err("no PAE")
        .to_string();
    assert!(
        error.contains("32-bit PV kernel (test) without PAE"),
        "{error}"
    );
}
