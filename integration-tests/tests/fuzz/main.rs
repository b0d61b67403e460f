//! Bounded fuzzing on the stable toolchain: seeded, so that a failure repeats; the input is kept.
//!
//! ```text
//!   good input ── 1..8 mutations (flip, set, copy, cut, grow, number, word) ── target ── returns in time?
//! ```
//! `NOXEN_FUZZ_SECONDS` is the time for each target (default 4), `NOXEN_FUZZ_SEED` the first seed.

mod seeds;
mod targets;

use std::panic::{catch_unwind, AssertUnwindSafe};
use std::time::{Duration, Instant};

/// No input, however it is made, may keep a parser that long (unoptimised build, busy machine).
const LONGEST: Duration = Duration::from_secs(10);

/// Values that break arithmetic.
const NUMBERS: [u64; 12] = [
    0,
    1,
    3,
    4,
    0x7f,
    0xff,
    0xffff,
    0x7fff_ffff,
    0xffff_ffff,
    0x7fff_ffff_ffff_ffff,
    0xffff_ffff_ffff_f000,
    u64::MAX,
];

/// xorshift64*, George Marsaglia's; enough to choose mutations, and repeatable.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }
}

fn mutate(data: &mut Vec<u8>, words: &[&[u8]], random: &mut Random) {
    for _ in 0..=random.below(8) {
        if data.is_empty() {
            data.push(0);
        }
        // Headers come first in every format here: half of the changes go there.
        let reach = if random.below(2) == 0 {
            data.len().min(0x300)
        } else {
            data.len()
        };
        let at = random.below(reach);
        match random.below(8) {
            0 => data[at] ^= 1 << random.below(8),
            1 => data[at] = random.next() as u8,
            2 | 3 => {
                let number = NUMBERS[random.below(NUMBERS.len())].to_le_bytes();
                let width = [1, 2, 4, 8][random.below(4)].min(data.len() - at);
                data[at..at + width].copy_from_slice(&number[..width]);
            }
            4 => data.truncate(at),
            5 => {
                let length = random.below(64).min(data.len() - at);
                let piece = data[at..at + length].to_vec();
                let to = random.below(data.len());
                data.splice(to..to, piece);
            }
            6 => {
                let end = (at + random.below(64)).min(data.len());
                data.drain(at..end);
            }
            _ => {
                let word = words[random.below(words.len())];
                data.splice(at..at, word.iter().copied());
            }
        }
    }
}

