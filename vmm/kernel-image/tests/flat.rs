//! Images that are entered without paging: PVH kernels.

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
