//! The bit blitter (CL-GD5446 Technical Reference Manual, "BitBLT Engine"), on the bytes of the memory.
//!
//! ```text
//!   width, height, pitches, addresses, mode, raster operation --> one row after the other
//!     source: memory | the guest (collected until all of it is there) | pattern of 8x8 | one colour
//!     source bits --colour expansion--> pixels --operation, transparency--> destination
//! ```
//! A blit moves at most as many bytes as the memory has; what would lie beyond its end is lost or zero.

use crate::backing::Backing;
use serde::{Deserialize, Serialize};

pub(super) const BACKWARDS: u8 = 0x01;
pub(super) const TO_GUEST: u8 = 0x02;
pub(super) const FROM_GUEST: u8 = 0x04;
const TRANSPARENT: u8 = 0x08;
const PATTERN: u8 = 0x40;
const EXPAND: u8 = 0x80;
/// Of the extended mode: source bits inverted; one colour.
const INVERT: u8 = 0x02;
const SOLID: u8 = 0x04;

/// What the registers ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Blit {
    /// Bytes of a row, 1 to 8192.
    pub(super) width: u32,
    /// Rows, 1 to 2048.
    pub(super) height: u32,
    pub(super) to_pitch: u32,
    pub(super) from_pitch: u32,
    pub(super) to: u32,
    pub(super) from: u32,
    pub(super) mode: u8,
    pub(super) extended: u8,
    pub(super) operation: u8,
    pub(super) foreground: u32,
    pub(super) background: u32,
    /// The colour that leaves the destination as it is.
    pub(super) transparent: u16,
    /// Pixels, or bits, left out at the start of each row.
    pub(super) skip: u8,
}

impl Blit {
    /// Bytes of a pixel.
    fn pixel(&self) -> usize {
        usize::from(self.mode >> 4 & 3) + 1
    }

    /// Bytes of a row that comes from the guest.
    fn guest_row(&self) -> u32 {
        if self.mode & EXPAND == 0 {
            return self.width.div_ceil(4) * 4;
        }
        let pixels = self.width / self.pixel() as u32;
        match self.extended & 1 {
            0 => pixels.div_ceil(8),
            _ => pixels.div_ceil(32) * 4,
        }
    }

    /// Bytes that the guest gives.
    pub(super) fn guest_bytes(&self) -> u32 {
        match (self.mode & PATTERN != 0, self.mode & EXPAND != 0) {
            (true, true) => 8,
            (true, false) => 64 * self.pixel() as u32,
            // Without expansion rows follow each other, and all together is made whole.
            (false, true) => self.guest_row() * self.height,
            (false, false) => self.guest_row() * self.height,
        }
    }

    /// It moves no more than `memory` bytes.
    pub(super) fn is_bounded(&self, memory: u64) -> bool {
        u64::from(self.width) * u64::from(self.height) <= memory
            && u64::from(self.guest_bytes()) <= memory
    }

    /// Does it; `guest` is what the guest gave, if it gives the source.
    pub(super) fn run(&self, memory: &dyn Backing, guest: &[u8]) {
        let from_guest = self.mode & FROM_GUEST != 0;
        let mut source = vec![0; self.width as usize];
        let mut row = vec![0; self.width as usize];
        for number in 0..self.height {
            let back = self.mode & BACKWARDS != 0;
            let start = |base: u32, pitch: u32| {
                let away = u64::from(number) * u64::from(pitch);
                match back {
                    // The address is that of a row's last byte.
                    true => u64::from(base).wrapping_sub(away + u64::from(self.width) - 1),
                    false => u64::from(base) + away,
                }
            };
            let at = start(self.to, self.to_pitch);
            let pattern = self.mode & PATTERN != 0;
            if self.extended & SOLID != 0 && self.mode & EXPAND != 0 {
                self.expand(&[0xff], number, &mut source);
            } else if self.mode & EXPAND != 0 {
                let mut bits = vec![
                    0;
                    if pattern {
                        8
                    } else {
                        self.guest_row() as usize
                    }
                ];
                let from = if pattern {
                    0
                } else {
                    number * self.guest_row()
                };
                match from_guest {
                    true => copy_from(guest, from as usize, &mut bits),
                    false if pattern => memory.read(u64::from(self.from & !7), &mut bits),
                    false => memory.read(u64::from(self.from) + u64::from(from), &mut bits),
                }
                self.expand(&bits, number, &mut source);
            } else if pattern {
                let mut bytes = vec![0; 64 * self.pixel()];
                match from_guest {
                    true => copy_from(guest, 0, &mut bytes),
                    false => {
                        memory.read(u64::from(self.from & !(bytes.len() as u32 - 1)), &mut bytes)
                    }
                }
                let line = 8 * self.pixel();
                let first = (number + (self.from & 7)) as usize % 8 * line;
                for (index, byte) in source.iter_mut().enumerate() {
                    *byte = bytes[first + index % line];
                }
            } else if from_guest {
                copy_from(guest, (number * self.guest_row()) as usize, &mut source);
            } else {
                memory.read(start(self.from, self.from_pitch), &mut source);
            }
            memory.read(at, &mut row);
            self.combine(&source, &mut row, number);
            let left = (usize::from(self.skip & 31) * self.skip_unit()).min(row.len());
            memory.write(at.wrapping_add(left as u64), &row[left..]);
        }
    }

