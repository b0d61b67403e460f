//! `block-attach DOM BACKDEV FRONTDEV MODE [BACKDOM]`.

use crate::cli::command::{Arity, Command, Group};
use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::getopt::Parsed;
use noxen_xend_api::{DeviceConfig, Request};

/// The definition.
pub const COMMAND: Command = Command {
    name: "block-attach",
    args: "<Domain> <BackDev> <FrontDev> <Mode> [BackDomain]",
    summary: "Create a new virtual block device.",
    details: "BackDev is phy:DEVICE, file:FILE, tap:FORMAT:FILE, nbd:HOST PORT or NAME:TEXT for a script block-NAME; FrontDev the name in \
        the guest, such as xvdb; Mode r, w, or w! to share the disk whoever else has it.",
    group: Group::Device,
    arity: Arity::Between(4, 5),
    run: Some(run),
    ..Command::DEFAULT
};

fn run(context: &mut Context, parsed: &Parsed) -> Result<i32, Failure> {
    let device = DeviceConfig::Disk(super::disk_of(&parsed.words)?);
    let domain = parsed.words.first().cloned().unwrap_or_default();
    context.ask_ok(&Request::AttachDevice { domain, device })?;
    Ok(0)
}
