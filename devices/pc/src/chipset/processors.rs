//! Which processors the machine has, and which are to come or go (ACPI 6.4, chapters 5.6.6 and 8.4). The registers are our own; the
//! DSDT's methods (noxen-hvmloader) read and write them.
//!
//! ```text
//!   0xaf00  +0   present: a bit for each processor     +8  wanted: the same     +16  changed: writing 1 clears
//!           +24  a processor's number: the guest has let go of it, and it goes
//!
//!   somebody wants others --> wanted, changed --GPE 2--> guest: Notify --> takes it into use, or writes its number
//! ```

use crate::device::Ports;
use serde::{Deserialize, Serialize};

/// Where the registers are.
pub const PORTS: Ports = Ports {
    first: 0xaf00,
    count: 32,
};
const PRESENT: usize = 0;
const WANTED: usize = 8;
const CHANGED: usize = 16;
const LET_GO: usize = 24;
/// The processor that boots, which stays.
const FIRST: u64 = 1;

/// The registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Processors {
    present: u64,
    wanted: u64,
    changed: u64,
}

impl Processors {
    /// Those of `present` are there, and nothing else is wanted.
    pub fn new(present: u64) -> Processors {
        Processors {
            present: present | FIRST,
            wanted: present | FIRST,
            changed: 0,
        }
    }

    /// Those that are there, a bit for each.
    pub fn present(&self) -> u64 {
        self.present
    }

    /// A byte of the registers.
    pub fn byte(&self, offset: usize) -> u8 {
        let of = |register: u64| register.to_le_bytes()[offset % 8];
        match offset {
            PRESENT..WANTED => of(self.present),
            WANTED..CHANGED => of(self.wanted),
            CHANGED..LET_GO => of(self.changed),
            _ => 0,
        }
    }

    /// The guest writes a byte; true if a processor has gone.
    pub fn write_byte(&mut self, offset: usize, value: u8) -> bool {
        match offset {
            CHANGED..LET_GO => self.changed &= !(u64::from(value) << (offset % 8 * 8)),
            LET_GO => {
                let bit = 1u64.checked_shl(value.into()).unwrap_or(0);
                // One that nobody wants gone stays, whatever the guest writes.
                let goes = bit & self.present & !self.wanted;
                self.present &= !goes;
                return goes != 0;
            }
            _ => {}
        }
        false
    }

    /// These are wanted from now on; true if the guest is to be told. Those that come are there at once.
    pub fn want(&mut self, wanted: u64) -> bool {
        let wanted = wanted | FIRST;
        let different = wanted ^ self.wanted;
        // What the guest has not looked at yet and is undone need not be looked at.
        self.changed ^= different;
        self.wanted = wanted;
        self.present |= wanted;
        different != 0
    }

    /// None: a state in which no machine can be.
    pub fn checked(self) -> Option<Processors> {
        let is_one = self.present & self.wanted & FIRST != 0 && self.wanted & !self.present == 0;
        is_one.then_some(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn register(processors: &Processors, first: usize) -> u64 {
        let bytes = std::array::from_fn(|index| processors.byte(first + index));
        u64::from_le_bytes(bytes)
    }

    #[test]
    fn processor_comes_at_once_and_goes_when_the_guest_lets_go_of_it() {
        let mut processors = Processors::new(1);
        let all =
            |processors: &Processors| [PRESENT, WANTED, CHANGED].map(|at| register(processors, at));
        assert!(processors.want(0b1011));
        assert_eq!(all(&processors), [0b1011, 0b1011, 0b1010]);
        assert!(!processors.write_byte(CHANGED, 0b1010));
        assert_eq!(all(&processors), [0b1011, 0b1011, 0]);
        assert!(!processors.want(0b1011));
        assert!(processors.want(0b0011));
        assert_eq!(all(&processors), [0b1011, 0b0011, 0b1000]);
        assert!(processors.write_byte(LET_GO, 3));
        assert_eq!(all(&processors), [0b0011, 0b0011, 0b1000]);
    }

    #[test]
    fn processors_that_are_wanted_do_not_go() {
        let mut processors = Processors::new(0b111);
        processors.want(0);
        for number in [0, 3, 63, 64, 255] {
            assert!(!processors.write_byte(LET_GO, number));
        }
        processors.want(0b111);
        for number in 0..3 {
            assert!(!processors.write_byte(LET_GO, number));
        }
        assert_eq!(
            (processors.present(), register(&processors, CHANGED)),
            (0b111, 0)
        );
    }

    #[test]
    fn states_that_no_machine_is_in_are_none() {
        let processors = |present, wanted| Processors {
            present,
            wanted,
            changed: u64::MAX,
        };
        assert!(processors(0b11, 0b01).checked().is_some());
        assert!(processors(0b10, 0b10).checked().is_none());
        assert!(processors(0b01, 0b11).checked().is_none());
    }
}
