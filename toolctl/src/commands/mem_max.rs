//! `mem-max DOM MEM`.

use super::memory_size;
use crate::cli::command::{Arity, Command, Standing};
use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::getopt::Parsed;
use noxen_xend_api::Change;

/// The definition.
pub const COMMAND: Command = Command {
    name: "mem-max",
    args: "<Domain> <Mem>",
    summary: "Set the maximum amount reservation for a domain.",
    details: "At most what the domain was created with (maxmem), since its address space was laid out for that. MEM is in MiB unless it ends in k, m or g.",
    arity: Arity::Exact(2),
    standing: Standing::Partly("at most what the domain was created with"),
    run: Some(run),
    ..Command::DEFAULT
};

fn run(context: &mut Context, parsed: &Parsed) -> Result<i32, Failure> {
    memory_size::change(context, parsed, |mib| Change::MaxMemory { mib })
}
