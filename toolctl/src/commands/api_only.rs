//! Commands that xm had only in its Xen-API mode, or for a security module that is not active here: they say so as xm did.

use crate::cli::command::{Command, Group, Standing};
use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::getopt::Parsed;

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

const API_ONLY: Standing = Standing::NotYet("xm's Xen-API mode is not there");
const FLASK_ONLY: Standing = Standing::NotOnKvm("FLASK is a module of Xen's hypervisor");

/// `event-monitor`.
pub const EVENT_MONITOR: Command = command(
    Group::Other,
    "event-monitor",
    "",
    "Monitor Xen-API events (Xen-API mode only).",
    API_ONLY,
    |_, _| {
        Err(Failure::message(
            "Event monitoring not supported unless using Xen-API.",
        ))
    },
);
/// `network-new`.
pub const NETWORK_NEW: Command = command(
    Group::Other,
    "network-new",
    "[attr=val ...] <name>",
    "Create a network (Xen-API mode only).",
    API_ONLY,
    only_xen_api,
);
/// `network-del`.
pub const NETWORK_DEL: Command = command(
    Group::Other,
    "network-del",
    "<name>",
    "Delete a network (Xen-API mode only).",
    API_ONLY,
    only_xen_api,
);
/// `network-show`.
pub const NETWORK_SHOW: Command = command(
    Group::Other,
    "network-show",
    "",
    "Show all networks (Xen-API mode only).",
    API_ONLY,
    only_xen_api,
);
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

fn only_xen_api(_: &mut Context, _: &Parsed) -> Result<i32, Failure> {
    Err(Failure::message(
        "This function is only supported by Xen-API",
    ))
}

fn no_flask(_: &mut Context, _: &Parsed) -> Result<i32, Failure> {
    Err(Failure::message("Unsupported policy type"))
}
