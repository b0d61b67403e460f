//! `list`: what `toolctl list` costs with 200 domains: CPU time of toolctl and of xend for the request.
//!
//! ```text
//!   private root: xend, xenstored, stand-in monitors (no VM: they hold a domain and answer xend)
//!   0 domains: 40 x toolctl list      200 domains: 40 x toolctl list, 40 x toolctl list --json
//!     toolctl: /proc/PID/schedstat of each, read while it is a zombie      xend: /proc/PID/stat over all 40
//! ```
//! Runs on the host itself. xend asks every monitor for each listing; a real noxen-vmm answers the same question over the
//! same socket, in its own CPU time, which is not xend's. CPU time hardly depends on what else runs here.

use anyhow::{bail, Context, Result};
use noxen_integration_tests::layout;
use noxen_xend_api::paths::Paths;
use noxen_xend_api::{Client, DomainConfig, Request};
use rustix::process::{waitid, Pid, WaitId, WaitIdOptions};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

const DOMAINS: usize = 200;
/// Domains of a small host.
const FEW: usize = 5;
const ROUNDS: usize = 40;
/// What the whole process may take on an idle host, ns by the clock.
const IDLE_NS: f64 = 10e6;
/// What a listing may cost, ns.
const LIMIT_NS: f64 = 50e6;

/// One way to list.
#[derive(Debug, Serialize)]
struct Row {
    /// The command.
    command: String,
    /// Domains there were.
    domains: usize,
    /// CPU time of each toolctl, ns.
    toolctl_ns: Vec<u64>,
    /// Wall-clock time of each toolctl, ns.
    wall_ns: Vec<u64>,
    /// CPU time of xend over all rounds, ns; it is told in steps of a clock tick.
    xend_total_ns: u64,
}

impl Row {
    /// CPU time of both for one listing.
    fn cpu_ns(&self) -> f64 {
        median(&self.toolctl_ns) + self.xend_ns()
    }

    fn xend_ns(&self) -> f64 {
        self.xend_total_ns as f64 / self.toolctl_ns.len().max(1) as f64
    }
}

fn median(samples: &[u64]) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable();
    sorted
        .get(sorted.len() / 2)
        .map_or(f64::NAN, |&ns| ns as f64)
}

/// The outcome.
#[derive(Debug, Serialize)]
pub struct Report {
    bench: &'static str,
    measures: &'static str,
    limit_ns: f64,
    rows: Vec<Row>,
}

impl Report {
    /// Writes `$NOXEN_LAB_OUT/list.json`, prints the table, and the summary last.
    pub fn write_and_show(&self) -> Result<()> {
        let dir =
            std::env::var_os("NOXEN_LAB_OUT").context("benches run by `cargo xtask bench`")?;
        let path = Path::new(&dir).join("list.json");
        std::fs::write(path, serde_json::to_vec_pretty(self)?)?;
        println!(
            "{}\n{:<28} {:>8} {:>12} {:>10} {:>10} {:>10}",
            self.measures, "command", "domains", "toolctl ms", "xend ms", "both ms", "wall ms"
        );
        for row in &self.rows {
            println!(
                "{:<28} {:>8} {:>12.2} {:>10.2} {:>10.2} {:>10.2}",
                row.command,
                row.domains,
                median(&row.toolctl_ns) / 1e6,
                row.xend_ns() / 1e6,
                row.cpu_ns() / 1e6,
                median(&row.wall_ns) / 1e6
            );
        }
        let full = self.rows.iter().filter(|row| row.domains == DOMAINS);
        let worst = full.map(Row::cpu_ns).fold(0.0, f64::max);
        let few = self.rows.iter().find(|row| row.domains == FEW);
        let few = few.map_or(f64::NAN, |row| median(&row.wall_ns));
        let verdict = if worst < self.limit_ns {
            "met"
        } else {
            "not met"
        };
        println!(
            "list: {:.1} ms of CPU with {DOMAINS} domains (stand-in monitors), under {:.0} ms is {verdict}; \
             {:.1} ms by the clock with {FEW}, under {:.0} ms is {}",
            worst / 1e6,
            self.limit_ns / 1e6,
            few / 1e6,
            IDLE_NS / 1e6,
            if few < IDLE_NS { "met" } else { "not met" }
        );
        Ok(())
    }
}

/// The bench.
pub fn run() -> Result<Report> {
    let node = Node::new()?;
    let mut rows = vec![node.measure(&["list"], 0)?];
    let mut client = Client::connect(&node.paths())?;
    for n in 0..DOMAINS {
        if n == FEW {
            rows.push(node.measure(&["list"], FEW)?);
        }
        let name = format!("domain-{n:03}");
        let config = Box::new(DomainConfig {
            name: name.clone(),
            kernel: node.root.join("kernel").display().to_string(),
            memory: 8,
            vcpus: 2,
            ..DomainConfig::default()
        });
        client.ask(&Request::Create { config })?;
        client.ask_ok(&Request::Unpause { domain: name })?;
    }
    rows.push(node.measure(&["list"], DOMAINS)?);
    rows.push(node.measure(&["list", "--json"], DOMAINS)?);
    Ok(Report {
        bench: "list",
        measures: "CPU time of toolctl and of xend for one listing, stand-in monitors",
        limit_ns: LIMIT_NS,
        rows,
    })
}

