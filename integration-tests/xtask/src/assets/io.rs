//! What the benches `block`, `net` and `migrate` add to our guest's initramfs: their programs and the peers' drivers.
//!
//! ```text
//!   guest-generic.cpio ++ io.cpio
//!                           ├── bin/{io,net,moved} benches/guest/{io,net,moved}.c, static
//!                           ├── bin/io-start       drivers in, address up, then one of them
//!                           └── virtio/            modules and the order in which they load
//! ```

use super::{costs, kernel};
use crate::cpio;
use anyhow::{Context, Result};
use std::fs;
use std::path::Path;

const PROGRAM: &str = include_str!("../../../../benches/guest/io.c");
const NET: &str = include_str!("../../../../benches/guest/net.c");
const MOVED: &str = include_str!("../../../../benches/guest/moved.c");
/// Drivers of the peers' devices and of the card of a PC of ours; paravirtual ones are in the guest's own archive.
const MODULES: &[&str] = &["virtio_pci", "virtio_blk", "virtio_net", "e1000"];

/// `io-start block [ROW...]`, or `io-start net|moved ADDRESS WORD...`: the drivers of the machine this is, then the program.
/// Devices appear a moment after their driver, and nothing says when but their names.
const START: &str = r#"#!/bin/sh
# An HVM domain sees Xen as well, and has a PC's bus.
if [ -e /sys/hypervisor/uuid ] && [ ! -e /sys/bus/pci/devices/0000:00:00.0 ]; then
    disk=/dev/xvda
    modprobe xen-blkfront
    modprobe xen-netfront
else
    disk=/dev/vda
    while read -r module; do insmod "/virtio/$module"; done < /virtio/order
fi
await() {
    tries=0
    while [ ! -e "$1" ] && [ $tries -lt 100 ]; do tries=$((tries + 1)); sleep 0.1; done
}
case $1 in
block)
    await $disk
    shift
    exec io ask block $disk "$@"
    ;;
net | moved)
    program=$1
    await /sys/class/net/eth0
    ip addr add "$2/24" dev eth0
    ip link set eth0 up
    shift 2
    exec "$program" "$@"
    ;;
esac
"#;

/// Compiles the program of bench `net`, which runs on the host, too.
pub fn net(scratch: &Path, to: &Path) -> Result<()> {
    costs::compile(scratch, "net.c", NET, to)
}

/// Writes the archive for the kernel laid out in `linux`, with that program of [`net`].
pub fn write(scratch: &Path, linux: &Path, net: &Path, to: &Path) -> Result<()> {
    let program = scratch.join("io");
    costs::compile(scratch, "io.c", PROGRAM, &program)?;
    let moved = scratch.join("moved");
    costs::compile(scratch, "moved.c", MOVED, &moved)?;
    let mut archive = cpio::Writer::new(Vec::new());
    archive.file("bin/io", 0o755, &fs::read(&program)?)?;
    archive.file("bin/net", 0o755, &fs::read(net)?)?;
    archive.file("bin/moved", 0o755, &fs::read(&moved)?)?;
    archive.file("bin/io-start", 0o755, START.as_bytes())?;
    archive.directory("virtio", 0o755)?;
    let modules = linux.join("modules");
    let mut order = String::new();
    for file in kernel::load_order(&modules, MODULES)? {
        let name = Path::new(&file)
            .file_name()
            .and_then(|name| name.to_str())
            .context("module file without a name")?;
        let bytes = fs::read(modules.join(&file))?;
        archive.file(&format!("virtio/{name}"), 0o644, &bytes)?;
        order.push_str(name);
        order.push('\n');
    }
    archive.file("virtio/order", 0o644, order.as_bytes())?;
    fs::write(to, archive.finish()?)?;
    Ok(())
}

/// A number that changes when anything that goes into the archive changes.
pub fn fingerprint() -> String {
    use std::hash::{Hash, Hasher};
    let mut hasher = std::hash::DefaultHasher::new();
    (
        PROGRAM,
        NET,
        MOVED,
        costs::HEADER_OF_PROGRAMS,
        include_str!("io.rs"),
    )
        .hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}
