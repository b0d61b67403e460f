//! The few files that take the lab's kernel from its start to our agent on the shared root.
//!
//! ```text
//!   /init (busybox sh) ── insmod in order ── 9p root, read-only ── overlay with a tmpfs ── switch_root ── xtask lab-agent
//! ```

use crate::assets::kernel;
use crate::cpio;
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// Modules that the shared root needs; whatever they depend on comes with them.
const ROOT_MODULES: &[&str] = &["virtio_pci", "9pnet_virtio", "9p", "overlay"];

/// Loaded meanwhile: kvm is large, and its signature takes most of a second to check here.
const KVM_MODULES: &[&str] = &["kvm-amd"];

/// Loaded when the others are in, for they share dependencies.
const HOST_MODULES: &[&str] = &["virtio_console", "tun", "bridge"];

const INIT: &str = r#"#!/bin/sh
# Failures end up on the serial console, which xtask shows when the lab does not come up.
mount -t devtmpfs dev /dev
load() {
    while read -r module; do
        insmod "/modules/$module" || echo "noxen-lab: module $module does not load"
    done < "/modules/$1"
}
load kvm.order &
load root.order
ip link set lo up
mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000,cache=loose,ro root /lower ||
    echo "noxen-lab: the host's root cannot be mounted"
mount -t tmpfs -o mode=755 upper /upper
mkdir /upper/data /upper/work
mount -t overlay -o lowerdir=/lower,upperdir=/upper/data,workdir=/upper/work overlay /new ||
    echo "noxen-lab: no overlay over the host's root"
mount -t devtmpfs dev /new/dev
umount /dev
wait
load host.order
exec switch_root /new "$NOXEN_AGENT" lab-agent
"#;

/// The initramfs, made once for a kernel and this code. The caller holds the cache lock.
pub fn ensure(assets: &Path) -> Result<PathBuf> {
    let path = assets.join(format!("lab-{}.cpio", fingerprint()));
    let linux = assets.join("linux-generic");
    let fresh = |a: &Path, b: &Path| -> bool {
        let time = |p: &Path| fs::metadata(p).and_then(|m| m.modified()).ok();
        matches!((time(a), time(b)), (Some(a), Some(b)) if a >= b)
    };
    if fresh(&path, &linux.join("version")) {
        return Ok(path);
    }
    for old in fs::read_dir(assets)?.flatten() {
        let name = old.file_name();
        if name
            .to_str()
            .is_some_and(|n| n.starts_with("lab-") && n.ends_with(".cpio"))
        {
            // QEMU reads its initramfs at once, so a run that goes on does not miss it.
            let _ = fs::remove_file(old.path());
        }
    }
    let new = assets.join(".lab.cpio.new");
    let bytes = build(&linux.join("modules"), &assets.join("busybox"))?;
    fs::write(&new, bytes).with_context(|| format!("cannot write {}", new.display()))?;
    fs::rename(&new, &path)?;
    Ok(path)
}

fn build(modules: &Path, busybox: &Path) -> Result<Vec<u8>> {
    let mut archive = cpio::Writer::new(Vec::new());
    for dir in ["bin", "dev", "lower", "upper", "new", "modules"] {
        archive.directory(dir, 0o755)?;
    }
    archive.char_device("dev/console", 0o600, 5, 1)?;
    archive.char_device("dev/null", 0o666, 1, 3)?;
    archive.file("bin/busybox", 0o755, &fs::read(busybox)?)?;
    for applet in [
        "sh",
        "mount",
        "umount",
        "insmod",
        "ip",
        "mkdir",
        "switch_root",
    ] {
        archive.link(&format!("bin/{applet}"), "busybox")?;
    }
    let mut packed: Vec<String> = Vec::new();
    for (list, wanted) in [
        ("root.order", ROOT_MODULES),
        ("kvm.order", KVM_MODULES),
        ("host.order", HOST_MODULES),
    ] {
        let mut order = String::new();
        for file in kernel::load_order(modules, wanted)? {
            if packed.contains(&file) {
                continue;
            }
            let name = Path::new(&file)
                .file_name()
                .and_then(|f| f.to_str())
                .context("module without a file name")?;
            archive.file(
                &format!("modules/{name}"),
                0o644,
                &fs::read(modules.join(&file))?,
            )?;
            order.push_str(name);
            order.push('\n');
            packed.push(file);
        }
        archive.file(&format!("modules/{list}"), 0o644, order.as_bytes())?;
    }
    archive.file("init", 0o755, INIT.as_bytes())?;
    Ok(archive.finish()?)
}

fn fingerprint() -> String {
    use std::hash::{Hash, Hasher};
    let mut hasher = std::hash::DefaultHasher::new();
    (INIT, include_str!("initramfs.rs")).hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}
