//! The USB controller of the PIIX3 (82371SB data sheet, function 2; Universal Host Controller Interface 1.1).
//!
//! ```text
//!   ports of BAR 4: command, status, interrupts, frame number, list's address, start of frame, two ports
//!   running: every ms a frame (schedule.rs), together up to 4 ms late while nothing moves
//!      --> status, and the interrupt pin while a status that is enabled is set
//!   port: reset --> its device has address 0; enabled --> it answers
//! ```
//! Every access first does the frames that are due, so that the frame number and all else are as of now.

use super::plugged::{Inside, Plug, Plugged};
use super::schedule::Walk;
use crate::device::{Device, Pointing, Region, Touch, Turn, Width};
use crate::pci::{self, Bar, BarKind, Function, Identity, Pci};
use crate::state::StateError;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Root ports, and so devices at most.
pub const PORTS: usize = 2;
/// ns of a frame.
const FRAME_NS: u64 = 1_000_000;
/// Frames that are done at once at most; the others of a longer time are left out.
const AT_ONCE: u64 = 8;
/// Frames that are waited for together while nothing moves.
const LAZY: u64 = 4;
const VERSION: u64 = 1;

/// USBCMD: runs, is reset, resets the bus; what else can be written.
const RUN: u16 = 1;
const HOST_RESET: u16 = 1 << 1;
const BUS_RESET: u16 = 1 << 2;
const COMMAND: u16 = 0xff & !HOST_RESET;
/// USBSTS: interrupt, error, system error, nonsense in the schedule, halted.
const COMPLETE: u16 = 1;
const ERROR: u16 = 1 << 1;
const SYSTEM: u16 = 1 << 3;
const PROCESS: u16 = 1 << 4;
const HALTED: u16 = 1 << 5;
/// USBINTR: errors, complete, short.
const ON_ERROR: u16 = 1;
const ON_COMPLETE: u16 = 1 << 2;
const ON_SHORT: u16 = 1 << 3;
/// PORTSC: somebody is there, came or went; enabled, became disabled; always 1; reset; suspended.
const THERE: u16 = 1;
const CAME: u16 = 1 << 1;
const ENABLED: u16 = 1 << 2;
const DISABLED: u16 = 1 << 3;
const RESUME: u16 = 1 << 6;
const ALWAYS: u16 = 1 << 7;
const PORT_RESET: u16 = 1 << 9;
const SUSPENDED: u16 = 1 << 12;

/// The controller with its devices.
#[derive(Debug)]
pub struct Uhci {
    function: Function,
    state: State,
    devices: Vec<Plugged>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    command: u16,
    status: u16,
    /// A short packet is why the status says complete.
    short: bool,
    /// A descriptor that asked for it is.
    asked: bool,
    interrupts: u16,
    frame: u16,
    list: u32,
    start: u8,
    ports: [u16; PORTS],
    /// Only in images.
    devices: Vec<Inside>,
    /// When the next frame begins, while it runs.
    next: u64,
    /// The last frames moved nothing.
    lazy: bool,
    pin: bool,
}

impl State {
    /// As after a reset; the devices come to ports that were reset, too.
    fn new(devices: &mut [Plugged]) -> State {
        let mut state = State {
            command: 0,
            status: HALTED,
            short: false,
            asked: false,
            interrupts: 0,
            frame: 0,
            list: 0,
            start: 64,
            ports: [0; PORTS],
            devices: Vec::new(),
            next: 0,
            lazy: false,
            pin: false,
        };
        state.plug(devices);
        state
    }

    /// All ports as after a reset of the bus: who is there has just come.
    fn plug(&mut self, devices: &mut [Plugged]) {
        for (number, port) in self.ports.iter_mut().enumerate() {
            *port = match devices.get_mut(number) {
                Some(device) => {
                    device.reset();
                    THERE | CAME
                }
                None => 0,
            };
        }
    }

    fn runs(&self) -> bool {
        self.command & RUN != 0
    }
}

impl Uhci {
    /// Switched on, with these devices at its ports; the first [`PORTS`] of them.
    pub fn new(devices: Vec<Plug>) -> Uhci {
        let identity = Identity {
            vendor: 0x8086,
            device: 0x7020,
            class: 0x0c_0300,
            revision: 1,
            subsystem: (0, 0),
            pin: 4,
            multifunction: false,
        };
        let ports = Some(Bar {
            kind: BarKind::Io,
            size: 32,
        });
        let mut function = Function::new(identity, [None, None, None, None, ports, None]);
        set_own(&mut function);
        let devices = devices.into_iter().take(PORTS).map(Plugged::new);
        let mut devices: Vec<Plugged> = devices.collect();
        Uhci {
            function,
            state: State::new(&mut devices),
            devices,
        }
    }

