//! Commands of xm's Xen-API mode; outside it they say so as xm did. Those for a security module that is not active here say so, too.
//!
//! ```text
//!   event-monitor: event.register ──> event.next, event.next, ..    a line each event
//!   network-show: network records ──> rows       network-new, -del: network.create, destroy
//! ```

use crate::cli::command::{Command, Group, Standing, JSON};
use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::getopt::Parsed;
use noxen_xen_api::{session, Value};
use serde_json::json;
use std::io::Write;

const fn command(
    group: Group,
    name: &'static str,
    args: &'static str,
    summary: &'static str,
    standing: Standing,
    run: crate::cli::command::Run,
) -> Command {
    Command {
        name,
        args,
        summary,
        group,
        usage_after_fault: false,
        standing,
        run: Some(run),
        ..Command::DEFAULT
    }
}

const IN_THE_MODE: Standing = Standing::Partly("in xm's Xen-API mode");
const BRIDGES: Standing = Standing::Partly(
    "in Xen-API mode; Noxen's xend answers that bridges are made with the host's own tools",
);
const FLASK_ONLY: Standing = Standing::NotOnKvm("FLASK is a module of Xen's hypervisor");

/// `event-monitor`.
pub const EVENT_MONITOR: Command = command(
    Group::Other,
    "event-monitor",
    "",
    "Monitor Xen-API events (Xen-API mode only).",
    IN_THE_MODE,
    monitor,
);
/// `network-new`.
pub const NETWORK_NEW: Command = command(
    Group::Other,
    "network-new",
    "[attr=val ...] <name>",
    "Create a network (Xen-API mode only).",
    BRIDGES,
    new_network,
);
/// `network-del`.
pub const NETWORK_DEL: Command = command(
    Group::Other,
    "network-del",
    "<name>",
    "Delete a network (Xen-API mode only).",
    BRIDGES,
    delete_network,
);
/// `network-show`.
pub const NETWORK_SHOW: Command = Command {
    options: &[JSON],
    ..command(
        Group::Other,
        "network-show",
        "",
        "Show all networks (Xen-API mode only).",
        IN_THE_MODE,
        show_networks,
    )
};
/// `getenforce`.
pub const GETENFORCE: Command = command(
    Group::Security,
    "getenforce",
    "",
    "Print the mode of the FLASK security module.",
    FLASK_ONLY,
    no_flask,
);
/// `setenforce`.
pub const SETENFORCE: Command = command(
    Group::Security,
    "setenforce",
    "[ (Enforcing|1) | (Permissive|0) ]",
    "Set the mode of the FLASK security module.",
    FLASK_ONLY,
    no_flask,
);

fn monitor(context: &mut Context, _: &Parsed) -> Result<i32, Failure> {
    if !context.by_xen_api() {
        return Err(Failure::message(
            "Event monitoring not supported unless using Xen-API.",
        ));
    }
    let all = Value::Array(vec![text("*")]);
    context.session()?.call("event.register", &[all])?;
    loop {
        let events = match context.session()?.call("event.next", &[])? {
            Value::Array(events) => events,
            _ => return Err(context.session()?.strange("events that are no list").into()),
        };
        for event in &events {
            if let Value::Struct(event) = event {
                let members = event.iter();
                let members: Vec<String> = members
                    .map(|(name, value)| format!("'{name}': '{}'", session::shown(value)))
                    .collect();
                context.line(format!("{{{}}}", members.join(", ")))?;
            }
        }
        context.out.flush()?;
    }
}

fn text(text: &str) -> Value {
    Value::String(text.to_owned())
}

fn show_networks(context: &mut Context, parsed: &Parsed) -> Result<i32, Failure> {
    let networks = context.session()?.records("network")?;
    if parsed.has("json") {
        let all = networks.iter().map(|(uuid, network)| {
            json!({
                "name": session::text(network, "name_label"),
                "uuid": uuid,
                "vifs": session::list(network, "VIFs"),
                "pifs": session::list(network, "PIFs"),
            })
        });
        context.json(&all.collect::<serde_json::Value>())?;
        return Ok(0);
    }
    context.line(format!("{:<20} {:<40} {:<10}", "Name", "VIFs", "PIFs"))?;
    for network in networks.values() {
        let vifs = session::list(network, "VIFs").join(",");
        let pifs = session::list(network, "PIFs").join(",");
        let name = session::text(network, "name_label");
        context.line(format!("{name:<20} {vifs:<40} {pifs:<10}"))?;
    }
    Ok(0)
}

/// `[ATTRIBUTE=VALUE..] NAME`.
fn new_network(context: &mut Context, parsed: &Parsed) -> Result<i32, Failure> {
    let session = context.session()?;
    let Some((name, attributes)) = parsed.words.split_last() else {
        return Err(Failure::usage("network_new name"));
    };
    let mut config = session::Record::new();
    for word in attributes {
        let (key, value) = word
            .split_once('=')
            .ok_or_else(|| Failure::usage(format!("Invalid argument: {word}")))?;
        config.insert(key.to_owned(), text(value));
    }
    let record = session::Record::from([
        ("name_label".to_owned(), text(name)),
        ("name_description".to_owned(), text("")),
        ("other_config".to_owned(), Value::Struct(config)),
    ]);
    session.call("network.create", &[Value::Struct(record)])?;
    Ok(0)
}

fn delete_network(context: &mut Context, parsed: &Parsed) -> Result<i32, Failure> {
    let session = context.session()?;
    let [name] = parsed.words.as_slice() else {
        return Err(Failure::usage("network_del name"));
    };
    let found = session.references("network.get_by_name_label", &[text(name)])?;
    let Some(network) = found.first() else {
        return Err(Failure::message(format!("Network {name} does not exist")));
    };
    session.call("network.destroy", &[text(network)])?;
    Ok(0)
}

fn no_flask(_: &mut Context, _: &Parsed) -> Result<i32, Failure> {
    Err(Failure::message("Unsupported policy type"))
}
