//! `console DOM`: attach to a domain's console.

use crate::cli::command::{Command, Opt};
use crate::cli::context::{unexpected, Context};
use crate::cli::failure::Failure;
use crate::cli::getopt::Parsed;
use crate::console::Console;
use noxen_xend_api::{Request, Response};
use std::io::IsTerminal;

/// The definition.
pub const COMMAND: Command = Command {
    name: "console",
    args: "[-q|--quiet] <Domain>",
    summary: "Attach to <Domain>'s console.",
    details: "Ctrl-] leaves. The command ends by itself, with status 0, when the domain is gone. When standard input is no \
        terminal and ends, output goes on until then; a Ctrl-] (octet 0x1d) in it leaves.",
    options: &[
        Opt::flag('q', "quiet", "Do not print an error message if the domain does not exist."),
        Opt::value('n', "num", "N", "Number of the console; there is only number 0."),
    ],
    run: Some(run),
    ..Command::DEFAULT
};

fn run(context: &mut Context, parsed: &Parsed) -> Result<i32, Failure> {
    let [name] = parsed.words.as_slice() else {
        return Err(Failure::usage("No domain given"));
    };
    if let Some(number) = parsed.value("num").filter(|number| *number != "0") {
        return Err(Failure::usage(format!(
            "Console number {number}: only number 0 is built"
        )));
    }
    let console = match find(context, name, name) {
        Err(_) if parsed.has("quiet") => return Err(Failure::Status(1)),
        other => other?,
    };
    attach(context, console)
}

/// Locks and opens the console of `domain` (name, id or UUID), called `name` in messages.
pub(super) fn find(context: &mut Context, domain: &str, name: &str) -> Result<Console, Failure> {
    let request = Request::Console {
        domain: domain.to_owned(),
    };
    let (domid, tty) = match context.ask(&request)? {
        Response::Console { domid, tty } => (domid, tty),
        other => return Err(unexpected(other)),
    };
    Console::open(&context.paths, name, domid, &tty)
        .map_err(|error| Failure::message(error.to_string()))
}

/// Attaches until it ends.
pub(super) fn attach(context: &mut Context, console: Console) -> Result<i32, Failure> {
    context.out.flush()?;
    let outcome = console
        .attach()
        .map_err(|error| Failure::message(error.to_string()))?;
    // The shell's prompt starts on a line of its own.
    if std::io::stdin().is_terminal() && std::io::stdout().is_terminal() {
        context.line("")?;
    }
    Ok(match outcome {
        crate::console::Outcome::Left | crate::console::Outcome::Gone => 0,
        crate::console::Outcome::Signal => 1,
    })
}
