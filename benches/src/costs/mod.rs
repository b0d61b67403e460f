//! Costs in the guest: what a system call, a fault, a fork, a build take inside, beside KVM's HVM and real Xen's PV.
//!
//! ```text
//!   noxen, hvm    started here, 1 and 2 vCPUs;  COSTS-AT ── counters read ── a line typed ── the next workload
//!   xen-pv        the transcript of a machine of its own under the same QEMU settings (xtask makes it)
//!                                  \── lines.rs ── counts.rs ── table.rs
//! ```
//! Same kernel, same initramfs, same program in all of them. A run may be of some guests and rows only; its figures
//! then take their places among those of earlier runs.

pub mod counts;
pub mod lines;
pub mod table;

use crate::contender::{Contender, Guest, NoxenVmm, Qemu, LIMIT};
use crate::patience::Patience;
use crate::{cpu_time, kvm, report};
use anyhow::{bail, Context, Result};
use counts::Counts;
use lines::Cost;
use noxen_integration_tests::console::Console;
use std::path::{Path, PathBuf};
use std::time::Duration;
use table::{Column, Table};

const MEMORY_MIB: u32 = 512;
/// Batches of a workload that the counters see: five samples and the warm-up.
const BATCHES: u64 = 6;
/// For each workload of a guest. In a lab on a busy machine the longest takes some minutes of real time; a guest that spins
/// would take as long as the lab may last.
const PATIENCE: Patience = Patience {
    lab: LIMIT,
    real: Duration::from_secs(900),
};
/// The workload that does nothing: what a stop costs in counters.
const NOTHING: &str = "nothing";

/// What to measure.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// `noxen-1`, `hvm-2`, ...: contender and vCPUs. Real Xen's are in its transcript.
    pub guests: Vec<String>,
    /// Workloads; none are all.
    pub rows: Vec<String>,
    /// JSON of earlier runs, whose other figures are kept.
    pub earlier: Option<PathBuf>,
}

impl Wanted {
    /// The kernel command line's end that makes the guest run just these; with `ask` it waits for a line at each stop.
    fn command(&self, ask: bool) -> String {
        let mut command = "noxen.cmd=costs".to_owned();
        if ask {
            command.push_str(" ask");
        }
        if !self.rows.is_empty() {
            command.push_str(&format!(" {NOTHING} {}", self.rows.join(" ")));
        }
        command
    }

    /// Whether that guest is to be measured.
    pub fn has_guest(&self, name: &str) -> bool {
        self.guests.is_empty() || self.guests.iter().any(|guest| guest == name)
    }

    fn check(&self, costs: &[Cost]) -> Result<()> {
        for row in &self.rows {
            if !costs.iter().any(|cost| cost.name == *row) {
                bail!("the guest's program knows no workload {row:?} (benches/guest has them)");
            }
        }
        Ok(())
    }
}

/// The bench: the guest's initramfs and real Xen's transcript, if one was made, are files of xtask.
///
/// The JSON file is written again after each guest: one that hangs does not take the others' figures along.
pub fn run(initramfs: &Path, xen: Option<&Path>, wanted: &Wanted) -> Result<()> {
    let mut table = Table {
        bench: "costs".to_owned(),
        measures: format!(
            "costs: virtual ns of one operation in the guest, Debian generic kernel, {MEMORY_MIB} MiB; entries: into our monitor; exits: to KVM"
        ),
        columns: Vec::new(),
    };
    if let Some(earlier) = &wanted.earlier {
        let earlier: Option<Table> = report::read_json(earlier)?;
        table.columns = earlier.map_or(Vec::new(), |earlier| earlier.columns);
    }
    if let Some(xen) = xen {
        let transcript = std::fs::read_to_string(xen)
            .with_context(|| format!("real Xen's transcript {}", xen.display()))?;
        for (vcpus, costs) in lines::of_xen(&transcript)? {
            wanted.check(&costs)?;
            table.take_in(Column::new(table::XEN, vcpus, costs, Vec::new()));
        }
        report::write_json(&table.bench, &table)?;
    }
    let mut missing = Vec::new();
    for name in &wanted.guests {
        let (contender, vcpus) = guest_named(name)?;
        // A microvm of two vCPUs prints but does not hear its serial port in the lab, so nobody stops it, and its
        // counters cannot be told apart by workload.
        let ask = contender == table::NOXEN || vcpus == 1;
        let guest = Guest {
            memory: MEMORY_MIB,
            vcpus,
            initramfs: initramfs.to_owned(),
            cmdline: format!("quiet noxen.quietinit {}", wanted.command(ask)),
        };
        let measured = match contender {
            table::NOXEN => column(contender, &NoxenVmm::new(&guest)?, vcpus, wanted, ask),
            _ => column(contender, &Qemu::microvm_pvh(&guest)?, vcpus, wanted, ask),
        };
        match measured {
            Ok(measured) => table.take_in(measured),
            Err(error) => missing.push(format!("{error:#}")),
        }
        report::write_json(&table.bench, &table)?;
    }
    print!("{}", table.text());
    println!("{}", table.summary());
    if !missing.is_empty() {
        bail!("not all guests got through: {}", missing.join("; "));
    }
    Ok(())
}

