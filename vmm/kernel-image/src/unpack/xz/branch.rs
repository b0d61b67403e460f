//! The x86 branch filter, undone: relative targets of CALL (e8) and JMP (e9), which the packer made absolute.
//!
//! A byte e8 or e9 may also be data or the inside of an instruction. The rule, which packer and unpacker share, is to take
//! the four bytes after it for a target only if the highest is 00 or ff, and only if the e8/e9 bytes shortly before,
//! which were looked at and left alone, do not make that doubtful. `doubt` remembers those: bits 1 to 3 stand for the
//! opcode one to three bytes before, bits 5 to 7 say that its own highest byte was 00 or ff.
//! Source: The .xz File Format, 5.3.2; behaviour compared with xz itself in the tests.

use memchr::memchr2;

/// Opcode and target.
const SIZE: usize = 5;

/// Whether a highest byte is that of a near target.
fn is_near(byte: u8) -> bool {
    byte == 0 || byte == 0xff
}

/// Undoes the filter over one whole block, whose first byte was at `start` when it was applied.
pub(super) fn decode_x86(block: &mut [u8], start: u32) {
    let mut doubt = 0_u32;
    let mut at = 0;
    // The opcode looked at before this one, if it was left alone.
    let mut before: Option<usize> = None;
    while let Some(skip) = block.get(at..).and_then(|rest| memchr2(0xe8, 0xe9, rest)) {
        at += skip;
        let Some(target) = block
            .get(at + 1..)
            .and_then(|t| t.first_chunk::<4>())
            .copied()
        else {
            break;
        };
        doubt = match before.map(|b| at - b) {
            Some(gap) if gap <= SIZE => (0..gap).fold(doubt, |d, _| (d & 0x77) << 1),
            _ => 0,
        };
        before = Some(at);
        let highest = target[3];
        if is_near(highest) && settled(doubt) {
            let next = start.wrapping_add(at as u32).wrapping_add(SIZE as u32);
            let relative = to_relative(u32::from_le_bytes(target), next, doubt);
            // A target has 25 bits, sign-extended.
            let sign = (relative >> 24 & 1).wrapping_neg() << 24;
            block[at + 1..at + SIZE]
                .copy_from_slice(&(relative & 0x00ff_ffff | sign).to_le_bytes());
            at += SIZE;
            doubt = 0;
        } else {
            at += 1;
            doubt |= 1 | u32::from(is_near(highest)) << 4;
        }
    }
}

/// Whether the history allows to take the bytes for a target.
fn settled(doubt: u32) -> bool {
    matches!(doubt >> 1, 0 | 1 | 2 | 4)
}

/// Absolute to relative.
///
/// An opcode left alone one to three bytes before has its own highest byte inside this target. The packer must not turn
/// that byte into 00 or ff, or the unpacker would take the earlier opcode after all; where it would, it flipped the bits
/// from there down and converted once more. Once is enough: the second result is the complement of the first input.
fn to_relative(absolute: u32, next: u32, doubt: u32) -> u32 {
    let relative = absolute.wrapping_sub(next);
    let above = match doubt >> 1 {
        0 => return relative,
        1 => 8,
        2 => 16,
        _ => 24,
    };
    if is_near((relative >> (24 - above)) as u8) {
        (relative ^ u32::MAX >> above).wrapping_sub(next)
    } else {
        relative
    }
}
