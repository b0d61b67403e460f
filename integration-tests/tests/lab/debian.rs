//! A whole Debian system (mmdebstrap's: systemd, its own kernel and initrd) on a raw image, and on a volume of LVM.
//!
//! ```text
//!   debian/root.img ── copied ── file: ── xvda of "image" ── kill -9 amid writes ── e2fsck ── phy:noxen/root ── xvda of "lvm"
//!                                            eth0 ── bridge nxbr8 ── dnsmasq                    eth0 ──/
//! ```
//! While gzip's own test-suite runs over the image, its domain gains and loses a disk, an interface, memory and CPUs; then
//! its monitor is killed amid writes. What is left goes on as a volume of LVM, and shuts down as an administrator has it.

use crate::support::{load_modules, node_with_scripts, run, Bridge};
use crate::{in_lab, LIMIT};
use noxen_integration_tests::assets;
use noxen_integration_tests::console::Console;
use noxen_integration_tests::guest::Domain;
use noxen_integration_tests::image;
use noxen_integration_tests::node::Node;
use noxen_integration_tests::{process, wait};
use rustix::process::Signal;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// How many MiB the domain has at first, at least, at most.
const MEMORY: [u64; 3] = [512, 256, 768];

/// gzip's own tests of the program itself; those of its scripts (zgrep, zdiff, znew), help-version, list-big, mixed and
/// reproducible take most of all the time.
const TESTS: [&str; 14] = [
    "gzip-env",
    "helin-segv",
    "hufts",
    "keep",
    "list",
    "memcpy-abuse",
    "null-suffix-clobber",
    "stdin",
    "timestamp",
    "trailing-nul",
    "unpack-invalid",
    "unpack-valid",
    "upper-suffix",
    "z-suffix",
];

/// Longest wait for gzip's test-suite.
const SUITE: Duration = Duration::from_secs(600);

/// A server of addresses on a bridge; gone with this value.
pub struct Dnsmasq {
    child: Child,
    leases: PathBuf,
}

impl Dnsmasq {
    pub fn new(bridge: &str, range: &str, directory: &Path) -> Dnsmasq {
        let leases = directory.join("leases");
        let child = Command::new("/usr/sbin/dnsmasq")
            .args(["--keep-in-foreground", "--conf-file=/dev/null", "--port=0"])
            .args(["--user=root", "--bind-interfaces", "--pid-file="])
            .arg(format!("--interface={bridge}"))
            .arg(format!("--dhcp-range={range},5m"))
            .arg(format!("--dhcp-leasefile={}", leases.display()))
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        Dnsmasq { child, leases }
    }

    /// The address that it gave to an interface, once it has.
    pub fn address(&self, mac: &str) -> String {
        wait::until(&format!("a lease of {mac}"), LIMIT, || {
            let leases = std::fs::read_to_string(&self.leases).ok()?;
            let line = leases.lines().find(|line| line.contains(mac))?;
            Some(line.split(' ').nth(2)?.to_owned())
        })
    }
}

impl Drop for Dnsmasq {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The volume group `noxen` with the volume `root`, whose content is that of a file; gone with this value.
///
/// ```text
///   loop: 4 MiB ──┐
///                 ├─ noxen-pv (dm-linear) ── label of LVM │ root
///   loop: image ──┘                          4 MiB        │ the image, which is not copied
/// ```
struct Group {
    loops: Vec<String>,
    settings: PathBuf,
}

impl Group {
    const VOLUME: &'static str = "/dev/noxen/root";
    const LABEL_MIB: u64 = 4;

