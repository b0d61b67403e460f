//! `help`: only its row in the short help; the dispatcher answers it.

use crate::cli::command::{Command, Group};

/// The definition.
pub const COMMAND: Command = Command {
    name: "help",
    args: "[--long] [Command]",
    summary: "Display this message.",
    group: Group::Hidden,
    ..Command::DEFAULT
};
