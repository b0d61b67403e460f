//! `network-detach DOM DEVID [-f]`.

use crate::cli::command::{Arity, Command, Group};
use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::getopt::Parsed;
use noxen_xend_api::DeviceClass;

/// The definition.
pub const COMMAND: Command = Command {
    name: "network-detach",
    args: "<Domain> <DevId> [-f|--force]",
    summary: "Destroy a domain's virtual network interface.",
    details: "DevId is its index or its MAC address.",
    options: &[super::FORCE],
    group: Group::Device,
    arity: Arity::Between(2, 3),
    run: Some(run),
    ..Command::DEFAULT
};

fn run(context: &mut Context, parsed: &Parsed) -> Result<i32, Failure> {
    super::detach(context, parsed, DeviceClass::Vif)
}
