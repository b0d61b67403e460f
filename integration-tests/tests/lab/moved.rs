//! `migrate` between two xends of one host: a guest goes there while it runs, comes back standing still, and answers.

use crate::{in_lab, LIMIT};
use noxen_integration_tests::assets::{self, Flavour};
use noxen_integration_tests::guest::Domain;
use noxen_integration_tests::node::Node;

const HERE: &str = "8811";
const THERE: &str = "8812";

/// A node that takes domains in.
fn open_node(port: &str) -> Node {
    let node = Node::new().unwrap();
    let etc = node.root().join("etc/xen");
    std::fs::create_dir_all(&etc).unwrap();
    let settings = format!(
        "(xend-relocation-server yes)\n(xend-relocation-port {port})\n(xend-relocation-address 127.0.0.1)\n"
    );
    std::fs::write(etc.join("xend-config.sxp"), settings).unwrap();
    node.toolctl(&["list"]).ok();
    node
}

#[test]
fn guest_goes_to_another_xend_and_back() {
    in_lab();
    let (here, there) = (open_node(HERE), open_node(THERE));
    // GRUB is at its prompt in seconds, and keeps nothing but memory.
    let mut domain = Domain::debian("g", Flavour::Generic).unwrap().memory(128);
    domain.kernel = assets::grub_x86_64_xen().unwrap();
    domain.ramdisk = None;
    domain.extra = String::new();
    let mut console = here.create_on_console(&domain).unwrap();
    console.expect("grub> ", LIMIT).unwrap();
    // What the other one is to remember.
    console.send("set word=remembered\n").unwrap();
    console.expect("grub> ", LIMIT).unwrap();
    let said = here.toolctl(&["migrate", "g", "127.0.0.1", "-p", "1"]);
    assert!(said.stderr.contains("can't connect"), "{}", said.stderr);

    let said = here.toolctl(&["migrate", "--live", "g", "127.0.0.1", "-p", THERE, "--json"]);
    let ledger: serde_json::Value = serde_json::from_str(&said.ok()).unwrap();
    assert!(ledger["bytes"].as_u64().unwrap() > 0, "{ledger}");
    assert_eq!(here.domains(), [""; 0]);
    assert!(here.processes_of("noxen-vmm").is_empty());
    assert_eq!(there.domains(), ["g"]);
    drop(console);
    there
        .toolctl(&["migrate", "g", "127.0.0.1", "--port", HERE])
        .ok();
    assert_eq!(there.domains(), [""; 0]);
    let mut console = here.console("g").unwrap();
    console.send("echo it is $word\n").unwrap();
    console.expect("it is remembered", LIMIT).unwrap();
    here.toolctl(&["destroy", "g"]).ok();
}
