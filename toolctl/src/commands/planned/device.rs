//! Commands on PCI, SCSI and USB devices, netchannel2 interfaces and vnets: their words.

use super::{check_domain, number, planned, word};
use crate::cli::command::{Arity, Command, Group, Group::Device, Group::Vnet, Opt, Run};
use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::getopt::Parsed;
use std::path::Path;
use Arity::{Between, Exact};

const NO_PCI: &str = "PCI devices of the host are not passed on to domains; give the domain a disk or a network interface";
const NO_SCSI: &str =
    "SCSI devices are not passed on to domains; xm block-attach gives a domain the disk";
const NO_USB: &str =
    "USB devices are not passed on to domains; xm block-attach gives a domain a USB disk";
const NO_NETCHANNEL2: &str =
    "there is no netchannel2 back end; xm network-attach gives a domain a network interface";
const NO_VNET: &str = "there are no vnets; connect the hosts' bridges with a VXLAN or GRE interface of Linux (ip link)";

const fn checked(
    group: Group,
    name: &'static str,
    args: &'static str,
    summary: &'static str,
    arity: Arity,
    why: &'static str,
    run: Run,
) -> Command {
    Command {
        run: Some(run),
        ..planned(group, name, args, summary, arity, why)
    }
}

#[rustfmt::skip]
pub(super) const PLANNED: &[Command] = &[
    Command {
        options: &[Opt::value('o', "options", "OPT=VAL", "An option of the device.")],
        ..checked(Device, "pci-attach", "[-o|--options=<opt>] <Domain> <domain:bus:slot.func> [virtual slot]", "Give a domain a PCI device.", Between(2, 3), NO_PCI, pci_attach)
    },
    checked(Device, "pci-detach", "<Domain> <domain:bus:slot.func>", "Take a PCI device from a domain.", Exact(2), NO_PCI, pci),
    checked(Device, "scsi-attach", "<Domain> <PhysScsiDevice> <VirtScsiDevice> [BackDomain]", "Give a domain a SCSI device.", Between(3, 4), NO_SCSI, |context, parsed| scsi(context, parsed, 2)),
    checked(Device, "scsi-detach", "<Domain> <VirtScsiDevice>", "Take a SCSI device from a domain.", Exact(2), NO_SCSI, |context, parsed| scsi(context, parsed, 1)),
    checked(Device, "usb-attach", "<Domain> <DevId> <PortNumber> <BusId>", "Give a domain a USB device.", Exact(4), NO_USB, |context, parsed| numbers(context, parsed, &[1, 2])),
    checked(Device, "usb-detach", "<Domain> <DevId> <PortNumber>", "Take a USB device from a domain.", Exact(3), NO_USB, |context, parsed| numbers(context, parsed, &[1, 2])),
    checked(Device, "usb-hc-create", "<Domain> <USBSpecVer> <NumberOfPorts>", "Give a domain a USB controller.", Exact(3), NO_USB, |context, parsed| numbers(context, parsed, &[1, 2])),
    checked(Device, "usb-hc-destroy", "<Domain> <DevId>", "Take a USB controller from a domain.", Exact(2), NO_USB, |context, parsed| numbers(context, parsed, &[1])),
    checked(Device, "usb-add", "<Domain> <[host:bus.addr] [host:vendor_id:product_id]>", "Give a domain a USB device of the host.", Exact(2), NO_USB, usb_host),
    checked(Device, "usb-del", "<Domain> <[host:bus.addr] [host:vendor_id:product_id]>", "Take a USB device of the host from a domain.", Exact(2), NO_USB, usb_host),
    checked(Device, "network2-attach", "<Domain> [options]", "Give a domain a netchannel2 interface.", Arity::Any, NO_NETCHANNEL2, network2),
    checked(Device, "network2-detach", "<Domain> <DevId>", "Take a netchannel2 interface from a domain.", Exact(2), NO_NETCHANNEL2, |context, parsed| numbers(context, parsed, &[1])),
    Command {
        options: &[Opt::flag('l', "long", "List all details in SXP.")],
        ..planned(Vnet, "vnet-list", "[-l|--long]", "List the virtual networks.", Arity::Any, NO_VNET)
    },
    checked(Vnet, "vnet-create", "<ConfigFile>", "Create a virtual network from a file.", Exact(1), NO_VNET, vnet_create),
    planned(Vnet, "vnet-delete", "<VnetId>", "Delete a virtual network.", Exact(1), NO_VNET),
];

