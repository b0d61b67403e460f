//! `rename DOM NEWNAME`.

use crate::cli::command::{Arity, Command};
use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::getopt::Parsed;
use noxen_xend_api::{Change, Request};

/// The definition.
pub const COMMAND: Command = Command {
    name: "rename",
    args: "<Domain> <NewDomainName>",
    summary: "Rename a domain.",
    arity: Arity::Exact(2),
    run: Some(run),
    ..Command::DEFAULT
};

fn run(context: &mut Context, parsed: &Parsed) -> Result<i32, Failure> {
    let [domain, name] = parsed.words.as_slice() else {
        return Err(Failure::usage("Invalid argument."));
    };
    context.ask_ok(&Request::Change {
        domain: domain.clone(),
        change: Change::Name { name: name.clone() },
    })?;
    Ok(0)
}
