//! Listings of devices of kinds that no domain here can have: `vtpm-list`, `pci-list`, `scsi-list`, `usb-list`,
//! `network2-list`, and what could be given to domains. xm printed nothing at all for a domain without such devices.

use crate::cli::command::{Arity, Command, Group, Opt, Run, Standing, JSON};
use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::getopt::Parsed;

const LONG: Opt = Opt::flag('l', "long", "Output all device details in SXP.");

const fn of_domain(
    name: &'static str,
    args: &'static str,
    summary: &'static str,
    run: Run,
) -> Command {
    Command {
        name,
        args,
        summary,
        details: "No domain can have such devices yet, so the list is empty.",
        options: &[LONG, JSON],
        group: Group::Device,
        standing: Standing::Partly("always empty, since no domain can have such a device"),
        run: Some(run),
        ..Command::DEFAULT
    }
}

const fn of_host(name: &'static str, summary: &'static str) -> Command {
    Command {
        name,
        summary,
        details: "Devices of the host cannot be given to domains yet, so the list is empty.",
        options: &[JSON],
        group: Group::Device,
        arity: Arity::Exact(0),
        standing: Standing::Partly("always empty, since no device of the host can be passed on"),
        run: Some(assignable),
        ..Command::DEFAULT
    }
}

/// `vtpm-list`.
pub const VTPM: Command = of_domain(
    "vtpm-list",
    "<Domain> [--long]",
    "List virtual TPM devices.",
    |context, parsed| list(context, parsed, &VTPM),
);
/// `pci-list`.
pub const PCI: Command = of_domain(
    "pci-list",
    "<Domain>",
    "List pass-through PCI devices for a domain.",
    |context, parsed| list(context, parsed, &PCI),
);
/// `scsi-list`.
pub const SCSI: Command = of_domain(
    "scsi-list",
    "<Domain> [--long]",
    "List all SCSI devices currently attached.",
    |context, parsed| list(context, parsed, &SCSI),
);
/// `usb-list`.
pub const USB: Command = of_domain(
    "usb-list",
    "<Domain>",
    "List domain's attachment state of USB port.",
    |context, parsed| list(context, parsed, &USB),
);
/// `network2-list`.
pub const NETWORK2: Command = of_domain(
    "network2-list",
    "<Domain> [--long]",
    "List netchannel2 interfaces for a domain.",
    |context, parsed| list(context, parsed, &NETWORK2),
);
/// `pci-list-assignable-devices`.
pub const PCI_ASSIGNABLE: Command = of_host(
    "pci-list-assignable-devices",
    "List all the assignable PCI devices.",
);
/// `usb-list-assignable-devices`.
pub const USB_ASSIGNABLE: Command = of_host(
    "usb-list-assignable-devices",
    "List all the assignable USB devices.",
);

fn list(context: &mut Context, parsed: &Parsed, command: &Command) -> Result<i32, Failure> {
    let domain = super::device::only_domain(context, parsed, command)?;
    context.domain(&domain)?;
    nothing(context, parsed)
}

fn assignable(context: &mut Context, parsed: &Parsed) -> Result<i32, Failure> {
    nothing(context, parsed)
}

fn nothing(context: &mut Context, parsed: &Parsed) -> Result<i32, Failure> {
    if parsed.has("json") {
        context.json(&serde_json::json!([]))?;
    }
    Ok(0)
}