    /// Does the frames that are due.
    fn catch_up(&mut self, turn: &mut Turn) {
        if !self.state.runs() || turn.now < self.state.next {
            return;
        }
        let due = (turn.now - self.state.next) / FRAME_NS + 1;
        let done = due.min(AT_ONCE);
        // Those that nobody waits for any more.
        self.state.frame = self.state.frame.wrapping_add((due - done) as u16) & 0x7ff;
        let mut moved = false;
        for _ in 0..done {
            moved |= self.frame(turn);
            if !self.state.runs() {
                break;
            }
            self.state.frame = self.state.frame.wrapping_add(1) & 0x7ff;
        }
        self.state.lazy = !moved;
        self.state.next = self.state.next.saturating_add(due.saturating_mul(FRAME_NS));
        self.settle(turn);
    }

    /// One frame; whether data moved in it.
    fn frame(&mut self, turn: &mut Turn) -> bool {
        if !self.function.is_master() {
            return false;
        }
        let at = u64::from(self.state.list) + u64::from(self.state.frame & 0x3ff) * 4;
        let enabled = self
            .state
            .ports
            .map(|port| port & (ENABLED | SUSPENDED) == ENABLED);
        let walk = Walk::new(turn.memory, &mut self.devices, &enabled, turn.now);
        let seen = match walk.run(at) {
            Ok(seen) => seen,
            Err(_) => {
                self.halt(SYSTEM);
                return false;
            }
        };
        self.state.asked |= seen.complete;
        self.state.short |= seen.short;
        if seen.complete || seen.short {
            self.state.status |= COMPLETE;
        }
        if seen.error {
            self.state.status |= ERROR;
        }
        if seen.nonsense {
            self.halt(PROCESS);
        }
        seen.moved
    }

    fn halt(&mut self, why: u16) {
        self.state.status |= why | HALTED;
        self.state.command &= !RUN;
    }

    /// Brings the interrupt pin to what status and enables make of it.
    fn settle(&mut self, turn: &mut Turn) {
        let State {
            status, interrupts, ..
        } = self.state;
        let complete = self.state.asked && interrupts & ON_COMPLETE != 0
            || self.state.short && interrupts & ON_SHORT != 0;
        let level = status & COMPLETE != 0 && complete
            || status & ERROR != 0 && interrupts & ON_ERROR != 0
            || status & (SYSTEM | PROCESS) != 0;
        turn.set_pin(&mut self.state.pin, level);
    }

    fn command(&mut self, value: u16, now: u64) {
        if value & HOST_RESET != 0 {
            let pin = self.state.pin;
            self.state = State::new(&mut self.devices);
            self.state.pin = pin;
            return;
        }
        if value & BUS_RESET != 0 && self.state.command & BUS_RESET == 0 {
            self.state.plug(&mut self.devices);
        }
        let ran = self.state.runs();
        self.state.command = value & COMMAND;
        match (ran, self.state.runs()) {
            (false, true) => {
                self.state.status &= !HALTED;
                self.state.next = now.saturating_add(FRAME_NS);
                self.state.lazy = false;
            }
            (true, false) => self.state.status |= HALTED,
            _ => {}
        }
    }

    fn status(&mut self, value: u16) {
        self.state.status &= !(value & (COMPLETE | ERROR | 1 << 2 | SYSTEM | PROCESS));
        if value & COMPLETE != 0 {
            (self.state.asked, self.state.short) = (false, false);
        }
    }

    fn port(&mut self, number: usize, value: u16) {
        let port = &mut self.state.ports[number];
        let begins = value & PORT_RESET != 0 && *port & PORT_RESET == 0;
        let kept = THERE | (*port & (CAME | DISABLED) & !value);
        let written = ENABLED | RESUME | PORT_RESET | SUSPENDED;
        *port = *port & kept | value & written;
        let Some(device) = self.devices.get_mut(number) else {
            // Nobody to enable.
            *port &= !(ENABLED | THERE);
            return;
        };
        if begins {
            device.reset();
        }
        if *port & PORT_RESET != 0 {
            *port &= !ENABLED;
        }
    }

    /// The register that holds the byte at `offset`, and the offset of its first byte.
    fn register(&self, offset: u64) -> (u16, u64) {
        let state = &self.state;
        match offset {
            0x00..=0x01 => (state.command, 0),
            0x02..=0x03 => (state.status, 2),
            0x04..=0x05 => (state.interrupts, 4),
            0x06..=0x07 => (state.frame, 6),
            0x08..=0x09 => (state.list as u16, 8),
            0x0a..=0x0b => ((state.list >> 16) as u16, 10),
            0x0c => (state.start.into(), 12),
            0x10..=0x13 => {
                let number = (offset as usize - 0x10) / 2;
                (state.ports[number] | ALWAYS, offset & !1)
            }
            // No third port: bit 7 is clear there.
            _ => (0, offset & !1),
        }
    }

