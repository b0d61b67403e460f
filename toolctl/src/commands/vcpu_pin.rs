//! `vcpu-pin DOM VCPU CPUS`.

use crate::cli::command::{Arity, Command};
use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::getopt::Parsed;
use noxen_xend_api::{Change, Request};

/// The definition.
pub const COMMAND: Command = Command {
    name: "vcpu-pin",
    args: "<Domain> <VCPU|all> <CPUs|all>",
    summary: "Set which CPUs a VCPU can use.",
    details: "CPUs is a list of numbers and ranges such as 0-3,5; a part that starts with ^ takes away from what stands \
              before it. The setting is kept over reboots of the domain.",
    arity: Arity::Exact(3),
    run: Some(run),
    ..Command::DEFAULT
};

fn run(context: &mut Context, parsed: &Parsed) -> Result<i32, Failure> {
    let [domain, vcpu, cpus] = parsed.words.as_slice() else {
        return Err(Failure::usage("Invalid argument."));
    };
    let vcpu = match vcpu.as_str() {
        "all" => None,
        number => Some(
            number
                .parse()
                .map_err(|_| Failure::usage("Invalid argument."))?,
        ),
    };
    context.ask_ok(&Request::Change {
        domain: domain.clone(),
        change: Change::Pin {
            vcpu,
            cpus: cpus.clone(),
        },
    })?;
    Ok(0)
}
