//! `xend`: see [`noxen_xend::commands`].

use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args_os()
        .skip(1)
        .map(|arg| arg.to_string_lossy().into_owned())
        .collect();
    noxen_xend::commands::main(&args)
}
