//! Samples to medians, ratios, JSON and a table.

use anyhow::{Context, Result};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;

/// One contender.
#[derive(Debug, Default, Serialize)]
pub struct Contender {
    /// Who.
    pub name: String,
    /// Wall-clock nanoseconds per request (or transaction, or event), a sample per round.
    pub wall_ns: BTreeMap<&'static str, Vec<f64>>,
    /// Nanoseconds of the daemon's own CPU time per request, a sample per round.
    pub cpu_ns: BTreeMap<&'static str, Vec<f64>>,
}

/// The outcome. The first contender is ours.
#[derive(Debug, Serialize)]
pub struct Report {
    /// `store`.
    pub bench: &'static str,
    /// What was measured, in the table's order.
    pub rows: Vec<&'static str>,
    /// Ours and its peers.
    pub contenders: Vec<Contender>,
    /// The server that does nothing.
    pub floor: Contender,
    /// Ours that looks for a request before it sleeps (`--poll-us 50`).
    pub polled: Contender,
    /// Ours, empty, on one processor with its client.
    pub empty: Contender,
    /// The same with its thousand domains.
    pub full: Contender,
    /// Domains connected to the last contender.
    pub domains: usize,
    /// Nodes that they hold.
    pub nodes: usize,
    /// Bytes of memory that the daemon took for them.
    pub bytes_for_them: u64,
}

/// The middle one.
pub fn median(samples: &[f64]) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

/// One of a contender's two kinds of samples.
type Samples = fn(&Contender) -> &BTreeMap<&'static str, Vec<f64>>;

fn wall(contender: &Contender) -> &BTreeMap<&'static str, Vec<f64>> {
    &contender.wall_ns
}

fn cpu(contender: &Contender) -> &BTreeMap<&'static str, Vec<f64>> {
    &contender.cpu_ns
}

/// The middle of the rounds' ratios. Both were measured within the same moments of each round, so a
/// machine that is slow for a while does not matter.
fn ratio(one: &Contender, other: &Contender, row: &str, of: Samples) -> f64 {
    let (Some(one), Some(other)) = (of(one).get(row), of(other).get(row)) else {
        return f64::NAN;
    };
    let each: Vec<f64> = one.iter().zip(other).map(|(a, b)| a / b).collect();
    median(&each)
}

impl Contender {
    fn wall(&self, row: &str) -> f64 {
        self.wall_ns.get(row).map_or(f64::NAN, |s| median(s))
    }

    fn cpu(&self, row: &str) -> f64 {
        self.cpu_ns.get(row).map_or(f64::NAN, |s| median(s))
    }
}

impl Report {
    /// Bytes of the daemon's memory for each node, with its share of the watches and connections.
    pub fn bytes_per_node(&self) -> f64 {
        self.bytes_for_them as f64 / self.nodes.max(1) as f64
    }

    fn split(&self) -> Option<(&Contender, &[Contender])> {
        self.contenders.split_first()
    }

    /// Least and greatest over the rows that are no watch, with `of`.
    fn span(&self, of: impl Fn(&str) -> f64) -> (f64, f64) {
        let rows = self.rows.iter().filter(|row| !row.contains("watch"));
        let all: Vec<f64> = rows.map(|row| of(row)).collect();
        let fold = |pick: fn(f64, f64) -> f64| all.iter().copied().fold(f64::NAN, pick);
        (fold(f64::min), fold(f64::max))
    }

    fn columns(&self) -> impl Iterator<Item = &Contender> {
        self.contenders
            .iter()
            .chain([&self.polled, &self.floor, &self.empty, &self.full])
    }

    /// Writes the JSON, prints the table and the one-line summary.
    pub fn write_and_show(&self) -> Result<()> {
        let dir =
            std::env::var_os("NOXEN_LAB_OUT").context("benches run by `cargo xtask bench`")?;
        let path = Path::new(&dir).join("store.json");
        std::fs::write(&path, serde_json::to_vec_pretty(self)?)?;
        print!("{}", self.table());
        println!("{}", self.summary());
        Ok(())
    }

    fn table(&self) -> String {
        let mut text = format!(
            "us per request, by the clock (and of the daemon's CPU)\n{:<28}",
            ""
        );
        for c in self.columns() {
            text.push_str(&format!("{:>20}", c.name));
        }
        text.push_str("  fastest peer/ours  fastest peer/floor   ours/floor  (and of the CPU)\n");
        for row in &self.rows {
            text.push_str(&format!("{row:<28}"));
            for c in self.columns() {
                let (wall, cpu) = (c.wall(row) / 1e3, c.cpu(row) / 1e3);
                text.push_str(&format!("{wall:>11.2} ({cpu:>6.2})"));
            }
            let peer = |of| self.advantage(row, of);
            let floor = |of| self.above(row, of);
            let could = |of| peer(of) * floor(of);
            for (wall, cpu) in [
                (peer(wall), peer(cpu)),
                (could(wall), could(cpu)),
                (floor(wall), floor(cpu)),
            ] {
                text.push_str(&format!("{wall:>12.2} ({cpu:.2})"));
            }
            text.push('\n');
        }
        text
    }

