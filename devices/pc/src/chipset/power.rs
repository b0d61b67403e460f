//! Power management: function 3 of 82371AB, PIIX4 (Intel data sheet 290562, chapter 7; ACPI 6.4, chapter 4.8).
//!
//! ```text
//!   PMBA (0x40) places   +0 PM1_STS  +2 PM1_EN  +4 PM1_CNT  +8 PM_TMR  +0xc GPE_STS  +0xe GPE_EN
//!   0xb2, 0xb3           APM control (0xf1: ACPI on, 0xf0: off) and status
//!   0xaf00               processors that come and go (processors.rs) --> GPE 2
//!
//!   STS & EN, GPE_STS & GPE_EN --(SCI_EN)--> ISA line 9        PM1_CNT: SLP_EN with SLP_TYP --> off or asleep
//!   awake again: WAK_STS; nothing else is lost, as it has power all the time
//! ```
//! Without system management mode a write to 0xb2 does at once what a handler of it would do.

use super::processors::{self, Processors};
use crate::device::{Button, Device, Effect, Ports, Region, Turn, Width};
use crate::pci::{self, Function, Identity, Pci};
use crate::state::StateError;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The ISA line of the system control interrupt.
pub const SCI: u8 = 9;

/// 2: with processors.
const VERSION: u64 = 2;
/// Ports behind PMBA.
const PLACED: u16 = 0x40;
const PMBA: u8 = 0x40;
const PMREGMISC: u8 = 0x80;
/// DEVACTB, byte 3: APMC_EN. Set from the start, so that firmware does not set system management mode up.
const DEVACTB3: u8 = 0x5b;
const APMC_EN: u8 = 0x02;

const PORTS: &[Ports] = &[
    Ports {
        first: 0xb2,
        count: 2,
    },
    processors::PORTS,
];
const PROCESSORS: Region = Region::Ports(1);
/// The general event that tells of them.
const GPE_PROCESSORS: u16 = 1 << 2;
const ACPI_ENABLE: u8 = 0xf1;
const ACPI_DISABLE: u8 = 0xf0;

const STS_TIMER: u16 = 1;
const STS_POWER: u16 = 1 << 8;
const STS_SLEEP: u16 = 1 << 9;
const STS_WAKE: u16 = 1 << 15;
/// What of PM1_STS there is: TMR, BM, GBL, PWRBTN, SLPBTN, RTC, WAK.
const STS_BITS: u16 = STS_TIMER | 1 << 4 | 1 << 5 | STS_POWER | STS_SLEEP | 1 << 10 | STS_WAKE;
const EN_BITS: u16 = STS_TIMER | 1 << 5 | STS_POWER | STS_SLEEP | 1 << 10;
const CNT_SCI: u16 = 1;
const CNT_BITS: u16 = 0x1c03;
const CNT_SLEEP_NOW: u16 = 1 << 13;
/// Values of SLP_TYP, as the DSDT has them.
const S5: u16 = 0;
const S3: u16 = 1;
const S4: u16 = 2;

/// The timer's rate, Hz.
const RATE: u128 = 3_579_545;
const SECOND: u128 = 1_000_000_000;
/// TMR_STS is set whenever this bit of the 24-bit timer changes.
const TOGGLE: u32 = 23;

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
struct Registers {
    status: u16,
    enable: u16,
    control: u16,
    gpe_status: u16,
    gpe_enable: u16,
    apm: [u8; 2],
    /// Changes of the timer's top bit that TMR_STS has told of.
    toggles: u64,
    line: bool,
    /// None in states of version 1.
    #[serde(default)]
    processors: Option<Processors>,
}

/// The function.
#[derive(Debug)]
pub struct Power {
    function: Function,
    registers: Registers,
}

fn ticks(now: u64) -> u64 {
    (u128::from(now) * RATE / SECOND) as u64
}

/// The first moment at which the timer has `ticks`.
fn moment(ticks: u64) -> u64 {
    u64::try_from((u128::from(ticks) * SECOND).div_ceil(RATE)).unwrap_or(u64::MAX)
}

