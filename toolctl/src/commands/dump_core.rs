//! `dump-core DOM [FILE]`: a domain's memory and registers for a debugger.

use super::restore::absolute;
use super::save::running_guest;
use crate::cli::command::{Arity, Command, Opt};
use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::getopt::Parsed;
use noxen_xend_api::Request;
use std::path::Path;

/// The definition.
pub const COMMAND: Command = Command {
    name: "dump-core",
    args: "[-L|--live] [-C|--crash] [-R|--reset] <Domain> [Filename]",
    summary: "Write the memory of a domain to a core file.",
    details: "An ELF file in Xen's format, which the crash utility opens. Without a name it is put into /var/xen/dump. The domain stands \
        still meanwhile, and goes on afterwards.",
    options: &[
        Opt::flag('L', "live", "Dump the core without pausing the domain."),
        Opt::flag('C', "crash", "Crash the domain afterwards."),
        Opt::flag('R', "reset", "Reset the domain afterwards."),
    ],
    arity: Arity::Any,
    run: Some(run),
    ..Command::DEFAULT
};

fn run(context: &mut Context, parsed: &Parsed) -> Result<i32, Failure> {
    let (crash, reset) = (parsed.has("crash"), parsed.has("reset"));
    if crash && reset {
        return Err(Failure::usage(
            "You may not specify more than one '-CR' option",
        ));
    }
    let (domain, file) = match parsed.words.as_slice() {
        [domain] => (domain, None),
        [domain, file] => (domain, Some(file)),
        _ => return Err(Failure::usage("Expects 1 or 2 argument(s)")),
    };
    if let Some(file) = file.filter(|file| Path::new(file).is_dir()) {
        return Err(Failure::message(format!(
            "Cannot dump core in a directory: {file}"
        )));
    }
    let request = Request::DumpCore {
        domain: running_guest(context, domain, "dump core for")?,
        file: file.map(|file| absolute(file)).transpose()?,
        live: parsed.has("live"),
        crash,
        reset,
    };
    println!("Dumping core of domain: {domain} ...");
    context.ask_ok(&request)?;
    Ok(0)
}
