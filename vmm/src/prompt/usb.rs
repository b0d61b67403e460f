//! Commands that plug USB devices in and out of a running machine.
//!
//! ```text
//!   usb_add tablet, mouse, keyboard --> the controller, at once
//!   usb_add disk:FILE --> a free name, sda to sdh --Wish::UsbAdd--> xend: opens it, attaches it as a disk of that name
//!   usb_del BUS.ADDR --> the controller, or of a disk Wish::UsbDel --> xend: detaches it
//! ```
//! Bus 0 is the only one; an address here is the device's number in `info usb`, not the one that the guest gives it.

use super::commands::{Call, Command, Outcome, DONE};
use super::media::file;
use super::subject::Subject;
use crate::hvm::usb_disks;
use noxen_control::wish::Wish;
use noxen_pc::usb::Kind;

pub(super) const COMMANDS: &[Command] = &[
    Command {
        names: &["usb_add"],
        args: "tablet | mouse | keyboard | disk:FILE",
        words: (1, 64),
        help: "plug a device into the USB controller",
        run: add,
    },
    Command {
        names: &["usb_del"],
        args: "BUS.ADDR",
        words: (1, 1),
        help: "take a device out of the USB controller (info usb has its address)",
        run: del,
    },
];

fn add(call: &Call, subject: &mut dyn Subject) -> Result<Outcome, String> {
    let kind = match call.rest {
        "tablet" => Kind::Tablet,
        "mouse" => Kind::Mouse,
        "keyboard" => Kind::Keyboard,
        other => {
            return match other.strip_prefix("disk:") {
                Some(text) => add_disk(text, subject),
                None => Err(refusal(other)),
            }
        }
    };
    subject.usb_add(kind).map(|()| DONE)
}

fn add_disk(text: &str, subject: &mut dyn Subject) -> Result<Outcome, String> {
    let file = file(text)?;
    if !file.starts_with('/') {
        return Err(format!("'{}': a path from / on", file.escape_debug()));
    }
    let name = subject.usb_room()?.into();
    Ok(Outcome::Wants(Wish::UsbAdd { name, file }))
}

fn refusal(text: &str) -> String {
    let shown: String = text.escape_debug().take(40).collect();
    let known = "tablet, mouse, keyboard or disk:FILE";
    match text.starts_with("host:") {
        true => format!(
            "'{shown}': USB devices of the host cannot be given to a domain yet; use {known}"
        ),
        false => format!("'{shown}' is no USB device; use {known}"),
    }
}

fn del(call: &Call, subject: &mut dyn Subject) -> Result<Outcome, String> {
    let word = call.words[0];
    let shown: String = word.escape_debug().take(40).collect();
    let number = word
        .strip_prefix("0.")
        .and_then(|number| number.parse::<u8>().ok());
    let devices = subject.usb().ok_or("USB support not enabled (usb = 1)")?;
    let found = devices.iter().find(|device| Some(device.number) == number);
    let found =
        found.ok_or_else(|| format!("could not find USB device '{shown}'; see 'info usb'"))?;
    match found.disk {
        Some(disk) => {
            let name = usb_disks::name(disk).ok_or("that disk has no name")?;
            Ok(Outcome::Wants(Wish::UsbDel { name: name.into() }))
        }
        None => subject.usb_del(found.number).map(|()| DONE),
    }
}
