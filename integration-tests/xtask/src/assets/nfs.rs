//! An NFS server in a tree of its own: Debian's packages, unpacked, for installing them would start them on this machine.
//!
//! ```text
//!   rpcbind, nfs-kernel-server, their libraries ── T/usr, T/etc ── lab/nfs.rs: overlay of T over / ── chroot
//! ```
//! The directories are those of a merged /usr, or the tree's own /lib would hide the machine's.

use super::apt;
use anyhow::{ensure, Result};
use std::fs;
use std::path::Path;
use std::process::Command;

/// The programs, then what they load that not every machine has.
const PACKAGES: [&str; 9] = [
    "rpcbind",
    "nfs-kernel-server",
    "nfs-common",
    "libtirpc3",
    "libtirpc-common",
    "libwrap0",
    "libnsl2",
    "libevent-core-2.1-7",
    "libsqlite3-0",
];

/// Lays it out below `new`.
pub fn lay_out(scratch: &Path, new: &Path) -> Result<()> {
    fs::create_dir_all(new.join("etc"))?;
    for package in PACKAGES {
        let tree = apt::fetch(package, scratch)?;
        for top in ["bin", "sbin", "lib", "usr", "etc"] {
            let from = tree.join(top);
            if !from.exists() {
                continue;
            }
            let to = match top {
                "usr" | "etc" => new.join(top),
                merged => new.join("usr").join(merged),
            };
            fs::create_dir_all(&to)?;
            let copied = Command::new("cp")
                .arg("-a")
                .arg(from.join("."))
                .arg(&to)
                .status()?;
            ensure!(copied.success(), "cp of {package} ended with {copied}");
        }
    }
    // Whom rpcbind becomes; its package's script would have made it.
    fs::write(
        new.join("etc/passwd"),
        "root:x:0:0:root:/root:/bin/sh\n_rpc:x:100:65534::/run/rpcbind:/usr/sbin/nologin\n",
    )?;
    fs::write(new.join("etc/group"), "root:x:0:\nnogroup:x:65534:\n")?;
    Ok(fs::write(
        new.join("etc/exports"),
        "/srv/root *(rw,no_root_squash,no_subtree_check,insecure)\n",
    )?)
}

/// A number that changes when anything of it changes.
pub fn fingerprint() -> String {
    use std::hash::{Hash, Hasher};
    let mut hasher = std::hash::DefaultHasher::new();
    include_str!("nfs.rs").hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}
