//! Host bridge: 82441FX (Intel 440FX PCIset data sheet 290549, chapter 3).
//!
//! All of the first MiB but the VGA window is RAM that can be read and written at any time, as in Xen's HVM domains: the
//! PAM registers are kept and do nothing. There is no system management mode, so SMRAM stays closed.

use crate::device::{Device, Region, Turn, Width};
use crate::pci::{Function, Identity, Pci, SavedConfig};
use crate::state::{self, StateError};
use serde_json::Value;

const VERSION: u64 = 1;
/// PAM0 to PAM6: what the first MiB's upper parts are.
const PAM: std::ops::RangeInclusive<u8> = 0x59..=0x5f;
/// PAM of RAM that is read and written.
const RAM: u8 = 0x33;
/// SMRAM control: bits 4 to 6 (open, close, lock) are kept, nothing is enabled.
const SMRAM: u8 = 0x72;

/// The bridge.
#[derive(Debug)]
pub struct HostBridge {
    function: Function,
}

impl Default for HostBridge {
    fn default() -> HostBridge {
        HostBridge::new()
    }
}

impl HostBridge {
    /// As it is switched on, but with RAM behind all of PAM.
    pub fn new() -> HostBridge {
        let identity = Identity {
            vendor: 0x8086,
            device: 0x1237,
            class: 0x06_0000,
            revision: 2,
            // Firmware for QEMU looks for QEMU's subsystem here before it trusts fw_cfg and this chipset's registers.
            subsystem: (0x1af4, 0x1100),
            pin: 0,
            multifunction: false,
        };
        let mut function = Function::new(identity, [None; 6]);
        for offset in PAM {
            function.own_byte(offset, RAM, 0xff);
        }
        function.own_byte(SMRAM, 0x02, 0x70);
        HostBridge { function }
    }
}

impl Device for HostBridge {
    fn name(&self) -> &str {
        "host-bridge"
    }

    fn pci(&mut self) -> Option<&mut dyn Pci> {
        Some(self)
    }

    fn read(&mut self, _region: Region, _offset: u64, width: Width, _turn: &mut Turn) -> u32 {
        width.mask()
    }

    fn write(
        &mut self,
        _region: Region,
        _offset: u64,
        _width: Width,
        _value: u32,
        _turn: &mut Turn,
    ) {
    }

    fn wake(&mut self, _turn: &mut Turn, _processors: u16) {
        // It keeps what firmware set up, as the memory does.
    }

    fn reset(&mut self, _turn: &mut Turn) {
        *self = HostBridge::new();
    }

    fn save(&self) -> Value {
        state::wrap(VERSION, &self.function.save())
    }

    fn restore(&mut self, saved: &Value) -> Result<(), StateError> {
        let (_, config): (_, SavedConfig) = state::unwrap(self.name(), VERSION, saved)?;
        self.function.restore(&config, "host-bridge")
    }
}

impl Pci for HostBridge {
    fn function(&mut self) -> &mut Function {
        &mut self.function
    }
}
