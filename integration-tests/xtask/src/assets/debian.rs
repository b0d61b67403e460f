//! A whole Debian system for a guest: mmdebstrap's, on a raw image, with its own kernel and initrd.
//!
//! ```text
//!   apt's own sources ── mmdebstrap ── tree ── mke2fs -d ── debian/root.img
//!                          │             ├──── boot/vmlinuz-V, boot/initrd.img-V ── debian/{vmlinuz,initrd.img}
//!                          └ debian.sh   ├──── xen-create-image --install-method=copy ── xen-tools/{tools.cfg,domains/tools/disk.img}
//!                                        └──── usr/src/gzip/tests: gzip's own test-suite, of its source package
//! ```
//! initramfs-tools makes the initrd inside the tree, as it would on the guest; it is told the front ends' modules, for it
//! cannot see there which the guest has.

use super::apt;
use anyhow::{ensure, Context, Result};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

const HOOK: &str = include_str!("../../guest/debian.sh");
const SUITE: &str = include_str!("../../guest/gzip-suite.sh");

/// Beside what is essential. lz4 is what the initrd is unpacked with fastest.
const PACKAGES: &[&str] = &[
    "systemd",
    "systemd-sysv",
    "udev",
    "linux-image-cloud-amd64",
    "initramfs-tools",
    "lz4",
    "ifupdown",
    "isc-dhcp-client",
    "iproute2",
    "iputils-ping",
    "e2fsprogs",
];

/// A tree with the merged /usr from its beginning needs no usrmerge, and so no perl.
const NO_USRMERGE: &str = "mkdir -p \"$1/etc/apt/preferences.d\" && \
    printf 'Package: usrmerge\nPin: release *\nPin-Priority: -1\n' > \"$1/etc/apt/preferences.d/usrmerge\"";
const MERGED_USR: &str = "/usr/share/mmdebstrap/hooks/merged-usr";

/// initramfs-tools' settings, there before the kernel's package is configured; and interfaces keep the kernel's names (Debian
/// 12's udev would call eth0 enX0), as many a config and xen-tools expect. NFS is there for a root elsewhere, and not loaded else.
const INITRAMFS: &str = "mkdir -p \"$1/etc/initramfs-tools/conf.d\" \"$1/etc/initramfs-tools/hooks\" \"$1/usr/share/initramfs-tools/modules.d\" \"$1/etc/systemd/network\" && \
    ln -s /dev/null \"$1/etc/systemd/network/99-default.link\" && \
    printf 'MODULES=list\\nCOMPRESS=lz4\\n' > \"$1/etc/initramfs-tools/conf.d/guest\" && \
    printf '#!/bin/sh\\n[ \"$1\" = prereqs ] && exit\\n. /usr/share/initramfs-tools/hook-functions\\nmanual_add_modules nfs nfsv3\\n' > \"$1/etc/initramfs-tools/hooks/nfs\" && \
    chmod 755 \"$1/etc/initramfs-tools/hooks/nfs\" && \
    printf 'xen-blkfront\\nxen-netfront\\next4\\n' > \"$1/usr/share/initramfs-tools/modules.d/guest\"";

/// Left out, as Debian's small images do.
const EXCLUDED: &[&str] = &[
    "share/doc",
    "share/man",
    "share/locale",
    "share/info",
    "lib/x86_64-linux-gnu/gconv",
    "lib/udev/hwdb.d",
];

/// Size of the image: the system takes half of it.
const IMAGE_MIB: u32 = 320;

/// A number that changes when anything that we put into the image changes.
pub fn fingerprint() -> String {
    use std::hash::{Hash, Hasher};
    let mut hasher = std::hash::DefaultHasher::new();
    (HOOK, SUITE, include_str!("debian.rs")).hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

/// Makes the directory `to`.
pub fn lay_out(scratch: &Path, to: &Path) -> Result<()> {
    let sources = sources()?;
    let tree = scratch.join("debian-tree");
    let hook = scratch.join("debian.sh");
    fs::write(&hook, HOOK)?;
    let mut make = Command::new("mmdebstrap");
    make.args(["--quiet", "--variant=minbase", "--format=directory"])
        .arg(format!("--include={}", PACKAGES.join(",")))
        .arg("--aptopt=Acquire::Languages \"none\"")
        .arg(format!("--setup-hook={NO_USRMERGE}"))
        .arg(format!("--hook-dir={MERGED_USR}"))
        .arg(format!("--essential-hook={INITRAMFS}"))
        .arg(format!("--customize-hook=sh {} \"$1\"", hook.display()));
    for excluded in EXCLUDED {
        make.arg(format!("--dpkgopt=path-exclude=/usr/{excluded}/*"));
    }
    let suite = sources.first().context("apt has no Debian source")?;
    make.arg(&suite.suite).arg(&tree);
    make.args(sources.iter().map(|source| source.line("deb")));
    quietly(&mut make)?;

    let tests = tree.join("usr/src/gzip");
    fs::create_dir_all(&tests)?;
    fs::rename(gzip_tests(scratch, suite)?, tests.join("tests"))?;
    fs::write(tests.join("run"), SUITE)?;

    fs::create_dir(to)?;
    for name in ["vmlinuz", "initrd.img"] {
        fs::copy(
            only(&tree.join("boot"), &format!("{name}-"))?,
            to.join(name),
        )?;
    }
    quietly(
        Command::new("/sbin/mke2fs")
            .args(["-q", "-F", "-t", "ext4", "-L", "debian", "-d"])
            .arg(&tree)
            .arg(to.join("root.img"))
            .arg(format!("{IMAGE_MIB}M")),
    )?;
    Ok(fs::remove_dir_all(tree)?)
}

/// Has `xen-create-image` make a guest called "tools" of that image, with its files and its config below `to`.
///
/// The config holds the paths of the disks, so this is their last place. Loop devices are mounted: root's business.
pub fn xen_create_image(scratch: &Path, image: &Path, to: &Path) -> Result<()> {
    // Its hooks install an SSH server, from where apt has its packages.
    let sources = sources()?;
    let release = sources.first().context("apt has no Debian source")?;
    let tree = scratch.join("debian-root");
    fs::create_dir_all(&tree)?;
    fs::create_dir_all(to)?;
    quietly(
        Command::new("mount")
            .args(["-o", "loop,ro"])
            .args([image, &tree]),
    )?;
    let made = quietly(
        Command::new("xen-create-image")
            .args(["--hostname=tools", "--install-method=copy"])
            .args(["--dhcp", "--bridge=nxbr8", "--mac=00:16:3E:00:80:04"])
            .args(["--fs=ext4", "--image=sparse", "--size=600M", "--swap=16M"])
            .args([
                "--memory=256M",
                "--genpass=0",
                "--password=noxen",
                "--nohosts",
            ])
            .arg(format!("--install-source={}", tree.display()))
            .arg(format!("--dist={}", release.suite))
            .arg(format!("--mirror={}", release.uri))
            .arg(format!("--dir={}", to.display()))
            .arg(format!("--output={}", to.display())),
    );
    quietly(Command::new("umount").arg(&tree))?;
    made?;
    // It asks for a sparse file, and copying fills it with zeros.
    quietly(
        Command::new("fallocate")
            .arg("-d")
            .arg(to.join("domains/tools/disk.img")),
    )
}

/// Runs a command that must succeed; what it says is shown only when it does not.
fn quietly(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let out = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("{name} does not run"))?;
    let said = String::from_utf8_lossy(&out.stderr);
    let lines: Vec<&str> = said.lines().collect();
    ensure!(
        out.status.success(),
        "{name} ended with {}: {}",
        out.status,
        lines[lines.len().saturating_sub(10)..].join(" | ")
    );
    Ok(())
}

