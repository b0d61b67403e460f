//! A 93C46: 64 words of 16 bits behind three wires (Microchip 93C46 data sheet, "Functional description").
//!
//! ```text
//!   CS high, then on each rising CLK: DI 1, two bits of opcode, six of address --> READ: a 0 and 16 bits on DO, on and on
//! ```
//! Reading only: cards keep their address there, and no guest has to change it.

use serde::{Deserialize, Serialize};

/// Words.
pub(super) const WORDS: usize = 64;
const READ: u16 = 0b10;

/// The wires' levels.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Wires {
    pub(super) select: bool,
    pub(super) clock: bool,
    pub(super) data: bool,
}

/// Where a command is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Microwire {
    clock: bool,
    /// Bits taken since the start bit, itself counted; 0: none yet.
    taken: u8,
    command: u16,
    /// Bits given of the word at `address`.
    given: u8,
    address: u8,
    reading: bool,
    output: bool,
}

impl Microwire {
    /// The wires change; DO stands in [`Self::output`] then.
    pub(super) fn drive(&mut self, wires: Wires, words: &[u16; WORDS]) {
        let rising = wires.clock && !self.clock;
        if !wires.select {
            *self = Microwire {
                clock: wires.clock,
                // Not driven, pulled up: ready.
                output: true,
                ..Microwire::default()
            };
            return;
        }
        self.clock = wires.clock;
        if !rising {
            return;
        }
        if self.reading {
            let word = words[usize::from(self.address) % WORDS];
            self.output = word >> (15 - self.given % 16) & 1 != 0;
            self.given += 1;
            if self.given == 16 {
                self.given = 0;
                self.address = (self.address + 1) % WORDS as u8;
            }
            return;
        }
        if self.taken == 0 && !wires.data || self.taken > 8 {
            return;
        }
        self.taken += 1;
        self.command = (self.command << 1 | u16::from(wires.data)) & 0x1ff;
        if self.taken == 9 && self.command >> 6 & 3 == READ {
            self.reading = true;
            self.address = (self.command & 0x3f) as u8;
            self.given = 0;
            // The dummy bit.
            self.output = false;
        }
    }

    /// DO.
    pub(super) fn output(&self) -> bool {
        self.output
    }

    pub(super) fn is_sound(&self) -> bool {
        self.given < 16 && usize::from(self.address) < WORDS && self.taken <= 9
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock(chip: &mut Microwire, data: bool, words: &[u16; WORDS]) -> bool {
        for clock in [false, true] {
            let wires = Wires {
                select: true,
                clock,
                data,
            };
            chip.drive(wires, words);
        }
        chip.output()
    }

    #[test]
    fn words_are_read_bit_by_bit_and_one_after_the_other() {
        let words: [u16; WORDS] = std::array::from_fn(|at| 0x1234 + at as u16);
        let mut chip = Microwire::default();
        chip.drive(Wires::default(), &words);
        // A leading zero is no start.
        clock(&mut chip, false, &words);
        let command = 0b110_000101u16;
        let last = (0..9)
            .rev()
            .map(|bit| clock(&mut chip, command >> bit & 1 != 0, &words))
            .last();
        assert_eq!(last, Some(false), "the dummy bit");
        for expected in [0x1239, 0x123a] {
            let word = (0..16).fold(0, |word, _| {
                word << 1 | u16::from(clock(&mut chip, false, &words))
            });
            assert_eq!(word, expected);
        }
        chip.drive(Wires::default(), &words);
        assert!(chip.output(), "ready");
    }
}
