//! The card for the conformance suite.

use super::Pcnet;
use crate::conformance::{Step, Subject};
use crate::device::{Device, Region, Turn, Width};
use crate::net::lan::{frame, Lan};
use crate::net::Mac;

/// The card's address.
pub const MAC: Mac = [0, 0x16, 0x3e, 1, 2, 3];
/// Where moves put the block, rings (receive, send) and data (received, to send).
pub const BLOCK: u32 = 0x1000;
/// See [`BLOCK`].
pub const RINGS: [u32; 2] = [0x2000, 0x3000];
/// See [`BLOCK`].
pub const DATA: [u32; 2] = [0x1_0000, 0x2_0000];
/// Entries of each ring, as a power of two, and bytes between two buffers.
pub const ENTRIES: u32 = 2;
/// See [`ENTRIES`].
pub const BUFFER: u32 = 0x800;

/// A card on a LAN.
#[derive(Debug, Clone, Default)]
pub struct Plugged {
    /// It.
    pub lan: Lan,
}

fn word(offset: u64, value: u16) -> Step {
    Step::Write(Region::Bar(0), offset, Width::Word, value.into())
}

/// The guest writes a CSR, by words.
pub fn csr(number: u16, value: u16) -> Vec<Step> {
    vec![word(0x12, number), word(0x10, value)]
}

/// The guest writes a BCR, by words.
pub fn bcr(number: u16, value: u16) -> Vec<Step> {
    vec![word(0x12, number), word(0x16, value)]
}

/// A descriptor of a style: buffer, bytes, status.
pub fn descriptor(style: u16, buffer: u32, bytes: u32, status: u16) -> Vec<u8> {
    let length = (0u16.wrapping_sub(bytes as u16) | 0xf000).to_le_bytes();
    let [low, high] = status.to_le_bytes();
    let at = buffer.to_le_bytes();
    match style {
        0 => [&at[..3], &[high], &length, &[0; 2]].concat(),
        3 => [&[0; 4][..], &length, &[low, high], &at, &[0; 4]].concat(),
        _ => [&at[..], &length, &[low, high], &[0; 8]].concat(),
    }
}

/// Entry `index` of ring 0 (receive) or 1 (send).
pub fn entry(style: u16, ring: usize, index: u32, bytes: u32, status: u16) -> Step {
    let size = if style == 0 { 8 } else { 16 };
    let buffer = DATA[ring] + index * BUFFER;
    let place = RINGS[ring] + index * size;
    Step::Memory(place.into(), descriptor(style, buffer, bytes, status))
}

/// Initialises it, both rings of four, with buffers of 1544 bytes, and starts it.
pub fn start(style: u16, mode: u16) -> Vec<Step> {
    let [low, high] = mode.to_le_bytes();
    let filter = [0, 0, 0, 0, 0, 0, 0, 0x80];
    let rings = RINGS.map(u32::to_le_bytes);
    let tagged = RINGS.map(|ring| (ring | ENTRIES << 29).to_le_bytes());
    let lengths = [(ENTRIES << 4) as u8; 2];
    let block = match style {
        0 => [&[low, high][..], &MAC, &filter, &tagged.concat()].concat(),
        _ => [
            &[low, high],
            &lengths[..],
            &MAC,
            &[0; 2],
            &filter,
            &rings.concat(),
        ]
        .concat(),
    };
    let mut steps = bcr(20, style);
    steps.push(Step::Memory(BLOCK.into(), block));
    for index in 0..1 << ENTRIES {
        steps.push(entry(style, 0, index, 1544, 0x8000));
        steps.push(entry(style, 1, index, 0, 0));
    }
    steps.extend(csr(1, BLOCK as u16));
    steps.extend(csr(2, 0));
    steps.extend(csr(4, 0x0915));
    steps.extend(csr(0, 1));
    steps.extend(csr(0, 0x42));
    steps
}

/// Leaves a frame in one entry of the ring and says so.
pub fn send(style: u16, index: u32, frame: &[u8]) -> Vec<Step> {
    let mut steps = vec![
        Step::Memory((DATA[1] + index * BUFFER).into(), frame.to_vec()),
        entry(style, 1, index, frame.len() as u32, 0x8300),
    ];
    steps.extend(csr(0, 0x48));
    steps
}

impl Subject for Plugged {
    type Device = Pcnet;

    fn make(&self) -> Pcnet {
        Pcnet::new(0, MAC, Box::new(self.lan.clone()), vec![0x55; 512])
    }

    fn happen(&self, device: &mut Pcnet, choice: u8, turn: &mut Turn) {
        let to = [MAC, [0xff; 6], [1, 0, 0x5e, 0, 0, choice], [2; 6]][usize::from(choice % 4)];
        self.lan
            .put(frame(to, 40 + 6 * usize::from(choice), choice));
        device.attend(turn);
    }

    fn moves(&self) -> Vec<Vec<Step>> {
        let again = |style| {
            (0..4)
                .map(|index| entry(style, 0, index, 100, 0x8000))
                .collect()
        };
        let mut all = vec![again(0), again(2), again(3)];
        for style in [0, 2, 3] {
            all.push(start(style, 0));
            all.push(send(style, 0, &frame([9; 6], 200, 3)));
        }
        // Hears itself and everything else; stands still and goes on; by dwords.
        all.push(start(2, 0x8004));
        all.push([csr(5, 1), csr(8, 0xffff), csr(15, 0x8000), csr(5, 0)].concat());
        all.push(vec![
            Step::Write(Region::Bar(1), 0x10, Width::Dword, 0),
            Step::Write(Region::Bar(1), 0x14, Width::Dword, 88),
            Step::Read(Region::Bar(1), 0x10, Width::Dword),
        ]);
        all.push(vec![Step::Happen(4), Step::Pass(2_000_000)]);
        all.push(csr(0, 0x7f44));
        all
    }
}
