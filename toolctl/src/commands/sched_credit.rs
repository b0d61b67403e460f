//! `sched-credit` and `sched-credit2`: weight and cap of domains.

use crate::cli::command::{Command, Group, Opt, JSON};
use crate::cli::context::{unexpected, Context};
use crate::cli::failure::Failure;
use crate::cli::getopt::Parsed;
use noxen_xend_api::{Change, Request, Response, Share};
use serde_json::json;

const DOMAIN: Opt = Opt::value('d', "domain", "DOMAIN", "Domain to modify.");
const WEIGHT: Opt = Opt::value('w', "weight", "WEIGHT", "Weight, 1 to 65535.");
const CAP: Opt = Opt::value('c', "cap", "CAP", "Cap in per cent of one CPU; 0 for none.");

/// The definition of `sched-credit`.
pub const COMMAND: Command = Command {
    name: "sched-credit",
    args: "[-d <Domain> [-w[=WEIGHT]|-c[=CAP]]]",
    summary: "Get/set credit scheduler parameters.",
    details: "Weight and cap are set in the domain's control group (cgroup2): a weight of 256 is the kernel's default of \
              100, a cap becomes a quota.",
    options: &[DOMAIN, WEIGHT, CAP, JSON],
    group: Group::Scheduler,
    run: Some(credit),
    ..Command::DEFAULT
};

/// The definition of `sched-credit2`.
pub const COMMAND_2: Command = Command {
    name: "sched-credit2",
    args: "[-d <Domain> [-w[=WEIGHT]]]",
    summary: "Get/set credit2 scheduler parameters.",
    details: "The weight is that of sched-credit.",
    options: &[DOMAIN, WEIGHT, JSON],
    group: Group::Scheduler,
    run: Some(credit2),
    ..Command::DEFAULT
};

fn credit(context: &mut Context, parsed: &Parsed) -> Result<i32, Failure> {
    run(context, parsed, true)
}

fn credit2(context: &mut Context, parsed: &Parsed) -> Result<i32, Failure> {
    run(context, parsed, false)
}

fn run(context: &mut Context, parsed: &Parsed, with_cap: bool) -> Result<i32, Failure> {
    let weight = number(parsed.value("weight"))?;
    let cap = number(parsed.value("cap"))?;
    if weight.is_none() && cap.is_none() {
        return list(context, parsed, with_cap);
    }
    let Some(domain) = parsed.value("domain") else {
        return Err(Failure::usage("No domain given."));
    };
    context.ask_ok(&Request::Change {
        domain: domain.to_owned(),
        change: Change::Credit { weight, cap },
    })?;
    Ok(0)
}

fn number(text: Option<&str>) -> Result<Option<i64>, Failure> {
    text.map(str::parse)
        .transpose()
        .map_err(|_| Failure::usage("Invalid argument."))
}

fn list(context: &mut Context, parsed: &Parsed, with_cap: bool) -> Result<i32, Failure> {
    let request = Request::Shares {
        domains: parsed
            .value("domain")
            .map(str::to_owned)
            .into_iter()
            .collect(),
    };
    let shares = match context.ask(&request)? {
        Response::Shares { domains } => domains,
        other => return Err(unexpected(other)),
    };
    if parsed.has("json") {
        let all = shares.iter().map(|share| json!(share)).collect();
        context.json(&serde_json::Value::Array(all))?;
        return Ok(0);
    }
    let mut header = format!("{:<33} {:>4} {:>6}", "Name", "ID", "Weight");
    if with_cap {
        header.push_str(&format!(" {:>4}", "Cap"));
    }
    context.line(header)?;
    for share in &shares {
        context.line(row(share, with_cap))?;
    }
    Ok(0)
}

fn row(share: &Share, with_cap: bool) -> String {
    let id = share.domid.map(|id| id.to_string()).unwrap_or_default();
    let mut row = format!("{:<32} {id:>5} {:>6}", share.name, share.weight);
    if with_cap {
        row.push_str(&format!(" {:>4}", share.cap));
    }
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_have_the_widths_of_xm() {
        let share = Share {
            name: "tenant03".into(),
            domid: Some(3),
            weight: 512,
            cap: 50,
            sedf: noxen_xend_api::Sedf::default(),
        };
        assert_eq!(
            row(&share, true),
            "tenant03                             3    512   50"
        );
        assert_eq!(
            row(&share, false),
            "tenant03                             3    512"
        );
        let dormant = Share {
            domid: None,
            ..share
        };
        assert_eq!(
            row(&dormant, true),
            "tenant03                                  512   50"
        );
    }
}
