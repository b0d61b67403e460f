//! Notes and ELF headers that lie, and kinds of kernels that are not for PV.

mod support;

use noxen_kernel_image::{KernelError, KernelImage, NoteSource, PaeMode};
use support::{note, Load, TestKernel, BASE};

fn parse(kernel: &TestKernel) -> Result<KernelImage, KernelError> {
    KernelImage::parse(&kernel.build())
}

fn refused(kernel: TestKernel, text: &str) {
    let error = parse(&kernel).expect_err(text);
    assert!(
        error.to_string().contains(text),
        "wanted \"{text}\" in: {error}"
    );
}

#[test]
fn good_kernel_is_described() {
    let image = parse(&TestKernel::default()).expect("good");
    assert_eq!(image.source, NoteSource::ElfNotes);
    assert_eq!(image.entry, BASE + 0x10_0040);
    assert_eq!(image.hypercall_page, Some(BASE + 0x10_1000));
    assert_eq!(
        (image.start_offset(), image.end_offset()),
        (0x10_0000, 0x10_c000)
    );
    assert!(
        image.to_string().contains("guest           test"),
        "{image}"
    );
}

#[test]
fn defaults_without_base_and_entry_are_libelfs() {
    let kernel = TestKernel {
        entry: 0x10_0080,
        ..TestKernel::default()
            .without(note::ENTRY)
            .without(note::VIRT_BASE)
            .without(note::HYPERCALL_PAGE)
    };
    let image = parse(&kernel).expect("Mini-OS looks like this");
    assert_eq!(
        (image.virt_base, image.paddr_offset, image.entry),
        (0, 0, 0x10_0080)
    );
}

#[test]
fn numbers_of_four_bytes_are_extended_with_zeros() {
    let kernel = TestKernel::default()
        .with(note::VIRT_BASE, &0x4000_0000_u32.to_le_bytes())
        .with(note::ENTRY, &0x4010_0000_u32.to_le_bytes())
        .without(note::HYPERCALL_PAGE);
    assert_eq!(parse(&kernel).expect("good").entry, 0x4010_0000);
}

#[test]
fn kernel_without_notes_is_for_hvm() {
    let kernel = TestKernel {
        notes: vec![],
        ..TestKernel::default()
    };
    assert_eq!(parse(&kernel), Err(KernelError::NoXenNotes));
    let foreign = TestKernel {
        owner: b"GNU\0",
        ..TestKernel::default()
    };
    assert_eq!(parse(&foreign), Err(KernelError::NoXenNotes));
}

#[test]
fn kernel_with_pvh_entry_alone_is_named_so() {
    let kernel = TestKernel::default()
        .without(note::ENTRY)
        .without(note::VIRT_BASE)
        .with(note::PHYS32_ENTRY, &0x10_0000_u32.to_le_bytes());
    assert_eq!(parse(&kernel), Err(KernelError::PvhOnly));
}

#[test]
fn abi_and_loader_that_are_not_ours_are_refused() {
    refused(
        TestKernel::default().with(note::XEN_VERSION, b"xen-2.0\0"),
        "\"xen-2.0\"",
    );
    refused(TestKernel::default().without(note::XEN_VERSION), "ABI \"\"");
    refused(
        TestKernel::default().with(note::LOADER, b"special\0"),
        "loader \"special\"",
    );
    refused(TestKernel::default().without(note::LOADER), "loader \"\"");
    let linux = TestKernel::default()
        .without(note::LOADER)
        .with(note::GUEST_OS, b"linux\0");
    parse(&linux).expect("Linux needs no LOADER");
}

#[test]
fn virt_base_outside_the_usable_space_is_refused() {
    refused(
        TestKernel::default().with_number(note::VIRT_BASE, BASE + 0x10),
        "not page aligned",
    );
    refused(
        TestKernel::default().with_number(note::VIRT_BASE, 0x8000_0000_0000),
        "not canonical",
    );
    refused(
        TestKernel::default().with_number(note::VIRT_BASE, 0x7fff_fff0_0000),
        "not canonical",
    );
    refused(
        TestKernel::default().with_number(note::VIRT_BASE, 0xffff_8000_0000_0000),
        "hypervisor's address space",
    );
    refused(
        TestKernel::default().with_number(note::VIRT_BASE, 0xffff_ffff_ffff_f000),
        "wraps around",
    );
}

