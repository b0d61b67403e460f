//! Boot loaders: what they are given, what is made of their answer, and that nothing of them stays.

mod support;

use noxen_xend_api::{Disk, DomainConfig, Request};
use noxen_xenstore::client::Nodes;
use std::os::unix::fs::PermissionsExt;
use support::{asset, Lab};

/// Copies the first bytes of the disk as the kernel, and adds a word to the command line.
const GOOD: &str = "for word; do case $word in --output=*) out=${word#*=};; --args=*) args=${word#*=};; esac; disk=$word; done\n\
    echo run >> \"$NOXEN_ROOT/runs\"; echo \"$*\" > \"$NOXEN_ROOT/words\"\n\
    kernel=$(mktemp \"$NOXEN_ROOT/var/run/xend/boot/boot_kernel.XXXXXX\"); cp \"$disk\" \"$kernel\"\n\
    echo \"(linux (kernel $kernel)(args \\\"$args quiet\\\"))\" > \"$out\"";

fn config(lab: &Lab, loader: &str) -> DomainConfig {
    let path = lab.root().join("loader");
    std::fs::write(&path, format!("#!/bin/sh\n{loader}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    let image = lab.image("disk.img", "ok");
    DomainConfig {
        kernel: String::new(),
        bootloader: path.display().to_string(),
        bootargs: "-q".into(),
        root: "/dev/xvda1 ro".into(),
        disk: vec![Disk::parse(&format!("file:{image},xvda,w")).unwrap()],
        ..lab.config("a")
    }
}

fn left_in_boot_dir(lab: &Lab) -> usize {
    std::fs::read_dir(lab.paths().boot_dir()).unwrap().count()
}

#[test]
fn boot_loader_chooses_kernel_and_command_line_at_every_start() {
    let lab = Lab::new();
    let config = config(&lab, GOOD);
    let disk = config.disk[0].uname.replace("file:", "");
    lab.run(config);
    let words = std::fs::read_to_string(lab.root().join("words")).unwrap();
    assert!(words.starts_with("--args=root=/dev/xvda1 ro"), "{words}");
    assert!(words.trim_end().ends_with(&format!("-q {disk}")), "{words}");
    let vm = lab.store().read("/local/domain/1/vm").unwrap();
    let line = lab.store().read(&format!("{vm}/image/cmdline")).unwrap();
    assert_eq!(
        line.split_whitespace().collect::<Vec<_>>(),
        ["root=/dev/xvda1", "ro", "quiet"]
    );
    assert_eq!(
        left_in_boot_dir(&lab),
        0,
        "the kernel and the FIFO are gone"
    );
    let domain = "a".into();
    lab.ask(&Request::Reset { domain }).unwrap();
    let runs = std::fs::read_to_string(lab.root().join("runs")).unwrap();
    assert_eq!(runs.lines().count(), 2);
}

/// Debian's own pygrub, on a file system that holds what its GRUB would boot.
#[test]
fn pygrub_of_debian_finds_the_kernel_on_an_ext4_image() {
    let lab = Lab::new();
    let pygrub = asset("pygrub/pygrub");
    let tree = lab.root().join("tree");
    std::fs::create_dir_all(tree.join("boot/grub")).unwrap();
    std::fs::write(tree.join("boot/vmlinuz"), "ok").unwrap();
    std::fs::write(tree.join("boot/initrd.img"), "initrd").unwrap();
    let menu = "set default=\"0\"\nmenuentry 'Debian' {\n\tlinux /boot/vmlinuz root=UUID=1 ro\n\tinitrd /boot/initrd.img\n}\n";
    std::fs::write(tree.join("boot/grub/grub.cfg"), menu).unwrap();
    let image = lab.root().join("root.img").display().to_string();
    let made = std::process::Command::new("/usr/sbin/mke2fs")
        .args(["-q", "-t", "ext4", "-d"])
        .arg(&tree)
        .args([&image, "16M"])
        .status();
    assert!(made.unwrap().success());
    lab.run(DomainConfig {
        kernel: String::new(),
        bootloader: pygrub.display().to_string(),
        bootargs: "-q".into(),
        extra: "3".into(),
        disk: vec![Disk::parse(&format!("file:{image},xvda,w")).unwrap()],
        ..lab.config("a")
    });
    let vm = lab.store().read("/local/domain/1/vm").unwrap();
    let line = lab.store().read(&format!("{vm}/image/cmdline")).unwrap();
    assert_eq!(line, "root=UUID=1 ro 3");
    assert_eq!(left_in_boot_dir(&lab), 0, "what it extracted is gone");
}

#[test]
fn boot_loader_that_fails_makes_no_domain() {
    let lab = Lab::new();
    for (loader, wanted) in [
        ("exit 1", "Boot loader didn't return any data! ("),
        ("echo '(linux (kernel' > ${1#*=}; for w; do case $w in --output=*) echo '(linux' > ${w#*=};; esac; done", "Boot loader "),
        ("for w; do case $w in --output=*) echo '(linux (kernel /nonexistent))' > ${w#*=};; esac; done", "Kernel image does not exist: /nonexistent"),
        ("for w; do case $w in --output=*) head -c 100000 /dev/zero > ${w#*=};; esac; done", "Boot loader "),
    ] {
        let text = lab.refusal(config(&lab, loader));
        assert!(text.starts_with(wanted), "{loader}: {text}");
        assert!(lab.traces().is_empty(), "{:?}", lab.traces());
        assert_eq!(left_in_boot_dir(&lab), 0);
    }
    let mut none = config(&lab, "exit 0");
    none.bootloader = "/nonexistent".into();
    assert_eq!(
        lab.refusal(none),
        "Bootloader isn't executable: /nonexistent"
    );
    let mut diskless = config(&lab, GOOD);
    diskless.disk.clear();
    assert_eq!(
        lab.refusal(diskless),
        "Had a bootloader specified, but no disks are bootable"
    );
}
