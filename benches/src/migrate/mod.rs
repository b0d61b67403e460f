//! Migrate: a guest at work that moves between two sides of one host, Noxen's beside QEMU's, and saves beside `cp`.
//!
//! ```text
//!   guest of 512 MiB ── ticks, stream ── watch.rs      idle, then writing 10, 50, 90 % of what the wire carries
//!   noxen (PV), noxen-hvm and qemu-q35 (HVM, KVM), one after the other, the same kernel, initramfs, program and wire
//!        └── a move a row: silence seen from outside, total, bytes, steps ── migrate.json, migrate.svg, table
//!   noxen: save to a tmpfs beside cp, restore until the next tick beside reading the file
//!   --soak N: noxen and noxen-hvm, at work, to and fro N times (soak.rs)
//! ```
//! Downtime is the longest silence of a ticker in the guest, by this host's clock: a guest's own clock may stand still with it.

mod contender;
mod network;
mod noxen;
mod qemu;
mod saved;
pub mod soak;
mod timeline;
mod watch;
mod yardstick;

use crate::contender::Guest;
use crate::costs::Wanted;
use crate::report;
use anyhow::{Context, Result};
use contender::{Mover, Step};
use network::{Network, GUEST, HOST, WIRE};
use noxen::Kind;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::time::Duration;
use watch::Watch;
use yardstick::Yardstick;

const MEMORY_MIB: u32 = 512;
/// What the guest's program fills and writes.
const NOISE_MIB: u64 = 64;
/// The longest that it is to stand still.
const DOWNTIME_MS: u32 = 60;
/// How long it runs so before it moves, and after.
const SETTLE: Duration = Duration::from_millis(500);
/// What the guest's program says when it can be asked.
const READY: &str = "MOVED-READY";
/// The guest's address.
const MAC: &str = "00:16:3e:00:84:02";

/// Names of contenders; those of Noxen are [`Kind::name`].
const QEMU: &str = "qemu-q35";
/// Noxen's domains, in the table's order.
const OURS: [Kind; 2] = [Kind::Pv, Kind::Hvm];
/// Rows of moves: name, and how much of the wire the guest writes, per cent.
const ROWS: [(&str, u64); 4] = [
    ("idle", 0),
    ("dirty-10", 10),
    ("dirty-50", 50),
    ("dirty-90", 90),
];
/// The row of files.
const SAVED: &str = "saved";

/// One move.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct Sample {
    /// Who moved it.
    pub contender: String,
    /// What the guest did.
    pub row: String,
    /// From the command to its end, µs.
    pub total_us: u64,
    /// Longest silence of the ticker around it, µs.
    pub downtime_us: u64,
    /// The same while the guest ran as before and was not moved.
    pub quiet_us: u64,
    /// What the mover calls its downtime, µs.
    pub own_downtime_us: u64,
    /// Longest pause by the guest's own clock, µs.
    pub guest_clock_us: u64,
    /// Longest time of a line of the TCP stream, µs.
    pub stream_us: u64,
    /// Ticks that never came.
    pub missing: u64,
    /// Why the stream was lost, if it was.
    pub lost: Option<String>,
    /// Bytes of memory sent.
    pub bytes: u64,
    /// What the mover says its downtime is made of, µs.
    pub parts: Vec<(String, u64)>,
    /// Rounds of Noxen; what QEMU says a tenth of a second.
    pub steps: Vec<Step>,
}

/// The outcome.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Outcome {
    bench: String,
    measures: String,
    /// The lab's time in that of the machine below it: arithmetic, copies, socket.
    slow_down: [f64; 3],
    samples: Vec<Sample>,
    saved: Vec<saved::Sample>,
}

/// One of our rows beside QEMU's.
#[derive(Clone, Copy, Debug)]
struct Ratio {
    ours: &'static str,
    row: &'static str,
    still: f64,
    total: f64,
}

/// The yardstick here, as JSON, for [`run`] in the lab.
pub fn yardstick() -> Result<()> {
    println!("{}", serde_json::to_string(&Yardstick::measure()?)?);
    Ok(())
}

