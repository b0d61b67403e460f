//! Encodings of pixels (RFC 6143, 7.7; tight: the community's rfbproto).
//!
//! ```text
//!   rectangle of 0x00RRGGBB --Writer::convert--> the viewer's values --raw, hextile, zlib, zrle, tight--> bytes
//! ```
//! A viewer lists what it knows, best first; the first that we know is used. Streams of zlib live as long as the viewer.

mod hextile;
mod palette;
mod tight;
mod zlib;
mod zrle;

use crate::pixel::Writer;
use noxen_control::screen::Part;
use zlib::Stream;

/// Widest rectangle that every encoding can have (tight's limit).
pub const MAX_WIDTH: u32 = 2048;

/// An encoding of pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// As they are.
    Raw,
    /// Tiles of 16x16, colours and rectangles in them.
    Hextile,
    /// Raw, packed.
    Zlib,
    /// Packed colours, copies, single colours.
    Tight,
    /// Tiles of 64x64, palettes and runs, packed.
    Zrle,
}

impl Encoding {
    /// By its number.
    pub fn of(number: i32) -> Option<Encoding> {
        [
            Encoding::Raw,
            Encoding::Hextile,
            Encoding::Zlib,
            Encoding::Tight,
            Encoding::Zrle,
        ]
        .into_iter()
        .find(|encoding| encoding.number() == number)
    }

    /// Its number.
    pub fn number(self) -> i32 {
        match self {
            Encoding::Raw => 0,
            Encoding::Hextile => 5,
            Encoding::Zlib => 6,
            Encoding::Tight => 7,
            Encoding::Zrle => 16,
        }
    }
}

/// A rectangle to be encoded, its pixels being the viewer's values.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Block<'a> {
    pub(crate) width: usize,
    pub(crate) height: usize,
    pub(crate) pixels: &'a [u32],
}

impl<'a> Block<'a> {
    /// The lines of the part that starts at `x`, `y`; it must lie within.
    pub(crate) fn lines(
        self,
        x: usize,
        y: usize,
        width: usize,
        height: usize,
    ) -> impl Iterator<Item = &'a [u32]> {
        let lines = self.pixels.chunks_exact(self.width).skip(y).take(height);
        lines.map(move |line| &line[x..x + width])
    }
}

/// Encodes for one viewer.
#[derive(Debug)]
pub struct Encoder {
    /// 0 to 9, as zlib has it.
    level: u8,
    zlib: Stream,
    zrle: Stream,
    tight: tight::Streams,
}

impl Encoder {
    /// With nothing sent yet.
    pub fn new() -> Encoder {
        Encoder {
            level: DEFAULT_LEVEL,
            zlib: Stream::default(),
            zrle: Stream::default(),
            tight: tight::Streams::default(),
        }
    }

    /// How hard streams that have not begun yet try, 0 to 9.
    pub fn set_level(&mut self, level: u8) {
        self.level = level.clamp(1, 9);
    }

    /// Appends `part`, the pixels of which are `pixels` (as `writer` has converted them), with its head. `part` is at most
    /// [`MAX_WIDTH`] wide.
    pub fn rectangle(
        &mut self,
        encoding: Encoding,
        part: Part,
        pixels: &[u32],
        writer: &Writer,
        out: &mut Vec<u8>,
    ) {
        head(part, encoding.number(), out);
        let block = Block {
            width: part.width as usize,
            height: part.height as usize,
            pixels,
        };
        match encoding {
            Encoding::Raw => raw(block, writer, out),
            Encoding::Hextile => hextile::encode(block, writer, out),
            Encoding::Zlib => {
                let mut plain = Vec::with_capacity(pixels.len() * writer.bytes());
                raw(block, writer, &mut plain);
                with_length(out, |out| self.zlib.pack(self.level, &plain, out));
            }
            Encoding::Zrle => {
                let plain = zrle::encode(block, writer);
                with_length(out, |out| self.zrle.pack(self.level, &plain, out));
            }
            Encoding::Tight => self.tight.encode(self.level, block, writer, out),
        }
    }
}

impl Default for Encoder {
    fn default() -> Encoder {
        Encoder::new()
    }
}

/// Little, because the way to a viewer is mostly faster than a better packing.
const DEFAULT_LEVEL: u8 = 1;

/// Appends the head of a rectangle.
pub(crate) fn head(part: Part, encoding: i32, out: &mut Vec<u8>) {
    for value in [part.x, part.y, part.width, part.height] {
        out.extend_from_slice(&(value as u16).to_be_bytes());
    }
    out.extend_from_slice(&encoding.to_be_bytes());
}

/// Appends four bytes of length and what `fill` appends.
fn with_length(out: &mut Vec<u8>, fill: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    fill(out);
    let length = (out.len() - at - 4) as u32;
    out[at..at + 4].copy_from_slice(&length.to_be_bytes());
}

fn raw(block: Block, writer: &Writer, out: &mut Vec<u8>) {
    out.reserve(block.pixels.len() * writer.bytes());
    for pixel in block.pixels {
        writer.put(*pixel, out);
    }
}

#[cfg(test)]
mod tests;
