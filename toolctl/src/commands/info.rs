//! `info`: the host.

use crate::cli::command::{Arity, Command, Group, Opt, JSON};
use crate::cli::context::{unexpected, Context};
use crate::cli::failure::Failure;
use crate::cli::getopt::Parsed;
use noxen_xend_api::{Request, Response};

/// The definition.
pub const COMMAND: Command = Command {
    name: "info",
    args: "[-c|--config]",
    summary: "Get information about the host.",
    options: &[Opt::flag('c', "config", "List the settings of xend."), JSON],
    group: Group::Host,
    arity: Arity::Exact(0),
    run: Some(run),
    ..Command::DEFAULT
};

fn run(context: &mut Context, parsed: &Parsed) -> Result<i32, Failure> {
    if parsed.has("config") {
        return settings(context, parsed.has("json"));
    }
    let node = match context.ask(&Request::Info)? {
        Response::Node { node } => node,
        other => return Err(unexpected(other)),
    };
    if parsed.has("json") {
        context.json(&serde_json::json!(node))?;
        return Ok(0);
    }
    for (name, value) in node.rows() {
        let value = match value.is_empty() {
            true => "(none)".to_owned(),
            // Further lines stand below the first one's value.
            false => value.replace('\n', &format!("\n{:25}", "")),
        };
        context.line(format!("{name:<23}: {value}"))?;
    }
    Ok(0)
}

/// `info --config`.
fn settings(context: &mut Context, json: bool) -> Result<i32, Failure> {
    let settings = match context.ask(&Request::Settings)? {
        Response::Settings { settings } => settings,
        other => return Err(unexpected(other)),
    };
    if json {
        context.json(&serde_json::json!(settings))?;
        return Ok(0);
    }
    for (key, value) in settings {
        let value = match value.is_empty() {
            true => "(none)",
            false => &value,
        };
        context.line(format!("{key:<38}: {value}"))?;
    }
    Ok(0)
}
