//! The cost table: a row a workload, our times beside the peers', entries and exits of one operation.

use super::counts::{short, PerOperation};
use super::lines::Cost;
use super::NOTHING;
use serde::{Deserialize, Serialize};

/// Our own contender's name.
pub const NOXEN: &str = "noxen";
/// QEMU/KVM's.
pub const HVM: &str = "hvm";
/// Real Xen's, with what it does by itself against CPU bugs.
pub const XEN: &str = "xen-pv";

/// One contender's guest.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Column {
    /// Who.
    pub contender: String,
    /// vCPUs of its guest.
    pub vcpus: u32,
    /// What it printed.
    pub costs: Vec<Cost>,
    /// Counters of one operation, in the order of `costs`; empty where nothing counts.
    pub counts: Vec<PerOperation>,
}

impl Column {
    /// A column of these, without the workload that does nothing.
    pub fn new(
        contender: &str,
        vcpus: u32,
        mut costs: Vec<Cost>,
        mut counts: Vec<PerOperation>,
    ) -> Column {
        if let Some(at) = costs.iter().position(|cost| cost.name == NOTHING) {
            costs.remove(at);
            if at < counts.len() {
                counts.remove(at);
            }
        }
        Column {
            contender: contender.to_owned(),
            vcpus,
            costs,
            counts,
        }
    }

    /// Puts newer rows in the places of those of the same names, others at the end.
    fn renew(&mut self, newer: Column) {
        let mut counts = newer.counts.into_iter();
        for cost in newer.costs {
            let count = counts.next();
            match self.costs.iter().position(|old| old.name == cost.name) {
                Some(at) => {
                    self.costs[at] = cost;
                    if let (Some(count), Some(old)) = (count, self.counts.get_mut(at)) {
                        *old = count;
                    }
                }
                None => {
                    self.costs.push(cost);
                    self.counts.extend(count);
                }
            }
        }
    }

    /// Nanoseconds of one operation of that workload.
    pub fn median(&self, name: &str) -> Option<f64> {
        let cost = self.costs.iter().find(|cost| cost.name == name)?;
        Some(cost.median_ns())
    }

    /// Counters of one operation of that workload.
    pub fn count(&self, name: &str) -> Option<&PerOperation> {
        let at = self.costs.iter().position(|cost| cost.name == name)?;
        self.counts.get(at)
    }
}

/// Adds a guest's figures to `columns`, or puts them in the place of earlier ones.
pub fn take_in(columns: &mut Vec<Column>, column: Column) {
    let same = |c: &&mut Column| c.contender == column.contender && c.vcpus == column.vcpus;
    match columns.iter_mut().find(same) {
        Some(earlier) => earlier.renew(column),
        None => columns.push(column),
    }
}

/// The bench's outcome.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Table {
    /// The bench's name.
    pub bench: String,
    /// What the numbers are.
    pub measures: String,
    /// All guests.
    pub columns: Vec<Column>,
}

impl Table {
    /// Adds a guest's figures, or puts them in the place of earlier ones.
    pub fn take_in(&mut self, column: Column) {
        take_in(&mut self.columns, column);
    }

    fn find(&self, contender: &str, vcpus: u32) -> Option<&Column> {
        self.columns
            .iter()
            .find(|column| column.contender == contender && column.vcpus == vcpus)
    }

    /// Numbers of vCPUs of our guests.
    fn sizes(&self) -> Vec<u32> {
        let ours = self.columns.iter().filter(|c| c.contender == NOXEN);
        ours.map(|column| column.vcpus).collect()
    }

    /// The table as text.
    pub fn text(&self) -> String {
        let mut text = format!("{}\n", self.measures);
        for vcpus in self.sizes() {
            let Some(ours) = self.find(NOXEN, vcpus) else {
                continue;
            };
            text.push_str(&format!(
                "{:<22} {:>12} {:>12} {:>12} {:>9} {:>9} {:>8} {:>8} {:>9}\n",
                format!("{vcpus} vCPU, ns"),
                NOXEN,
                HVM,
                XEN,
                "noxen/xen",
                "noxen/hvm",
                "entries",
                "exits",
                "hvm exits"
            ));
            for cost in &ours.costs {
                text.push_str(&self.row(ours, cost, vcpus));
            }
            for cost in &ours.costs {
                if let Some(counts) = ours.count(&cost.name) {
                    text.push_str(&format!("  {}: {}\n", cost.name, counts.kinds()));
                }
            }
        }
        text
    }

