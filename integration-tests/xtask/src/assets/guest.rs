//! The initramfs of our PV guests: Debian's static busybox, a real init and login, our storm program.
//!
//! ```text
//!   guest/init ── NOXEN-INIT up ── noxen.cmd=... ── output between markers, poweroff
//!        │
//!        └── busybox init ── getty on the console ── login (root / noxen)
//! ```
//! It is left uncompressed: the kernel then only copies, which is what a boot measurement wants.

use super::{apt, kernel};
use crate::cpio;
use anyhow::{bail, Context, Result};
use std::fs;
use std::path::Path;
use std::process::Command;

const INIT: &str = include_str!("../../guest/init.sh");
const STORM: &str = include_str!("../../guest/storm.c");

/// Modules of the front ends and of the guest-side tools; nothing else is needed as a module.
const MODULES: &[&str] = &[
    "xen-blkfront",
    "xen-netfront",
    "evdev",
    "xen-evtchn",
    "xenfs",
    "xen-privcmd",
    "xen-gntdev",
    "xen-gntalloc",
];

/// root's password is "noxen".
const SHADOW: &str = "root:$6$noxen$nXrya6zU6ZnEsvQ3plQDwfTq6uH6EwC0.OTZKkGBubYP/CtSzQlfOS5eL4LkA06euCqrvinN8hJYucIJ8m69t1:19000:0:99999:7:::\n";

/// Writes the initramfs for the kernel laid out in `linux`.
pub fn write(linux: &Path, busybox: &Path, storm: &Path, to: &Path) -> Result<()> {
    let version = fs::read_to_string(linux.join("version"))?;
    let version = version.trim();
    let mut archive = cpio::Writer::new(Vec::new());
    for dir in [
        "bin",
        "sbin",
        "usr",
        "usr/bin",
        "usr/sbin",
        "dev",
        "proc",
        "sys",
        "run",
        "tmp",
        "mnt",
        "root",
        "etc",
        "var",
        "lib",
        "lib/modules",
    ] {
        archive.directory(dir, if dir == "tmp" { 0o1777 } else { 0o755 })?;
    }
    archive.char_device("dev/console", 0o600, 5, 1)?;
    archive.char_device("dev/null", 0o666, 1, 3)?;
    archive.file("bin/busybox", 0o755, &fs::read(busybox)?)?;
    for applet in applets(busybox)? {
        if applet != "bin/busybox" {
            archive.link(&applet, "/bin/busybox")?;
        }
    }
    archive.file("bin/storm", 0o755, &fs::read(storm)?)?;
    archive.file("init", 0o755, INIT.as_bytes())?;
    archive.file(
        "etc/passwd",
        0o644,
        b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    )?;
    archive.file(
        "etc/group",
        0o644,
        b"root:x:0:\ntty:x:5:\nnogroup:x:65534:\n",
    )?;
    archive.file("etc/shadow", 0o600, SHADOW.as_bytes())?;
    archive.file("etc/hostname", 0o644, b"noxen-guest\n")?;
    archive.file("etc/issue", 0o644, b"Noxen test guest \\n \\l\n\n")?;
    archive.file(
        "etc/profile",
        0o644,
        b"export PS1='\\u@\\h:\\w# ' HOME=/root\n",
    )?;

    let files = kernel::load_order(&linux.join("modules"), MODULES)?;
    let base = format!("lib/modules/{version}");
    archive.directory(&base, 0o755)?;
    let mut dep = String::new();
    for file in &files {
        let name = Path::new(file)
            .file_name()
            .and_then(|f| f.to_str())
            .context("module file without a name")?;
        archive.file(
            &format!("{base}/{name}"),
            0o644,
            &fs::read(linux.join("modules").join(file))?,
        )?;
        let own = kernel::load_order(&linux.join("modules"), &[name.trim_end_matches(".ko")])?;
        let needs: Vec<&str> = own
            .iter()
            .filter(|need| *need != file)
            .filter_map(|need| Path::new(need).file_name()?.to_str())
            .collect();
        dep.push_str(&format!("{name}: {}\n", needs.join(" ")));
    }
    archive.file(&format!("{base}/modules.dep"), 0o644, dep.as_bytes())?;
    fs::write(to, archive.finish()?)?;
    Ok(())
}

/// The paths at which `busybox --install` would put its applets.
fn applets(busybox: &Path) -> Result<Vec<String>> {
    let out = Command::new(busybox).arg("--list-full").output()?;
    if !out.status.success() {
        bail!(
            "{} --list-full ended with {}",
            busybox.display(),
            out.status
        );
    }
    let text = String::from_utf8(out.stdout).context("busybox --list-full is not text")?;
    Ok(text
        .lines()
        .filter(|line| {
            ["bin/", "sbin/", "usr/bin/", "usr/sbin/"]
                .iter()
                .any(|dir| line.starts_with(dir))
        })
        .map(str::to_owned)
        .collect())
}

/// Compiles the storm program (static, for the guest).
pub fn compile_storm(scratch: &Path, to: &Path) -> Result<()> {
    let source = scratch.join("storm.c");
    fs::write(&source, STORM)?;
    apt::run(
        Command::new("gcc")
            .args(["-O2", "-Wall", "-Werror", "-static", "-pthread", "-o"])
            .arg(to)
            .arg(&source),
    )
}

/// A number that changes when anything that goes into the initramfs changes.
pub fn fingerprint() -> String {
    use std::hash::{Hash, Hasher};
    let mut hasher = std::hash::DefaultHasher::new();
    (INIT, STORM, MODULES, SHADOW, include_str!("guest.rs")).hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}