fn invalid(what: &str) -> Failure {
    Failure::usage(format!("Invalid argument: {what}"))
}

/// `[DDDD:]BB:SS.F`, hexadecimal but for the function, which is 0 to 7.
fn is_pci_address(text: &str) -> bool {
    let hex = |text: &str, most: usize| {
        (1..=most).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit())
    };
    let Some((place, function)) = text.rsplit_once('.') else {
        return false;
    };
    let parts: Vec<&str> = place.split(':').collect();
    let place = match parts.as_slice() {
        [domain, bus, slot] => hex(domain, 4) && hex(bus, 2) && hex(slot, 2),
        [bus, slot] => hex(bus, 2) && hex(slot, 2),
        _ => false,
    };
    place && matches!(function.as_bytes(), [b'0'..=b'7'])
}

/// `HOST:CHANNEL:TARGET:LUN`.
fn is_scsi_address(text: &str) -> bool {
    text.split(':').count() == 4 && text.split(':').all(|part| part.parse::<u32>().is_ok())
}

fn pci_attach(context: &mut Context, parsed: &Parsed) -> Result<i32, Failure> {
    if let Some(option) = parsed.value("options").filter(|o| !o.contains('=')) {
        return Err(Failure::message(format!(
            "Invalid pci attach option: {option}"
        )));
    }
    let slot = word(parsed, 2);
    let slot_is_hex =
        slot.is_empty() || u8::from_str_radix(slot.trim_start_matches("0x"), 16).is_ok();
    if !slot_is_hex {
        return Err(invalid(&format!("{} {slot}", word(parsed, 1))));
    }
    pci(context, parsed)
}

fn pci(context: &mut Context, parsed: &Parsed) -> Result<i32, Failure> {
    let address = word(parsed, 1);
    if !is_pci_address(address) {
        return Err(invalid(address));
    }
    check_domain(context, parsed)
}

/// Word `at` is how the guest would see the device.
fn scsi(context: &mut Context, parsed: &Parsed, at: usize) -> Result<i32, Failure> {
    let seen = word(parsed, at);
    if seen != "host" && !is_scsi_address(seen) {
        return Err(invalid(seen));
    }
    check_domain(context, parsed)
}

fn numbers(context: &mut Context, parsed: &Parsed, at: &[usize]) -> Result<i32, Failure> {
    for &at in at {
        number(word(parsed, at))?;
    }
    check_domain(context, parsed)
}

fn usb_host(context: &mut Context, parsed: &Parsed) -> Result<i32, Failure> {
    let device = word(parsed, 1);
    if !device.starts_with("host:") {
        return Err(invalid(device));
    }
    check_domain(context, parsed)
}

fn network2(context: &mut Context, parsed: &Parsed) -> Result<i32, Failure> {
    let Some((_, settings)) = parsed.words.split_first() else {
        return Err(Failure::usage(
            "'xm network2-attach' requires at least 1 argument.\n",
        ));
    };
    if let Some(wrong) = settings.iter().find(|word| !word.contains('=')) {
        return Err(invalid(wrong));
    }
    check_domain(context, parsed)
}

fn vnet_create(context: &mut Context, parsed: &Parsed) -> Result<i32, Failure> {
    let file = word(parsed, 0);
    if Path::new(file).is_file() {
        return Ok(0);
    }
    // xm said this on standard output.
    context.line(format!("File not found: {file}"))?;
    Err(Failure::Status(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_devices_are_told_from_other_words() {
        for good in ["0:1f.0", "0000:00:1f.7", "a:b:c.1"] {
            assert!(is_pci_address(good), "{good}");
        }
        for bad in [
            "",
            "1f",
            "00:1f",
            "00:1f.8",
            "00:1f.",
            "00000:0:0.0",
            "0:0:0:0.0",
            "x:1.0",
            ".0",
        ] {
            assert!(!is_pci_address(bad), "{bad}");
        }
        assert!(is_scsi_address("2:0:1:0"));
        for bad in ["", "2:0:1", "2:0:1:0:0", "a:0:0:0", "-1:0:0:0"] {
            assert!(!is_scsi_address(bad), "{bad}");
        }
    }
}
