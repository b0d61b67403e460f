//! What `costs` prints in a guest (benches/guest/costs.c), and what real Xen's domain 0 says around it.
//!
//! ```text
//!   XEN-GUEST V                a guest with V vCPUs starts        (only in Xen's transcript)
//!   COSTS NAME N ns ns ...     batches of N operations
//!   COSTS-DONE
//! ```
//! Consoles mix other text in; lines of another shape are passed over, but a list without its end is an error.

use anyhow::{bail, Context, Result};
use serde::{Deserialize, Serialize};

/// One workload in one guest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// The workload's name.
    pub name: String,
    /// Operations in a batch.
    pub operations: u64,
    /// Nanoseconds of each batch, in the order taken.
    pub batches_ns: Vec<u64>,
}

impl Cost {
    /// Nanoseconds of one operation in the middle batch.
    pub fn median_ns(&self) -> f64 {
        let mut sorted = self.batches_ns.clone();
        sorted.sort_unstable();
        let middle = sorted.get(sorted.len() / 2).copied().unwrap_or(0);
        middle as f64 / self.operations.max(1) as f64
    }
}

/// The costs in one guest's console, complete.
pub fn of_guest(console: &str) -> Result<Vec<Cost>> {
    let mut costs = Vec::new();
    let mut done = false;
    for line in console.lines().map(str::trim) {
        done |= line == "COSTS-DONE";
        if let Some(rest) = line.strip_prefix("COSTS ") {
            costs.push(cost(rest).with_context(|| format!("the guest printed {line:?}"))?);
        }
    }
    if !done || costs.is_empty() {
        bail!(
            "the guest did not finish: {} workloads, and no COSTS-DONE",
            costs.len()
        );
    }
    Ok(costs)
}

fn cost(rest: &str) -> Result<Cost> {
    let mut words = rest.split_whitespace();
    let name = words.next().context("no name")?.to_owned();
    let mut numbers = words.map(|word| word.parse::<u64>());
    let operations = numbers.next().context("no number of operations")??;
    let batches_ns = numbers.collect::<Result<Vec<u64>, _>>()?;
    if operations == 0 || batches_ns.is_empty() {
        bail!("nothing was done");
    }
    Ok(Cost {
        name,
        operations,
        batches_ns,
    })
}

/// The guests in real Xen's transcript: (vCPUs, costs).
pub fn of_xen(transcript: &str) -> Result<Vec<(u32, Vec<Cost>)>> {
    let mut guests = Vec::new();
    for part in transcript.split("XEN-GUEST ").skip(1) {
        let (vcpus, console) = part
            .split_once('\n')
            .context("XEN-GUEST without a number")?;
        let vcpus = vcpus.trim().parse().context("XEN-GUEST without a number")?;
        let costs = of_guest(console).with_context(|| format!("Xen's guest with {vcpus} vCPUs"))?;
        guests.push((vcpus, costs));
    }
    if guests.is_empty() {
        bail!("Xen's domain 0 started no guest");
    }
    Ok(guests)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONSOLE: &str = "NOXEN-CMD begin\r\nCOSTS-AT read\r\nCOSTS read 100 500 300 400\r\n\
                           COSTS-AT end\r\nCOSTS-DONE\r\nNOXEN-CMD end status=0\r\n";

    #[test]
    fn guest_console_gives_its_batches_and_their_middle() {
        let costs = of_guest(CONSOLE).unwrap();
        assert_eq!(costs.len(), 1);
        assert_eq!(costs[0].name, "read");
        assert_eq!(costs[0].batches_ns, [500, 300, 400]);
        assert!((costs[0].median_ns() - 4.0).abs() < 1e-9);
    }

    #[test]
    fn guest_that_stops_half_way_is_an_error() {
        let cut = CONSOLE.replace("COSTS-DONE", "Kernel panic");
        assert!(of_guest(&cut)
            .unwrap_err()
            .to_string()
            .contains("did not finish"));
        assert!(of_guest("COSTS read 100\nCOSTS-DONE\n").is_err());
        assert!(of_guest("COSTS read x 1\nCOSTS-DONE\n").is_err());
    }

    #[test]
    fn xen_transcript_is_told_apart_by_guest() {
        let text = format!(
            "(XEN) x\nXEN-DOM0 up\nXEN-GUEST 1\r\n{CONSOLE}XEN-GUEST 2\r\n{CONSOLE}XEN-OVER\n"
        );
        let guests = of_xen(&text).unwrap();
        assert_eq!(guests.iter().map(|(v, _)| *v).collect::<Vec<_>>(), [1, 2]);
        assert!(of_xen("XEN-DOM0 up\n").is_err());
        assert!(of_xen("XEN-GUEST 1\nxl: error\n").is_err());
    }
}
