//! A root file system on an NFS server: the host's, Debian's packages and its kernel's nfsd, in a network namespace of its own.
//!
//! ```text
//!   debian/root.img ── loop, ext4 ── NODE/export ── namespace nxnfs: rpcbind, rpc.nfsd, rpc.mountd ── veth ─┐
//!                                                                     10.83.0.1                           nxbr9
//!   guest: initramfs-tools' ipconfig (DHCP or ip=), nfsmount ── root=/dev/nfs ────────────────── vifN.0 ──┘
//! ```

use crate::debian::{assert_multi_user, shell, Dnsmasq};
use crate::support::{load_modules, node_with_scripts, run, Bridge};
use crate::{in_lab, LIMIT};
use noxen_integration_tests::guest::Domain;
use noxen_integration_tests::node::Node;
use noxen_integration_tests::{assets, wait};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const NAMESPACE: &str = "nxnfs";
const SERVER: &str = "10.83.0.1";

/// What is run in the namespace, with mounts of its own: `sh -c SCRIPT sh TREE EXPORT`. Before it ends it has the kernel's threads end.
const SCRIPT: &str = r#"
set -ex
tree=$1 export=$2
for dir in usr etc; do mount -t overlay -o "lowerdir=$tree/$dir:/$dir" overlay /$dir; done
for dir in /run /srv /var/lib; do mount -t tmpfs tmpfs $dir; done
mkdir /srv/root /run/rpcbind /var/lib/nfs
mount --bind "$export" /srv/root
mount -t nfsd nfsd /proc/fs/nfsd
PATH=/usr/sbin:/usr/bin
rpcbind -f &
until rpcinfo >/run/ready 2>&1; do kill -0 $!; sleep 0.1; done
touch /var/lib/nfs/etab /var/lib/nfs/rmtab
exportfs -r
rpc.nfsd --no-nfs-version 4 --tcp --no-udp 2
rpc.mountd --no-nfs-version 4 --foreground &
until rpcinfo -t localhost mountd 3 >/run/ready 2>&1; do kill -0 $!; sleep 0.1; done
trap 'rpc.nfsd 0; exit 0' TERM
echo serving
wait
"#;

/// The server; gone with this value.
struct Server {
    child: Child,
    export: PathBuf,
}

impl Server {
    /// Serves what is on the file system in `image` as `/srv/root`, at [`SERVER`], on that bridge.
    fn new(node: &Node, image: &Path, bridge: &str) -> Server {
        load_modules(&[
            "drivers/block/loop.ko",
            "drivers/net/veth.ko",
            "crypto/crc32c_generic.ko",
            "lib/crc16.ko",
            "fs/mbcache.ko",
            "fs/jbd2/jbd2.ko",
            "fs/ext4/ext4.ko",
            "net/sunrpc/sunrpc.ko",
            "net/sunrpc/auth_gss/auth_rpcgss.ko",
            "fs/nfs_common/grace.ko",
            "fs/nfs_common/nfs_acl.ko",
            "fs/lockd/lockd.ko",
            "fs/nfsd/nfsd.ko",
        ]);
        let export = node.root().join("export");
        std::fs::create_dir(&export).unwrap();
        let (status, text) = run(
            "mount",
            &[
                "-o",
                "loop",
                image.to_str().unwrap(),
                export.to_str().unwrap(),
            ],
        );
        assert_eq!(status, 0, "{text}");
        let (status, text) = run(
            "sh",
            &[
                "-ec",
                &format!(
                    "ip netns add {NAMESPACE}; ip -n {NAMESPACE} link set lo up; \
                     ip link add nxnfs0 type veth peer name eth0 netns {NAMESPACE}; \
                     ip link set nxnfs0 master {bridge} up; \
                     ip -n {NAMESPACE} addr add {SERVER}/24 dev eth0; ip -n {NAMESPACE} link set eth0 up"
                ),
            ],
        );
        assert_eq!(status, 0, "{text}");
        let said = node.root().join("server.out");
        let out = std::fs::File::create(&said).unwrap();
        let child = Command::new("ip")
            .args(["netns", "exec", NAMESPACE, "unshare", "-m", "sh", "-c"])
            .args([SCRIPT, "sh"])
            .args([&assets::nfs_server().unwrap(), &export])
            .stdin(Stdio::null())
            .stderr(out.try_clone().unwrap())
            .stdout(out)
            .spawn()
            .unwrap();
        let mut server = Server { child, export };
        let text = || std::fs::read_to_string(&said).unwrap();
        let serving = wait::try_until(LIMIT, || {
            let ended = server.child.try_wait().unwrap();
            assert!(ended.is_none(), "{ended:?}: {}", text());
            text().contains("\nserving\n").then_some(())
        });
        assert!(serving.is_some(), "{}", text());
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        run("kill", &[&self.child.id().to_string()]);
        let _ = self.child.wait();
        // What it left in the background has the namespace as well.
        run(
            "sh",
            &[
                "-c",
                &format!("kill $(ip netns pids {NAMESPACE}); ip netns del {NAMESPACE}"),
            ],
        );
        run("umount", &["-l", self.export.to_str().unwrap()]);
    }
}

