//! Block: transfers of a guest's disk, noxen's PV disk beside QEMU's virtio-blk with io_uring.
//!
//! ```text
//!   guest: bin/io ── O_DIRECT, io_submit ── front end ── back end ── disk.img on a tmpfs of the lab
//!   noxen-vmm: xen-blkfront       qemu: virtio-blk-pci, an I/O thread, aio=io_uring
//! ```
//! The same kernel, initramfs, program and file for both, one after the other; raw samples are kept.

use crate::contender::{Contender, Guest, NoxenVmm, Qemu};
use crate::costs::{self, table::take_in, Wanted};
use crate::rates::Rates;
use crate::report;
use anyhow::{Context, Result};
use rustix::mount::{mount, unmount, MountFlags, UnmountFlags};
use std::path::{Path, PathBuf};

const MEMORY_MIB: u32 = 256;
const DISK_BYTES: usize = 64 << 20;

/// A tmpfs of its own with one file that has no holes.
struct Disk {
    dir: PathBuf,
}

impl Disk {
    fn new() -> Result<Disk> {
        let dir = std::env::temp_dir().join(format!("noxen-block-{}", std::process::id()));
        std::fs::create_dir_all(&dir)?;
        mount("none", &dir, "tmpfs", MountFlags::empty(), None).context("cannot mount a tmpfs")?;
        let disk = Disk { dir };
        std::fs::write(disk.file(), vec![0x5a; DISK_BYTES])?;
        Ok(disk)
    }

    fn file(&self) -> PathBuf {
        self.dir.join("disk.img")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = unmount(&self.dir, UnmountFlags::DETACH);
        let _ = std::fs::remove_dir(&self.dir);
    }
}

/// Of the contenders, as they are chosen.
const NOXEN: &str = "noxen-vmm";
const QEMU: &str = "qemu-virtio-blk";

/// The bench; `initramfs` is a file that xtask made.
pub fn run(initramfs: &Path, wanted: &Wanted) -> Result<()> {
    let disk = Disk::new()?;
    let file = disk.file().display().to_string();
    let rows = wanted.rows.join(" ");
    let guest = Guest {
        memory: MEMORY_MIB,
        vcpus: 1,
        initramfs: initramfs.to_owned(),
        cmdline: format!("quiet noxen.quietinit noxen.cmd=io-start block {rows}"),
    };
    let noxen = NoxenVmm::new(&guest)?.with(&["--disk".to_owned(), file.clone()]);
    let drive = format!("file={file},if=none,id=disk,format=raw,aio=io_uring,cache=writeback");
    let options = [
        "-object",
        "iothread,id=io",
        "-drive",
        &drive,
        "-device",
        "virtio-blk-pci,drive=disk,iothread=io",
    ];
    let qemu = Qemu::q35(&guest)?.with(QEMU, &options.map(str::to_owned));
    let measures = format!(
        "block: virtual ns of one transfer, Debian generic kernel, 1 vCPU, {MEMORY_MIB} MiB, raw file on tmpfs"
    );
    let mut rates = Rates::new("block", measures, wanted)?;
    let guests: [(&str, &dyn Contender); 2] = [(NOXEN, &noxen), (QEMU, &qemu)];
    for (name, contender) in guests {
        if !wanted.has_guest(name) {
            continue;
        }
        let column = costs::column(name, contender, guest.vcpus, wanted, true)?;
        take_in(&mut rates.columns, column);
        // A guest that hangs does not take the other's figures along.
        report::write_json(&rates.bench, &rates)?;
    }
    rates.write_and_show()
}
