//! `reset DOM`: end it and build it again with the same configuration.

use crate::cli::command::{Arity, Command};
use crate::cli::context::{unexpected, Context};
use crate::cli::failure::Failure;
use crate::cli::getopt::Parsed;
use noxen_xend_api::{Request, Response};

/// The definition.
pub const COMMAND: Command = Command {
    name: "reset",
    args: "<Domain>",
    summary: "Reset a domain as by its reset button.",
    details: "The domain is destroyed and created again at once with the same configuration, name and UUID, under a new id.",
    arity: Arity::Exact(1),
    run: Some(run),
    ..Command::DEFAULT
};

fn run(context: &mut Context, parsed: &Parsed) -> Result<i32, Failure> {
    let domain = parsed.words.concat();
    match context.ask(&Request::Reset { domain })? {
        Response::Domain { .. } => Ok(0),
        other => Err(unexpected(other)),
    }
}
