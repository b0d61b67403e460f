//! The first domain of a kernel pays for unpacking it, later ones do not.

use crate::{in_lab, LIMIT};
use noxen_integration_tests::assets::{self, Flavour};
use noxen_integration_tests::guest::Domain;
use noxen_integration_tests::node::Node;
use noxen_integration_tests::wait;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::SystemTime;

/// Inode, size and time of last use of each cached kernel.
fn cached(node: &Node) -> Vec<(u64, u64, SystemTime)> {
    let directory = node.root().join("var/cache/noxen/kernels");
    let mut kernels = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten() {
        let about = entry.unwrap().metadata().unwrap();
        assert_eq!(about.mode() & 0o7777, 0o600);
        kernels.push((about.ino(), about.len(), about.modified().unwrap()));
    }
    kernels
}

fn starts(node: &Node, name: &str, kernel: &Path) {
    let mut domain = Domain::debian(name, Flavour::Generic).unwrap();
    domain.kernel = kernel.to_owned();
    let mut console = node.create_on_console(&domain).unwrap();
    console.expect("NOXEN-INIT up", LIMIT).unwrap();
    node.toolctl(&["destroy", name]).ok();
}

#[test]
fn kernel_is_unpacked_once_and_again_only_when_its_file_changes() {
    in_lab();
    let node = Node::new().unwrap();
    let kernel = node.root().join("vmlinuz");
    fs::copy(assets::vmlinuz(Flavour::Generic).unwrap(), &kernel).unwrap();
    starts(&node, "first", &kernel);
    let [(inode, size, used)] = wait::until("the cached kernel", LIMIT, || {
        <[_; 1]>::try_from(cached(&node)).ok()
    });
    let unpacked = assets::vmlinux(Flavour::Generic).unwrap();
    assert_eq!(size, fs::metadata(unpacked).unwrap().len());

    starts(&node, "second", &kernel);
    let after = cached(&node);
    assert_eq!(after.len(), 1, "{after:?}");
    assert_eq!((after[0].0, after[0].1), (inode, size));
    assert!(after[0].2 > used, "the second domain did not use it");

    // Another file of the same content, with other times, at the same path.
    let fresh = node.root().join("fresh");
    fs::copy(&kernel, &fresh).unwrap();
    fs::rename(&fresh, &kernel).unwrap();
    let mut third = Domain::debian("third", Flavour::Generic).unwrap();
    third.kernel = kernel;
    let config = node.config(&third).unwrap();
    node.toolctl(&["create", "-p", &config]).ok();
    wait::until("the kernel cached anew", LIMIT, || {
        (cached(&node).len() == 2).then_some(())
    });
    node.toolctl(&["destroy", "third"]).ok();
}
