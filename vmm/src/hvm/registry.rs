//! The devices of the PC, one line each: where each sits and what it is made from.

use crate::hvm::usb_disks::UsbDisks;
use noxen_control::spec::{Adapter, SoundCard, UsbDevice, MAX_USB};
use noxen_hvmloader::{acpi, Machine};
use noxen_pc::backing::Backing;
use noxen_pc::bus::Place;
use noxen_pc::chipset::{HostBridge, IsaBridge, Power};
use noxen_pc::debug::Debug;
use noxen_pc::fw_cfg::FwCfg;
use noxen_pc::hpet::Hpet;
use noxen_pc::i8042::I8042;
use noxen_pc::isa_dma::IsaDma;
use noxen_pc::rtc::{Boot, Firmware, Rtc, Settings};
use noxen_pc::serial::{Serial, Wire};
use noxen_pc::sleep::{self, Sleep};
use noxen_pc::sound::es1370::Es1370;
use noxen_pc::sound::sb16::Sb16;
use noxen_pc::sound::Speaker;
use noxen_pc::usb::{tree, Kind, Plug, Uhci};
use noxen_pc::vga::cirrus::Cirrus;
use noxen_pc::vga::Vga;
use noxen_pc::xen_platform::Platform;
use noxen_pc::{Bus, Device};
use std::sync::Arc;

/// What the devices are made from.
#[derive(Debug)]
pub struct Parts<'a> {
    /// The machine as firmware knows it.
    pub machine: &'a Machine,
    /// What firmware reads through fw_cfg.
    pub files: Vec<(String, Vec<u8>)>,
    /// Where to boot from.
    pub boot: Vec<Boot>,
    /// Floppy drives, 1 or 2.
    pub floppies: u8,
    /// What the clock shows at the start, seconds since 1970.
    pub seconds: i64,
    /// The display with its memory and BIOS, if it has one.
    pub display: Option<(Adapter, Arc<dyn Backing>, Vec<u8>)>,
    /// What is plugged into COM1, if that is there.
    pub serial: Option<Box<dyn Wire>>,
    /// Sound cards, with what each plays into.
    pub sound: Vec<(SoundCard, Box<dyn Speaker>)>,
    /// The DMA controllers, which come to the bus with the drives.
    pub dma: &'a IsaDma,
    /// The guest can have drivers for Xen.
    pub xen: bool,
    /// What is plugged into the USB controller, if that is there.
    pub usb: Option<Vec<UsbDevice>>,
    /// The disks among that.
    pub usb_disks: UsbDisks,
}

/// Devices that others than the guest know, by their numbers on the bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Known {
    /// COM1.
    pub serial: Option<usize>,
    /// The USB controller.
    pub usb: Option<usize>,
}

const fn at(slot: u8, function: u8) -> Option<Place> {
    Some(Place { slot, function })
}

/// The bus of a machine that is no PC: what ACPI switches it off by, and nothing else.
pub fn without_a_pc() -> Bus {
    const _: () = assert!(acpi::SLEEP_CONTROL == sleep::CONTROL && acpi::SLEEP_S5 == sleep::S5);
    let mut bus = Bus::new();
    bus.add(Box::new(Sleep), None);
    bus
}

/// All devices of a PC but its drives' controllers (drives.rs), on their bus. Slots: 0 host bridge, 1 ISA bridge with its functions (1 IDE, 2 USB, 3 power), 2 display,
/// 3 Xen's platform device, 4 to 30 network interfaces, 31 sound card.
pub fn devices(parts: Parts<'_>) -> (Bus, Known) {
    const _: () = assert!(MAX_USB == tree::DEVICES);
    let mut bus = Bus::new();
    let mut known = Known::default();
    let machine = parts.machine;
    let firmware = Firmware {
        low: machine.low,
        high: machine.high,
        cpus: u8::try_from(machine.count()).unwrap_or(u8::MAX),
        boot: parts.boot,
        floppies: parts.floppies,
    };
    let clock = Settings {
        seconds: parts.seconds,
        firmware,
    };
    let mut add = |device: Box<dyn Device>, place| bus.add(device, place);

    add(Box::new(HostBridge::new()), at(0, 0));
    add(Box::new(IsaBridge::new()), at(1, 0));
    add(Box::new(Power::new(machine.present)), at(1, 3));
    add(Box::new(Rtc::new(clock)), None);
    if machine.hpet {
        add(Box::new(Hpet::new()), None);
    }
    add(Box::new(Debug::new()), None);
    // Before the 8042, which takes all that a person does: what the guest uses of USB comes first.
    if let Some(devices) = parts.usb {
        let plug = |device: &UsbDevice| match device {
            UsbDevice::Tablet => Plug::Hid(Kind::Tablet),
            UsbDevice::Mouse => Plug::Hid(Kind::Mouse),
            UsbDevice::Keyboard => Plug::Hid(Kind::Keyboard),
            UsbDevice::Disk { devid } => {
                let medium = parts.usb_disks.find(*devid).cloned();
                Plug::Disk(*devid, Box::new(medium.unwrap_or_default()))
            }
        };
        let plugs = devices.iter().map(plug).collect();
        known.usb = Some(add(Box::new(Uhci::new(plugs)), at(1, 2)));
    }
    add(Box::new(I8042::new()), None);
    if let Some((adapter, memory, rom)) = parts.display {
        let display: Box<dyn Device> = match adapter {
            Adapter::Standard => Box::new(Vga::new(memory, rom)),
            Adapter::Cirrus => Box::new(Cirrus::new(memory, rom)),
        };
        add(display, at(2, 0));
    }
    if parts.xen {
        add(Box::new(Platform::new()), at(3, 0));
    }
    for (card, speaker) in parts.sound {
        match card {
            SoundCard::Es1370 => add(Box::new(Es1370::new(speaker)), at(31, 0)),
            SoundCard::Sb16 => add(Box::new(Sb16::new(parts.dma, speaker)), None),
        };
    }
    add(
        Box::new(FwCfg::new(machine.count() as u16, parts.files)),
        None,
    );
    known.serial = parts
        .serial
        .map(|wire| add(Box::new(Serial::new(0, wire)), None));
    (bus, known)
}
