//! A CD drive of a PV guest: known as one by a stock kernel, read only, and its medium changed by `block-configure`.
//!
//! ```text
//!   xvda:cdrom  first.iso ── block-configure ── second.iso        xvdb:cdrom  no medium        xvdc  a disk
//! ```

use crate::support::{ramdisk_with, run};
use crate::{in_lab, LIMIT};
use noxen_integration_tests::assets::Flavour;
use noxen_integration_tests::console::Console;
use noxen_integration_tests::guest::Domain;
use noxen_integration_tests::node::Node;
use std::path::{Path, PathBuf};

/// Asks each block device for what its drive can do (CDROM_GET_CAPABILITY), which xen-blkfront answers for CD drives only.
const ASK: &str = r#"perl -e 'for (@ARGV) { open F, "<", $_ or die; print defined ioctl(F, 0x5331, 0) ? "cd" : "disk", "\n" }'"#;

/// The test guest's initramfs with Debian's perl behind it, which every Debian has.
fn ramdisk_with_perl(node: &Node) -> PathBuf {
    let pick = "mkdir bin; cp -L /usr/bin/perl bin/
        for library in $(ldd /usr/bin/perl | grep -o '/[^ ]*'); do cp -L --parents $library .; done";
    ramdisk_with(node, pick)
}

/// A CD with one file, whose text is `text`.
fn iso(node: &Node, name: &str, text: &str) -> PathBuf {
    let tree = node.root().join(format!("{name}.tree"));
    std::fs::create_dir(&tree).unwrap();
    std::fs::write(tree.join("text"), text).unwrap();
    let image = node.root().join(name);
    let words = ["-as", "mkisofs", "-quiet", "-o"];
    let paths = [image.to_str().unwrap(), tree.to_str().unwrap()];
    let (status, said) = run("xorriso", &[&words[..], &paths[..]].concat());
    assert_eq!(status, 0, "{said}");
    image
}

fn shell(console: &mut Console, command: &str) -> String {
    console.run(command, LIMIT).unwrap()
}

fn md5(path: &Path) -> String {
    let (status, text) = run("md5sum", &[path.to_str().unwrap()]);
    assert_eq!(status, 0, "{text}");
    text[..32].to_owned()
}

#[test]
fn cd_drive_is_known_as_one_and_takes_another_medium() {
    in_lab();
    let node = Node::new().unwrap();
    let [first, second] = [("first.iso", "one"), ("second.iso", "another one")]
        .map(|(name, text)| iso(&node, name, text));
    let disk = node.root().join("disk.img");
    std::fs::File::create(&disk)
        .unwrap()
        .set_len(1 << 20)
        .unwrap();
    let mut domain = Domain::debian("drive", Flavour::Cloud)
        .unwrap()
        .line(&format!(
            "disk = ['file:{},xvda:cdrom,r', ',xvdb:cdrom,r', 'file:{},xvdc,w']",
            first.display(),
            disk.display()
        ));
    domain.ramdisk = Some(ramdisk_with_perl(&node));
    let mut console = node.create_on_console(&domain).unwrap();
    console.login(LIMIT).unwrap();
    let asked = shell(
        &mut console,
        &format!("{ASK} /dev/xvda /dev/xvdb /dev/xvdc"),
    );
    assert_eq!(asked, "cd\ncd\ndisk\n");
    // read only, its medium goes and comes, sectors
    let about =
        "for d in xvda xvdb xvdc; do cd /sys/block/$d; echo $(cat ro removable size); done; cd /";
    let sectors = std::fs::metadata(&first).unwrap().len() / 512;
    assert_eq!(
        shell(&mut console, about),
        format!("1 1 {sectors}\n1 1 0\n0 0 2048\n")
    );
    let sum = |console: &mut Console| shell(console, "md5sum < /dev/xvda")[..32].to_owned();
    assert_eq!(sum(&mut console), md5(&first));
    let refused = shell(
        &mut console,
        "dd if=/dev/zero of=/dev/xvda bs=2k count=1 conv=fsync 2>/dev/null || echo refused",
    );
    assert_eq!(refused, "refused\n");

    let uname = format!("file:{}", second.display());
    let words = ["block-configure", "drive", &uname, "xvda:cdrom", "r"];
    let said = node.try_toolctl(&words, LIMIT).unwrap();
    assert_eq!(said.status, 0, "{said:?}");
    let wanted = md5(&second);
    assert_ne!(wanted, md5(&first));
    shell(
        &mut console,
        &format!(
            "n=0; while ! md5sum < /dev/xvda 2>/dev/null | grep -q {wanted} && [ $n -lt 600 ]; do n=$((n+1)); sleep 0.1; done"
        ),
    );
    assert_eq!(sum(&mut console), wanted);
    assert_eq!(shell(&mut console, &format!("{ASK} /dev/xvda")), "cd\n");
    // No other medium: what cannot be opened costs the guest nothing.
    let words = ["block-configure", "drive", "file:/none", "xvda:cdrom", "r"];
    let said = node.try_toolctl(&words, LIMIT).unwrap();
    assert!(
        said.status != 0 && said.stderr.contains("/none does not exist"),
        "{said:?}"
    );
    assert_eq!(sum(&mut console), wanted);
    node.toolctl(&["destroy", "drive"]).ok();
}