/// A private node.
struct Node {
    root: PathBuf,
}

impl Node {
    fn new() -> Result<Node> {
        let root = std::env::temp_dir().join(format!("noxen-bench-list-{}", std::process::id()));
        std::fs::create_dir_all(&root)?;
        let node = Node { root };
        std::fs::write(node.root.join("kernel"), "ok")?;
        let started = node.command("xend").arg("start").output()?;
        if !started.status.success() {
            bail!("xend: {}", String::from_utf8_lossy(&started.stderr));
        }
        Ok(node)
    }

    fn paths(&self) -> Paths {
        Paths::under(&self.root)
    }

    fn command(&self, program: &str) -> Command {
        let bin = layout::bin_dir();
        let mut command = Command::new(bin.join(program));
        command
            .env("NOXEN_ROOT", &self.root)
            .env("NOXEN_VMM", bin.join("xend-fake-monitor"))
            .env("NOXEN_KVM", "/dev/null")
            .env("NOXEN_TUN", "/dev/null")
            .stdin(Stdio::null());
        command
    }

    fn xend_ns(&self) -> Result<u64> {
        let pid = std::fs::read_to_string(self.paths().xend_pid())?;
        let text = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim()))?;
        let ticks = cpu_ticks(&text).context("unknown /proc/PID/stat")?;
        Ok(ticks * 1_000_000_000 / rustix::param::clock_ticks_per_second().max(1))
    }

    fn measure(&self, args: &[&str], domains: usize) -> Result<Row> {
        // Once before, so that nobody pays for what is done a first time.
        self.listing(args, domains)?;
        let before = self.xend_ns()?;
        let mut row = Row {
            command: format!("toolctl {}", args.join(" ")),
            domains,
            toolctl_ns: Vec::new(),
            wall_ns: Vec::new(),
            xend_total_ns: 0,
        };
        for _ in 0..ROUNDS {
            let (cpu, wall) = self.listing(args, domains)?;
            row.toolctl_ns.push(cpu);
            row.wall_ns.push(wall);
        }
        row.xend_total_ns = self.xend_ns()? - before;
        Ok(row)
    }

    /// One listing: CPU time of toolctl, wall-clock time.
    fn listing(&self, args: &[&str], domains: usize) -> Result<(u64, u64)> {
        let out = self.root.join("out");
        let mut command = self.command("toolctl");
        command.args(args).stdout(std::fs::File::create(&out)?);
        let begun = Instant::now();
        let mut child = command.spawn()?;
        let pid = Pid::from_raw(child.id() as i32).context("no process id")?;
        // It has ended, but what it has used can still be read.
        waitid(
            WaitId::Pid(pid),
            WaitIdOptions::EXITED | WaitIdOptions::NOWAIT,
        )?;
        let wall = begun.elapsed().as_nanos() as u64;
        let schedstat = std::fs::read_to_string(format!("/proc/{}/schedstat", child.id()))?;
        let status = child.wait()?;
        let text = std::fs::read_to_string(&out)?;
        let listed = text.matches("domain-").count();
        if !status.success() || listed != domains {
            bail!("toolctl {args:?} listed {listed} of {domains} domains ({status})");
        }
        let first = schedstat.split_whitespace().next();
        let cpu = first.and_then(|ns| ns.parse().ok());
        Ok((cpu.context("unknown /proc/PID/schedstat")?, wall))
    }

    fn end(&self) -> Result<()> {
        let mut client = Client::connect(&self.paths())?;
        for n in 0..DOMAINS {
            let domain = format!("domain-{n:03}");
            // One that was never made does not exist.
            let _ = client.ask_ok(&Request::Destroy { domain });
        }
        self.command("xend").arg("stop").status()?;
        let pid = std::fs::read_to_string(self.root.join("var/run/xenstore.pid"))?;
        let pid = Pid::from_raw(pid.trim().parse()?).context("no process id")?;
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        Ok(())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Err(e) = self.end() {
            eprintln!("list: the private node did not end well: {e:#}");
        }
        let _ = std::fs::remove_dir_all(&self.root);
    }
}

/// utime + stime of a /proc/PID/stat line, threads that have ended among them.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ').skip(11);
    let mut next = || fields.next()?.parse::<u64>().ok();
    Some(next()? + next()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_ticks_are_user_and_system_time() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 100 0 0 0 31 11 5 6 20 0 3 0 1234 1 2";
        assert_eq!(cpu_ticks(stat), Some(42));
        assert_eq!(cpu_ticks("7 (a) S 1"), None);
    }

    #[test]
    fn cpu_time_of_a_row_is_toolctls_middle_and_xends_share() {
        let row = Row {
            command: "toolctl list".into(),
            domains: 2,
            toolctl_ns: vec![3, 100, 2],
            wall_ns: vec![],
            xend_total_ns: 30,
        };
        assert_eq!(row.cpu_ns(), 13.0);
    }
}
