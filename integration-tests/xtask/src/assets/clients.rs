//! Programs that call `xm`, `xl` or xend's Xen-API, in one tree as Debian's packages unpack: too much to install for a few tests.

use super::apt;
use anyhow::{ensure, Result};
use std::path::Path;
use std::process::Command;

/// The programs, then what they load that the tests' own packages do not bring.
const PACKAGES: [&str; 18] = [
    "ganeti-3.0",
    "resource-agents",
    "xen-tools",
    "xen-utils-common",
    "fence-agents",
    "libtext-template-perl",
    "python3-bitarray",
    "python3-cffi-backend",
    "python3-cryptography",
    "python3-openssl",
    "python3-pexpect",
    "python3-psutil",
    "python3-ptyprocess",
    "python3-pycurl",
    "python3-pyinotify",
    "python3-pyparsing",
    "python3-simplejson",
    "python3-six",
];

/// Lays them out below `new`.
pub fn lay_out(scratch: &Path, new: &Path) -> Result<()> {
    std::fs::create_dir_all(new)?;
    for package in PACKAGES {
        let tree = apt::fetch(package, scratch)?;
        let copied = Command::new("cp")
            .arg("-a")
            .arg(tree.join("."))
            .arg(new)
            .status()?;
        ensure!(copied.success(), "cp of {package} ended with {copied}");
    }
    Ok(())
}
