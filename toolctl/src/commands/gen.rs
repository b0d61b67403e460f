//! `gen man|completion|compatibility`: manual pages, shell completions and the tables of docs/compatibility.md, made from the definitions. Not on xm's lists.

use crate::cli::command::{Command, Group, Opt};
use crate::cli::context::Context;
use crate::cli::failure::{reason, Failure};
use crate::cli::getopt::Parsed;
use crate::generate;
use std::path::Path;

/// The definition.
pub const COMMAND: Command = Command {
    name: "gen",
    args: "man|completion|compatibility [bash|zsh|fish] [--dir=DIR]",
    summary: "Write manual pages, shell completions or the tables of what works.",
    options: &[Opt::long_value(
        "dir",
        "DIR",
        "Write the files there; without it they go to standard output.",
    )],
    group: Group::Hidden,
    run: Some(run),
    ..Command::DEFAULT
};

fn run(context: &mut Context, parsed: &Parsed) -> Result<i32, Failure> {
    let words: Vec<&str> = parsed.words.iter().map(String::as_str).collect();
    let files = match words.as_slice() {
        ["man"] => generate::man(),
        ["compatibility"] => generate::compatibility(),
        ["completion"] => generate::completions(),
        ["completion", shell] => generate::completion(shell).ok_or_else(|| {
            Failure::usage(format!(
                "no completion for '{shell}'; it is bash, zsh or fish"
            ))
        })?,
        _ => {
            return Err(Failure::usage(
                "say what to generate: man, completion or compatibility",
            ))
        }
    };
    for (name, text) in files {
        match parsed.value("dir") {
            None => context.out.write_all(text.as_bytes())?,
            Some(dir) => {
                let path = Path::new(dir).join(name);
                let failed = |error: std::io::Error| {
                    Failure::message(format!(
                        "Cannot write {}: {}",
                        path.display(),
                        reason(&error)
                    ))
                };
                std::fs::create_dir_all(dir).map_err(failed)?;
                std::fs::write(&path, text).map_err(failed)?;
            }
        }
    }
    Ok(0)
}
