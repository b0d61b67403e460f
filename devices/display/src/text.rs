//! A screen of text, drawn by us: what a terminal shows of the bytes that are written to it.
//!
//! ```text
//!   bytes --vt100--> cells --look--> rows that changed        Surface::read: cells --font--> pixels
//! ```
//! The bytes may be a guest's. Memory is bounded by the cells and [`SCROLLBACK`] lines above them.

use crate::surface::{Size, Surface};
use noto_sans_mono_bitmap::{get_raster, get_raster_width, FontWeight, RasterHeight};
use noxen_control::screen::Part;
use std::num::NonZeroU16;
use vt100::{Color, Parser};

/// Lines kept of what has left the screen at its top.
pub const SCROLLBACK: usize = 400;
/// Characters of a line.
pub const COLUMNS: u16 = 80;
/// Lines.
pub const ROWS: u16 = 25;
/// Most bytes taken as one piece, so that a sequence without an end costs no more.
const PIECE: usize = 4096;

const FONT: RasterHeight = RasterHeight::Size16;
const WEIGHT: FontWeight = FontWeight::Regular;
/// Pixels of a character, across and down.
const ACROSS: u32 = get_raster_width(WEIGHT, FONT) as u32;
const DOWN: u32 = 16;

const FORE: u32 = 0xaa_aaaa;
const BACK: u32 = 0;
/// The sixteen colours of a VGA, in the order of ECMA-48.
const COLOURS: [u32; 16] = [
    0x00_0000, 0xaa_0000, 0x00_aa00, 0xaa_5500, 0x00_00aa, 0xaa_00aa, 0x00_aaaa, 0xaa_aaaa,
    0x55_5555, 0xff_5555, 0x55_ff55, 0xff_ff55, 0x55_55ff, 0xff_55ff, 0x55_ffff, 0xff_ffff,
];

/// One character as it is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cell {
    character: char,
    fore: u32,
    back: u32,
}

const EMPTY: Cell = Cell {
    character: ' ',
    fore: FORE,
    back: BACK,
};

/// See the module.
pub struct Text {
    parser: Parser,
    /// What [`Text::look`] saw last, row after row.
    cells: Vec<Cell>,
}

impl std::fmt::Debug for Text {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Text").finish_non_exhaustive()
    }
}

impl Default for Text {
    fn default() -> Text {
        Text::new()
    }
}

impl Text {
    /// Nothing is written yet.
    pub fn new() -> Text {
        let side = |count| NonZeroU16::new(count).unwrap_or(NonZeroU16::MIN);
        Text {
            parser: Parser::new(side(ROWS), side(COLUMNS), SCROLLBACK),
            cells: vec![EMPTY; usize::from(ROWS) * usize::from(COLUMNS)],
        }
    }

    /// Writes, as a program does to a terminal.
    pub fn write(&mut self, bytes: &[u8]) {
        self.scroll_to(0);
        bytes
            .chunks(PIECE)
            .for_each(|piece| self.parser.process(piece));
    }

    /// Arrow keys send what an application asked for, not what a line editor wants.
    pub fn keys_are_an_applications(&self) -> bool {
        self.parser.screen().application_cursor()
    }

    /// Shows lines that have left the screen, `rows` further up (or down again, if negative).
    pub fn scroll(&mut self, rows: isize) {
        let at = self.parser.screen().scrollback();
        self.scroll_to(at.saturating_add_signed(rows));
    }

    fn scroll_to(&mut self, rows: usize) {
        self.parser.screen_mut().set_scrollback(rows);
    }

    /// The text on it, line by line.
    pub fn contents(&self) -> String {
        self.parser.screen().contents()
    }

    /// What has changed since the last look.
    pub fn look(&mut self) -> Vec<Part> {
        let mut changed = Vec::new();
        for row in 0..ROWS {
            let now: Vec<Cell> = (0..COLUMNS).map(|column| self.cell(row, column)).collect();
            let first = usize::from(row) * usize::from(COLUMNS);
            let known = &mut self.cells[first..first + usize::from(COLUMNS)];
            if known != now.as_slice() {
                known.copy_from_slice(&now);
                changed.push(Part {
                    x: 0,
                    y: u32::from(row) * DOWN,
                    width: u32::from(COLUMNS) * ACROSS,
                    height: DOWN,
                });
            }
        }
        changed
    }

    fn cell(&self, row: u16, column: u16) -> Cell {
        let screen = self.parser.screen();
        let Some(cell) = screen.cell(row, column) else {
            return EMPTY;
        };
        let mut fore = colour(cell.fgcolor(), cell.bold()).unwrap_or(FORE);
        let mut back = colour(cell.bgcolor(), false).unwrap_or(BACK);
        let is_cursor = screen.cursor_position() == (row, column)
            && !screen.hide_cursor()
            && screen.scrollback() == 0;
        if cell.inverse() != is_cursor {
            std::mem::swap(&mut fore, &mut back);
        }
        Cell {
            character: cell.contents().chars().next().unwrap_or(' '),
            fore,
            back,
        }
    }
}

/// A colour as `0x00RRGGBB`; none: the usual one.
fn colour(colour: Color, bold: bool) -> Option<u32> {
    match colour {
        Color::Default if bold => Some(COLOURS[15]),
        Color::Default => None,
        Color::Idx(index @ 0..=7) if bold => Some(COLOURS[usize::from(index) + 8]),
        Color::Idx(index @ 0..=15) => Some(COLOURS[usize::from(index)]),
        // A cube of six levels a colour, then 24 greys.
        Color::Idx(index @ 16..=231) => {
            let level = |part: u8| match part % 6 {
                0 => 0,
                part => 55 + 40 * u32::from(part),
            };
            let index = index - 16;
            Some(level(index / 36) << 16 | level(index / 6) << 8 | level(index))
        }
        Color::Idx(index) => Some((8 + 10 * u32::from(index - 232)) * 0x01_0101),
        Color::Rgb(red, green, blue) => Some(u32::from_be_bytes([0, red, green, blue])),
    }
}

