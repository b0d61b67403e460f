//! `upgrade DOM`: a running domain goes on in a new noxen-vmm.

use super::save::running_guest;
use crate::cli::command::{Arity, Command, Group};
use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::getopt::Parsed;
use noxen_xend_api::Request;

/// The definition.
pub const COMMAND: Command = Command {
    name: "upgrade",
    args: "<Domain>",
    summary: "Let a running domain go on in a new noxen-vmm.",
    details: "A new noxen-vmm process is started and takes the domain over from the one that it runs in: its memory is not copied but handed over, so \
        that it stands still for milliseconds only. Id, name, devices, taps and the console's terminal stay; VNC viewers connect anew. Whatever goes wrong \
        before the new process has the domain, it runs on in the old one.\n\nNot built yet for PVH domains, for HVM domains with drivers for Xen, and for disks at NBD servers.",
    arity: Arity::Exact(1),
    group: Group::Hidden,
    run: Some(run),
    ..Command::DEFAULT
};

fn run(context: &mut Context, parsed: &Parsed) -> Result<i32, Failure> {
    let name = parsed.words.concat();
    let domain = running_guest(context, &name, "upgrade")?;
    let text = format!("Upgrading the noxen-vmm of domain {name}");
    context.saying(Some(text), |context| {
        context.ask_ok(&Request::Upgrade { domain })
    })?;
    Ok(0)
}
