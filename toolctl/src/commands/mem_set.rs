//! `mem-set DOM MEM`.

use super::memory_size;
use crate::cli::command::{Arity, Command};
use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::getopt::Parsed;
use noxen_xend_api::Change;

/// The definition.
pub const COMMAND: Command = Command {
    name: "mem-set",
    args: "<Domain> <Mem>",
    summary: "Set the current memory usage for a domain.",
    details: "The guest's balloon driver gives memory back to the host, or takes it, up to maxmem. MEM is in MiB unless it ends in k, m or g.",
    arity: Arity::Exact(2),
    run: Some(run),
    ..Command::DEFAULT
};

fn run(context: &mut Context, parsed: &Parsed) -> Result<i32, Failure> {
    memory_size::change(context, parsed, |mib| Change::Memory { mib })
}
