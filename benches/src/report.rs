//! What a bench says: JSON with every sample, a table of ratios, one line at the end.

use crate::contender::Counters;
use crate::kvm;
use anyhow::{Context, Result};
use noxen_integration_tests::console::Console;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// One contender's figures.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Who.
    pub name: String,
    /// Every sample, nanoseconds of the lab's time, in the order taken.
    pub samples_ns: Vec<u64>,
    /// Rounds that gave no sample, and why.
    pub lost: Vec<String>,
    /// What each sample is made of, ns.
    pub parts_ns: Vec<Vec<(String, u64)>>,
    /// Exits by kind, from a traced run; empty where there was none.
    pub exits: BTreeMap<String, u64>,
    /// KVM's own counters in the last sample.
    pub kvm: BTreeMap<String, u64>,
    /// What our monitor counted in the last sample, by group and kind.
    pub monitor: Counters,
    /// Further figures, by name with its unit.
    pub figures: BTreeMap<String, f64>,
}

impl Row {
    /// A row without figures.
    pub fn new(name: &str) -> Row {
        Row {
            name: name.to_owned(),
            ..Row::default()
        }
    }

    /// The middle sample.
    pub fn median_ns(&self) -> Option<u64> {
        let mut sorted = self.samples_ns.clone();
        sorted.sort_unstable();
        sorted.get(sorted.len() / 2).copied()
    }

    /// All exits of the last sample.
    pub fn exit_count(&self) -> u64 {
        self.kvm.get(kvm::EXITS).copied().unwrap_or(0)
    }

    /// The details below the table, one line each.
    fn details(&self) -> String {
        let mut text = String::new();
        let mut line = |what: &str, list: String| {
            if !list.is_empty() {
                text.push_str(&format!("  {} {what}: {list}\n", self.name));
            }
        };
        let parts: Vec<String> = self.parts_ns.last().map_or(Vec::new(), |parts| {
            let shown = parts.iter().filter(|(_, ns)| *ns > 0);
            shown
                .map(|(name, ns)| format!("{name} {:.1}", *ns as f64 / 1e6))
                .collect()
        });
        line("parts, ms", parts.join(", "));
        line("exits (traced run)", by_count(&self.exits));
        line("KVM's counters", by_count(&self.kvm));
        for (group, kinds) in &self.monitor {
            // KVM's again, and by vCPU.
            if group != "kvm" {
                line(group, by_count(kinds));
            }
        }
        for lost in &self.lost {
            line("gave no sample", lost.clone());
        }
        for (name, value) in &self.figures {
            line(name, format!("{value:.3}"));
        }
        text
    }
}

/// `kind count`, largest first.
fn by_count(counts: &BTreeMap<String, u64>) -> String {
    let mut kinds: Vec<_> = counts.iter().collect();
    kinds.sort_by(|a, b| b.1.cmp(a.1));
    let kinds: Vec<String> = kinds
        .iter()
        .map(|(kind, count)| format!("{kind} {count}"))
        .collect();
    kinds.join(", ")
}

/// A bench's outcome. The first row is ours; others whose names start with its name are ours too.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    /// The bench's name.
    pub bench: String,
    /// What a sample measures.
    pub measures: String,
    /// All contenders, ours first.
    pub rows: Vec<Row>,
}

impl Report {
    /// Takes the figures that `earlier` has for rows of these names.
    pub fn take_in(&mut self, earlier: Report) {
        for old in earlier.rows {
            if let Ok(row) = self.row(&old.name) {
                *row = old;
            }
        }
    }

    /// The row of that name.
    pub fn row(&mut self, name: &str) -> Result<&mut Row> {
        let row = self.rows.iter_mut().find(|row| row.name == name);
        row.with_context(|| format!("bench {} has no row {name}", self.bench))
    }

    /// Writes `$NOXEN_LAB_OUT/NAME.json` and prints the table.
    pub fn write_and_show(&self) -> Result<()> {
        write_json(&self.bench, self)?;
        print!("{}", self.table());
        println!("{}", self.summary());
        Ok(())
    }

    fn table(&self) -> String {
        let ours = self.rows.first().and_then(Row::median_ns);
        let mut text = format!(
            "{}\n{:<24} {:>12} {:>12} {:>10}\n",
            self.measures, "contender", "median ms", "noxen/this", "exits"
        );
        for row in &self.rows {
            let median = row.median_ns();
            let ratio = match (ours, median) {
                (Some(ours), Some(theirs)) if theirs > 0 => {
                    format!("{:.3}", ours as f64 / theirs as f64)
                }
                _ => "-".to_owned(),
            };
            let median =
                median.map_or_else(|| "-".to_owned(), |ns| format!("{:.1}", ns as f64 / 1e6));
            text.push_str(&format!(
                "{:<24} {median:>12} {ratio:>12} {:>10}\n",
                row.name,
                row.exit_count()
            ));
        }
        for row in &self.rows {
            text.push_str(&row.details());
        }
        text
    }

