//! `store`: our xenstored beside Xen's two, by one client over one unix socket.
//!
//! ```text
//!   round 1: read  -> noxen, C, oxenstored, noxen with polling, floor │ on one processor: noxen, noxen with 1,000 domains
//!            write -> ...                    one sample each, in turn, so that whatever else
//!   round 2: ...                             the machine does hits all of them alike
//! ```
//! Where client and daemon run is the scheduler's choice, which may stay with one daemon for a whole run: apart, an exchange takes
//! several times as long as on one processor. What a thousand domains cost is a few hundredths, so for that the client and two daemons of ours, an empty one
//! and the full one, are kept on one processor.
//!
//! Runs on the host itself: no lab, no guest. Samples are kept by the clock and, as it depends less
//! on what else runs, by the daemon's own CPU time.

mod daemons;
mod figures;
pub mod floor;
mod talk;

use anyhow::{Context, Result};
use daemons::Daemon;
use figures::{Contender, Report};
use noxen_xenstore::wire::Op;
use rustix::thread::{sched_getaffinity, sched_setaffinity, CpuSet};
use std::time::Instant;
use talk::Talk;

const ROUNDS: usize = 21;
/// Requests under way in the rows that say so.
const DEPTH: usize = 16;
const DOMAINS: u16 = 1000;
const NODES_EACH: usize = 50;
const WATCHES_EACH: usize = 10;
/// The node that has a watch.
const WATCHED: &str = "/bench/watched";

/// What a row does and how many requests (transactions, events) a sample of it takes.
struct Row {
    name: &'static str,
    count: usize,
    act: fn(&mut Talk, &mut Talk, usize) -> Result<()>,
}

const ROWS: [Row; 9] = [
    Row {
        name: "read",
        count: 600,
        act: |c, _, n| c.repeat(Op::Read, n, 1, |_| b"/bench/value\0".to_vec()),
    },
    Row {
        name: "read, 16 under way",
        count: 3200,
        act: |c, _, n| c.repeat(Op::Read, n, DEPTH, |_| b"/bench/value\0".to_vec()),
    },
    Row {
        name: "write",
        count: 600,
        act: |c, _, n| c.repeat(Op::Write, n, 1, written),
    },
    Row {
        name: "write, 16 under way",
        count: 3200,
        act: |c, _, n| c.repeat(Op::Write, n, DEPTH, written),
    },
    Row {
        name: "directory of 20",
        count: 600,
        act: |c, _, n| c.repeat(Op::Directory, n, 1, |_| b"/bench/list\0".to_vec()),
    },
    Row {
        name: "directory of 20, 16 under way",
        count: 3200,
        act: |c, _, n| c.repeat(Op::Directory, n, DEPTH, |_| b"/bench/list\0".to_vec()),
    },
    Row {
        name: "transaction of 10 writes",
        count: 100,
        act: |c, _, n| transactions(c, n, false),
    },
    Row {
        name: "same, writes sent at once",
        count: 200,
        act: |c, _, n| transactions(c, n, true),
    },
    Row {
        name: "write to watch event",
        count: 400,
        act: watched_writes,
    },
];

fn written(i: usize) -> Vec<u8> {
    format!("/bench/w{}\0value {i}", i % 10).into_bytes()
}

fn transactions(c: &mut Talk, count: usize, at_once: bool) -> Result<()> {
    for _ in 0..count {
        let tx = c.ask(Op::TransactionStart, 0, b"\0")?;
        for i in 0..10 {
            if at_once {
                c.put(Op::Write, tx, &written(i));
            } else {
                c.ask(Op::Write, tx, &written(i))?;
            }
        }
        if at_once {
            c.send()?;
            c.settle()?;
        }
        c.ask(Op::TransactionEnd, tx, b"T\0")?;
    }
    Ok(())
}

/// One connection writes, the other is told.
fn watched_writes(c: &mut Talk, watcher: &mut Talk, count: usize) -> Result<()> {
    for i in 0..count {
        c.put(Op::Write, 0, format!("{WATCHED}\0{i}").as_bytes());
        c.send()?;
        watcher.event()?;
        c.settle()?;
    }
    Ok(())
}

/// A daemon with the client's connections to it.
struct Bench {
    daemon: Daemon,
    client: Talk,
    watcher: Talk,
    result: Contender,
    /// The processor that client and daemon share, where the scheduler has no choice.
    shared: Option<CpuSet>,
}

impl Bench {
    fn new(daemon: Daemon) -> Result<Bench> {
        let mut client = Talk::connect(&daemon.socket)?;
        client.ask(Op::Write, 0, b"/bench/value\0twenty bytes of text")?;
        for i in 0..20 {
            client.ask(Op::Write, 0, format!("/bench/list/name-{i}\0").as_bytes())?;
        }
        let mut watcher = Talk::connect(&daemon.socket)?;
        watcher.ask(Op::Watch, 0, format!("{WATCHED}\0token\0").as_bytes())?;
        watcher.event()?;
        let result = Contender {
            name: daemon.name.to_owned(),
            ..Contender::default()
        };
        Ok(Bench {
            daemon,
            client,
            watcher,
            result,
            shared: None,
        })
    }

