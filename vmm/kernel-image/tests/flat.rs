//! Images that are entered without paging: PVH kernels, and loaders that run before a BIOS.

mod support;

use noxen_kernel_image::{load_pvh_file_into, Class, FlatImage, KernelError};
use std::fs::File;
use support::{asset_path, note, Load, TestKernel};

fn pvh(kernel: &TestKernel) -> Result<FlatImage, KernelError> {
    FlatImage::pvh(&kernel.build())
}

#[test]
fn kernel_for_pvh_alone_is_described_by_physical_addresses() {
    let kernel = TestKernel::default()
        .without(note::ENTRY)
        .without(note::VIRT_BASE)
        .with(note::PHYS32_ENTRY, &0x10_0080_u32.to_le_bytes());
    let image = pvh(&kernel).expect("good");
    assert_eq!((image.entry, image.guest_os.as_str()), (0x10_0080, "test"));
    assert_eq!((image.start(), image.end()), (0x10_0000, 0x10_c000));
}

#[test]
fn entry_that_is_missing_outside_or_beyond_4_gib_is_refused() {
    assert_eq!(pvh(&TestKernel::default()), Err(KernelError::NoPvhEntry));
    let unnamed = TestKernel {
        notes: vec![],
        ..TestKernel::default()
    };
    assert_eq!(pvh(&unnamed), Err(KernelError::NoPvhEntry));
    for entry in [0, 0x10_c000, 0x10_6000, u64::MAX] {
        let kernel = TestKernel::default().with_number(note::PHYS32_ENTRY, entry);
        let error = pvh(&kernel).expect_err("outside").to_string();
        assert!(error.contains("PHYS32_ENTRY"), "{error}");
    }
    let far = TestKernel {
        loads: vec![Load {
            paddr: (1 << 32) - 0x1000,
            data: vec![0x90; 0x1000],
            memsz: 0x2000,
        }],
        ..TestKernel::default()
    };
    let far = far.with_number(note::PHYS32_ENTRY, (1 << 32) - 0x1000);
    let error = pvh(&far).expect_err("beyond").to_string();
    assert!(error.contains("below 4 GiB"), "{error}");
}

/// A 32-bit ELF with one segment at 1 MiB, of 4 KiB in the file and 8 KiB in memory.
fn small_program(entry: u32) -> Vec<u8> {
    let mut file = b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x03\0".to_vec();
    // Version, entry, program headers, section headers, flags.
    for word in [1, entry, 52, 0, 0] {
        file.extend(word.to_le_bytes());
    }
    // Sizes and numbers of headers.
    for half in [52_u16, 32, 1, 40, 0, 0] {
        file.extend(half.to_le_bytes());
    }
    // PT_LOAD: offset, vaddr, paddr, filesz, memsz, flags, align.
    for word in [1_u32, 84, 0x10_0000, 0x10_0000, 0x1000, 0x2000, 7, 32] {
        file.extend(word.to_le_bytes());
    }
    file.resize(84 + 0x1000, 0x90);
    file
}

#[test]
fn loader_is_a_32_bit_program_entered_where_its_header_says() {
    let image = FlatImage::loader(&small_program(0x10_0000)).expect("good");
    assert_eq!((image.class, image.entry), (Class::Elf32, 0x10_0000));
    assert_eq!((image.start(), image.end()), (0x10_0000, 0x10_2000));
    for entry in [0x40, 0x10_2000] {
        let error = FlatImage::loader(&small_program(entry)).expect_err("outside");
        assert!(error.to_string().contains("its entry 0x"), "{error}");
    }
    let error = FlatImage::loader(&TestKernel::default().build()).expect_err("64 bits");
    assert!(error.to_string().contains("64-bit program"), "{error}");
}

#[test]
fn debians_kernel_has_the_same_entry_packed_and_plain() {
    let open = |name: &str| File::open(asset_path(name)).expect("an asset");
    let (packed, plain) = (open("linux-cloud/vmlinuz"), open("linux-cloud/vmlinux"));
    let (image, _) = load_pvh_file_into(&packed, |_| None).expect("packed");
    assert_eq!(
        load_pvh_file_into(&plain, |_| None).expect("plain").0,
        image
    );
    assert_eq!((image.class, image.start()), (Class::Elf64, 0x100_0000));
    assert_eq!(image.guest_os, "linux");
}
