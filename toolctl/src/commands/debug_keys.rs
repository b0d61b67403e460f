//! `debug-keys KEYS`.

use crate::cli::command::{Arity, Command, Group, Standing};
use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::getopt::Parsed;
use noxen_xend_api::Request;

/// The definition.
pub const COMMAND: Command = Command {
    name: "debug-keys",
    args: "<Keys>",
    summary: "Send debug keys to the hypervisor.",
    details: "What they print is read by xm dmesg. h lists the keys that there are.",
    group: Group::Host,
    arity: Arity::Exact(1),
    standing: Standing::Partly("the keys h, q, d, m and t; the others are about Xen's own insides"),
    run: Some(run),
    ..Command::DEFAULT
};

fn run(context: &mut Context, parsed: &Parsed) -> Result<i32, Failure> {
    let keys = parsed.words.concat();
    context.ask_ok(&Request::DebugKeys { keys })?;
    Ok(0)
}
