//! Our own LZMA, LZMA2 and branch filter against the xz program, over what its options can make.

mod support;

use noxen_kernel_image::KernelFile;
use support::{bzimage, code, run, Random};

/// Packs with xz and unpacks with ours.
fn round_trip(options: &[&str], bytes: &[u8]) -> Result<Vec<u8>, String> {
    let mut packed = run(&[&["xz", "-T1"], options].concat(), bytes);
    packed.extend((bytes.len() as u32).to_le_bytes());
    let file = bzimage(&packed);
    let opened = KernelFile::open(&file).map_err(|e| e.to_string())?;
    let unpacked = opened.unpack().map_err(|e| e.to_string())?.into_owned();
    // A buffer that is not known to be zero takes other ways through the decoder.
    let mut dirty = vec![0x5a; bytes.len()];
    opened.unpack_into(&mut dirty).map_err(|e| e.to_string())?;
    assert!(
        unpacked == dirty,
        "{options:?}: a dirty buffer gives other bytes"
    );
    Ok(unpacked)
}

fn same(options: &[&str], bytes: &[u8]) {
    match round_trip(options, bytes) {
        Ok(unpacked) => assert!(
            unpacked == bytes,
            "{options:?}: other bytes ({} in, {} out)",
            bytes.len(),
            unpacked.len()
        ),
        Err(error) => panic!("{options:?}: {error}"),
    }
}

/// Bytes in which every second one is an opcode of the branch filter or the end of a near target.
fn branches(size: usize, seed: u64) -> Vec<u8> {
    let mut random = Random(seed);
    let choice = [0xe8, 0xe9, 0x00, 0xff, 0x01, 0xfe, 0x7f];
    (0..size)
        .map(|_| {
            if random.below(2) == 0 {
                choice[random.below(choice.len())]
            } else {
                random.next() as u8
            }
        })
        .collect()
}

#[test]
fn xz_every_check_block_size_and_parameters_round_trip() {
    let bytes = code(300_000);
    for check in ["none", "crc32", "crc64"] {
        same(&[&format!("--check={check}")], &bytes);
    }
    same(&["--check=crc32", "--block-size=50000"], &bytes);
    // Several threads put the block sizes into the headers.
    same(&["--check=crc32", "--block-size=50000", "-T2"], &bytes);
    for parameters in [
        "lc=0,lp=0,pb=0",
        "lc=4,lp=0,pb=4",
        "lc=0,lp=4,pb=2",
        "lc=2,lp=2,pb=1",
        "dict=4KiB",
        "mode=fast,nice=16",
    ] {
        same(&["--check=crc32", &format!("--lzma2={parameters}")], &bytes);
    }
}

#[test]
fn xz_of_noise_zeros_and_next_to_nothing_round_trips() {
    let mut random = Random(3);
    let noise: Vec<u8> = (0..200_000).map(|_| random.next() as u8).collect();
    same(&["--check=crc32"], &noise); // stored chunks
    let mixed = [
        &noise[..70_000],
        &code(300_000),
        &noise[70_000..],
        &vec![0; 3_000_000],
    ]
    .concat();
    same(&["--check=crc32"], &mixed);
    same(&["--check=crc32", "--x86", "--lzma2"], &mixed);
    for size in [1, 2, 4, 5, 6, 100] {
        same(
            &["--check=crc32", "--x86", "--lzma2"],
            &branches(size, size as u64),
        );
    }
}

#[test]
fn xz_branch_filter_agrees_on_dense_opcodes() {
    for seed in 0..40 {
        same(
            &["--check=crc32", "--x86", "--lzma2=mode=fast,mf=hc3,nice=8"],
            &branches(30_000, seed),
        );
    }
    same(
        &["--check=crc32", "--x86=start=4096", "--lzma2"],
        &branches(50_000, 99),
    );
    same(
        &["--check=crc32", "--block-size=10000", "--x86", "--lzma2"],
        &branches(50_000, 98),
    );
}

#[test]
fn xz_filters_and_checks_that_kernels_do_not_use_are_named() {
    let bytes = code(1000);
    let refused = |options: &[&str], text: &str| {
        let error = round_trip(options, &bytes).expect_err(text);
        assert!(error.contains(text), "{error}");
    };
    refused(&["--check=sha256"], "SHA-256");
    refused(
        &["--check=crc32", "--delta=dist=4", "--lzma2"],
        "filter 0x3",
    );
    refused(&["--check=crc32", "--arm", "--lzma2"], "filter 0x7");
}

#[test]
fn lzma_with_known_and_unknown_size_and_any_parameters_round_trips() {
    let bytes = code(200_000);
    for parameters in ["lc=3", "lc=4", "lc=0,lp=4,pb=4"] {
        let options = ["--format=lzma", &format!("--lzma1={parameters}")];
        let result = round_trip(&options, &bytes);
        if parameters == "lc=3" {
            assert!(result.expect("Linux's parameters") == bytes);
        } else {
            // Only lc=3, lp=0, pb=2 makes the first byte that Linux recognises as lzma.
            assert!(result
                .expect_err("other parameters")
                .contains("unknown way"));
        }
    }
    // The size in the header: known, and wrong.
    let mut packed = run(&["xz", "--format=lzma"], &bytes);
    packed.extend((bytes.len() as u32).to_le_bytes());
    packed[5..13].copy_from_slice(&(bytes.len() as u64).to_le_bytes());
    let unpack = |packed: &[u8]| {
        KernelFile::open(&bzimage(packed)).and_then(|k| k.unpack().map(|u| u.into_owned()))
    };
    assert!(unpack(&packed).expect("known size and marker") == bytes);
    packed[5..13].copy_from_slice(&(bytes.len() as u64 + 1).to_le_bytes());
    assert!(unpack(&packed)
        .expect_err("wrong size")
        .to_string()
        .contains("declares"));
}