/// One of Debian's own sources, as apt has it.
struct Source {
    uri: String,
    suite: String,
    component: String,
}

impl Source {
    /// The line of a sources.list.
    fn line(&self, kind: &str) -> String {
        format!("{kind} {} {} {}", self.uri, self.suite, self.component)
    }
}

/// Debian's own sources among those that apt is set up with; the release itself first.
fn sources() -> Result<Vec<Source>> {
    let out = Command::new("apt-get")
        .args(["indextargets", "--format"])
        .arg("$(ORIGIN) $(SITE) $(RELEASE) $(COMPONENT)")
        .arg("Created-By: Packages")
        .stdin(Stdio::null())
        .output()
        .context("apt-get does not run")?;
    ensure!(
        out.status.success(),
        "apt-get indextargets ended with {}",
        out.status
    );
    Ok(debian_sources(&String::from_utf8_lossy(&out.stdout)))
}

fn debian_sources(listing: &str) -> Vec<Source> {
    let mut sources: Vec<Source> = Vec::new();
    for line in listing.lines() {
        let [origin, uri, suite, component] = line.split(' ').collect::<Vec<_>>()[..] else {
            continue;
        };
        let known = sources.iter().any(|s| {
            (s.uri.as_str(), s.suite.as_str()) == (uri, suite) && s.component == component
        });
        if origin == "Debian" && component == "main" && !known {
            sources.push(Source {
                uri: uri.to_owned(),
                suite: suite.to_owned(),
                component: component.to_owned(),
            });
        }
    }
    sources.sort_by_key(|source| source.suite.contains('-'));
    sources
}

/// The directory `tests` of gzip's source package.
fn gzip_tests(scratch: &Path, source: &Source) -> Result<std::path::PathBuf> {
    let dir = scratch.join("gzip");
    fs::create_dir_all(&dir)?;
    let list = dir.join("sources.list");
    fs::write(&list, source.line("deb-src") + "\n")?;
    let options = apt::private_lists(&dir, Some(&list))?;
    let apt_get = |words: &[&str]| {
        let mut command = Command::new("apt-get");
        command.args(words).args(&options).current_dir(&dir);
        quietly(&mut command)
    };
    apt_get(&["update", "-q"])?;
    apt_get(&["source", "-q", "--download-only", "gzip"])?;
    apt::run(
        Command::new("tar")
            .arg("-xf")
            .arg(only(&dir, "gzip_")?)
            .current_dir(&dir),
    )?;
    Ok(only(&dir, "gzip-")?.join("tests"))
}

/// The one entry of `dir` that begins so; of a source package's files, the original archive.
fn only(dir: &Path, prefix: &str) -> Result<std::path::PathBuf> {
    fs::read_dir(dir)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| {
            let name = path.file_name().and_then(|name| name.to_str());
            name.is_some_and(|name| {
                name.starts_with(prefix)
                    && (!prefix.ends_with('_') || name.ends_with(".orig.tar.xz"))
            })
        })
        .with_context(|| format!("there is no {prefix}* in {}", dir.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_debians_own_the_release_first_and_each_once() {
        let listing = "Debian http://m/debian bookworm-updates main\nOther http://o nodistro main\n\
            Debian http://m/debian bookworm main\nDebian http://m/debian bookworm main\nDebian http://m/debian bookworm contrib\n";
        let lines: Vec<String> = debian_sources(listing)
            .iter()
            .map(|source| source.line("deb"))
            .collect();
        assert_eq!(
            lines,
            [
                "deb http://m/debian bookworm main",
                "deb http://m/debian bookworm-updates main"
            ]
        );
    }
}
