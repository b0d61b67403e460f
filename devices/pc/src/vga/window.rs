//! The window at 0xa0000: how accesses become bytes of the four planes (IBM VGA Technical Reference, "Graphics Controller").
//!
//! ```text
//!   address --map (gc 6)--> offset --chain 4--> byte
//!                                   odd/even--> plane by bit 0
//!                                   planar  --> all four planes, through latches, rotation, set/reset, function, bit mask
//! ```
//! A byte of plane p at offset a is byte `4 * a + p` of the memory, which is what chain 4 makes of it, too.

use super::registers::Registers;
use crate::backing::Backing;

/// One byte of each plane: those whose bit is set are 0xff.
pub(super) fn planes(bits: u8) -> u32 {
    (0..4).fold(0, |mask, plane| {
        mask | (u32::from(bits >> plane & 1) * 0xff) << (8 * plane)
    })
}

/// The same byte in each plane.
fn all(byte: u8) -> u32 {
    u32::from(byte) * 0x0101_0101
}

/// Offset into the planes of `at`, which counts from 0xa0000; nothing where no memory answers.
fn offset(registers: &Registers, at: u64, bank: u64) -> Option<u64> {
    let (first, length) = match registers.graphics[6] >> 2 & 3 {
        0 => (0, 0x2_0000),
        1 => (0, 0x1_0000),
        2 => (0x1_0000, 0x8000),
        _ => (0x1_8000, 0x8000),
    };
    let inside = at.checked_sub(first).filter(|inside| *inside < length)?;
    Some(inside + if first == 0 { bank } else { 0 })
}

fn odd_even(registers: &Registers, offset: u64) -> u64 {
    let plane = u64::from(registers.graphics[4] & 2) | offset & 1;
    (offset & !1) << 1 | plane
}

/// Reads a byte of the window.
pub(super) fn read(registers: &mut Registers, memory: &dyn Backing, at: u64, bank: u64) -> u8 {
    let Some(offset) = offset(registers, at, bank) else {
        return 0xff;
    };
    let byte = |at| {
        let mut byte = [0];
        memory.read(at, &mut byte);
        byte[0]
    };
    if registers.is_chained() {
        return byte(offset);
    }
    if registers.is_odd_even() {
        return byte(odd_even(registers, offset));
    }
    let mut latch = [0; 4];
    memory.read(offset * 4, &mut latch);
    registers.latch = u32::from_le_bytes(latch);
    if registers.graphics[5] & 8 == 0 {
        return latch[usize::from(registers.graphics[4] & 3)];
    }
    // Which pixels have the colour asked for, in the planes that matter.
    let care = planes(registers.graphics[7]);
    let differs = (registers.latch ^ planes(registers.graphics[2])) & care;
    !differs
        .to_le_bytes()
        .into_iter()
        .fold(0, |any, plane| any | plane)
}

/// Writes a byte of the window.
pub(super) fn write(registers: &Registers, memory: &dyn Backing, at: u64, bank: u64, value: u8) {
    let Some(offset) = offset(registers, at, bank) else {
        return;
    };
    let mask = registers.sequencer[2];
    if registers.is_chained() || registers.is_odd_even() {
        let at = match registers.is_chained() {
            true => offset,
            false => odd_even(registers, offset),
        };
        if mask >> (at & 3) & 1 != 0 {
            memory.write(at, &[value]);
        }
        return;
    }
    let g = &registers.graphics;
    let rotated = value.rotate_right(u32::from(g[3] & 7));
    let latch = registers.latch;
    let (value, bit_mask) = match g[5] & 3 {
        0 => {
            let set = planes(g[1]);
            (all(rotated) & !set | planes(g[0]) & set, g[8])
        }
        1 => {
            return put(memory, offset, latch, mask);
        }
        2 => (planes(value), g[8]),
        _ => (planes(g[0]), rotated & g[8]),
    };
    let value = match g[3] >> 3 & 3 {
        0 => value,
        1 => value & latch,
        2 => value | latch,
        _ => value ^ latch,
    };
    let bits = all(bit_mask);
    put(memory, offset, value & bits | latch & !bits, mask);
}

/// Writes the planes of `mask`.
fn put(memory: &dyn Backing, offset: u64, value: u32, mask: u8) {
    let bytes = value.to_le_bytes();
    if mask & 0xf == 0xf {
        return memory.write(offset * 4, &bytes);
    }
    for (plane, byte) in bytes.iter().enumerate() {
        if mask >> plane & 1 != 0 {
            memory.write(offset * 4 + plane as u64, &[*byte]);
        }
    }
}
