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

fn main() {
    let args: Vec<String> = std::env::args_os()
        .skip(1)
        .map(|arg| arg.to_string_lossy().into_owned())
        .collect();
    let mut context = cli::context::Context::new();
    let status = cli::main(&mut context, &args);
    std::process::exit(status);
}
