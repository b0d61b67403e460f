//! `uptime`: how long domains have been running.

use crate::cli::command::{Command, Opt, JSON};
use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::getopt::Parsed;
use noxen_xend_api::{DomainInfo, StateFilter};
use serde_json::json;
use std::time::{SystemTime, UNIX_EPOCH};

/// The definition.
pub const COMMAND: Command = Command {
    name: "uptime",
    args: "[-s|--short] [Domain, ...]",
    summary: "Print uptime for all/some domains.",
    options: &[
        Opt::flag(
            's',
            "short",
            "Print the current time and one line for each domain.",
        ),
        JSON,
    ],
    run: Some(run),
    ..Command::DEFAULT
};

fn run(context: &mut Context, parsed: &Parsed) -> Result<i32, Failure> {
    let domains = context.domains(&parsed.words, StateFilter::All)?;
    if parsed.has("json") {
        let all = domains
            .iter()
            .map(|domain| json!({ "name": domain.name, "domid": domain.domid, "uptime_s": uptime(domain) }))
            .collect();
        context.json(&serde_json::Value::Array(all))?;
        return Ok(0);
    }
    if parsed.has("short") {
        let time = clock();
        for domain in &domains {
            context.line(short(&time, domain))?;
        }
        return Ok(0);
    }
    context.line(format!("{:<33} {:>4} {} ", "Name", "ID", "Uptime"))?;
    for domain in &domains {
        context.line(row(domain))?;
    }
    Ok(0)
}

/// Seconds; a dormant domain has none.
fn uptime(domain: &DomainInfo) -> u64 {
    domain.domid.map_or(0, |_| domain.uptime_s)
}

fn id(domain: &DomainInfo) -> String {
    domain.domid.map(|id| id.to_string()).unwrap_or_default()
}

fn days(seconds: u64) -> String {
    match seconds / 86400 {
        0 => String::new(),
        1 => "1 day, ".into(),
        n => format!("{n} days, "),
    }
}

fn row(domain: &DomainInfo) -> String {
    let seconds = uptime(domain);
    format!(
        "{:<32} {:>5} {}{:>2}:{:02}:{:02}",
        domain.name,
        id(domain),
        days(seconds),
        seconds / 3600 % 24,
        seconds / 60 % 60,
        seconds % 60
    )
}

fn short(time: &str, domain: &DomainInfo) -> String {
    let seconds = uptime(domain);
    format!(
        " {time} up {}{}:{:02}, {} ({})",
        days(seconds),
        seconds / 3600 % 24,
        seconds / 60 % 60,
        domain.name,
        id(domain)
    )
}

/// The local time, `HH:MM:SS`.
pub(crate) fn clock() -> String {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |now| now.as_secs());
    time_of_day(now, local_offset(now))
}

fn time_of_day(now: u64, offset: i64) -> String {
    let seconds = now.saturating_add_signed(offset) % 86400;
    format!(
        "{:02}:{:02}:{:02}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    )
}

/// Seconds that the host's zone is ahead of UTC; 0 where the zone is not known.
fn local_offset(now: u64) -> i64 {
    let now = i64::try_from(now).unwrap_or(0);
    tz::TimeZone::local()
        .ok()
        .and_then(|zone| {
            zone.find_local_time_type(now)
                .ok()
                .map(|kind| i64::from(kind.ut_offset()))
        })
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::fake;

    #[test]
    fn uptime_reads_as_xm_writes_it() {
        let mut domain = fake::domain("tenant03", 3);
        for (seconds, wanted) in [
            (5, "tenant03                             3  0:00:05"),
            (3_661, "tenant03                             3  1:01:01"),
            (
                90_000,
                "tenant03                             3 1 day,  1:00:00",
            ),
            (
                200_000,
                "tenant03                             3 2 days,  7:33:20",
            ),
        ] {
            domain.uptime_s = seconds;
            assert_eq!(row(&domain), wanted);
        }
        assert_eq!(
            short("12:34:56", &domain),
            " 12:34:56 up 2 days, 7:33, tenant03 (3)"
        );
        domain.domid = None;
        assert_eq!(
            row(&domain),
            "tenant03                                0:00:00"
        );
    }

    #[test]
    fn time_of_day_counts_the_zones_offset() {
        assert_eq!(time_of_day(86_399, 0), "23:59:59");
        assert_eq!(time_of_day(86_399, 3_600), "00:59:59");
        assert_eq!(time_of_day(90_000, -7_200), "23:00:00");
    }
}
