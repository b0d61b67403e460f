//! Debian's real images: two Linux kernels, two grubs, two GNU Machs.

mod support;

use std::fs::File;

use noxen_kernel_image::{
    load, load_file, load_file_into, Class, Compression, Container, ElfBytes, Feature, Kernel,
    KernelError, KernelImage, NoteSource, PaeMode, Room, Source,
};
use support::{asset, asset_path};

#[test]
fn linux_generic_xz_says_what_the_kernel_was_built_with() {
    let file = asset("linux-generic/vmlinuz");
    let kernel = load(&file).expect("Debian's kernel loads");
    assert_eq!(kernel.container, Container::BzImage(Some(Compression::Xz)));
    let image = kernel.image;
    assert_eq!(
        (image.class, image.source),
        (Class::Elf64, NoteSource::ElfNotes)
    );
    assert_eq!(
        (
            image.guest_os.as_str(),
            image.guest_version.as_str(),
            image.loader.as_str()
        ),
        ("linux", "2.6", "generic")
    );
    assert_eq!(image.virt_base, 0xffff_ffff_8000_0000);
    assert_eq!(image.paddr_offset, 0);
    assert_eq!(image.init_p2m, Some(0x80_0000_0000));
    assert_eq!(image.hypercall_page, None);
    assert_eq!(image.hv_start_low, Some(0xffff_8000_0000_0000));
    assert_eq!(image.l1_mfn_valid, Some((1, 1)));
    assert!(image.mod_start_pfn && image.suspend_cancel && !image.bsd_symtab);
    assert_eq!(image.pae, Some(PaeMode::Yes));
    assert!(image.phys32_entry.is_some());
    assert!(image.features.supports(Feature::DOM0) && !image.features.requires(Feature::DOM0));
    assert_eq!(
        image.features.to_string(),
        "!writable_page_tables|pae_pgdir_above_4gb|dom0|linux_rsdp_unrestricted"
    );
    let offsets: Vec<u64> = image.segments.iter().map(|s| s.offset).collect();
    assert_eq!(offsets[..2], [0x100_0000, 0x2a0_0000]);
    assert_eq!(offsets.len(), 4);
    // The entry lies in the last segment (init text).
    assert!(image.entry - image.virt_base >= offsets[3]);
    image.require_pv().expect("a 64-bit kernel");
}

#[test]
fn linux_cloud_of_which_one_bit_of_a_literal_fell_over_is_refused() {
    // lz4 as Linux uses it has no checksum: most damage unpacks to another kernel.
    let good = asset("linux-cloud/vmlinuz");
    let mut unpacked = 0;
    for eighth in 1..8 {
        let mut file = good.clone();
        let at = file.len() / 8 * eighth;
        file[at] ^= 0x10;
        match load(&file).err() {
            Some(KernelError::Checksum) => unpacked += 1,
            Some(KernelError::Unpack { .. }) => {}
            other => panic!("byte {at}: {other:?}"),
        }
    }
    assert!(unpacked > 0, "no damage got as far as the checksum");
}

#[test]
fn linux_cloud_lz4_loads() {
    let file = asset("linux-cloud/vmlinuz");
    let kernel = load(&file).expect("Debian's cloud kernel loads");
    assert_eq!(kernel.container, Container::BzImage(Some(Compression::Lz4)));
    assert_eq!(kernel.image.init_p2m, Some(0x80_0000_0000));
    assert_eq!(kernel.image.segments.len(), 4);
    assert!(kernel.elf.size() > 50_000_000);
}

#[test]
fn grub_x86_64_starts_at_zero() {
    let file = asset("grub-x86_64-xen.bin");
    let kernel = load(&file).expect("grub loads");
    assert_eq!(kernel.container, Container::Elf);
    let image = kernel.image;
    assert_eq!(
        (image.class, image.guest_os.as_str()),
        (Class::Elf64, "GRUB")
    );
    assert_eq!(
        (
            image.entry,
            image.virt_base,
            image.hypercall_page,
            image.init_p2m
        ),
        (0, 0, None, None)
    );
    assert!(!image.mod_start_pfn);
    assert_eq!(image.segments.len(), 2);
    assert_eq!(image.segments[0].memsz, image.segments[1].offset);
}

#[test]
fn grub_i386_with_its_cut_note_is_a_pae_kernel() {
    let file = asset("grub-i386-xen.bin");
    let image = load(&file)
        .expect("the last note is cut, but it is readable")
        .image;
    assert_eq!((image.class, image.pae), (Class::Elf32, Some(PaeMode::Yes)));
    assert_eq!((image.entry, image.virt_base), (0, 0));
    image.require_pv().expect("PAE_MODE is yes");
}

