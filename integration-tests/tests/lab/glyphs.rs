//! Text read from a picture of a VGA text screen, by the glyphs of the card's own BIOS.
//!
//! ```text
//!   display BIOS: 256 glyphs of 16 lines --> font
//!   picture: cells of 9 or 8 by 16 pixels --> lines of bits, as in the font --> characters
//! ```

use std::collections::HashMap;

/// The BIOS whose font SeaBIOS' displays have.
const BIOS: &str = "/usr/share/seabios/vgabios-cirrus.bin";
/// Lines of a glyph.
const LINES: usize = 16;
/// Columns of a glyph that its font has; the ninth repeats the eighth or is empty.
const COLUMNS: usize = 8;
/// How the font begins: glyph 0 is empty, glyph 1 a face.
const START: [u8; 2 * LINES] = [
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, //
    0, 0, 0x7e, 0x81, 0xa5, 0x81, 0x81, 0xbd, 0x99, 0x81, 0x81, 0x7e, 0, 0, 0, 0,
];

/// Characters by their glyphs.
pub struct Font(HashMap<[u8; LINES], char>);

impl Font {
    /// The font of the host's display BIOS.
    pub fn of_bios() -> Font {
        Font::in_rom(&std::fs::read(BIOS).unwrap())
    }

    /// The font in a ROM; characters that are not ASCII are read as `#`.
    ///
    /// # Panics
    /// When there is none.
    fn in_rom(rom: &[u8]) -> Font {
        let first = rom
            .windows(START.len())
            .position(|bytes| bytes == START)
            .expect("a font of 16 lines in the ROM");
        let mut glyphs = HashMap::new();
        // ASCII last: what looks like one is one.
        for code in (0u8..=255).rev() {
            let at = first + usize::from(code) * LINES;
            let glyph: [u8; LINES] = rom[at..at + LINES].try_into().unwrap();
            let character = match code {
                0 | 255 => ' ',
                32..=126 => char::from(code),
                _ => '#',
            };
            if character != '#' || !glyphs.contains_key(&glyph) {
                glyphs.insert(glyph, character);
            }
        }
        Font(glyphs)
    }

    /// The lines of a text screen, without trailing blanks; what is no character of the font is read as `?`.
    pub fn read(&self, picture: &[u8], size: (usize, usize)) -> String {
        let cell = if size.0.is_multiple_of(9) { 9 } else { COLUMNS };
        let mut text = String::new();
        for row in 0..size.1 / LINES {
            let line: String = (0..size.0 / cell)
                .map(|column| self.character(picture, size.0, column * cell, row * LINES))
                .collect();
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }

    fn character(&self, picture: &[u8], width: usize, left: usize, top: usize) -> char {
        let pixel = |x: usize, y: usize| {
            let at = ((top + y) * width + left + x) * 4;
            &picture[at..at + 3]
        };
        // The corner is background in nearly all glyphs; in the others it is not, and the colours are exchanged.
        let corner = pixel(0, 0);
        let mut glyph = [0u8; LINES];
        for (y, bits) in glyph.iter_mut().enumerate() {
            for x in 0..COLUMNS {
                *bits = *bits << 1 | u8::from(pixel(x, y) != corner);
            }
        }
        let found = self.0.get(&glyph);
        let exchanged = || self.0.get(&glyph.map(|bits| !bits));
        found.or_else(exchanged).copied().unwrap_or('?')
    }
}

#[test]
fn text_is_read_from_a_picture_in_either_polarity() {
    let mut rom = vec![0xff; 7];
    rom.extend(START);
    rom.resize(7 + 256 * LINES, 0);
    let glyph: Vec<u8> = (1..=16).collect();
    rom[7 + 65 * LINES..7 + 66 * LINES].copy_from_slice(&glyph);
    let font = Font::in_rom(&rom);
    // Two cells of nine: A, and A in exchanged colours.
    let mut picture = vec![0; 18 * LINES * 4];
    for (y, bits) in glyph.iter().enumerate() {
        for x in 0..18 {
            let bit = x % 9 < 8 && bits >> (7 - x % 9) & 1 == 1;
            let lit = bit != (x >= 9);
            picture[(y * 18 + x) * 4..][..3].fill(u8::from(lit) * 170);
        }
    }
    assert_eq!(font.read(&picture, (18, LINES)), "AA\n");
    picture[5] ^= 1;
    assert_eq!(font.read(&picture, (18, LINES)), "?A\n");
}
