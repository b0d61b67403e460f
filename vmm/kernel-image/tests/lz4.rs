//! Our own LZ4 against the lz4 program, with buffers that are known to be zero and with others.

mod support;

use noxen_kernel_image::KernelFile;
use support::{bzimage, code, run, Random};

fn check(packed: &[u8], bytes: &[u8], what: &str) {
    let payload = [packed, &(bytes.len() as u32).to_le_bytes()].concat();
    let file = bzimage(&payload);
    let opened = KernelFile::open(&file).unwrap_or_else(|e| panic!("{what}: {e}"));
    let unpacked = opened.unpack().unwrap_or_else(|e| panic!("{what}: {e}"));
    assert!(*unpacked == *bytes, "{what}: other bytes");
    let mut dirty = vec![0x5a; bytes.len()];
    opened
        .unpack_into(&mut dirty)
        .unwrap_or_else(|e| panic!("{what}: {e}"));
    assert!(
        dirty == bytes,
        "{what}: other bytes in a buffer that was not zero"
    );
}

fn pack(level: &str, bytes: &[u8]) -> Vec<u8> {
    run(&["lz4", "-l", level, "-c", "-q"], bytes)
}

#[test]
fn lz4_of_code_noise_zeros_and_patterns_round_trips() {
    let mut random = Random(11);
    let noise: Vec<u8> = (0..100_000).map(|_| random.next() as u8).collect();
    let mixed = [
        code(50_000),
        vec![0; 70_001],
        noise.clone(),
        vec![0; 300],
        code(3000),
        vec![0xff; 5000],
    ]
    .concat();
    for level in ["-1", "-9", "-12"] {
        for bytes in [&noise, &mixed, &vec![0; 400_000], &code(200_000)] {
            check(&pack(level, bytes), bytes, level);
        }
        for size in [1, 5, 12, 13, 16, 17, 33, 64] {
            check(&pack(level, &code(size)), &code(size), "small");
        }
    }
}

#[test]
fn lz4_matches_of_every_short_distance_round_trip() {
    for period in 1..70 {
        let mut bytes = code(100);
        let pattern: Vec<u8> = (0..period).map(|i| i as u8 ^ 0x35).collect();
        bytes.extend(pattern.iter().cycle().take(1000 + period * 7));
        bytes.extend(vec![0; 100]);
        bytes.extend(pattern.iter().cycle().take(period + 19));
        check(&pack("-9", &bytes), &bytes, &format!("period {period}"));
    }
}

#[test]
fn lz4_of_several_blocks_and_frames_round_trips() {
    let long = [
        code(5 << 20),
        vec![0; 6 << 20],
        code(1 << 20),
        vec![0; 3 << 20],
    ]
    .concat();
    check(&pack("-1", &long), &long, "two blocks");
    // Concatenated frames: each ends with a short block, behind which the next one starts.
    let parts = [code(1000), vec![0; 5000], code(777), vec![0; 100], code(3)];
    let packed: Vec<u8> = parts.iter().flat_map(|p| pack("-9", p)).collect();
    check(&packed, &parts.concat(), "frames");
}
