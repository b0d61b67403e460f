//! Manual pages and shell completions out of the definitions of commands and configuration variables.
//!
//! Each function gives `(file name, content)` pairs.

mod bash;
mod compatibility;
mod fish;
mod roff;
mod zsh;

use crate::cli::command::{Command, Group};
use crate::cli::registry;

/// xm(1) and xmdomain.cfg(5).
pub fn man() -> Vec<(&'static str, String)> {
    vec![("xm.1", roff::xm()), ("xmdomain.cfg.5", roff::xmdomain())]
}

/// The tables of docs/compatibility.md.
pub fn compatibility() -> Vec<(&'static str, String)> {
    vec![("compatibility-tables.md", compatibility::tables())]
}

/// For all shells.
pub fn completions() -> Vec<(&'static str, String)> {
    vec![
        ("xm.bash", bash::script()),
        ("_xm", zsh::script()),
        ("xm.fish", fish::script()),
    ]
}

/// For one shell.
pub fn completion(shell: &str) -> Option<Vec<(&'static str, String)>> {
    let name = match shell {
        "bash" => "xm.bash",
        "zsh" => "_xm",
        "fish" => "xm.fish",
        _ => return None,
    };
    Some(
        completions()
            .into_iter()
            .filter(|(file, _)| *file == name)
            .collect(),
    )
}

/// Commands that can be typed with an effect.
fn built() -> impl Iterator<Item = &'static Command> {
    registry::all().filter(|command| command.missing().is_none() && command.group != Group::Hidden)
}

/// Does the command's first word name a domain?
pub(crate) fn takes_domain(command: &Command) -> bool {
    command.args.contains("Domain") || command.args.contains("DomId")
}

#[cfg(test)]
mod tests;
