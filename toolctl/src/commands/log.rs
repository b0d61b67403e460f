//! `log`: xend's log. It is read from the file, so it can be seen when xend does not run.

use crate::cli::command::{Arity, Command, Group};
use crate::cli::context::Context;
use crate::cli::failure::{reason, Failure};
use crate::cli::getopt::Parsed;
use noxen_xend_api::{Client, Request, Response};
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::time::Duration;

/// How long xend may take to say where its log is.
const ANSWER: Duration = Duration::from_secs(5);

/// The definition.
pub const COMMAND: Command = Command {
    name: "log",
    args: "",
    summary: "Print the log of xend.",
    group: Group::Host,
    arity: Arity::Exact(0),
    run: Some(run),
    ..Command::DEFAULT
};

fn run(context: &mut Context, _parsed: &Parsed) -> Result<i32, Failure> {
    if context.by_xen_api() {
        let text = context.session()?.log()?;
        context.out.write_all(text.as_bytes())?;
        return Ok(0);
    }
    // The settings may have it elsewhere; without a xend to ask, it is looked for where it usually is.
    let asked = Client::connect(&context.paths).and_then(|mut client| {
        client.set_timeout(Some(ANSWER))?;
        client.ask(&Request::LogPath)
    });
    let path = match asked {
        Ok(Response::Text { text }) => PathBuf::from(text),
        _ => context.paths.xend_log(),
    };
    let unreadable = |error: &io::Error| {
        let shown = path.display();
        Failure::message(format!("Cannot read xend's log {shown}: {}", reason(error)))
    };
    let mut file = File::open(&path).map_err(|error| unreadable(&error))?;
    let mut piece = vec![0; 64 << 10];
    loop {
        let n = file.read(&mut piece).map_err(|error| unreadable(&error))?;
        if n == 0 {
            return Ok(0);
        }
        context.out.write_all(piece.get(..n).unwrap_or(&[]))?;
    }
}
