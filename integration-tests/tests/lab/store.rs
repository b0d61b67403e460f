//! The store, by Debian's own clients, on the host and in the guest.

use crate::support::ramdisk_with;
use crate::{in_lab, LIMIT};
use noxen_integration_tests::assets::Flavour;
use noxen_integration_tests::console::Console;
use noxen_integration_tests::guest::Domain;
use noxen_integration_tests::node::{said, Node};
use std::path::PathBuf;
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

/// The test guest's initramfs with the same clients and their libraries behind it.
fn ramdisk_with_clients(node: &Node) -> PathBuf {
    let pick = "mkdir bin
        for name in read write list exists watch; do cp -L /usr/bin/xenstore-$name bin/; done
        libgcc=/lib/x86_64-linux-gnu/libgcc_s.so.1  # its threads end by pthread_cancel
        for library in $(ldd /usr/bin/xenstore-read | grep -o '/[^ ]*') $libgcc; do cp -L --parents $library .; done";
    ramdisk_with(node, pick)
}

/// The clients in the guest reach the same store through the domain's ring.
fn guest_uses_its_clients(node: &Node, console: &mut Console, home: &str) {
    let mut guest = |command: &str| console.run(command, LIMIT).unwrap();
    guest("xenstore-write data/greeting 'from the guest'");
    let greeting = format!("{home}/data/greeting");
    assert_eq!(
        xenstore(node, &["xenstore-read", &greeting]),
        "from the guest\n"
    );
    assert_eq!(guest("xenstore-read data/mark"), "of the test\n");
    assert_eq!(guest("xenstore-list data"), "greeting\nmark\n");
    assert_eq!(guest("xenstore-exists data/nothing || echo none"), "none\n");
    let refused = guest("xenstore-read /vm/nobodys/name 2>&1 || echo status $?");
    assert!(refused.contains("status 1"), "{refused}");
    // The first event is the watch itself, the second one the host's.
    console
        .send("xenstore-watch -n 2 data/knock; echo heard\n")
        .unwrap();
    console.expect("\ndata/knock\r\n", LIMIT).unwrap();
    let knock = format!("{home}/data/knock");
    xenstore(node, &["xenstore-write", &knock, "1"]);
    console.expect("data/knock\r\nheard\r\n", LIMIT).unwrap();
}

#[test]
fn debian_xenstore_tools_list_read_and_write_a_guests_nodes() {
    in_lab();
    let node = Node::new().unwrap();
    let mut domain = Domain::debian("store", Flavour::Cloud).unwrap();
    domain.ramdisk = Some(ramdisk_with_clients(&node));
    let mut console = node.create_on_console(&domain).unwrap();
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
    guest_uses_its_clients(&node, &mut console, &home);
    node.toolctl(&["destroy", "store"]).ok();
    let left = xenstore(&node, &["xenstore-list", "/local/domain"]);
    assert!(!left.lines().any(|line| line == id), "{left}");
}