    fn new(directory: &Path, content: &Path) -> Group {
        load_modules(&["drivers/block/loop.ko", "drivers/md/dm-mod.ko"]);
        let settings = directory.join("lvm");
        std::fs::create_dir(&settings).unwrap();
        // No udev, no daemons, and no device but ours.
        let conf = "devices { global_filter = [ \"a|^/dev/mapper/noxen-pv$|\", \"r|.*|\" ] obtain_device_list_from_udev = 0 use_devicesfile = 0 }\n\
            activation { udev_sync = 0 udev_rules = 0 monitoring = 0 }\nglobal { use_lvmpolld = 0 }\nbackup { backup = 0 archive = 0 }\n";
        std::fs::write(settings.join("lvm.conf"), conf).unwrap();
        let label = directory.join("label.img");
        let file = std::fs::File::create(&label).unwrap();
        file.set_len(Self::LABEL_MIB << 20).unwrap();
        let mut group = Group {
            loops: Vec::new(),
            settings,
        };
        let (mut table, mut start) = (String::new(), 0);
        for part in [&label, content] {
            let (status, text) = run("losetup", &["-f", "--show", part.to_str().unwrap()]);
            assert_eq!(status, 0, "{text}");
            let sectors = std::fs::metadata(part).unwrap().len() >> 9;
            table.push_str(&format!("{start} {sectors} linear {} 0\n", text.trim()));
            start += sectors;
            group.loops.push(text.trim().to_owned());
        }
        let words = [
            "create",
            "noxen-pv",
            "--noudevsync",
            "--table",
            table.trim(),
        ];
        let (status, text) = run("dmsetup", &words);
        assert_eq!(status, 0, "{text}");
        run("dmsetup", &["mknodes"]);
        let at = format!("{}m", Self::LABEL_MIB);
        group.lvm(&[
            "pvcreate",
            "-q",
            "--dataalignment",
            &at,
            "/dev/mapper/noxen-pv",
        ]);
        group.lvm(&["vgcreate", "-q", "-s", &at, "noxen", "/dev/mapper/noxen-pv"]);
        group.lvm(&[
            "lvcreate",
            "-q",
            "-Zn",
            "-Wn",
            "-n",
            "root",
            "-l100%FREE",
            "noxen",
        ]);
        group
    }

    fn lvm(&self, words: &[&str]) {
        let out = Command::new("/sbin/lvm")
            .args(words)
            .env("LVM_SYSTEM_DIR", &self.settings)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(out.status.success(), "lvm {words:?}: {out:?}");
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = Command::new("/sbin/lvm")
            .args(["vgchange", "-q", "-an", "noxen"])
            .env("LVM_SYSTEM_DIR", &self.settings)
            .stdout(Stdio::null())
            .status();
        run("dmsetup", &["remove", "--noudevsync", "noxen-pv"]);
        for device in &self.loops {
            run("losetup", &["-d", device]);
        }
    }
}

/// Debian's pygrub where a config's `bootloader = 'pygrub'` has it; gone with this value.
struct Pygrub {
    made: bool,
}

impl Pygrub {
    const PATH: &'static str = "/usr/bin/pygrub";