    fn summary(&self) -> String {
        let Some(ours) = self.rows.first() else {
            return format!("{}: no contenders", self.bench);
        };
        let best = self.rows[1..]
            .iter()
            .filter(|row| !row.name.starts_with(&ours.name))
            .filter_map(|row| Some((row.median_ns()?, row)))
            .min_by_key(|(ns, _)| *ns);
        let lost: usize = self.rows.iter().map(|row| row.lost.len()).sum();
        let lost = match lost {
            0 => String::new(),
            lost => format!("; rounds without a sample: {lost}"),
        };
        match (ours.median_ns(), best) {
            (Some(own), Some((theirs, best))) => format!(
                "{}: {} {:.1} ms, {:.3} of the fastest peer ({} {:.1} ms), {} exits against {}{lost}",
                self.bench,
                ours.name,
                own as f64 / 1e6,
                own as f64 / theirs.max(1) as f64,
                best.name,
                theirs as f64 / 1e6,
                ours.exit_count(),
                best.exit_count()
            ),
            _ => format!("{}: not every contender has samples{lost}", self.bench),
        }
    }
}

/// A file in `$NOXEN_LAB_OUT`.
pub fn out_file(name: &str) -> Result<PathBuf> {
    let dir = std::env::var_os("NOXEN_LAB_OUT").context("benches run by `cargo xtask bench`")?;
    Ok(Path::new(&dir).join(name))
}

/// Keeps what a guest said as NAME.log beside the samples; the file's name.
pub fn keep_console(name: &str, console: &Console) -> Result<String> {
    let name = format!("{name}.log");
    let path = out_file(&name)?;
    std::fs::write(&path, console.transcript())
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(name)
}

/// What an earlier run wrote to `path`; `None` if there was none.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| path.display().to_string()),
    };
    let value = serde_json::from_slice(&bytes)
        .with_context(|| format!("{} is of another version: remove it", path.display()))?;
    Ok(Some(value))
}

/// Writes `$NOXEN_LAB_OUT/BENCH.json`.
pub fn write_json(bench: &str, value: &impl Serialize) -> Result<()> {
    let path = out_file(&format!("{bench}.json"))?;
    std::fs::write(&path, serde_json::to_vec_pretty(value)?)
        .with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, samples: &[u64]) -> Row {
        Row {
            samples_ns: samples.to_vec(),
            kvm: BTreeMap::from([("exits".to_owned(), 5)]),
            parts_ns: vec![vec![("vCPU".to_owned(), 1_500_000), ("tool".to_owned(), 0)]],
            ..Row::new(name)
        }
    }

    #[test]
    fn summary_compares_with_the_fastest_peer() {
        let report = Report {
            bench: "boot".into(),
            measures: "x".into(),
            rows: vec![
                row("noxen", &[2_000_000, 9_000_000, 1_000_000]),
                row("noxen-vmm", &[1_000_000]),
                row("slow", &[8_000_000]),
                row("fast", &[4_000_000]),
            ],
        };
        assert_eq!(
            report.summary(),
            "boot: noxen 2.0 ms, 0.500 of the fastest peer (fast 4.0 ms), 5 exits against 5"
        );
        let table = report.table();
        assert!(table.contains("0.250"), "{table}");
        assert!(table.contains("fast parts, ms: vCPU 1.5\n"), "{table}");
    }

    #[test]
    fn lost_rounds_are_named_and_counted() {
        let mut still = row("qemu", &[4_000_000]);
        still.lost.push("round 2: stood still".into());
        let report = Report {
            bench: "boot".into(),
            measures: "x".into(),
            rows: vec![row("noxen", &[2_000_000]), still],
        };
        assert!(
            report
                .summary()
                .ends_with("5 exits against 5; rounds without a sample: 1"),
            "{}",
            report.summary()
        );
        let table = report.table();
        assert!(
            table.contains("qemu gave no sample: round 2: stood still\n"),
            "{table}"
        );
    }

    #[test]
    fn earlier_figures_go_to_the_rows_of_their_names() {
        let report = |rows: Vec<Row>| Report {
            bench: "boot".into(),
            measures: "x".into(),
            rows,
        };
        let mut newer = report(vec![Row::new("noxen"), Row::new("qemu")]);
        let old = report(vec![row("qemu", &[4]), row("gone", &[9])]);
        let json = serde_json::to_vec(&old).unwrap();
        newer.take_in(serde_json::from_slice(&json).unwrap());
        assert_eq!(newer.rows, [Row::new("noxen"), row("qemu", &[4])]);
    }
}