#[test]
fn entry_and_hypercall_page_outside_the_image_are_refused() {
    refused(
        TestKernel::default().with_number(note::ENTRY, BASE),
        "ENTRY 0xffffffff80000000 is outside",
    );
    refused(
        TestKernel::default().with_number(note::ENTRY, BASE + 0x10_c000),
        "outside the image",
    );
    refused(
        TestKernel::default().with_number(note::ENTRY, 0),
        "outside the image",
    );
    refused(
        TestKernel::default().with_number(note::HYPERCALL_PAGE, BASE + 0x10_c000),
        "outside the image",
    );
    refused(
        TestKernel::default().with_number(note::HYPERCALL_PAGE, !0xfff),
        "outside the image",
    );
    refused(
        TestKernel::default().with_number(note::HYPERCALL_PAGE, BASE + 0x10_0800),
        "not page aligned",
    );
}

#[test]
fn init_p2m_that_cannot_be_mapped_is_refused() {
    let with = |va| TestKernel::default().with_number(note::INIT_P2M, va);
    assert_eq!(
        parse(&with(0x80_0000_0000)).expect("Linux's").init_p2m,
        Some(0x80_0000_0000)
    );
    refused(with(0x80_0000_0008), "not page aligned");
    refused(
        with(0x8000_0000_0000),
        "not an address that a guest may use",
    );
    refused(
        with(0xffff_8000_0000_0000),
        "not an address that a guest may use",
    );
    refused(with(BASE), "not below VIRT_BASE");
}

#[test]
fn paddr_offset_must_fit_base_and_segments() {
    refused(
        TestKernel::default().with_number(note::PADDR_OFFSET, 0x20_0000),
        "lies above the segment",
    );
    refused(
        TestKernel::default()
            .without(note::VIRT_BASE)
            .with_number(note::PADDR_OFFSET, 0),
        "without VIRT_BASE",
    );
}

#[test]
fn segments_that_overlap_wrap_or_leave_the_file_are_refused() {
    let load = |paddr, memsz| Load {
        paddr,
        data: vec![0x90; 0x100],
        memsz,
    };
    let with = |loads| TestKernel {
        loads,
        ..TestKernel::default()
    };
    refused(
        with(vec![load(0x10_0000, 0x3000), load(0x10_2fff, 0x1000)]),
        "overlap",
    );
    refused(with(vec![load(u64::MAX - 0x1000, 0x3000)]), "wraps around");
    refused(with(vec![load(0x10_0000, 0x80)]), "only 128 in memory");
    refused(
        TestKernel {
            loads: vec![load(0x10_0000, 100 << 30)],
            ..TestKernel::default().with_number(note::VIRT_BASE, 0x4000_0000)
        },
        "larger than any kernel",
    );
    refused(with(vec![]), "nothing to load");
    let mut cut = TestKernel {
        notes: vec![],
        ..TestKernel::default()
    }
    .build();
    cut.truncate(cut.len() - 1);
    assert!(KernelImage::parse(&cut).is_err());
    let mut cut = with(vec![load(0x10_0000, 0x1000)]).build();
    // p_filesz of the first program header grows past the file.
    cut[64 + 32..64 + 40].copy_from_slice(&0x800_u64.to_le_bytes());
    cut[64 + 40..64 + 48].copy_from_slice(&0x1000_u64.to_le_bytes());
    let error = KernelImage::parse(&cut).expect_err("beyond the file");
    assert!(error.to_string().contains("cut short"), "{error}");
}

#[test]
fn features_that_are_required_decide() {
    let with = |names: &[u8]| TestKernel::default().with(note::FEATURES, names);
    refused(
        with(b"!from_the_future\0"),
        "unknown Xen feature \"from_the_future\"",
    );
    refused(with(b"!dom0\0"), "domain 0 only");
    refused(with(b"!auto_translated_physmap\0"), "HVM or PVH");
    refused(with(b"!supervisor_mode_kernel\0"), "outside ring 0");
    let image =
        parse(&with(b"from_the_future|!writable_page_tables|dom0\0")).expect("as Linux has it");
    assert_eq!(image.features.to_string(), "!writable_page_tables|dom0");
}