/// The character in whose place another stands that the font does not have.
fn instead(character: char) -> char {
    match character {
        '─' | '━' | '═' => '-',
        '│' | '┃' | '║' => '|',
        '\u{2500}'..='\u{257f}' => '+',
        '\u{2580}'..='\u{259f}' => '#',
        _ => '?',
    }
}

/// How much of `fore` a pixel has, 0 to 255.
fn intensity(character: char, x: u32, y: u32) -> u8 {
    let glyph = get_raster(character, WEIGHT, FONT)
        .or_else(|| get_raster(instead(character), WEIGHT, FONT));
    let pixel = glyph.and_then(|glyph| glyph.pixel(x as usize, y as usize));
    pixel.unwrap_or(0)
}

fn mixed(cell: Cell, intensity: u8) -> u32 {
    let part = |shift: u32| {
        let (fore, back) = (cell.fore >> shift & 0xff, cell.back >> shift & 0xff);
        let strength = u32::from(intensity);
        ((fore * strength + back * (255 - strength)) / 255) << shift
    };
    part(16) | part(8) | part(0)
}

impl Surface for Text {
    fn size(&self) -> Size {
        Size::new(u32::from(COLUMNS) * ACROSS, u32::from(ROWS) * DOWN)
    }

    fn read(&self, part: Part, into: &mut Vec<u32>) {
        let pixel = |x: u32, y: u32| {
            let (column, row) = (x / ACROSS, y / DOWN);
            let outside = column >= COLUMNS.into() || row >= ROWS.into();
            let at = (row * u32::from(COLUMNS) + column) as usize;
            match self.cells.get(at).filter(|_| !outside) {
                Some(Cell {
                    character: ' ',
                    back,
                    ..
                }) => *back,
                Some(cell) => mixed(*cell, intensity(cell.character, x % ACROSS, y % DOWN)),
                None => 0,
            }
        };
        for y in 0..part.height {
            for x in 0..part.width {
                into.push(pixel(part.x.saturating_add(x), part.y.saturating_add(y)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rows(parts: &[Part]) -> Vec<u32> {
        parts.iter().map(|part| part.y / DOWN).collect()
    }

    fn pixels(text: &Text, part: Part) -> Vec<u32> {
        let mut pixels = Vec::new();
        text.read(part, &mut pixels);
        pixels
    }

    #[test]
    fn rows_that_changed_are_told_once() {
        let mut text = Text::new();
        // The cursor appears.
        assert_eq!(rows(&text.look()), [0]);
        text.write(b"\r\nhello\x1b[5;1Hthere");
        assert_eq!(rows(&text.look()), [0, 1, 4]);
        assert!(text.look().is_empty());
        assert_eq!(text.contents().trim_end(), "\nhello\n\n\nthere");
    }

    #[test]
    fn characters_are_drawn_in_their_colours() {
        let mut text = Text::new();
        text.write("\x1b[31;44m│A\x1b[0m \x1b[7m \x1b[0m".as_bytes());
        text.look();
        let cell = |column: u32| Part {
            x: column * ACROSS,
            y: 0,
            width: ACROSS,
            height: DOWN,
        };
        let letter = pixels(&text, cell(1));
        assert_eq!(letter.len() as u32, ACROSS * DOWN);
        assert!(letter.contains(&0xaa) && letter.iter().any(|pixel| pixel >> 16 > 0x80));
        // A line that the font does not have is still one.
        assert!(pixels(&text, cell(0))
            .iter()
            .any(|pixel| pixel >> 16 > 0x80));
        assert!(pixels(&text, cell(2)).iter().all(|pixel| *pixel == 0));
        assert!(pixels(&text, cell(3)).iter().all(|pixel| *pixel == FORE));
        // The cursor behind it, and nothing beyond the screen.
        assert!(pixels(&text, cell(4)).iter().all(|pixel| *pixel == FORE));
        assert!(pixels(&text, cell(COLUMNS.into()))
            .iter()
            .all(|pixel| *pixel == 0));
    }

    #[test]
    fn lines_that_left_come_back_until_something_is_written() {
        let mut text = Text::new();
        (0..600).for_each(|line| text.write(format!("{line}\r\n").as_bytes()));
        text.scroll(24);
        assert!(text.contents().starts_with("552\n"), "{}", text.contents());
        text.scroll(100_000);
        let oldest: usize = text.contents().lines().next().unwrap().parse().unwrap();
        assert!(oldest > 100, "{oldest}");
        text.scroll(isize::MIN);
        assert!(text.contents().starts_with("576\n"));
        text.scroll(9);
        text.write(b"x");
        assert!(text.contents().trim_end().ends_with("599\nx"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn whatever_is_written_it_is_drawn(
            pieces in proptest::collection::vec(
                prop_oneof![
                    proptest::collection::vec(any::<u8>(), 0..80),
                    "\x1b\\[[0-9;?]{0,12}[@-~]".prop_map(String::into_bytes),
                    "\\PC{0,90}".prop_map(String::into_bytes),
                ],
                0..40,
            ),
            up in any::<i16>(),
        ) {
            let mut text = Text::new();
            for piece in pieces {
                text.write(&piece);
                text.scroll(isize::from(up));
                text.look();
            }
            prop_assert_eq!(pixels(&text, text.size().whole()).len(), 560 * 400);
        }
    }
}
