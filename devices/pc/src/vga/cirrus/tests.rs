use super::subject::{blit, blitter, draw, packed, start, Display};
use crate::conformance::{Ram, Run, Step, Subject};
use crate::device::{Region, Width};
use crate::vga::subject::{out, pair, poke};
use crate::vga::{Area, View, Watcher};

fn pixels(view: &View, x: u32, y: u32, width: u32) -> Vec<u32> {
    let mut pixels = Vec::new();
    let area = Area {
        x,
        y,
        width,
        height: 1,
    };
    view.read(area, &mut pixels);
    pixels
}

fn read(run: &mut Run<'_, Display>, region: Region, offset: u64) -> u32 {
    run.step(&Step::Read(region, offset, Width::Byte)).value
}

#[test]
fn firmware_finds_the_chip_and_unlocks_it() {
    let display = Display::new();
    let mut run = Run::new(&display, display.make(), Ram::new());
    let sequencer = |run: &mut Run<'_, Display>, index| {
        run.step(&out(0x3c4, index));
        read(run, Region::Ports(0), 0x15)
    };
    assert_eq!(sequencer(&mut run, 6), 0x0f);
    assert_eq!(sequencer(&mut run, 0x17), 0xff);
    run.step(&pair(0x3c4, 6, 0x92));
    assert_eq!(sequencer(&mut run, 6), 0x12);
    assert_eq!(sequencer(&mut run, 0x0f) & 0x98, 0x98);
    run.step(&out(0x3d4, 0x27));
    assert_eq!(read(&mut run, Region::Ports(0), 0x25), 0xb8);
}

#[test]
fn packed_pixels_are_shown_in_all_depths_and_banked() {
    let display = Display::new();
    let mut run = Run::new(&display, display.make(), Ram::new());
    for (mode, pitch, value, expected) in [
        (7, 160, 0xf800, 0xff_0000),
        (5, 240, 0x12_3456, 0x12_3456),
        (9, 64, 0x65_4321, 0x65_4321),
    ] {
        run.go(&packed(mode, pitch));
        let size = [0, 0, 0, 0, 0, 3, 0, 2, 0, 4][usize::from(mode)];
        run.step(&draw(u64::from(pitch) * 8 + 3 * size, Width::Dword, value));
        let view = run.device().view(0);
        assert_eq!(view.size(), (640, 480));
        assert_eq!(pixels(&view, 3, 1, 1), [expected], "mode {mode}");
    }
    run.go(&packed(1, 80));
    // A bank of 4 KiB.
    run.go(&[pair(0x3ce, 9, 2), poke(5, Width::Byte, 63)]);
    let at = 0x2005;
    let view = run.device().view(0);
    let colour = pixels(&view, at % 640, at / 640, 1)[0];
    assert_eq!(colour, 0xff_007d);
}

#[test]
fn blitter_copies_fills_and_takes_what_the_guest_gives() {
    let display = Display::new();
    let mut run = Run::new(&display, display.make(), Ram::new());
    run.go(&packed(1, 80));
    run.step(&draw(0, Width::Dword, 0x0403_0201));
    run.go(&blit((4, 1), 640, 640 * 2, 0, 0, 0x0d));
    run.step(&start());
    assert_eq!(read(&mut run, Region::Bar(0), 640 * 2 + 3), 4);
    assert_eq!(read(&mut run, Region::Bar(1), 0x140) & 1, 0);
    // Eight pixels from the guest's bits, by way of BAR 0; it must not be mapped meanwhile.
    run.go(&[blitter(0x00, Width::Byte, 7), blitter(0x04, Width::Byte, 9)]);
    run.go(&blit((8, 1), 640, 640, 0, 0x84, 0x0d));
    let seen = run.step(&start());
    assert_eq!(seen.effects.len(), 1);
    assert_eq!(read(&mut run, Region::Bar(1), 0x140) & 1, 1);
    run.step(&draw(0, Width::Byte, 0x81));
    assert_eq!(read(&mut run, Region::Bar(1), 0x140) & 1, 0);
    let row: Vec<u32> = (0..8)
        .map(|at| read(&mut run, Region::Bar(0), 640 + at))
        .collect();
    assert_eq!(row, [9, 7, 7, 7, 7, 7, 7, 9]);
    // One larger than the memory does nothing.
    run.go(&blit((8192, 2048), 8191, 0, 0, 0, 0x00));
    run.step(&start());
    assert_eq!(read(&mut run, Region::Bar(0), 0), 1);
}

#[test]
fn cursor_lies_over_the_picture_and_its_way_is_told() {
    let display = Display::new();
    let mut run = Run::new(&display, display.make(), Ram::new());
    run.go(&packed(9, 64));
    // 32 by 32, number 0: the first pixel of the first colour, the second inverted.
    let planes = (256 << 10) - (16 << 10);
    run.step(&draw(planes, Width::Byte, 0x40));
    run.step(&draw(planes + 128, Width::Byte, 0x80));
    run.go(&[
        pair(0x3c4, 0x12, 3),
        out(0x3c8, 0),
        out(0x3c9, 63),
        out(0x3c9, 0),
        out(0x3c9, 0),
    ]);
    // At 17, 3: three bits are in the index.
    run.go(&[pair(0x3c4, 0x30, 2), pair(0x3c4, 0x71, 0)]);
    let mut watcher = Watcher::default();
    let view = run.device().view(0);
    assert_eq!(pixels(&view, 16, 3, 4), [0, 0xff_0000, 0xff_ffff, 0]);
    watcher.look(&view);
    run.step(&pair(0x3c4, 0x10, 5));
    let changed = watcher.look(&run.device().view(0));
    assert_eq!((changed.len(), changed[0].x, changed[1].x), (2, 17, 40));
}