impl Power {
    /// As it is switched on, with those processors, a bit for each.
    pub fn new(processors: u64) -> Power {
        let identity = Identity {
            vendor: 0x8086,
            device: 0x7113,
            class: 0x06_8000,
            revision: 3,
            subsystem: (0x1af4, 0x1100),
            pin: 1,
            multifunction: false,
        };
        let mut function = Function::new(identity, [None; 6]);
        function.own_byte(PMBA, 1, 0xc0);
        function.own_byte(PMBA + 1, 0, 0xff);
        function.own_byte(PMREGMISC, 0, 1);
        for offset in 0x58..DEVACTB3 {
            function.own_byte(offset, 0, 0xff);
        }
        function.own_byte(DEVACTB3, APMC_EN, 0xff);
        Power {
            function,
            registers: Registers {
                processors: Some(Processors::new(processors)),
                ..Registers::default()
            },
        }
    }

    fn board(&mut self) -> &mut Processors {
        let registers = &mut self.registers.processors;
        registers.get_or_insert_with(|| Processors::new(u64::MAX))
    }

    fn base(&self) -> u16 {
        u16::from_le_bytes([
            self.function.byte(PMBA) & 0xc0,
            self.function.byte(PMBA + 1),
        ])
    }

    /// Brings TMR_STS up to `now`.
    fn catch_up(&mut self, now: u64) {
        let toggles = ticks(now) >> TOGGLE;
        if toggles > self.registers.toggles {
            self.registers.toggles = toggles;
            self.registers.status |= STS_TIMER;
        }
    }

    fn update(&mut self, turn: &mut Turn) {
        let registers = &mut self.registers;
        let wants = registers.status & registers.enable & EN_BITS != 0
            || registers.gpe_status & registers.gpe_enable != 0;
        let line = wants && registers.control & CNT_SCI != 0;
        if line != registers.line {
            registers.line = line;
            turn.effects.push(Effect::Line(SCI, line));
        }
    }

    fn byte(&self, offset: u64, now: u64) -> u8 {
        let registers = &self.registers;
        let timer = (ticks(now) as u32 & 0xff_ffff).to_le_bytes();
        let word = |value: u16| value.to_le_bytes()[offset as usize & 1];
        match offset {
            0 | 1 => word(registers.status),
            2 | 3 => word(registers.enable),
            4 | 5 => word(registers.control),
            8..=11 => timer[offset as usize - 8],
            12 | 13 => word(registers.gpe_status),
            14 | 15 => word(registers.gpe_enable),
            _ => 0,
        }
    }

    fn write_byte(&mut self, offset: u64, value: u8, turn: &mut Turn) {
        let registers = &mut self.registers;
        let high = offset & 1 == 1;
        let shift = if high { 8 } else { 0 };
        let bits = u16::from(value) << shift;
        let lane = 0xff << shift;
        let set = |register: &mut u16, mask: u16| {
            *register = *register & !(lane & mask) | bits & mask;
        };
        match offset {
            0 | 1 => registers.status &= !bits,
            2 | 3 => set(&mut registers.enable, EN_BITS),
            4 | 5 => {
                set(&mut registers.control, CNT_BITS);
                if bits & CNT_SLEEP_NOW != 0 {
                    self.sleep(turn);
                }
            }
            12 | 13 => registers.gpe_status &= !bits,
            14 | 15 => set(&mut registers.gpe_enable, 0xffff),
            _ => {}
        }
    }

    fn sleep(&mut self, turn: &mut Turn) {
        match self.registers.control >> 10 & 7 {
            S5 | S4 => turn.effects.push(Effect::PowerOff),
            S3 => turn.effects.push(Effect::Sleep),
            _ => {}
        }
    }
}

impl Device for Power {
    fn name(&self) -> &str {
        "power"
    }

    fn ports(&self) -> &[Ports] {
        PORTS
    }

    fn pci(&mut self) -> Option<&mut dyn Pci> {
        Some(self)
    }

    fn read(&mut self, region: Region, offset: u64, width: Width, turn: &mut Turn) -> u32 {
        if region == PROCESSORS {
            let first = offset as usize;
            let processors = self.board();
            return (first..first + width.bytes())
                .rev()
                .fold(0, |value, at| value << 8 | u32::from(processors.byte(at)));
        }
        if let Region::Ports(_) = region {
            let bytes = self.registers.apm;
            return (0..width.bytes()).rev().fold(0, |value, index| {
                let byte = bytes.get(offset as usize + index).copied();
                value << 8 | u32::from(byte.unwrap_or(0xff))
            });
        }
        self.catch_up(turn.now);
        self.update(turn);
        (0..width.bytes() as u64).rev().fold(0, |value, index| {
            value << 8 | u32::from(self.byte(offset + index, turn.now))
        })
    }

