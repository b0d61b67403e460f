//! `sysrq DOM LETTER`.

use crate::cli::command::{Arity, Command};
use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::getopt::Parsed;
use noxen_xend_api::{Change, Request};

/// The definition.
pub const COMMAND: Command = Command {
    name: "sysrq",
    args: "<Domain> <letter>",
    summary: "Send a sysrq to a domain.",
    details: "The guest's kernel does what its magic SysRq key does with that letter; h lists them on its console.",
    arity: Arity::Exact(2),
    run: Some(run),
    ..Command::DEFAULT
};

fn run(context: &mut Context, parsed: &Parsed) -> Result<i32, Failure> {
    let [domain, letter] = parsed.words.as_slice() else {
        return Err(Failure::usage("Invalid argument."));
    };
    let change = Change::sysrq(letter).ok_or_else(|| Failure::usage("Invalid argument."))?;
    context.ask_ok(&Request::Change {
        domain: domain.clone(),
        change,
    })?;
    Ok(0)
}
