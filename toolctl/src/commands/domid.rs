//! `domid DOM`: its number.

use crate::cli::command::{Arity, Command};
use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::getopt::Parsed;

/// The definition.
pub const COMMAND: Command = Command {
    name: "domid",
    args: "<DomainName>",
    summary: "Convert a domain name to domain id.",
    arity: Arity::Exact(1),
    run: Some(run),
    ..Command::DEFAULT
};

fn run(context: &mut Context, parsed: &Parsed) -> Result<i32, Failure> {
    let domain = context.domain(&parsed.words.concat())?;
    // A dormant managed domain has none, and Python printed just that.
    let id = domain.domid.map_or("None".into(), |id| id.to_string());
    context.line(id)?;
    Ok(0)
}
