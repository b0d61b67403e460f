//! Disks by toolctl: a system on an image, a disk that comes and goes, one that is not shared.
//!
//! ```text
//!   root.img (ext4, mke2fs) ── file: ── xvda ── root=/dev/xvda ── login
//!   data.img                ── block-attach ── xvdb ── written to ── block-detach ── and again
//! ```

use crate::{in_lab, LIMIT};
use noxen_integration_tests::assets::{self, Flavour};
use noxen_integration_tests::console::Console;
use noxen_integration_tests::guest::Domain;
use noxen_integration_tests::image;
use noxen_integration_tests::node::Node;
use std::io::Read;
use std::path::{Path, PathBuf};

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

/// How many MiB the guest is asked to write while its disk is taken away: more than it ever gets written.
const LOAD_MIB: u64 = 256;
/// How many it writes when nothing is in the way.
const QUIET_MIB: u64 = 8;

/// Attaches `image` as xvdb and waits until guest and listing have it.
fn attach(node: &Node, console: &mut Console, image: &Path) {
    let uname = format!("file:{}", image.display());
    node.toolctl(&["block-attach", "disky", &uname, "xvdb", "w"])
        .ok();
    shell(console, &until("-b /dev/xvdb"));
    let listing = node.toolctl(&["block-list", "disky"]).ok();
    assert_eq!(row(&listing, "51728")[3], "4", "{listing}");
}

/// Detaches xvdb and waits until it is gone from guest and listing.
fn detach(node: &Node, console: &mut Console) {
    let said = node
        .try_toolctl(&["block-detach", "disky", "xvdb"], LIMIT)
        .unwrap();
    assert_eq!((said.status, said.stdout.as_str()), (0, ""), "{said:?}");
    shell(console, &until("! -b /dev/xvdb"));
    let listing = node.toolctl(&["block-list", "disky"]).ok();
    assert!(!listing.contains("51728"), "{listing}");
}

/// Begins to write all over xvdb, and waits until some of it has got to the disk. One open file, for dd would make
/// a plain file of the name of a disk that is gone.
fn load(console: &mut Console) {
    let command = format!(
        "rm -f /tmp/dd; (dd if=/dev/zero of=/dev/xvdb bs=64k count={} conv=fsync 2>/dev/null; echo ended > /tmp/dd) & \
         until awk '$3 == \"xvdb\" && $8 > 0 {{found = 1}} END {{exit !found}}' /proc/diskstats; do sleep 0.1; done",
        LOAD_MIB * 16
    );
    shell(console, &command);
}

/// What xvdb has carried so far, bytes read and written; `top` and `block-list` say the same.
fn carried(node: &Node) -> [u64; 2] {
    let json = node.toolctl(&["block-list", "--json", "disky"]).ok();
    let all: serde_json::Value = serde_json::from_str(&json).unwrap();
    let disks = all.as_array().unwrap();
    let disk = disks.iter().find(|disk| disk["devid"] == 51728).unwrap();
    let bytes = ["read_bytes", "written_bytes"].map(|name| disk["traffic"][name].as_u64().unwrap());
    let top = node.toolctl(&["top", "-b", "-x", "-i", "1"]).ok();
    let line = top.lines().find(|line| line.contains("BlkBack 51728 "));
    let line = line.unwrap_or_else(|| panic!("no disk 51728: {top}"));
    let sectors = ["RSECT:", "WSECT:"].map(|name| {
        let (_, rest) = line.split_once(name).unwrap();
        let number = rest.split_whitespace().next().unwrap();
        number.parse::<u64>().unwrap()
    });
    assert_eq!(sectors, bytes.map(|bytes| bytes / 512), "{line}");
    bytes
}

/// What the guest's own kernel has counted of xvdb, in the same way (its Documentation/block/stat.rst).
fn counted(console: &mut Console) -> [u64; 2] {
    let text = shell(console, "cat /sys/block/xvdb/stat");
    let fields: Vec<&str> = text.split_whitespace().collect();
    [2, 6].map(|at| fields[at].parse::<u64>().unwrap() * 512)
}

