//! Hextile (RFC 6143, 7.7.4): tiles of 16x16, each raw or a background with rectangles on it.

use super::Block;
use crate::pixel::Writer;

const TILE: usize = 16;
const RAW: u8 = 1;
const BACKGROUND: u8 = 2;
const FOREGROUND: u8 = 4;
const SUBRECTS: u8 = 8;
const COLOURED: u8 = 16;

/// What the viewer remembers from tile to tile.
#[derive(Default)]
struct Before {
    background: Option<u32>,
    foreground: Option<u32>,
}

pub(super) fn encode(block: Block, writer: &Writer, out: &mut Vec<u8>) {
    let mut before = Before::default();
    for y in (0..block.height).step_by(TILE) {
        for x in (0..block.width).step_by(TILE) {
            let (width, height) = (TILE.min(block.width - x), TILE.min(block.height - y));
            let mut tile = [0; TILE * TILE];
            for (line, from) in block.lines(x, y, width, height).enumerate() {
                tile[line * width..(line + 1) * width].copy_from_slice(from);
            }
            let pixels = &tile[..width * height];
            encode_tile(pixels, width, &mut before, writer, out);
        }
    }
}

fn encode_tile(
    pixels: &[u32],
    width: usize,
    before: &mut Before,
    writer: &Writer,
    out: &mut Vec<u8>,
) {
    let start = out.len();
    let most = 1 + pixels.len() * writer.bytes();
    let (background, other) = two_colours(pixels);
    let mut flags = 0;
    out.push(0);
    if before.background != Some(background) {
        flags |= BACKGROUND;
        writer.put(background, out);
    }
    let mut foreground = before.foreground;
    match other {
        Other::None => {}
        Other::One(colour) => {
            flags |= SUBRECTS;
            if foreground != Some(colour) {
                flags |= FOREGROUND;
                writer.put(colour, out);
            }
            foreground = Some(colour);
        }
        Other::Many => flags |= SUBRECTS | COLOURED,
    }
    if flags & SUBRECTS != 0 {
        let count = out.len();
        out.push(0);
        let coloured = flags & COLOURED != 0;
        let tile = Tile {
            pixels,
            width,
            background,
            coloured,
        };
        if !tile.subrects(writer, count, start + most, out) {
            out.truncate(start);
            out.push(RAW);
            for pixel in pixels {
                writer.put(*pixel, out);
            }
            // After a raw tile the viewer remembers nothing.
            *before = Before::default();
            return;
        }
        if coloured {
            foreground = None;
        }
    }
    out[start] = flags;
    before.background = Some(background);
    before.foreground = foreground;
}

enum Other {
    None,
    One(u32),
    Many,
}

/// The commoner of the first two colours, and whether there are others.
fn two_colours(pixels: &[u32]) -> (u32, Other) {
    let first = pixels[0];
    let Some(second) = pixels.iter().copied().find(|pixel| *pixel != first) else {
        return (first, Other::None);
    };
    let (mut firsts, mut seconds, mut more) = (0, 0, false);
    for pixel in pixels {
        match *pixel {
            p if p == first => firsts += 1,
            p if p == second => seconds += 1,
            _ => more = true,
        }
    }
    let (background, foreground) = if firsts >= seconds {
        (first, second)
    } else {
        (second, first)
    };
    let other = if more {
        Other::Many
    } else {
        Other::One(foreground)
    };
    (background, other)
}

/// A tile that is more than one colour.
struct Tile<'a> {
    pixels: &'a [u32],
    width: usize,
    background: u32,
    coloured: bool,
}

impl Tile<'_> {
    /// Appends rectangles of everything that is no background, and their number at `count`; false if that makes `out` longer
    /// than `most` bytes, or there are more than 255.
    fn subrects(&self, writer: &Writer, count: usize, most: usize, out: &mut Vec<u8>) -> bool {
        let (pixels, width) = (self.pixels, self.width);
        let height = pixels.len() / width;
        let mut done = [false; TILE * TILE];
        let mut rectangles = 0u8;
        for y in 0..height {
            let mut x = 0;
            while x < width {
                let colour = pixels[y * width + x];
                if colour == self.background || done[y * width + x] {
                    x += 1;
                    continue;
                }
                let same = |at: usize| pixels[at] == colour && !done[at];
                let wide = (x..width).take_while(|x| same(y * width + x)).count();
                let high = (y..height)
                    .take_while(|y| (x..x + wide).all(|x| same(y * width + x)))
                    .count();
                for line in y..y + high {
                    done[line * width + x..line * width + x + wide].fill(true);
                }
                if self.coloured {
                    writer.put(colour, out);
                }
                out.push((x << 4 | y) as u8);
                out.push(((wide - 1) << 4 | (high - 1)) as u8);
                if rectangles == u8::MAX || out.len() >= most {
                    return false;
                }
                rectangles += 1;
                x += wide;
            }
        }
        out[count] = rectangles;
        true
    }
}
