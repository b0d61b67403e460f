//! `migrate`, `dump-core`: their words.

use super::{number, planned, running_guest, word};
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
    Command {
        options: &[
            Opt::flag('l', "live", "Let the domain run while its memory is copied."),
            Opt::value('p', "port", "PORT", "Port of the other host's xend."),
            Opt::value('n', "node", "NODE", "NUMA node of the other host."),
            Opt::flag('s', "ssl", "Connect with TLS."),
            Opt::flag('c', "change_home_server", "Move a managed domain's home, too."),
            Opt::value('r', "resource", "MBIT", "Accepted without effect, as by xm 3.2."),
        ],
        run: Some(migrate),
        ..planned(Domain, "migrate", "<Domain> <Host> [-l|--live] [-p|--port=PORT] [-n|--node=NODE] [-s|--ssl]",
            "Move a domain to another host.", Arity::Any,
            "a domain cannot leave its host; shut it down here and create it there")
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

fn migrate(context: &mut Context, parsed: &Parsed) -> Result<i32, Failure> {
    if parsed.words.len() != 2 {
        return Err(Failure::usage("Invalid number of arguments"));
    }
    for option in ["port", "node", "resource"] {
        parsed.value(option).map(number).transpose()?;
    }
    running_guest(context, parsed, 0, "migrate")?;
    Ok(0)
}