/// What is written to xvdb and read from it is counted, byte for byte. The end of the disk is read: the kernel reads nothing
/// ahead beyond that.
fn counters_rise_by_what_is_carried(node: &Node, console: &mut Console) {
    const MIB: u64 = 1 << 20;
    let before = (carried(node), counted(console));
    let last = format!(
        "dd if=/dev/zero of=/dev/xvdb bs=1M count=1 seek={at} conv=fsync 2>/dev/null; echo 3 >/proc/sys/vm/drop_caches; \
         dd if=/dev/xvdb of=/dev/null bs=1M count=1 skip={at} 2>/dev/null",
        at = LOAD_MIB - 1
    );
    shell(console, &last);
    let after = (carried(node), counted(console));
    let rose = |now: [u64; 2], was: [u64; 2]| [now[0] - was[0], now[1] - was[1]];
    assert_eq!(rose(after.0, before.0), [MIB, MIB]);
    assert_eq!(rose(after.1, before.1), [MIB, MIB], "as the guest sees it");
}

/// Columns of the only row of a listing.
fn row(listing: &str, number: &str) -> Vec<String> {
    let line = listing.lines().find(|line| line.starts_with(number));
    let line = line.unwrap_or_else(|| panic!("no row {number}: {listing}"));
    line.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn system_on_an_image_reaches_login_and_its_disks_come_and_go_under_load() {
    in_lab();
    let node = Node::new().unwrap();
    let root = image::root(node.root(), "root", Flavour::Cloud, 96).unwrap();
    let data = node.root().join("data.img");
    std::fs::File::create(&data)
        .unwrap()
        .set_len(LOAD_MIB << 20)
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

    // One comes, goes under load (whoever writes is told by an error at worst), and comes again as good as new.
    for round in 0..2 {
        attach(&node, &mut console, &data);
        let write = format!(
            "dd if=/dev/urandom of=/tmp/data bs=1M count={QUIET_MIB} 2>/dev/null; \
             dd if=/tmp/data of=/dev/xvdb bs=64k conv=fsync 2>/dev/null; md5sum < /tmp/data | cut -c1-32"
        );
        let sum = shell(&mut console, &write);
        let mut written = vec![0; (QUIET_MIB << 20) as usize];
        std::fs::File::open(&data)
            .and_then(|mut file| file.read_exact(&mut written))
            .unwrap();
        let copy = node.root().join(format!("written{round}"));
        std::fs::write(&copy, written).unwrap();
        let out = std::process::Command::new("md5sum").arg(copy).output();
        assert_eq!(out.unwrap().stdout[..32], *sum.trim().as_bytes());
        if round == 0 {
            counters_rise_by_what_is_carried(&node, &mut console);
        }
        load(&mut console);
        detach(&node, &mut console);
        assert_eq!(shell(&mut console, "wait; cat /tmp/dd"), "ended\n");
    }

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

/// An image that holds a kernel, an initrd, and GRUB's menu with both.
fn bootable(node: &Node, flavour: Flavour) -> PathBuf {
    let tree = image::system(node.root(), "grub", flavour).unwrap();
    let boot = tree.join("boot/grub");
    std::fs::create_dir_all(&boot).unwrap();
    std::fs::copy(assets::vmlinuz(flavour).unwrap(), tree.join("boot/vmlinuz")).unwrap();
    let initrd = assets::guest_initramfs(flavour).unwrap();
    std::fs::copy(initrd, tree.join("boot/initrd.img")).unwrap();
    let menu = "set default=\"0\"\nset timeout=0\nmenuentry 'Debian' {\n\tlinux /boot/vmlinuz root=/dev/xvda console=hvc0\n\tinitrd /boot/initrd.img\n}\n";
    std::fs::write(boot.join("grub.cfg"), menu).unwrap();
    image::ext4(node.root(), "grub", &tree, 160).unwrap()
}

#[test]
fn pygrub_boots_the_kernel_that_the_disk_holds() {
    in_lab();
    let node = Node::new().unwrap();
    let root = bootable(&node, Flavour::Cloud);
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

/// Debian's GRUB for PV guests, started as any kernel: it finds the menu on the disk, and what the menu names takes its place.
#[test]
fn grub_of_debian_boots_the_kernel_that_the_disk_holds() {
    in_lab();
    let node = Node::new().unwrap();
    // The cloud kernel is packed with lz4, which GRUB does not know.
    let root = bootable(&node, Flavour::Generic);
    let mut domain = Domain::debian("pvgrub", Flavour::Generic)
        .unwrap()
        .memory(512)
        .line(&format!("disk = ['file:{},xvda,w']", root.display()));
    domain.kernel = assets::grub_x86_64_xen().unwrap();
    domain.ramdisk = None;
    let mut console = node.create_on_console(&domain).unwrap();
    console.login(LIMIT).unwrap();
    let line = shell(&mut console, "cat /proc/cmdline");
    assert_eq!(line, "root=/dev/xvda console=hvc0\n");
    node.toolctl(&["destroy", "pvgrub"]).ok();
}
