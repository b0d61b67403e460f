//! What several lab tests set up: a node with our hotplug scripts, a bridge, modules of the lab's kernel.

use noxen_integration_tests::assets::{self, Flavour};
use noxen_integration_tests::node::Node;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Runs a program to its end: its status, and both of its outputs.
pub fn run(program: &str, args: &[&str]) -> (i32, String) {
    let out = Command::new(program).args(args).output().unwrap();
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let errors = String::from_utf8_lossy(&out.stderr).into_owned();
    (out.status.code().unwrap_or(-1), text + &errors)
}

/// Loads modules of the lab's kernel, by their paths below `kernel/`, dependencies first.
pub fn load_modules(modules: &[&str]) {
    let kernel = assets::modules(Flavour::Generic).unwrap().join("kernel");
    let busybox = assets::busybox().unwrap().display().to_string();
    for module in modules {
        // A host that has it built in, or loaded, says so in vain: what follows tells.
        run(
            &busybox,
            &["insmod", &kernel.join(module).display().to_string()],
        );
    }
}

/// The test guest's initramfs with what `pick` puts into an empty directory behind it.
pub fn ramdisk_with(node: &Node, pick: &str) -> PathBuf {
    let pack = format!(
        "set -e; mkdir -p added; cd added; {pick}; find . -mindepth 1 | cpio --quiet -o -H newc"
    );
    let mut shell = Command::new("sh");
    shell.args(["-c", &pack]).current_dir(node.root());
    let packed = shell.output().unwrap();
    assert!(packed.status.success(), "{packed:?}");
    let mut archive = std::fs::read(assets::guest_initramfs(Flavour::Cloud).unwrap()).unwrap();
    archive.extend(packed.stdout);
    let path = node.root().join("ramdisk");
    std::fs::write(&path, archive).unwrap();
    path
}

/// A node with our scripts.
pub fn node_with_scripts() -> Node {
    Node::with_scripts().unwrap()
}

/// A bridge of this host, gone with this value.
pub struct Bridge {
    name: &'static str,
}

impl Bridge {
    #[track_caller]
    /// Makes it, with that address and up.
    pub fn new(name: &'static str, address: &str) -> Bridge {
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
