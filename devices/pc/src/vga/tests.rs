use super::subject::{bytes, dispi, out, pair, planar, poke, text, vbe, Display};
use super::*;
use crate::conformance::{Ram, Run, Step, Subject};

struct Machine {
    display: Display,
}

impl Machine {
    fn new() -> Machine {
        Machine {
            display: Display::new(),
        }
    }

    fn run(&self) -> Run<'_, Display> {
        Run::new(&self.display, self.display.make(), Ram::new())
    }
}

fn pixels(view: &View, x: u32, y: u32, width: u32, height: u32) -> Vec<u32> {
    let mut pixels = Vec::new();
    let area = Area {
        x,
        y,
        width,
        height,
    };
    view.read(area, &mut pixels);
    pixels
}

/// What the palette of [`subject::mode`] makes of `index`.
fn colour(index: u32) -> u32 {
    let wide = |part: u32| part << 2 | part >> 4;
    wide(index) << 16 | wide(63 - index) << 8 | wide(index / 2)
}

fn read(run: &mut Run<'_, Display>, at: u64) -> u32 {
    run.step(&Step::Read(Region::Window(0), at, Width::Byte))
        .value
}

#[test]
fn text_has_glyphs_colours_and_a_cursor() {
    let machine = Machine::new();
    let mut run = machine.run();
    run.go(&text());
    // A glyph of 'A' into plane 2, planar; then back to odd and even.
    run.go(&[
        pair(0x3c4, 2, 4),
        pair(0x3c4, 4, 6),
        pair(0x3ce, 5, 0),
        pair(0x3ce, 6, 4),
    ]);
    run.step(&poke(0x41 * 32 + 3, Width::Byte, 0x81));
    run.go(&[
        pair(0x3c4, 2, 3),
        pair(0x3c4, 4, 2),
        pair(0x3ce, 5, 0x10),
        pair(0x3ce, 6, 0x0e),
    ]);
    // Second row, third column; 0xb8000 is 0x18000 into the window.
    run.step(&poke(0x1_8000 + 160 + 4, Width::Word, 0x1e41));
    let view = run.device().view(0);
    assert_eq!(view.size(), (720, 400));
    let line = pixels(&view, 18, 16 + 3, 9, 1);
    assert_eq!((line[0], line[7]), (colour(14), colour(14)));
    assert!(line[1..7].iter().all(|pixel| *pixel == colour(1)) && line[8] == colour(1));
    // The cursor: cell 5 of the first row, lines 13 and 14, white on black's foreground 0.
    assert_eq!(read(&mut run, 0x1_8000 + 160 + 4), 0x41);
    run.step(&poke(0x1_8000 + 11, Width::Byte, 0x07));
    let view = run.device().view(0);
    assert_eq!(pixels(&view, 45, 13, 1, 2), [colour(7); 2]);
    assert_eq!(pixels(&view, 45, 12, 1, 1), [colour(0)]);
    // A quarter of a second later it is not there.
    let later = run.device().view(240_000_000);
    assert_eq!(pixels(&later, 45, 13, 1, 1), [colour(0)]);
}

#[test]
fn watcher_sees_the_cells_that_changed() {
    let machine = Machine::new();
    let mut run = machine.run();
    run.go(&text());
    let mut watcher = Watcher::default();
    assert_eq!(watcher.look(&run.device().view(0))[0].height, 400);
    assert!(watcher.look(&run.device().view(0)).is_empty());
    run.step(&poke(0x1_8000 + 160 * 3 + 20, Width::Dword, 0x0742_0741));
    let changed = watcher.look(&run.device().view(0));
    let expected = Area {
        x: 90,
        y: 48,
        width: 18,
        height: 16,
    };
    assert_eq!(changed, [expected]);
    // The cursor goes away.
    let changed = watcher.look(&run.device().view(240_000_000));
    assert_eq!((changed[0].x, changed[0].width), (45, 9));
    // Another glyph, beyond the cells' pages.
    run.go(&[
        pair(0x3c4, 2, 4),
        pair(0x3c4, 4, 6),
        pair(0x3ce, 5, 0),
        pair(0x3ce, 6, 4),
    ]);
    run.step(&poke(0xf0 * 32, Width::Byte, 0xff));
    run.go(&[
        pair(0x3c4, 2, 3),
        pair(0x3c4, 4, 2),
        pair(0x3ce, 5, 0x10),
        pair(0x3ce, 6, 0x0e),
    ]);
    assert_eq!(watcher.look(&run.device().view(240_000_000))[0].height, 400);
}

