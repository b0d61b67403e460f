//! Containers and the seven compressions: whole, cut short, damaged, lying.

mod support;

use noxen_kernel_image::{load, Compression, Container, KernelError, KernelFile};
use support::{bzimage, code, elf_bytes, pack, Load, Random, TestKernel};

/// A kernel of some 200 KB, so that every packer makes several blocks or a good many symbols of it.
fn kernel() -> Vec<u8> {
    TestKernel {
        loads: vec![Load {
            paddr: 0x10_0000,
            data: code(200_000),
            memsz: 300_000,
        }],
        ..TestKernel::default()
    }
    .build()
}

#[test]
fn bzimage_each_compression_unpacks_to_the_elf() {
    let elf = kernel();
    for compression in Compression::ALL {
        let file = bzimage(&pack(compression, &elf));
        let kernel = load(&file).unwrap_or_else(|e| panic!("{compression}: {e}"));
        assert_eq!(kernel.container, Container::BzImage(Some(compression)));
        assert!(
            *elf_bytes(&kernel) == elf,
            "{compression}: other bytes than packed"
        );
        assert_eq!(kernel.image.guest_os, "test");
    }
}

#[test]
fn plain_and_gzipped_elf_and_bare_payload_are_read() {
    let elf = kernel();
    assert_eq!(load(&elf).expect("plain ELF").container, Container::Elf);
    let gzipped = pack(Compression::Gzip, &elf);
    assert_eq!(
        load(&gzipped).expect("gzipped ELF").container,
        Container::Packed(Compression::Gzip)
    );
    assert_eq!(
        load(&bzimage(&elf)).expect("bare payload").container,
        Container::BzImage(None)
    );
}

#[test]
fn truncated_payload_each_compression_is_one_clear_error() {
    let elf = kernel();
    for compression in Compression::ALL {
        let packed = pack(compression, &elf);
        let suffix = usize::from(compression != Compression::Gzip) * 4;
        let stream = &packed[..packed.len() - suffix];
        let step = (stream.len() / 60).max(1);
        let cuts = (compression.magic().len()..stream.len() - 1)
            .step_by(step)
            .chain(stream.len().saturating_sub(40)..stream.len() - 1);
        for cut in cuts {
            let mut short = stream[..cut].to_vec();
            short.extend((elf.len() as u32).to_le_bytes());
            if short == packed {
                continue; // gzip without its last four bytes, which are the size
            }
            match load(&bzimage(&short)) {
                Err(e) => assert_one_line(&e, compression),
                Ok(_) => panic!("{compression} cut at {cut} of {} was taken", stream.len()),
            }
        }
    }
}

#[test]
fn corrupted_payload_each_compression_is_an_error_or_no_damage() {
    let elf = kernel();
    let mut random = Random(7);
    for compression in Compression::ALL {
        // These two carry no checksum: a flipped literal cannot be seen, so only the size and sane behaviour count.
        let unchecked = matches!(compression, Compression::Lzma | Compression::Lz4);
        let packed = pack(compression, &elf);
        let mut refused = 0;
        for round in 0..200 {
            let mut damaged = packed.clone();
            let at =
                compression.magic().len() + random.below(damaged.len() - compression.magic().len());
            match round % 3 {
                0 => damaged[at] ^= 1 << random.below(8),
                1 => damaged[at] = random.next() as u8,
                _ => {
                    let end = (at + 1 + random.below(64)).min(damaged.len());
                    damaged[at..end]
                        .iter_mut()
                        .for_each(|b| *b = random.next() as u8);
                }
            }
            let file = bzimage(&damaged);
            let opened = KernelFile::open(&file);
            match opened.and_then(|k| k.unpack().map(|u| u.into_owned())) {
                Err(e) => {
                    refused += 1;
                    assert_one_line(&e, compression);
                }
                Ok(bytes) if unchecked => assert!(bytes.len() <= packed.len() * 8192),
                Ok(bytes) => assert!(bytes == elf, "{compression}: damage at {at} went unnoticed"),
            }
        }
        assert!(
            refused > 20,
            "{compression}: only {refused} of 200 damaged payloads refused"
        );
    }
}

#[test]
fn size_suffix_that_lies_is_an_error() {
    let elf = kernel();
    for compression in Compression::ALL {
        for wrong in [0, 1, elf.len() as u32 - 1, elf.len() as u32 + 1, u32::MAX] {
            let mut packed = pack(compression, &elf);
            let at = packed.len() - 4;
            packed[at..].copy_from_slice(&wrong.to_le_bytes());
            let error =
                load(&bzimage(&packed)).expect_err(&format!("{compression} with size {wrong}"));
            assert_one_line(&error, compression);
            if wrong == u32::MAX {
                assert!(
                    matches!(error, KernelError::ClaimsTooMuch { .. }),
                    "{error}"
                );
            }
        }
    }
}

#[test]
fn unknown_compression_is_named_by_its_first_bytes() {
    let error = load(&bzimage(b"\x13\x37PACKED BY NOBODY")).expect_err("no such compression");
    assert!(error.to_string().contains("13 37 50 41 43 4b"), "{error}");
    assert!(matches!(error, KernelError::UnknownCompression { .. }));
}

#[test]
fn bare_archive_other_than_gzip_is_named() {
    for compression in Compression::ALL
        .into_iter()
        .filter(|c| *c != Compression::Gzip)
    {
        let error = load(&pack(compression, b"not an ELF anyway")).expect_err("bare archive");
        assert_eq!(error, KernelError::BareArchive(compression));
    }
}

#[test]
fn files_that_are_no_kernels_are_refused_with_what_they_are() {
    for (file, text) in [
        (&b""[..], "is empty"),
        (b"#!/bin/sh\n", "script"),
        (b"070701000000", "cpio"),
        (b"hello world", "68 65 6c 6c 6f 20"),
        (b"MZ", "PE/EFI"),
    ] {
        let error = load(file).expect_err("not a kernel");
        assert!(matches!(error, KernelError::NotAKernel { .. }));
        assert!(error.to_string().contains(text), "{error}");
    }
}

#[test]
fn gzip_of_something_else_is_not_a_kernel() {
    let error = load(&pack(Compression::Gzip, b"just text, but enough of it")).expect_err("text");
    assert!(matches!(error, KernelError::Elf(_)), "{error}");
}

#[test]
fn bzimage_with_old_protocol_or_payload_outside_is_refused() {
    let good = bzimage(&pack(Compression::Gzip, &kernel()));
    let mut old = good.clone();
    old[0x206] = 7;
    assert_eq!(
        load(&old).expect_err("2.07"),
        KernelError::OldBzImage { major: 2, minor: 7 }
    );
    for cut in [0x206, 0x24f, 0x600, good.len() - 200] {
        let error = load(&good[..cut]).expect_err("cut file");
        assert!(
            matches!(error, KernelError::PayloadOutside { .. }),
            "cut at {cut}: {error}"
        );
    }
    let mut far = good.clone();
    far[0x248..0x24c].copy_from_slice(&u32::MAX.to_le_bytes());
    far[0x24c..0x250].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(matches!(
        load(&far).expect_err("far payload"),
        KernelError::PayloadOutside { .. }
    ));
}

fn assert_one_line(error: &KernelError, compression: Compression) {
    let text = error.to_string();
    assert!(
        !text.contains('\n') && text.len() < 300,
        "not one short line: {text}"
    );
    // A damaged size, magic or header may be refused before or after the unpacker itself ran.
    assert!(
        text.contains(&compression.to_string())
            || matches!(error, KernelError::UnknownCompression { .. }),
        "{compression} not named: {text}"
    );
}
