//! `list`: domains, a line each.

use crate::cli::colour::{Colour, Paint};
use crate::cli::command::{Command, Opt, JSON};
use crate::cli::context::{unexpected, Context};
use crate::cli::failure::Failure;
use crate::cli::front::{self, Front};
use crate::cli::getopt::Parsed;
use noxen_xend_api::{DomainInfo, Request, Response, StateFilter};
use serde_json::json;

/// The definition.
pub const COMMAND: Command = Command {
    name: "list",
    args: "[options] [Domain, ...]",
    summary: "List information about all/some domains.",
    details: "The columns are name, id, memory in MiB, virtual CPUs online, state and CPU time in seconds. The six letters of \
        the state are r running, b blocked, p paused, s shut down, c crashed, d dying; a letter that does not hold is a dash.",
    options: &[
        Opt::flag('l', "long", "Output all VM details in SXP."),
        Opt::long_flag("label", "Include the security label."),
        Opt::long_value("state", "STATE", "Only VMs in this state: halted, paused, running, suspended, shutdown, crashed, unknown or all."),
        Opt::flag('v', "vcpus", "Deprecated; use vcpu-list."),
        JSON,
    ],
    run: Some(run),
    ..Command::DEFAULT
};

fn run(context: &mut Context, parsed: &Parsed) -> Result<i32, Failure> {
    let names = &parsed.words;
    let state = match parsed.value("state") {
        None => StateFilter::All,
        Some(word) => StateFilter::parse(word).ok_or_else(|| {
            Failure::usage(format!(
                "'{word}' is no state; it is halted, paused, running, suspended, shutdown, crashed, unknown or all"
            ))
        })?,
    };
    if state != StateFilter::All && !names.is_empty() {
        return Err(Failure::usage(
            "You may specify either a state or a particular VM, but not both",
        ));
    }
    if parsed.has("vcpus") {
        context.note("xm list -v is deprecated.  Please use xm vcpu-list.");
        return super::vcpu_list::print(context, names, parsed.has("json"));
    }
    if parsed.has("long") && context.front == Front::Xl {
        let mut domains = context.domains(names, state)?;
        domains.retain(|domain| domain.domid.is_some());
        let all = domains.iter().map(front::domain).collect();
        context.json(&serde_json::Value::Array(all))?;
        return Ok(0);
    }
    if parsed.has("long") && !parsed.has("json") {
        let request = Request::Sxp {
            domains: names.clone(),
            state,
        };
        return match context.ask(&request)? {
            Response::Texts { texts } => {
                texts.iter().try_for_each(|text| context.line(text))?;
                Ok(0)
            }
            other => Err(unexpected(other)),
        };
    }
    let mut domains = context.domains(names, state)?;
    if parsed.has("json") {
        let all = domains.iter().map(as_json).collect();
        context.json(&serde_json::Value::Array(all))?;
        return Ok(0);
    }
    let label = parsed.has("label");
    if label {
        domains.sort_by_key(|domain| label_of(domain).to_lowercase());
    }
    let heading = header();
    let (dormant, paint) = (Dormant::of(context), context.on_out);
    match label {
        true => context.line(format!("{heading} {:<10}", "Label"))?,
        false => context.line(heading)?,
    }
    for domain in &domains {
        match label {
            true => context.line(format!(
                "{} {:>10}",
                row(domain, dormant, paint),
                label_of(domain)
            ))?,
            false => context.line(row(domain, dormant, paint))?,
        }
    }
    Ok(0)
}

fn header() -> String {
    format!(
        "{:<40} {:>5} {:>5} {:>5} {:>10} {:>9}",
        "Name", "ID", "Mem", "VCPUs", "State", "Time(s)"
    )
}

/// What stands in columns ID and State of a domain that does not run.
#[derive(Clone, Copy)]
enum Dormant {
    /// Nothing.
    Empty,
    /// -1 and ------: xm's Xen-API mode.
    Dashes,
}

impl Dormant {
    fn of(context: &Context) -> Dormant {
        match context.by_xen_api() {
            false => Dormant::Empty,
            true => Dormant::Dashes,
        }
    }
}

/// The time's value ends one column before its heading, as it did.
fn row(domain: &DomainInfo, dormant: Dormant, paint: Paint) -> String {
    let (id, state) = match (domain.domid, dormant) {
        (Some(id), _) => (id.to_string(), domain.state.letters()),
        (None, Dormant::Dashes) => ("-1".to_owned(), domain.state.letters()),
        (None, Dormant::Empty) => (String::new(), String::new()),
    };
    let state = paint.paint(colour(domain), &format!("{state:>10}"));
    format!(
        "{:<40} {id:>5} {:>5} {:>5} {state} {:>8.1}",
        domain.name,
        domain.memory_mib,
        domain.online_vcpus,
        domain.cpu_time_s()
    )
}

/// What its state means for whoever looks.
fn colour(domain: &DomainInfo) -> Colour {
    let state = &domain.state;
    if state.crashed {
        Colour::Red
    } else if state.paused || state.dying {
        Colour::Yellow
    } else if state.shutdown || domain.domid.is_none() {
        Colour::Dim
    } else {
        Colour::Green
    }
}

/// No security module is active, so the column is empty.
fn label_of(_domain: &DomainInfo) -> &'static str {
    ""
}

/// One domain as `--json` prints it.
fn as_json(domain: &DomainInfo) -> serde_json::Value {
    json!({
        "name": domain.name,
        "domid": domain.domid,
        "uuid": domain.uuid,
        "memory_mib": domain.memory_mib,
        "maxmem_mib": domain.maxmem_mib,
        "vcpus": domain.vcpus,
        "online_vcpus": domain.online_vcpus,
        "state": domain.state.letters(),
        "cpu_time_s": domain.cpu_time_s(),
        "start_time": domain.start_time,
        "uptime_s": domain.uptime_s,
        "restart_count": domain.restart_count,
        "managed": domain.managed,
        "suspended": domain.suspended,
        "shutdown_reason": domain.shutdown_reason,
        "console_tty": domain.console_tty,
        "pid": domain.pid,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::fake;

    #[test]
    fn row_has_the_widths_of_xm() {
        assert_eq!(
            header(),
            "Name                                        ID   Mem VCPUs      State   Time(s)"
        );
        let mut domain = fake::domain("tenant03", 3);
        assert_eq!(
            row(&domain, Dormant::Empty, Paint::default()),
            "tenant03                                     3   192     2     -b----     12.2"
        );
        domain.domid = None;
        domain.cpu_time_ns = 0;
        assert_eq!(
            row(&domain, Dormant::Empty, Paint::default()),
            "tenant03                                         192     2                 0.0"
        );
        domain.name = "n".repeat(50);
        assert!(
            row(&domain, Dormant::Empty, Paint::default())
                .starts_with(&format!("{} ", "n".repeat(50))),
            "long names are not cut"
        );
    }

    #[test]
    fn row_has_six_fields_for_programs_that_split_it() {
        assert_eq!(
            row(&fake::domain("a", 1), Dormant::Empty, Paint::default())
                .split_whitespace()
                .count(),
            6
        );
    }
}