    /// Bytes for each step of [`Self::skip`].
    fn skip_unit(&self) -> usize {
        match self.mode & EXPAND {
            0 if self.pixel() == 3 => 1,
            _ => self.pixel(),
        }
    }

    /// Whether pixel `pixel` of a row has its bit set, in a row of bits that starts anew every eighth line of a pattern.
    fn bit(&self, bits: &[u8], number: u32, pixel: usize) -> bool {
        let set = if self.extended & SOLID != 0 {
            true
        } else if self.mode & PATTERN != 0 {
            let line = (number + (self.from & 7)) as usize % 8;
            bits[line] >> (7 - pixel % 8) & 1 != 0
        } else {
            let byte = bits.get(pixel / 8).copied().unwrap_or(0);
            byte >> (7 - pixel % 8) & 1 != 0
        };
        set ^ (self.extended & INVERT != 0 && self.extended & SOLID == 0)
    }

    /// Pixels of foreground and background.
    fn expand(&self, bits: &[u8], number: u32, into: &mut [u8]) {
        let size = self.pixel();
        for (pixel, bytes) in into.chunks_mut(size).enumerate() {
            let colour = match self.bit(bits, number, pixel) {
                true => self.foreground,
                false => self.background,
            };
            let colour = colour.to_le_bytes();
            let count = bytes.len();
            bytes.copy_from_slice(&colour[..count]);
        }
    }

    /// Puts `source` on `row`.
    fn combine(&self, source: &[u8], row: &mut [u8], _: u32) {
        let size = self.pixel();
        let transparent = self.mode & TRANSPARENT != 0;
        let expands = self.mode & EXPAND != 0 && self.extended & SOLID == 0;
        let background = self.background.to_le_bytes();
        let key = self.transparent.to_le_bytes();
        for (from, to) in source.chunks(size).zip(row.chunks_mut(size)) {
            let mut result = [0; 4];
            for (index, (from, to)) in from.iter().zip(to.iter()).enumerate() {
                result[index] = operate(self.operation, *from, *to);
            }
            let result = &result[..to.len()];
            let keeps = match (transparent, expands) {
                (false, _) => false,
                // Of expanded bits, those that are clear.
                (true, true) => {
                    *from == background[..from.len()] && self.foreground != self.background
                }
                (true, false) => match size {
                    1 => result[0] == key[0],
                    2 => result == key,
                    _ => false,
                },
            };
            if !keeps {
                to.copy_from_slice(result);
            }
        }
    }
}

/// Fills `into` from `from` on; what is not there is zero.
fn copy_from(bytes: &[u8], from: usize, into: &mut [u8]) {
    let rest = bytes.get(from..).unwrap_or(&[]);
    let count = rest.len().min(into.len());
    into[..count].copy_from_slice(&rest[..count]);
    into[count..].fill(0);
}