    /// Keeps the daemon, and the client while it asks it, on one processor.
    fn share_a_processor(mut self) -> Result<Bench> {
        let all = sched_getaffinity(None)?;
        let first = (0..CpuSet::MAX_CPU).find(|cpu| all.is_set(*cpu));
        let mut one = CpuSet::new();
        one.set(first.context("this process may run on no processor")?);
        self.daemon.keep_on(&one)?;
        self.shared = Some(one);
        Ok(self)
    }

    fn sample(&mut self, row: &Row) -> Result<()> {
        let Some(one) = self.shared else {
            return self.sample_here(row);
        };
        let all = sched_getaffinity(None)?;
        sched_setaffinity(None, &one)?;
        let sampled = self.sample_here(row);
        sched_setaffinity(None, &all)?;
        sampled
    }

    fn sample_here(&mut self, row: &Row) -> Result<()> {
        let (cpu, start) = (self.daemon.cpu_ns()?, Instant::now());
        (row.act)(&mut self.client, &mut self.watcher, row.count)
            .with_context(|| format!("{}: {}", self.daemon.name, row.name))?;
        let wall = start.elapsed().as_nanos() as f64 / row.count as f64;
        let cpu = (self.daemon.cpu_ns()? - cpu) as f64 / row.count as f64;
        let result = &mut self.result;
        result.wall_ns.entry(row.name).or_default().push(wall);
        result.cpu_ns.entry(row.name).or_default().push(cpu);
        Ok(())
    }
}

/// Connects the domains, each with its nodes and watches. They stay as long as what is returned.
fn populate(daemon: &Daemon) -> Result<Vec<Talk>> {
    let mut tool = Talk::connect(&daemon.socket)?;
    let mut guests = Vec::new();
    for domid in 1..=DOMAINS {
        let home = format!("/local/domain/{domid}");
        tool.put(Op::Mkdir, 0, format!("{home}\0").as_bytes());
        tool.put(Op::SetPerms, 0, format!("{home}\0n{domid}\0").as_bytes());
        tool.put(Op::Introduce, 0, format!("{domid}\x001\x002\0").as_bytes());
        tool.send()?;
        tool.settle()?;
        let mut guest = Talk::attach(&daemon.domains_socket(), domid)?;
        for i in 0..NODES_EACH - 1 {
            let node = format!("device/vif/{}/key-{}\0some value {i}", i / 12, i % 12);
            guest.put(Op::Write, 0, node.as_bytes());
        }
        for i in 0..WATCHES_EACH {
            let watch = format!("device/vif/{}/key-{i}\0token-{i}\0", i / 4);
            guest.put(Op::Watch, 0, watch.as_bytes());
        }
        guest.send()?;
        guest.settle()?;
        guests.push(guest);
    }
    Ok(guests)
}

/// Runs the bench.
pub fn run() -> Result<Report> {
    raise_descriptor_limit();
    let dir = noxen_integration_tests::layout::target_dir()
        .join(format!("bench-store-{}", std::process::id()));
    let outcome = run_in(&dir);
    let _ = std::fs::remove_dir_all(&dir);
    outcome
}

fn run_in(dir: &std::path::Path) -> Result<Report> {
    std::fs::create_dir_all(dir)?;
    let mut all = Vec::new();
    for daemon in [
        Daemon::noxen("noxen", dir, &[])?,
        Daemon::c(dir)?,
        Daemon::ocaml(dir)?,
        Daemon::noxen("noxen, --poll-us 50", dir, &["--poll-us", "50"])?,
        Daemon::floor(dir)?,
    ] {
        let name = daemon.name;
        all.push(Bench::new(daemon).with_context(|| format!("{name} cannot be prepared"))?);
    }
    for name in ["noxen, 1 CPU", "the same, 1000 dom."] {
        let bench = Bench::new(Daemon::noxen(name, dir, &[])?);
        let bench = bench.and_then(Bench::share_a_processor);
        all.push(bench.with_context(|| format!("{name} cannot be prepared"))?);
    }
    let full = &all[all.len() - 1].daemon;
    let before = full.memory()?;
    let _guests = populate(full).context("the domains cannot be made")?;
    let bytes_for_them = full.memory()?.saturating_sub(before);
    for round in 0..ROUNDS {
        eprintln!("store: round {} of {ROUNDS}", round + 1);
        for row in &ROWS {
            for bench in &mut all {
                bench.sample(row)?;
            }
        }
    }
    let mut contenders: Vec<Contender> = all.into_iter().map(|b| b.result).collect();
    let full = contenders.pop().context("no contenders")?;
    let empty = contenders.pop().context("no contenders")?;
    let floor = contenders.pop().context("no contenders")?;
    let polled = contenders.pop().context("no contenders")?;
    Ok(Report {
        bench: "store",
        rows: ROWS.iter().map(|r| r.name).collect(),
        contenders,
        floor,
        polled,
        empty,
        full,
        domains: usize::from(DOMAINS),
        nodes: usize::from(DOMAINS) * NODES_EACH,
        bytes_for_them,
    })
}

/// A thousand connections need more than the usual soft limit.
fn raise_descriptor_limit() {
    use rustix::process::{getrlimit, setrlimit, Resource, Rlimit};
    let now = getrlimit(Resource::Nofile);
    let _ = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: now.maximum,
            maximum: now.maximum,
        },
    );
}
