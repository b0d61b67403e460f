//! `start DOM`: start a managed domain.

use super::{console, create};
use crate::cli::command::{Command, Opt};
use crate::cli::context::{unexpected, Context};
use crate::cli::failure::Failure;
use crate::cli::getopt::Parsed;
use noxen_xend_api::{Request, Response};

/// The definition.
pub const COMMAND: Command = Command {
    name: "start",
    args: "<DomainName>",
    summary: "Start a Xend managed domain.",
    options: &[
        Opt::flag('p', "paused", "Do not unpause domain after starting it."),
        Opt::flag(
            'c',
            "console_autoconnect",
            "Connect to the console after the domain is started.",
        ),
        Opt::long_flag(
            "vncviewer",
            "Connect to the VNC display after the domain is started.",
        ),
        Opt::long_flag("vncviewer-autopass", "Pass the VNC password to the viewer."),
    ],
    run: Some(run),
    ..Command::DEFAULT
};

fn run(context: &mut Context, parsed: &Parsed) -> Result<i32, Failure> {
    let [domain] = parsed.words.as_slice() else {
        return Err(Failure::usage("Expects 1 argument"));
    };
    let request = Request::Start {
        domain: domain.clone(),
    };
    let started = match context.ask(&request)? {
        Response::Domain { domain } => *domain,
        other => return Err(unexpected(other)),
    };
    match create::start(context, parsed, &started) {
        Ok(console) => {
            create::view(context, parsed, false, &started);
            match console {
                Some(console) => console::attach(context, console),
                None => Ok(0),
            }
        }
        Err(failure) => {
            // The first failure is the one to report; the domain is halted again, and still managed.
            let _ = context.ask_ok(&Request::Destroy {
                domain: create::address(&started),
            });
            Err(failure)
        }
    }
}
