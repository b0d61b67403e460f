//! Pixels as a viewer wants them (RFC 6143, 7.4).

/// How a viewer wants its pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Format {
    /// 8, 16 or 32.
    pub bits: u8,
    /// Bits of it that mean something.
    pub depth: u8,
    /// Most significant byte first.
    pub big_endian: bool,
    /// Channels; otherwise a palette, which we choose.
    pub true_colour: bool,
    /// Largest value of red, green, blue.
    pub max: [u16; 3],
    /// Where red, green, blue start.
    pub shift: [u8; 3],
}

impl Format {
    /// What is offered: 32 bits, `0x00RRGGBB`, little-endian.
    pub const OURS: Format = Format {
        bits: 32,
        depth: 24,
        big_endian: false,
        true_colour: true,
        max: [255; 3],
        shift: [16, 8, 0],
    };

    /// What a palette of eight bits is filled with: three bits of red and green, two of blue.
    const PALETTE: Format = Format {
        bits: 8,
        depth: 8,
        big_endian: false,
        true_colour: false,
        max: [7, 7, 3],
        shift: [5, 2, 0],
    };

    /// From the wire; the line says what no viewer can mean.
    pub fn parse(bytes: &[u8; 16]) -> Result<Format, String> {
        let max = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        let format = Format {
            bits: bytes[0],
            depth: bytes[1],
            big_endian: bytes[2] != 0,
            true_colour: bytes[3] != 0,
            max: [max(4), max(6), max(8)],
            shift: [bytes[10], bytes[11], bytes[12]],
        };
        if !matches!(format.bits, 8 | 16 | 32) {
            return Err(format!(
                "{} bits per pixel; 8, 16 and 32 are served",
                format.bits
            ));
        }
        if !format.true_colour {
            if format.bits != 8 {
                return Err(format!(
                    "a palette of {} bits per pixel; 8 are served",
                    format.bits
                ));
            }
            return Ok(Format::PALETTE);
        }
        for (max, shift) in format.max.iter().zip(format.shift) {
            if shift >= format.bits || u64::from(*max) << shift >= 1 << format.bits {
                return Err(format!(
                    "a channel of up to {max} at bit {shift} in {} bits per pixel",
                    format.bits
                ));
            }
        }
        Ok(format)
    }

    /// For the wire.
    pub fn bytes(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[0] = self.bits;
        bytes[1] = self.depth;
        bytes[2] = self.big_endian.into();
        bytes[3] = self.true_colour.into();
        for (index, max) in self.max.iter().enumerate() {
            bytes[4 + 2 * index..6 + 2 * index].copy_from_slice(&max.to_be_bytes());
        }
        bytes[10..13].copy_from_slice(&self.shift);
        bytes
    }

    /// The palette's colours, red, green, blue, 16 bits each; nothing if there is none.
    pub fn palette(&self) -> Option<Vec<[u16; 3]>> {
        let colour = |value: u16| {
            std::array::from_fn(|channel| {
                let max = self.max[channel];
                let part = (value >> self.shift[channel]) & max;
                (u32::from(part) * 0xffff / u32::from(max)) as u16
            })
        };
        (!self.true_colour).then(|| (0..256).map(colour).collect())
    }
}

/// Turns `0x00RRGGBB` into a viewer's pixels and those into bytes.
#[derive(Debug, Clone)]
pub struct Writer {
    format: Format,
    tables: Box<[[u32; 256]; 3]>,
    compact: Compact,
}

/// How the shorter pixels of ZRLE and tight look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Compact {
    /// As they are.
    Whole,
    /// The lower three bytes.
    Low,
    /// The upper three bytes.
    High,
}

impl Writer {
    /// For `format`.
    pub fn new(format: Format) -> Writer {
        let table = |channel: usize| {
            let max = u32::from(format.max[channel]);
            std::array::from_fn(|value| ((value as u32 * max + 127) / 255) << format.shift[channel])
        };
        let end = |channel: usize| (u64::from(format.max[channel])) << format.shift[channel];
        let short = format.bits == 32 && format.depth <= 24 && format.true_colour;
        let compact = if short && (0..3).all(|channel| end(channel) < 1 << 24) {
            Compact::Low
        } else if short && format.shift.iter().all(|shift| *shift >= 8) {
            Compact::High
        } else {
            Compact::Whole
        };
        Writer {
            format,
            tables: Box::new([table(0), table(1), table(2)]),
            compact,
        }
    }

    /// What it writes.
    pub fn format(&self) -> &Format {
        &self.format
    }

    /// Bytes of a pixel.
    pub fn bytes(&self) -> usize {
        usize::from(self.format.bits / 8)
    }

