//! `sched-sedf`: CPU time that domains have in each period.

use crate::cli::command::{Arity, Command, Group, Opt, Standing, JSON};
use crate::cli::context::{unexpected, Context};
use crate::cli::failure::Failure;
use crate::cli::getopt::Parsed;
use noxen_xend_api::{Change, Request, Response, SedfChange, Share};
use serde_json::json;

/// The definition.
pub const COMMAND: Command = Command {
    name: "sched-sedf",
    args: "<Domain> [options]",
    summary: "Get/set EDF parameters.",
    details: "The domain may use its slice in each period (the quota of its control group), and more if extra is 1. The latency \
              is kept, but Linux's scheduler has nothing like it; the weight is on sched-credit's scale. What is set lasts \
              until the domain ends, and the last of sched-credit --cap and sched-sedf is in force.",
    options: &[
        Opt::value('p', "period", "MS", "Relative deadline(ms)."),
        Opt::value('s', "slice", "MS", "Worst-case execution time(ms) (slice < period)."),
        Opt::value('l', "latency", "MS", "Scaled period(ms) in case the domain is doing heavy I/O."),
        Opt::value('e', "extra", "FLAG", "Flag (0 or 1) controls if domain can run in extra time."),
        Opt::value('w', "weight", "FLOAT", "CPU share of the domain against others."),
        JSON,
    ],
    group: Group::Scheduler,
    arity: Arity::Between(0, 1),
    standing: Standing::Partly("the latency has no effect, and the setting lasts until the domain ends"),
    run: Some(run),
    ..Command::DEFAULT
};

fn run(context: &mut Context, parsed: &Parsed) -> Result<i32, Failure> {
    context.not_by_xen_api()?;
    let invalid = || Failure::usage("Invalid argument.");
    let number = |long: &str| -> Result<Option<f64>, Failure> {
        parsed
            .value(long)
            .map(str::parse)
            .transpose()
            .map_err(|_| invalid())
    };
    let change = SedfChange {
        period_ms: number("period")?,
        slice_ms: number("slice")?,
        latency_ms: number("latency")?,
        extra: match parsed.value("extra") {
            None => None,
            Some("0") => Some(false),
            Some("1") => Some(true),
            Some(_) => return Err(invalid()),
        },
        weight: number("weight")?.map(|weight| weight.round() as i64),
    };
    if change == SedfChange::default() {
        return list(context, parsed);
    }
    let Some(domain) = parsed.words.first() else {
        return Err(Failure::usage("No domain given."));
    };
    context.ask_ok(&Request::Change {
        domain: domain.clone(),
        change: Change::Sedf(change),
    })?;
    Ok(0)
}

fn list(context: &mut Context, parsed: &Parsed) -> Result<i32, Failure> {
    let request = Request::Shares {
        domains: parsed.words.clone(),
    };
    let shares = match context.ask(&request)? {
        Response::Shares { domains } => domains,
        other => return Err(unexpected(other)),
    };
    if parsed.has("json") {
        let all = shares
            .iter()
            .map(|share| json!({ "name": share.name, "domid": share.domid, "sedf": share.sedf }))
            .collect();
        context.json(&serde_json::Value::Array(all))?;
        return Ok(0);
    }
    context.line(format!(
        "{:<33} {:>4} {:<4} {:<4} {:<7} {:<5} {:<6}",
        "Name", "ID", "Period(ms)", "Slice(ms)", "Lat(ms)", "Extra", "Weight"
    ))?;
    for share in &shares {
        context.line(row(share))?;
    }
    Ok(0)
}

fn row(share: &Share) -> String {
    let id = share.domid.map(|id| id.to_string()).unwrap_or_default();
    let sedf = &share.sedf;
    format!(
        "{:<32} {id:>5} {:>9.1} {:>9.1} {:>7.1} {:>6} {:>6}",
        share.name,
        sedf.period_ms,
        sedf.slice_ms,
        sedf.latency_ms,
        u8::from(sedf.extra),
        sedf.weight
    )
}
