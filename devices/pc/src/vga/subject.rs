//! The adapter for the conformance suite: modes as firmware sets them, and somebody who looks.

use super::{Vga, Watcher};
use crate::backing::{Backing, Unmapped};
use crate::conformance::{Step, Subject};
use crate::device::{Region, Turn, Width};
use std::sync::Arc;

/// A memory of so many bytes, which outlives its adapter as a machine's does.
#[derive(Debug)]
pub struct Shown<const BYTES: usize> {
    /// It.
    pub memory: Arc<Unmapped>,
}

impl<const BYTES: usize> Shown<BYTES> {
    /// A clear one.
    pub fn new() -> Shown<BYTES> {
        Shown {
            memory: Arc::new(Unmapped::new(BYTES)),
        }
    }
}

impl<const BYTES: usize> Default for Shown<BYTES> {
    fn default() -> Shown<BYTES> {
        Shown::new()
    }
}

/// With a memory of 1 MiB.
pub type Display = Shown<{ 1 << 20 }>;

/// The guest writes a byte to `port`.
pub fn out(port: u16, value: u8) -> Step {
    Step::Write(
        Region::Ports(0),
        u64::from(port - 0x3b0),
        Width::Byte,
        value.into(),
    )
}

/// The guest writes a register behind an index, both at once.
pub fn pair(port: u16, index: u8, value: u8) -> Step {
    let both = u32::from(value) << 8 | u32::from(index);
    Step::Write(Region::Ports(0), u64::from(port - 0x3b0), Width::Word, both)
}

/// The guest writes a register of dispi.
pub fn dispi(index: u16, value: u16) -> [Step; 2] {
    let word =
        |offset, value: u16| Step::Write(Region::Ports(1), offset, Width::Word, value.into());
    [word(0, index), word(1, value)]
}

/// The guest writes the window at 0xa0000 + `at`.
pub fn poke(at: u64, width: Width, value: u32) -> Step {
    Step::Write(Region::Window(0), at, width, value)
}

/// Everything of a mode: miscellaneous, sequencer, CRT controller, graphics controller, attributes; a palette whose colours
/// are their numbers.
pub fn mode(
    misc: u8,
    sequencer: [u8; 4],
    crt: &[(u8, u8)],
    graphics: [u8; 9],
    attribute: u8,
) -> Vec<Step> {
    let mut steps = vec![out(0x3c2, misc), pair(0x3d4, 0x11, 0)];
    steps.extend(
        (1..)
            .zip(sequencer)
            .map(|(index, value)| pair(0x3c4, index, value)),
    );
    steps.extend(crt.iter().map(|(index, value)| pair(0x3d4, *index, *value)));
    steps.extend(
        (0..)
            .zip(graphics)
            .map(|(index, value)| pair(0x3ce, index, value)),
    );
    steps.push(Step::Read(Region::Ports(0), 0x2a, Width::Byte));
    for index in 0..16 {
        steps.extend([out(0x3c0, index), out(0x3c0, index)]);
    }
    for (index, value) in [(0x10, attribute), (0x12, 0x0f), (0x13, 0), (0x14, 0)] {
        steps.extend([out(0x3c0, index), out(0x3c0, value)]);
    }
    steps.push(out(0x3c0, 0x20));
    steps.push(out(0x3c8, 0));
    for colour in 0..64 {
        steps.extend([
            out(0x3c9, colour),
            out(0x3c9, 63 - colour),
            out(0x3c9, colour / 2),
        ]);
    }
    steps
}

/// 80 columns of 25 lines, 9 by 16 pixels a cell.
pub fn text() -> Vec<Step> {
    let crt = [
        (1, 79),
        (7, 0x1f),
        (9, 0x4f),
        (0x0a, 0x0d),
        (0x0b, 0x0e),
        (0x0c, 0),
        (0x0d, 0),
        (0x0e, 0),
        (0x0f, 5),
        (0x12, 0x8f),
        (0x13, 0x28),
        (0x17, 0xa3),
        (0x18, 0xff),
    ];
    mode(
        0x67,
        [0, 3, 0, 2],
        &crt,
        [0, 0, 0, 0, 0, 0x10, 0x0e, 0, 0xff],
        0x0c,
    )
}

/// 640 by 480 in sixteen colours.
pub fn planar() -> Vec<Step> {
    let crt = [
        (1, 79),
        (7, 0x3e),
        (9, 0x40),
        (0x0c, 0),
        (0x0d, 0),
        (0x12, 0xdf),
        (0x13, 0x28),
        (0x17, 0xe3),
        (0x18, 0xff),
    ];
    mode(
        0xe3,
        [1, 0x0f, 0, 6],
        &crt,
        [0, 0, 0, 0, 0, 0, 5, 0x0f, 0xff],
        1,
    )
}

/// 320 by 200 in 256 colours (mode 13h).
pub fn bytes() -> Vec<Step> {
    let crt = [
        (1, 79),
        (7, 0x1f),
        (9, 0x41),
        (0x0c, 0),
        (0x0d, 0),
        (0x12, 0x8f),
        (0x13, 0x28),
        (0x17, 0xa3),
        (0x18, 0xff),
    ];
    mode(
        0x63,
        [1, 0x0f, 0, 0x0e],
        &crt,
        [0, 0, 0, 0, 0, 0x40, 5, 0x0f, 0xff],
        0x41,
    )
}

/// VBE.
pub fn vbe(width: u16, height: u16, bits: u16) -> Vec<Step> {
    let registers = [(4, 0), (1, width), (2, height), (3, bits), (4, 0x41)];
    registers
        .into_iter()
        .flat_map(|(index, value)| dispi(index, value))
        .collect()
}

impl Subject for Display {
    type Device = Vga;

    fn make(&self) -> Vga {
        Vga::new(self.memory.clone(), vec![0x55; 5000])
    }

    fn happen(&self, device: &mut Vga, choice: u8, turn: &mut Turn) {
        // Whatever the registers hold, a part of the picture can be made.
        let view = device.view(turn.now);
        let (width, height) = view.size();
        let mut watcher = Watcher::default();
        let memory: &dyn Backing = &*self.memory;
        assert!(memory.length() > 0 && !watcher.look(&view).is_empty());
        let area = super::Area {
            x: u32::from(choice) * width / 256,
            y: u32::from(choice) * height / 256,
            width: 40,
            height: 3,
        };
        let mut pixels = Vec::new();
        view.read(area, &mut pixels);
        assert_eq!(pixels.len(), 120);
    }

    fn moves(&self) -> Vec<Vec<Step>> {
        let look = [Step::Happen(0), Step::Happen(77), Step::Happen(255)];
        let draw = [
            poke(0x123, Width::Dword, 0x8142_2418),
            Step::Read(Region::Window(0), 0x124, Width::Word),
            pair(0x3ce, 5, 1),
            poke(0x8_010, Width::Byte, 7),
            pair(0x3ce, 5, 0x0b),
            Step::Read(Region::Window(0), 0x10, Width::Byte),
        ];
        let modes = [
            text(),
            planar(),
            bytes(),
            vbe(800, 600, 16),
            vbe(640, 400, 4),
            vbe(4096, 4096, 24),
        ];
        let with = |mode: Vec<Step>| {
            mode.into_iter()
                .chain(draw.clone())
                .chain(look.clone())
                .collect()
        };
        modes.into_iter().map(with).collect()
    }
}
