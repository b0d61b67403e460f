//! The chipset of the PC: Intel 440FX and PIIX3, with the power management function of a PIIX4.
//!
//! ```text
//!   00:00.0  host bridge (i440fx)      00:01.0  ISA bridge (piix3): PIRQ routing, ports 0x92, 0xcf9
//!                                      00:01.3  power management (power): PM1a, PM timer, GPE
//! ```
//! In the kernel already: interrupt controllers (with ELCR) and the 8254.

mod i440fx;
mod piix3;
mod power;
mod processors;

pub use i440fx::HostBridge;
pub use piix3::IsaBridge;
pub use power::{Power, SCI};
