//! Text modes: cells of a character and its colours, glyphs from plane 2, a cursor, blinking.

use super::registers::Registers;
use super::view::{Area, View};
use crate::backing::{Pages, PAGE};

/// Bytes of a font: 256 glyphs of 32 lines, in one plane of four.
const FONT: u64 = 256 * 32 * 4;
/// How long the cursor is there, and then not, ns: sixteen frames of seventy a second.
const CURSOR: u64 = 16 * 1_000_000_000 / 70;
/// The same for blinking characters.
const BLINK: u64 = 2 * CURSOR;

/// The form of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Text {
    columns: u32,
    rows: u32,
    /// Pixels of a cell.
    size: (u32, u32),
    /// The ninth column of a line graphic is its eighth.
    joined: bool,
    /// Attribute bit 7 means blinking.
    blinks: bool,
    /// Blinking characters are not there now.
    hidden: bool,
    /// Fonts for attribute bit 3 clear and set: where in the memory.
    fonts: [u64; 2],
    /// Cell, first line, last line.
    cursor: Option<(u32, u32, u32)>,
}

/// A cell as it looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cell {
    character: u8,
    /// With bit 7 only if it does not mean blinking.
    attribute: u8,
    hidden: bool,
    cursor: bool,
}

impl Text {
    pub(super) fn new(registers: &Registers, columns: u32, height: u32, now: u64) -> Text {
        let crt = |index: usize| u32::from(registers.crt[index]);
        let line = (crt(9) & 0x1f) + 1;
        let width = if registers.sequencer[1] & 1 != 0 {
            8
        } else {
            9
        };
        let maps = u64::from(registers.sequencer[3]);
        let font = |high: u64, low: u64| (high & 1 | (low & 3) << 1) * FONT;
        // A cell's byte is at four times its number here, so the start counts cells.
        let start = crt(0x0c) << 8 | crt(0x0d);
        let place = (crt(0x0e) << 8 | crt(0x0f)).checked_sub(start);
        let (first, last) = (crt(0x0a) & 0x1f, (crt(0x0b) & 0x1f).min(line - 1));
        let on = crt(0x0a) & 0x20 == 0 && first <= last && (now / CURSOR).is_multiple_of(2);
        let blinks = registers.attribute[0x10] & 8 != 0;
        Text {
            columns,
            rows: height / line,
            size: (width, line),
            joined: registers.attribute[0x10] & 4 != 0,
            blinks,
            hidden: blinks && now / BLINK % 2 == 1,
            fonts: [font(maps >> 4, maps), font(maps >> 5, maps >> 2)],
            cursor: place.filter(|_| on).map(|place| (place, first, last)),
        }
    }

    /// Pixels.
    pub(super) fn size(&self) -> (u32, u32) {
        (self.columns * self.size.0, (self.rows * self.size.1).max(1))
    }

    /// The same but for what blinks.
    pub(super) fn is_same_form(&self, other: &Text) -> bool {
        let still = |text: &Text| Text {
            hidden: false,
            cursor: None,
            ..*text
        };
        let lines = |text: &Text| text.cursor.map(|(_, first, last)| (first, last));
        still(self) == still(other)
            && (lines(self) == lines(other) || lines(self).is_none() || lines(other).is_none())
    }

    /// Glyphs were written. Cells lie in the same pages as some glyphs, and are written all the time: such pages do not count.
    /// Who loads a font writes the others, too.
    pub(super) fn fonts_touched(&self, view: &View, written: &Pages) -> bool {
        let cells =
            view.start / PAGE..(view.start + u64::from(self.rows) * view.pitch).div_ceil(PAGE);
        let pages = self
            .fonts
            .into_iter()
            .flat_map(|font| font / PAGE..(font + FONT) / PAGE);
        pages
            .into_iter()
            .any(|page| !cells.contains(&page) && written.touches(page * PAGE, 1))
    }

