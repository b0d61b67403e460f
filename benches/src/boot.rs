//! Boot: from the start of the tool's process to the first line that user space prints.
//!
//! ```text
//!   each in turn, a few rounds   ── samples, KVM's counters, parts
//!   ours once more, traced      ── exits by kind (tracing costs time: no sample)
//! ```
//! The same kernel, initramfs, memory and one vCPU for all; contender.rs says how each starts. Virtual time
//! repeats, so two rounds show whether a figure can be trusted; microvm, which unpacks its kernel in the
//! guest for ten virtual seconds, gets one.

use crate::contender::{Contender, Guest, Noxen, NoxenVmm, Qemu};
use crate::exits::Exits;
use crate::report::{Report, Row};
use crate::{cpu_time, kvm};
use anyhow::{Context, Result};
use noxen_integration_tests::assets::{self, Flavour};
use noxen_integration_tests::console::Console;
use noxen_integration_tests::memory;
use std::time::{Duration, Instant};

const MEMORY_MIB: u32 = 512;
/// The guest's init prints it before it does anything else.
const FIRST_LINE: &str = "NOXEN-INIT up";

/// How often each is run.
struct Plan {
    contender: Box<dyn Contender>,
    rounds: usize,
    traced: bool,
    peer: bool,
}

/// Virtual time for one boot; the slowest takes 15 s.
const BOOT_LIMIT: Duration = Duration::from_secs(40);

/// Boots once; the time to the first line. The guest is still there for `look`.
fn once(contender: &dyn Contender, look: impl FnOnce(&Console, u64) -> Result<()>) -> Result<()> {
    let command = contender.command()?;
    let start = Instant::now();
    let mut console = Console::spawn(&command)?;
    console
        .expect(FIRST_LINE, BOOT_LIMIT)
        .with_context(|| format!("{} does not boot", contender.name()))?;
    let time = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
    look(&console, time)?;
    contender.end(console)
}

/// A boot with everything that costs it no time.
fn sample(contender: &dyn Contender, row: &mut Row) -> Result<()> {
    once(contender, |console, time| {
        let monitor = contender.monitor(console);
        row.samples_ns.push(time);
        row.kvm = kvm::counters(monitor)?;
        row.monitor = contender.counters()?;
        row.parts_ns.push(parts(console.pid(), monitor, time));
        if let Some(usage) = memory::usage(monitor) {
            // QEMU's guest RAM is anonymous and not told apart here; ours is a file.
            row.figures.insert(
                "private MiB of the monitor process".to_owned(),
                usage.private_kib as f64 / 1024.0,
            );
        }
        eprintln!("boot: {}: {:.1} ms", contender.name(), time as f64 / 1e6);
        Ok(())
    })
}

/// A sample. A peer that does not come up gets a second try: nested HVM guests under QEMU's TCG now and then
/// stand still, and why was not found. Ours gets none.
fn sample_peer_twice(plan: &Plan, row: &mut Row) -> Result<()> {
    match sample(plan.contender.as_ref(), row) {
        Err(error) if plan.peer => {
            eprintln!("boot: once more, because {error:#}");
            sample(plan.contender.as_ref(), row)
        }
        outcome => outcome,
    }
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

fn plans() -> Result<Vec<Plan>> {
    let guest = Guest {
        memory: MEMORY_MIB,
        vcpus: 1,
        initramfs: assets::guest_initramfs(Flavour::Generic)?,
        cmdline: "quiet noxen.quietinit".to_owned(),
    };
    let noxen = Noxen::new(&guest)?;
    let start = Instant::now();
    noxen.warm_up();
    eprintln!(
        "boot: noxen unpacked its kernel: {:.1} ms for a first create -p and destroy",
        start.elapsed().as_secs_f64() * 1e3
    );
    let plan = |contender: Box<dyn Contender>, rounds, traced, peer| Plan {
        contender,
        rounds,
        traced,
        peer,
    };
    Ok(vec![
        plan(Box::new(noxen), 2, true, false),
        plan(Box::new(NoxenVmm::new(&guest)?), 2, false, false),
        plan(Box::new(Qemu::q35(&guest)?), 2, false, true),
        plan(Box::new(Qemu::microvm(&guest)?), 1, false, true),
    ])
}

/// The bench.
pub fn run() -> Result<Report> {
    let plans = plans()?;
    let mut rows: Vec<Row> = plans
        .iter()
        .map(|plan| Row::new(plan.contender.name()))
        .collect();
    let rounds = plans.iter().map(|plan| plan.rounds).max().unwrap_or(0);
    for round in 0..rounds {
        for (plan, row) in plans.iter().zip(&mut rows) {
            if round < plan.rounds {
                sample_peer_twice(plan, row)?;
            }
        }
    }
    for (plan, row) in plans.iter().zip(&mut rows).filter(|(plan, _)| plan.traced) {
        let exits = Exits::start()?;
        once(plan.contender.as_ref(), |_, _| {
            row.exits = exits.counts()?;
            Ok(())
        })?;
    }
    Ok(Report {
        bench: "boot".to_owned(),
        measures: format!(
            "boot: process start to the first user-space line, Debian generic kernel, 1 vCPU, {MEMORY_MIB} MiB; \
             noxen has its unpacked kernel in its cache, only microvm unpacks in the guest"
        ),
        rows,
    })
}