#[test]
fn gnumach_amd64_speaks_through_its_legacy_section() {
    let file = asset("gnumach-amd64.gz");
    let kernel = load(&file).expect("GNU Mach loads");
    assert_eq!(kernel.container, Container::Packed(Compression::Gzip));
    let image = kernel.image;
    assert_eq!(
        (image.class, image.source),
        (Class::Elf64, NoteSource::LegacySection)
    );
    assert_eq!(image.guest_os, "GNU Mach");
    assert_eq!(
        (image.virt_base, image.paddr_offset),
        (0x4000_0000, 0x4000_0000)
    );
    assert_eq!(image.hypercall_page, Some(0x4000_2000));
    assert_eq!(image.entry, 0x4000_0000);
    assert_eq!(image.start_offset(), 0);
}

#[test]
fn gnumach_i386_is_a_pae_kernel_with_an_extended_cr3() {
    let file = asset("gnumach-i386.gz");
    let image = load(&file).expect("GNU Mach loads").image;
    assert_eq!(
        (image.class, image.pae),
        (Class::Elf32, Some(PaeMode::ExtendedCr3))
    );
    assert_eq!(
        (image.virt_base, image.hypercall_page),
        (0xc000_0000, Some(0xc000_2000))
    );
    assert_eq!(image.features.to_string(), "pae_pgdir_above_4gb");
    image.require_pv().expect("PAE_MODE is yes");
}

#[test]
fn a_32_bit_kernel_without_pae_or_without_room_for_the_hypervisor_is_refused() {
    let file = asset("gnumach-i386.gz");
    let good = load(&file).expect("GNU Mach loads").image;
    for pae in [None, Some(PaeMode::No)] {
        let image = KernelImage {
            pae,
            ..good.clone()
        };
        assert_eq!(
            image.require_pv(),
            Err(KernelError::NoPae("GNU Mach".into()))
        );
    }
    let greedy = KernelImage {
        hv_start_low: Some(0xf600_0000),
        ..good
    };
    assert_eq!(
        greedy.require_pv().expect_err("too high").to_string(),
        "the kernel's Xen notes leave the hypervisor only addresses from 0xf6000000 on (HV_START_LOW); it needs those from 0xf5800000 on"
    );
}

#[test]
fn vmlinux_is_parsed_from_its_file_without_being_read_whole() {
    let file = File::open(asset_path("linux-generic/vmlinux")).expect("the unpacked kernel");
    let kernel = load_file(&file).expect("Debian's vmlinux");
    assert_eq!(kernel.container, Container::Elf);
    assert!(kernel.elf.slice(0, 4).is_none(), "it is still in its file");
    let packed = asset("linux-generic/vmlinuz");
    assert_eq!(kernel.image, load(&packed).expect("the packed one").image);
}

#[test]
fn files_that_are_not_files_are_refused() {
    for (path, text) in [
        ("/dev/zero", "is not a regular file"),
        ("/", "is a directory"),
    ] {
        let file = File::open(path).expect("it exists");
        let error = load_file(&file).expect_err("not a kernel");
        assert!(error.to_string().contains(text), "{error}");
    }
}

#[test]
fn packed_kernel_from_its_file_is_the_same() {
    let file = File::open(asset_path("gnumach-amd64.gz")).expect("GNU Mach");
    let kernel = load_file(&file).expect("GNU Mach");
    assert_eq!(
        kernel.image,
        load(&asset("gnumach-amd64.gz")).expect("the same").image
    );
    assert_eq!(kernel.container, Container::Packed(Compression::Gzip));
}

#[test]
fn packed_kernel_is_unpacked_into_room_that_fits() {
    #[derive(Debug)]
    struct Given(Vec<u8>, bool);
    impl Room for Given {
        fn bytes(&self) -> &[u8] {
            &self.0
        }
        fn bytes_mut(&mut self) -> &mut [u8] {
            &mut self.0
        }
        fn is_zeroed(&self) -> bool {
            self.1
        }
    }
    let file = File::open(asset_path("linux-cloud/vmlinuz")).expect("Debian's cloud kernel");
    let plain = load_file(&file).expect("Debian's cloud kernel");
    let all = |kernel: &Kernel<'_>| {
        kernel
            .elf
            .slice(0, kernel.elf.size() as usize)
            .expect("in memory")
            .to_vec()
    };
    for (fill, zeroed) in [(0, true), (0x5a, false)] {
        let kernel = load_file_into(&file, |size| {
            Some(Box::new(Given(vec![fill; size as usize], zeroed)))
        });
        let kernel = kernel.expect("there is room");
        assert!(matches!(kernel.elf, ElfBytes::Room(_)));
        assert!(all(&kernel) == all(&plain) && kernel.image == plain.image);
    }
    let small = load_file_into(&file, |_| Some(Box::new(Given(vec![0; 100], true))))
        .expect("it does without");
    assert!(matches!(small.elf, ElfBytes::Memory(_)));
}