/// The config of a guest whose disk is elsewhere.
fn guest(name: &str, mac: &str, more: &[&str]) -> Domain {
    let [_, kernel, initrd] = assets::debian().unwrap();
    let mut lines = vec![
        "root = '/dev/nfs'".to_owned(),
        format!("nfs_server = '{SERVER}'"),
        "nfs_root = '/srv/root'".to_owned(),
        format!("vif = ['mac={mac}, bridge=nxbr9']"),
    ];
    lines.extend(more.iter().map(|line| line.to_string()));
    Domain {
        name: name.to_owned(),
        kernel,
        ramdisk: Some(initrd),
        memory: 256,
        vcpus: 1,
        extra: "console=hvc0 rw quiet".to_owned(),
        more: lines,
    }
}

#[test]
fn debian_has_its_root_on_an_nfs_server_by_dhcp_and_by_a_fixed_address() {
    in_lab();
    let node = node_with_scripts();
    let _bridge = Bridge::new("nxbr9", "10.83.0.254/24");
    let dnsmasq = Dnsmasq::new("nxbr9", "10.83.0.10,10.83.0.99", node.root());
    let image = node.root().join("root.img");
    let [pristine, ..] = assets::debian().unwrap();
    let (from, to) = (pristine.to_str().unwrap(), image.to_str().unwrap());
    let copied = run("cp", &["--sparse=always", from, to]);
    assert_eq!(copied.0, 0, "{}", copied.1);
    let server = Server::new(&node, &image, "nxbr9");
    let there = |name: &str| server.export.join(name);
    // As an administrator of such a guest has it: no disk, and nobody takes its interface down.
    std::fs::write(there("etc/fstab"), "").unwrap();
    let interfaces = "auto lo\niface lo inet loopback\niface eth0 inet manual\n";
    std::fs::write(there("etc/network/interfaces"), interfaces).unwrap();
    std::fs::write(there("srv/greeting"), "from the server\n").unwrap();

    let mac = "00:16:3e:00:83:01";
    let domain = guest("dhcp", mac, &["dhcp = 'dhcp'"]);
    let mut console = node.create_on_console(&domain).unwrap();
    console.login(LIMIT).unwrap();
    assert_multi_user(&mut console);
    let line = shell(&mut console, "cat /proc/cmdline");
    let wanted = format!("root=/dev/nfs ip=:{SERVER}::::eth0:dhcp nfsroot={SERVER}:/srv/root ");
    assert!(line.starts_with(&wanted), "{line}");
    let mounts = shell(&mut console, "grep ' / ' /proc/mounts");
    assert!(
        mounts.starts_with(&format!("{SERVER}:/srv/root / nfs rw")) && mounts.contains("vers=3"),
        "{mounts}"
    );
    let address = dnsmasq.address(mac);
    shell(
        &mut console,
        &format!("ip -4 addr show eth0 | grep -F {address}/"),
    );
    let said = shell(
        &mut console,
        "cat /srv/greeting; ls /sys/block | grep -c xvd || true",
    );
    assert_eq!(said, "from the server\n0\n");
    shell(
        &mut console,
        "echo from the guest > /srv/answer && sync /srv/answer",
    );
    let answer = std::fs::read_to_string(there("srv/answer")).unwrap();
    assert_eq!(answer, "from the guest\n");
    let said = node
        .try_toolctl(&["shutdown", "-w", "dhcp"], LIMIT)
        .unwrap();
    assert_eq!(said.status, 0, "{said:?}");

    // The address that the config gives; the root's own shell is enough to see it.
    let fixed = [
        "ip = '10.83.0.5'",
        "netmask = '255.255.255.0'",
        "gateway = '10.83.0.254'",
        "hostname = 'fixed'",
    ];
    let mut domain = guest("fixed", "00:16:3e:00:83:02", &fixed);
    domain.extra.push_str(" init=/bin/sh");
    let mut console = node.create_on_console(&domain).unwrap();
    console.expect("# ", LIMIT).unwrap();
    console
        .send("ip -4 -o addr show eth0; cat /srv/answer; echo said $((40 + 2))\n")
        .unwrap();
    let said = console.expect("said 42", LIMIT).unwrap();
    assert!(
        said.contains("inet 10.83.0.5/24") && said.contains("\nfrom the guest"),
        "{said}"
    );
    node.toolctl(&["destroy", "fixed"]).ok();
}
