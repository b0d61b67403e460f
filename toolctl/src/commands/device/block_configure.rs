//! `block-configure DOM BACKDEV FRONTDEV MODE [BACKDOM]`.

use crate::cli::command::{Arity, Command, Group};
use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::getopt::Parsed;
use noxen_xend_api::{DeviceConfig, Request};

/// The definition.
pub const COMMAND: Command = Command {
    name: "block-configure",
    args: "<Domain> <BackDev> <FrontDev> <Mode> [BackDomain]",
    summary: "Change block device configuration.",
    details: "Puts another medium into a CD drive: FrontDev is its name with :cdrom, Mode is r. An empty BackDev ('') takes the medium out.",
    group: Group::Device,
    arity: Arity::Between(4, 5),
    run: Some(run),
    ..Command::DEFAULT
};

fn run(context: &mut Context, parsed: &Parsed) -> Result<i32, Failure> {
    let device = DeviceConfig::Disk(super::disk_of(&parsed.words)?);
    let domain = parsed.words.first().cloned().unwrap_or_default();
    context.ask_ok(&Request::ConfigureDevice { domain, device })?;
    Ok(0)
}
