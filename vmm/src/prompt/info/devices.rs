//! `info` about devices.

use super::{Call, Subject, Topic};
use crate::hvm::usb_disks;
use noxen_pc::usb::Listed;
use noxen_pc::Pointing;
use std::fmt::Write;

pub(super) const TOPICS: &[Topic] = &[
    Topic {
        name: "block",
        help: "drives and what is in them",
        tell: block,
    },
    Topic {
        name: "network",
        help: "network cards",
        tell: network,
    },
    Topic {
        name: "chardev",
        help: "where serial lines and this window go",
        tell: chardev,
    },
    Topic {
        name: "pci",
        help: "what is on the PCI bus",
        tell: pci,
    },
    Topic {
        name: "irq",
        help: "interrupt lines that are up, and the routes of PCI's",
        tell: irq,
    },
    Topic {
        name: "usb",
        help: "what is plugged into the USB controller",
        tell: usb,
    },
    Topic {
        name: "usbhost",
        help: "USB devices of the host",
        tell: |_, _| "USB devices of the host cannot be given to a domain yet".into(),
    },
    Topic {
        name: "mice",
        help: "what a viewer's pointer is to the guest",
        tell: mice,
    },
    Topic {
        name: "vnc",
        help: "who looks at the screen",
        tell: vnc,
    },
];

fn block(_: &Call, subject: &mut dyn Subject) -> String {
    let mut text = String::new();
    for drive in subject.drives() {
        let removable = u8::from(drive.removable);
        let _ = write!(text, "{}: removable={removable}", drive.name);
        if drive.removable {
            let _ = write!(text, " locked={}", u8::from(drive.locked));
        }
        let _ = match &drive.medium {
            Some(medium) => writeln!(
                text,
                " file={} ro={} size={}",
                medium.path.escape_debug(),
                u8::from(medium.readonly),
                medium.bytes
            ),
            None => writeln!(text, " [not inserted]"),
        };
    }
    text
}

fn network(_: &Call, subject: &mut dyn Subject) -> String {
    let cards = subject.cards();
    if cards.is_empty() {
        return "no network card".into();
    }
    let line = |text: String, card: &super::super::subject::Card| {
        text + &format!(
            "vif {}: model={},macaddr={}\n",
            card.number, card.model, card.mac
        )
    };
    cards.iter().fold(String::new(), line)
}

fn chardev(_: &Call, subject: &mut dyn Subject) -> String {
    let tty = subject.status().console_tty;
    let serial = match tty.as_str() {
        "" => "null".into(),
        tty => format!("pty:{tty}"),
    };
    format!("monitor: filename=vc\nserial0: filename={serial}")
}

fn pci(_: &Call, subject: &mut dyn Subject) -> String {
    let mut text = String::new();
    for found in subject.pci() {
        let (place, identity) = (found.place, found.identity);
        let _ = writeln!(
            text,
            "  Bus  0, device {:3}, function {}:\n    Class {:04x}: PCI device {:04x}:{:04x} ({})",
            place.slot,
            place.function,
            identity.class >> 8,
            identity.vendor,
            identity.device,
            found.name
        );
        if let (Some(irq), 1..=4) = (found.irq, identity.pin) {
            let pin = char::from(b'A' + identity.pin - 1);
            let _ = writeln!(text, "      IRQ {irq}, pin {pin}");
        }
    }
    text
}

fn irq(_: &Call, subject: &mut dyn Subject) -> String {
    let lines = subject.lines();
    let mut text = String::new();
    for (line, device) in &lines.up {
        let _ = writeln!(text, "IRQ {line}: up ({device})");
    }
    if lines.up.is_empty() {
        text.push_str("no line is up\n");
    }
    for (name, route) in ('A'..='D').zip(lines.routes) {
        let route = route.map_or("none".into(), |irq| format!("IRQ {irq}"));
        let _ = writeln!(text, "PCI {name}: {route}");
    }
    text
}

fn usb(_: &Call, subject: &mut dyn Subject) -> String {
    match subject.usb() {
        None => "USB support not enabled".into(),
        Some(devices) if devices.is_empty() => "no USB device".into(),
        Some(devices) => {
            let line = |text: String, one: &Listed| {
                let Listed { number, port, .. } = one;
                let name = one.disk.and_then(usb_disks::name);
                let name = name.map_or(String::new(), |name| format!(" {name}"));
                text + &format!(
                    "  Device 0.{number}, Port {port}, Speed 12 Mb/s, Product {}{name}\n",
                    one.what
                )
            };
            devices.iter().fold(String::new(), line)
        }
    }
}

fn mice(_: &Call, subject: &mut dyn Subject) -> String {
    match subject.pointing() {
        Some(Pointing::Absolute) => "* Mouse #0: tablet (absolute)".into(),
        Some(Pointing::Relative) => "* Mouse #0: mouse".into(),
        None => "no mouse connected".into(),
    }
}

fn vnc(_: &Call, subject: &mut dyn Subject) -> String {
    let viewers = subject.viewers();
    if viewers.is_empty() {
        return "Client: none".into();
    }
    let line = |text: String, viewer: &String| text + &format!("Client: {viewer}\n");
    viewers.iter().fold(String::new(), line)
}
