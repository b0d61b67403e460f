//! What is encoded is decoded here, as a viewer does it, and must be the same picture.

use super::*;
use crate::pixel::Format;
use flate2::{Decompress, FlushDecompress};

/// A viewer's side: bytes to read, and its streams of zlib.
struct Viewer<'a> {
    bytes: &'a [u8],
    format: Format,
    streams: &'a mut [Decompress],
}

impl Viewer<'_> {
    fn take(&mut self, count: usize) -> &[u8] {
        let (taken, rest) = self.bytes.split_at(count);
        self.bytes = rest;
        taken
    }

    fn byte(&mut self) -> usize {
        self.take(1)[0].into()
    }

    fn value(&mut self, count: usize) -> u32 {
        let big = self.format.big_endian;
        let bytes = self.take(count);
        let join = |value: u32, byte: &u8| value << 8 | u32::from(*byte);
        if big {
            bytes.iter().fold(0, join)
        } else {
            bytes.iter().rev().fold(0, join)
        }
    }

    fn pixel(&mut self) -> u32 {
        self.value(usize::from(self.format.bits / 8))
    }

    fn compact(&mut self) -> u32 {
        if self.format.bits == 32 {
            self.value(3)
        } else {
            self.pixel()
        }
    }

    fn tight_pixel(&mut self) -> u32 {
        if self.format.bits != 32 {
            return self.pixel();
        }
        let shift = self.format.shift;
        let bytes = self.take(3);
        (0..3).fold(0, |value, at| value | u32::from(bytes[at]) << shift[at])
    }

    fn unpack(&mut self, stream: usize, count: usize) -> Vec<u8> {
        let (packed, rest) = self.bytes.split_at(count);
        self.bytes = rest;
        let mut plain = Vec::with_capacity(1 << 22);
        let stream = &mut self.streams[stream];
        stream
            .decompress_vec(packed, &mut plain, FlushDecompress::Sync)
            .unwrap();
        plain
    }

    fn packed(&mut self, stream: usize) -> Vec<u8> {
        let count = u32::from_be_bytes(self.take(4).try_into().unwrap());
        self.unpack(stream, count as usize)
    }

    fn run(&mut self) -> usize {
        let mut length = 1;
        loop {
            let byte = self.byte();
            length += byte;
            if byte != 255 {
                return length;
            }
        }
    }

    fn hextile(&mut self, width: usize, height: usize) -> Vec<u32> {
        let mut picture = vec![0; width * height];
        let (mut back, mut fore) = (0, 0);
        for (x, y, w, h) in tiles(width, height, 16) {
            let flags = self.byte();
            if flags & 1 != 0 {
                for line in y..y + h {
                    for column in x..x + w {
                        picture[line * width + column] = self.pixel();
                    }
                }
                continue;
            }
            if flags & 2 != 0 {
                back = self.pixel();
            }
            if flags & 4 != 0 {
                fore = self.pixel();
            }
            fill(&mut picture, width, (x, y, w, h), back);
            let count = if flags & 8 != 0 { self.byte() } else { 0 };
            for _ in 0..count {
                let colour = if flags & 16 != 0 { self.pixel() } else { fore };
                let (at, size) = (self.byte(), self.byte());
                let part = (
                    x + (at >> 4),
                    y + (at & 15),
                    (size >> 4) + 1,
                    (size & 15) + 1,
                );
                fill(&mut picture, width, part, colour);
            }
        }
        picture
    }

    fn zrle(&mut self, width: usize, height: usize) -> Vec<u32> {
        let plain = self.packed(0);
        let mut inner = Viewer {
            bytes: &plain,
            format: self.format,
            streams: &mut [],
        };
        let mut picture = vec![0; width * height];
        for (x, y, w, h) in tiles(width, height, 64) {
            let tile = inner.zrle_tile(w, h);
            for (index, pixel) in tile.into_iter().enumerate() {
                picture[(y + index / w) * width + x + index % w] = pixel;
            }
        }
        assert!(inner.bytes.is_empty());
        picture
    }

    fn zrle_tile(&mut self, w: usize, h: usize) -> Vec<u32> {
        let kind = self.byte();
        let colours = if kind < 128 { kind } else { kind - 128 };
        let palette: Vec<u32> = (0..colours).map(|_| self.compact()).collect();
        let mut tile = Vec::new();
        match kind {
            0 => tile.extend((0..w * h).map(|_| self.compact())),
            1 => tile.resize(w * h, palette[0]),
            2..=16 => {
                let bits = if colours == 2 {
                    1
                } else if colours <= 4 {
                    2
                } else {
                    4
                };
                for _ in 0..h {
                    let line = self.take((w * bits).div_ceil(8)).to_vec();
                    for x in 0..w {
                        let at = x * bits;
                        let number = line[at / 8] >> (8 - bits - at % 8) & ((1 << bits) - 1);
                        tile.push(palette[usize::from(number)]);
                    }
                }
            }
            128 => {
                while tile.len() < w * h {
                    let colour = self.compact();
                    let length = self.run();
                    tile.extend(std::iter::repeat_n(colour, length));
                }
            }
            130.. => {
                while tile.len() < w * h {
                    let number = self.byte();
                    let length = if number & 128 != 0 { self.run() } else { 1 };
                    tile.extend(std::iter::repeat_n(palette[number & 127], length));
                }
            }
            other => panic!("ZRLE has no tile {other}"),
        }
        assert_eq!(tile.len(), w * h);
        tile
    }

    fn tight(&mut self, width: usize, height: usize) -> Vec<u32> {
        let control = self.byte();
        if control == 0x80 {
            return vec![self.tight_pixel(); width * height];
        }
        let stream = control >> 4 & 3;
        let mut palette = Vec::new();
        if control & 0x40 != 0 {
            assert_eq!(self.byte(), 1);
            let count = self.byte() + 1;
            palette.extend((0..count).map(|_| self.tight_pixel()));
        }
        let pixel = if self.format.bits == 32 {
            3
        } else {
            usize::from(self.format.bits) / 8
        };
        let length = match palette.len() {
            0 => width * height * pixel,
            2 => width.div_ceil(8) * height,
            _ => width * height,
        };
        let plain = if length < 12 {
            self.take(length).to_vec()
        } else {
            let mut count = 0;
            for place in [0, 7, 14] {
                let byte = self.byte();
                count |= if place == 14 { byte } else { byte & 0x7f } << place;
                if byte & 0x80 == 0 || place == 14 {
                    break;
                }
            }
            self.unpack(stream, count)
        };
        assert_eq!(plain.len(), length);
        let mut inner = Viewer {
            bytes: &plain,
            format: self.format,
            streams: &mut [],
        };
        match palette.len() {
            0 => (0..width * height).map(|_| inner.tight_pixel()).collect(),
            2 => {
                let line = width.div_ceil(8);
                let bit = |at: usize| {
                    let byte = plain[at / width * line + at % width / 8];
                    byte >> (7 - at % width % 8) & 1
                };
                (0..width * height)
                    .map(|at| palette[usize::from(bit(at))])
                    .collect()
            }
            _ => plain
                .iter()
                .map(|number| palette[usize::from(*number)])
                .collect(),
        }
    }
}

