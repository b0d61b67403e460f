//! The Debian files that tests and demo use, by fixed names under [`layout::assets_dir`].
//!
//! ```text
//!   linux-generic/{vmlinuz,vmlinux,config,version,modules/}     package linux-image-amd64
//!   linux-cloud/{vmlinuz,vmlinux,config,version,modules/}       package linux-image-cloud-amd64
//!   grub-x86_64-xen.bin  grub-i386-xen.bin                      package grub-xen-bin
//!   gnumach-amd64.gz  gnumach-i386.gz                           package gnumach-image-1.8-xen-486
//!   pygrub/pygrub                                               packages xen-utils-4.17, libxenmisc4.17
//!   debian/{root.img,vmlinuz,initrd.img}                        a system made by mmdebstrap (xtask: assets/debian.rs)
//!   xen-tools/{tools.cfg,domains/tools/disk.img}                a guest that xen-create-image made of it
//!   xterm/{lib/xterm.js,css/xterm.css,..}                       npm's package @xterm/xterm
//!   clients/                                                    ganeti-3.0, resource-agents, xen-tools, .. (xtask: assets/clients.rs)
//!   nfs-server/                                                 rpcbind and nfs-kernel-server (xtask: assets/nfs.rs)
//!   programs/{*.iso,*.img}                                      programs of a bare PC (xtask: assets/programs.rs)
//!   busybox                                                     package busybox-static
//!   xen-stores/usr/{lib/xen-4.17/bin/{xenstored,oxenstored},lib/..}  packages xen-utils-4.17 and its libraries; bench store only
//!   guest-generic.cpio  guest-cloud.cpio                        made by us from busybox
//! ```

use crate::layout;
use std::fmt;
use std::path::PathBuf;

/// A file of the cache that is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingAsset {
    /// The path that was looked for.
    pub path: PathBuf,
}

impl fmt::Display for MissingAsset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "asset {} is not there: run `cargo xtask assets` first",
            self.path.display()
        )
    }
}

impl std::error::Error for MissingAsset {}

/// Debian's two kernel flavours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavour {
    /// `linux-image-amd64`: payload xz, all drivers.
    Generic,
    /// `linux-image-cloud-amd64`: payload lz4, built for virtual machines.
    Cloud,
}

impl Flavour {
    /// Both, for loops.
    pub const ALL: [Flavour; 2] = [Flavour::Generic, Flavour::Cloud];

    /// The word used in file names.
    pub fn name(self) -> &'static str {
        match self {
            Flavour::Generic => "generic",
            Flavour::Cloud => "cloud",
        }
    }
}

fn existing(relative: &str) -> Result<PathBuf, MissingAsset> {
    let path = layout::assets_dir().join(relative);
    if path.exists() {
        Ok(path)
    } else {
        Err(MissingAsset { path })
    }
}

/// The stock bzImage.
pub fn vmlinuz(flavour: Flavour) -> Result<PathBuf, MissingAsset> {
    existing(&format!("linux-{}/vmlinuz", flavour.name()))
}

/// The ELF file that the bzImage carries, unpacked.
pub fn vmlinux(flavour: Flavour) -> Result<PathBuf, MissingAsset> {
    existing(&format!("linux-{}/vmlinux", flavour.name()))
}

/// The directory that belongs at `/lib/modules/<version>`, with a `modules.dep`.
pub fn modules(flavour: Flavour) -> Result<PathBuf, MissingAsset> {
    existing(&format!("linux-{}/modules", flavour.name()))
}

/// Our PV guest's initramfs with the modules of that kernel.
pub fn guest_initramfs(flavour: Flavour) -> Result<PathBuf, MissingAsset> {
    existing(&format!("guest-{}.cpio", flavour.name()))
}

/// `uname -r` of the kernel.
pub fn version(flavour: Flavour) -> Result<String, MissingAsset> {
    let path = existing(&format!("linux-{}/version", flavour.name()))?;
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(text.trim().to_owned()),
        Err(_) => Err(MissingAsset { path }),
    }
}

/// The 64-bit PV grub.
pub fn grub_x86_64_xen() -> Result<PathBuf, MissingAsset> {
    existing("grub-x86_64-xen.bin")
}

/// The 32-bit PAE PV grub.
pub fn grub_i386_xen() -> Result<PathBuf, MissingAsset> {
    existing("grub-i386-xen.bin")
}

/// The 64-bit PV gnumach (gzipped ELF).
pub fn gnumach_amd64() -> Result<PathBuf, MissingAsset> {
    existing("gnumach-amd64.gz")
}

/// The 32-bit PAE PV gnumach (gzipped ELF).
pub fn gnumach_i386() -> Result<PathBuf, MissingAsset> {
    existing("gnumach-i386.gz")
}

/// A whole Debian system: the raw ext4 image of its root, its kernel, its initrd. root's password is "noxen".
pub fn debian() -> Result<[PathBuf; 3], MissingAsset> {
    Ok([
        existing("debian/root.img")?,
        existing("debian/vmlinuz")?,
        existing("debian/initrd.img")?,
    ])
}

/// The config of the guest that xen-create-image made, as it wrote it. root's password is "noxen".
pub fn xen_tools_config() -> Result<PathBuf, MissingAsset> {
    existing("xen-tools/tools.cfg")
}

/// A tree with Debian's NFS server, to be laid over a machine's root.
pub fn nfs_server() -> Result<PathBuf, MissingAsset> {
    existing("nfs-server")
}

/// A program for a PC without an operating system: `memtest.iso`, `grub.iso`, `grub.img`, `loader.iso`.
pub fn program(name: &str) -> Result<PathBuf, MissingAsset> {
    existing(&format!("programs/{name}"))
}

/// Debian's pygrub, ready to run.
pub fn pygrub() -> Result<PathBuf, MissingAsset> {
    existing("pygrub/pygrub")
}

/// The static busybox.
pub fn busybox() -> Result<PathBuf, MissingAsset> {
    existing("busybox")
}

/// What the benches `block` and `net` add to the guest's initramfs.
pub fn io() -> Result<PathBuf, MissingAsset> {
    existing("io.cpio")
}

/// The program of bench `net`, static.
pub fn net() -> Result<PathBuf, MissingAsset> {
    existing("net")
}

/// What the bench `costs` adds to the guest's initramfs.
pub fn costs() -> Result<PathBuf, MissingAsset> {
    existing("costs.cpio")
}

/// Real Xen: the hypervisor (an ELF file for multiboot), and domain 0's initramfs without an init.
pub fn xen() -> Result<(PathBuf, PathBuf), MissingAsset> {
    Ok((existing("xen-4.17/xen")?, existing("xen-4.17/dom0.cpio")?))
}

/// A tree with Debian's two store daemons and their libraries; `cargo xtask bench store` fetches it.
pub fn xen_stores() -> Result<PathBuf, MissingAsset> {
    existing("xen-stores")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_asset_error_names_path_and_remedy() {
        let text = MissingAsset {
            path: PathBuf::from("a/b"),
        }
        .to_string();
        assert!(
            text.contains("a/b") && text.contains("cargo xtask assets"),
            "{text}"
        );
    }
}
