//! The store, by Debian's own clients.

use crate::{in_lab, LIMIT};
use noxen_integration_tests::assets::Flavour;
use noxen_integration_tests::guest::Domain;
use noxen_integration_tests::node::{said, Node};
use std::process::Command;

/// A command of package xenstore-utils, against the node's socket.
pub fn xenstore(node: &Node, args: &[&str]) -> String {
    let mut command = Command::new(args[0]);
    command.args(&args[1..]).env(
        "XENSTORED_PATH",
        node.root().join("var/run/xenstored/socket"),
    );
    said(&mut command, LIMIT).unwrap().ok()
}

#[test]
fn debian_xenstore_tools_list_read_and_write_a_guests_nodes() {
    in_lab();
    let node = Node::new().unwrap();
    let mut console = node
        .create_on_console(&Domain::debian("store", Flavour::Cloud).unwrap())
        .unwrap();
    console.login(LIMIT).unwrap();
    let id = node.toolctl(&["domid", "store"]).ok().trim().to_owned();
    let home = format!("/local/domain/{id}");
    assert_eq!(
        xenstore(&node, &["xenstore-read", &format!("{home}/name")]),
        "store\n"
    );
    let tree = xenstore(&node, &["xenstore-ls", &home]);
    for wanted in [
        "console = \"\"",
        "vm = \"/vm/",
        "memory = \"\"",
        "cpu = \"\"",
        "tty = \"/dev/pts/",
    ] {
        assert!(tree.contains(wanted), "no {wanted} in:\n{tree}");
    }
    let tty = xenstore(&node, &["xenstore-read", &format!("{home}/console/tty")]);
    assert!(std::path::Path::new(tty.trim()).exists(), "{tty}");
    xenstore(
        &node,
        &[
            "xenstore-write",
            &format!("{home}/data/mark"),
            "of the test",
        ],
    );
    assert_eq!(
        xenstore(&node, &["xenstore-read", &format!("{home}/data/mark")]),
        "of the test\n"
    );
    node.toolctl(&["destroy", "store"]).ok();
    let left = xenstore(&node, &["xenstore-list", "/local/domain"]);
    assert!(!left.lines().any(|line| line == id), "{left}");
}