    /// Replaces each `0x00RRGGBB` by the viewer's value.
    pub fn convert(&self, pixels: &mut [u32]) {
        if self.format == Format::OURS {
            pixels.iter_mut().for_each(|pixel| *pixel &= 0xff_ffff);
            return;
        }
        let [red, green, blue] = &*self.tables;
        for pixel in pixels {
            let [b, g, r, _] = pixel.to_le_bytes();
            *pixel = red[usize::from(r)] | green[usize::from(g)] | blue[usize::from(b)];
        }
    }

    /// Appends a pixel.
    pub fn put(&self, pixel: u32, out: &mut Vec<u8>) {
        let bytes = self.bytes();
        if self.format.big_endian {
            out.extend_from_slice(&pixel.to_be_bytes()[4 - bytes..]);
        } else {
            out.extend_from_slice(&pixel.to_le_bytes()[..bytes]);
        }
    }

    /// Bytes of a CPIXEL (RFC 6143, 7.7.5).
    pub fn compact_bytes(&self) -> usize {
        match self.compact {
            Compact::Whole => self.bytes(),
            Compact::Low | Compact::High => 3,
        }
    }

    /// Appends a CPIXEL.
    pub fn put_compact(&self, pixel: u32, out: &mut Vec<u8>) {
        let shifted = match self.compact {
            Compact::Whole => return self.put(pixel, out),
            Compact::Low => pixel,
            Compact::High => pixel >> 8,
        };
        if self.format.big_endian {
            out.extend_from_slice(&shifted.to_be_bytes()[1..]);
        } else {
            out.extend_from_slice(&shifted.to_le_bytes()[..3]);
        }
    }

    /// Tight's own short pixel: three bytes, red first, if pixels have 32 bits and 24 of them count.
    pub fn is_tight(&self) -> bool {
        self.format.bits == 32 && self.format.depth == 24 && self.format.max == [255; 3]
    }

    /// Appends a TPIXEL (tight).
    pub fn put_tight(&self, pixel: u32, out: &mut Vec<u8>) {
        if self.is_tight() {
            out.extend(self.format.shift.map(|shift| (pixel >> shift) as u8));
        } else {
            self.put(pixel, out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RGB565: Format = Format {
        bits: 16,
        depth: 16,
        big_endian: true,
        true_colour: true,
        max: [31, 63, 31],
        shift: [11, 5, 0],
    };

    #[test]
    fn pixels_are_scaled_and_ordered_as_the_viewer_wants() {
        let writer = Writer::new(RGB565);
        let mut pixels = [0xff_ff00, 0x00_00ff, 0x80_8080];
        writer.convert(&mut pixels);
        assert_eq!(pixels, [0xffe0, 0x001f, 0x8410]);
        let mut out = Vec::new();
        writer.put(pixels[0], &mut out);
        assert_eq!(out, [0xff, 0xe0]);
        assert_eq!(writer.compact_bytes(), 2);
    }

    #[test]
    fn short_pixels_leave_out_the_byte_without_meaning() {
        let mut out = Vec::new();
        let low = Writer::new(Format::OURS);
        low.put_compact(0x112233, &mut out);
        low.put_tight(0x112233, &mut out);
        let high = Writer::new(Format {
            shift: [24, 16, 8],
            big_endian: true,
            ..Format::OURS
        });
        high.put_compact(0x1122_3300, &mut out);
        assert_eq!(out, [0x33, 0x22, 0x11, 0x11, 0x22, 0x33, 0x11, 0x22, 0x33]);
    }

    #[test]
    fn format_comes_back_and_nonsense_is_named() {
        assert_eq!(Format::parse(&RGB565.bytes()), Ok(RGB565));
        for wrong in [
            Format { bits: 24, ..RGB565 },
            Format {
                shift: [12, 5, 0],
                ..RGB565
            },
            Format {
                shift: [255, 5, 0],
                ..RGB565
            },
            Format {
                true_colour: false,
                ..RGB565
            },
        ] {
            assert!(Format::parse(&wrong.bytes()).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn palette_has_white_at_its_end() {
        let bytes = Format {
            bits: 8,
            true_colour: false,
            ..RGB565
        }
        .bytes();
        let format = Format::parse(&bytes).unwrap();
        let palette = format.palette().unwrap();
        assert_eq!(
            (palette.len(), palette[0], palette[255]),
            (256, [0; 3], [0xffff; 3])
        );
        let mut pixels = [0xff_ffff, 0xff_0000];
        Writer::new(format).convert(&mut pixels);
        assert_eq!(pixels, [0xff, 0xe0]);
    }
}
