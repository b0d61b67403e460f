//! USB 1.1 of the PC: the UHCI controller of the PIIX3 with two ports, what is plugged in there, and the hubs that make more ports.
//!
//! ```text
//!   guest's frame list --uhci.rs: a frame each ms--> schedule.rs: queues, transfer descriptors --> plugged.rs
//!                        tree.rs: ports, hubs (hub.rs)    hid.rs: control.rs, reports.rs     storage.rs: control.rs, scsi.rs <--'
//!   a person --touch--> uhci.rs --> the tablet, mouse or keyboard that the guest has configured, else the next device of the bus
//! ```

pub mod control;
pub mod hid;
pub mod hub;
pub mod plugged;
pub mod reports;
pub mod schedule;
mod scsi;
pub mod storage;
#[cfg(any(test, feature = "conformance"))]
pub mod subject;
#[cfg(test)]
mod tests;
pub mod tree;
pub mod uhci;

pub use hid::Kind;
pub use plugged::Plug;
pub use tree::{Listed, PlugError};
pub use uhci::Uhci;

/// String descriptor 0: American English alone (USB 1.1, 9.6.5).
const LANGUAGES: [u8; 4] = [4, 3, 0x09, 0x04];

/// The string descriptor of `text`, of at most 126 characters (the same section).
fn text_descriptor(text: &str) -> Vec<u8> {
    let units = text.encode_utf16().flat_map(u16::to_le_bytes);
    let mut all = vec![0, 3];
    all.extend(units);
    all[0] = all.len() as u8;
    all
}
