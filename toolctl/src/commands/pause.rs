//! `pause DOM`.

use crate::cli::command::{Arity, Command};
use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::getopt::Parsed;
use noxen_xend_api::Request;

/// The definition.
pub const COMMAND: Command = Command {
    name: "pause",
    args: "<Domain>",
    summary: "Pause execution of a domain.",
    arity: Arity::Exact(1),
    run: Some(run),
    ..Command::DEFAULT
};

fn run(context: &mut Context, parsed: &Parsed) -> Result<i32, Failure> {
    let domain = parsed.words.concat();
    context.ask_ok(&Request::Pause { domain })?;
    Ok(0)
}