    fn write(&mut self, region: Region, offset: u64, width: Width, value: u32, turn: &mut Turn) {
        self.catch_up(turn.now);
        for (index, byte) in value
            .to_le_bytes()
            .into_iter()
            .enumerate()
            .take(width.bytes())
        {
            let at = offset + index as u64;
            match region {
                PROCESSORS => {
                    let processors = self.board();
                    if processors.write_byte(at as usize, byte) {
                        turn.effects.push(Effect::Processors(processors.present()));
                    }
                }
                Region::Ports(_) => {
                    let Some(register) = self.registers.apm.get_mut(at as usize) else {
                        continue;
                    };
                    *register = byte;
                    match (at, byte) {
                        (0, ACPI_ENABLE) => self.registers.control |= CNT_SCI,
                        (0, ACPI_DISABLE) => self.registers.control &= !CNT_SCI,
                        _ => {}
                    }
                }
                _ => self.write_byte(at, byte, turn),
            }
        }
        self.update(turn);
    }

    fn next(&self) -> Option<u64> {
        let registers = &self.registers;
        let waited = registers.enable & STS_TIMER != 0
            && registers.status & STS_TIMER == 0
            && registers.control & CNT_SCI != 0;
        waited.then(|| moment((registers.toggles + 1) << TOGGLE))
    }

    fn tick(&mut self, turn: &mut Turn) {
        self.catch_up(turn.now);
        self.update(turn);
    }

    fn press(&mut self, button: Button, turn: &mut Turn) -> bool {
        self.registers.status |= match button {
            Button::Power => STS_POWER,
            Button::Sleep => STS_SLEEP,
        };
        self.update(turn);
        true
    }

    fn want_processors(&mut self, wanted: u64, turn: &mut Turn) -> bool {
        let before = self.board().present();
        if self.board().want(wanted) {
            self.registers.gpe_status |= GPE_PROCESSORS;
        }
        let present = self.board().present();
        if present != before {
            turn.effects.push(Effect::Processors(present));
        }
        self.update(turn);
        true
    }

    fn processors(&self) -> Option<u64> {
        self.registers
            .processors
            .map(|processors| processors.present())
    }

    fn wake(&mut self, turn: &mut Turn, _processors: u16) {
        self.registers.status |= STS_WAKE;
        self.update(turn);
    }

    fn reset(&mut self, turn: &mut Turn) {
        let line = self.registers.line;
        let present = self.registers.processors.map_or(1, |all| all.present());
        *self = Power::new(present);
        self.registers.line = line;
        self.registers.toggles = ticks(turn.now) >> TOGGLE;
        self.update(turn);
    }

    fn save(&self) -> Value {
        self.function.wrap(VERSION, &self.registers)
    }

    fn restore(&mut self, saved: &Value) -> Result<(), StateError> {
        let (config, saved): (_, Registers) = pci::unwrap(self.name(), VERSION, saved)?;
        let mut registers = saved;
        registers.status &= STS_BITS;
        registers.enable &= EN_BITS;
        registers.control &= CNT_BITS;
        registers.toggles = registers.toggles.min(u64::MAX >> (TOGGLE + 2));
        registers.processors =
            match registers.processors {
                Some(processors) => Some(processors.checked().ok_or_else(|| {
                    StateError::wrong("power", "processors that cannot be there")
                })?),
                None => self.registers.processors,
            };
        self.function.restore(&config, "power")?;
        self.registers = registers;
        Ok(())
    }
}

impl Pci for Power {
    fn function(&mut self) -> &mut Function {
        &mut self.function
    }

    fn placed(&self) -> Option<Ports> {
        let on = self.function.byte(PMREGMISC) & 1 == 1;
        let first = self.base();
        (on && first != 0).then_some(Ports {
            first,
            count: PLACED,
        })
    }

    fn config_written(&mut self, offset: u8, _bytes: usize, turn: &mut Turn) {
        if matches!(offset, 0x40..=0x43 | 0x80..=0x83) {
            turn.effects.push(Effect::Remap);
        }
    }
}

#[cfg(test)]
#[path = "power_tests.rs"]
mod tests;
