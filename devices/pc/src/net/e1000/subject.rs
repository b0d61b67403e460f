//! The card for the conformance suite.

use super::registers::*;
use super::E1000;
use crate::conformance::{Step, Subject};
use crate::device::{Device, Region, Turn, Width};
use crate::net::lan::{frame, Lan};
use crate::net::{offload, Mac};

/// The card's address.
pub const MAC: Mac = [0, 0x16, 0x3e, 4, 5, 6];
/// Where moves put rings and data.
pub const RECEIVE: u32 = 0x2000;
/// See [`RECEIVE`].
pub const TRANSMIT: u32 = 0x3000;
/// See [`RECEIVE`].
pub const DATA: u32 = 0x1_0000;
/// Buffers begin there.
pub const BUFFERS: u32 = 0x2_0000;

/// A cable with this card.
#[derive(Debug, Default)]
pub struct Plugged(pub Lan);

/// The guest writes a register.
pub fn set(at: u32, value: u32) -> Step {
    Step::Write(Region::Bar(0), at.into(), Width::Dword, value)
}

/// Eight buffers to receive into, eight places to send from; all is enabled.
pub fn start() -> Vec<Step> {
    let ring = (0..8u64).flat_map(|at| {
        let address = u64::from(BUFFERS) + at * 2048;
        [address.to_le_bytes(), [0; 8]].concat()
    });
    vec![
        Step::Memory(RECEIVE.into(), ring.collect()),
        set(RDBAL, RECEIVE),
        set(RDLEN, 128),
        set(RDT, 7),
        set(TDBAL, TRANSMIT),
        set(TDLEN, 128),
        set(0xd0, 0x9f),
        set(TCTL, 0x2),
        set(RCTL, 0x0400_8002),
    ]
}

/// A descriptor: address, length and command, the last word.
pub fn descriptor(address: u32, word: u32, last: u32) -> Vec<u8> {
    [
        address.to_le_bytes(),
        [0; 4],
        word.to_le_bytes(),
        last.to_le_bytes(),
    ]
    .concat()
}

/// A context for IPv4 and TCP in [`offload::tcp`]'s frames.
pub fn context(large: bool, segment: u16) -> Vec<u8> {
    let words: [u32; 4] = [
        14 | 24 << 8 | 33 << 16,
        34 | 50 << 8,
        if large { 0x2500_0000 } else { 0x2000_0000 },
        u32::from(segment) << 16 | 54 << 8,
    ];
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

impl Subject for Plugged {
    type Device = E1000;

    fn make(&self) -> E1000 {
        E1000::new(0, MAC, Box::new(self.0.clone()), vec![0x55; 512])
    }

    fn happen(&self, device: &mut E1000, choice: u8, turn: &mut Turn) {
        let to = [MAC, [0xff; 6], [1, 0, 0x5e, 0, 0, choice], [2; 6]][usize::from(choice % 4)];
        self.0.put(frame(to, 40 + 6 * usize::from(choice), choice));
        device.attend(turn);
    }

    fn moves(&self) -> Vec<Vec<Step>> {
        let send = |descriptors: Vec<Vec<u8>>| {
            let tail = descriptors.len() as u32;
            vec![
                Step::Memory(DATA.into(), offload::tcp(3000)),
                Step::Memory(TRANSMIT.into(), descriptors.concat()),
                set(TDH, 0),
                set(TDT, tail),
            ]
        };
        let mut bits = vec![set(0x10, 0x42)];
        for bit in [1, 1, 0, 0, 0, 0, 0, 0, 1, 0, 0] {
            bits.push(set(0x10, 0x42 | bit << 2));
            bits.push(set(0x10, 0x43 | bit << 2));
        }
        vec![
            start(),
            send(vec![descriptor(DATA, 0x0b00_0000 | 600, 0)]),
            send(vec![
                context(false, 0),
                descriptor(DATA, 0x2b10_0000 | 600, 0x0300),
            ]),
            send(vec![
                context(true, 1000),
                descriptor(DATA, 0x2f10_0000 | 3054, 0x0300),
            ]),
            vec![
                Step::Happen(4),
                Step::Read(Region::Bar(0), 0xc0, Width::Dword),
            ],
            vec![set(RDT, 3), set(RDT, 7)],
            vec![set(0x20, 0x0821_0000), set(0x14, 0x0101)],
            vec![
                Step::Write(Region::Bar(1), 0, Width::Dword, 0x08),
                Step::Read(Region::Bar(1), 4, Width::Dword),
            ],
            bits,
        ]
    }
}
