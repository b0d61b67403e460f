//! `dmesg`: what guests and monitors wrote to the hypervisor's console.

use crate::cli::command::{Command, Group, Opt};
use crate::cli::context::{unexpected, Context};
use crate::cli::failure::Failure;
use crate::cli::getopt::Parsed;
use noxen_xend_api::{Request, Response};

/// The definition.
pub const COMMAND: Command = Command {
    name: "dmesg",
    args: "[-c|--clear]",
    summary: "Read and/or clear the message buffer of the hypervisor.",
    options: &[Opt::flag(
        'c',
        "clear",
        "Clear the buffer after printing it.",
    )],
    group: Group::Host,
    run: Some(run),
    ..Command::DEFAULT
};

fn run(context: &mut Context, parsed: &Parsed) -> Result<i32, Failure> {
    if !parsed.words.is_empty() {
        return Err(Failure::usage("No parameter required"));
    }
    let clear = parsed.has("clear");
    match context.ask(&Request::Dmesg { clear })? {
        Response::Text { text } => {
            context.out.write_all(text.as_bytes())?;
            if !text.is_empty() && !text.ends_with('\n') {
                context.line("")?;
            }
            Ok(0)
        }
        other => Err(unexpected(other)),
    }
}