fn tiles(width: usize, height: usize, side: usize) -> Vec<(usize, usize, usize, usize)> {
    let rows = (0..height).step_by(side);
    let tile = |y: usize, x: usize| (x, y, side.min(width - x), side.min(height - y));
    rows.flat_map(|y| (0..width).step_by(side).map(move |x| tile(y, x)))
        .collect()
}

fn fill(picture: &mut [u32], width: usize, part: (usize, usize, usize, usize), colour: u32) {
    let (x, y, w, h) = part;
    for line in y..y + h {
        picture[line * width + x..line * width + x + w].fill(colour);
    }
}

/// Pictures that want each of the forms.
fn pictures(width: usize, height: usize) -> Vec<Vec<u32>> {
    let of = |colour: fn(usize, usize) -> u32| {
        let points = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
        points.map(|(x, y)| colour(x, y)).collect::<Vec<u32>>()
    };
    vec![
        of(|_, _| 0x123456),
        of(|x, y| {
            if x / 3 % 5 == 0 || y % 7 == 2 {
                0xffffff
            } else {
                0
            }
        }),
        of(|x, y| [0xff0000, 0x00ff00, 0x0000ff][(x / 9 + y / 4) % 3]),
        of(|x, y| ((x as u32 * 7919) ^ ((y as u32 * 104_729) << 3)) & 0xffffff),
        of(|x, y| ((x / 40 * 37 + y * 5) % 100) as u32 * 0x010203),
        of(|x, y| ((x * y) % 13) as u32 * 0x0a1407),
        of(|_, y| (y as u32 * 2_654_435) & 0xffffff),
    ]
}