/// The bench: `initramfs` is a file that xtask made, `modules` what the wire needs, `below` the yardstick of the machine below.
pub fn run(initramfs: &Path, modules: &str, below: &str, wanted: &Wanted) -> Result<()> {
    let below: Yardstick = serde_json::from_str(below).context("the yardstick")?;
    let slow_down = Yardstick::measure()?.factors(&below);
    let mut outcome = match &wanted.earlier {
        Some(path) => report::read_json(path)?.unwrap_or_default(),
        None => Outcome::default(),
    };
    outcome.bench = "migrate".to_owned();
    outcome.measures = format!(
        "migrate: virtual ms, Debian generic kernel, 1 vCPU, {MEMORY_MIB} MiB, {NOISE_MIB} MiB of noise, wire {} MiB/s, to stand still for {DOWNTIME_MS} ms at most",
        WIRE >> 20
    );
    outcome.slow_down = slow_down;
    for name in OURS.map(Kind::name).iter().chain([&QEMU]) {
        if wanted.has_guest(name) {
            of_guest(name, initramfs, modules, wanted, &mut outcome)?;
        }
    }
    if has_row(wanted, SAVED) && wanted.has_guest(Kind::Pv.name()) {
        let _network = Network::new(modules, None)?;
        outcome.saved = saved::run(initramfs)?;
        keep(&outcome)?;
    }
    print!("{}", outcome.table());
    println!("{}", outcome.summary());
    Ok(())
}

fn has_row(wanted: &Wanted, row: &str) -> bool {
    wanted.rows.is_empty() || wanted.rows.iter().any(|other| other == row)
}

fn keep(outcome: &Outcome) -> Result<()> {
    // What is measured stays if what comes next hangs.
    report::write_json("migrate", outcome)?;
    let path = report::out_file("migrate.svg")?;
    let picture = timeline::svg(&outcome.samples, WIRE);
    std::fs::write(&path, picture).with_context(|| path.display().to_string())
}

/// The guest, whose program has so much noise.
fn guest(initramfs: &Path, memory: u32, noise: u64) -> Guest {
    Guest {
        memory,
        vcpus: 1,
        initramfs: initramfs.to_owned(),
        // A tick at all times: the lab's AMD-V loses what wakes a halted HVM guest now and then (docs/testing.md), and its next tick
        // mends that. For all of them alike.
        cmdline: format!(
            "quiet nohz=off noxen.quietinit noxen.cmd=io-start moved {GUEST} {noise} {HOST}"
        ),
    }
}

fn of_guest(
    name: &str,
    initramfs: &Path,
    modules: &str,
    wanted: &Wanted,
    outcome: &mut Outcome,
) -> Result<()> {
    let rows = ROWS.iter().filter(|(row, _)| has_row(wanted, row));
    let rows: Vec<(&str, u64)> = rows.copied().collect();
    if rows.is_empty() {
        return Ok(());
    }
    let _network = Network::new(modules, Some(WIRE))?;
    let guest = guest(initramfs, MEMORY_MIB, NOISE_MIB);
    let mut mover: Box<dyn Mover> = match OURS.into_iter().find(|kind| kind.name() == name) {
        Some(kind) => Box::new(noxen::Noxen::start(kind, &guest, READY)?),
        None => Box::new(qemu::Peer::start(&guest, READY)?),
    };
    let mut watch = Watch::begin(HOST, GUEST)?;
    for (row, percent) in rows {
        let sample = one(name, row, percent, mover.as_mut(), &mut watch)
            .with_context(|| format!("{name}, {row}"))?;
        eprintln!("{name} {row}: {sample:?}");
        outcome
            .samples
            .retain(|old| (old.contender.as_str(), old.row.as_str()) != (name, row));
        outcome.samples.push(sample);
        keep(outcome)?;
    }
    Ok(())
}

fn one(
    name: &str,
    row: &str,
    percent: u64,
    mover: &mut dyn Mover,
    watch: &mut Watch,
) -> Result<Sample> {
    watch.rate(WIRE * percent / 100 / 4096)?;
    std::thread::sleep(SETTLE);
    watch.look();
    std::thread::sleep(SETTLE);
    let quiet = watch.look();
    watch.own_pause()?;
    let moved = mover.move_live(DOWNTIME_MS)?;
    std::thread::sleep(SETTLE);
    let own_pause = watch.own_pause()?;
    let seen = watch.look();
    watch.rate(0)?;
    let us = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    Ok(Sample {
        contender: name.to_owned(),
        row: row.to_owned(),
        total_us: us(moved.total),
        downtime_us: us(seen.silence),
        quiet_us: us(quiet.silence),
        own_downtime_us: us(moved.own_downtime),
        guest_clock_us: us(own_pause),
        stream_us: us(seen.stream),
        missing: seen.missing,
        lost: seen.lost,
        bytes: moved.bytes,
        parts: moved.parts,
        steps: moved.steps,
    })
}

