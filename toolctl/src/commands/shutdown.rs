//! `shutdown`: ask guests to stop.

use super::shutdown_wait::{wait, What};
use crate::cli::command::{Command, Opt};
use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::getopt::Parsed;
use noxen_xend_api::{DomainInfo, Request, ShutdownKind, StateFilter};

/// The definition.
pub const COMMAND: Command = Command {
    name: "shutdown",
    args: "<Domain> [-waRH]",
    summary: "Shutdown a domain.",
    details: "The guest is asked and may take its time or ignore it. With --wait the command returns when the domain is gone, or \
        has shut down and is kept by on_poweroff.",
    options: &[
        Opt::flag('w', "wait", "Wait for the domain to complete shutdown before exiting."),
        Opt::flag('a', "all", "Shutdown all guest domains."),
        Opt::flag('R', "reboot", "Ask for a reboot instead."),
        Opt::flag('H', "halt", "Ask the guest to halt without powering off."),
    ],
    run: Some(run),
    ..Command::DEFAULT
};

fn run(context: &mut Context, parsed: &Parsed) -> Result<i32, Failure> {
    let kind = match (parsed.has("halt"), parsed.has("reboot")) {
        (true, true) => return Err(Failure::message("Can't specify halt and reboot")),
        (true, false) => ShutdownKind::Halt,
        (false, true) => ShutdownKind::Reboot,
        (false, false) => ShutdownKind::Poweroff,
    };
    shut_down(context, parsed, kind)
}

/// Common to `shutdown` and `reboot`.
pub(super) fn shut_down(
    context: &mut Context,
    parsed: &Parsed,
    kind: ShutdownKind,
) -> Result<i32, Failure> {
    let targets: Vec<DomainInfo> = match (parsed.has("all"), parsed.words.as_slice()) {
        (true, _) => context
            .domains(&[], StateFilter::All)?
            .into_iter()
            .filter(|domain| domain.domid.is_some_and(|id| id != 0))
            .collect(),
        (false, []) => return Err(Failure::message("No domain parameter given")),
        (false, [one]) => vec![context.domain(one)?],
        (false, _) => return Err(Failure::message("No multiple domain parameters allowed")),
    };
    for target in &targets {
        // By UUID: the name may be taken over by a successor, and a name of digits would be read as an id.
        let request = Request::Shutdown {
            domain: target.uuid.clone(),
            kind,
        };
        context.ask_ok(&request)?;
    }
    if parsed.has("wait") {
        let what = match kind {
            ShutdownKind::Reboot => What::Rebooted,
            _ => What::Terminated,
        };
        wait(context, targets, what)?;
    }
    Ok(0)
}
