//! ISA bridge: 82371SB, PIIX3 (Intel data sheet 290550, chapter 2).
//!
//! ```text
//!   PIRQRC A..D (0x60..0x63) --> Effect::Routes       port 0x92: A20, fast reset
//!                                                     port 0xcf9: reset control
//! ```

use crate::device::{Device, Effect, Ports, Region, Turn, Width};
use crate::pci::{self, Function, Identity, Pci};
use crate::state::StateError;
use serde::{Deserialize, Serialize};
use serde_json::Value;

const VERSION: u64 = 1;
const PORTS: &[Ports] = &[
    Ports {
        first: 0x92,
        count: 1,
    },
    Ports {
        first: 0xcf9,
        count: 1,
    },
];
const PORT_92: usize = 0;
const FAST_RESET: u8 = 1;
const A20: u8 = 2;
/// Reset control: bit 1 chooses a hard reset, a rising bit 2 does it.
const RESET_NOW: u8 = 4;
const RESET_BITS: u8 = 6;

/// PIRQ route control A to D.
const PIRQ: u8 = 0x60;
const PIRQ_OFF: u8 = 0x80;
/// ISA interrupts that a PCI line may be: 3 to 7, 9 to 12, 14, 15.
const ALLOWED: u16 = 0b1101_1110_1111_1000;