impl Outcome {
    fn of(&self, contender: &str, row: &str) -> Option<&Sample> {
        let mut samples = self.samples.iter();
        samples.find(|s| s.contender == contender && s.row == row)
    }

    /// Ratio of ours to QEMU's in each row that both have.
    fn ratios(&self) -> Vec<Ratio> {
        let ratio = |a: u64, b: u64| a as f64 / b.max(1) as f64;
        let of = |kind: Kind, row: &'static str| {
            let (ours, theirs) = (self.of(kind.name(), row)?, self.of(QEMU, row)?);
            Some(Ratio {
                ours: kind.name(),
                row,
                still: ratio(ours.downtime_us, theirs.downtime_us),
                total: ratio(ours.total_us, theirs.total_us),
            })
        };
        let rows = ROWS.iter();
        rows.flat_map(|(row, _)| OURS.into_iter().filter_map(move |kind| of(kind, row)))
            .collect()
    }

    fn table(&self) -> String {
        let [arithmetic, copies, socket] = self.slow_down;
        let mut text = format!(
            "{}\nthe lab's time is {arithmetic:.1} (arithmetic), {copies:.1} (copies), {socket:.1} (pages through a socket) of the machine's below\n\
             {:<10} {:<10} {:>9} {:>9} {:>9} {:>9} {:>9} {:>8} {:>7} {:>7}\n",
            self.measures, "row", "contender", "still", "by itself", "quiet", "stream", "total", "MiB", "rounds", "missing"
        );
        let ms = |us: u64| format!("{:.1}", us as f64 / 1000.0);
        for (row, _) in ROWS {
            for sample in self.samples.iter().filter(|s| s.row == row) {
                text.push_str(&format!(
                    "{row:<10} {:<10} {:>9} {:>9} {:>9} {:>9} {:>9} {:>8} {:>7} {:>7}\n",
                    sample.contender,
                    ms(sample.downtime_us),
                    ms(sample.own_downtime_us),
                    ms(sample.quiet_us),
                    ms(sample.stream_us),
                    ms(sample.total_us),
                    sample.bytes >> 20,
                    sample.steps.len(),
                    sample.missing
                ));
                let parts = sample.parts.iter();
                let parts: Vec<String> = parts.map(|(n, us)| format!("{n} {}", ms(*us))).collect();
                text.push_str(&format!("           ms: {}\n", parts.join(", ")));
                if let Some(why) = &sample.lost {
                    text.push_str(&format!("           the stream was lost: {why}\n"));
                }
            }
        }
        for ratio in self.ratios() {
            text.push_str(&format!(
                "{:<10} {}/qemu: still {:.3}, total {:.3}\n",
                ratio.row, ratio.ours, ratio.still, ratio.total
            ));
        }
        for sample in &self.saved {
            text.push_str(&sample.line());
        }
        text
    }

    fn summary(&self) -> String {
        let ratios = self.ratios();
        let worst = |of: fn(&Ratio) -> f64| {
            let worst = ratios.iter().max_by(|a, b| of(a).total_cmp(&of(b)));
            worst.map_or("-".to_owned(), |ratio| {
                format!("{:.3} ({} {})", of(ratio), ratio.ours, ratio.row)
            })
        };
        let lost = self.samples.iter().filter(|s| s.lost.is_some()).count();
        format!(
            "migrate: {} rows beside QEMU's; worst ratio still {}, total {}; {lost} streams lost",
            ratios.len(),
            worst(|ratio| ratio.still),
            worst(|ratio| ratio.total)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summary_names_the_worst_row_of_each_ratio() {
        let sample = |contender: &str, row: &str, downtime_us, total_us| Sample {
            contender: contender.into(),
            row: row.into(),
            downtime_us,
            total_us,
            ..Sample::default()
        };
        let outcome = Outcome {
            samples: vec![
                sample("noxen", "idle", 10, 900),
                sample(QEMU, "idle", 40, 600),
                sample("noxen", "dirty-10", 30, 100),
                sample(QEMU, "dirty-10", 60, 200),
                sample("noxen", "dirty-50", 30, 100),
            ],
            ..Outcome::default()
        };
        assert_eq!(
            outcome.summary(),
            "migrate: 2 rows beside QEMU's; worst ratio still 0.500 (noxen dirty-10), total 1.500 (noxen idle); 0 streams lost"
        );
        assert!(outcome.table().contains("still 0.250, total 1.500"));
    }
}