    fn cell(&self, bytes: &[u8], number: u32) -> Cell {
        let attribute = bytes[1];
        Cell {
            character: bytes[0],
            attribute: if self.blinks {
                attribute & 0x7f
            } else {
                attribute
            },
            hidden: self.hidden && attribute & 0x80 != 0,
            cursor: self.cursor.is_some_and(|(place, ..)| place == number),
        }
    }

    /// Bytes of row `row`.
    fn row(&self, view: &View, row: u32) -> Vec<u8> {
        let mut bytes = vec![0; self.columns as usize * 4];
        view.memory
            .read(view.start + u64::from(row) * view.pitch, &mut bytes);
        bytes
    }

    /// The number that the cursor's place counts in.
    fn number(&self, view: &View, row: u32, column: u32) -> u32 {
        (u64::from(row) * view.pitch / 4) as u32 + column
    }

    /// All cells.
    pub(super) fn cells(&self, view: &View) -> Vec<Cell> {
        let mut cells = Vec::with_capacity((self.columns * self.rows) as usize);
        for row in 0..self.rows {
            let bytes = self.row(view, row);
            let numbered = bytes.chunks_exact(4).zip(0..);
            cells.extend(
                numbered.map(|(bytes, column)| self.cell(bytes, self.number(view, row, column))),
            );
        }
        cells
    }

    /// Where `now` looks other than `before`: for each row from the first to the last cell that does.
    pub(super) fn changed(&self, before: &[Cell], now: &[Cell]) -> Vec<Area> {
        let columns = self.columns as usize;
        let rows = before.chunks_exact(columns).zip(now.chunks_exact(columns));
        let mut areas = Vec::new();
        for ((before, now), row) in rows.zip(0..) {
            let differs = |column: &usize| before[*column] != now[*column];
            let (Some(first), Some(last)) =
                ((0..columns).find(differs), (0..columns).rev().find(differs))
            else {
                continue;
            };
            areas.push(Area {
                x: first as u32 * self.size.0,
                y: row * self.size.1,
                width: (last - first + 1) as u32 * self.size.0,
                height: self.size.1,
            });
        }
        areas
    }

    /// See [`View::read`].
    pub(super) fn read(&self, view: &View, area: Area, into: &mut Vec<u32>) {
        let (width, height) = self.size;
        let mut fonts = vec![0; FONT as usize * 2];
        for (font, bytes) in self.fonts.iter().zip(fonts.chunks_exact_mut(FONT as usize)) {
            view.memory.read(*font, bytes);
        }
        let mut row = None;
        for y in area.y..area.y.saturating_add(area.height) {
            let line_end = into.len() + area.width as usize;
            if y / height < self.rows {
                if row.as_ref().is_none_or(|(number, _)| *number != y / height) {
                    row = Some((y / height, self.row(view, y / height)));
                }
                let bytes = row.as_ref().map_or(&[][..], |(_, bytes)| bytes);
                let end = area.x.saturating_add(area.width).min(self.columns * width);
                into.extend((area.x..end).map(|x| self.pixel(view, bytes, &fonts, x, y)));
            }
            into.resize(line_end, 0);
        }
    }

    fn pixel(&self, view: &View, row: &[u8], fonts: &[u8], x: u32, y: u32) -> u32 {
        let (width, height) = self.size;
        let (column, line) = (x / width, y % height);
        let number = self.number(view, y / height, column);
        let cell = self.cell(&row[column as usize * 4..], number);
        let font = usize::from(cell.attribute >> 3 & 1) * FONT as usize;
        let glyph = fonts[font + (usize::from(cell.character) * 32 + line as usize) * 4 + 2];
        let dot = match x % width {
            8 if self.joined && (0xc0..=0xdf).contains(&cell.character) => glyph & 1 != 0,
            8 => false,
            at => glyph >> (7 - at) & 1 != 0,
        };
        let in_cursor = match self.cursor {
            Some((_, first, last)) if cell.cursor => (first..=last).contains(&line),
            _ => false,
        };
        let front = (dot && !cell.hidden) || in_cursor;
        let colour = if front {
            cell.attribute & 15
        } else {
            cell.attribute >> 4
        };
        view.palette[usize::from(view.sixteen[usize::from(colour)])]
    }
}