    fn row(&self, ours: &Column, cost: &Cost, vcpus: u32) -> String {
        let peer = |contender| self.find(contender, vcpus);
        let time = |contender| peer(contender).and_then(|column| column.median(&cost.name));
        let own = cost.median_ns();
        let shown = |value: Option<f64>| value.map_or("-".to_owned(), |ns| format!("{ns:.0}"));
        let ratio = |theirs: Option<f64>| {
            theirs.map_or("-".to_owned(), |theirs| format!("{:.2}", own / theirs))
        };
        let counted = |column: Option<&Column>, what: fn(&PerOperation) -> f64| {
            let counts = column.and_then(|column| column.count(&cost.name));
            counts.map_or("-".to_owned(), |counts| short(what(counts)))
        };
        format!(
            "{:<22} {:>12} {:>12} {:>12} {:>9} {:>9} {:>8} {:>8} {:>9}\n",
            cost.name,
            shown(Some(own)),
            shown(time(HVM)),
            shown(time(XEN)),
            ratio(time(XEN)),
            ratio(time(HVM)),
            counted(Some(ours), PerOperation::entries),
            counted(Some(ours), PerOperation::exits),
            counted(peer(HVM), PerOperation::exits),
        )
    }

    /// One line: in how many rows we are faster than real Xen, and how far from KVM.
    pub fn summary(&self) -> String {
        let (mut rows, mut faster, mut worst) = (0u32, 0u32, (0.0, String::new()));
        let mut logs = Vec::new();
        for ours in self.columns.iter().filter(|c| c.contender == NOXEN) {
            for cost in &ours.costs {
                let own = cost.median_ns();
                let peer = |who| self.find(who, ours.vcpus)?.median(&cost.name);
                if let Some(xen) = peer(XEN) {
                    rows += 1;
                    faster += u32::from(own < xen);
                    if own / xen > worst.0 {
                        worst = (own / xen, format!("{}, {} vCPU", cost.name, ours.vcpus));
                    }
                }
                if let Some(hvm) = peer(HVM) {
                    logs.push((own / hvm).ln());
                }
            }
        }
        let mean = (logs.iter().sum::<f64>() / logs.len().max(1) as f64).exp();
        format!(
            "{}: faster than real Xen PV in {faster} of {rows} rows (worst ratio {:.2}: {}), {mean:.2} times KVM HVM in the geometric mean",
            self.bench, worst.0, worst.1
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(contender: &str, list: &[(&str, u64)]) -> Column {
        let cost = |(name, ns): &(&str, u64)| Cost {
            name: (*name).to_owned(),
            operations: 1,
            batches_ns: vec![*ns],
        };
        Column::new(contender, 1, list.iter().map(cost).collect(), Vec::new())
    }

    #[test]
    fn summary_counts_rows_and_names_the_worst() {
        let table = Table {
            bench: "costs".into(),
            measures: "x".into(),
            columns: vec![
                column(NOXEN, &[("read", 200), ("fork", 900)]),
                column(HVM, &[("read", 100), ("fork", 450)]),
                column(XEN, &[("read", 400), ("fork", 600)]),
            ],
        };
        assert_eq!(
            table.summary(),
            "costs: faster than real Xen PV in 1 of 2 rows (worst ratio 1.50: fork, 1 vCPU), 2.00 times KVM HVM in the geometric mean"
        );
        let text = table.text();
        assert!(text.contains("0.50") && text.contains("2.00"), "{text}");
    }

    #[test]
    fn newer_figures_take_the_places_of_earlier_ones() {
        let mut table = Table {
            bench: "costs".into(),
            measures: "x".into(),
            columns: vec![column(NOXEN, &[("read", 200), ("fork", 900)])],
        };
        table.take_in(column(NOXEN, &[("fork", 800), ("pipe", 70)]));
        table.take_in(column(HVM, &[("nothing", 1), ("fork", 400)]));
        let told = |c: &Column| {
            let each = c.costs.iter().map(|c| (c.name.clone(), c.batches_ns[0]));
            each.collect::<Vec<_>>()
        };
        let expected = [("read", 200), ("fork", 800), ("pipe", 70)];
        assert_eq!(
            told(&table.columns[0]),
            expected.map(|(n, t)| (n.to_owned(), t))
        );
        assert_eq!(told(&table.columns[1]), [("fork".to_owned(), 400)]);
    }

    #[test]
    fn missing_peer_is_a_dash() {
        let table = Table {
            bench: "costs".into(),
            measures: "x".into(),
            columns: vec![column(NOXEN, &[("read", 200)])],
        };
        let row = table.text();
        assert!(
            row.lines()
                .any(|line| line.starts_with("read") && line.contains(" - ")),
            "{row}"
        );
    }
}