#[test]
fn planes_are_written_in_all_four_modes() {
    let machine = Machine::new();
    let mut run = machine.run();
    run.go(&planar());
    // Mode 0 with set/reset: colour 5 where the bit mask lets it.
    run.go(&[
        pair(0x3ce, 0, 5),
        pair(0x3ce, 1, 0x0f),
        pair(0x3ce, 8, 0xf0),
    ]);
    read(&mut run, 80);
    run.step(&poke(80, Width::Byte, 0));
    let view = run.device().view(0);
    assert_eq!(view.size(), (640, 480));
    assert_eq!(
        pixels(&view, 0, 1, 8, 1),
        [[colour(5); 4], [colour(0); 4]].concat()
    );
    // Mode 1: latches are copied.
    run.step(&pair(0x3ce, 5, 1));
    read(&mut run, 80);
    run.step(&poke(81, Width::Byte, 0x77));
    assert_eq!(pixels(&run.device().view(0), 8, 1, 2, 1), [colour(5); 2]);
    // Mode 2: the value is a colour; exclusive or with the latches.
    run.go(&[pair(0x3ce, 5, 2), pair(0x3ce, 3, 0x18)]);
    read(&mut run, 81);
    run.step(&poke(81, Width::Byte, 0x0f));
    assert_eq!(pixels(&run.device().view(0), 8, 1, 1, 1), [colour(10)]);
    // Mode 3: the value is a mask for the colour of set/reset.
    run.go(&[
        pair(0x3ce, 5, 3),
        pair(0x3ce, 3, 0),
        pair(0x3ce, 8, 0xff),
        pair(0x3ce, 0, 9),
    ]);
    read(&mut run, 82);
    run.step(&poke(82, Width::Byte, 0x01));
    assert_eq!(
        pixels(&run.device().view(0), 22, 1, 2, 1),
        [colour(0), colour(9)]
    );
    // Reading: a plane, and a comparison with a colour.
    run.go(&[pair(0x3ce, 4, 3), pair(0x3ce, 5, 0)]);
    assert_eq!(read(&mut run, 82), 1);
    run.go(&[pair(0x3ce, 2, 9), pair(0x3ce, 7, 0x0f), pair(0x3ce, 5, 8)]);
    assert_eq!(read(&mut run, 82), 1);
}

#[test]
fn bytes_of_mode_13h_are_pixels_twice_as_large() {
    let machine = Machine::new();
    let mut run = machine.run();
    run.go(&bytes());
    run.step(&poke(320 + 2, Width::Word, 0x2010));
    let view = run.device().view(0);
    assert_eq!(view.size(), (640, 400));
    let line = [
        colour(0),
        colour(16),
        colour(16),
        colour(32),
        colour(32),
        colour(0),
    ];
    assert_eq!(pixels(&view, 3, 2, 6, 1), line);
    assert_eq!(pixels(&view, 3, 3, 6, 1), line);
}

#[test]
fn vbe_shows_all_depths_and_lines_that_were_written() {
    let machine = Machine::new();
    let mut run = machine.run();
    run.go(&text());
    for (bits, value, expected) in [
        (8, 7, colour(7)),
        (15, 0x7c00, 0xff_0000),
        (16, 0x07e0, 0x00_ff00),
        (24, 0x12_3456, 0x12_3456),
        (32, 0xff12_3456, 0x12_3456),
    ] {
        run.go(&vbe(640, 300, bits));
        let pitch = 640 * u64::from(bits.div_ceil(8));
        let pixel = u64::from(bits.div_ceil(8));
        let mut watcher = Watcher::default();
        assert_eq!(watcher.look(&run.device().view(0))[0].height, 300);
        run.step(&Step::Write(
            Region::Bar(0),
            100 * pitch + 5 * pixel,
            Width::Dword,
            value,
        ));
        let view = run.device().view(0);
        assert_eq!(view.size(), (640, 300));
        assert_eq!(
            pixels(&view, 4, 100, 2, 1),
            [colour(0) * u32::from(bits == 8), expected],
            "{bits} bits"
        );
        let changed = watcher.look(&view);
        assert_eq!(changed.len(), 1);
        let lines = changed[0].y..changed[0].y + changed[0].height;
        assert!(lines.contains(&100) && lines.len() <= 8, "{lines:?}");
    }
    // Through the window, a bank of 64 KiB at a time.
    run.go(&vbe(640, 300, 8));
    run.go(&dispi(5, 2));
    run.step(&poke(7, Width::Byte, 3));
    let at = 0x2_0007u32;
    let view = run.device().view(0);
    assert_eq!(pixels(&view, at % 640, at / 640, 1, 1), [colour(3)]);
    run.go(&dispi(4, 0));
    run.go(&text());
    assert_eq!(run.device().view(0).size(), (720, 400));
}

#[test]
fn dark_display_is_black_and_parts_outside_are_filled() {
    let machine = Machine::new();
    let mut run = machine.run();
    let view = run.device().view(0);
    assert_eq!(pixels(&view, 0, 0, 3, 1), [0; 3]);
    run.go(&bytes());
    let view = run.device().view(0);
    assert_eq!(pixels(&view, 639, 399, 3, 2).len(), 6);
    run.step(&out(0x3c0, 0));
    assert_eq!(run.device().view(0).size(), (640, 400));
}
