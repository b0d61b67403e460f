//! Costs in the guest: what a system call, a fault, a fork, a build take inside, beside KVM's HVM and real Xen's PV.
//!
//! ```text
//!   noxen, hvm    started here, 1 and 2 vCPUs;  COSTS-AT ── counters read ── a line typed ── the next workload
//!   xen-pv        the transcript of a machine of its own under the same QEMU settings (xtask makes it)
//!                                  \── lines.rs ── counts.rs ── table.rs
//! ```
//! Same kernel, same initramfs, same program in all of them.

mod counts;
mod lines;
mod table;

use crate::contender::{Contender, Guest, NoxenVmm, Qemu, LIMIT};
use crate::{kvm, report};
use anyhow::{bail, Context, Result};
use counts::Counts;
use noxen_integration_tests::console::Console;
use std::path::Path;
use table::{Column, Table};

const MEMORY_MIB: u32 = 512;
/// Batches of a workload that the counters see: five samples and the warm-up.
const BATCHES: u64 = 6;
/// The workload that does nothing: what a stop costs in counters.
const NOTHING: &str = "nothing";

/// The bench: the guest's initramfs and real Xen's transcript are files that xtask made.
///
/// The JSON file is written again after each guest: one that hangs does not take the others' figures along.
pub fn run(initramfs: &Path, xen: &Path) -> Result<()> {
    let transcript = std::fs::read_to_string(xen)
        .with_context(|| format!("real Xen's transcript {}", xen.display()))?;
    let mut table = Table {
        bench: "costs".to_owned(),
        measures: format!(
            "costs: virtual ns of one operation in the guest, Debian generic kernel, {MEMORY_MIB} MiB; entries: into our monitor; exits: to KVM"
        ),
        columns: Vec::new(),
    };
    for (vcpus, costs) in lines::of_xen(&transcript)? {
        table.columns.push(Column {
            contender: table::XEN.to_owned(),
            vcpus,
            costs,
            counts: Vec::new(),
        });
    }
    let guests = [1, 2].map(|vcpus| Guest {
        memory: MEMORY_MIB,
        vcpus,
        initramfs: initramfs.to_owned(),
        cmdline: "quiet noxen.quietinit noxen.cmd=costs ask".to_owned(),
    });
    for guest in &guests {
        let measured = column(table::NOXEN, &NoxenVmm::new(guest)?, guest.vcpus)?;
        table.columns.push(measured);
        report::write_json(&table.bench, &table)?;
    }
    let mut missing = Vec::new();
    for guest in &guests {
        match column(table::HVM, &Qemu::microvm_pvh(guest)?, guest.vcpus) {
            Ok(measured) => table.columns.push(measured),
            Err(error) => missing.push(format!("{error:#}")),
        }
        report::write_json(&table.bench, &table)?;
    }
    for column in &mut table.columns {
        drop_nothing(column);
    }
    report::write_json(&table.bench, &table)?;
    print!("{}", table.text());
    println!("{}", table.summary());
    if !missing.is_empty() {
        bail!(
            "not all of KVM's guests got through: {}",
            missing.join("; ")
        );
    }
    Ok(())
}

fn column(name: &str, contender: &dyn Contender, vcpus: u32) -> Result<Column> {
    let mut console = Console::spawn(&contender.command()?)?;
    let stops = attend(contender, &mut console)
        .with_context(|| format!("{} with {vcpus} vCPUs", contender.name()))?;
    let costs = lines::of_guest(&console.transcript())?;
    contender.end(console)?;
    let spans: Vec<Counts> = stops.windows(2).map(|two| two[1].since(&two[0])).collect();
    let nothing = costs.iter().position(|cost| cost.name == NOTHING);
    let stop = nothing
        .and_then(|at| spans.get(at))
        .cloned()
        .unwrap_or_default();
    let counts = costs
        .iter()
        .zip(&spans)
        .map(|(cost, span)| span.minus(&stop).per(cost.operations * BATCHES))
        .collect();
    for cost in &costs {
        eprintln!(
            "costs: {name}, {vcpus} vCPU, {}: {:.0} ns",
            cost.name,
            cost.median_ns()
        );
    }
    Ok(Column {
        contender: name.to_owned(),
        vcpus,
        costs,
        counts,
    })
}

/// Follows the guest from stop to stop; the counters at each.
fn attend(contender: &dyn Contender, console: &mut Console) -> Result<Vec<Counts>> {
    let mut stops = Vec::new();
    loop {
        console.expect("COSTS-AT ", LIMIT)?;
        let at = console.expect("\n", LIMIT)?;
        let monitor = contender.monitor(console);
        stops.push(Counts::new(
            &kvm::counters(monitor)?,
            &contender.counters()?,
        ));
        console.send("\n")?;
        if at.trim() == "end" {
            console.expect("COSTS-DONE", LIMIT)?;
            console.expect("\n", LIMIT)?;
            return Ok(stops);
        }
    }
}

fn drop_nothing(column: &mut Column) {
    if let Some(at) = column.costs.iter().position(|cost| cost.name == NOTHING) {
        column.costs.remove(at);
        if at < column.counts.len() {
            column.counts.remove(at);
        }
    }
}