#[test]
fn notes_of_odd_length_or_text_are_refused() {
    refused(
        TestKernel::default().with(note::VIRT_BASE, &[0; 5]),
        "VIRT_BASE is 5 bytes long",
    );
    refused(
        TestKernel::default().with(note::PAE_MODE, b"maybe\0"),
        "PAE_MODE is \"maybe\"",
    );
    let image =
        parse(&TestKernel::default().with(note::PAE_MODE, b"yes[extended-cr3]\0")).expect("good");
    assert_eq!(image.pae, Some(PaeMode::ExtendedCr3));
    let wild = parse(&TestKernel::default().with(note::GUEST_OS, b"\x1b[31mred\n\0"))
        .expect("text is only text");
    assert_eq!(wild.guest_os, "?[31mred?");
}

#[test]
fn legacy_section_is_read_when_no_xen_note_is_there() {
    let legacy = |text: &str| TestKernel {
        notes: vec![],
        legacy: Some(text.into()),
        loads: vec![Load {
            paddr: 0x4000_0000,
            data: vec![0x90; 0x4000],
            memsz: 0x4000,
        }],
        entry: 0x4000_0010,
        ..TestKernel::default()
    };
    let image = parse(&legacy(
        "GUEST_OS=old,XEN_VER=xen-3.0,VIRT_BASE=0x40000000,HYPERCALL_PAGE=0x2,LOADER=generic",
    ))
    .expect("good");
    assert_eq!(image.source, NoteSource::LegacySection);
    assert_eq!((image.paddr_offset, image.start_offset()), (0x4000_0000, 0));
    assert_eq!(
        (image.entry, image.hypercall_page),
        (0x4000_0010, Some(0x4000_2000))
    );
    refused(
        legacy("XEN_VER=xen-3.0,VIRT_BASE=somewhere"),
        "VIRT_BASE in __xen_guest is \"somewhere\"",
    );
    refused(
        legacy("XEN_VER=xen-3.0,VIRT_BASE=0x40000000,HYPERCALL_PAGE=0xfffffffffffffff"),
        "HYPERCALL_PAGE",
    );
    refused(legacy("GUEST_OS=nothing"), "no Xen notes");
    let wild = parse(&legacy(
        "XEN_VER=xen-3.0,VIRT_BASE=0x40000000,GUEST_OS=\x1b[31mred\u{e9}",
    ))
    .expect("text is only text");
    assert_eq!(wild.guest_os, "?[31mred??");
}

#[test]
fn elf_of_another_machine_or_kind_is_refused() {
    refused(
        TestKernel {
            machine: 183,
            ..TestKernel::default()
        },
        "machine number 183",
    );
    refused(
        TestKernel {
            class: 3,
            ..TestKernel::default()
        },
        "unknown class 3",
    );
    let mut object = TestKernel::default().build();
    object[16] = 1;
    assert!(matches!(
        KernelImage::parse(&object),
        Err(KernelError::WrongMachine(_))
    ));
    let mut big = TestKernel::default().build();
    big[5] = 2;
    assert!(matches!(
        KernelImage::parse(&big),
        Err(KernelError::WrongMachine(_))
    ));
}

#[test]
fn headers_that_name_the_whole_file_as_notes_again_and_again_are_refused_quickly() {
    // 4000 PT_NOTE headers over 8 MiB each would be 32 GiB to walk.
    let mut kernel = TestKernel {
        notes: vec![],
        ..TestKernel::default()
    }
    .build();
    let table = kernel.len() as u64;
    let count = 4000_u16;
    for _ in 0..count {
        kernel.extend(4_u32.to_le_bytes());
        kernel.extend(4_u32.to_le_bytes());
        for field in [64_u64, 0, 0, 8 << 20, 0, 4] {
            kernel.extend(field.to_le_bytes());
        }
    }
    kernel.resize(kernel.len() + (8 << 20), 0);
    kernel[32..40].copy_from_slice(&table.to_le_bytes());
    kernel[56..58].copy_from_slice(&count.to_le_bytes());
    let error = KernelImage::parse(&kernel).expect_err("absurd");
    assert!(
        error.to_string().contains("notes are longer than 4 MiB"),
        "{error}"
    );
}
