//! Xen's platform device, by which a guest finds that it can have drivers for Xen (Xen, docs/misc/hvm-emulated-unplug.pandoc, pci-ids).
//!
//! ```text
//!   0x10  read, 2 bytes: magic   0x12  read, 1 byte: version of the protocol
//!   0x12  write, 2 bytes: product   0x10  write, 4 bytes: its build   0x12  write, 1 byte: a character for the log
//!   0x10  write, 2 bytes: what is unplugged --> Effect::Unplug
//!   BAR 0: 256 ports; 0 flags, 8 a character for the log           BAR 1: 16 MiB where a guest puts its grant table
//! ```
//! The machine shows the frames of the grant table inside BAR 1 by itself; the rest reads as zeros.

use crate::debug::TextLine;
use crate::device::{Device, Effect, Ports, Region, Turn, Width};
use crate::pci::{self, Bar, BarKind, Function, Identity, Pci};
use crate::state::StateError;
use serde::{Deserialize, Serialize};
use serde_json::Value;

const PORTS: &[Ports] = &[Ports {
    first: 0x10,
    count: 4,
}];
const MAGIC: u32 = 0x49d2;
/// Version 1: with product and build.
const PROTOCOL: u32 = 1;
/// Bytes of BAR 1.
const WINDOW: u32 = 16 << 20;
/// Flags that a guest can set: the ROM's memory is read-only.
const FLAGS: u8 = 1;
const VERSION: u64 = 1;

/// In [`Effect::Unplug`]: IDE disks, but no CDs.
pub const UNPLUG_DISKS: u16 = 1;
/// Network cards.
pub const UNPLUG_CARDS: u16 = 2;
/// IDE disks but the first channel's first one.
pub const UNPLUG_OTHER_DISKS: u16 = 4;
const UNPLUG: u16 = UNPLUG_DISKS | UNPLUG_CARDS | UNPLUG_OTHER_DISKS;

/// The device.
#[derive(Debug)]
pub struct Platform {
    function: Function,
    state: State,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    product: u16,
    build: u32,
    /// What was unplugged so far.
    unplugged: u16,
    flags: u8,
    line: TextLine,
}

impl Default for Platform {
    fn default() -> Platform {
        Platform::new()
    }
}

impl Platform {
    /// As it is switched on.
    pub fn new() -> Platform {
        let identity = Identity {
            vendor: 0x5853,
            device: 0x0001,
            class: 0xff_8000,
            revision: 1,
            subsystem: (0x5853, 0x0001),
            pin: 1,
            multifunction: false,
        };
        let bar = |kind, size| Some(Bar { kind, size });
        let bars = [
            bar(BarKind::Io, 0x100),
            bar(BarKind::Prefetchable, WINDOW),
            None,
            None,
            None,
            None,
        ];
        Platform {
            function: Function::new(identity, bars),
            state: State::default(),
        }
    }

    fn log(&mut self, value: u32, turn: &mut Turn) {
        if let Some(line) = self.state.line.put(value as u8) {
            turn.effects.push(Effect::Log(line));
        }
    }

    fn unplug(&mut self, value: u32, turn: &mut Turn) {
        let more = value as u16 & UNPLUG & !self.state.unplugged;
        self.state.unplugged |= more;
        if more != 0 {
            turn.effects.push(Effect::Unplug(more));
        }
    }
}

impl Device for Platform {
    fn name(&self) -> &str {
        "xen-platform"
    }

    fn ports(&self) -> &[Ports] {
        PORTS
    }

    fn pci(&mut self) -> Option<&mut dyn Pci> {
        Some(self)
    }

    fn read(&mut self, region: Region, offset: u64, width: Width, _turn: &mut Turn) -> u32 {
        match (region, offset, width) {
            (Region::Ports(_), 0, Width::Word) => MAGIC,
            (Region::Ports(_), 2, Width::Byte) => PROTOCOL,
            (Region::Ports(_), ..) => width.mask(),
            (Region::Bar(0), 0, Width::Byte) => u32::from(self.state.flags),
            (Region::Bar(1), ..) => 0,
            _ => width.mask(),
        }
    }

