//! Fuzzing in bounded time: real and made images with their headers, notes and payloads changed at random. Whatever comes
//! out, nothing panics, nothing runs away with memory or time, and what is accepted is sound.
//!
//! One run has a fixed seed, so that it is the same everywhere; the other has a fresh one, printed on failure. For longer:
//! `NOXEN_FUZZ_SECONDS=600 cargo test -p noxen-kernel-image --test mutation`. The same targets exist for cargo-fuzz in
//! `fuzz/`.

mod support;

use std::ops::Range;
use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use noxen_kernel_image::{load, Compression, KernelError, KernelImage};
use support::{asset, bzimage, code, elf_bytes, note, pack, Load, Random, TestKernel};

/// An image and the parts of it that are worth changing.
struct Seed {
    name: String,
    bytes: Vec<u8>,
    hot: Vec<Range<usize>>,
    /// The bytes are an unpacked ELF, for `KernelImage::parse`; else a file, for `load`.
    elf: bool,
}

fn seeds() -> Vec<Seed> {
    let mut seeds = Vec::new();
    let mut add = |name: &str, bytes: Vec<u8>, hot: Vec<Range<usize>>, elf| {
        let hot = hot
            .into_iter()
            .map(|r| r.start.min(bytes.len() - 1)..r.end.min(bytes.len()))
            .filter(|r| !r.is_empty())
            .collect();
        seeds.push(Seed {
            name: name.into(),
            bytes,
            hot,
            elf,
        });
    };
    for name in ["grub-x86_64-xen.bin", "grub-i386-xen.bin"] {
        let bytes = asset(name);
        let notes = find(&bytes, b"Xen\0") - 12;
        add(name, bytes, vec![0..0x260, notes..notes + 0x84], true);
    }
    for name in ["gnumach-amd64.gz", "gnumach-i386.gz", "linux-cloud/vmlinuz"] {
        let file = asset(name);
        let bytes = elf_bytes(&load(&file).expect("a good image")).to_vec();
        let notes = find(
            &bytes,
            if name.starts_with("linux") {
                b"\x04\0\0\0\x06\0\0\0\x06\0\0\0Xen\0"
            } else {
                b"GUEST_OS="
            },
        );
        let sections = u64::from_le_bytes(bytes[40..48].try_into().expect("8 bytes")) as usize;
        let sections = if bytes[4] == 2 {
            sections
        } else {
            u32::from_le_bytes(bytes[32..36].try_into().expect("4 bytes")) as usize
        };
        add(
            name,
            bytes,
            vec![0..0x160, notes..notes + 0x200, sections..sections + 40 * 64],
            true,
        );
    }
    let small = TestKernel {
        loads: vec![Load {
            paddr: 0x10_0000,
            data: code(3000),
            memsz: 9000,
        }],
        notes: TestKernel::default()
            .notes
            .into_iter()
            .filter(|(k, _)| *k != note::HYPERCALL_PAGE)
            .collect(),
        ..TestKernel::default()
    };
    let elf = small.build();
    let legacy = TestKernel { notes: vec![], legacy: Some("XEN_VER=xen-3.0,LOADER=generic,VIRT_BASE=0xffffffff80000000,ELF_PADDR_OFFSET=0x0,VIRT_ENTRY=0xffffffff80100000,PAE=yes,FEATURES=dom0|!writable_page_tables".into()), ..small.clone() }.build();
    let size = legacy.len();
    add(
        "legacy section",
        legacy,
        vec![0..120, size - 400..size],
        true,
    );
    for compression in Compression::ALL {
        let file = bzimage(&pack(compression, &elf));
        let end = file.len() - 100;
        // The boot header, the payload's head and tail, and all of it.
        add(
            &format!("bzImage {compression}"),
            file,
            vec![0x1f0..0x250, 0x640..0x680, end - 40..end, 0x640..end],
            false,
        );
    }
    add(
        "gzipped ELF",
        pack(Compression::Gzip, &elf),
        vec![0..20, 0..4000],
        false,
    );
    seeds
}

fn find(bytes: &[u8], needle: &[u8]) -> usize {
    bytes
        .windows(needle.len())
        .position(|w| w == needle)
        .expect("the image has its notes")
}

/// Numbers at which parsers break.
const EDGES: [u64; 18] = [
    0,
    1,
    3,
    4,
    0x7f,
    0xff,
    0xfff,
    0x1000,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0xffff_ffff,
    0xffff_fffc,
    1 << 47,
    0xffff_8000_0000_0000,
    u64::MAX - 4095,
    u64::MAX - 7,
    u64::MAX,
];

