//! ZRLE (RFC 6143, 7.7.6) before it is packed: tiles of 64x64, each in the shortest of five forms.

use super::palette::Palette;
use super::Block;
use crate::pixel::Writer;

const TILE: usize = 64;
/// Colours that a palette with runs can have.
const MOST: usize = 127;
/// Colours that a packed palette can have.
const PACKED: usize = 16;

pub(super) fn encode(block: Block, writer: &Writer) -> Vec<u8> {
    let mut out = Vec::new();
    let mut tile = Vec::with_capacity(TILE * TILE);
    for y in (0..block.height).step_by(TILE) {
        for x in (0..block.width).step_by(TILE) {
            let (width, height) = (TILE.min(block.width - x), TILE.min(block.height - y));
            tile.clear();
            block
                .lines(x, y, width, height)
                .for_each(|line| tile.extend_from_slice(line));
            encode_tile(&tile, width, writer, &mut out);
        }
    }
    out
}

/// Runs of one colour: the colour and how long.
fn runs(tile: &[u32]) -> impl Iterator<Item = (u32, usize)> + '_ {
    tile.chunk_by(|a, b| a == b).map(|run| (run[0], run.len()))
}

/// Bytes that say how long a run is.
fn length_bytes(length: usize) -> usize {
    1 + (length - 1) / 255
}

fn put_length(length: usize, out: &mut Vec<u8>) {
    let left = length - 1;
    out.extend(std::iter::repeat_n(255, left / 255));
    out.push((left % 255) as u8);
}

/// Bits of a colour's number in a packed palette.
fn bits(colours: usize) -> usize {
    match colours {
        0..=2 => 1,
        3..=4 => 2,
        _ => 4,
    }
}

fn encode_tile(tile: &[u32], width: usize, writer: &Writer, out: &mut Vec<u8>) {
    let pixel = writer.compact_bytes();
    let palette = Palette::of(tile.iter(), MOST);
    if let Some([colour]) = palette.as_ref().map(Palette::colours) {
        out.push(1);
        return writer.put_compact(*colour, out);
    }
    // What each form takes; the raw one always can be.
    let mut plain_runs = 0;
    let mut palette_runs = palette
        .as_ref()
        .map_or(usize::MAX, |p| pixel * p.colours().len());
    for (_, length) in runs(tile) {
        plain_runs += pixel + length_bytes(length);
        let more = if length == 1 {
            1
        } else {
            1 + length_bytes(length)
        };
        palette_runs = palette_runs.saturating_add(more);
    }
    let packed = match &palette {
        Some(palette) if palette.colours().len() <= PACKED => {
            let colours = palette.colours().len();
            let line = (width * bits(colours)).div_ceil(8);
            pixel * colours + line * tile.len() / width
        }
        _ => usize::MAX,
    };
    let raw = pixel * tile.len();
    let least = raw.min(plain_runs).min(palette_runs).min(packed);
    match &palette {
        Some(palette) if packed == least => put_packed(tile, width, palette, writer, out),
        Some(palette) if palette_runs == least => put_palette_runs(tile, palette, writer, out),
        _ if plain_runs == least => {
            out.push(128);
            for (colour, length) in runs(tile) {
                writer.put_compact(colour, out);
                put_length(length, out);
            }
        }
        _ => {
            out.push(0);
            tile.iter()
                .for_each(|pixel| writer.put_compact(*pixel, out));
        }
    }
}

fn put_palette(palette: &Palette, writer: &Writer, out: &mut Vec<u8>) {
    for colour in palette.colours() {
        writer.put_compact(*colour, out);
    }
}

fn put_packed(tile: &[u32], width: usize, palette: &Palette, writer: &Writer, out: &mut Vec<u8>) {
    out.push(palette.colours().len() as u8);
    put_palette(palette, writer, out);
    let bits = bits(palette.colours().len());
    for line in tile.chunks_exact(width) {
        for group in line.chunks(8 / bits) {
            let numbers = group.iter().map(|pixel| palette.number(*pixel));
            let byte = numbers.fold(0, |byte, number| byte << bits | number);
            // The last group of a line is filled up below.
            out.push(byte << (8 - bits * group.len()));
        }
    }
}

fn put_palette_runs(tile: &[u32], palette: &Palette, writer: &Writer, out: &mut Vec<u8>) {
    out.push(128 + palette.colours().len() as u8);
    put_palette(palette, writer, out);
    for (colour, length) in runs(tile) {
        let number = palette.number(colour);
        if length == 1 {
            out.push(number);
        } else {
            out.push(128 | number);
            put_length(length, out);
        }
    }
}
