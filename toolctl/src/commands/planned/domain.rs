//! `dump-core`: its words.

use super::{planned, running_guest, word};
use crate::cli::command::{Arity, Command, Group::Domain, Opt};
use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::getopt::Parsed;
use std::path::Path;

#[rustfmt::skip]
pub(super) const PLANNED: &[Command] = &[
    Command {
        options: &[
            Opt::flag('L', "live", "Dump the core without pausing the domain."),
            Opt::flag('C', "crash", "Crash the domain afterwards."),
            Opt::flag('R', "reset", "Reset the domain afterwards."),
        ],
        run: Some(dump_core),
        ..planned(Domain, "dump-core", "[-L|--live] [-C|--crash] [-R|--reset] <Domain> [Filename]",
            "Write the memory of a domain to a core file.", Arity::Any,
            "no core file can be written; a guest that crashes leaves its registers and stack in the domain's log")
    },
];

fn dump_core(context: &mut Context, parsed: &Parsed) -> Result<i32, Failure> {
    if parsed.has("crash") && parsed.has("reset") {
        return Err(Failure::usage(
            "You may not specify more than one '-CR' option",
        ));
    }
    if !matches!(parsed.words.len(), 1 | 2) {
        return Err(Failure::usage("Expects 1 or 2 argument(s)"));
    }
    let file = word(parsed, 1);
    if Path::new(file).is_dir() {
        return Err(Failure::message(format!(
            "Cannot dump core in a directory: {file}"
        )));
    }
    running_guest(context, parsed, 0, "dump core for")?;
    Ok(0)
}