/// Runs one target on mutations of `seeds` for the time given.
#[track_caller]
fn fuzz(name: &str, seeds: &[Vec<u8>], words: &[&[u8]]) {
    let target = targets::TARGETS
        .iter()
        .find(|(known, _)| *known == name)
        .unwrap()
        .1;
    let number = |variable: &str, default: u64| -> u64 {
        std::env::var(variable)
            .ok()
            .and_then(|text| text.parse().ok())
            .unwrap_or(default)
    };
    let budget = Duration::from_secs(number("NOXEN_FUZZ_SECONDS", 4));
    let first = number("NOXEN_FUZZ_SEED", 1);
    for seed in seeds {
        target(seed);
    }
    let start = Instant::now();
    let mut run = 0u64;
    while start.elapsed() < budget {
        // Every run has a seed of its own, so that it repeats without those before it.
        let mut random = Random((first + run).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let mut data = seeds[random.below(seeds.len())].clone();
        mutate(&mut data, words, &mut random);
        let began = Instant::now();
        let outcome = catch_unwind(AssertUnwindSafe(|| target(&data)));
        let took = began.elapsed();
        if outcome.is_err() || took > LONGEST {
            let path = std::env::temp_dir().join(format!("noxen-fuzz-{name}-{}", first + run));
            std::fs::write(&path, &data).unwrap();
            panic!(
                "{name}: {} (NOXEN_FUZZ_SEED={}; input kept in {})",
                if outcome.is_err() {
                    "panicked".to_owned()
                } else {
                    format!("took {took:?}")
                },
                first + run,
                path.display()
            );
        }
        run += 1;
    }
    println!("{name}: {run} inputs");
    assert!(run > 10, "only {run} inputs within {budget:?}");
}

#[test]
fn kernel_elf_of_any_bytes_returns() {
    let seeds = [seeds::elf64(false), seeds::elf64(true)];
    for seed in &seeds {
        let image = noxen_kernel_image::KernelImage::parse(seed).expect("the seed is good");
        image.require_pv().expect("the seed is a 64-bit PV kernel");
    }
    fuzz(
        "kernel_elf",
        &seeds,
        &[
            b"Xen\0",
            b"__xen_guest",
            b"VIRT_BASE=",
            b"0xffffffffffffffff",
            b"\x7fELF",
            b",",
        ],
    );
}

#[test]
fn kernel_file_of_any_bytes_returns() {
    let elf = seeds::elf64(false);
    let mut all: Vec<Vec<u8>> = seeds::PACKERS
        .iter()
        .map(|packer| seeds::bzimage(&elf, packer))
        .collect();
    all.push(seeds::packed(&elf, seeds::PACKERS[0]));
    for seed in &all {
        noxen_kernel_image::load(seed).expect("the seed is good");
    }
    fuzz(
        "kernel_file",
        &all,
        &[
            b"HdrS",
            b"\x1f\x8b\x08",
            b"\xfd7zXZ\0",
            b"BZh9",
            b"\x28\xb5\x2f\xfd",
        ],
    );
}

#[test]
fn xenstore_bytes_of_any_kind_return() {
    fuzz(
        "xenstore_wire",
        &[seeds::xenstore()],
        &[b"\0", b"/", b"@", b"n0\0", b"/local/domain/"],
    );
}

#[test]
fn xm_config_of_any_text_returns() {
    noxen_xm_config::load_source(
        seeds::CONFIG,
        "seed.cfg",
        &[],
        &noxen_xm_config::Options::default(),
    )
    .expect("the seed is good");
    let words: [&[u8]; 10] = [
        b"(",
        b"[",
        b"{",
        b"'''",
        b"\n    ",
        b"9",
        b"**",
        b" * 99999",
        b"lambda x: ",
        b"while True:\n",
    ];
    fuzz("xm_config", &[seeds::CONFIG.as_bytes().to_vec()], &words);
}

#[test]
fn sxp_of_any_text_returns_and_reads_back() {
    fuzz(
        "sxp",
        &[seeds::SXP.as_bytes().to_vec()],
        &[b"(", b")", b"'", b"\"", b"\\", b"((((((((", b"#", b" "],
    );
}

#[test]
fn saved_image_of_any_bytes_is_read_or_refused() {
    fuzz(
        "saved_image",
        &[
            targets::images::seed(),
            br#"{"tsc":1,"tsc_khz":1,"host_ns":1}"#.to_vec(),
        ],
        &[
            b"UNIT",
            b"MEMO",
            b"END.",
            b"\0\0\0\0",
            b"{",
            b"\"",
            b"9999999999999999999",
            b"[[[",
        ],
    );
}

#[test]
fn disk_ring_of_any_contents_returns() {
    fuzz(
        "disk_ring",
        &[targets::disks::seed()[..7 * 4096].to_vec()],
        &[b"\x01\0\0\0", b"\x06\x01"],
    );
}

#[test]
fn netif_rings_of_any_contents_return() {
    fuzz(
        "netif_rings",
        &[targets::rings::seed()],
        &[b"\x01\0\0\0", b"\x04\0"],
    );
}

#[test]
fn event_rings_of_any_contents_return() {
    fuzz(
        "event_rings",
        &[targets::rings::seed()[..5 * 4096].to_vec()],
        &[b"\x02\0\0\0", b"\x03\0"],
    );
}

#[test]
fn pc_devices_live_with_any_guest() {
    fuzz(
        "pc_devices",
        &targets::pc::seeds(),
        &[
            b"\x0e\0\0\0\0\0\0\0",
            b"\x0c\0\0\0\0\0\0\0",
            b"\xff\0\0\0\0\0\0\0",
        ],
    );
}

#[test]
fn vnc_viewer_of_any_kind_is_served_or_sent_away() {
    fuzz(
        "vnc_viewer",
        &seeds::vnc_viewer(),
        &[
            b"\x03\0\0\0\0\0\xff\xff\xff\xff",
            b"\xff\0",
            b"\x05\x80",
            b"\x02\0",
            b"RFB 003.003\n",
        ],
    );
}
