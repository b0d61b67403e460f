//! Network cards, and what they share.
//!
//! ```text
//!   guest's ring --> card --Cable::send--> tap        offload.rs: checksums, cutting large segments
//!   guest's ring <-- card <--Cable::receive-- attend  microwire.rs: the serial EEPROM beside a card
//! ```
//! A card takes frames from the cable only while it has room for them; what the cable cannot keep is lost, as on a wire.

pub mod e1000;
#[cfg(any(test, feature = "conformance"))]
pub(crate) mod lan;
mod microwire;
pub mod ne2k;
mod offload;
pub mod pcnet;
pub mod rtl8139;

use crate::device::Width;
use crate::pci::{Function, Identity};
use std::fmt::Debug;

/// Bytes of a frame with a VLAN tag and without its check sequence.
pub const MAX_FRAME: usize = 1518;
/// Bytes of the shortest frame without its check sequence (IEEE 802.3, 4A.2.3.2.4).
const MIN_FRAME: usize = 60;
/// Frames that a card takes from its cable in one go.
const FRAMES: usize = 256;

/// Bytes of a card's expansion ROM's window.
const ROM: u32 = 128 << 10;

/// What every card says of itself: an Ethernet controller on INTA; each names itself besides.
const CARD: Identity = Identity {
    vendor: 0,
    device: 0,
    class: 0x02_0000,
    revision: 0,
    subsystem: (0, 0),
    pin: 1,
    multifunction: false,
};

/// The function with a window for `rom`, unless that is empty.
fn with_rom(function: Function, rom: &[u8]) -> Function {
    match rom.is_empty() {
        true => function,
        false => function.with_rom(ROM),
    }
}

/// What the window for `rom` reads at `offset`; behind its end, ones.
fn read_rom(rom: &[u8], offset: u64, width: Width) -> u32 {
    (0..width.bytes() as u64).rev().fold(0, |value, at| {
        let byte = usize::try_from(offset + at).ok().and_then(|at| rom.get(at));
        value << 8 | u32::from(byte.copied().unwrap_or(0xff))
    })
}

/// What a card is plugged into.
pub trait Cable: Send + Debug {
    /// Sends a frame, without its check sequence; it never waits, and may lose it.
    fn send(&mut self, frame: &[u8]);

    /// The next frame that has come, without its check sequence, in the place of what was in `into`; false: there is none.
    fn receive(&mut self, into: &mut Vec<u8>) -> bool;

    /// Whether somebody is at the other end.
    fn is_up(&self) -> bool {
        true
    }
}

/// Nothing plugged in.
#[derive(Debug, Clone, Copy, Default)]
pub struct Loose;

impl Cable for Loose {
    fn send(&mut self, _frame: &[u8]) {}
    fn receive(&mut self, _into: &mut Vec<u8>) -> bool {
        false
    }
    fn is_up(&self) -> bool {
        false
    }
}

/// What comes while a card does not listen is lost.
fn lose(cable: &mut dyn Cable) {
    let mut frame = Vec::new();
    for _ in 0..FRAMES {
        if !cable.receive(&mut frame) {
            return;
        }
    }
}

/// An Ethernet address.
pub type Mac = [u8; 6];

/// Fills a frame up to the shortest length.
fn pad(frame: &mut Vec<u8>) {
    if frame.len() < MIN_FRAME {
        frame.resize(MIN_FRAME, 0);
    }
}

/// CRC-32 of an address with the most significant bit first, by whose upper bits cards filter multicast.
fn hash(mac: &[u8]) -> u32 {
    (!crc32fast::hash(mac)).reverse_bits()
}

/// The same with the least significant bit first.
fn hash_le(mac: &[u8]) -> u32 {
    !crc32fast::hash(mac)
}

/// Which frames a card takes, by their destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum To {
    /// This card's address, or another's.
    One,
    /// A group.
    Many,
    /// All.
    All,
}

fn to(frame: &[u8]) -> To {
    match frame {
        [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, ..] => To::All,
        [first, ..] if first & 1 != 0 => To::Many,
        _ => To::One,
    }
}
