//! Domains of Debian's kernels and of small ones, looked at through their own page tables.

mod support;

use std::fs::File;
use std::ops::Range;

use noxen_domain_builder::DomainSpec;
use noxen_kernel_image::{load, load_file, ElfBytes, KernelImage, Source};
use support::{
    asset, asset_path, build, build_as, build_kernel, small_image, spec, Built, HOLE, PAGE,
    SHARED_INFO, SLOT_MARK,
};

/// Everything that is true of any domain.
fn check(image: &KernelImage, elf: &dyn Source, ramdisk: &[u8], mib: u64, built: &Built) {
    let Built {
        layout,
        memory,
        space,
        start,
    } = built;
    let va = |pfn: u64| image.virt_base + pfn * PAGE;

    // The mapping at VIRT_BASE: whole, in order, at least 512 KiB behind the stack, to a multiple of 4 MiB.
    for pfn in 0..layout.mapped_pages {
        assert_eq!(space.gpa(va(pfn)), mfn(pfn) * PAGE, "frame {pfn:#x}");
    }
    assert!((va(layout.mapped_pages)).is_multiple_of(4 << 20));
    assert!(layout.mapped_pages >= layout.stack_pfn + 1 + 128);
    assert!(!space.pages.contains_key(&va(layout.mapped_pages)));

    // Tables are read-only and everything else is writable.
    for page in space.pages.values() {
        assert_eq!(
            page.writable,
            !space.tables.contains_key(&page.gpa),
            "{page:x?}"
        );
    }
    // The tables found are the tables named, the L4 first, then by level.
    let found: Vec<u64> = space.tables.keys().copied().collect();
    let mut named: Vec<u64> = layout
        .page_tables
        .clone()
        .chain(layout.p2m_tables.clone())
        .map(|pfn| mfn(pfn) * PAGE)
        .collect();
    let levels: Vec<u32> = layout
        .page_tables
        .clone()
        .map(|pfn| space.tables[&(mfn(pfn) * PAGE)])
        .collect();
    assert!(
        levels.is_sorted_by(|a, b| a >= b) && levels[0] == 4,
        "{levels:?}"
    );
    named.sort_unstable();
    assert_eq!(found, named);

    // Nothing overlaps, all of it is inside the domain.
    let one = |pfn: u64| pfn..pfn + 1;
    let mut parts: Vec<Range<u64>> = vec![
        layout.kernel.clone(),
        layout.ramdisk.clone(),
        layout.p2m_list.clone(),
        layout.p2m_tables.clone(),
        layout.page_tables.clone(),
        one(layout.start_info_pfn),
        one(layout.store_pfn),
        one(layout.console_pfn),
        one(layout.stack_pfn),
    ];
    parts.retain(|p| !p.is_empty());
    parts.sort_by_key(|p| p.start);
    assert!(
        parts.windows(2).all(|w| w[0].end <= w[1].start),
        "{parts:?}"
    );
    assert!(parts.iter().all(|p| p.end <= layout.free_pfn) && layout.free_pfn <= layout.nr_pages);

    // The kernel is where its notes say; what follows its file bytes is zero.
    for s in &image.segments {
        let bytes = space.read(memory, image.virt_base + s.offset, s.memsz as usize);
        let mut wanted = vec![0; s.file.len()];
        elf.read_at(s.file.start as u64, &mut wanted)
            .expect("the ELF is whole");
        wanted.resize(s.memsz as usize, 0);
        if let Some(page) = image.hypercall_page {
            let at = page.wrapping_sub(image.virt_base + s.offset) as usize;
            if let Some(stubs) = wanted.get_mut(at..at + PAGE as usize) {
                stubs.copy_from_slice(&noxen_domain_builder::hypercall_page_64());
            }
        }
        assert!(bytes == wanted, "segment at {:#x}", s.offset);
    }

    // start_info.
    assert_eq!(&start.magic[..15], b"xen-3.0-x86_64\0");
    assert_eq!(
        (start.nr_pages, start.shared_info),
        (mib * 256, SHARED_INFO)
    );
    assert_eq!((start.store_evtchn, start.console_evtchn), (1, 2));
    assert_eq!(
        (start.store_mfn, start.console_mfn),
        (mfn(layout.store_pfn), mfn(layout.console_pfn))
    );
    assert_eq!(start.pt_base, va(layout.page_tables.start));
    assert_eq!(space.gpa(start.pt_base), layout.entry.cr3);
    assert_eq!(
        start.nr_pt_frames,
        layout.page_tables.end - layout.page_tables.start
    );
    assert!(start
        .cmd_line
        .starts_with(b"root=/dev/xvda1 ro console=hvc0\0"));
    assert_eq!(start.flags & !8, 16);

    // The p2m list is readable where start_info says.
    let list = space.read(memory, start.mfn_list, (start.nr_pages * 8) as usize);
    for (pfn, entry) in list.chunks_exact(8).enumerate() {
        assert_eq!(entry, mfn(pfn as u64).to_le_bytes(), "p2m[{pfn:#x}]");
    }
    match image.init_p2m {
        Some(p2m) => {
            assert_eq!(start.mfn_list, p2m);
            assert_eq!(start.first_p2m_pfn, layout.p2m_list.start);
            assert_eq!(
                start.nr_p2m_frames,
                layout.p2m_tables.end - layout.p2m_list.start
            );
            assert_eq!(layout.p2m_list.end, layout.p2m_tables.start);
        }
        None => assert_eq!((start.first_p2m_pfn, start.nr_p2m_frames), (0, 0)),
    }

    // The ramdisk, by address or by frame.
    assert_eq!(start.mod_len, ramdisk.len() as u64);
    if ramdisk.is_empty() {
        assert_eq!((start.mod_start, start.flags & 8), (0, 0));
    } else if image.mod_start_pfn {
        assert_eq!(start.flags & 8, 8);
        let bytes = (0..ramdisk.len() as u64)
            .step_by(PAGE as usize)
            .flat_map(|at| memory.read(mfn(start.mod_start + at / PAGE) * PAGE, PAGE as usize));
        assert!(
            bytes.take(ramdisk.len()).eq(ramdisk.iter().copied()),
            "ramdisk by frame"
        );
    } else {
        assert_eq!(start.flags & 8, 0);
        assert!(
            space.read(memory, start.mod_start, ramdisk.len()) == ramdisk,
            "ramdisk by address"
        );
    }

    // Entry state.
    assert_eq!(layout.entry.rip, image.entry);
    assert_eq!(
        space.gpa(layout.entry.rsp - 8),
        mfn(layout.stack_pfn) * PAGE + PAGE - 8
    );
    assert_eq!(
        (layout.entry.cs, layout.entry.ss, layout.entry.rflags),
        (0xe033, 0xe02b, 0x202)
    );
    // The monitor's slots, untouched.
    for slot in 0..16 {
        assert_eq!(
            memory.read_u64(layout.entry.cr3 + (256 + slot) * 8),
            SLOT_MARK + (slot << 12)
        );
    }
    assert_eq!(layout.frames().count() as u64, layout.nr_pages);
    assert_eq!(
        layout.frames().last(),
        Some((layout.nr_pages - 1, mfn(layout.nr_pages - 1)))
    );
}

