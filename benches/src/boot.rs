//! Boot: from the start of the tool's process to the first line that user space prints.
//!
//! ```text
//!   each in turn, ROUNDS times ──┬── first line: samples, KVM's counters, parts ──┬── boot.json, after each
//!                                └── stands still: no sample, its console kept ───┘
//!   ours once more, traced ───────── exits by kind (tracing costs time: no sample)
//! ```
//! The same kernel, initramfs, memory and one vCPU for all; contender.rs says how each starts. Virtual time
//! repeats, so a few rounds show whether a figure can be trusted. A run may be of some contenders only; their figures
//! then take their places among those of earlier runs.

use crate::contender::{Contender, Guest, Noxen, NoxenVmm, Qemu};
use crate::exits::Exits;
use crate::patience::Patience;
use crate::report::{self, Report, Row};
use crate::{cpu_time, kvm};
use anyhow::{bail, Result};
use noxen_integration_tests::assets::{self, Flavour};
use noxen_integration_tests::console::Console;
use noxen_integration_tests::memory;
use std::path::Path;
use std::time::{Duration, Instant};

const MEMORY_MIB: u32 = 512;
/// The guest's init prints it before it does anything else.
const FIRST_LINE: &str = "NOXEN-INIT up";

const ROUNDS: usize = 3;
/// For one boot. The slowest takes 15 s of the lab's time, which are 80 s of real time on a busy machine.
const PATIENCE: Patience = Patience {
    lab: Duration::from_secs(40),
    real: Duration::from_secs(180),
};

/// Names of contenders, as contender.rs has them.
const NOXEN: &str = "noxen";
const NOXEN_VMM: &str = "noxen-vmm";
const Q35: &str = "qemu-q35-pvh";
const MICROVM: &str = "qemu-microvm";
/// All, in the order in which they take turns.
const CONTENDERS: [&str; 4] = [NOXEN, NOXEN_VMM, Q35, MICROVM];

/// Boots once; `look` gets the guest that has printed its first line, and the time to it.
///
/// A guest that does not get there has its console kept as `log`.
fn once(
    contender: &dyn Contender,
    log: &str,
    look: impl FnOnce(&Console, u64) -> Result<()>,
) -> Result<()> {
    let command = contender.command()?;
    let start = Instant::now();
    let mut console = Console::spawn(&command)?;
    let outcome = PATIENCE
        .expect(&mut console, FIRST_LINE)
        .and_then(|()| {
            let time = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
            look(&console, time)
        })
        .or_else(|error| {
            let log = report::keep_console(log, &console)?;
            Err(error.context(format!("its console is kept as {log}")))
        });
    // Whatever came of it, the next one must have the host for itself.
    let ended = contender.end(console);
    outcome.and(ended)
}

/// A boot with everything that costs it no time.
fn sample(contender: &dyn Contender, round: usize, row: &mut Row) -> Result<()> {
    let name = contender.name();
    once(
        contender,
        &format!("boot-{name}-{round}"),
        |console, time| {
            let monitor = contender.monitor(console);
            let kvm = kvm::counters(monitor)?;
            row.monitor = contender.counters()?;
            row.kvm = kvm;
            row.samples_ns.push(time);
            row.parts_ns.push(parts(console.pid(), monitor, time));
            if let Some(usage) = memory::usage(monitor) {
                // QEMU's guest RAM is anonymous and not told apart here; ours is a file.
                row.figures.insert(
                    "private MiB of the monitor process".to_owned(),
                    usage.private_kib as f64 / 1024.0,
                );
            }
            eprintln!("boot: {name}, round {round}: {:.1} ms", time as f64 / 1e6);
            Ok(())
        },
    )
}

