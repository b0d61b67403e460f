//! A stock kernel's network front end on our back end, a tap and a bridge of the host.
//!
//! ```text
//!   guest eth0 ── rings ── noxen-vmm ── tap vifN.0 ── bridge nxbr0 (10.77.0.1) ── this test's sockets
//! ```
//! The bridge script is ours, at its place below the node's root.

use crate::{in_lab, LIMIT};
use noxen_integration_tests::assets::Flavour;
use noxen_integration_tests::console::Console;
use noxen_integration_tests::guest::Domain;
use noxen_integration_tests::layout;
use noxen_integration_tests::node::Node;
use noxen_integration_tests::wait::try_until;
use std::fs::File;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::thread::JoinHandle;

/// A node with our scripts.
fn node_with_scripts() -> Node {
    let node = Node::new().unwrap();
    let etc = node.root().join("etc/xen");
    std::fs::create_dir_all(&etc).unwrap();
    let scripts = layout::repo_root().join("configs/scripts");
    std::os::unix::fs::symlink(scripts, etc.join("scripts")).unwrap();
    node
}

/// A bridge of this host, gone with this value.
struct Bridge {
    name: &'static str,
}

impl Bridge {
    #[track_caller]
    fn new(name: &'static str, address: &str) -> Bridge {
        let script = format!(
            "ip link add {name} type bridge forward_delay 0 && ip addr add {address} dev {name} && ip link set {name} up"
        );
        let mut command = Command::new("sh");
        command.args(["-c", &script]).stdin(Stdio::null());
        let out = command.output().unwrap();
        assert!(out.status.success(), "{script}: {out:?}");
        Bridge { name }
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["link", "del", self.name]).status();
    }
}

/// Brings the guest's interface up with an address; the name of its MAC's interface must be eth0.
fn configure(console: &mut Console, address: &str) {
    let said = console
        .run(
            &format!(
                "modprobe xen-netfront; n=0; while [ ! -e /sys/class/net/eth0 ] && [ $n -lt 300 ]; do n=$((n+1)); sleep 0.1; done; \
                 ip link set eth0 up && ip addr add {address}/24 dev eth0 && cat /sys/class/net/eth0/address"
            ),
            LIMIT,
        )
        .unwrap();
    assert!(said.contains("00:16:3e:"), "{said}");
}

fn ping(console: &mut Console, address: &str) {
    let said = console
        .run(&format!("ping -q -c 3 -w 60 {address}"), LIMIT)
        .unwrap();
    assert!(said.contains("3 packets received"), "{said}");
}

/// The sum in md5sum's answer, whatever the shell says around it.
fn sum(text: &str) -> String {
    text.split_whitespace()
        .find(|word| word.len() == 32 && word.bytes().all(|byte| byte.is_ascii_hexdigit()))
        .unwrap_or_else(|| panic!("no sum in: {text}"))
        .to_owned()
}

fn sum_of(path: &std::path::Path) -> String {
    let out = Command::new("md5sum").arg(path).output().unwrap();
    sum(&String::from_utf8(out.stdout).unwrap())
}

/// Takes one connection and does `work` with it; neither waits longer than [`LIMIT`] for the guest, so that a guest
/// whose packets do not come through fails the test that asks and no other.
fn serve(
    address: &str,
    work: impl FnOnce(TcpStream) -> io::Result<()> + Send + 'static,
) -> JoinHandle<io::Result<()>> {
    let listener = TcpListener::bind(address).unwrap();
    listener.set_nonblocking(true).unwrap();
    std::thread::spawn(move || {
        let stream = try_until(LIMIT, || listener.accept().ok())
            .ok_or_else(|| io::Error::new(io::ErrorKind::TimedOut, "no guest has connected"))?
            .0;
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(LIMIT))?;
        stream.set_write_timeout(Some(LIMIT))?;
        work(stream)
    })
}

/// What the thread of [`serve`] came to; `said` is the guest's side of it, for the message.
#[track_caller]
fn served(server: JoinHandle<io::Result<()>>, said: &str) {
    if let Err(error) = server.join().unwrap() {
        panic!("the host's end: {error}; the guest said: {said}");
    }
}

#[test]
fn guest_moves_megabytes_both_ways_unchanged() {
    in_lab();
    let node = node_with_scripts();
    let _bridge = Bridge::new("nxbr0", "10.77.0.1/24");
    let domain = Domain::debian("net", Flavour::Cloud)
        .unwrap()
        .vcpus(2)
        .line("vif = [ 'bridge=nxbr0, mac=00:16:3e:00:77:02' ]");
    let mut console = node.create_on_console(&domain).unwrap();
    console.login(LIMIT).unwrap();
    configure(&mut console, "10.77.0.2");
    ping(&mut console, "10.77.0.1");

    // Up: 4 MiB of random data, and what arrived has the sum that left.
    let up = node.root().join("up");
    let mut file = File::create(&up).unwrap();
    let server = serve("10.77.0.1:5001", move |mut stream| {
        io::copy(&mut stream, &mut file).map(drop)
    });
    let said = console
        .run(
            "dd if=/dev/urandom of=/tmp/data bs=64k count=64 2>/dev/null; md5sum /tmp/data; nc 10.77.0.1 5001 < /tmp/data",
            LIMIT,
        )
        .unwrap();
    served(server, &said);
    assert_eq!(sum_of(&up), sum(&said));
    // The same data down again.
    let mut file = File::open(&up).unwrap();
    let server = serve("10.77.0.1:5002", move |mut stream| {
        io::copy(&mut file, &mut stream).map(drop)
    });
    let back = console
        .run("nc 10.77.0.1 5002 < /dev/null | md5sum", LIMIT)
        .unwrap();
    served(server, &back);
    assert_eq!(sum(&back), sum(&said));
    node.toolctl(&["destroy", "net"]).ok();
}
