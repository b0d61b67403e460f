//! The table of a device bench: a row a workload, our time beside the peers', exits of one operation.

use crate::costs::counts::{short, PerOperation};
use crate::costs::table::Column;
use crate::costs::Wanted;
use crate::report;
use anyhow::Result;
use serde::{Deserialize, Serialize};

/// A device bench's outcome.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Rates {
    /// The bench's name.
    pub bench: String,
    /// What the numbers are.
    pub measures: String,
    /// All guests, ours first.
    pub columns: Vec<Column>,
}

impl Rates {
    /// Without figures yet, or with those of an earlier run.
    pub fn new(bench: &str, measures: String, wanted: &Wanted) -> Result<Rates> {
        let earlier: Option<Rates> = match &wanted.earlier {
            Some(path) => report::read_json(path)?,
            None => None,
        };
        Ok(Rates {
            bench: bench.to_owned(),
            measures,
            columns: earlier.map_or(Vec::new(), |earlier| earlier.columns),
        })
    }

    /// Writes `$NOXEN_LAB_OUT/NAME.json` and prints table and summary.
    pub fn write_and_show(&self) -> Result<()> {
        report::write_json(&self.bench, self)?;
        print!("{}", self.text());
        println!("{}", self.summary());
        Ok(())
    }

    fn text(&self) -> String {
        let Some((ours, peers)) = self.columns.split_first() else {
            return String::new();
        };
        let mut text = format!("{}\n{:<18} {:>22}", self.measures, "ns", ours.contender);
        for peer in peers {
            text.push_str(&format!(" {:>22} {:>8}", peer.contender, "ours/it"));
        }
        text.push('\n');
        for cost in &ours.costs {
            text.push_str(&format!(
                "{:<18} {:>22}",
                cost.name,
                cell(ours, &cost.name).unwrap_or_default()
            ));
            for peer in peers {
                let ratio = ratio(ours, peer, &cost.name).map(|ratio| format!("{ratio:.3}"));
                text.push_str(&format!(
                    " {:>22} {:>8}",
                    cell(peer, &cost.name).unwrap_or_else(|| "-".to_owned()),
                    ratio.unwrap_or_else(|| "-".to_owned())
                ));
            }
            text.push('\n');
        }
        for cost in &ours.costs {
            if let Some(counts) = ours.count(&cost.name) {
                text.push_str(&format!("  {}: {}\n", cost.name, counts.kinds()));
            }
            for column in &self.columns {
                let times = column.count(&cost.name).map(PerOperation::cpu_times);
                if let Some(times) = times.filter(|times| !times.is_empty()) {
                    let line = format!("    {}, CPU ns: {times}\n", column.contender);
                    text.push_str(&line);
                }
            }
        }
        text
    }

    /// One line: for each peer in how many rows we take no longer, and the worst ratio.
    fn summary(&self) -> String {
        let Some((ours, peers)) = self.columns.split_first() else {
            return format!("{}: no guests", self.bench);
        };
        let parts: Vec<String> = peers
            .iter()
            .map(|peer| {
                let ratios = ours
                    .costs
                    .iter()
                    .filter_map(|cost| Some((ratio(ours, peer, &cost.name)?, cost.name.as_str())));
                let ratios: Vec<(f64, &str)> = ratios.collect();
                let met = ratios.iter().filter(|(ratio, _)| *ratio <= 1.0).count();
                let worst = ratios.iter().max_by(|a, b| a.0.total_cmp(&b.0));
                let (worst, name) = worst.copied().unwrap_or((f64::NAN, "none"));
                format!(
                    "no slower than {} in {met} of {} rows (worst ratio {worst:.3}: {name})",
                    peer.contender,
                    ratios.len()
                )
            })
            .collect();
        format!("{}: {}", self.bench, parts.join(", "))
    }
}

/// Time of one operation, and its exits.
fn cell(column: &Column, name: &str) -> Option<String> {
    let time = column.median(name)?;
    let exits = column.count(name).map(PerOperation::exits);
    let exits = exits.map_or("-".to_owned(), short);
    Some(format!("{time:.0} ({exits} exits)"))
}

fn ratio(ours: &Column, peer: &Column, name: &str) -> Option<f64> {
    Some(ours.median(name)? / peer.median(name)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::costs::lines::Cost;

    fn column(contender: &str, list: &[(&str, u64)]) -> Column {
        let cost = |(name, ns): &(&str, u64)| Cost {
            name: (*name).to_owned(),
            operations: 10,
            batches_ns: vec![*ns, *ns, 1],
        };
        Column {
            contender: contender.to_owned(),
            vcpus: 1,
            costs: list.iter().map(cost).collect(),
            counts: Vec::new(),
        }
    }

    #[test]
    fn summary_counts_the_rows_and_names_the_worst_of_each_peer() {
        let rates = Rates {
            bench: "block".into(),
            measures: "x".into(),
            columns: vec![
                column("noxen", &[("read", 200), ("write", 900)]),
                column("qemu", &[("read", 400), ("write", 600)]),
                column("other", &[("read", 100)]),
            ],
        };
        assert_eq!(
            rates.summary(),
            "block: no slower than qemu in 1 of 2 rows (worst ratio 1.500: write), \
             no slower than other in 0 of 1 rows (worst ratio 2.000: read)"
        );
        let text = rates.text();
        assert!(
            text.contains("20 (- exits)") && text.contains("0.500"),
            "{text}"
        );
        let write = text.lines().find(|line| line.starts_with("write")).unwrap();
        assert!(write.trim_end().ends_with(" -"), "{write}");
    }
}
