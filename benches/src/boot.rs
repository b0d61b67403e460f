//! Boot: from the start of the tool's process to the first line that user space prints.
//!
//! ```text
//!   noxen           toolctl create -c   (xend and xenstored already run, as on any host that has domains)
//!   qemu-microvm    Debian's bzImage on QEMU/KVM's microvm
//!   qemu-q35-pvh    the ELF kernel through the PVH entry on q35
//! ```
//! The same kernel, initramfs, memory and one vCPU for all; a round takes each once, so that drift
//! hits all alike. Exits are counted in a run of their own, for tracing costs time.

use crate::exits::Exits;
use crate::report::{Contender, Report};
use anyhow::{Context, Result};
use noxen_integration_tests::assets::{self, Flavour};
use noxen_integration_tests::console::{command, Console};
use noxen_integration_tests::guest::Domain;
use noxen_integration_tests::memory;
use noxen_integration_tests::node::Node;
use std::collections::BTreeMap;
use std::process::Command;
use std::time::{Duration, Instant};

const ROUNDS: usize = 3;
const MEMORY_MIB: u32 = 512;
const LIMIT: Duration = Duration::from_secs(300);
/// The guest's init prints it before it does anything else.
const FIRST_LINE: &str = "NOXEN-INIT up";

/// A way to boot.
trait Booter {
    fn name(&self) -> &'static str;
    /// The command whose start is time zero.
    fn command(&self) -> Result<Command>;
    /// The process whose memory counts, once the guest is up.
    fn monitor(&self, console: &Console) -> u32;
    /// Ends the guest.
    fn end(&self, console: Console) -> Result<()>;
}

struct Noxen {
    node: Node,
    config: String,
}

impl Booter for Noxen {
    fn name(&self) -> &'static str {
        "noxen"
    }
    fn command(&self) -> Result<Command> {
        self.node
            .command("toolctl", &["create", "-c", &self.config])
    }
    fn monitor(&self, _: &Console) -> u32 {
        self.node
            .processes_of("noxen-vmm")
            .first()
            .map_or(0, |process| process.pid)
    }
    fn end(&self, mut console: Console) -> Result<()> {
        self.node.toolctl(&["destroy", "boot"]).ok();
        self.node.wait_gone("boot", LIMIT);
        console.wait(LIMIT)?;
        Ok(())
    }
}

struct Qemu {
    name: &'static str,
    args: Vec<String>,
}

impl Booter for Qemu {
    fn name(&self) -> &'static str {
        self.name
    }
    fn command(&self) -> Result<Command> {
        let args: Vec<&str> = self.args.iter().map(String::as_str).collect();
        Ok(command("qemu-system-x86_64", &args))
    }
    fn monitor(&self, console: &Console) -> u32 {
        console.pid()
    }
    fn end(&self, console: Console) -> Result<()> {
        drop(console);
        Ok(())
    }
}

fn qemu(name: &'static str, machine: &str, kernel: &str, initramfs: &str) -> Qemu {
    let memory = MEMORY_MIB.to_string();
    let args = [
        "-enable-kvm",
        "-cpu",
        // QEMU's TCG does not tell the lab's KVM of a guest's XSETBV, so an HVM guest that uses XSAVE
        // loses it at its first exit and never gets to its init.
        "host,-xsave",
        "-M",
        machine,
        "-m",
        &memory,
        "-smp",
        "1",
        "-nodefaults",
        "-no-user-config",
        "-no-reboot",
        "-display",
        "none",
        "-serial",
        "stdio",
        "-kernel",
        kernel,
        "-initrd",
        initramfs,
        "-append",
        "console=ttyS0 quiet noxen.quietinit",
    ];
    Qemu {
        name,
        args: args.iter().map(|arg| (*arg).to_owned()).collect(),
    }
}

/// Boots once; the time to the first line. The guest is still there for `look`.
fn once(booter: &dyn Booter, look: impl FnOnce(u32)) -> Result<u64> {
    let command = booter.command()?;
    let start = Instant::now();
    let mut console = Console::spawn(&command)?;
    console
        .expect(FIRST_LINE, LIMIT)
        .with_context(|| format!("{} does not boot", booter.name()))?;
    let time = start.elapsed();
    look(booter.monitor(&console));
    booter.end(console)?;
    Ok(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
}

/// The bench.
pub fn run() -> Result<Report> {
    let bzimage = assets::vmlinuz(Flavour::Generic)?.display().to_string();
    let elf = assets::vmlinux(Flavour::Generic)?.display().to_string();
    let initramfs = assets::guest_initramfs(Flavour::Generic)?
        .display()
        .to_string();
    let node = Node::new()?;
    let mut domain = Domain::debian("boot", Flavour::Generic)?.memory(MEMORY_MIB);
    domain.extra.push_str(" quiet noxen.quietinit");
    let config = node.config(&domain)?;
    // Starts the daemons.
    node.toolctl(&["list"]).ok();
    let booters: Vec<Box<dyn Booter>> = vec![
        Box::new(Noxen { node, config }),
        Box::new(qemu(
            "qemu-microvm",
            "microvm,x-option-roms=off,pit=off,pic=off,rtc=off,isa-serial=on",
            &bzimage,
            &initramfs,
        )),
        Box::new(qemu("qemu-q35-pvh", "q35", &elf, &initramfs)),
    ];
    let mut contenders: Vec<Contender> = booters
        .iter()
        .map(|booter| Contender {
            name: booter.name().to_owned(),
            samples_ns: Vec::new(),
            exits: BTreeMap::new(),
            figures: BTreeMap::new(),
        })
        .collect();
    for round in 0..ROUNDS {
        for (booter, contender) in booters.iter().zip(&mut contenders) {
            let mut usage = None;
            let time = once(booter.as_ref(), |monitor| usage = memory::usage(monitor))?;
            eprintln!(
                "boot: round {} {}: {:.1} ms",
                round + 1,
                booter.name(),
                time as f64 / 1e6
            );
            contender.samples_ns.push(time);
            if let Some(usage) = usage {
                // QEMU's guest RAM is anonymous and not told apart here; ours is a memfd.
                contender.figures.insert(
                    "private MiB of the monitor process".to_owned(),
                    usage.private_kib as f64 / 1024.0,
                );
            }
        }
    }
    for (booter, contender) in booters.iter().zip(&mut contenders) {
        let exits = Exits::start()?;
        let mut counts = Ok(BTreeMap::new());
        once(booter.as_ref(), |_| counts = exits.counts())?;
        contender.exits = counts?;
    }
    Ok(Report {
        bench: "boot".to_owned(),
        measures: format!(
            "boot: process start to the first user-space line, Debian generic kernel, 1 vCPU, {MEMORY_MIB} MiB, {ROUNDS} rounds"
        ),
        contenders,
    })
}
