//! `toolctl image`: what a saved domain's file holds, and what it says of one that is none.

mod common;

use common::*;

/// A file that the format's own tests keep.
const GOLDEN: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../vmm/saved-image/tests/golden/format-1.img"
);

#[test]
fn image_prints_what_a_file_holds() {
    let root = Root::new();
    let ran = root.run(&["image", GOLDEN]);
    assert_eq!(ran.status, Some(0), "{}", ran.err);
    for line in [
        "written by             : noxen-vmm 0.1.0",
        "vcpus                  : 2",
        "memory (MiB)           : 1",
        "ram kept (KiB)         : 4",
        "configuration          : (domain (name saved) (memory 1))",
    ] {
        assert!(ran.out.lines().any(|l| l == line), "{line}\n{}", ran.out);
    }
    let ran = root.run(&["image", "--json", GOLDEN]);
    let value: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(value["header"]["format"], 1);
    assert_eq!(value["memory"]["ram"]["kept_bytes"], 4096);
    assert_eq!(value["vcpus"][1]["id"], 1);
}

#[test]
fn image_tells_what_compressed_memory_takes() {
    let golden = GOLDEN.replace("format-1", "zstd-2");
    let root = Root::new();
    let ran = root.run(&["image", &golden]);
    for line in [
        "format                 : 2",
        "ram kept (KiB)         : 12",
        "zstd, together (KiB)   : 0",
    ] {
        assert!(ran.out.lines().any(|l| l == line), "{line}\n{}", ran.out);
    }
    let ran = root.run(&["image", "--json", &golden]);
    let value: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert!(
        (1..200).contains(&value["packed_bytes"].as_u64().unwrap()),
        "{value}"
    );
    assert_eq!(value["memory"]["ram"]["kept_bytes"], 3 * 4096);
}

#[test]
fn image_of_a_damaged_or_foreign_file_is_one_line() {
    let root = Root::new();
    let mut bytes = std::fs::read(GOLDEN).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let damaged = root.path().join("damaged");
    std::fs::write(&damaged, &bytes).unwrap();
    let foreign = root.file("foreign", "kernel = '/vmlinuz'\n");
    for (file, word) in [
        (damaged.to_str().unwrap(), "is damaged (checksum)"),
        (foreign.as_str(), "not a valid guest state file: found"),
        ("/nonexistent", "Unable to read file /nonexistent"),
    ] {
        let ran = root.run(&["image", file]);
        assert_eq!(ran.status, Some(1), "{file}");
        assert!(
            ran.err.contains(word) && ran.err.lines().count() == 1,
            "{}",
            ran.err
        );
    }
}
