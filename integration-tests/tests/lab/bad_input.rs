//! What cannot work is refused in one clear line and leaves nothing behind.

use crate::{in_lab, LIMIT};
use noxen_integration_tests::assets::{self, Flavour};
use noxen_integration_tests::guest::Domain;
use noxen_integration_tests::node::Node;
use noxen_integration_tests::wait;
use std::path::PathBuf;

fn debian(name: &str) -> Domain {
    Domain::debian(name, Flavour::Cloud).unwrap().memory(160)
}

/// `create` must fail with status 1 and one line that holds one of `words`; afterwards nothing is there.
#[track_caller]
fn refused(node: &Node, what: &str, domain: &Domain, words: &[&str]) {
    let config = node.config(domain).unwrap();
    refused_command(node, what, &["create", "-q", &config], words);
}

#[track_caller]
fn refused_command(node: &Node, what: &str, args: &[&str], words: &[&str]) {
    let said = node.toolctl(args);
    assert_eq!(said.status, 1, "{what}: {said:?}");
    let lines: Vec<&str> = said
        .stderr
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    assert_eq!(lines.len(), 1, "{what}: {said:?}");
    assert!(lines[0].starts_with("Error: "), "{what}: {said:?}");
    let lower = lines[0].to_lowercase();
    assert!(
        words
            .iter()
            .any(|word| lower.contains(&word.to_lowercase())),
        "{what}: none of {words:?} in {said:?}"
    );
    println!("{what}: {}", lines[0]);
    assert!(node.domains().is_empty(), "{what}: a domain is left");
    wait::until(&format!("{what}: the end of noxen-vmm"), LIMIT, || {
        node.processes_of("noxen-vmm").is_empty().then_some(())
    });
    let run = node.root().join("var/run/noxen/domains");
    let left: Vec<_> = std::fs::read_dir(&run)
        .into_iter()
        .flatten()
        .flatten()
        .map(|e| e.path())
        .collect();
    assert!(left.is_empty(), "{what}: {left:?}");
}