#[test]
fn every_encoding_shows_every_picture() {
    let narrow = Format {
        bits: 16,
        depth: 16,
        big_endian: true,
        true_colour: true,
        max: [31, 63, 31],
        shift: [11, 5, 0],
    };
    let bytes = Format {
        bits: 8,
        depth: 8,
        max: [7, 7, 3],
        shift: [0, 3, 6],
        ..narrow
    };
    let turned = Format {
        shift: [0, 8, 16],
        ..Format::OURS
    };
    let shapes = [
        (1, 1),
        (3, 2),
        (16, 16),
        (70, 70),
        (129, 33),
        (300, 200),
        (2, 97),
    ];
    for format in [Format::OURS, turned, narrow, bytes] {
        let writer = Writer::new(format);
        let mut encoder = Encoder::new();
        let mut streams: Vec<_> = (0..5).map(|_| Decompress::new(true)).collect();
        for (width, height) in shapes {
            for (number, mut picture) in pictures(width, height).into_iter().enumerate() {
                writer.convert(&mut picture);
                for encoding in [
                    Encoding::Raw,
                    Encoding::Hextile,
                    Encoding::Zlib,
                    Encoding::Zrle,
                    Encoding::Tight,
                ] {
                    let part = Part {
                        x: 5,
                        y: 6,
                        width: width as u32,
                        height: height as u32,
                    };
                    let mut out = Vec::new();
                    encoder.rectangle(encoding, part, &picture, &writer, &mut out);
                    let (own, streams) = match encoding {
                        Encoding::Zlib => (0, &mut streams[..1]),
                        Encoding::Zrle => (0, &mut streams[1..2]),
                        _ => (0, &mut streams[2..]),
                    };
                    assert_eq!(&out[8..12], encoding.number().to_be_bytes());
                    let mut viewer = Viewer {
                        bytes: &out[12..],
                        format,
                        streams,
                    };
                    let seen = match encoding {
                        Encoding::Raw => (0..width * height).map(|_| viewer.pixel()).collect(),
                        Encoding::Hextile => viewer.hextile(width, height),
                        Encoding::Zrle => viewer.zrle(width, height),
                        Encoding::Tight => viewer.tight(width, height),
                        Encoding::Zlib => {
                            let plain = viewer.packed(own);
                            let mut inner = Viewer {
                                bytes: &plain,
                                format,
                                streams: &mut [],
                            };
                            (0..width * height).map(|_| inner.pixel()).collect()
                        }
                    };
                    assert!(viewer.bytes.is_empty());
                    assert_eq!(
                        seen, picture,
                        "{encoding:?} {format:?} {width}x{height} picture {number}"
                    );
                }
            }
        }
    }
}

#[test]
fn text_gets_much_shorter() {
    let (width, height) = (640, 400);
    let picture = &pictures(width, height)[1];
    let writer = Writer::new(Format::OURS);
    let part = Part {
        x: 0,
        y: 0,
        width: width as u32,
        height: height as u32,
    };
    let length = |encoding| {
        let mut out = Vec::new();
        Encoder::new().rectangle(encoding, part, picture, &writer, &mut out);
        out.len()
    };
    let raw = length(Encoding::Raw);
    assert_eq!(raw, 12 + 4 * width * height);
    assert!(length(Encoding::Hextile) < raw / 5);
    assert!(length(Encoding::Zrle) < raw / 50);
    assert!(length(Encoding::Tight) < raw / 50);
}
