//! The table of commands, and how a line finds its entry.

use super::subject::Subject;
use super::{act, info, media, memory, touch, usb};
use noxen_control::wish::Wish;
use std::fmt::Write;

/// What comes of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Lines to show, or none.
    Said(String),
    /// xend is to do something.
    Wants(Wish),
}

/// Nothing is to be said.
pub const DONE: Outcome = Outcome::Said(String::new());

/// What a command's function gets.
pub struct Call<'a> {
    /// The words behind its name; as many as [`Command::words`] allows.
    pub words: &'a [&'a str],
    /// All that was behind its name, as it was typed.
    pub rest: &'a str,
    /// Lines entered so far.
    pub history: &'a [String],
}

/// A command. An error is one line, for whoever typed it.
pub struct Command {
    /// Its name, and another that it has.
    pub names: &'static [&'static str],
    /// Its arguments, as help shows them.
    pub args: &'static str,
    /// Least and most words of them.
    pub words: (usize, usize),
    /// What it does.
    pub help: &'static str,
    /// Does it.
    pub run: fn(&Call, &mut dyn Subject) -> Result<Outcome, String>,
}

const HELP: Command = Command {
    names: &["help", "?"],
    args: "[COMMAND]",
    words: (0, 1),
    help: "this list, or one command of it",
    run: help,
};

/// All of them, in the order of the help.
fn all() -> impl Iterator<Item = &'static Command> {
    [
        std::slice::from_ref(&HELP),
        info::COMMANDS,
        media::COMMANDS,
        usb::COMMANDS,
        touch::COMMANDS,
        act::COMMANDS,
        memory::COMMANDS,
    ]
    .into_iter()
    .flatten()
}

fn find(name: &str) -> Option<&'static Command> {
    all().find(|command| command.names.contains(&name))
}

fn unknown(name: &str) -> String {
    let shown: String = name.escape_debug().take(40).collect();
    format!("unknown command: '{shown}'; 'help' lists the commands")
}

/// Runs what was typed.
pub fn run(line: &str, history: &[String], subject: &mut dyn Subject) -> Outcome {
    let words: Vec<&str> = line.split_whitespace().collect();
    let Some((name, words)) = words.split_first() else {
        return DONE;
    };
    let done = act_on(name, words, line, history, subject);
    done.unwrap_or_else(Outcome::Said)
}

fn act_on(
    name: &str,
    words: &[&str],
    line: &str,
    history: &[String],
    subject: &mut dyn Subject,
) -> Result<Outcome, String> {
    // `x/4xw ADDRESS`: a format belongs to its command.
    let (plain, format) = match name.split_once('/') {
        Some((plain, _)) => (plain, &name[plain.len()..]),
        None => (name, ""),
    };
    let command = find(plain).ok_or_else(|| unknown(name))?;
    let mut given = words.to_vec();
    if !format.is_empty() {
        given.insert(0, format);
    }
    let (least, most) = command.words;
    if !(least..=most).contains(&given.len()) {
        return Err(format!("usage: {} {}", command.names[0], command.args)
            .trim_end()
            .into());
    }
    let rest = line.trim_start();
    let call = Call {
        words: &given,
        rest: rest[name.len()..].trim(),
        history,
    };
    (command.run)(&call, subject)
}

fn help(call: &Call, _: &mut dyn Subject) -> Result<Outcome, String> {
    let mut text = String::new();
    let mut line = |command: &Command| {
        let names = command.names.join("|");
        let usage = format!("{names} {}", command.args);
        let _ = writeln!(text, "{} -- {}", usage.trim_end(), command.help);
    };
    match call.words.first() {
        None => all().for_each(&mut line),
        Some(name) => line(find(name).ok_or_else(|| unknown(name))?),
    }
    Ok(Outcome::Said(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_command_has_names_of_its_own_and_says_what_it_does() {
        let mut names = BTreeSet::new();
        for command in all() {
            assert!(command.words.0 <= command.words.1 && !command.help.is_empty());
            for name in command.names {
                assert!(names.insert(name), "{name} twice");
            }
        }
    }
}
