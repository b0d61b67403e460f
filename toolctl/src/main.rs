//! toolctl: the command of the administrator, `xm` by its other name.
//!
//! ```text
//!   argv -> cli (lookup, options, help) -> commands/* -> noxen-xend-api -> xend
//!                                            |  create: noxen-xm-config evaluates the file here
//!                                            |  console: the domain's tty, no detour through xend
//! ```
//! Thin: it parses, asks and prints. Every subcommand is one definition in its module and one line in `cli::registry`.
#![forbid(unsafe_code)]

mod cli;
mod commands;
mod console;
mod generate;

use cli::context::Context;
use cli::front::Front;

fn main() {
    let mut words = std::env::args_os();
    let front = Front::of(&words.next().unwrap_or_default());
    let args: Vec<String> = words
        .map(|arg| arg.to_string_lossy().into_owned())
        .collect();
    let mut context = Context::new(front);
    let status = cli::main(&mut context, &args);
    std::process::exit(status);
}
