//! The mixer CT1745: volumes, which are kept and do nothing, and how the card is set up (Hardware Programming Guide, chapter 4).

use serde::{Deserialize, Serialize};

/// Set-up of interrupts and of DMA, which interrupts are pending.
const INTERRUPT: usize = 0x80;
const DMA: usize = 0x81;
const PENDING: usize = 0x82;
/// The lines of the bits of [`INTERRUPT`], and the one that the card comes with.
const LINES: [u8; 4] = [9, 5, 7, 10];
const LINE_5: u8 = 1 << 1;
/// The channels of [`DMA`] that are for bytes, for words, and those that the card comes with.
const NARROW: u8 = 0x0b;
const WIDE: u8 = 0xe0;
const CHANNELS_1_5: u8 = 1 << 1 | 1 << 5;
const REGISTERS: usize = 256;

/// Registers of before the CT1745, and the pair for left and right that each is in two halves.
const OLD: [(usize, usize); 5] = [
    (0x04, 0x32),
    (0x22, 0x30),
    (0x26, 0x34),
    (0x28, 0x36),
    (0x2e, 0x38),
];

/// The mixer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mixer {
    /// The register that is chosen.
    pub index: u8,
    registers: Vec<u8>,
}

impl Default for Mixer {
    fn default() -> Mixer {
        let mut mixer = Mixer {
            index: 0,
            registers: vec![0; REGISTERS],
        };
        mixer.registers[INTERRUPT] = LINE_5;
        mixer.registers[DMA] = CHANNELS_1_5;
        mixer.reset();
        mixer
    }
}

impl Mixer {
    /// Volumes as they come; the set-up stays.
    fn reset(&mut self) {
        self.registers[..INTERRUPT].fill(0);
        // Master, voice, MIDI: 24 of 31.
        for volume in 0x30..=0x35 {
            self.registers[volume] = 24 << 3;
        }
        // Outputs of line, CD, microphone; inputs; tones in the middle.
        for (register, value) in [
            (0x3c, 0x1f),
            (0x3d, 0x15),
            (0x3e, 0x0b),
            (0x44, 0x80),
            (0x45, 0x80),
            (0x46, 0x80),
            (0x47, 0x80),
        ] {
            self.registers[register] = value;
        }
        for (old, new) in OLD {
            self.registers[old] = both(self.registers[new], self.registers[new + 1]);
        }
    }

    /// The chosen register; `pending`: interrupts of 8 bits, of 16 bits.
    pub fn read(&self, pending: [bool; 2]) -> u8 {
        match usize::from(self.index) {
            PENDING => u8::from(pending[0]) | u8::from(pending[1]) << 1,
            index => self.registers[index],
        }
    }

    /// Writes the chosen register.
    pub fn write(&mut self, value: u8) {
        let index = usize::from(self.index);
        let value = match index {
            0 => return self.reset(),
            PENDING => return,
            INTERRUPT => value & 0x0f,
            DMA => value & (NARROW | WIDE),
            _ => value,
        };
        self.registers[index] = value;
        for (old, new) in OLD {
            if index == old {
                self.registers[new] = value & 0xf0 | 8;
                self.registers[new + 1] = value << 4 | 8;
            } else if index == new || index == new + 1 {
                self.registers[old] = both(self.registers[new], self.registers[new + 1]);
            }
        }
    }

    /// The ISA line of its interrupt, if it has one.
    pub fn line(&self) -> Option<u8> {
        let bits = self.registers[INTERRUPT];
        let found = (0..).zip(LINES).find(|(bit, _)| bits >> bit & 1 != 0);
        found.map(|(_, line)| line)
    }

    /// The DMA channel for samples of 16 bits (`wide`) or 8, if it has one; without one for words those go by bytes.
    pub fn channel(&self, wide: bool) -> Option<u8> {
        let bits = self.registers[DMA];
        let chosen = match bits & WIDE {
            words if wide && words != 0 => words,
            _ => bits & NARROW,
        };
        (chosen != 0).then(|| chosen.trailing_zeros() as u8)
    }

    /// No mixer is so.
    pub fn is_wild(&self) -> bool {
        self.registers.len() != REGISTERS
    }
}

/// Left and right in one register of four bits each.
fn both(left: u8, right: u8) -> u8 {
    left & 0xf0 | right >> 4
}
