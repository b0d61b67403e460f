//! What Tab offers: subcommands, then options of the subcommand, or names of domains.

use crate::cli::command::{Command, Group};
use crate::cli::registry::{self, Found};
use noxen_xend_api::paths::Paths;
use noxen_xend_api::{Client, Request, Response, StateFilter};
use rustyline::completion::Completer;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::validate::Validator;
use std::time::Duration;

/// Longest that Tab waits for xend.
const PATIENCE: Duration = Duration::from_millis(500);

/// rustyline's helper.
pub(super) struct Helper {
    paths: Paths,
}

impl Helper {
    pub(super) fn new(paths: Paths) -> Helper {
        Helper { paths }
    }

    /// Names of the domains; none when xend does not run, which Tab does not change.
    fn domains(&self) -> Vec<String> {
        let ask = || {
            let mut client = Client::connect(&self.paths)?;
            client.set_timeout(Some(PATIENCE))?;
            client.ask(&Request::List {
                domains: vec![],
                state: StateFilter::All,
            })
        };
        match ask() {
            Ok(Response::Domains { domains }) => domains.into_iter().map(|d| d.name).collect(),
            _ => Vec::new(),
        }
    }
}

impl rustyline::Helper for Helper {}
impl Highlighter for Helper {}
impl Hinter for Helper {
    type Hint = String;
}
impl Validator for Helper {}

impl Completer for Helper {
    type Candidate = String;

    fn complete(
        &self,
        line: &str,
        position: usize,
        _: &rustyline::Context<'_>,
    ) -> rustyline::Result<(usize, Vec<String>)> {
        let before = line.get(..position).unwrap_or(line);
        let start = before.rfind(' ').map_or(0, |at| at + 1);
        Ok((start, candidates(before, || self.domains())))
    }
}

/// What the last word of `before` can become.
fn candidates(before: &str, domains: impl FnOnce() -> Vec<String>) -> Vec<String> {
    let (done, word) = before.rsplit_once(' ').unwrap_or(("", before));
    let first = done.split_whitespace().find(|word| *word != "xm");
    let all: Vec<String> = match first.map(registry::find) {
        None => registry::all()
            .filter(|command| command.group != Group::Hidden)
            .map(|command| command.name.to_owned())
            .chain(["help".to_owned()])
            .collect(),
        Some(Found::Exact(command) | Found::Deprecated(command)) => match word.starts_with('-') {
            true => options(command),
            false if crate::generate::takes_domain(command) => domains(),
            false => Vec::new(),
        },
        Some(Found::Nothing) => match first {
            Some("help") => registry::all()
                .map(|command| command.name.to_owned())
                .collect(),
            _ => Vec::new(),
        },
    };
    all.into_iter()
        .filter(|candidate| candidate.starts_with(word))
        .collect()
}

fn options(command: &Command) -> Vec<String> {
    command
        .options
        .iter()
        .map(|option| match option.arg {
            Some(_) => format!("--{}=", option.long),
            None => format!("--{}", option.long),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offered(before: &str) -> Vec<String> {
        candidates(before, || vec!["alpha".into(), "beta".into()])
    }

    #[test]
    fn first_word_is_a_subcommand() {
        assert_eq!(offered("mem-"), ["mem-max", "mem-set"]);
        assert_eq!(offered("xm unp"), ["unpause"]);
        assert_eq!(offered("hel"), ["help"]);
        assert!(offered("gen").is_empty(), "ours is not on xm's lists");
    }

    #[test]
    fn later_words_are_domains_or_options() {
        assert_eq!(offered("pause "), ["alpha", "beta"]);
        assert_eq!(offered("pause b"), ["beta"]);
        assert_eq!(offered("sched-credit --w"), ["--weight="]);
        assert_eq!(offered("help pau"), ["pause"]);
        assert!(offered("info ").is_empty());
        assert!(offered("frobnicate ").is_empty());
    }
}