/// The rule of the interface, written down once more.
fn mfn(pfn: u64) -> u64 {
    let pages = (HOLE.end - HOLE.start) / PAGE;
    if pfn * PAGE < HOLE.start {
        pfn
    } else {
        pfn + pages
    }
}

fn ramdisk(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i / 4096 + i % 253) as u8).collect()
}

#[test]
fn linux_generic_in_512_mib_with_ramdisk_is_whole() {
    let file = asset("linux-generic/vmlinuz");
    let kernel = load(&file).expect("Debian's kernel");
    let ramdisk = ramdisk(3_000_001);
    let built = build_kernel(&kernel, &ramdisk, 512);
    check(&kernel.image, &kernel.elf, &ramdisk, 512, &built);
    // Half of the image is zeros, which were not written.
    assert!((built.memory.written_pages() as u64) < built.layout.kernel.end - 1024);
}

#[test]
fn linux_vmlinux_from_its_file_is_the_same_domain() {
    let file = File::open(asset_path("linux-cloud/vmlinux")).expect("the unpacked kernel");
    let kernel = load_file(&file).expect("Debian's cloud kernel");
    assert!(matches!(kernel.elf, ElfBytes::File(..)));
    let built = build_kernel(&kernel, &[], 256);
    check(&kernel.image, &kernel.elf, &[], 256, &built);
    let packed = asset("linux-cloud/vmlinuz");
    assert_eq!(kernel.image, load(&packed).expect("the packed one").image);
    // Pages of zeros are skipped from a file too.
    assert!((built.memory.written_pages() as u64) < built.layout.kernel.end - 1024);
}

