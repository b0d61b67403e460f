//! Disk images for test guests, made without rights: mke2fs fills a file system from a directory.
//!
//! ```text
//!   guest-FLAVOUR.cpio ── busybox cpio ── directory (+ /etc/inittab) ── mke2fs -d ── root.img
//! ```
//! The guest's init mounts what `root=` names and goes on there.

use crate::assets::{self, Flavour};
use anyhow::{ensure, Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What busybox's init does on the root image: mount, a login on the console, unmount at the end.
const INITTAB: &str =
    "::sysinit:/bin/mount -o remount,rw /\nhvc0::respawn:/sbin/getty -L 115200 hvc0 vt100\n\
    ::ctrlaltdel:/sbin/reboot\n::shutdown:/bin/umount -a -r\n";

fn run(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let out = command
        .output()
        .with_context(|| format!("{name} does not start"))?;
    let error = String::from_utf8_lossy(&out.stderr).into_owned();
    ensure!(
        out.status.success(),
        "{name} ended with {}: {error}",
        out.status
    );
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

/// The small system of our test guests as files, in `NAME.tree` in `directory`.
pub fn system(directory: &Path, name: &str, flavour: Flavour) -> Result<PathBuf> {
    let tree = directory.join(format!("{name}.tree"));
    fs::create_dir_all(&tree)?;
    let archive = fs::File::open(assets::guest_initramfs(flavour)?)?;
    run(Command::new(assets::busybox()?)
        .args(["cpio", "-i", "-d", "-u"])
        .current_dir(&tree)
        .stdin(archive))?;
    fs::write(tree.join("etc/inittab"), INITTAB)?;
    Ok(tree)
}

/// An ext4 image of `mib` with that system, as `NAME.img` in `directory`.
pub fn root(directory: &Path, name: &str, flavour: Flavour, mib: u32) -> Result<PathBuf> {
    ext4(directory, name, &system(directory, name, flavour)?, mib)
}

/// An ext4 image of `mib` with what is in `tree`, as `NAME.img` in `directory`.
pub fn ext4(directory: &Path, name: &str, tree: &Path, mib: u32) -> Result<PathBuf> {
    let image = directory.join(format!("{name}.img"));
    run(Command::new("/sbin/mke2fs")
        .args(["-q", "-t", "ext4", "-d"])
        .args([tree, &image])
        .arg(format!("{mib}M")))?;
    Ok(image)
}

/// Checks an image that no guest has: what e2fsck says of it. An error when it finds anything to mend.
pub fn check(image: &Path) -> Result<String> {
    run(Command::new("/sbin/e2fsck").args(["-f", "-n"]).arg(image))
}

/// A file of an image that no guest has.
pub fn read(image: &Path, path: &str) -> Result<String> {
    run(Command::new("/sbin/debugfs")
        .args(["-R", &format!("cat {path}")])
        .arg(image))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn image_holds_what_was_in_the_directory_and_is_clean() {
        let directory = std::env::temp_dir().join(format!("noxen-image-{}", std::process::id()));
        let tree = directory.join("tree/etc");
        fs::create_dir_all(&tree).unwrap();
        fs::write(tree.join("motd"), "hello\n").unwrap();
        let image = ext4(&directory, "small", &directory.join("tree"), 8).unwrap();
        assert_eq!(read(&image, "/etc/motd").unwrap(), "hello\n");
        check(&image).unwrap();
        fs::remove_dir_all(&directory).unwrap();
    }
}
