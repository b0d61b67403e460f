//! `delete DOM`: forget a managed domain.

use crate::cli::command::{Arity, Command};
use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::getopt::Parsed;
use noxen_xend_api::Request;

/// The definition.
pub const COMMAND: Command = Command {
    name: "delete",
    args: "<DomainName>",
    summary: "Remove a domain from Xend domain management.",
    details: "The domain must be halted.",
    arity: Arity::Exact(1),
    run: Some(run),
    ..Command::DEFAULT
};

fn run(context: &mut Context, parsed: &Parsed) -> Result<i32, Failure> {
    let domain = parsed.words.concat();
    context.ask_ok(&Request::Delete { domain })?;
    Ok(0)
}
