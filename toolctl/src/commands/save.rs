//! `save DOM FILE`, `suspend DOM`: a running domain to disk.

use super::restore::absolute;
use crate::cli::command::{Arity, Command, Opt};
use crate::cli::context::Context;
use crate::cli::failure::{reason, Failure};
use crate::cli::getopt::Parsed;
use noxen_xend_api::Request;
use rustix::fs::{access, Access};
use std::path::Path;

/// The definition of `save`.
pub const COMMAND: Command = Command {
    name: "save",
    args: "[-c|--checkpoint] [-f|--force] <Domain> <CheckpointFile>",
    summary: "Save a domain's state to restore it later.",
    details: "The domain is gone once the file is whole and on disk, and its memory is free again; if the file cannot be written, the \
        domain runs on. Its disks are not part of the file.",
    options: &[
        Opt::flag('c', "checkpoint", "Leave the domain running afterwards."),
        Opt::flag('f', "force", "Overwrite a file that is there."),
    ],
    run: Some(save),
    ..Command::DEFAULT
};

/// The definition of `suspend`.
pub const SUSPEND: Command = Command {
    name: "suspend",
    args: "<Domain>",
    summary: "Suspend a managed domain to disk.",
    details: "Its state is kept with its configuration until resume.",
    arity: Arity::Exact(1),
    run: Some(suspend),
    ..Command::DEFAULT
};

fn save(context: &mut Context, parsed: &Parsed) -> Result<i32, Failure> {
    let [domain, file] = parsed.words.as_slice() else {
        return Err(Failure::usage("Wrong number of parameters"));
    };
    let unable =
        |why: &str| Failure::message(format!("xm save: Unable to create file {file}: {why}"));
    let path = Path::new(file);
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    access(parent, Access::WRITE_OK).map_err(|e| unable(&reason(&e.into())))?;
    if path.exists() && !parsed.has("force") {
        return Err(unable("it is there already; -f overwrites it"));
    }
    let text = format!("Saving domain {domain}");
    let request = Request::Save {
        domain: running_guest(context, domain, "save")?,
        file: absolute(file)?,
        checkpoint: parsed.has("checkpoint"),
    };
    context.saying(Some(text), |context| context.ask_ok(&request))?;
    Ok(0)
}

fn suspend(context: &mut Context, parsed: &Parsed) -> Result<i32, Failure> {
    let domain = running_guest(context, &parsed.words.concat(), "suspend")?;
    context.ask_ok(&Request::Suspend { domain })?;
    Ok(0)
}

/// `name`, if it names a guest that runs.
pub fn running_guest(context: &mut Context, name: &str, verb: &str) -> Result<String, Failure> {
    let domain = context.domain(name)?;
    match domain.domid {
        Some(0) => Err(Failure::message(format!(
            "Cannot {verb} privileged domain {}",
            domain.name
        ))),
        None => Err(Failure::message("Domain is not running")),
        Some(domid) => Ok(domid.to_string()),
    }
}
