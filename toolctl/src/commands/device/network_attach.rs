//! `network-attach DOM [KEY=VALUE..]`.

use crate::cli::command::{Command, Group};
use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::getopt::Parsed;
use noxen_xend_api::{DeviceConfig, Request, Vif};

/// The definition.
pub const COMMAND: Command = Command {
    name: "network-attach",
    args: "<Domain> [type=<type>] [mac=<mac>] [bridge=<bridge>] [ip=<ip>] [script=<script>] [backend=<BackDomain>] [vifname=<name>] \
        [rate=<rate>] [model=<model>] [accel=<accel>]",
    summary: "Create a new virtual network interface.",
    group: Group::Device,
    run: Some(run),
    ..Command::DEFAULT
};

fn run(context: &mut Context, parsed: &Parsed) -> Result<i32, Failure> {
    let Some((domain, words)) = parsed.words.split_first() else {
        return Err(Failure::usage(
            "'xm network-attach' requires at least 1 argument.\n",
        ));
    };
    let mut vif = Vif::default();
    for word in words {
        let bad = || Failure::usage(format!("Invalid argument: {word}"));
        let (key, value) = word.split_once('=').ok_or_else(bad)?;
        vif.set(key, value).map_err(|_| bad())?;
    }
    let vif = vif.checked().map_err(|e| Failure::usage(e.to_string()))?;
    context.ask_ok(&Request::AttachDevice {
        domain: domain.clone(),
        device: DeviceConfig::Vif(vif),
    })?;
    Ok(0)
}