/// Changes up to four places; gives what was there.
fn mutate(seed: &mut Seed, random: &mut Random) -> Vec<(usize, Vec<u8>)> {
    let mut undo = Vec::new();
    for _ in 0..=random.below(4) {
        let hot = seed.hot[random.below(seed.hot.len())].clone();
        let at = hot.start + random.below(hot.len());
        let width = [1, 1, 2, 4, 4, 8, 16][random.below(7)].min(seed.bytes.len() - at);
        // Fields are mostly aligned.
        let at = if random.below(3) > 0 {
            at - at % width
        } else {
            at
        };
        let target = &mut seed.bytes[at..at + width];
        undo.push((at, target.to_vec()));
        match random.below(4) {
            0 => target[random.below(width)] ^= 1 << random.below(8),
            1 => target.iter_mut().for_each(|b| *b = random.next() as u8),
            2 => {
                let edge = EDGES[random.below(EDGES.len())].to_le_bytes();
                target.iter_mut().zip(edge).for_each(|(b, e)| *b = e);
            }
            _ => {
                let step = random.below(9) as u8;
                target[0] = target[0].wrapping_add(step).wrapping_sub(4);
            }
        }
    }
    undo
}

/// What a caller may rely on.
fn check_accepted(image: &KernelImage, elf: &[u8]) {
    let (start, end) = (
        image.virt_base + image.start_offset(),
        image.virt_base + image.end_offset(),
    );
    assert!((start..end).contains(&image.entry));
    assert!(image.virt_base.is_multiple_of(4096));
    for s in &image.segments {
        assert!(s.file.end <= elf.len() && s.file.len() as u64 <= s.memsz && s.memsz > 0);
    }
    assert!(image
        .segments
        .windows(2)
        .all(|w| w[0].offset + w[0].memsz <= w[1].offset));
    if let Some(page) = image.hypercall_page {
        assert!(page.is_multiple_of(4096) && page >= start && page + 4096 <= end);
    }
    if let Some(p2m) = image.init_p2m {
        assert!(p2m.is_multiple_of(4096) && p2m < image.virt_base);
    }
    assert!(image.guest_os.len() <= 8192 && !image.to_string().contains('\x1b'));
}

fn try_one(seed: &Seed, cut: usize) -> Result<(), KernelError> {
    let bytes = &seed.bytes[..cut];
    if seed.elf {
        check_accepted(&KernelImage::parse(bytes)?, bytes);
    } else {
        let kernel = load(bytes)?;
        check_accepted(&kernel.image, elf_bytes(&kernel));
    }
    Ok(())
}

/// Runs until `limit` says stop; gives the number of images tried and taken.
fn fuzz(number: u64, mut limit: impl FnMut(usize) -> bool) -> (usize, usize) {
    let mut seeds = seeds();
    let mut random = Random(number);
    let (mut tried, mut taken) = (0, 0);
    while !limit(tried) {
        let which = random.below(seeds.len());
        let seed = &mut seeds[which];
        let undo = mutate(seed, &mut random);
        let cut = if random.below(8) == 0 {
            random.below(seed.bytes.len() + 1)
        } else {
            seed.bytes.len()
        };
        let result = catch_unwind(AssertUnwindSafe(|| try_one(seed, cut)));
        match result {
            Ok(Ok(())) => taken += 1,
            Ok(Err(error)) => {
                let line = error.to_string();
                assert!(
                    line.len() < 600 && !line.contains(['\n', '\x1b']),
                    "seed {number}: {line:?}"
                );
            }
            Err(panic) => {
                eprintln!(
                    "image {} with {undo:x?} cut at {cut}: seed {number}, try {tried}",
                    seed.name
                );
                resume_unwind(panic);
            }
        }
        for (at, bytes) in undo.into_iter().rev() {
            seed.bytes[at..at + bytes.len()].copy_from_slice(&bytes);
        }
        tried += 1;
    }
    (tried, taken)
}

/// Peak resident memory of this process, in KiB.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux has it");
    let line = status
        .lines()
        .find(|l| l.starts_with("VmHWM:"))
        .expect("it names the peak");
    line.split_whitespace()
        .nth(1)
        .and_then(|n| n.parse().ok())
        .expect("a number")
}

#[test]
fn mutated_images_never_panic_nor_run_away() {
    // Both runs in one test: memory is counted for the whole process.
    let (tried, taken) = fuzz(20_260_101, |n| n >= 6_000);
    assert_eq!(tried, 6_000);
    // Some mutations do not matter, most do: else the mutations would be in the wrong places.
    assert!(
        taken > 300 && taken < 5_000,
        "{taken} of {tried} images were taken"
    );

    let seconds = std::env::var("NOXEN_FUZZ_SECONDS")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or(4);
    let deadline = Instant::now() + Duration::from_secs(seconds);
    let fresh = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(1, |d| d.as_nanos() as u64);
    println!("fresh seed {fresh}");
    let (tried, _) = fuzz(fresh, |_| Instant::now() >= deadline);
    assert!(
        tried > 100,
        "only {tried} images in {seconds} s: one of them runs away with time"
    );

    // The largest seed is 53 MB, unpacked from 14 MB, twice.
    assert!(peak_kib() < 400 << 10, "the peak is {} KiB", peak_kib());
}
