//! Real Xen, for benches: Debian's hypervisor and the archive of a domain 0 that can do `xl create`.
//!
//! ```text
//!   xen-hypervisor-4.17-amd64 ── gunzip ── xen-4.17/xen         (ELF, multiboot)
//!   xen-utils-4.17, libraries ── cpio ──── xen-4.17/dom0.cpio   (busybox, xl, xenstored, xenconsoled, modules)
//! ```
//! Its init comes with each run (bench.rs).

use super::{apt, costs, kernel};
use crate::cpio;
use anyhow::{bail, Context, Result};
use std::fs;
use std::path::Path;
use std::process::Command;

/// Packages whose shared libraries the tools need, libc6 apart.
const LIBRARIES: &[&str] = &[
    "libxenmisc4.17",
    "libxencall1",
    "libxendevicemodel1",
    "libxenevtchn1",
    "libxenforeignmemory1",
    "libxengnttab1",
    "libxenhypfs1",
    "libxenstore4",
    "libxentoolcore1",
    "libxentoollog1",
    "libyajl2",
    "libuuid1",
    "zlib1g",
    "liblzma5",
    "libzstd1",
    "libgcc-s1",
];

/// From xen-utils-4.17.
const TOOLS: &[&str] = &[
    "xl",
    "xenconsoled",
    "xenconsole",
    "xenstored",
    "xen-init-dom0",
];

/// What domain 0's tools talk to.
const MODULES: &[&str] = &["xenfs", "xen-evtchn", "xen-gntdev", "xen-gntalloc"];

/// Lays out directory `to` (which must not exist).
pub fn lay_out(scratch: &Path, busybox: &Path, linux: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    let package = apt::fetch("xen-hypervisor-4.17-amd64", scratch)?;
    let unpacked = Command::new("gzip")
        .arg("-dc")
        .arg(package.join("boot/xen-4.17-amd64.gz"))
        .output()
        .context("gzip does not run")?;
    if !unpacked.status.success() {
        bail!("package xen-hypervisor-4.17-amd64 holds no boot/xen-4.17-amd64.gz that gzip can unpack");
    }
    fs::write(to.join("xen"), unpacked.stdout)?;

    let mut archive = cpio::Writer::new(Vec::new());
    for dir in [
        "bin",
        "dev",
        "proc",
        "sys",
        "run",
        "tmp",
        "etc",
        "etc/xen",
        "lib",
        "usr",
        "usr/lib",
        "usr/lib/xen-4.17",
        "usr/lib/xen-4.17/bin",
        "var",
        "var/lib",
        "var/lib/xen",
        "var/log",
        "var/log/xen",
        "modules",
        "guest",
    ] {
        archive.directory(dir, 0o755)?;
    }
    archive.link("var/run", "/run")?;
    archive.link("var/lock", "/run/lock")?;
    archive.char_device("dev/console", 0o600, 5, 1)?;
    archive.file("bin/busybox", 0o755, &fs::read(busybox)?)?;
    for applet in [
        "sh", "mount", "mkdir", "insmod", "cat", "poweroff", "echo", "sleep",
    ] {
        archive.link(&format!("bin/{applet}"), "busybox")?;
    }
    let utils = apt::fetch("xen-utils-4.17", scratch)?;
    for tool in TOOLS {
        let path = format!("usr/lib/xen-4.17/bin/{tool}");
        archive.file(
            &path,
            0o755,
            &fs::read(utils.join(&path)).with_context(|| path.clone())?,
        )?;
    }
    // xl complains about a missing one.
    let settings = apt::fetch("xen-utils-common", scratch)?.join("etc/xen/xl.conf");
    archive.file("etc/xen/xl.conf", 0o644, &fs::read(settings)?)?;
    costs::libc(&mut archive, scratch)?;
    for library in LIBRARIES {
        shared_objects(&apt::fetch(library, scratch)?, &mut archive)?;
    }
    let mut order = String::new();
    for file in kernel::load_order(&linux.join("modules"), MODULES)? {
        let name = Path::new(&file)
            .file_name()
            .and_then(|name| name.to_str())
            .context("module without a file name")?;
        let bytes = fs::read(linux.join("modules").join(&file))?;
        archive.file(&format!("modules/{name}"), 0o644, &bytes)?;
        order.push_str(&format!("{name}\n"));
    }
    archive.file("modules/order", 0o644, order.as_bytes())?;
    fs::write(to.join("dom0.cpio"), archive.finish()?)?;
    Ok(())
}

/// Adds a package's libraries, each with the links that name it.
fn shared_objects(tree: &Path, archive: &mut cpio::Writer<Vec<u8>>) -> Result<()> {
    for dir in ["lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu"] {
        for entry in fs::read_dir(tree.join(dir)).into_iter().flatten() {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if !name.contains(".so") {
                continue;
            }
            let path = format!("lib/x86_64-linux-gnu/{name}");
            match fs::read_link(entry.path()) {
                Ok(target) => archive.link(&path, &target.display().to_string())?,
                Err(_) => archive.file(&path, 0o755, &fs::read(entry.path())?)?,
            }
        }
    }
    Ok(())
}
