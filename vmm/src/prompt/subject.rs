//! The domain as the monitor window's commands have it.

use crate::counters::Groups;
use noxen_control::Status;
use noxen_pc::bus::Place;
use noxen_pc::usb::{Kind, Listed};
use noxen_pc::{Identity, Pointing, Touch};

/// A drive of the PC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drive {
    /// As xm names it: `hda`, `fda`.
    pub name: &'static str,
    /// CDs and floppies.
    pub removable: bool,
    /// The guest keeps its medium in.
    pub locked: bool,
    /// The image in it.
    pub medium: Option<Medium>,
}

/// An image in a drive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Medium {
    /// As the administrator named it.
    pub path: String,
    /// Not written to.
    pub readonly: bool,
    /// Bytes.
    pub bytes: u64,
}

/// A network card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Card {
    /// Index of the interface.
    pub number: u32,
    /// As `model=` names it.
    pub model: &'static str,
    /// Its address.
    pub mac: String,
}

/// A function on the PCI bus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PciFunction {
    /// Where.
    pub place: Place,
    /// The device's name here.
    pub name: String,
    /// What it tells of itself.
    pub identity: Identity,
    /// ISA interrupt of its pin now, if it has one.
    pub irq: Option<u8>,
}

/// Interrupt lines.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Lines {
    /// Up now: the number of the line, and the device that holds it.
    pub up: Vec<(u8, String)>,
    /// ISA interrupts of the PCI lines A to D.
    pub routes: [Option<u8>; 4],
}

/// See the module. Errors are one line.
pub trait Subject {
    /// Name and UUID.
    fn identity(&self) -> (String, String);
    /// What it is doing.
    fn status(&self) -> Status;
    /// Registers of all vCPUs.
    fn registers(&mut self) -> String;
    /// Counters of exits and the like.
    fn counters(&self) -> Groups;
    /// All drives.
    fn drives(&self) -> Vec<Drive>;
    /// All network cards.
    fn cards(&self) -> Vec<Card>;
    /// What is on the PCI bus, by place.
    fn pci(&self) -> Vec<PciFunction>;
    /// Interrupt lines.
    fn lines(&self) -> Lines;
    /// What is plugged into the USB controller; none: there is no controller.
    fn usb(&self) -> Option<Vec<Listed>>;
    /// What the guest makes of a pointer.
    fn pointing(&self) -> Option<Pointing>;
    /// Addresses of those who look at the screen.
    fn viewers(&self) -> Vec<String>;

    /// Stops it.
    fn stop(&mut self);
    /// Lets it go on.
    fn go_on(&mut self) -> Result<(), String>;
    /// The button that resets.
    fn reset(&mut self) -> Result<(), String>;
    /// The power button.
    fn press_power(&mut self) -> Result<(), String>;
    /// A non-maskable interrupt.
    fn nmi(&mut self, vcpu: u32) -> Result<(), String>;
    /// A person does something; false if no device takes it.
    fn touch(&mut self, touch: Touch) -> bool;
    /// Fills `into` from a guest-physical address; false where there is no memory.
    fn memory(&self, address: u64, into: &mut [u8]) -> bool;
    /// Plugs something into the USB controller.
    fn usb_add(&mut self, kind: Kind) -> Result<(), String>;
    /// Takes something out that is no disk, by its number.
    fn usb_del(&mut self, number: u8) -> Result<(), String>;
    /// The name that a disk more at the USB controller will have.
    fn usb_room(&mut self) -> Result<&'static str, String>;
    /// Viewers have to know this from now on, or nothing.
    fn set_password(&mut self, password: Option<String>) -> Result<(), String>;
}
