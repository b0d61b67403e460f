//! `vcpu-list`: virtual CPUs, a line each.

use crate::cli::command::{Command, JSON};
use crate::cli::context::{unexpected, Context};
use crate::cli::failure::Failure;
use crate::cli::getopt::Parsed;
use noxen_xend_api::info::affinity_text;
use noxen_xend_api::{DomainVcpus, Request, Response, VcpuInfo};
use serde_json::json;

/// The definition.
pub const COMMAND: Command = Command {
    name: "vcpu-list",
    args: "[Domain, ...]",
    summary: "List the VCPUs for all/some domains.",
    options: &[JSON],
    run: Some(run),
    ..Command::DEFAULT
};

fn run(context: &mut Context, parsed: &Parsed) -> Result<i32, Failure> {
    print(context, &parsed.words, parsed.has("json"))
}

/// Prints the vCPUs of the domains named, or of all.
pub(super) fn print(
    context: &mut Context,
    names: &[String],
    as_json: bool,
) -> Result<i32, Failure> {
    let request = Request::VcpuList {
        domains: names.to_vec(),
    };
    let domains = match context.ask(&request)? {
        Response::Vcpus { domains } => domains,
        other => return Err(unexpected(other)),
    };
    if as_json {
        let all = domains.iter().map(to_json).collect();
        context.json(&serde_json::Value::Array(all))?;
        return Ok(0);
    }
    context.line(format!(
        "{:<32} {:>5} {:>5} {:>5} {:>5} {:>9} {}",
        "Name", "ID", "VCPU", "CPU", "State", "Time(s)", "CPU Affinity"
    ))?;
    for domain in &domains {
        for vcpu in &domain.vcpus {
            context.line(row(domain, vcpu))?;
        }
    }
    Ok(0)
}

fn row(domain: &DomainVcpus, vcpu: &VcpuInfo) -> String {
    let id = domain.domid.map(|id| id.to_string()).unwrap_or_default();
    let (cpu, state) = match (domain.domid, vcpu.online) {
        (None, _) => (String::new(), String::new()),
        (_, false) => ("-".into(), vcpu.letters()),
        (_, true) => (
            vcpu.cpu.map_or("-".into(), |cpu| cpu.to_string()),
            vcpu.letters(),
        ),
    };
    format!(
        "{:<32} {id:>5} {:>5} {cpu:>5} {state:>5}  {:>8.1} {}",
        domain.name,
        vcpu.vcpu,
        vcpu.cpu_time_ns as f64 / 1e9,
        affinity_text(&vcpu.affinity, domain.host_cpus)
    )
}

fn to_json(domain: &DomainVcpus) -> serde_json::Value {
    let vcpus: Vec<_> = domain
        .vcpus
        .iter()
        .map(|vcpu| {
            json!({
                "vcpu": vcpu.vcpu,
                "online": vcpu.online,
                "state": vcpu.letters(),
                "cpu": vcpu.cpu,
                "cpu_time_s": vcpu.cpu_time_ns as f64 / 1e9,
                "affinity": vcpu.affinity,
            })
        })
        .collect();
    json!({ "name": domain.name, "domid": domain.domid, "vcpus": vcpus })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::fake;

    #[test]
    fn rows_have_the_widths_of_xm() {
        let domain = fake::vcpus("tenant03", 3);
        let rows: Vec<_> = domain.vcpus.iter().map(|vcpu| row(&domain, vcpu)).collect();
        assert_eq!(
            rows,
            [
                "tenant03                             3     0     1   -b-      11.0 any cpu",
                "tenant03                             3     1     -   --p       1.2 0",
            ]
        );
    }
}
