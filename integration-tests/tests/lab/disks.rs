//! Disks by toolctl: a system on an image, a disk that comes and goes, one that is not shared.
//!
//! ```text
//!   root.img (ext4, mke2fs) ── file: ── xvda ── root=/dev/xvda ── login
//!   data.img                ── block-attach ── xvdb ── block-detach
//! ```

use crate::{in_lab, LIMIT};
use noxen_integration_tests::assets::{self, Flavour};
use noxen_integration_tests::console::Console;
use noxen_integration_tests::guest::Domain;
use noxen_integration_tests::image;
use noxen_integration_tests::node::Node;
use std::path::Path;

/// A domain whose root is on `image`.
fn on_disk(name: &str, image: &Path) -> Domain {
    Domain::debian(name, Flavour::Cloud)
        .unwrap()
        .line("root = \"/dev/xvda\"")
        .line(&format!("disk = ['file:{},xvda,w']", image.display()))
}

fn shell(console: &mut Console, command: &str) -> String {
    console.run(command, LIMIT).unwrap()
}

/// A command that ends once `test CONDITION` holds, and fails when it does not within a minute.
fn until(condition: &str) -> String {
    format!("n=0; while ! test {condition} && [ $n -lt 600 ]; do n=$((n+1)); sleep 0.1; done; test {condition}")
}

/// Columns of the only row of a listing.
fn row(listing: &str, number: &str) -> Vec<String> {
    let line = listing.lines().find(|line| line.starts_with(number));
    let line = line.unwrap_or_else(|| panic!("no row {number}: {listing}"));
    line.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn system_on_an_image_reaches_login_and_its_disks_come_and_go() {
    in_lab();
    let node = Node::new().unwrap();
    let root = image::root(node.root(), "root", Flavour::Cloud, 96).unwrap();
    let data = node.root().join("data.img");
    std::fs::File::create(&data)
        .unwrap()
        .set_len(32 << 20)
        .unwrap();
    let domain = on_disk("disky", &root);
    let mut console = node.create_on_console(&domain).unwrap();
    console.login(LIMIT).unwrap();
    let mounts = shell(&mut console, "grep ' / ' /proc/mounts");
    assert!(mounts.contains("/dev/xvda / ext4 rw"), "{mounts}");

    // What is listed of it.
    let id = node.toolctl(&["domid", "disky"]).ok().trim().to_owned();
    let listing = node.toolctl(&["block-list", "disky"]).ok();
    assert!(
        listing.starts_with("Vdev  BE handle state evt-ch ring-ref BE-path\n"),
        "{listing}"
    );
    let columns = row(&listing, "51712");
    assert_eq!(
        (columns[1].as_str(), columns[3].as_str()),
        ("0", "4"),
        "{listing}"
    );
    assert_eq!(
        columns[6],
        format!("/local/domain/0/backend/vbd/{id}/51712")
    );
    let long = node.toolctl(&["list", "-l", "disky"]).ok();
    assert!(long.contains("(dev xvda:disk)"), "{long}");

    // Another domain may not have it.
    let path = node.config(&on_disk("second", &root)).unwrap();
    let refused = node.toolctl(&["create", &path]);
    assert_eq!(refused.status, 1);
    let wanted = format!(
        "Error: Device 51712 (vbd) could not be connected.\nFile {} is mounted in a guest domain,\nand so cannot be mounted now.\n",
        root.display()
    );
    assert!(refused.stderr.contains(&wanted), "{refused:?}");
    assert_eq!(node.domains(), ["disky"]);

    // One comes and goes.
    let uname = format!("file:{}", data.display());
    node.toolctl(&["block-attach", "disky", &uname, "xvdb", "w"])
        .ok();
    shell(&mut console, &until("-b /dev/xvdb"));
    assert_eq!(
        row(&node.toolctl(&["block-list", "disky"]).ok(), "51728")[3],
        "4"
    );
    let said = node
        .try_toolctl(&["block-detach", "disky", "xvdb"], LIMIT)
        .unwrap();
    assert_eq!((said.status, said.stdout.as_str()), (0, ""), "{said:?}");
    shell(&mut console, &until("! -b /dev/xvdb"));
    let listing = node.toolctl(&["block-list", "disky"]).ok();
    assert!(!listing.contains("51728"), "{listing}");

    // What the guest has written is there when it has gone, on a clean file system.
    shell(&mut console, "echo kept > /root/mark");
    let said = node
        .try_toolctl(&["shutdown", "-w", "disky"], LIMIT)
        .unwrap();
    assert_eq!(said.status, 0, "{said:?}");
    image::check(&root).unwrap();
    assert_eq!(image::read(&root, "/root/mark").unwrap(), "kept\n");
    assert!(node.domains().is_empty());
}

#[test]
fn pygrub_boots_the_kernel_that_the_disk_holds() {
    in_lab();
    let node = Node::new().unwrap();
    let tree = image::system(node.root(), "grub", Flavour::Cloud).unwrap();
    let boot = tree.join("boot/grub");
    std::fs::create_dir_all(&boot).unwrap();
    std::fs::copy(
        assets::vmlinuz(Flavour::Cloud).unwrap(),
        tree.join("boot/vmlinuz"),
    )
    .unwrap();
    let initrd = assets::guest_initramfs(Flavour::Cloud).unwrap();
    std::fs::copy(initrd, tree.join("boot/initrd.img")).unwrap();
    let menu = "set default=\"0\"\nmenuentry 'Debian' {\n\tlinux /boot/vmlinuz root=/dev/xvda console=hvc0\n\tinitrd /boot/initrd.img\n}\n";
    std::fs::write(boot.join("grub.cfg"), menu).unwrap();
    let root = image::ext4(node.root(), "grub", &tree, 160).unwrap();
    let text = format!(
        "name = 'grub'\nmemory = 256\nbootloader = '{}'\nextra = 'noxen.mark=7'\ndisk = ['file:{},xvda,w']\n",
        assets::pygrub().unwrap().display(),
        root.display()
    );
    let path = node.config_text("grub", &text).unwrap();
    let said = node.try_toolctl(&["create", &path], LIMIT).unwrap();
    assert_eq!(said.status, 0, "{said:?}");
    let mut console = node.console("grub").unwrap();
    console.login(LIMIT).unwrap();
    let line = shell(&mut console, "cat /proc/cmdline");
    assert_eq!(line, "root=/dev/xvda console=hvc0 noxen.mark=7\n");
    let left = std::fs::read_dir(node.root().join("var/run/xend/boot")).unwrap();
    assert_eq!(left.count(), 0, "what pygrub extracted is gone");
    node.toolctl(&["destroy", "grub"]).ok();
}
