//! `save DOM FILE`, `suspend DOM`: a running domain to disk.

use super::restore::absolute;
use crate::cli::command::{Arity, Command, Opt};
use crate::cli::context::{unexpected, Context};
use crate::cli::failure::{reason, Failure};
use crate::cli::getopt::Parsed;
use crate::cli::transfer;
use noxen_xend_api::migrate::SaveHow;
use noxen_xend_api::{Request, Response};
use rustix::fs::{access, Access};
use std::path::Path;

/// The definition of `save`.
pub const COMMAND: Command = Command {
    name: "save",
    args: "[-c|--checkpoint] [-f|--force] [--compress] [--by-guest] <Domain> <CheckpointFile>",
    summary: "Save a domain's state to restore it later.",
    details: "The domain is gone once the file is whole and on disk, and its memory is free again; if the file cannot be written, or on Ctrl-C, the \
        domain runs on. Its disks are not part of the file.",
    options: &[
        Opt::flag('c', "checkpoint", "Leave the domain running afterwards."),
        Opt::flag('f', "force", "Overwrite a file that is there."),
        Opt::long_flag("compress", "Compress its memory (zstd): a smaller file, more processor time. Versions before this option cannot restore it."),
        Opt::long_flag("by-guest", "The guest suspends itself first (control/shutdown), and its drivers connect anew when it is restored."),
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
    let id = running_guest(context, domain, "save")?;
    let request = Request::Save {
        domain: id.clone(),
        file: absolute(file)?,
        checkpoint: parsed.has("checkpoint"),
        how: SaveHow {
            by_guest: parsed.has("by-guest"),
            compress: parsed.has("compress"),
        },
    };
    match transfer::ask(context, &id, text, &request)? {
        Response::Ok => Ok(0),
        other => Err(unexpected(other)),
    }
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