#[test]
fn tuned_linux_differs_in_one_operand_and_one_instruction() {
    use noxen_monitor_abi::layout::{FORCED_CPUID, TUNED_CPUID};
    let file = File::open(asset_path("linux-generic/vmlinux")).expect("the unpacked kernel");
    let kernel = load_file(&file).expect("Debian's kernel");
    let plain = build_kernel(&kernel, &[], 256);
    let tuned = DomainSpec {
        tune: true,
        ..spec(256, 0)
    };
    let tuned = build_as(&kernel.image, &kernel.elf, &[], tuned).expect("the same kernel");
    let mut changed = Vec::new();
    for page in (0..256 << 20).step_by(PAGE as usize) {
        let (before, after) = (
            plain.memory.read(page, PAGE as usize),
            tuned.memory.read(page, PAGE as usize),
        );
        if before != after {
            let at = before.iter().zip(&after).position(|(a, b)| a != b).unwrap();
            changed.push((before[at..][..7].to_vec(), after[at..][..7].to_vec()));
        }
    }
    // In the order of their addresses: the CPUID of all of the kernel, then start-up code. The limit was 512 GiB
    // (0x08000000 pages) and is 16.
    assert_eq!(changed.len(), 2);
    assert_eq!(
        changed[0],
        (FORCED_CPUID.to_vec(), TUNED_CPUID.to_vec()),
        "CPUID"
    );
    assert_eq!(
        (&changed[1].0[..2], &changed[1].1[..2]),
        (&[0x00, 0x08][..], &[0x40, 0x00][..]),
        "limit"
    );
}

#[test]
fn linux_cloud_in_6_gib_is_whole_across_the_hole() {
    let file = asset("linux-cloud/vmlinuz");
    let kernel = load(&file).expect("Debian's cloud kernel");
    let built = build_kernel(&kernel, &[], 6144);
    check(&kernel.image, &kernel.elf, &[], 6144, &built);
}

#[test]
fn grub_in_32_mib_is_whole() {
    let file = asset("grub-x86_64-xen.bin");
    let kernel = load(&file).expect("grub");
    let built = build_kernel(&kernel, &[], 32);
    check(&kernel.image, &kernel.elf, &[], 32, &built);
    assert_eq!(
        (built.layout.entry.rip, built.layout.hypercall_page_gpa),
        (0, None)
    );
}

#[test]
fn gnumach_in_64_mib_with_mapped_ramdisk_is_whole() {
    let file = asset("gnumach-amd64.gz");
    let kernel = load(&file).expect("GNU Mach");
    let ramdisk = ramdisk(700_000);
    let built = build_kernel(&kernel, &ramdisk, 64);
    check(&kernel.image, &kernel.elf, &ramdisk, 64, &built);
    assert_eq!(built.layout.hypercall_page_gpa, Some(0x2000));
    assert!(built.layout.ramdisk_mapped);
}

#[test]
fn small_kernels_in_many_sizes_are_whole() {
    for linux in [false, true] {
        let (image, elf) = small_image(linux);
        for mib in [12, 16, 127, 1000, 3583, 3584, 3585, 4097] {
            for len in [0, 1, 4096, 1_000_000] {
                let ramdisk = ramdisk(len);
                let built =
                    build(&image, &elf, &ramdisk, mib).unwrap_or_else(|e| panic!("{mib} MiB: {e}"));
                check(&image, &elf, &ramdisk, mib, &built);
            }
        }
    }
}

#[test]
fn ramdisk_larger_than_the_hole_start_is_read_across_it() {
    // A ramdisk planned so that it straddles 3.5 GiB: everything before it is padding of the image.
    let (mut image, elf) = small_image(true);
    image.virt_base = 0x10_0000_0000;
    image.init_p2m = None;
    image.entry = image.virt_base + 0xde80_0000;
    image.segments[0].offset = 0xde80_0000;
    let ramdisk = ramdisk(12 << 20);
    let built = build(&image, &elf, &ramdisk, 3700).expect("it fits");
    assert!(built.layout.ramdisk.start < 0xe0000 && built.layout.ramdisk.end > 0xe0000);
    check(&image, &elf, &ramdisk, 3700, &built);
}

#[test]
fn image_that_does_not_start_on_a_4_mib_boundary_gets_partial_tables() {
    let (mut image, elf) = small_image(true);
    image.virt_base = 0x1234_5000;
    image.init_p2m = None;
    image.entry = image.virt_base + 0x10_0000;
    let built = build(&image, &elf, &[], 64).expect("it fits");
    check(&image, &elf, &[], 64, &built);
}

#[test]
fn p2m_list_that_crosses_table_boundaries_is_mapped() {
    let (mut image, elf) = small_image(true);
    // The list of a 1 GiB domain is 2 MiB long; started one page before a 512 GiB boundary, it needs two tables of each level.
    image.init_p2m = Some((2 << 39) - 0x1000);
    let built = build(&image, &elf, &[], 1024).expect("it fits");
    check(&image, &elf, &[], 1024, &built);
    assert_eq!(
        built.layout.p2m_tables.end - built.layout.p2m_tables.start,
        2 + 2 + 2
    );
}
