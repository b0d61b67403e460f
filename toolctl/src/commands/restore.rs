//! `restore FILE`, `resume DOM`: a domain from disk goes on.

use crate::cli::command::{Arity, Command, Opt};
use crate::cli::context::{unexpected, Context};
use crate::cli::failure::{reason, Failure};
use crate::cli::getopt::Parsed;
use noxen_xend_api::{Request, Response};

const PAUSED: Opt = Opt::flag('p', "paused", "Do not unpause the domain.");
const LAZY: Opt = Opt::long_flag(
    "lazy",
    "The domain runs before its memory is read and checked.",
);

/// The definition of `restore`.
pub const COMMAND: Command = Command {
    name: "restore",
    args: "<CheckpointFile> [-p|--paused] [--lazy]",
    summary: "Restore a domain from a saved state.",
    details: "The domain goes on where it was saved, under its name, UUID and, if nobody has it, its domain id; its clock is right. \
        The file stays.\n\nAll of the file is read and checked before anything runs. With --lazy the domain runs at once: its memory is read as it is \
        touched, and the rest meanwhile. The file is not to be changed until the domain's log says that all memory is here (removing it is fine). \
        Its memory is checked as it is read, and where it is found damaged the domain ends at once.",
    arity: Arity::Exact(1),
    options: &[PAUSED, LAZY],
    run: Some(restore),
    ..Command::DEFAULT
};

/// The definition of `resume`.
pub const RESUME: Command = Command {
    name: "resume",
    args: "<Domain> [-p|--paused]",
    summary: "Resume a managed domain that was suspended.",
    options: &[PAUSED],
    run: Some(resume),
    ..Command::DEFAULT
};

fn restore(context: &mut Context, parsed: &Parsed) -> Result<i32, Failure> {
    let file = parsed.words.concat();
    if let Err(e) = std::fs::File::open(&file) {
        return Err(Failure::message(format!(
            "xm restore: Unable to read file {file}: {}",
            reason(&e)
        )));
    }
    let request = Request::Restore {
        file: absolute(&file)?,
        paused: parsed.has("paused"),
        lazy: parsed.has("lazy"),
    };
    let text = format!("Restoring a domain from {file}");
    match context.saying(Some(text), |context| context.ask(&request))? {
        Response::Domain { .. } => Ok(0),
        other => Err(unexpected(other)),
    }
}

fn resume(context: &mut Context, parsed: &Parsed) -> Result<i32, Failure> {
    let [domain] = parsed.words.as_slice() else {
        return Err(Failure::usage("Wrong number of parameters"));
    };
    if context.domain(domain)?.domid.is_some() {
        return Err(Failure::message(
            "Cannot resume domain that is not suspended.",
        ));
    }
    context.ask_ok(&Request::Resume {
        domain: domain.clone(),
        paused: parsed.has("paused"),
    })?;
    Ok(0)
}

/// `file` as xend finds it, whose directory is another.
pub fn absolute(file: &str) -> Result<String, Failure> {
    let path = std::path::absolute(file)?;
    path.to_str()
        .map(str::to_owned)
        .ok_or_else(|| Failure::message(format!("{file}: the path is not text")))
}
