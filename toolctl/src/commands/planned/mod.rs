//! Subcommands of xm that are not built, or that KVM has nothing for.
//!
//! ```text
//!   words --options, count, the check of its words--> Error: what is wrong with them | Error: 'xm NAME' is not built yet: WHY
//! ```
//!
//! So a script learns of its own mistakes here as it would with xm. When one is built it gets a module of its own and its line here goes.

mod device;
mod other;
mod security;

use crate::cli::command::{Arity, Command, Group, Standing};
use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::getopt::Parsed;

const fn planned(
    group: Group,
    name: &'static str,
    args: &'static str,
    summary: &'static str,
    arity: Arity,
    why: &'static str,
) -> Command {
    Command {
        name,
        args,
        summary,
        group,
        arity,
        standing: Standing::NotYet(why),
        ..Command::DEFAULT
    }
}

/// The definition of that name.
pub fn find(name: &str) -> Option<&'static Command> {
    [device::PLANNED, security::PLANNED, other::PLANNED]
        .into_iter()
        .flatten()
        .find(|command| command.name == name)
}

/// Word `at`; the empty text where there is none.
fn word(parsed: &Parsed, at: usize) -> &str {
    parsed.words.get(at).map_or("", String::as_str)
}

/// A whole number as a word.
fn number(text: &str) -> Result<u32, Failure> {
    text.parse()
        .map_err(|_| Failure::usage("Invalid argument."))
}

/// Word 0 names a domain that there is.
fn check_domain(context: &mut Context, parsed: &Parsed) -> Result<i32, Failure> {
    context.domain(word(parsed, 0))?;
    Ok(0)
}
