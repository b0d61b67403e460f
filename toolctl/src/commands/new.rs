//! `new`: keep a configuration as a managed domain.

use super::create;
use crate::cli::command::Command;
use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::getopt::Parsed;
use noxen_xend_api::Request;

/// The definition.
pub const COMMAND: Command = Command {
    name: "new",
    args: "<ConfigFile> [options] [vars]",
    summary: "Adds a domain to Xend domain management.",
    details: "The configuration is read as create reads it and kept by xend under the domain's UUID; xm start starts the \
              domain, xm delete forgets it.",
    options: create::OPTIONS,
    more_help: Some(create::help::variables),
    usage_after_fault: false,
    run: Some(run),
    ..Command::DEFAULT
};

fn run(context: &mut Context, parsed: &Parsed) -> Result<i32, Failure> {
    if parsed.has("help_config") {
        context
            .out
            .write_all(create::help::variables().as_bytes())?;
        return Ok(0);
    }
    let config = create::source::configuration(context, parsed)?;
    if create::is_dry(parsed) {
        return create::dry_run(context, parsed, &config);
    }
    context.out.flush()?;
    context.ask_ok(&Request::New {
        config: Box::new(config),
    })?;
    Ok(0)
}
