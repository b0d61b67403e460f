//! The devices of an emulated PC: what each does, not where it lies nor who calls it.
//!
//! ```text
//!   vCPU's access --> bus.rs finds the device --> Device::read/write --> value
//!                                                      |
//!                       Turn: time, guest memory  -----+-----> effects: lines, reset, power off, ...
//!   the clock ------> Device::tick, at the time that Device::next asked for
//!   an answer ------> Device::attend: the device looks at the port that it was made with (a medium, a cable)
//! ```
//! A device is one module. It gets time and guest memory in a [`Turn`] and leaves what it wants done there as [`Effect`]s;
//! it never waits, never sleeps and knows no file descriptor of KVM.

pub mod backing;
pub mod bus;
pub mod chipset;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
pub mod debug;
pub mod device;
pub mod floppy;
pub mod fw_cfg;
pub mod hpet;
pub mod i8042;
pub mod ide;
pub mod isa_dma;
pub mod medium;
pub mod net;
pub mod pci;
pub mod rtc;
pub mod serial;
pub mod sleep;
pub mod sound;
pub mod state;
pub mod summa;
pub mod usb;
pub mod vga;
pub mod xen_platform;

#[cfg(test)]
mod bus_tests;
#[cfg(test)]
mod pci_tests;

pub use bus::Bus;
pub use device::{
    Button, Device, Effect, Memory, Outside, Pointing, Ports, Region, Touch, Turn, Width, Window,
};
pub use pci::{Bar, BarKind, Function, Identity, Pci};
pub use state::StateError;
