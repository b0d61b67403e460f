//! `top`: the host and its domains, again and again.
//!
//! ```text
//!   xend --Sample--> two of them --table()--> rows --> screen (terminal, keys)  or  --batch: lines on standard output
//! ```
//! The columns, the keys and the batch switches are xentop's, which xm ran for this.

mod json;
mod sample;
mod screen;
mod table;

use crate::cli::command::{Arity, Command, Opt};
use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::getopt::Parsed;
use sample::Sample;
use std::io::IsTerminal;
use std::time::Duration;
use table::View;

/// The definition.
pub const COMMAND: Command = Command {
    name: "top",
    summary: "Monitor a host and the domains in real time.",
    details: "The keys are those of xentop: D sets the delay, N shows networks, B disks, V vCPUs, R repeats the heading, S changes the column \
              that is sorted by, Q or Escape ends.",
    options: &[
        Opt::value('d', "delay", "SECONDS", "Seconds between updates (default 3)."),
        Opt::flag('n', "networks", "Output vif network data."),
        Opt::flag('x', "vbds", "Output vbd block device data."),
        Opt::flag('r', "repeat-header", "Repeat table header before each domain."),
        Opt::flag('v', "vcpus", "Output VCPU data."),
        Opt::flag('f', "full-name", "Output the full domain name (not truncated)."),
        Opt::flag('b', "batch", "Output in batch mode, no user input accepted."),
        Opt::value('i', "iterations", "N", "Number of iterations before exiting."),
        Opt::long_flag("json", "Output each update as a line of JSON; implies --batch."),
    ],
    arity: Arity::Exact(0),
    run: Some(run),
    ..Command::DEFAULT
};

fn run(context: &mut Context, parsed: &Parsed) -> Result<i32, Failure> {
    // What networks count is read on this host.
    context.not_by_xen_api()?;
    let view = View {
        networks: parsed.has("networks"),
        disks: parsed.has("vbds"),
        vcpus: parsed.has("vcpus"),
        repeat_header: parsed.has("repeat-header"),
        full_name: parsed.has("full-name"),
        ..View::default()
    };
    let delay = match parsed.value("delay") {
        None => Duration::from_secs(3),
        Some(text) => delay(text).ok_or_else(|| {
            Failure::usage(format!(
                "'{text}' is no delay; give seconds from 0.1 to 86400"
            ))
        })?,
    };
    let iterations: Option<u64> = match parsed.value("iterations") {
        None => None,
        Some(text) => Some(
            text.parse()
                .map_err(|_| Failure::usage("Invalid argument."))?,
        ),
    };
    if parsed.has("json") {
        return batch(context, true, delay, iterations, |now, before| {
            vec![json::of(now, before).to_string()]
        });
    }
    if parsed.has("batch") {
        return batch(context, view.vcpus, delay, iterations, |now, before| {
            table::table(now, before, &view)
        });
    }
    if !std::io::stdin().is_terminal() || !std::io::stdout().is_terminal() {
        return Err(Failure::message(
            "'xm top' needs a terminal; for a script use xm top --batch -i N",
        ));
    }
    context.saying(None, |context| {
        screen::run(context, view, delay, iterations)
    })
}

fn delay(text: &str) -> Option<Duration> {
    let seconds: f64 = text.parse().ok()?;
    (0.1..=86400.0)
        .contains(&seconds)
        .then(|| Duration::from_secs_f64(seconds))
}

/// A sample again and again, as `lines` has it.
fn batch(
    context: &mut Context,
    with_vcpus: bool,
    delay: Duration,
    iterations: Option<u64>,
    lines: impl Fn(&Sample, Option<&Sample>) -> Vec<String>,
) -> Result<i32, Failure> {
    let mut before: Option<Sample> = None;
    let mut left = iterations;
    while left != Some(0) {
        if before.is_some() {
            std::thread::sleep(delay);
        }
        let now = Sample::take(context, with_vcpus)?;
        for line in lines(&now, before.as_ref()) {
            context.line(line)?;
        }
        context.out.flush()?;
        before = Some(now);
        left = left.map(|left| left - 1);
    }
    Ok(0)
}
