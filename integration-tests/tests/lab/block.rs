//! Disks: a stock kernel's xen-blkfront on images of the host.

use crate::support::{load_modules, run};
use crate::{in_lab, LIMIT};
use noxen_integration_tests::assets::{self, Flavour};
use noxen_integration_tests::console::{command, Console};
use noxen_integration_tests::guest::Domain;
use noxen_integration_tests::layout;
use noxen_integration_tests::node::Node;
use noxen_integration_tests::{process, wait};
use rustix::process::Signal;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const MIB: u64 = 1 << 20;

fn md5(path: &Path) -> String {
    let (status, text) = run("md5sum", &[path.to_str().unwrap()]);
    assert_eq!(status, 0, "{text}");
    text[..32].to_owned()
}

/// Bytes that no part of repeats another one.
fn content(length: u64) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..length).map(|_| next()).collect()
}

/// An ext4 file system of 64 MiB that holds the file `data`.
fn ext4(node: &Node, name: &str, data: &[u8]) -> PathBuf {
    let tree = node.root().join(format!("{name}.tree"));
    std::fs::create_dir(&tree).unwrap();
    std::fs::write(tree.join("data"), data).unwrap();
    let image = node.root().join(name);
    File::create(&image).unwrap().set_len(64 * MIB).unwrap();
    let args = ["-q", "-F", "-t", "ext4", "-d", tree.to_str().unwrap()];
    let (status, text) = run("mke2fs", &[&args[..], &[image.to_str().unwrap()]].concat());
    assert_eq!(status, 0, "{text}");
    image
}

fn debian(name: &str, disks: &[(&Path, &str, &str)]) -> Domain {
    let disks: Vec<String> = disks
        .iter()
        .map(|(path, device, mode)| format!("'file:{},{device},{mode}'", path.display()))
        .collect();
    Domain::debian(name, Flavour::Cloud)
        .unwrap()
        .memory(192)
        .vcpus(2)
        .line(&format!("disk = [{}]", disks.join(", ")))
}

#[test]
fn guest_mounts_the_hosts_file_system_and_both_see_what_the_other_wrote() {
    in_lab();
    let node = Node::new().unwrap();
    let data = content(3 * MIB + 77);
    let image = ext4(&node, "root.img", &data);
    let plain = node.root().join("plain.img");
    std::fs::write(&plain, content(5 * MIB)).unwrap();
    let (of_data, of_plain) = (md5(&node.root().join("root.img.tree/data")), md5(&plain));
    let domain = debian("disks", &[(&image, "xvda", "w"), (&plain, "xvdb", "r")]).running(
        "mount -t ext4 /dev/xvda /mnt && md5sum /mnt/data; cat /mnt/data /mnt/data > /mnt/twice; \
         umount /mnt && echo unmounted; md5sum /dev/xvdb; cat /sys/block/xvdb/ro /sys/block/xvdb/size; \
         dd if=/dev/zero of=/dev/xvdb bs=4k count=1 conv=fsync 2>/dev/null || echo refused",
    );
    let mut console = node.create_on_console(&domain).unwrap();
    console.expect("NOXEN-CMD begin", LIMIT).unwrap();
    console
        .expect(&format!("{of_data}  /mnt/data"), LIMIT)
        .unwrap();
    console.expect("unmounted", LIMIT).unwrap();
    console
        .expect(&format!("{of_plain}  /dev/xvdb\r\n1\r\n10240\r\n"), LIMIT)
        .unwrap();
    console.expect("refused", LIMIT).unwrap();
    console.expect("NOXEN-CMD end", LIMIT).unwrap();
    node.wait_gone("disks", LIMIT);
    assert_eq!(md5(&plain), of_plain);
    let (status, text) = run("e2fsck", &["-fn", image.to_str().unwrap()]);
    assert_eq!(status, 0, "{text}");
    let twice = node.root().join("twice");
    let dump = format!("dump /twice {}", twice.display());
    run("debugfs", &["-R", &dump, image.to_str().unwrap()]);
    assert!(std::fs::read(&twice).unwrap() == [&data[..], &data[..]].concat());
}

#[test]
fn grants_that_are_kept_and_rings_of_four_pages_carry_what_the_guest_wrote() {
    in_lab();
    let node = Node::new().unwrap();
    let image = node.root().join("kept.img");
    File::create(&image).unwrap().set_len(16 * MIB).unwrap();
    let vmm = layout::bin_dir().join("noxen-vmm").display().to_string();
    let text = |path: PathBuf| path.display().to_string();
    let cmdline = "console=hvc0 xen_blkfront.max_ring_page_order=2 noxen.cmd=\
        dmesg | grep -o 'persistent grants: [a-z]*'; cat /sys/module/xen_blkfront/parameters/max_ring_page_order; \
        dd if=/dev/urandom of=/tmp/x bs=1M count=4 2>/dev/null; dd if=/tmp/x of=/dev/xvda bs=1M conv=fsync 2>/dev/null; \
        echo 3 > /proc/sys/vm/drop_caches; dd if=/dev/xvda of=/tmp/y bs=1M count=4 2>/dev/null; cmp /tmp/x /tmp/y && md5sum /tmp/x";
    let arguments = [
        "run",
        "--kernel",
        &text(assets::vmlinux(Flavour::Cloud).unwrap()),
        "--ramdisk",
        &text(assets::guest_initramfs(Flavour::Cloud).unwrap()),
        "--memory",
        "192",
        "--cmdline",
        cmdline,
        "--disk",
        &format!("{},persistent", text(image.clone())),
    ];
    let mut console = Console::spawn(&command(&vmm, &arguments)).unwrap();
    console.expect("NOXEN-CMD begin", LIMIT).unwrap();
    let said = console.expect("NOXEN-CMD end", LIMIT).unwrap();
    console.wait(LIMIT).unwrap();
    let said = said.replace('\r', "");
    assert!(said.contains("persistent grants: enabled"), "{said}");
    assert!(said.contains("\n2\n"), "{said}");
    let written = node.root().join("written");
    let content = std::fs::read(&image).unwrap();
    std::fs::write(&written, &content[..4 * MIB as usize]).unwrap();
    assert!(said.contains(&md5(&written)), "{said}");
}

