//! Programs that run on a PC without an operating system, from Debian's packages.
//!
//! ```text
//!   memtest86+, grub-rescue-pc, Xen's hvmloader ── as they are
//!   isolinux, grub-invaders ── xorriso ── loader.iso: a prompt, and a program by multiboot
//! ```

use super::apt;
use anyhow::{Context, Result};
use std::fs;
use std::path::Path;
use std::process::Command;

/// Package, file in it, name here.
const FILES: &[(&str, &str, &str)] = &[
    (
        "memtest86+",
        "usr/lib/memtest86+/memtest86+x64.iso",
        "memtest.iso",
    ),
    (
        "grub-rescue-pc",
        "usr/lib/grub-rescue/grub-rescue-cdrom.iso",
        "grub.iso",
    ),
    (
        "grub-rescue-pc",
        "usr/lib/grub-rescue/grub-rescue-floppy.img",
        "grub.img",
    ),
    (
        "isolinux",
        "usr/lib/ISOLINUX/isolinux.bin",
        "loader/isolinux.bin",
    ),
    (
        "syslinux-common",
        "usr/lib/syslinux/modules/bios/ldlinux.c32",
        "loader/ldlinux.c32",
    ),
    (
        "syslinux-common",
        "usr/lib/syslinux/modules/bios/mboot.c32",
        "loader/mboot.c32",
    ),
    (
        "syslinux-common",
        "usr/lib/syslinux/modules/bios/libcom32.c32",
        "loader/libcom32.c32",
    ),
    ("grub-invaders", "boot/invaders.exec", "loader/invaders"),
    (
        "xen-utils-4.17",
        "usr/lib/xen-4.17/boot/hvmloader",
        "hvmloader",
    ),
];

/// What ISOLINUX does on loader.iso.
const ISOLINUX: &str = "SAY Noxen tests ISOLINUX\nPROMPT 1\nTIMEOUT 0\nDEFAULT invaders\n\
    LABEL invaders\n KERNEL mboot.c32\n APPEND invaders\n";

/// Tells this layout from an older one.
pub fn fingerprint() -> String {
    format!("{FILES:?}{ISOLINUX}")
}

/// Lays all of them out as directory `to`.
pub fn lay_out(scratch: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to.join("loader"))?;
    for (package, path, name) in FILES {
        let tree = scratch.join("tree").join(package);
        if !tree.exists() {
            apt::fetch(package, scratch)?;
        }
        fs::copy(tree.join(path), to.join(name))
            .with_context(|| format!("package {package} holds no {path}"))?;
    }
    let loader = to.join("loader");
    fs::write(loader.join("isolinux.cfg"), ISOLINUX)?;
    apt::run(
        Command::new("xorriso")
            .args(["-as", "mkisofs", "-quiet", "-V", "LOADER", "-R"])
            .args(["-b", "isolinux.bin", "-c", "boot.cat", "-no-emul-boot"])
            .args(["-boot-load-size", "4", "-boot-info-table", "-o"])
            .args([to.join("loader.iso"), loader.clone()]),
    )?;
    Ok(fs::remove_dir_all(loader)?)
}
