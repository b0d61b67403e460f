//! `reboot`: ask guests to restart.

use super::shutdown::shut_down;
use crate::cli::command::{Command, Opt};
use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::getopt::Parsed;
use noxen_xend_api::ShutdownKind;

/// The definition.
pub const COMMAND: Command = Command {
    name: "reboot",
    args: "<Domain> [-wa]",
    summary: "Reboot a domain.",
    options: &[
        Opt::flag(
            'w',
            "wait",
            "Wait for the domain to be started again before exiting.",
        ),
        Opt::flag('a', "all", "Reboot all guest domains."),
    ],
    run: Some(run),
    ..Command::DEFAULT
};

fn run(context: &mut Context, parsed: &Parsed) -> Result<i32, Failure> {
    shut_down(context, parsed, ShutdownKind::Reboot)
}