/// Where the time went: with one CPU, what threads had of it, and the rest.
///
/// The vCPU is the guest's kernel with whatever KVM does for it. The rest is the work of other processes
/// (for ours xend and xenstored), process starts, and waiting.
fn parts(tool: u32, monitor: u32, total: u64) -> Vec<(String, u64)> {
    let threads = cpu_time::threads(monitor);
    let is_vcpu = |name: &str| name.starts_with("vcpu") || name.starts_with("CPU ");
    let sum = |vcpu: bool| -> u64 {
        threads
            .iter()
            .filter(|(name, _)| is_vcpu(name) == vcpu)
            .map(|(_, time)| time)
            .sum()
    };
    let tool = match tool == monitor {
        true => 0,
        false => cpu_time::threads(tool).values().sum(),
    };
    let (kernel, build) = (sum(true), sum(false));
    let rest = total.saturating_sub(kernel + build + tool);
    [
        ("tool", tool),
        ("monitor process", build),
        ("vCPU", kernel),
        ("rest", rest),
    ]
    .map(|(name, time)| (name.to_owned(), time))
    .into()
}

/// Whether a contender is made of our programs.
fn ours(name: &str) -> bool {
    [NOXEN, NOXEN_VMM].contains(&name)
}

/// The contender of that name, ready to be started.
fn contender_named(name: &str, guest: &Guest) -> Result<Box<dyn Contender>> {
    Ok(match name {
        NOXEN => {
            let noxen = Noxen::new(guest)?;
            let start = Instant::now();
            noxen.warm_up();
            eprintln!(
                "boot: noxen unpacked its kernel: {:.1} ms for a first create -p and destroy",
                start.elapsed().as_secs_f64() * 1e3
            );
            Box::new(noxen)
        }
        NOXEN_VMM => Box::new(NoxenVmm::new(guest)?),
        Q35 => Box::new(Qemu::q35(guest)?),
        MICROVM => Box::new(Qemu::microvm(guest)?),
        other => bail!("{other:?} is no contender of this bench: there are {CONTENDERS:?}"),
    })
}

/// The bench, with the contenders of these names; none are all. Others' figures come from `earlier`.
///
/// It fails when one of ours did not boot in every round, or a peer in none. The JSON file is written again after each
/// boot: what stops the bench does not take the figures along.
pub fn run(wanted: &[String], earlier: Option<&Path>) -> Result<()> {
    let guest = Guest {
        memory: MEMORY_MIB,
        vcpus: 1,
        initramfs: assets::guest_initramfs(Flavour::Generic)?,
        cmdline: "quiet noxen.quietinit".to_owned(),
    };
    let mut report = Report {
        bench: "boot".to_owned(),
        measures: format!(
            "boot: process start to the first user-space line, Debian generic kernel, 1 vCPU, {MEMORY_MIB} MiB; \
             noxen has its unpacked kernel in its cache, only microvm unpacks in the guest"
        ),
        rows: CONTENDERS.map(Row::new).into(),
    };
    if let Some(earlier) = earlier.map(report::read_json).transpose()?.flatten() {
        report.take_in(earlier);
    }
    let all = CONTENDERS.map(str::to_owned);
    let mut chosen = Vec::new();
    for name in if wanted.is_empty() { &all } else { wanted } {
        chosen.push(contender_named(name, &guest)?);
        *report.row(name)? = Row::new(name);
    }
    for round in 1..=ROUNDS {
        for contender in &chosen {
            let row = report.row(contender.name())?;
            if let Err(error) = sample(contender.as_ref(), round, row) {
                eprintln!("boot: {}, round {round}: {error:#}", row.name);
                row.lost.push(format!("round {round}: {error:#}"));
            }
            report::write_json(&report.bench, &report)?;
        }
    }
    if let Some(noxen) = chosen.iter().find(|one| one.name() == NOXEN) {
        let exits = Exits::start()?;
        let row = report.row(NOXEN)?;
        once(noxen.as_ref(), "boot-noxen-traced", |_, _| {
            row.exits = exits.counts()?;
            Ok(())
        })?;
    }
    report.write_and_show()?;
    let failed: Vec<&str> = report
        .rows
        .iter()
        .filter(|row| chosen.iter().any(|one| one.name() == row.name))
        .filter(|row| row.samples_ns.is_empty() || (ours(&row.name) && !row.lost.is_empty()))
        .map(|row| row.name.as_str())
        .collect();
    if !failed.is_empty() {
        bail!("not all got through: {}", failed.join(", "));
    }
    Ok(())
}
