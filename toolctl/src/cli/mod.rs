//! From the words of the command line to an exit status.
//!
//! ```text
//!   argv --lookup(registry)--> Command --getopt--> Parsed --arity--> run(Context, Parsed) --> status
//!      \ -h, help: usage pages         \ Error + usage                  \ Failure: Error [+ usage], status
//! ```

pub mod colour;
pub mod command;
pub mod context;
pub mod failure;
pub mod front;
pub mod getopt;
pub mod progress;
pub mod registry;
pub mod transfer;
pub mod usage;
pub mod wrap;

use colour::Colour;
use command::{Arity, Command};
use context::Context;
use failure::Failure;
use registry::Found;
use std::io::Write;

/// Runs the command line `args` (without the program's name); returns the exit status.
pub fn main(context: &mut Context, args: &[String]) -> i32 {
    let status = match run(context, args) {
        Ok(status) => status,
        Err(failure) => {
            let status = failure.status();
            report(context, &failure);
            status
        }
    };
    match context.out.flush() {
        Ok(()) => status,
        Err(error) => {
            let failure = Failure::Output(error);
            report(context, &failure);
            failure.status()
        }
    }
}

fn report(context: &mut Context, failure: &Failure) {
    if let Some(text) = failure.text(rustix::process::geteuid().is_root()) {
        let error = context.on_err.paint(Colour::Red, "Error:");
        context.note(format!("{error} {text}"));
    }
}

fn run(context: &mut Context, args: &[String]) -> Result<i32, Failure> {
    let Some((first, rest)) = args.split_first() else {
        context.out.write_all(usage::short().as_bytes())?;
        return Ok(1);
    };
    if matches!(first.as_str(), "-h" | "--help") {
        context.out.write_all(usage::long(false).as_bytes())?;
        return Ok(0);
    }
    if first == "help" {
        return help(context, rest);
    }
    let wants_help = rest
        .iter()
        .any(|arg| matches!(arg.as_str(), "-h" | "--help"));
    let command = match registry::find(first) {
        Found::Exact(command) => command,
        Found::Deprecated(command) => {
            context.note(format!(
                "Command {first} is deprecated.  Please use xm {} instead.",
                command.name
            ));
            command
        }
        Found::Nothing if wants_help => {
            context.out.write_all(usage::short().as_bytes())?;
            return Ok(1);
        }
        Found::Nothing => {
            context.note(format!("Error: Subcommand {first} not found!"));
            context.out.write_all(usage::short().as_bytes())?;
            return Ok(1);
        }
    };
    if wants_help {
        context.out.write_all(usage::help(command).as_bytes())?;
        return Ok(1);
    }
    match execute(context, command, rest) {
        Err(failure) if failure.shows_usage(command.usage_after_fault) => {
            report(context, &failure);
            context.out.write_all(usage::command(command).as_bytes())?;
            Err(Failure::Status(failure.status()))
        }
        other => other,
    }
}

fn execute(context: &mut Context, command: &Command, args: &[String]) -> Result<i32, Failure> {
    let parsed = match getopt::parse(command.options, args) {
        Ok(parsed) => parsed,
        Err(sentence) => {
            context.note(format!("Error: {sentence}"));
            context.out.write_all(usage::command(command).as_bytes())?;
            context.line("")?;
            return Ok(1);
        }
    };
    if let Some(wrong) = wrong_count(command.arity, parsed.words.len()) {
        // The sentence is followed by an empty line, then the usage page.
        return Err(Failure::usage(format!("'xm {}' {wrong}\n", command.name)));
    }
    context.choose_server();
    let status = match command.run {
        Some(run) => run(context, &parsed)?,
        None => 0,
    };
    match command.missing() {
        Some(text) => Err(Failure::message(text)),
        None => Ok(status),
    }
}

/// What is to be said about `count` words where `arity` is wanted.
fn wrong_count(arity: Arity, count: usize) -> Option<String> {
    match arity {
        Arity::Exact(n) if count != n => {
            let s = if n == 1 { "" } else { "s" };
            Some(format!("requires {n} argument{s}."))
        }
        Arity::Between(a, b) if !(a..=b).contains(&count) => {
            Some(format!("requires between {a} and {b} arguments."))
        }
        _ => None,
    }
}

/// `xm help`, `xm help --long`, `xm help CMD`.
fn help(context: &mut Context, rest: &[String]) -> Result<i32, Failure> {
    let page = match rest.first().map(String::as_str) {
        Some("--long" | "-l") => usage::long(true),
        Some(name) if !name.starts_with('-') => match registry::find(name) {
            Found::Exact(command) | Found::Deprecated(command) => usage::help(command),
            // xm ignored further words.
            Found::Nothing => usage::long(false),
        },
        _ => usage::long(false),
    };
    context.out.write_all(page.as_bytes())?;
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_counts_read_as_xms() {
        let text = |arity, count| wrong_count(arity, count);
        assert_eq!(text(Arity::Exact(1), 1), None);
        assert_eq!(
            text(Arity::Exact(1), 0).as_deref(),
            Some("requires 1 argument.")
        );
        assert_eq!(
            text(Arity::Exact(0), 1).as_deref(),
            Some("requires 0 arguments.")
        );
        assert_eq!(text(Arity::Between(2, 3), 3), None);
        assert_eq!(
            text(Arity::Between(2, 3), 4).as_deref(),
            Some("requires between 2 and 3 arguments.")
        );
        assert_eq!(text(Arity::Any, 9), None);
    }
}
