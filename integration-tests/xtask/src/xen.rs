//! Real Xen under the lab's emulator and clock: one boot, its guests' output as a file.
//!
//! ```text
//!   xen (multiboot) ── vmlinux as domain 0 ── dom0.cpio ++ init, guest's kernel and initramfs ── xl create ...
//!        └── com1 = QEMU's standard output ──> transcript, until XEN-OVER
//! ```
//! The same `-cpu max`, one vCPU and instruction counter as `lab --icount`, so that virtual times compare. Xen gets
//! the faster choice wherever there is one: it runs on that machine directly, not under KVM; it goes without SMAP
//! and SMEP (with them QEMU's TCG kills domain 0 at start), without its mitigations of CPU bugs (the lab host and our
//! monitor have none either), and its guests read the TSC natively (dom0.sh).

use crate::cpio;
use anyhow::{bail, Context, Result};
use noxen_integration_tests::assets::{self, Flavour};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// The first program of domain 0.
const INIT: &str = include_str!("../../../benches/guest/dom0.sh");
/// Its last word.
const OVER: &str = "XEN-OVER";
/// Real time for all of it, on a busy machine.
const LIMIT: Duration = Duration::from_secs(1800);

/// QEMU, which does not outlive this value.
struct Machine(Child);

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What domain 0 is to do.
#[derive(Debug, Clone)]
pub struct Order {
    /// Guests, by their numbers of vCPUs.
    pub vcpus: Vec<u32>,
    /// Workloads of `costs`; none are all.
    pub rows: Vec<String>,
}

/// Boots Xen, lets its domain 0 run its guests with `initramfs`, and writes all that was said to `to`.
///
/// `scratch` is a directory for the archive, which is removed.
pub fn run(initramfs: &Path, order: &Order, scratch: &Path, to: &Path) -> Result<()> {
    let (xen, dom0) = assets::xen()?;
    let kernel = assets::vmlinux(Flavour::Generic)?;
    let archive = scratch.join("dom0-run.cpio");
    let mut bytes = fs::read(&dom0).with_context(|| dom0.display().to_string())?;
    bytes.extend(cargo(&kernel, initramfs, order)?);
    fs::write(&archive, bytes)?;
    let outcome = boot(&xen, &kernel, &archive, to);
    let _ = fs::remove_file(&archive);
    outcome
}

/// What a run adds to the archive.
fn cargo(kernel: &Path, initramfs: &Path, order: &Order) -> Result<Vec<u8>> {
    let mut archive = cpio::Writer::new(Vec::new());
    let vcpus: Vec<String> = order.vcpus.iter().map(u32::to_string).collect();
    for (name, words) in [("guest/vcpus", &vcpus), ("guest/rows", &order.rows)] {
        archive.file(name, 0o644, format!("{}\n", words.join(" ")).as_bytes())?;
    }
    archive.file("init", 0o755, INIT.as_bytes())?;
    archive.file("guest/vmlinux", 0o644, &fs::read(kernel)?)?;
    archive.file("guest/initramfs", 0o644, &fs::read(initramfs)?)?;
    Ok(archive.finish()?)
}

fn boot(xen: &Path, kernel: &Path, archive: &Path, to: &Path) -> Result<()> {
    let module = |path: &Path| path.display().to_string().replace(',', ",,");
    let child = Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "--", "qemu-system-x86_64"])
        .args(["-nodefaults", "-no-user-config", "-no-reboot"])
        .args(["-display", "none"])
        .args(["-machine", "q35,vmport=off,hpet=off", "-cpu", "max"])
        .args(["-accel", "tcg,thread=single", "-icount", "shift=1"])
        .args(["-smp", "1", "-m", "4096", "-serial", "stdio"])
        .arg("-kernel")
        .arg(xen)
        .arg("-append")
        .arg("console=com1 com1=115200,8n1 dom0_mem=1024M,max:1024M loglvl=warning noreboot=1 smap=0 smep=0 spec-ctrl=no")
        .arg("-initrd")
        .arg(format!(
            "{} console=hvc0 quiet,{}",
            module(kernel),
            module(archive)
        ))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("setpriv (package util-linux) does not run")?;
    let mut machine = Machine(child);
    let stream = machine.0.stdout.take().context("no pipe")?;
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        let mut lines = BufReader::new(stream);
        let mut line = Vec::new();
        while lines.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
            if tell.send(std::mem::take(&mut line)).is_err() {
                return;
            }
        }
    });
    let mut file = fs::File::create(to)?;
    let start = Instant::now();
    loop {
        let left = LIMIT.saturating_sub(start.elapsed());
        let Ok(line) = told.recv_timeout(left) else {
            bail!(
                "real Xen did not get to its end within {} s, or died; its words are in {}",
                LIMIT.as_secs(),
                to.display()
            );
        };
        file.write_all(&line)?;
        let line = String::from_utf8_lossy(&line);
        if line.contains("crashed") {
            bail!(
                "real Xen: {}; all its words are in {}",
                line.trim(),
                to.display()
            );
        }
        if line.trim() == OVER {
            return Ok(());
        }
    }
}
