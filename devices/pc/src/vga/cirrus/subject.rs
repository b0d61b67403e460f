//! The adapter for the conformance suite: packed modes, the blitter, the cursor.

use super::Cirrus;
use crate::conformance::{Step, Subject};
use crate::device::{Region, Turn, Width};
use crate::vga::subject::{bytes, out, pair, planar, poke, text, Shown};
use crate::vga::{Area, Watcher};

/// With a memory smaller than the card's, so that scripts are fast.
pub type Display = Shown<{ 256 << 10 }>;

/// The guest writes the blitter's byte `at` in BAR 1.
pub fn blitter(at: u64, width: Width, value: u32) -> Step {
    Step::Write(Region::Bar(1), 0x100 + at, width, value)
}

/// The guest writes BAR 0.
pub fn draw(at: u64, width: Width, value: u32) -> Step {
    Step::Write(Region::Bar(0), at, width, value)
}

/// 640 by 480 with `mode` in sequencer 7: 1 8 bits, 7 16 bits, 5 24 bits, 9 32 bits.
pub fn packed(mode: u8, pitch: u8) -> Vec<Step> {
    let mut steps = planar();
    steps.extend([
        pair(0x3c4, 6, 0x12),
        pair(0x3c4, 7, mode),
        pair(0x3d4, 0x13, pitch),
    ]);
    steps.push(pair(0x3c4, 4, 0x0e));
    // The hidden register: 16 bits are 5, 6, 5.
    steps.extend([(); 4].map(|()| Step::Read(Region::Ports(0), 0x16, Width::Byte)));
    steps.push(out(0x3c6, 0xe1));
    steps
}

/// Everything of a blit but its start: size, pitches, addresses, mode, operation.
pub fn blit(
    size: (u32, u32),
    pitch: u32,
    to: u32,
    from: u32,
    mode: u32,
    operation: u32,
) -> Vec<Step> {
    vec![
        blitter(0x40, Width::Byte, 4),
        blitter(0x40, Width::Byte, 0),
        blitter(0x08, Width::Dword, (size.1 - 1) << 16 | (size.0 - 1)),
        blitter(0x0c, Width::Dword, pitch << 16 | pitch),
        blitter(0x10, Width::Dword, to),
        blitter(0x14, Width::Dword, from),
        blitter(0x18, Width::Dword, operation << 16 | mode),
    ]
}

/// The guest starts a blit.
pub fn start() -> Step {
    blitter(0x40, Width::Byte, 2)
}

impl Subject for Display {
    type Device = Cirrus;

    fn make(&self) -> Cirrus {
        Cirrus::new(self.memory.clone(), vec![0x55; 5000])
    }

    fn happen(&self, device: &mut Cirrus, choice: u8, turn: &mut Turn) {
        let view = device.view(turn.now);
        let (width, height) = view.size();
        let mut watcher = Watcher::default();
        assert!(!watcher.look(&view).is_empty());
        let area = Area {
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
        let guest: Vec<Step> = (0..16)
            .map(|at| draw(at * 4, Width::Dword, 0x1234_5678))
            .collect();
        let with = |mode: Vec<Step>, more: &[Step]| {
            mode.into_iter().chain(more.to_vec()).collect::<Vec<Step>>()
        };
        let mut from_guest = blit((32, 2), 640, 0x100, 0, 0x84, 0x0d);
        from_guest.push(start());
        from_guest.extend(guest);
        let mut copy = blit((60, 20), 640, 0x2000, 0x100, 0x00, 0x59);
        copy.push(start());
        let cursor = [
            pair(0x3c4, 0x12, 5),
            pair(0x3c4, 0x13, 0x3c),
            pair(0x3c4, 0x30, 9),
            pair(0x3c4, 0x51, 7),
            Step::Happen(0),
            Step::Happen(30),
        ];
        let write = [
            pair(0x3ce, 0x0b, 0x06),
            pair(0x3ce, 5, 4),
            poke(0x10, Width::Byte, 0xa5),
            pair(0x3ce, 9, 3),
        ];
        vec![
            with(packed(1, 80), &from_guest),
            with(packed(7, 160), &copy),
            with(packed(9, 255), &cursor),
            with(packed(5, 240), &write),
            with(text(), &cursor),
            with(bytes(), &write),
        ]
    }
}
