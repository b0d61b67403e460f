//! A stock kernel's network front end on our back end, a tap and a bridge of the host.
//!
//! ```text
//!   guest eth0 ── rings ── noxen-vmm ── tap vifN.0 ── bridge nxbr0 (10.77.0.1) ── this test's sockets
//! ```
//! The bridge script is ours, at its place below the node's root.

use crate::support::{node_with_scripts, Bridge};
use crate::{in_lab, LIMIT};
use noxen_integration_tests::assets::Flavour;
use noxen_integration_tests::console::Console;
use noxen_integration_tests::guest::Domain;
use noxen_integration_tests::node::Node;
use noxen_integration_tests::wait::try_until;
use std::fs::File;
use std::io::{self, Read};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::mpsc::channel;
use std::thread::JoinHandle;

/// Bytes of the longest frame of one segment.
const FRAME: u64 = 1514;

/// Bytes and packets so far of the only tap on a bridge.
struct Passed {
    up: (u64, u64),
    down: (u64, u64),
}

impl Passed {
    fn over(bridge: &str) -> Passed {
        let ports = std::fs::read_dir(format!("/sys/class/net/{bridge}/brif")).unwrap();
        let ports: Vec<_> = ports.map(|port| port.unwrap().file_name()).collect();
        let [port] = &ports[..] else {
            panic!("{bridge} has the ports {ports:?}");
        };
        let tap = format!("/sys/class/net/{}/statistics", port.to_string_lossy());
        let count = |name: &str| -> u64 {
            let text = std::fs::read_to_string(format!("{tap}/{name}")).unwrap();
            text.trim().parse().unwrap()
        };
        // What the host receives on a tap is what the guest has sent.
        Passed {
            up: (count("rx_bytes"), count("rx_packets")),
            down: (count("tx_bytes"), count("tx_packets")),
        }
    }
}

/// Brings an interface of the guest up with an address, once it is there.
pub fn configure(console: &mut Console, interface: &str, address: &str) {
    let said = console
        .run(
            &format!(
                "modprobe xen-netfront; n=0; while [ ! -e /sys/class/net/{interface} ] && [ $n -lt 300 ]; do n=$((n+1)); sleep 0.1; done; \
                 ip link set {interface} up && ip addr add {address}/24 dev {interface} && cat /sys/class/net/{interface}/address"
            ),
            LIMIT,
        )
        .unwrap();
    assert!(said.contains("00:16:3e:"), "{said}");
}

/// Three answers from `address`.
pub fn ping(console: &mut Console, address: &str) {
    let said = console
        .run(&format!("ping -q -c 3 -w 60 {address}"), LIMIT)
        .unwrap();
    assert!(said.contains("3 packets received"), "{said}");
}

/// The sum in md5sum's answer, whatever the shell says around it.
pub fn sum(text: &str) -> String {
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
pub fn serve(
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
    configure(&mut console, "eth0", "10.77.0.2");
    ping(&mut console, "10.77.0.1");

    // Up: 4 MiB of random data, and what arrived has the sum that left.
    let before = Passed::over("nxbr0");
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
    let between = Passed::over("nxbr0");
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
    // Most of it in packets of several segments, none of which is ever longer than a frame on a wire.
    let after = Passed::over("nxbr0");
    for (way, bytes, packets) in [
        ("up", between.up.0 - before.up.0, between.up.1 - before.up.1),
        (
            "down",
            after.down.0 - between.down.0,
            after.down.1 - between.down.1,
        ),
    ] {
        assert!(bytes >= 4 << 20, "{way}: {bytes} bytes");
        assert!(
            bytes > packets * FRAME,
            "{way}: {bytes} bytes in {packets} packets"
        );
    }
    node.toolctl(&["destroy", "net"]).ok();
}

/// A domain on the bridge `nxbr1`, logged in and with its address.
fn on_bridge(node: &Node, name: &str, address: &str) -> Console {
    let domain = Domain::debian(name, Flavour::Cloud)
        .unwrap()
        .memory(192)
        .line("vif = [ 'bridge=nxbr1' ]");
    let mut console = node.create_on_console(&domain).unwrap();
    console.login(LIMIT).unwrap();
    configure(&mut console, "eth0", address);
    console
}

#[test]
fn domains_on_one_bridge_talk_and_an_interface_comes_and_goes_under_traffic() {
    in_lab();
    let node = node_with_scripts();
    let _bridge = Bridge::new("nxbr1", "10.78.0.1/15");
    let mut one = on_bridge(&node, "one", "10.78.1.1");
    let mut two = on_bridge(&node, "two", "10.78.1.2");
    ping(&mut two, "10.78.1.1");

    // What the one sends is what the other gets.
    one.send("nc -l -p 5000 > /tmp/got\n").unwrap();
    let sent = two
        .run(
            "dd if=/dev/urandom of=/tmp/data bs=64k count=16 2>/dev/null; md5sum /tmp/data; \
             n=0; until nc 10.78.1.1 5000 < /tmp/data || [ $n = 100 ]; do n=$((n+1)); sleep 0.1; done",
            LIMIT,
        )
        .unwrap();
    let got = one.run("md5sum /tmp/got", LIMIT).unwrap();
    assert_eq!(sum(&got), sum(&sent));

    for round in 0..2 {
        node.toolctl(&["network-attach", "two", "bridge=nxbr1"])
            .ok();
        configure(&mut two, "eth1", "10.79.0.2");
        let port = 5010 + round;
        let (arrived, arrives) = channel();
        // The guest's end vanishes without a word, so nobody waits for this one's end.
        let _sink = serve(&format!("0.0.0.0:{port}"), move |mut stream| {
            let mut part = vec![0; 1 << 20];
            stream.read_exact(&mut part)?;
            let _ = arrived.send(());
            io::copy(&mut stream, &mut io::sink()).map(drop)
        });
        let traffic = format!(
            "ip route add 10.78.0.1/32 dev eth1 src 10.79.0.2 && (dd if=/dev/zero bs=64k count=100000 2>/dev/null | nc 10.78.0.1 {port}; echo over > /tmp/over) & true"
        );
        two.run(&traffic, LIMIT).unwrap();
        arrives.recv_timeout(LIMIT).unwrap();
        let listing = node.toolctl(&["network-list", "two"]).ok();
        let row = listing.lines().last().unwrap();
        let number = row.split_whitespace().next().unwrap().to_owned();
        assert_ne!(number, "0", "{listing}");
        let said = node
            .try_toolctl(&["network-detach", "two", &number], LIMIT)
            .unwrap();
        assert_eq!((said.status, said.stdout.as_str()), (0, ""), "{said:?}");
        two.run(
            "n=0; while [ -e /sys/class/net/eth1 ] && [ $n -lt 600 ]; do n=$((n+1)); sleep 0.1; done; test ! -e /sys/class/net/eth1 && killall nc",
            LIMIT,
        )
        .unwrap();
        let listing = node.toolctl(&["network-list", "two"]).ok();
        assert_eq!(listing.lines().count(), 2, "{listing}");
    }
    ping(&mut one, "10.78.1.2");
    node.toolctl(&["destroy", "one"]).ok();
    node.toolctl(&["destroy", "two"]).ok();
}
