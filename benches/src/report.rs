//! What a bench says: JSON with every sample, a table of ratios, one line at the end.

use anyhow::{Context, Result};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;

/// One contender's figures.
#[derive(Debug, Clone, Serialize)]
pub struct Contender {
    /// Who.
    pub name: String,
    /// Every sample, nanoseconds of the lab's time, in the order taken.
    pub samples_ns: Vec<u64>,
    /// Exits to KVM by kind, from a run of its own.
    pub exits: BTreeMap<String, u64>,
    /// Further figures, by name with its unit.
    pub figures: BTreeMap<String, f64>,
}

impl Contender {
    /// The middle sample.
    pub fn median_ns(&self) -> Option<u64> {
        let mut sorted = self.samples_ns.clone();
        sorted.sort_unstable();
        sorted.get(sorted.len() / 2).copied()
    }

    /// All exits.
    pub fn exit_count(&self) -> u64 {
        self.exits.values().sum()
    }
}

/// A bench's outcome. The first contender is ours.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The bench's name.
    pub bench: String,
    /// What a sample measures.
    pub measures: String,
    /// All contenders, ours first.
    pub contenders: Vec<Contender>,
}

impl Report {
    /// Writes `$NOXEN_LAB_OUT/NAME.json` and prints the table.
    pub fn write_and_show(&self) -> Result<()> {
        let dir =
            std::env::var_os("NOXEN_LAB_OUT").context("benches run by `cargo xtask bench`")?;
        let path = Path::new(&dir).join(format!("{}.json", self.bench));
        std::fs::write(&path, serde_json::to_vec_pretty(self)?)?;
        print!("{}", self.table());
        println!("{}", self.summary());
        Ok(())
    }

    fn table(&self) -> String {
        let ours = self.contenders.first().and_then(Contender::median_ns);
        let mut text = format!(
            "{}\n{:<24} {:>12} {:>12} {:>10}\n",
            self.measures, "contender", "median ms", "noxen/this", "exits"
        );
        for contender in &self.contenders {
            let median = contender.median_ns();
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
                contender.name,
                contender.exit_count()
            ));
        }
        for contender in &self.contenders {
            let mut kinds: Vec<_> = contender.exits.iter().collect();
            kinds.sort_by(|a, b| b.1.cmp(a.1));
            let kinds: Vec<String> = kinds
                .iter()
                .map(|(kind, count)| format!("{kind} {count}"))
                .collect();
            text.push_str(&format!(
                "  {} exits: {}\n",
                contender.name,
                kinds.join(", ")
            ));
            for (name, value) in &contender.figures {
                text.push_str(&format!("  {} {name}: {value:.3}\n", contender.name));
            }
        }
        text
    }

    fn summary(&self) -> String {
        let Some(ours) = self.contenders.first() else {
            return format!("{}: no contenders", self.bench);
        };
        let best = self.contenders[1..]
            .iter()
            .filter_map(|c| Some((c.median_ns()?, c)))
            .min_by_key(|(ns, _)| *ns);
        match (ours.median_ns(), best) {
            (Some(own), Some((theirs, best))) => format!(
                "{}: {} {:.1} ms, {:.3} of the fastest peer ({} {:.1} ms), {} exits against {}",
                self.bench,
                ours.name,
                own as f64 / 1e6,
                own as f64 / theirs.max(1) as f64,
                best.name,
                theirs as f64 / 1e6,
                ours.exit_count(),
                best.exit_count()
            ),
            _ => format!("{}: not every contender has samples", self.bench),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contender(name: &str, samples: &[u64]) -> Contender {
        Contender {
            name: name.into(),
            samples_ns: samples.to_vec(),
            exits: BTreeMap::from([("io".to_owned(), 5)]),
            figures: BTreeMap::new(),
        }
    }

    #[test]
    fn summary_compares_with_the_fastest_peer() {
        let report = Report {
            bench: "boot".into(),
            measures: "x".into(),
            contenders: vec![
                contender("noxen", &[2_000_000, 9_000_000, 1_000_000]),
                contender("slow", &[8_000_000]),
                contender("fast", &[4_000_000]),
            ],
        };
        assert_eq!(
            report.summary(),
            "boot: noxen 2.0 ms, 0.500 of the fastest peer (fast 4.0 ms), 5 exits against 5"
        );
        assert!(report.table().contains("0.250"), "{}", report.table());
    }
}
