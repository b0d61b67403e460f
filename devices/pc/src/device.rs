//! What every device of the PC is to its bus, and the bus to it.

use crate::backing::Backing;
use crate::pci::Pci;
use crate::state::StateError;
use crate::vga::View;
use serde_json::Value;
use std::fmt::Debug;
use std::sync::Arc;

/// Bytes of one access to a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Width {
    /// 1.
    Byte = 1,
    /// 2.
    Word = 2,
    /// 4.
    Dword = 4,
}

impl Width {
    /// That of `bytes`, if there is one.
    pub fn of(bytes: usize) -> Option<Width> {
        match bytes {
            1 => Some(Width::Byte),
            2 => Some(Width::Word),
            4 => Some(Width::Dword),
            _ => None,
        }
    }

    /// Bytes.
    pub fn bytes(self) -> usize {
        self as usize
    }

    /// The bits that such an access moves.
    pub fn mask(self) -> u32 {
        match self {
            Width::Byte => 0xff,
            Width::Word => 0xffff,
            Width::Dword => 0xffff_ffff,
        }
    }
}

/// I/O ports in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    /// The first.
    pub first: u16,
    /// How many, at least 1.
    pub count: u16,
}

/// Guest-physical addresses in a row that are no RAM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// The first.
    pub first: u64,
    /// Bytes, at least 1.
    pub length: u64,
}

/// What of a device an access is for: its own fixed ports and windows, or one of its PCI regions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Region {
    /// One of [`Device::ports`], by its place in that list; offsets count from its first port.
    Ports(usize),
    /// One of [`Device::windows`], by its place in that list; offsets count from its first byte.
    Window(usize),
    /// A base address register (0 to 5), wherever the guest has put it; offsets count from there.
    Bar(usize),
    /// The expansion ROM, wherever the guest has put it.
    Rom,
    /// The ports of [`Pci::placed`]; offsets count from the first.
    Placed,
}

/// A button on the machine's case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Button {
    /// Power.
    Power,
    /// Sleep.
    Sleep,
}

/// Something that a person did with a keyboard or a pointer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Touch {
    /// A key or a button, by its Linux input code (linux/input-event-codes.h).
    Key {
        /// Code.
        code: u16,
        /// Down.
        pressed: bool,
    },
    /// The pointer moved: to the right, down; `wheel` in clicks, towards the person.
    Motion {
        /// To the right.
        x: i32,
        /// Down.
        y: i32,
        /// Clicks.
        wheel: i32,
    },
    /// The pointer is there, in pixels of the screen.
    Position {
        /// From the left.
        x: i32,
        /// From the top.
        y: i32,
        /// Clicks.
        wheel: i32,
        /// Pixels of the screen in a line.
        width: u32,
        /// Lines.
        height: u32,
    },
}

/// What a device makes of a pointer, if anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pointing {
    /// Movements.
    Relative,
    /// Places.
    Absolute,
}

/// Something that a device wants done; the machine does it after the access.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// An ISA interrupt line (0 to 15), or an input of the I/O APIC behind them (16 to 23), gets this level.
    Line(u8, bool),
    /// The device's own PCI interrupt pin gets this level; the bus knows which line that is.
    Pin(bool),
    /// The machine is reset.
    Reset,
    /// The machine is off (ACPI S5).
    PowerOff,
    /// The machine sleeps (ACPI S3) until it is woken.
    Sleep,
    /// These processors are there from now on, a bit for each.
    Processors(u64),
    /// The A20 gate opens or closes.
    A20(bool),
    /// The guest set its clock forward by this many seconds (back, if negative).
    ClockMoved(i64),
    /// PCI regions lie elsewhere now, or are switched on or off; the bus looks again.
    Remap,
    /// The guest has drivers of its own in place of the emulated devices of these kinds (`UNPLUG_*` in [`crate::xen_platform`]), which go.
    Unplug(u16),
    /// A line for the domain's log, which limits their rate.
    Log(String),
    /// The PCI interrupt lines A to D of bus 0 are ISA interrupts of these numbers from now on, or none.
    Routes([Option<u8>; 4]),
}

/// A guest-physical address is no RAM, or not as far as asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no memory at guest-physical address {address:#x} ({length} bytes)")]
pub struct Outside {
    /// Address.
    pub address: u64,
    /// Bytes asked for.
    pub length: usize,
}