    /// How many times as long the fastest peer takes.
    fn advantage(&self, row: &str, of: Samples) -> f64 {
        let Some((ours, peers)) = self.split() else {
            return f64::NAN;
        };
        let all = peers.iter().map(|peer| ratio(peer, ours, row, of));
        all.fold(f64::NAN, f64::min)
    }

    fn summary(&self) -> String {
        let Some((ours, _)) = self.split() else {
            return "store: no contenders".to_owned();
        };
        let (least, most) = self.span(|row| self.advantage(row, wall));
        let (lowest, highest) = self.span(|row| self.above(row, wall));
        let watch = self.rows.iter().find(|r| r.contains("watch"));
        let of_watch = |of: &dyn Fn(&str) -> f64| watch.map_or(f64::NAN, |row| of(row));
        let slower = |of: Samples| {
            let all = self
                .rows
                .iter()
                .map(|r| ratio(&self.full, &self.empty, r, of));
            all.fold(f64::NAN, f64::max)
        };
        let polled = |of: Samples, pick: fn(f64, f64) -> f64| {
            let all = self.rows.iter().map(|r| ratio(&self.polled, ours, r, of));
            all.fold(f64::NAN, pick)
        };
        let each = self.of_each_peer();
        format!(
            "store: {least:.1} to {most:.1} times the requests of the fastest peer ({each}), watch latency {:.2} of its; \
             {lowest:.2} to {highest:.2} times as long as the floor, watch {:.2}; \
             by polling {:.2} to {:.2} times as long and {:.2} to {:.2} times the CPU; \
             with {} domains at most {:.2} times the CPU ({:.2} times as long), {:.0} bytes a node",
            of_watch(&|row| 1.0 / self.advantage(row, wall)),
            of_watch(&|row| self.above(row, wall)),
            polled(wall, f64::min),
            polled(wall, f64::max),
            polled(cpu, f64::min),
            polled(cpu, f64::max),
            self.domains,
            slower(cpu),
            slower(wall),
            self.bytes_per_node()
        )
    }

    /// The least and greatest advantage over each peer.
    fn of_each_peer(&self) -> String {
        let Some((ours, peers)) = self.split() else {
            return String::new();
        };
        let of_one = |peer: &Contender| {
            let (least, most) = self.span(|row| ratio(peer, ours, row, wall));
            format!("{}: {least:.1} to {most:.1}", peer.name)
        };
        let all: Vec<String> = peers.iter().map(of_one).collect();
        all.join(", ")
    }

    /// How many times as long as the server that does nothing.
    fn above(&self, row: &str, of: Samples) -> f64 {
        let ours = self.contenders.first();
        ours.map_or(f64::NAN, |ours| ratio(ours, &self.floor, row, of))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contender(name: &str, read: &[f64], watch: f64, cpu: f64) -> Contender {
        Contender {
            name: name.into(),
            wall_ns: BTreeMap::from([("read", read.to_vec()), ("watch", vec![watch])]),
            cpu_ns: BTreeMap::from([("read", vec![cpu]), ("watch", vec![cpu])]),
        }
    }

    #[test]
    fn summary_compares_with_the_fastest_peer_and_with_the_full_store() {
        let report = Report {
            bench: "store",
            rows: vec!["read", "watch"],
            contenders: vec![
                contender("noxen", &[1000.0, 9000.0, 500.0], 2000.0, 100.0),
                contender("slow", &[9000.0, 9000.0, 9000.0], 9000.0, 300.0),
                contender("fast", &[4000.0, 36000.0, 1000.0], 8000.0, 300.0),
            ],
            polled: contender("noxen 50", &[500.0, 9000.0, 250.0], 1600.0, 110.0),
            floor: contender("floor", &[800.0, 7200.0, 400.0], 1000.0, 80.0),
            empty: contender("noxen 1 CPU", &[1000.0, 9000.0, 500.0], 2000.0, 100.0),
            full: contender("noxen 1000", &[1100.0, 9900.0, 500.0], 2000.0, 120.0),
            domains: 1000,
            nodes: 10,
            bytes_for_them: 5000,
        };
        assert_eq!(
            report.summary(),
            "store: 4.0 to 4.0 times the requests of the fastest peer (slow: 9.0 to 9.0, fast: 4.0 to 4.0), watch latency 0.25 of its; \
             1.25 to 1.25 times as long as the floor, watch 2.00; \
             by polling 0.50 to 0.80 times as long and 1.10 to 1.10 times the CPU; \
             with 1000 domains at most 1.20 times the CPU (1.10 times as long), 500 bytes a node"
        );
        assert!(report.table().contains("4.00"), "{}", report.table());
    }
}