/// A raster operation on a byte.
fn operate(operation: u8, source: u8, destination: u8) -> u8 {
    let (s, d) = (source, destination);
    match operation {
        0x00 => 0,
        0x05 => s & d,
        0x09 => s & !d,
        0x0b => !d,
        0x0d => s,
        0x0e => 0xff,
        0x50 => !s & d,
        0x59 => s ^ d,
        0x6d => s | d,
        0x90 => !(s | d),
        0x95 => !(s ^ d),
        0xad => s | !d,
        0xd0 => !s,
        0xd6 => !s | d,
        0xda => !(s & d),
        // 0x06, and what does not exist: nothing happens.
        _ => d,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backing::Unmapped;

    const COPY: Blit = Blit {
        width: 4,
        height: 2,
        to_pitch: 16,
        from_pitch: 8,
        to: 0x100,
        from: 0,
        mode: 0,
        extended: 0,
        operation: 0x0d,
        foreground: 0x11,
        background: 0x22,
        transparent: 0,
        skip: 0,
    };

    fn memory() -> Unmapped {
        let memory = Unmapped::new(1 << 12);
        memory.write(0, &(0..16).collect::<Vec<u8>>());
        memory
    }

    fn get(memory: &Unmapped, at: u64, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        memory.read(at, &mut bytes);
        bytes
    }

    #[test]
    fn rows_are_copied_forwards_and_backwards() {
        let memory = memory();
        COPY.run(&memory, &[]);
        assert_eq!(get(&memory, 0x100, 4), [0, 1, 2, 3]);
        assert_eq!(get(&memory, 0x110, 5), [8, 9, 10, 11, 0]);
        // One byte to the right over itself, from the end.
        let back = Blit {
            width: 8,
            height: 1,
            to: 8,
            from: 7,
            mode: BACKWARDS,
            ..COPY
        };
        back.run(&memory, &[]);
        assert_eq!(get(&memory, 0, 10), [0, 0, 1, 2, 3, 4, 5, 6, 7, 9]);
    }

    #[test]
    fn bits_become_colours_and_clear_ones_may_be_left_out() {
        let memory = memory();
        let letters = Blit {
            width: 8,
            height: 1,
            to: 0,
            mode: EXPAND | FROM_GUEST,
            ..COPY
        };
        assert_eq!(letters.guest_bytes(), 1);
        letters.run(&memory, &[0b1010_0000]);
        assert_eq!(get(&memory, 0, 4), [0x11, 0x22, 0x11, 0x22]);
        let clear = Blit {
            mode: letters.mode | TRANSPARENT,
            foreground: 0x33,
            ..letters
        };
        clear.run(&memory, &[0b0100_0000]);
        assert_eq!(get(&memory, 0, 4), [0x11, 0x33, 0x11, 0x22]);
        let wide = Blit {
            mode: EXPAND | FROM_GUEST | 0x10,
            foreground: 0x1234,
            ..letters
        };
        wide.run(&memory, &[0x80]);
        assert_eq!(get(&memory, 0, 4), [0x34, 0x12, 0x22, 0]);
    }

    #[test]
    fn one_colour_fills_and_operations_combine() {
        let memory = memory();
        let fill = Blit {
            mode: EXPAND | PATTERN,
            extended: SOLID,
            ..COPY
        };
        fill.run(&memory, &[]);
        assert_eq!(get(&memory, 0x100, 5), [0x11, 0x11, 0x11, 0x11, 0]);
        let flip = Blit {
            operation: 0x0b,
            ..COPY
        };
        flip.run(&memory, &[]);
        assert_eq!(get(&memory, 0x110, 2), [0xee, 0xee]);
        for operation in 0..=255 {
            operate(operation, 0x5a, 0xc3);
        }
    }

    #[test]
    fn wild_blits_stay_within_the_memory() {
        let memory = memory();
        let wild = Blit {
            to: u32::MAX >> 10,
            from: 3,
            mode: BACKWARDS,
            ..COPY
        };
        wild.run(&memory, &[]);
        let low = Blit { to: 1, ..wild };
        low.run(&memory, &[]);
        assert!(!Blit {
            width: 8192,
            height: 2048,
            ..COPY
        }
        .is_bounded(1 << 22));
    }
}