/// `noxen-2` as contender and vCPUs.
fn guest_named(name: &str) -> Result<(&'static str, u32)> {
    let (who, vcpus) = name.rsplit_once('-').unwrap_or((name, ""));
    let contender = [table::NOXEN, table::HVM]
        .into_iter()
        .find(|known| *known == who);
    match (contender, vcpus.parse()) {
        (Some(contender), Ok(vcpus)) if vcpus > 0 => Ok((contender, vcpus)),
        _ => bail!("{name:?} is no guest of this bench: there are noxen-N and hvm-N"),
    }
}

/// Runs one guest of a program that speaks the protocol of `guest/workload.h`, with counters of each workload if it asks.
pub fn column(
    name: &str,
    contender: &dyn Contender,
    vcpus: u32,
    wanted: &Wanted,
    ask: bool,
) -> Result<Column> {
    let mut console = Console::spawn(&contender.command()?)?;
    let stops = attend(contender, &mut console, ask).or_else(|error| {
        // What it last said tells more than that it stopped.
        let log = report::keep_console(&format!("costs-{name}-{vcpus}"), &console)?;
        Err(error.context(format!(
            "{} with {vcpus} vCPUs (its console: {log}, beside the samples)",
            contender.name(),
        )))
    })?;
    let costs = lines::of_guest(&console.transcript())?;
    wanted.check(&costs)?;
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
    Ok(Column::new(name, vcpus, costs, counts))
}

/// Follows the guest from stop to stop; the counters at each.
fn attend(contender: &dyn Contender, console: &mut Console, ask: bool) -> Result<Vec<Counts>> {
    let mut stops = Vec::new();
    if !ask {
        PATIENCE.expect(console, "COSTS-DONE")?;
        console.expect("\n", LIMIT)?;
        return Ok(stops);
    }
    loop {
        PATIENCE.expect(console, "COSTS-AT ")?;
        let at = console.expect("\n", LIMIT)?;
        let monitor = contender.monitor(console);
        let mut counters = contender.counters()?;
        counters.insert(counts::CPU_TIME.to_owned(), cpu_time::threads(monitor));
        stops.push(Counts::new(&kvm::counters(monitor)?, &counters));
        console.send("\n")?;
        if at.trim() == "end" {
            PATIENCE.expect(console, "COSTS-DONE")?;
            console.expect("\n", LIMIT)?;
            return Ok(stops);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guests_are_named_by_contender_and_vcpus() {
        assert_eq!(guest_named("noxen-2").unwrap(), ("noxen", 2));
        assert_eq!(guest_named("hvm-1").unwrap(), ("hvm", 1));
        for wrong in ["hvm", "xen-pv-1", "noxen-0", "noxen-x", ""] {
            assert!(guest_named(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn chosen_rows_are_asked_for_with_the_empty_one_and_missed_if_absent() {
        let wanted = Wanted {
            rows: vec!["pipe".into(), "build".into()],
            ..Wanted::default()
        };
        assert_eq!(
            wanted.command(true),
            "noxen.cmd=costs ask nothing pipe build"
        );
        assert_eq!(Wanted::default().command(false), "noxen.cmd=costs");
        let costs = lines::of_guest("COSTS pipe 1 5\nCOSTS-DONE\n").unwrap();
        let error = wanted.check(&costs).unwrap_err().to_string();
        assert!(error.contains("build"), "{error}");
    }
}