    fn new() -> Pygrub {
        let made = !Path::new(Self::PATH).exists();
        if made {
            let real = assets::pygrub().unwrap();
            let text = format!("#!/bin/sh\nexec {} \"$@\"\n", real.display());
            std::fs::write(Self::PATH, text).unwrap();
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            std::fs::set_permissions(Self::PATH, mode).unwrap();
        }
        Pygrub { made }
    }
}

impl Drop for Pygrub {
    fn drop(&mut self) {
        if self.made {
            let _ = std::fs::remove_file(Self::PATH);
        }
    }
}

/// The config of a Debian system on `disk`, as an administrator writes it.
fn debian(name: &str, disk: &str, mac: &str) -> Domain {
    let [_, kernel, initrd] = assets::debian().unwrap();
    Domain {
        name: name.to_owned(),
        kernel,
        ramdisk: Some(initrd),
        memory: 256,
        vcpus: 1,
        extra: "console=hvc0 quiet".to_owned(),
        more: vec![
            "root = '/dev/xvda ro'".to_owned(),
            format!("disk = ['{disk},xvda,w']"),
            format!("vif = ['mac={mac}, bridge=nxbr8']"),
        ],
    }
}

pub fn shell(console: &mut Console, command: &str) -> String {
    console.run(command, LIMIT).unwrap()
}

/// Runs `command` in the guest until it succeeds.
fn shell_until(console: &mut Console, command: &str) -> String {
    shell(
        console,
        &format!("for n in $(seq 600); do {command} && break; sleep 0.1; done; {command}"),
    )
}

/// That systemd has started all that belongs to a system for several users, and nothing failed.
pub fn assert_multi_user(console: &mut Console) {
    let state = shell(
        console,
        "systemctl is-system-running --wait || SYSTEMD_COLORS=0 systemctl status --failed --no-pager; systemctl is-active multi-user.target",
    );
    assert_eq!(state, "running\nactive\n");
}

/// Has the domain's memory set; waits until list and guest have it.
fn set_memory(node: &Node, console: &mut Console, from: u64, mib: u64) {
    let total = |console: &mut Console| -> u64 {
        let said = shell(console, "awk '/MemTotal/ {print $2}' /proc/meminfo");
        said.trim().parse::<u64>().unwrap() >> 10
    };
    let before = total(console);
    node.toolctl(&["mem-set", "image", &mib.to_string()]).ok();
    wait::until(&format!("{mib} MiB"), LIMIT, || {
        let table = node.toolctl(&["list", "image"]).ok();
        let row = table.lines().nth(1).unwrap();
        (row.split_whitespace().nth(2).unwrap() == mib.to_string()).then_some(())
    });
    let wanted = before + mib - from;
    wait::until(&format!("{wanted} MiB in the guest"), LIMIT, || {
        (total(console).abs_diff(wanted) <= 1).then_some(())
    });
}

/// Has the domain's CPUs set; waits until the guest uses that many.
fn set_cpus(node: &Node, console: &mut Console, count: u32) {
    node.toolctl(&["vcpu-set", "image", &count.to_string()])
        .ok();
    shell_until(console, &format!("[ $(nproc) = {count} ]"));
}

/// A disk comes, is written to, and goes, while the root's disk is at work. (`disks.rs` takes one away amid its own writes.)
fn disk_comes_and_goes(node: &Node, console: &mut Console) {
    let data = node.root().join("data.img");
    std::fs::File::create(&data)
        .unwrap()
        .set_len(64 << 20)
        .unwrap();
    let uname = format!("file:{}", data.display());
    node.toolctl(&["block-attach", "image", &uname, "xvdb", "w"])
        .ok();
    shell_until(console, "[ -b /dev/xvdb ]");
    shell(
        console,
        "mke2fs -q -t ext4 /dev/xvdb && mount /dev/xvdb /mnt && cp -r /usr/src/gzip /mnt && umount /mnt",
    );
    let said = node
        .try_toolctl(&["block-detach", "image", "xvdb"], LIMIT)
        .unwrap();
    assert_eq!((said.status, said.stdout.as_str()), (0, ""), "{said:?}");
    shell_until(console, "[ ! -b /dev/xvdb ]");
    image::check(&data).unwrap();
}

/// An interface comes, gets its address, and goes while packets pass through it.
fn interface_comes_and_goes(node: &Node, console: &mut Console, server: &Dnsmasq) {
    const MAC: &str = "00:16:3e:00:80:03";
    let words = [
        "network-attach",
        "image",
        "mac=00:16:3e:00:80:03",
        "bridge=nxbr8",
    ];
    node.toolctl(&words).ok();
    shell_until(console, "[ -e /sys/class/net/eth1 ]");
    shell(console, "dhclient -1 -pf /run/dhclient eth1");
    let address = server.address(MAC);
    shell(
        console,
        &format!("ip -4 addr show eth1 | grep -F {address}/"),
    );
    shell(
        console,
        "ping -q -f -I eth1 10.80.0.1 >/dev/null 2>&1 & echo $! > /run/ping; ping -q -c 20 -i 0.05 -I eth1 10.80.0.1",
    );
    let said = node
        .try_toolctl(&["network-detach", "image", "1"], LIMIT)
        .unwrap();
    assert_eq!((said.status, said.stdout.as_str()), (0, ""), "{said:?}");
    shell_until(console, "[ ! -e /sys/class/net/eth1 ]");
    shell(console, "kill $(cat /run/ping /run/dhclient)");
}

#[test]
fn debian_gains_and_loses_all_that_it_can_while_it_works_on_an_image_and_on_lvm() {
    in_lab();
    let start = std::time::Instant::now();
    // What takes how long, for whoever wants it shorter.
    let lap = |what: &str| eprintln!("{:6.1} s: {what}", start.elapsed().as_secs_f64());
    let node = node_with_scripts();
    let _bridge = Bridge::new("nxbr8", "10.80.0.1/24");
    let server = Dnsmasq::new("nxbr8", "10.80.0.10,10.80.0.99", node.root());
    let root = node.root().join("root.img");
    let [pristine, ..] = assets::debian().unwrap();
    let copied = run(
        "cp",
        &[
            "--sparse=always",
            pristine.to_str().unwrap(),
            root.to_str().unwrap(),
        ],
    );
    assert_eq!(copied.0, 0, "{}", copied.1);
    lap("image copied");
    let [lvm_mac, mac] = ["00:16:3e:00:80:01", "00:16:3e:00:80:02"];
    let [at_first, least, most] = MEMORY;
    let domain = debian("image", &format!("file:{}", root.display()), mac)
        .memory(at_first as u32)
        .vcpus(4)
        .line(&format!("maxmem = {most}"))
        .line("vcpu_avail = 1");
    let mut console = node.create_on_console(&domain).unwrap();
    lap("created");
    console.login(LIMIT).unwrap();
    lap("login");
    assert_multi_user(&mut console);
    lap("multi-user");
    let mounts = shell(&mut console, "grep ' / ' /proc/mounts");
    assert!(mounts.contains("/dev/xvda / ext4 rw"), "{mounts}");
    let address = server.address(mac);
    shell(
        &mut console,
        &format!("ip -4 addr show eth0 | grep -F {address}/"),
    );
    shell(
        &mut console,
        &format!(
            "bash /usr/src/gzip/run {} > /var/tmp/suite 2>&1 & true",
            TESTS.join(" ")
        ),
    );
    lap("suite runs");

    disk_comes_and_goes(&node, &mut console);
    lap("disk");
    interface_comes_and_goes(&node, &mut console, &server);
    lap("interface");
    set_memory(&node, &mut console, at_first, least);
    lap("256");
    set_cpus(&node, &mut console, 4);
    lap("4 CPUs");
    set_memory(&node, &mut console, least, most);
    lap("768");
    set_cpus(&node, &mut console, 2);
    lap("2 CPUs");
    let said = console.run("wait; cat /var/tmp/suite", SUITE).unwrap();
    lap("suite ended");
    assert!(
        said.contains(&format!(
            "gzip-suite: {} passed, skipped:, failed:.\n",
            TESTS.len()
        )),
        "{said}"
    );
    let log = "dmesg | grep -E 'BUG|Oops|WARNING:|soft lockup' || true";
    assert_eq!(shell(&mut console, log), "");
    lap("looked");

    console.send("i=0; while :; do i=$((i+1)); cp -r /usr/src/gzip/tests /var/tmp/t$((i % 5)); sync; echo synced $i.; done\n").unwrap();
    console.expect("synced 3.", LIMIT).unwrap();
    let vmm = node.only_vmm().pid;
    assert!(process::signal(vmm, Signal::KILL));
    node.wait_gone("image", LIMIT);
    lap("killed");
    // The journal is replayed (status 1: corrected), and then nothing is left to complain of.
    let (status, text) = run("/sbin/e2fsck", &["-p", root.to_str().unwrap()]);
    assert!(
        status <= 1 && text.contains("recovering journal"),
        "{status}: {text}"
    );
    image::check(&root).unwrap();
    lap("checked");

    let _group = Group::new(node.root(), &root);
    lap("volume made");
    node.create(&debian("lvm", "phy:noxen/root", lvm_mac));
    // Beside it, since both take long to boot: what xen-create-image made, by the config that it wrote.
    let _pygrub = Pygrub::new();
    let config = assets::xen_tools_config().unwrap();
    let words = ["create", config.to_str().unwrap()];
    let said = node.try_toolctl(&words, LIMIT).unwrap();
    assert_eq!(said.status, 0, "{said:?}");
    lap("both created");
    server.address("00:16:3e:00:80:04");
    let mut tools = node.console("tools").unwrap();
    tools.login(LIMIT).unwrap();
    assert_multi_user(&mut tools);
    lap("tools is up");
    node.toolctl(&["destroy", "tools"]).ok();

    server.address(lvm_mac);
    let mut console = node.console("lvm").unwrap();
    console.login(LIMIT).unwrap();
    assert_multi_user(&mut console);
    lap("lvm is up");
    let said = node.try_toolctl(&["shutdown", "-w", "lvm"], LIMIT).unwrap();
    assert_eq!(said.status, 0, "{said:?}");
    lap("lvm is down");
    image::check(Path::new(Group::VOLUME)).unwrap();
}
