//! `destroy DOM`.

use crate::cli::command::{Arity, Command};
use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::getopt::Parsed;
use noxen_xend_api::Request;

/// The definition.
pub const COMMAND: Command = Command {
    name: "destroy",
    args: "<Domain>",
    summary: "End a domain at once.",
    details: "The guest gets no chance to shut down; this is pulling the plug. A domain that was kept after it powered off or \
        crashed (on_poweroff, on_reboot or on_crash = preserve) is removed by it.",
    arity: Arity::Exact(1),
    run: Some(run),
    ..Command::DEFAULT
};

fn run(context: &mut Context, parsed: &Parsed) -> Result<i32, Failure> {
    let domain = parsed.words.concat();
    context.ask_ok(&Request::Destroy { domain })?;
    Ok(0)
}
