//! Kernels whose headers and notes were changed at random: whatever the parser takes, the builder builds inside the domain's
//! memory or refuses, and never panics.

#[path = "../../kernel-image/tests/support/mod.rs"]
mod kernels;
mod support;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use kernels::{note, Load, Random, TestKernel};
use noxen_kernel_image::KernelImage;
use support::build;

const BASES: [u64; 8] = [
    0,
    0x4000_0000,
    0x7fff_ff00_0000,
    0xffff_8800_0000_0000,
    0xffff_ffff_8000_0000,
    0xffff_ffff_fff0_0000,
    0x7f_ffff_f000,
    1 << 39,
];

/// A kernel with random bases, segments and wishes; many are good.
fn kernel(random: &mut Random) -> Vec<u8> {
    let base = BASES[random.below(BASES.len())] + 4096 * random.below(3) as u64;
    let first = 4096 * random.below(2048) as u64 + random.below(2) as u64 * 24;
    let mut at = first;
    let loads: Vec<Load> = (0..1 + random.below(4))
        .map(|_| {
            let data = vec![0xab; random.below(9000)];
            let memsz = data.len() as u64
                + 1
                + if random.below(3) == 0 {
                    random.below(1 << 24) as u64
                } else {
                    100
                };
            let load = Load {
                paddr: at,
                data,
                memsz,
            };
            at += memsz + random.below(3) as u64 * 4096;
            load
        })
        .collect();
    let mut kernel = TestKernel {
        loads,
        ..TestKernel::default()
    }
    .with_number(note::VIRT_BASE, base)
    .with_number(note::ENTRY, base.wrapping_add(first))
    .without(note::HYPERCALL_PAGE);
    if random.below(2) == 0 {
        kernel = kernel.with_number(
            note::INIT_P2M,
            base.wrapping_sub(4096 * (1 + random.below(1 << 28)) as u64),
        );
    }
    if random.below(2) == 0 {
        kernel = kernel.with_number(16, 1); // MOD_START_PFN
    }
    let mut bytes = kernel.build();
    if random.below(4) == 0 {
        let at = random.below(bytes.len().min(1000));
        bytes[at] ^= 1 << random.below(8);
    }
    bytes
}

/// Builds as many as `go_on` allows; gives those tried and those built.
fn build_many(seed: u64, mut go_on: impl FnMut(usize) -> bool) -> (usize, usize) {
    let mut random = Random(seed);
    let (mut tried, mut built) = (0, 0);
    while go_on(tried) {
        let elf = kernel(&mut random);
        let ramdisk = vec![0xcd; [0, 1, 5000, 3 << 20][random.below(4)]];
        let mib = [1, 3, 8, 17, 40][random.below(5)];
        // On a panic the harness shows this line.
        println!("seed {seed}, try {tried}");
        if let Ok(image) = KernelImage::parse(&elf) {
            // The walk inside `build` checks user bits, and that each table and frame is inside memory.
            match build(&image, &elf, &ramdisk, mib) {
                Ok(domain) => {
                    assert!(domain.layout.free_pfn <= mib * 256);
                    assert_eq!(
                        domain.space.pages[&(image.entry & !0xfff)].gpa / 4096,
                        (image.entry - image.virt_base) / 4096
                    );
                    built += 1;
                }
                Err(error) => assert!(!error.to_string().contains('\n')),
            }
        }
        tried += 1;
    }
    (tried, built)
}

#[test]
fn random_kernels_are_built_inside_memory_or_refused() {
    let (tried, built) = build_many(1, |n| n < 600);
    assert!(built > tried / 20, "only {built} of {tried} were built");
    let deadline = Instant::now() + Duration::from_secs(3);
    let fresh = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(2, |d| d.as_nanos() as u64);
    build_many(fresh, |_| Instant::now() < deadline);
}
