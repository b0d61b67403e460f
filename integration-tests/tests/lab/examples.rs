//! The example configurations that are installed, each made into a domain: on this host's kernels and images in place of those
//! that they name, everything else as it is written.

use crate::support::{node_with_scripts, Bridge};
use crate::{in_lab, LIMIT};
use noxen_integration_tests::assets::{self, Flavour};
use noxen_integration_tests::{image, layout, wait};
use std::path::Path;

/// Words of the command line that stand for what the file names and a test host has not.
fn word(variable: &str, path: &Path) -> String {
    format!("{variable}={}", path.display())
}

#[test]
fn every_example_boots_on_what_this_host_has() {
    in_lab();
    let node = node_with_scripts();
    let _bridge = Bridge::new("xenbr0", "10.83.0.1/24");
    let file = |name: &str| {
        layout::repo_root()
            .join("configs")
            .join(name)
            .display()
            .to_string()
    };
    let tree = image::system(node.root(), "disk", Flavour::Cloud).unwrap();
    let disk = image::ext4(node.root(), "disk", &tree, 160).unwrap();
    let kernel = word("kernel", &assets::vmlinuz(Flavour::Cloud).unwrap());
    let ramdisk = word("ramdisk", &assets::guest_initramfs(Flavour::Cloud).unwrap());
    let debian = [kernel.as_str(), &ramdisk, "memory=192"];
    let [xvda1, xvda, hda] =
        ["xvda1", "xvda", "hda"].map(|device| format!("disk=file:{},{device},w", disk.display()));
    let grub = word("kernel", &assets::grub_x86_64_xen().unwrap());
    // Of each: name, words, the name of its domain, and what its console says when it has booted.
    const LOGIN: &str = "login: ";
    const SEABIOS: &str = "firmware: SeaBIOS (version";
    let examples: [(&str, Vec<&str>, &str, &str); 7] = [
        ("xmexample1", debian.to_vec(), "ExampleDomain", LOGIN),
        (
            "xmexample2",
            [&debian[..], &["vmid=3"]].concat(),
            "VM03",
            LOGIN,
        ),
        (
            "xmexample3",
            [&debian[..], &["vmid=3", &xvda1]].concat(),
            "VM3",
            LOGIN,
        ),
        (
            "xmexample.nbd",
            [&debian[..], &["server=none", &xvda1]].concat(),
            "nbd-guest",
            LOGIN,
        ),
        (
            "xmexample.pv-grub",
            vec![&grub, "memory=64", &xvda],
            "PvGrubDomain",
            "grub>",
        ),
        (
            "xmexample.hvm",
            vec!["memory=128", &hda],
            "ExampleHVMDomain",
            SEABIOS,
        ),
        (
            "xmexample.hvm-stubdom",
            vec!["memory=128", &hda],
            "xmexample.hvm-stubdom",
            SEABIOS,
        ),
    ];
    for (name, words, domain, booted) in &examples {
        let path = file(name);
        let line = [&["create", "--paused", path.as_str()][..], words].concat();
        let said = node.try_toolctl(&line, LIMIT).unwrap();
        assert_eq!(
            (said.status, said.stderr.as_str()),
            (0, ""),
            "{name}: {said:?}"
        );
        let table = node.toolctl(&["list", domain]).ok();
        assert!(table.contains("--p---"), "{name}: {table}");
        // It boots: to a login, to a prompt; a PC's firmware looks for something to boot.
        if *booted == SEABIOS {
            node.toolctl(&["unpause", domain]).ok();
            let says = || node.domain_log(domain).contains(booted).then_some(());
            wait::until("the firmware's first line", LIMIT, says);
        } else {
            let mut console = node.console(domain).unwrap();
            node.toolctl(&["unpause", domain]).ok();
            console.expect(booted, LIMIT).unwrap();
        }
        node.toolctl(&["destroy", domain]).ok();
        node.wait_gone(domain, LIMIT);
    }
    // The one for Itaniums names a firmware of theirs.
    let said = node.toolctl(&["create", "--paused", &file("xmexample.vti"), &hda]);
    assert_eq!(said.status, 1);
    assert!(said.stderr.contains("guest_firmware.bin"), "{said:?}");
    assert!(node.domains().is_empty());
}
