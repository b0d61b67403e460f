//! `cargo xtask assets`: installed packages and the cache of Debian files (names: `noxen_integration_tests::assets`).
//!
//! ```text
//!   lock ─ apt packages installed? ─ each asset there? ─ apt-get download ─ dpkg-deb -x ─ lay out ─ rename
//! ```
//! Everything is made beside its place and renamed into it, so an interrupted run leaves nothing
//! half-made, and several runs at once wait for one another.

mod apt;
mod clients;
mod costs;
mod debian;
mod download;
mod guest;
mod io;
pub mod kernel;
mod nfs;
mod programs;
mod xen;

use anyhow::{Context, Result};
use noxen_integration_tests::assets::Flavour;
use noxen_integration_tests::layout;
use std::fs;
use std::path::{Path, PathBuf};

/// A lock on the cache, held until dropped.
pub struct CacheLock(#[allow(dead_code)] fs::File);

/// Waits for the cache to be ours.
pub fn lock() -> Result<CacheLock> {
    let dir = layout::assets_dir();
    fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let file = fs::File::create(dir.join(".lock"))?;
    if file.try_lock().is_err() {
        eprintln!(
            "xtask: waiting for another run that fills {}",
            dir.display()
        );
        file.lock()?;
    }
    Ok(CacheLock(file))
}

/// `cargo xtask assets [--force]`
pub fn command(args: &[String]) -> Result<u8> {
    match args {
        [] => {}
        [force] if force == "--force" => {
            let _lock = lock()?;
            for entry in fs::read_dir(layout::assets_dir())? {
                let path = entry?.path();
                if path.file_name().is_some_and(|name| name == ".lock") {
                    continue;
                }
                if path.is_dir() {
                    fs::remove_dir_all(&path)?;
                } else {
                    fs::remove_file(&path)?;
                }
            }
        }
        other => anyhow::bail!("assets takes only --force, not {other:?}"),
    }
    ensure_all()?;
    ensure_debian()?;
    println!("{}", layout::assets_dir().display());
    Ok(0)
}

/// Makes sure that all is there that more than one thing needs.
pub fn ensure_all() -> Result<()> {
    let _lock = lock()?;
    apt::install_missing()?;
    let cache = Cache::open()?;
    cache.busybox()?;
    for flavour in Flavour::ALL {
        cache.linux(flavour)?;
    }
    cache.guests()?;
    cache.grub()?;
    cache.xen_scripts()?;
    cache.pygrub()?;
    cache.novnc()?;
    cache.xterm()?;
    cache.once("clients", |new| clients::lay_out(cache.scratch()?, new))?;
    cache.stamped("nfs-server", &nfs::fingerprint(), |new| {
        nfs::lay_out(cache.scratch()?, new)
    })?;
    cache.stamped("programs", &programs::fingerprint(), |new| {
        programs::lay_out(cache.scratch()?, new)
    })?;
    cache.gnumach()
}

/// Makes sure of the whole Debian guest and of what xen-create-image makes of it; only tests need them.
pub fn ensure_debian() -> Result<()> {
    let _lock = lock()?;
    let cache = Cache::open()?;
    cache.stamped("debian", &debian::fingerprint(), |new| {
        debian::lay_out(cache.scratch()?, new)
    })?;
    cache.in_place("xen-tools", &debian::fingerprint(), |to| {
        debian::xen_create_image(cache.scratch()?, &cache.dir.join("debian/root.img"), to)
    })
}

/// Makes sure of what the lab needs: QEMU, the generic kernel, busybox.
pub fn ensure_lab() -> Result<()> {
    let _lock = lock()?;
    apt::install_missing()?;
    let cache = Cache::open()?;
    cache.busybox()?;
    cache.linux(Flavour::Generic)
}

/// Makes sure of what only the bench `costs` needs: its guest's additions, and real Xen.
pub fn ensure_costs() -> Result<()> {
    let _lock = lock()?;
    let cache = Cache::open()?;
    cache.costs()?;
    cache.once("xen-4.17", |new| {
        let linux = cache.dir.join("linux-generic");
        xen::lay_out(cache.scratch()?, &cache.dir.join("busybox"), &linux, new)
    })
}

/// Makes sure of what only the benches `block` and `net` need in their guests.
pub fn ensure_io() -> Result<()> {
    let _lock = lock()?;
    Cache::open()?.io()
}

/// Makes sure of Xen's own two store daemons, the peers of bench `store`.
pub fn ensure_xen_stores() -> Result<()> {
    let _lock = lock()?;
    apt::install_missing()?;
    Cache::open()?.xen_stores()
}

/// The cache directory and a scratch directory in it, which goes with this value.
struct Cache {
    dir: PathBuf,
    scratch: PathBuf,
}

impl Drop for Cache {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.scratch);
    }
}

impl Cache {
    /// The caller holds the lock.
    fn open() -> Result<Cache> {
        let dir = layout::assets_dir();
        let scratch = dir.join(".scratch");
        if scratch.exists() {
            fs::remove_dir_all(&scratch)?;
        }
        Ok(Cache { dir, scratch })
    }

