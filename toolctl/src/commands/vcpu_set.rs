//! `vcpu-set DOM N`.

use crate::cli::command::{Arity, Command};
use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::getopt::Parsed;
use noxen_xend_api::{Change, Request};

/// The definition.
pub const COMMAND: Command = Command {
    name: "vcpu-set",
    args: "<Domain> <vCPUs>",
    summary: "Set the number of active VCPUs for a domain.",
    details: "The guest takes its virtual CPUs into or out of use; at most as many as it was created with (vcpus).",
    arity: Arity::Exact(2),
    run: Some(run),
    ..Command::DEFAULT
};

fn run(context: &mut Context, parsed: &Parsed) -> Result<i32, Failure> {
    let [domain, count] = parsed.words.as_slice() else {
        return Err(Failure::usage("Invalid argument."));
    };
    let count = count
        .parse()
        .map_err(|_| Failure::usage("Invalid argument."))?;
    context.ask_ok(&Request::Change {
        domain: domain.clone(),
        change: Change::Vcpus { count },
    })?;
    Ok(0)
}
