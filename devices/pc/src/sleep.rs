//! Sleep control and status registers of a machine without the PC's power management (ACPI 6.4, 4.8.3.7: hardware-reduced).
//!
//! ```text
//!   +0  control: SLP_EN (bit 5) with SLP_TYP (bits 4:2) --> off       +1  status: nothing has woken it
//! ```

use crate::device::{Device, Effect, Ports, Region, Turn, Width};
use crate::state::{self, StateError};
use serde_json::Value;

/// Port of the control register; the status register is behind it.
pub const CONTROL: u16 = 0x600;
/// Value of SLP_TYP for S5, as the DSDT has it.
pub const S5: u8 = 5;

const PORTS: &[Ports] = &[Ports {
    first: CONTROL,
    count: 2,
}];
const SLP_EN: u32 = 1 << 5;
const VERSION: u64 = 1;

/// Both registers.
#[derive(Debug, Default)]
pub struct Sleep;

impl Device for Sleep {
    fn name(&self) -> &str {
        "sleep"
    }

    fn ports(&self) -> &[Ports] {
        PORTS
    }

    fn read(&mut self, _region: Region, _offset: u64, _width: Width, _turn: &mut Turn) -> u32 {
        0
    }

    fn write(&mut self, _region: Region, offset: u64, _width: Width, value: u32, turn: &mut Turn) {
        let kind = (value >> 2 & 7) as u8;
        if offset == 0 && value & SLP_EN != 0 && kind == S5 {
            turn.effects.push(Effect::PowerOff);
        }
    }

    fn reset(&mut self, _turn: &mut Turn) {}

    fn save(&self) -> Value {
        state::wrap(VERSION, &())
    }

    fn restore(&mut self, saved: &Value) -> Result<(), StateError> {
        state::unwrap::<()>(self.name(), VERSION, saved).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::Ram;

    fn written(offset: u64, value: u32) -> Vec<Effect> {
        let memory = Ram::new();
        let mut effects = Vec::new();
        let mut turn = Turn {
            now: 0,
            memory: &memory,
            effects: &mut effects,
        };
        Sleep.write(Region::Ports(0), offset, Width::Byte, value, &mut turn);
        effects
    }

    #[test]
    fn only_s5_with_slp_en_in_the_control_register_switches_off() {
        let off = u32::from(S5) << 2 | SLP_EN;
        assert_eq!(written(0, off), [Effect::PowerOff]);
        assert!(written(1, off).is_empty());
        assert!(written(0, off & !SLP_EN).is_empty());
        assert!(written(0, 3 << 2 | SLP_EN).is_empty());
    }
}
