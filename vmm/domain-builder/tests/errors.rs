//! Domains that cannot be built, each with one clear line.

mod support;

use std::io::BufRead;

use noxen_domain_builder::{plan, BuildError, OutsideMemory, Ramdisk, MAX_PAGES};
use noxen_kernel_image::load;
use support::{asset, build, small_image, spec, Sparse};

fn refused(result: Result<impl Sized, BuildError>, text: &str) {
    let error = result
        .err()
        .unwrap_or_else(|| panic!("built, but wanted: {text}"));
    let line = error.to_string();
    assert!(
        line.contains(text) && !line.contains('\n'),
        "wanted \"{text}\" in: {line}"
    );
}

#[test]
fn ramdisk_larger_than_memory_names_what_would_do() {
    let (image, elf) = small_image(true);
    let ramdisk = vec![7; 100 << 20];
    let error = build(&image, &elf, &ramdisk, 64).err().expect("too small");
    let BuildError::TooSmall {
        memory_mib,
        kernel_mib,
        ramdisk_mib,
        needed_mib,
    } = error
    else {
        panic!("{error}")
    };
    assert_eq!((memory_mib, kernel_mib, ramdisk_mib), (64, 2, 100));
    // What the message asks for is enough, and one MiB less is not.
    assert!(
        build(&image, &elf, &ramdisk, needed_mib).is_ok(),
        "{needed_mib} MiB do not suffice"
    );
    refused(
        build(&image, &elf, &ramdisk, needed_mib - 1),
        &format!("set memory={needed_mib} or more"),
    );
}

#[test]
fn debian_kernel_in_too_little_memory_names_what_would_do() {
    let file = asset("linux-cloud/vmlinuz");
    let kernel = load(&file).expect("Debian's cloud kernel");
    let error = plan(&kernel.image, &spec(32, 0)).expect_err("too small");
    let BuildError::TooSmall { needed_mib, .. } = error else {
        panic!("{error}")
    };
    assert!((62..=70).contains(&needed_mib), "{error}");
    plan(&kernel.image, &spec(needed_mib, 0)).expect("enough");
    plan(&kernel.image, &spec(needed_mib - 1, 0)).expect_err("too small by one");
}

#[test]
fn memory_of_nothing_or_too_much_is_refused() {
    let (image, _) = small_image(true);
    refused(plan(&image, &spec(0, 0)), "no memory");
    let mut large = spec(64, 0);
    large.max_pages = MAX_PAGES + 1;
    refused(plan(&image, &large), "at most");
    let mut backwards = spec(64, 0);
    backwards.max_pages = 32 * 256;
    refused(plan(&image, &backwards), "maxmem=");
    refused(plan(&image, &spec(3, 0)), "set memory=");
    refused(plan(&image, &spec(64, u64::MAX)), "at most");
}

#[test]
fn command_line_that_does_not_fit_is_refused() {
    let (image, _) = small_image(true);
    let mut spec = spec(64, 0);
    let line = [b'x'; 1024];
    spec.cmdline = &line[..1023];
    plan(&image, &spec).expect("1023 bytes fit");
    spec.cmdline = &line;
    refused(plan(&image, &spec), "1024 bytes long; at most 1023");
    spec.cmdline = b"a\0b";
    refused(plan(&image, &spec), "NUL byte at 1");
}

#[test]
fn mapped_ramdisk_beyond_the_address_space_is_refused() {
    // Old kernels want it mapped after the image, and VIRT_BASE leaves 2 GiB.
    let (image, _) = small_image(false);
    refused(
        plan(&image, &spec(4096, 2 << 30)),
        "mapped from VIRT_BASE 0xffffffff80000000",
    );
    let (mut low, _) = small_image(false);
    low.virt_base = 0x7fff_c000_0000;
    low.entry = low.virt_base + 0x10_0000;
    low.hypercall_page = None;
    refused(plan(&low, &spec(4096, 2 << 30)), "mapped from VIRT_BASE");
}

#[test]
fn p2m_list_that_meets_something_is_refused() {
    let (mut image, _) = small_image(true);
    image.init_p2m = Some(0x7fff_ffff_f000);
    refused(plan(&image, &spec(64, 0)), "may not use");
    image.init_p2m = Some(image.virt_base - 0x10_0000);
    refused(
        plan(&image, &spec(64, 0)),
        "not below the 512 GiB that hold VIRT_BASE",
    );
}

#[test]
fn ramdisk_that_ends_early_or_changed_is_refused() {
    let (image, elf) = small_image(true);
    let spec = spec(64, 5000);
    let layout = plan(&image, &spec).expect("fits");
    let write = |len: u64, mut reader: &[u8]| {
        let reader: &mut dyn BufRead = &mut reader;
        layout.write(
            &image,
            &elf,
            Some(Ramdisk { len, reader }),
            &spec,
            &mut Sparse::new(spec.nr_pages),
        )
    };
    refused(
        write(5000, &[0; 4999]),
        "cannot read the ramdisk's 5000 bytes",
    );
    refused(write(4000, &[0; 4000]), "it changed meanwhile");
    write(5000, &[0; 5000]).expect("whole");
    refused(
        layout.write(&image, &elf, None, &spec, &mut Sparse::new(spec.nr_pages)),
        "it changed meanwhile",
    );
}

#[test]
fn memory_smaller_than_promised_and_foreign_elf_are_errors() {
    let (image, elf) = small_image(true);
    let spec = spec(64, 0);
    let layout = plan(&image, &spec).expect("fits");
    let result = layout.write(&image, &elf, None, &spec, &mut Sparse::new(512));
    assert!(matches!(
        result,
        Err(BuildError::Memory(OutsideMemory { .. }))
    ));
    refused(
        layout.write(
            &image,
            &&elf[..100],
            None,
            &spec,
            &mut Sparse::new(spec.nr_pages),
        ),
        "cannot read it",
    );
}