/// A volume of the device mapper on a loop device on a file, as LVM makes them; gone with this value.
struct Volume {
    device: String,
}

/// Where the volume begins in its file, sectors.
const VOLUME_START: u64 = 2048;

impl Volume {
    const NAME: &'static str = "noxen-volume";

    fn new(file: &Path, sectors: u64) -> Volume {
        load_modules(&["drivers/block/loop.ko", "drivers/md/dm-mod.ko"]);
        let file = file.to_str().unwrap();
        let (status, text) = run("losetup", &["-f", "--show", file]);
        assert_eq!(status, 0, "{text}");
        let volume = Volume {
            device: text.trim().to_owned(),
        };
        let table = format!("0 {sectors} linear {} {VOLUME_START}", volume.device);
        let made = run(
            "dmsetup",
            &["create", Self::NAME, "--noudevsync", "--table", &table],
        );
        assert_eq!(made.0, 0, "{}", made.1);
        let nodes = run("dmsetup", &["mknodes"]);
        assert_eq!(nodes.0, 0, "{}", nodes.1);
        volume
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        run("dmsetup", &["remove", "--noudevsync", Self::NAME]);
        run("losetup", &["-d", &self.device]);
    }
}

#[test]
fn volume_of_the_device_mapper_is_a_disk_by_phy() {
    in_lab();
    let node = Node::new().unwrap();
    let file = node.root().join("volume.img");
    File::create(&file).unwrap().set_len(16 * MIB).unwrap();
    let volume = Volume::new(&file, 8 * MIB / 512);
    let domain = Domain::debian("volume", Flavour::Cloud)
        .unwrap()
        .memory(192)
        .line(&format!("disk = ['phy:mapper/{},xvda,w']", Volume::NAME))
        .running(
            "cat /sys/block/xvda/size; dd if=/dev/urandom of=/tmp/x bs=1M count=1 2>/dev/null; \
             dd if=/tmp/x of=/dev/xvda bs=64k conv=fsync 2>/dev/null; md5sum /tmp/x",
        );
    let mut console = node.create_on_console(&domain).unwrap();
    console.expect("NOXEN-CMD begin", LIMIT).unwrap();
    let said = console.expect("NOXEN-CMD end", LIMIT).unwrap();
    node.wait_gone("volume", LIMIT);
    drop(volume);
    assert!(said.contains("16384"), "{said}");
    let content = std::fs::read(&file).unwrap();
    let start = VOLUME_START as usize * 512;
    let written = node.root().join("written");
    std::fs::write(&written, &content[start..start + MIB as usize]).unwrap();
    assert!(said.contains(&md5(&written)), "{said}");
}

#[test]
fn what_was_flushed_is_in_the_image_after_a_kill_of_the_monitor() {
    in_lab();
    let node = Node::new().unwrap();
    let raw = node.root().join("raw.img");
    File::create(&raw).unwrap().set_len(16 * MIB).unwrap();
    let journal = ext4(&node, "journal.img", b"data");
    let domain = debian("killed", &[(&raw, "xvda", "w"), (&journal, "xvdb", "w")]).running(
        "mount -t ext4 /dev/xvdb /mnt; i=0; while true; do i=$((i+1)); echo block $i. > /tmp/b; \
         cp /tmp/b /mnt/f$((i%50)); \
         dd if=/tmp/b of=/dev/xvda bs=4k seek=$i count=1 conv=sync,fsync 2>/dev/null && echo acked $i.; done",
    );
    let mut console = node.create_on_console(&domain).unwrap();
    console.expect("acked 60.", LIMIT).unwrap();
    let vmm = node.only_vmm().pid;
    assert!(process::signal(vmm, Signal::KILL));
    wait::until("the end of the domain", LIMIT, || {
        (!process::is_alive(vmm)).then_some(())
    });
    let said = console.transcript();
    let last = said
        .rsplit("acked ")
        .find_map(|rest| rest.split_once('.')?.0.parse::<u64>().ok())
        .unwrap();
    assert!(last >= 60);
    let image = File::open(&raw).unwrap();
    for index in 1..=last {
        let mut block = [0u8; 4096];
        image.read_exact_at(&mut block, index * 4096).unwrap();
        let expected = format!("block {index}.\n");
        assert!(block.starts_with(expected.as_bytes()), "block {index}");
    }
    // The journal is replayed (status 1: corrected), and then nothing is left to complain of.
    let (status, text) = run("e2fsck", &["-p", journal.to_str().unwrap()]);
    assert!(status <= 1, "{text}");
    let (status, text) = run("e2fsck", &["-fn", journal.to_str().unwrap()]);
    assert_eq!(status, 0, "{text}");
}
