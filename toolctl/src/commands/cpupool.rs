//! `cpupool-list`: the host's CPUs are one pool, `Pool-0`, that every domain is in.

use crate::cli::command::{Command, Group, Opt, Standing, JSON};
use crate::cli::context::{unexpected, Context};
use crate::cli::failure::Failure;
use crate::cli::getopt::Parsed;
use noxen_xend_api::{Request, Response, StateFilter};
use serde_json::json;

/// The definition.
pub const COMMAND: Command = Command {
    name: "cpupool-list",
    args: "[<CPU Pool>] [-l|--long] [-c|--cpus]",
    summary: "List CPU pools on host.",
    details: "There is one pool, Pool-0, which has all CPUs of the host; use cpus = and vcpu-pin to divide them.",
    options: &[
        Opt::flag('l', "long", "Output all CPU pool details in SXP format."),
        Opt::flag('c', "cpus", "Output list of CPUs used by a pool."),
        JSON,
    ],
    group: Group::Other,
    standing: Standing::Partly("one pool, Pool-0, with all CPUs of the host"),
    run: Some(run),
    ..Command::DEFAULT
};

const POOL: &str = "Pool-0";

fn run(context: &mut Context, parsed: &Parsed) -> Result<i32, Failure> {
    match parsed.words.as_slice() {
        [] => {}
        [name] if name == POOL => {}
        [name] => {
            return Err(Failure::usage(format!(
                "Pool '{name}' does not exist; there is {POOL}"
            )))
        }
        _ => {
            return Err(Failure::usage(
                "Only one pool name for option '--long' or '--cpus'",
            ))
        }
    }
    let node = match context.ask(&Request::Info)? {
        Response::Node { node } => node,
        other => return Err(unexpected(other)),
    };
    let domains = context.domains(&[], StateFilter::All)?;
    let active = domains.iter().filter(|d| d.domid.is_some()).count();
    let cpus: Vec<String> = (0..node.nr_cpus).map(|cpu| cpu.to_string()).collect();
    let (count, sched) = (cpus.len(), &node.xen_scheduler);
    if parsed.has("json") {
        context.json(&json!([{
            "name": POOL, "cpus": cpus, "sched": sched, "active": true, "domains": active,
        }]))?;
    } else if parsed.has("long") {
        context.line(format!(
            "(cpu_pool\n    (name_label {POOL})\n    (auto_power_on 1)\n    (sched_policy {sched})\n    \
             (started_VMs {active})\n    (host_CPUs ({}))\n)",
            cpus.join(" ")
        ))?;
    } else if parsed.has("cpus") {
        context.line("Name             CPU list")?;
        context.line(format!("{POOL:<16} {}", cpus.join(",")))?;
    } else {
        context.line("Name               CPUs   Sched     Active   Domain count")?;
        context.line(format!(
            "{POOL:<19}{count:>3} {sched:>9}       y       {active:>4}"
        ))?;
    }
    Ok(0)
}