/// Registers without effect here: (offset, start, bits that can be written).
const PLAIN: &[(u8, u8, u8)] = &[
    (0x4c, 0x4d, 0xff),
    (0x4e, 0x03, 0xff),
    (0x4f, 0x00, 0x01),
    (0x69, 0x02, 0xfe),
    (0x6a, 0x00, 0x14),
    (0x70, 0x80, 0xef),
    (0x76, 0x0c, 0x8f),
    (0x77, 0x0c, 0x8f),
    (0x78, 0x02, 0x03),
    (0x80, 0x00, 0xff),
    (0x82, 0x00, 0x0f),
    (0xa0, 0x08, 0x1f),
    (0xa2, 0x00, 0xff),
    (0xa3, 0x00, 0xff),
    (0xaa, 0x00, 0xff),
    (0xab, 0x00, 0xff),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Registers {
    port92: u8,
    reset: u8,
}

/// The bridge.
#[derive(Debug)]
pub struct IsaBridge {
    function: Function,
    registers: Registers,
}

impl Default for IsaBridge {
    fn default() -> IsaBridge {
        IsaBridge::new()
    }
}

impl IsaBridge {
    /// As it is switched on: no PCI line is routed.
    pub fn new() -> IsaBridge {
        let identity = Identity {
            vendor: 0x8086,
            device: 0x7000,
            class: 0x06_0100,
            revision: 0,
            subsystem: (0x1af4, 0x1100),
            pin: 0,
            multifunction: true,
        };
        let mut function = Function::new(identity, [None; 6]);
        for (offset, value, mask) in PLAIN {
            function.own_byte(*offset, *value, *mask);
        }
        for offset in PIRQ..PIRQ + 4 {
            function.own_byte(offset, PIRQ_OFF, 0x8f);
        }
        IsaBridge {
            function,
            registers: Registers {
                port92: A20,
                reset: 0,
            },
        }
    }

    /// The ISA interrupts that PCI lines A to D are.
    pub fn routes(&self) -> [Option<u8>; 4] {
        std::array::from_fn(|index| {
            let route = self.function.byte(PIRQ + index as u8);
            let irq = route & 0x0f;
            (route & PIRQ_OFF == 0 && ALLOWED >> irq & 1 == 1).then_some(irq)
        })
    }
}

impl Device for IsaBridge {
    fn name(&self) -> &str {
        "isa-bridge"
    }

    fn ports(&self) -> &[Ports] {
        PORTS
    }

    fn pci(&mut self) -> Option<&mut dyn Pci> {
        Some(self)
    }

    fn read(&mut self, region: Region, _offset: u64, width: Width, _turn: &mut Turn) -> u32 {
        let byte = match region {
            Region::Ports(PORT_92) => self.registers.port92,
            _ => self.registers.reset,
        };
        // The ports behind belong to nobody.
        (width.mask() & !0xff) | u32::from(byte)
    }

    fn write(&mut self, region: Region, _offset: u64, _width: Width, value: u32, turn: &mut Turn) {
        let value = value as u8;
        match region {
            Region::Ports(PORT_92) => {
                let before =
                    std::mem::replace(&mut self.registers.port92, value & (A20 | FAST_RESET));
                if (before ^ value) & A20 != 0 {
                    turn.effects.push(Effect::A20(value & A20 != 0));
                }
                if !before & value & FAST_RESET != 0 {
                    turn.effects.push(Effect::Reset);
                }
            }
            _ => {
                let before = std::mem::replace(&mut self.registers.reset, value & RESET_BITS);
                if !before & value & RESET_NOW != 0 {
                    turn.effects.push(Effect::Reset);
                }
            }
        }
    }

    fn wake(&mut self, _turn: &mut Turn, _processors: u16) {
        // It keeps what firmware set up, which does not do so again.
    }

    fn reset(&mut self, turn: &mut Turn) {
        *self = IsaBridge::new();
        turn.effects.push(Effect::A20(true));
        turn.effects.push(Effect::Routes(self.routes()));
    }

    fn save(&self) -> Value {
        self.function.wrap(VERSION, &self.registers)
    }

    fn restore(&mut self, saved: &Value) -> Result<(), StateError> {
        let (config, saved): (_, Registers) = pci::unwrap(self.name(), VERSION, saved)?;
        self.function.restore(&config, "isa-bridge")?;
        self.registers = Registers {
            port92: saved.port92 & (A20 | FAST_RESET),
            reset: saved.reset & RESET_BITS,
        };
        Ok(())
    }
}

impl Pci for IsaBridge {
    fn function(&mut self) -> &mut Function {
        &mut self.function
    }

    fn config_written(&mut self, offset: u8, bytes: usize, turn: &mut Turn) {
        let touched = usize::from(offset)..usize::from(offset) + bytes;
        if touched.start < usize::from(PIRQ) + 4 && touched.end > usize::from(PIRQ) {
            turn.effects.push(Effect::Routes(self.routes()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::Ram;

    fn done(act: impl FnOnce(&mut Turn)) -> Vec<Effect> {
        let memory = Ram::new();
        let mut effects = Vec::new();
        act(&mut Turn {
            now: 0,
            memory: &memory,
            effects: &mut effects,
        });
        effects
    }

    #[test]
    fn routes_follow_their_registers_and_reserved_interrupts_are_none() {
        let mut bridge = IsaBridge::new();
        assert_eq!(bridge.routes(), [None; 4]);
        bridge.function.write(0x60, 4, 0x850d_0b0a);
        let effects = done(|turn| bridge.config_written(0x60, 4, turn));
        assert_eq!(effects, [Effect::Routes([Some(10), Some(11), None, None])]);
        assert!(done(|turn| bridge.config_written(0x64, 4, turn)).is_empty());
    }

    #[test]
    fn reset_comes_of_a_rising_bit_on_either_port() {
        let mut bridge = IsaBridge::new();
        for (port, first, second) in [(0, 2, 3), (1, 2, 6)] {
            let mut write =
                |value| done(|turn| bridge.write(Region::Ports(port), 0, Width::Byte, value, turn));
            assert!(write(first).is_empty());
            assert_eq!(write(second), [Effect::Reset]);
            assert!(write(second).is_empty());
        }
    }

    #[test]
    fn a20_is_told_when_it_changes() {
        let mut bridge = IsaBridge::new();
        let mut write =
            |value| done(|turn| bridge.write(Region::Ports(0), 0, Width::Byte, value, turn));
        assert_eq!(write(0), [Effect::A20(false)]);
        assert!(write(0).is_empty());
        assert_eq!(write(2), [Effect::A20(true)]);
    }
}
