//! `shell`: subcommands typed one after the other.
//!
//! ```text
//!   terminal: a line editor with history (~/.xm_history) and completion \
//!   file or pipe: its lines                                               > words --> the command line's own way
//! ```

mod complete;

use crate::cli::command::{Arity, Command, Group};
use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::getopt::Parsed;
use crate::cli::registry::{self, Found};
use complete::Helper;
use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{Config, Editor};
use std::io::{self, BufRead, IsTerminal};
use std::path::PathBuf;

/// The definition.
pub const COMMAND: Command = Command {
    name: "shell",
    summary: "Launch an interactive shell.",
    details: "Each line is a subcommand with its words, quoted as in a shell. Tab completes subcommands, options and names of \
              domains; the history is kept in ~/.xm_history. Ctrl-D ends the shell.",
    group: Group::Other,
    arity: Arity::Exact(0),
    run: Some(run),
    ..Command::DEFAULT
};

const PROMPT: &str = "xm> ";
const GREETING: &str = "The Xen Master. Type \"help\" for a list of functions.";
/// Lines that the history keeps.
const HISTORY: usize = 1000;

fn run(context: &mut Context, _: &Parsed) -> Result<i32, Failure> {
    context.line(GREETING)?;
    context.out.flush()?;
    match io::stdin().is_terminal() && io::stdout().is_terminal() {
        true => interactive(context),
        false => scripted(context),
    }
}

fn scripted(context: &mut Context) -> Result<i32, Failure> {
    let mut lines = io::stdin().lock().lines();
    loop {
        context.out.write_all(PROMPT.as_bytes())?;
        context.out.flush()?;
        match lines.next().transpose()? {
            Some(line) => obey(context, &line)?,
            None => break,
        }
    }
    context.line("")?;
    Ok(0)
}

fn interactive(context: &mut Context) -> Result<i32, Failure> {
    let unusable = |e: ReadlineError| Failure::message(format!("The terminal cannot be used: {e}"));
    let config = Config::builder()
        .max_history_size(HISTORY)
        .map_err(unusable)?
        .auto_add_history(true)
        .build();
    let mut editor: Editor<Helper, FileHistory> = Editor::with_config(config).map_err(unusable)?;
    editor.set_helper(Some(Helper::new(context.paths.clone())));
    let history = history_file();
    if let Some(path) = &history {
        // There is none before the first shell.
        let _ = editor.load_history(path);
    }
    loop {
        match editor.readline(PROMPT) {
            Ok(line) => obey(context, &line)?,
            // Ctrl-C forgets the line that was being typed.
            Err(ReadlineError::Interrupted) => {}
            Err(ReadlineError::Eof) => break,
            Err(e) => return Err(unusable(e)),
        }
    }
    if let Some(path) = &history {
        if let Err(e) = editor.save_history(path) {
            context.note(format!("Warning: cannot write {}: {e}", path.display()));
        }
    }
    context.line("")?;
    Ok(0)
}

fn history_file() -> Option<PathBuf> {
    std::env::var_os("HOME")
        .filter(|home| !home.is_empty())
        .map(|home| PathBuf::from(home).join(".xm_history"))
}

/// Runs one line; a command that fails has said so and does not end the shell.
fn obey(context: &mut Context, line: &str) -> Result<(), Failure> {
    let Some(mut words) = shlex::split(line) else {
        context.line("*** Unfinished quotation")?;
        return Ok(context.out.flush()?);
    };
    if words.first().is_some_and(|word| word == "xm") {
        words.remove(0);
    }
    match words.first().map(String::as_str) {
        None => {}
        Some("shell") => context.line("*** This is the shell already")?,
        Some(word) if !is_known(word) => context.line(format!("*** Unknown command: {word}"))?,
        Some(_) => {
            crate::cli::main(context, &words);
        }
    }
    Ok(context.out.flush()?)
}

fn is_known(word: &str) -> bool {
    matches!(word, "help" | "-h" | "--help") || !matches!(registry::find(word), Found::Nothing)
}