/// The guest's RAM, for devices that move data themselves.
pub trait Memory {
    /// Fills `into` from `address`; nothing is promised of `into` after an error.
    fn read(&self, address: u64, into: &mut [u8]) -> Result<(), Outside>;
    /// Writes `from` to `address`; how much of it was written before an error is not told.
    fn write(&self, address: u64, from: &[u8]) -> Result<(), Outside>;
}

/// What a device may use while it is called.
pub struct Turn<'a> {
    /// Time since the machine was first started, ns; stands still while the domain is paused.
    pub now: u64,
    /// The guest's RAM.
    pub memory: &'a dyn Memory,
    /// What the device wants done, in this order.
    pub effects: &'a mut Vec<Effect>,
}

impl Turn<'_> {
    /// Brings the device's PCI interrupt pin to `level`; `told` is where the device keeps the last one.
    pub fn set_pin(&mut self, told: &mut bool, level: bool) {
        if level != *told {
            *told = level;
            self.effects.push(Effect::Pin(level));
        }
    }
}

/// A device of the PC.
///
/// Accesses wider than a device's registers are the device's business: it says what the data sheet says. An access never
/// crosses the end of a region; the bus has cut it.
pub trait Device: Send + Debug {
    /// Its name in logs, saved state and help; one word for each kind, with a number where there can be several.
    fn name(&self) -> &str;

    /// Fixed I/O ports. They never change.
    fn ports(&self) -> &[Ports] {
        &[]
    }

    /// Fixed windows of addresses. They never change.
    fn windows(&self) -> &[Window] {
        &[]
    }

    /// Its PCI side, if it has one.
    fn pci(&mut self) -> Option<&mut dyn Pci> {
        None
    }

    /// A read of one register; bits beyond `width` are ignored.
    fn read(&mut self, region: Region, offset: u64, width: Width, turn: &mut Turn) -> u32;

    /// A write of one register; bits of `value` beyond `width` are clear.
    fn write(&mut self, region: Region, offset: u64, width: Width, value: u32, turn: &mut Turn);

    /// When [`Device::tick`] should be called next, in the time of [`Turn::now`]; asked after each call.
    fn next(&self) -> Option<u64> {
        None
    }

    /// The time of [`Device::next`] has come (or a little later).
    fn tick(&mut self, _turn: &mut Turn) {}

    /// What lies behind the device (a medium, a cable, a console) has something for it; it looks there itself.
    fn attend(&mut self, _turn: &mut Turn) {}

    /// Somebody presses a button; true if it is this device that has it.
    fn press(&mut self, _button: Button, _turn: &mut Turn) -> bool {
        false
    }

    /// Somebody wants these processors to be there, a bit for each; true if it is this device that knows of them.
    fn want_processors(&mut self, _wanted: u64, _turn: &mut Turn) -> bool {
        false
    }

    /// The processors that are there, a bit for each, if this device knows of them.
    fn processors(&self) -> Option<u64> {
        None
    }

    /// The machine, which has so many processors now, slept (ACPI S3) and wakes. What had no power meanwhile is as after a reset.
    fn wake(&mut self, turn: &mut Turn, _processors: u16) {
        self.reset(turn);
    }

    /// Its memory that the machine may map where a BAR lies, with the BAR's number (0 to 5).
    fn backing(&self) -> Option<(usize, Arc<dyn Backing>)> {
        None
    }

    /// That BAR is nothing but memory now. A device that changes its answer asks for [`Effect::Remap`].
    fn is_mappable(&self) -> bool {
        true
    }

    /// What it shows, if it is a display; the picture is made from that without the device.
    fn view(&self, _now: u64) -> Option<View> {
        None
    }

    /// What it makes of a pointer now.
    fn pointing(&self) -> Option<Pointing> {
        None
    }

    /// A person did something; true if it is this device that takes it.
    fn touch(&mut self, _touch: Touch, _turn: &mut Turn) -> bool {
        false
    }

    /// There are images of machines that are as this one and have no such device; it is then as after power-on.
    fn came_later(&self) -> bool {
        false
    }

    /// Itself, if things can be plugged into it.
    fn usb(&mut self) -> Option<&mut crate::usb::Uhci> {
        None
    }

    /// The machine was reset.
    fn reset(&mut self, turn: &mut Turn);

    /// Everything that the guest could notice, as the device's unit of a saved domain; it names its version.
    fn save(&self) -> Value;

    /// Takes over what [`Device::save`] gave, of this or an earlier version; refuses what no device could have saved.
    fn restore(&mut self, saved: &Value) -> Result<(), StateError>;
}