    fn scratch(&self) -> Result<&Path> {
        fs::create_dir_all(&self.scratch)?;
        Ok(&self.scratch)
    }

    /// Runs `make(temporary path)` unless `name` exists, then renames the result to `name`.
    fn once(&self, name: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        let path = self.dir.join(name);
        if path.exists() {
            return Ok(());
        }
        eprintln!("xtask: making {}", path.display());
        let new = self.scratch()?.join(format!("new-{name}"));
        make(&new).with_context(|| format!("asset {name}"))?;
        fs::rename(&new, &path)?;
        Ok(())
    }

    fn busybox(&self) -> Result<()> {
        self.once("busybox", |new| {
            let tree = apt::fetch("busybox-static", self.scratch()?)?;
            fs::rename(tree.join("bin/busybox"), new)?;
            Ok(())
        })
    }

    fn linux(&self, flavour: Flavour) -> Result<()> {
        self.once(&format!("linux-{}", flavour.name()), |new| {
            let (meta, suffix) = match flavour {
                Flavour::Generic => ("linux-image-amd64", "-amd64"),
                Flavour::Cloud => ("linux-image-cloud-amd64", "-cloud-amd64"),
            };
            let package = apt::resolve(meta, "linux-image-")?;
            anyhow::ensure!(
                package.ends_with(suffix),
                "{meta} depends on {package}, a *{suffix} was expected"
            );
            let tree = apt::fetch(&package, self.scratch()?)?;
            kernel::lay_out(&tree, &self.dir.join("busybox"), new)
        })
    }

    fn guests(&self) -> Result<()> {
        let stamp = self.dir.join(".guest-stamp");
        let names = Flavour::ALL.map(|flavour| format!("guest-{}.cpio", flavour.name()));
        if fs::read_to_string(&stamp).ok().as_deref() != Some(guest::fingerprint().as_str()) {
            for name in &names {
                let old = self.dir.join(name);
                if old.exists() {
                    fs::remove_file(old)?;
                }
            }
        }
        for (flavour, name) in Flavour::ALL.into_iter().zip(&names) {
            self.once(name, |new| {
                let storm = self.scratch()?.join("storm");
                guest::compile_storm(self.scratch()?, &storm)?;
                let linux = self.dir.join(format!("linux-{}", flavour.name()));
                guest::write(&linux, &self.dir.join("busybox"), &storm, new)
            })?;
        }
        fs::write(stamp, guest::fingerprint())?;
        Ok(())
    }

