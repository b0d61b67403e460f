//! `domname ID`: its name.

use crate::cli::command::{Arity, Command};
use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::getopt::Parsed;

/// The definition.
pub const COMMAND: Command = Command {
    name: "domname",
    args: "<DomId>",
    summary: "Convert a domain id to domain name.",
    arity: Arity::Exact(1),
    run: Some(run),
    ..Command::DEFAULT
};

fn run(context: &mut Context, parsed: &Parsed) -> Result<i32, Failure> {
    let domain = context.domain(&parsed.words.concat())?;
    context.line(domain.name)?;
    Ok(0)
}