    fn put(&mut self, offset: u64, value: u16, now: u64) {
        match offset {
            0x00 => self.command(value, now),
            0x02 => self.status(value),
            0x04 => self.state.interrupts = value & 0xf,
            // Only while it is halted.
            0x06 if !self.state.runs() => self.state.frame = value & 0x7ff,
            0x08 => self.state.list = self.state.list & 0xffff_0000 | u32::from(value & 0xf000),
            0x0a => self.state.list = self.state.list & 0xffff | u32::from(value) << 16,
            0x10 | 0x12 => self.port((offset as usize - 0x10) / 2, value),
            _ => {}
        }
    }
}

/// Registers of its own in configuration space: USB 1.0 at 0x60; keyboards emulated by firmware (0xc0) are not.
fn set_own(function: &mut Function) {
    function.own_byte(0x60, 0x10, 0);
    function.own_byte(0xc0, 0x00, 0x3f);
    function.own_byte(0xc1, 0x20, 0x20);
}

impl Pci for Uhci {
    fn function(&mut self) -> &mut Function {
        &mut self.function
    }
}

impl Device for Uhci {
    fn name(&self) -> &str {
        "uhci"
    }

    fn pci(&mut self) -> Option<&mut dyn Pci> {
        Some(self)
    }

    fn read(&mut self, _region: Region, offset: u64, width: Width, turn: &mut Turn) -> u32 {
        self.catch_up(turn);
        let mut value = 0;
        for at in 0..width.bytes() as u64 {
            let (word, first) = self.register(offset + at);
            let byte = word.to_le_bytes()[(offset + at - first) as usize & 1];
            value |= u32::from(byte) << (8 * at);
        }
        value
    }

    fn write(&mut self, _region: Region, offset: u64, width: Width, value: u32, turn: &mut Turn) {
        self.catch_up(turn);
        match (offset, width) {
            (0x0c, Width::Byte) => self.state.start = value as u8 & 0x7f,
            // Bytes are for the start of frames alone.
            (_, Width::Byte) => {}
            (_, Width::Word) => self.put(offset, value as u16, turn.now),
            (_, Width::Dword) => {
                self.put(offset, value as u16, turn.now);
                self.put(offset + 2, (value >> 16) as u16, turn.now);
            }
        }
        self.settle(turn);
    }

    fn next(&self) -> Option<u64> {
        let wait = if self.state.lazy { LAZY - 1 } else { 0 };
        let at = self.state.next.saturating_add(wait * FRAME_NS);
        self.state.runs().then_some(at)
    }

    fn tick(&mut self, turn: &mut Turn) {
        self.catch_up(turn);
    }

    fn attend(&mut self, turn: &mut Turn) {
        self.devices.iter_mut().for_each(Plugged::attend);
        // Who waits for the medium asks again with the next frame.
        self.state.lazy = false;
        self.catch_up(turn);
    }

    fn pointing(&self) -> Option<Pointing> {
        self.devices.iter().find_map(Plugged::pointing)
    }

    fn touch(&mut self, touch: Touch, _turn: &mut Turn) -> bool {
        let mut devices = self.devices.iter_mut();
        devices.any(|device| device.touch(touch))
    }

    fn reset(&mut self, turn: &mut Turn) {
        self.function.reset();
        set_own(&mut self.function);
        let pin = self.state.pin;
        self.state = State::new(&mut self.devices);
        self.state.pin = pin;
        self.settle(turn);
    }

    fn save(&self) -> Value {
        let inside = self.devices.iter().map(|device| device.inside().clone());
        let state = State {
            devices: inside.collect(),
            ..self.state.clone()
        };
        self.function.wrap(VERSION, &state)
    }

    fn restore(&mut self, saved: &Value) -> Result<(), StateError> {
        let (config, mut state) = pci::unwrap::<State>(self.name(), VERSION, saved)?;
        let wrong = |why: &str| StateError::wrong("uhci", why);
        let pairs = || self.devices.iter().zip(&state.devices);
        if state.devices.len() != self.devices.len()
            || !pairs().all(|(here, there)| here.fits(there))
        {
            return Err(wrong("other devices are plugged in"));
        }
        if pairs().any(|(here, there)| here.is_wild(there))
            || state.frame > 0x7ff
            || state.list & 0xfff != 0
        {
            return Err(wrong("registers or devices that cannot be so"));
        }
        self.function.restore(&config, "uhci")?;
        let there = std::mem::take(&mut state.devices);
        for (device, inside) in self.devices.iter_mut().zip(there) {
            device.take_up(inside);
        }
        self.state = state;
        Ok(())
    }
}