    /// Makes `name` anew when its fingerprint is not the one that it was made with.
    fn stamped(
        &self,
        name: &str,
        fingerprint: &str,
        make: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<()> {
        let stamp = self.dir.join(format!(".{name}-stamp"));
        let path = self.dir.join(name);
        if fs::read_to_string(&stamp).ok().as_deref() != Some(fingerprint) {
            if path.is_dir() {
                fs::remove_dir_all(path)?;
            } else if path.exists() {
                fs::remove_file(path)?;
            }
        }
        self.once(name, make)?;
        fs::write(stamp, fingerprint)?;
        Ok(())
    }

    /// The same for what cannot be moved once it is made: its stamp says that it is whole.
    fn in_place(
        &self,
        name: &str,
        fingerprint: &str,
        make: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<()> {
        let stamp = self.dir.join(format!(".{name}-stamp"));
        let path = self.dir.join(name);
        if fs::read_to_string(&stamp).ok().as_deref() == Some(fingerprint) && path.exists() {
            return Ok(());
        }
        eprintln!("xtask: making {}", path.display());
        if path.exists() {
            fs::remove_dir_all(&path)?;
        }
        make(&path).with_context(|| format!("asset {name}"))?;
        Ok(fs::write(stamp, fingerprint)?)
    }

    fn costs(&self) -> Result<()> {
        self.stamped("costs.cpio", &costs::fingerprint(), |new| {
            costs::write(self.scratch()?, new)
        })
    }

    fn io(&self) -> Result<()> {
        let linux = self.dir.join("linux-generic");
        self.stamped("net", &io::fingerprint(), |new| {
            io::net(self.scratch()?, new)
        })?;
        self.stamped("io.cpio", &io::fingerprint(), |new| {
            io::write(self.scratch()?, &linux, &self.dir.join("net"), new)
        })
    }

    fn grub(&self) -> Result<()> {
        let images = [
            (
                "grub-x86_64-xen.bin",
                "usr/lib/grub-xen/grub-x86_64-xen.bin",
            ),
            ("grub-i386-xen.bin", "usr/lib/grub-xen/grub-i386-xen.bin"),
        ];
        for (name, path) in images {
            self.once(name, |new| {
                let tree = apt::fetch("grub-xen-host", self.scratch()?)?;
                fs::copy(tree.join(path), new)
                    .with_context(|| format!("package grub-xen-host holds no {path}"))?;
                Ok(())
            })?;
        }
        Ok(())
    }

    /// noVNC, which the web page shows screens with; its package would bring a WebSocket proxy and node.js along.
    fn novnc(&self) -> Result<()> {
        self.once("novnc", |new| {
            let tree = apt::fetch("novnc", self.scratch()?)?;
            fs::rename(tree.join("usr/share/novnc"), new)?;
            Ok(())
        })
    }

    /// xterm.js, which the web page shows consoles in: from npm's registry, since Debian's package of it cannot be used.
    fn xterm(&self) -> Result<()> {
        const PLACE: &str = "https://registry.npmjs.org/@xterm/xterm/-/xterm-6.0.0.tgz";
        const SHA256: &str = "908e66e04af6c8dc6b00dd3b54de088e2e81e5ed866284fd6c2fb3c2d1c7a3f6";
        self.once("xterm", |new| {
            let package = self.scratch()?.join("xterm.tgz");
            download::fetch(PLACE, SHA256, &package)?;
            fs::create_dir_all(new)?;
            let unpacked = std::process::Command::new("tar")
                .args([
                    "-xzf".as_ref(),
                    package.as_os_str(),
                    "-C".as_ref(),
                    new.as_os_str(),
                ])
                .args(["--no-same-owner", "--strip-components=1"])
                .status()?;
            anyhow::ensure!(unpacked.success(), "tar of {PLACE} ended with {unpacked}");
            Ok(())
        })
    }

    /// Debian's hotplug scripts, which must run unchanged.
    fn xen_scripts(&self) -> Result<()> {
        self.once("xen-scripts", |new| {
            let tree = apt::fetch("xen-utils-common", self.scratch()?)?;
            fs::rename(tree.join("etc/xen/scripts"), new)?;
            Ok(())
        })
    }

    /// Debian's pygrub, with a program of its name that tells it where its libraries are.
    fn pygrub(&self) -> Result<()> {
        const LIBRARIES: &str = "usr/lib/xen-4.17/lib";
        self.once("pygrub", |new| {
            fs::create_dir_all(new)?;
            for package in ["xen-utils-4.17", "libxenmisc4.17"] {
                let tree = apt::fetch(package, &self.scratch()?.join(package))?;
                let copied = std::process::Command::new("cp")
                    .arg("-a")
                    .args([tree.join("usr"), new.to_owned()])
                    .status()?;
                anyhow::ensure!(copied.success(), "cp of {package} ended with {copied}");
            }
            let program = new.join("pygrub");
            let text = format!(
                "#!/bin/sh\nhere=$(dirname \"$0\")\nlib=$here/{LIBRARIES}/x86_64-linux-gnu\n\
                 LD_LIBRARY_PATH=$lib XEN_FSIMAGE_FSDIR=$lib/xenfsimage exec /usr/bin/python3 $here/usr/lib/xen-4.17/bin/pygrub \"$@\"\n"
            );
            fs::write(&program, text)?;
            Ok(fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755))?)
        })
    }

    /// xenstored and oxenstored with the libraries that they load, in one tree.
    fn xen_stores(&self) -> Result<()> {
        const PACKAGES: [&str; 10] = [
            "xen-utils-4.17",
            "libxenmisc4.17",
            "libxencall1",
            "libxendevicemodel1",
            "libxenevtchn1",
            "libxenforeignmemory1",
            "libxengnttab1",
            "libxenstore4",
            "libxentoolcore1",
            "libxentoollog1",
        ];
        const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";
        const PROGRAMS: &str = "usr/lib/xen-4.17/bin";
        self.once("xen-stores", |new| {
            fs::create_dir_all(new.join(LIBRARIES))?;
            fs::create_dir_all(new.join(PROGRAMS))?;
            for package in PACKAGES {
                let tree = apt::fetch(package, self.scratch()?)?;
                for part in [LIBRARIES, PROGRAMS] {
                    let Ok(entries) = fs::read_dir(tree.join(part)) else {
                        continue;
                    };
                    for entry in entries {
                        let entry = entry?;
                        if !entry.file_type()?.is_dir() {
                            fs::rename(entry.path(), new.join(part).join(entry.file_name()))?;
                        }
                    }
                }
            }
            Ok(())
        })
    }

    fn gnumach(&self) -> Result<()> {
        const PACKAGE: &str = "gnumach-image-1.8-xen-486";
        const IMAGE: &str = "boot/gnumach-1.8-xen-486.gz";
        self.once("gnumach-amd64.gz", |new| {
            let tree = apt::fetch(PACKAGE, self.scratch()?)?;
            fs::copy(tree.join(IMAGE), new)?;
            Ok(())
        })?;
        let foreign = self.once("gnumach-i386.gz", |new| {
            let scratch = self.scratch()?.join("i386");
            let tree = apt::fetch_foreign(PACKAGE, "i386", &scratch)?;
            fs::copy(tree.join(IMAGE), new)?;
            Ok(())
        });
        if let Err(error) = foreign {
            // Not every mirror carries the architecture; what needs the file says that it is missing.
            eprintln!("xtask: going on without it: {error:#}");
        }
        Ok(())
    }
}