/// A copy of a file, changed.
fn changed(
    node: &Node,
    name: &str,
    original: PathBuf,
    change: impl FnOnce(&mut Vec<u8>),
) -> PathBuf {
    let mut bytes = std::fs::read(original).unwrap();
    change(&mut bytes);
    let path = node.root().join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn kernels_that_are_none_are_refused() {
    in_lab();
    let node = Node::new().unwrap();
    let with = |kernel: PathBuf| Domain {
        kernel,
        ..debian("bad")
    };
    refused(
        &node,
        "no such kernel",
        &with("/nonexistent/vmlinuz".into()),
        &["does not exist", "no such file"],
    );
    refused(
        &node,
        "not a kernel",
        &with("/etc/passwd".into()),
        &["kernel"],
    );
    refused(
        &node,
        "an empty file",
        &with("/dev/null".into()),
        &["kernel", "empty", "regular"],
    );
    refused(
        &node,
        "a directory",
        &with("/etc".into()),
        &["directory", "regular", "kernel"],
    );
    refused(
        &node,
        "an ELF program",
        &with(assets::busybox().unwrap()),
        &["xen", "note"],
    );
    // Nothing but the word in its PAE_MODE note is another one.
    let no_pae = changed(&node, "no-pae", assets::grub_i386_xen().unwrap(), |bytes| {
        let yes = bytes.windows(4).rposition(|word| word == b"yes\0").unwrap();
        bytes[yes..yes + 3].copy_from_slice(b"no\0");
    });
    refused(
        &node,
        "a 32-bit kernel without PAE",
        &with(no_pae),
        &["without pae"],
    );
    for flavour in Flavour::ALL {
        let image = assets::vmlinuz(flavour).unwrap();
        let half = changed(&node, "half", image.clone(), |bytes| {
            bytes.truncate(bytes.len() / 2)
        });
        refused(
            &node,
            "a truncated bzImage",
            &with(half),
            &["truncated", "end", "short", "beyond", "bzimage"],
        );
        let flipped = changed(&node, "flipped", image, |bytes| {
            let middle = bytes.len() / 2;
            for byte in &mut bytes[middle..middle + 64] {
                *byte ^= 0x5a;
            }
        });
        refused(
            &node,
            "a corrupt payload",
            &with(flipped),
            &["corrupt", "payload", "unpack", "decompress", "damaged"],
        );
    }
    let mut no_ramdisk = debian("bad");
    no_ramdisk.ramdisk = Some("/nonexistent/initrd".into());
    refused(
        &node,
        "no such ramdisk",
        &no_ramdisk,
        &["does not exist", "no such file"],
    );
    let big = node.root().join("big");
    std::fs::File::create(&big)
        .unwrap()
        .set_len(512 << 20)
        .unwrap();
    let mut big_ramdisk = debian("bad");
    big_ramdisk.ramdisk = Some(big);
    refused(
        &node,
        "a ramdisk larger than memory",
        &big_ramdisk,
        &["memory", "fit", "ramdisk"],
    );
}

#[test]
fn numbers_out_of_range_are_refused() {
    in_lab();
    let node = Node::new().unwrap();
    let base = debian("bad");
    let text = |from: &str, to: &str| base.text().replace(from, to);
    for memory in ["0", "3", "-1", "100000000"] {
        let config = node
            .config_text("bad", &text("memory = 160", &format!("memory = {memory}")))
            .unwrap();
        refused_command(
            &node,
            &format!("memory = {memory}"),
            &["create", "-q", &config],
            &["memory"],
        );
    }
    for vcpus in ["0", "33000", "-1"] {
        let config = node
            .config_text("bad", &text("vcpus = 1", &format!("vcpus = {vcpus}")))
            .unwrap();
        refused_command(
            &node,
            &format!("vcpus = {vcpus}"),
            &["create", "-q", &config],
            &["vcpus", "vcpu"],
        );
    }
}

#[test]
fn name_in_use_is_refused_and_its_domain_lives_on() {
    in_lab();
    let node = Node::new().unwrap();
    node.create(&debian("taken"));
    let id = node.toolctl(&["domid", "taken"]).ok();
    let config = node.config(&debian("taken")).unwrap();
    let said = node.toolctl(&["create", "-q", &config]);
    assert_eq!(said.status, 1, "{said:?}");
    assert!(
        said.stderr.starts_with("Error: ") && said.stderr.contains("already"),
        "{said:?}"
    );
    assert_eq!(node.toolctl(&["domid", "taken"]).ok(), id);
    assert_eq!(node.processes_of("noxen-vmm").len(), 1);

    // Two at one console: the second is told so, the first stays.
    let mut first = node.console("taken").unwrap();
    first.login(LIMIT).unwrap();
    let mut second = node.console("taken").unwrap();
    let status = second.wait(LIMIT).unwrap();
    assert!(!status.success(), "{}", second.transcript());
    assert!(
        second.transcript().to_lowercase().contains("console"),
        "{}",
        second.transcript()
    );
    assert_eq!(first.run("echo mine", LIMIT).unwrap(), "mine\n");
}

#[test]
fn unknown_domain_gives_status_three_for_every_command() {
    in_lab();
    let node = Node::new().unwrap();
    for command in [
        "pause",
        "unpause",
        "destroy",
        "shutdown",
        "reboot",
        "domid",
        "console",
        "vcpu-list",
        "list",
    ] {
        let said = node.toolctl(&[command, "nosuch"]);
        assert_eq!(said.status, 3, "{command}: {said:?}");
        assert_eq!(
            said.stderr.lines().next(),
            Some("Error: Domain 'nosuch' does not exist."),
            "{command}: {said:?}"
        );
    }
}

/// /dev/kvm out of the way until dropped.
struct NoKvm;

impl NoKvm {
    fn hide() -> NoKvm {
        std::fs::rename("/dev/kvm", "/dev/kvm.hidden").unwrap();
        NoKvm
    }
}

impl Drop for NoKvm {
    fn drop(&mut self) {
        let _ = std::fs::rename("/dev/kvm.hidden", "/dev/kvm");
    }
}

#[test]
fn host_without_kvm_is_told_so() {
    in_lab();
    let node = Node::new().unwrap();
    let hidden = NoKvm::hide();
    refused(&node, "no /dev/kvm", &debian("nokvm"), &["/dev/kvm"]);
    drop(hidden);
    let mut console = node
        .create_on_console(&debian("nokvm").running("true"))
        .unwrap();
    console.expect("NOXEN-CMD end status=0", LIMIT).unwrap();
}

#[test]
fn xend_that_cannot_be_started_is_told_so() {
    in_lab();
    let node = Node::new().unwrap();
    let mut command = node.command("toolctl", &["list"]).unwrap();
    command.env("NOXEN_XEND", "/nonexistent/xend");
    let said = noxen_integration_tests::node::said(&mut command, LIMIT).unwrap();
    assert_eq!(said.status, 1, "{said:?}");
    assert!(
        said.stderr.starts_with("Error: ") && said.stderr.contains("xend"),
        "{said:?}"
    );
    assert!(node.processes().is_empty(), "{:?}", node.processes());
}