    fn write(&mut self, region: Region, offset: u64, width: Width, value: u32, turn: &mut Turn) {
        match (region, offset, width) {
            (Region::Ports(_), 0, Width::Word) => self.unplug(value, turn),
            (Region::Ports(_), 0, Width::Dword) => self.state.build = value,
            (Region::Ports(_), 2, Width::Word) => self.state.product = value as u16,
            (Region::Ports(_), 2, Width::Byte) | (Region::Bar(0), 8, Width::Byte) => {
                self.log(value, turn);
            }
            (Region::Bar(0), 0, Width::Byte) => self.state.flags = value as u8 & FLAGS,
            _ => {}
        }
    }

    fn reset(&mut self, _turn: &mut Turn) {
        // What was unplugged comes back only with a new machine.
        let unplugged = self.state.unplugged;
        *self = Platform::new();
        self.state.unplugged = unplugged;
    }

    fn save(&self) -> Value {
        self.function.wrap(VERSION, &self.state)
    }

    fn restore(&mut self, saved: &Value) -> Result<(), StateError> {
        let (config, mut state): (_, State) = pci::unwrap(self.name(), VERSION, saved)?;
        if state.unplugged & !UNPLUG != 0 || state.flags & !FLAGS != 0 {
            return Err(StateError::wrong(
                self.name(),
                "flags that the device does not have",
            ));
        }
        self.function.restore(&config, "xen-platform")?;
        state.line.cut();
        self.state = state;
        Ok(())
    }
}

impl Pci for Platform {
    fn function(&mut self) -> &mut Function {
        &mut self.function
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::turn as with;

    const FIXED: Region = Region::Ports(0);

    #[test]
    fn protocol_is_spoken_as_linux_speaks_it() {
        let mut device = Platform::new();
        let ((), effects) = with(|turn| {
            assert_eq!(device.read(FIXED, 0, Width::Word, turn), 0x49d2);
            assert_eq!(device.read(FIXED, 2, Width::Byte, turn), 1);
            device.write(FIXED, 2, Width::Word, 3, turn);
            device.write(FIXED, 0, Width::Dword, 0x0006_01c0, turn);
            // Not on the list of those that are not served.
            assert_eq!(device.read(FIXED, 0, Width::Word, turn), 0x49d2);
            device.write(FIXED, 0, Width::Word, 3, turn);
        });
        assert_eq!(effects, [Effect::Unplug(UNPLUG_DISKS | UNPLUG_CARDS)]);
        assert_eq!((device.state.product, device.state.build), (3, 0x6_01c0));
    }

    #[test]
    fn what_is_unplugged_stays_so_and_is_told_once() {
        let mut device = Platform::new();
        let ((), effects) = with(|turn| {
            for value in [1, 1, 0xffff, 0] {
                device.write(FIXED, 0, Width::Word, value, turn);
                device.reset(turn);
            }
        });
        let rest = UNPLUG_CARDS | UNPLUG_OTHER_DISKS;
        assert_eq!(effects, [Effect::Unplug(1), Effect::Unplug(rest)]);
    }

    #[test]
    fn text_goes_to_the_log_by_either_way() {
        let mut device = Platform::new();
        let ((), effects) = with(|turn| {
            for byte in b"PV " {
                device.write(FIXED, 2, Width::Byte, u32::from(*byte), turn);
            }
            for byte in b"up\n" {
                device.write(Region::Bar(0), 8, Width::Byte, u32::from(*byte), turn);
            }
        });
        assert_eq!(effects, [Effect::Log("PV up".into())]);
    }

    #[test]
    fn state_with_flags_that_it_does_not_have_is_refused() {
        let mut saved = Platform::new().save();
        saved["state"]["state"]["unplugged"] = 8.into();
        let error = Platform::new().restore(&saved);
        assert!(error.is_err(), "{saved}");
    }
}
