//! The card for the conformance suite.

use super::registers::*;
use super::Rtl8139;
use crate::conformance::{Step, Subject};
use crate::device::{Device, Region, Turn, Width};
use crate::net::lan::{frame, Lan};
use crate::net::{offload, Mac};

/// The card's address.
pub const MAC: Mac = [0, 0x16, 0x3e, 1, 2, 3];
/// Where moves put rings and data.
pub const RING: u32 = 0x2000;
/// See [`RING`].
pub const DATA: u32 = 0x1_0000;

/// The guest writes a register.
pub fn set(at: usize, width: Width, value: u32) -> Step {
    Step::Write(Region::Bar(1), at as u64, width, value)
}

/// A descriptor of a C+ ring.
pub fn descriptor(command: u32, tag: u32, buffer: u32) -> Vec<u8> {
    [
        command.to_le_bytes(),
        tag.to_le_bytes(),
        buffer.to_le_bytes(),
        [0; 4],
    ]
    .concat()
}

/// Receives everything into 8 KiB at [`DATA`], C mode.
pub fn listen() -> Vec<Step> {
    vec![
        set(RBSTART, Width::Dword, DATA),
        set(COMMAND, Width::Byte, 0x0c),
        set(RCR, Width::Dword, 0x0f),
        set(IMR, Width::Word, 0xc1ff),
    ]
}

/// C+ mode, both rings.
pub fn listen_plus() -> Vec<Step> {
    let own = 0x8000_0000u32;
    let ring = [
        descriptor(own | 0x600, 0, DATA),
        descriptor(own | 0x4000_0600, 0, DATA + 0x800),
    ];
    vec![
        Step::Memory(RING.into(), ring.concat()),
        set(RDSAR, Width::Dword, RING),
        set(TNPDS, Width::Dword, RING + 0x400),
        set(CPLUS, Width::Word, 0x23),
        set(COMMAND, Width::Byte, 0x0c),
        set(RCR, Width::Dword, 0x0f),
        set(IMR, Width::Word, 0xc1ff),
    ]
}

impl Subject for Lan {
    type Device = Rtl8139;

    fn make(&self) -> Rtl8139 {
        Rtl8139::new(0, MAC, Box::new(self.clone()), vec![0x55; 512])
    }

    fn happen(&self, device: &mut Rtl8139, choice: u8, turn: &mut Turn) {
        let to = [MAC, [0xff; 6], [1, 0, 0x5e, 0, 0, choice], [2; 6]][usize::from(choice % 4)];
        self.put(frame(to, 40 + 6 * usize::from(choice), choice));
        device.attend(turn);
    }

    fn moves(&self) -> Vec<Vec<Step>> {
        let own = 0xf000_0000u32;
        let send = |word: u32| {
            vec![
                Step::Memory(DATA.into(), offload::tcp(3000)),
                Step::Memory(u64::from(RING) + 0x400, descriptor(own | word, 0, DATA)),
                set(POLL, Width::Byte, 0x40),
            ]
        };
        let mut bits = vec![set(EEPROM, Width::Byte, 0x88)];
        for bit in [1, 1, 0, 0, 0, 0, 1, 1, 1] {
            bits.push(set(EEPROM, Width::Byte, 0x88 | bit << 1));
            bits.push(set(EEPROM, Width::Byte, 0x8c | bit << 1));
        }
        vec![
            listen(),
            listen_plus(),
            vec![
                Step::Memory(DATA.into(), frame([9; 6], 100, 3)),
                set(TSAD, Width::Dword, DATA),
                set(TSD, Width::Dword, 100),
                set(ISR, Width::Word, 0xffff),
            ],
            send(0x0007_0000 | 600),
            send(0x0800_0000 | 1000 << 16 | 3054),
            vec![
                Step::Happen(4),
                Step::Read(Region::Bar(0), ISR as u64, Width::Word),
            ],
            vec![set(CAPR, Width::Word, 0x40), set(ISR, Width::Word, 1)],
            vec![
                set(TIMER_INT, Width::Dword, 33_000),
                set(TCTR, Width::Dword, 0),
                Step::Pass(1_000_001),
            ],
            bits,
        ]
    }
}
