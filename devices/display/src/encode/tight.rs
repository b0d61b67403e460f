//! Tight (rfbproto, "Tight Encoding"), without JPEG: one colour, few colours, or all pixels, the latter two packed.

use super::palette::Palette;
use super::zlib::Stream;
use super::Block;
use crate::pixel::Writer;

/// Control byte of one colour.
const FILL: u8 = 0x80;
/// Added for a filter's byte behind the control byte.
const FILTER: u8 = 0x40;
/// The filter that has a palette.
const PALETTE: u8 = 1;
/// Fewer bytes than that are not packed.
const LEAST: usize = 12;

/// Streams of zlib: all pixels, two colours, more colours.
#[derive(Debug, Default)]
pub(super) struct Streams([Stream; 3]);

impl Streams {
    pub(super) fn encode(&mut self, level: u8, block: Block, writer: &Writer, out: &mut Vec<u8>) {
        let most = if writer.bytes() == 1 { 2 } else { 256 };
        let Some(palette) = Palette::of(block.pixels.iter(), most) else {
            return self.all(level, block, writer, out);
        };
        let colours = palette.colours();
        if let [colour] = colours {
            out.push(FILL);
            return writer.put_tight(*colour, out);
        }
        if colours.len() > 2 && colours.len() * 4 > block.pixels.len() {
            return self.all(level, block, writer, out);
        }
        let stream = if colours.len() == 2 { 1 } else { 2 };
        out.push((stream as u8) << 4 | FILTER);
        out.push(PALETTE);
        out.push((colours.len() - 1) as u8);
        for colour in colours {
            writer.put_tight(*colour, out);
        }
        let plain: Vec<u8> = if stream == 1 {
            let lines = block.pixels.chunks_exact(block.width);
            lines
                .flat_map(|line| line.chunks(8).map(|group| bits(group, &palette)))
                .collect()
        } else {
            block
                .pixels
                .iter()
                .map(|pixel| palette.number(*pixel))
                .collect()
        };
        self.put(stream, level, &plain, out);
    }

    fn all(&mut self, level: u8, block: Block, writer: &Writer, out: &mut Vec<u8>) {
        out.push(0);
        let mut plain = Vec::with_capacity(block.pixels.len() * writer.bytes());
        block
            .pixels
            .iter()
            .for_each(|pixel| writer.put_tight(*pixel, &mut plain));
        self.put(0, level, &plain, out);
    }

    fn put(&mut self, stream: usize, level: u8, plain: &[u8], out: &mut Vec<u8>) {
        if plain.len() < LEAST {
            return out.extend_from_slice(plain);
        }
        let mut packed = Vec::with_capacity(plain.len() / 4 + 64);
        self.0[stream].pack(level, plain, &mut packed);
        put_length(packed.len(), out);
        out.extend_from_slice(&packed);
    }
}

/// Eight pixels of two colours, the first in the highest bit.
fn bits(group: &[u32], palette: &Palette) -> u8 {
    let byte = group
        .iter()
        .fold(0, |byte, pixel| byte << 1 | palette.number(*pixel));
    byte << (8 - group.len())
}

/// Seven bits, seven bits, eight bits, each but the last saying whether another follows.
fn put_length(length: usize, out: &mut Vec<u8>) {
    let low = (length & 0x7f) as u8;
    if length < 1 << 7 {
        return out.push(low);
    }
    out.push(low | 0x80);
    let middle = (length >> 7 & 0x7f) as u8;
    if length < 1 << 14 {
        return out.push(middle);
    }
    out.push(middle | 0x80);
    out.push((length >> 14) as u8);
}
