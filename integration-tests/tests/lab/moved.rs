//! `migrate` between two xends of one host: a Debian guest goes there at work and live, comes back standing still, and has
//! noticed nothing.
//!
//! ```text
//!   here ── xvda ─┬─ moved.disk ─┬─ xvda ── there        one of the two has it open
//!        ── vif1.0 ── nxbr3 (10.83.0.1) ── vif2.0 ──     this test at the other end of its connection
//! ```
//! A second domain on each side takes an id, so that the guest has another one wherever it comes to.

use crate::busy::Busy;
use crate::network::{configure, ping};
use crate::support::Bridge;
use crate::{in_lab, LIMIT};
use noxen_integration_tests::assets::Flavour;
use noxen_integration_tests::guest::Domain;
use noxen_integration_tests::node::Node;
use std::path::Path;
use std::process::{Child, Command, Stdio};

const HERE: &str = "8811";
const THERE: &str = "8812";
const MAC: &str = "00:16:3e:00:83:02";

/// A node that takes domains in.
pub fn open_node(port: &str) -> Node {
    Node::taking_in(port.parse().unwrap()).unwrap()
}

/// A domain that never runs and has the next id.
pub fn take_an_id(node: &Node) {
    let domain = Domain::grub("other").unwrap().memory(32);
    let path = node.config(&domain).unwrap();
    node.toolctl(&["create", "-p", &path]).ok();
}

/// How many noxen-vmm processes of `node` have `file` open.
fn holders(node: &Node, file: &Path) -> usize {
    let has = |pid: u32| {
        let fds = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
        fds.flatten()
            .any(|fd| std::fs::read_link(fd.path()).is_ok_and(|path| path == file))
    };
    let vmms = node.processes_of("noxen-vmm");
    vmms.iter().filter(|vmm| has(vmm.pid)).count()
}

/// Waits for a reverse ARP frame on `bridge`, and prints it. Packet sockets are Python's here.
fn announcement(bridge: &str) -> Child {
    let program = format!(
        "import socket; s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x8035)); \
         s.bind(('{bridge}', 0)); s.settimeout({}); print('listening', flush=True); print(s.recv(64).hex(':'))",
        LIMIT.as_secs()
    );
    let mut child = Command::new("/usr/bin/python3")
        .args(["-c", &program])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = [0; 10];
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut first).unwrap();
    assert_eq!(&first, b"listening\n");
    child
}

fn heard(child: Child) -> String {
    let out = child.wait_with_output().unwrap();
    assert!(out.status.success(), "{out:?}");
    String::from_utf8(out.stdout).unwrap()
}

#[test]
fn guest_at_work_goes_to_another_xend_and_back() {
    in_lab();
    let (here, there) = (open_node(HERE), open_node(THERE));
    let _bridge = Bridge::new("nxbr3", "10.83.0.1/24");
    let disk = here.root().join("moved.disk");
    std::fs::File::create(&disk)
        .unwrap()
        .set_len(64 << 20)
        .unwrap();
    let domain = Domain::debian("m", Flavour::Cloud)
        .unwrap()
        .vcpus(2)
        .line(&format!("disk = ['file:{},xvda,w']", disk.display()))
        .line(&format!("vif = ['bridge=nxbr3, mac={MAC}']"));
    let mut console = here.create_on_console(&domain).unwrap();
    console.login(LIMIT).unwrap();
    take_an_id(&here);
    take_an_id(&there);
    configure(&mut console, "eth0", "10.83.0.2");
    let mut busy = Busy::start(&mut console, "10.83.0.1", 5083);
    let said = here.toolctl(&["migrate", "m", "127.0.0.1", "-p", "1"]);
    assert!(said.stderr.contains("can't connect"), "{}", said.stderr);
    assert_eq!((holders(&here, &disk), holders(&there, &disk)), (1, 0));

    let listener = announcement("nxbr3");
    let words = ["migrate", "--live", "m", "127.0.0.1", "-p", THERE, "--json"];
    let said = here.try_toolctl(&words, LIMIT).unwrap();
    let ledger: serde_json::Value = serde_json::from_str(&said.ok()).unwrap();
    eprintln!("there: {ledger}");
    assert!(ledger["bytes"].as_u64().unwrap() > 20_000_000, "{ledger}");
    assert!(!ledger["rounds"].as_array().unwrap().is_empty(), "{ledger}");
    assert_eq!(here.domains(), ["other"]);
    assert_eq!(there.domains(), ["m", "other"]);
    assert_eq!(there.toolctl(&["domid", "m"]).ok(), "2\n");
    assert_eq!((holders(&here, &disk), holders(&there, &disk)), (0, 1));
    let frame = heard(listener);
    assert!(
        frame.starts_with(&format!("ff:ff:ff:ff:ff:ff:{MAC}:80:35:")),
        "{frame}"
    );
    drop(console);
    let mut console = there.console("m").unwrap();
    console.send("\n").unwrap();
    busy.memory_is_right(&mut console);
    busy.talks_on(3);
    ping(&mut console, "10.83.0.1");

    let words = ["migrate", "m", "127.0.0.1", "--port", HERE, "--json"];
    let said = there.try_toolctl(&words, LIMIT).unwrap();
    eprintln!("back: {}", said.ok());
    assert_eq!(there.domains(), ["other"]);
    assert_eq!((holders(&here, &disk), holders(&there, &disk)), (1, 0));
    drop(console);
    let mut console = here.console("m").unwrap();
    console.send("\n").unwrap();
    busy.memory_is_right(&mut console);
    busy.talks_on(3);
    busy.disk_is_right(&mut console);

    // By post-copy: something is always left, so it runs there before all its memory does.
    // (Each time other bytes, so that a page of before would be found.)
    let noise = "sh -c 'n=0; while [ ! -e /run/halt ]; do n=$((n+1)); tail -c +$n /run/data | head -c 3000000 > /run/noise; \
        md5sum < /run/noise > /run/noise.sum; done; touch /run/halted' & true";
    console.run(noise, LIMIT).unwrap();
    let words = [
        "migrate",
        "--live",
        "--postcopy",
        "--downtime",
        "0",
        "m",
        "127.0.0.1",
        "-p",
        THERE,
        "--json",
    ];
    let said = here.try_toolctl(&words, LIMIT).unwrap();
    let ledger: serde_json::Value = serde_json::from_str(&said.ok()).unwrap();
    eprintln!("by post-copy: {ledger}");
    assert!(
        ledger["postcopy"]["bytes"].as_u64().unwrap() > 0,
        "{ledger}"
    );
    assert_eq!((holders(&here, &disk), holders(&there, &disk)), (0, 1));
    drop(console);
    let mut console = there.console("m").unwrap();
    console.send("\n").unwrap();
    busy.memory_is_right(&mut console);
    busy.talks_on(3);
    let halt = "touch /run/halt; n=0; while [ ! -e /run/halted ] && [ $n -lt 900 ]; do n=$((n+1)); sleep 0.1; done; md5sum < /run/noise";
    let sum = console.run(halt, LIMIT).unwrap();
    assert_eq!(sum, console.run("cat /run/noise.sum", LIMIT).unwrap());
    // Its driver of the store has seen nothing of its three changes of ids.
    there.toolctl(&["shutdown", "-w", "m"]).ok();
    there.wait_gone("m", LIMIT);
    assert_eq!(there.domains(), ["other"]);
}
