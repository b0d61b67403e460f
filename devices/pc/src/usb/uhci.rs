//! The USB controller of the PIIX3 (82371SB data sheet, function 2; Universal Host Controller Interface 1.1).
//!
//! ```text
//!   ports of BAR 4: command, status, interrupts, frame number, list's address, start of frame, two ports
//!   running: every ms a frame (schedule.rs), together up to 4 ms late while nothing moves
//!      --> status, and the interrupt pin while a status that is enabled is set
//!   port: reset --> its device has address 0; enabled --> it answers
//!   plug, unplug (tree.rs) --> the port, or its hub, tells; a bus that the guest suspended is woken (resume detected)
//! ```
//! Every access first does the frames that are due, so that the frame number and all else are as of now.

use super::plugged::{Inside, Plug, Plugged};
use super::schedule::Walk;
use super::tree::{Listed, PlugError, Saved, Socket, Tree};
use crate::device::{Device, Pointing, Region, Touch, Turn, Width};
use crate::pci::{self, Bar, BarKind, Function, Identity, Pci};
use crate::state::StateError;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Root ports.
pub const PORTS: usize = 2;
/// ns of a frame.
const FRAME_NS: u64 = 1_000_000;
/// Frames that are done at once at most; the others of a longer time are left out.
const AT_ONCE: u64 = 8;
/// Frames that are waited for together while nothing moves.
const LAZY: u64 = 4;
/// 1: devices are at the root ports, in order, and there are no hubs.
const VERSION: u64 = 2;

/// USBCMD: runs, is reset, resets the bus, suspends it, wakes it; what else can be written.
const RUN: u16 = 1;
const HOST_RESET: u16 = 1 << 1;
const BUS_RESET: u16 = 1 << 2;
const SUSPEND_BUS: u16 = 1 << 3;
const WAKE_BUS: u16 = 1 << 4;
const COMMAND: u16 = 0xff & !HOST_RESET;
/// USBSTS: interrupt, error, something woke a suspended bus, system error, nonsense in the schedule, halted.
const COMPLETE: u16 = 1;
const ERROR: u16 = 1 << 1;
const RESUMED: u16 = 1 << 2;
const SYSTEM: u16 = 1 << 3;
const PROCESS: u16 = 1 << 4;
const HALTED: u16 = 1 << 5;
/// USBINTR: errors, resume, complete, short.
const ON_ERROR: u16 = 1;
const ON_RESUME: u16 = 1 << 1;
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
    devices: Tree,
}

/// A device in an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
enum Item {
    /// Of version 2.
    Placed(Saved),
    /// Of version 1: where it is follows from its place in the list.
    Bare(Inside),
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
    devices: Vec<Item>,
    /// When the next frame begins, while it runs.
    next: u64,
    /// The last frames moved nothing.
    lazy: bool,
    pin: bool,
}

impl State {
    /// As after a reset; the devices come to ports that were reset, too.
    fn new(devices: &mut Tree) -> State {
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
    fn plug(&mut self, devices: &mut Tree) {
        devices.reset();
        for (port, status) in (1..).zip(&mut self.ports) {
            *status = match devices.is_taken(Socket { hub: 0, port }) {
                true => THERE | CAME,
                false => 0,
            };
        }
    }

    fn runs(&self) -> bool {
        self.command & RUN != 0
    }
}

impl Uhci {
    /// Switched on, with these devices plugged in, as many as there is room for.
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
        let mut tree = Tree::default();
        for plug in devices {
            if tree.plug(plug).is_err() {
                break;
            }
        }
        Uhci {
            function,
            state: State::new(&mut tree),
            devices: tree,
        }
    }

    /// What is plugged in.
    pub fn listed(&self) -> Vec<Listed> {
        self.devices.listed()
    }

    /// Plugs something in; the guest is told as by hardware.
    pub fn plug(&mut self, plug: Plug, turn: &mut Turn) -> Result<(), PlugError> {
        self.catch_up(turn);
        for at in self.devices.plug(plug)? {
            self.changed(at, true);
        }
        self.settle(turn);
        Ok(())
    }

    /// Takes the device of that number out, whatever the guest does with it.
    pub fn unplug(&mut self, number: u8, turn: &mut Turn) -> Result<(), PlugError> {
        self.catch_up(turn);
        let at = self.devices.unplug(number)?;
        self.changed(at, false);
        self.settle(turn);
        Ok(())
    }

    /// Takes a disk out by its own number.
    pub fn unplug_disk(&mut self, disk: u32, turn: &mut Turn) -> Result<(), PlugError> {
        let number = self.devices.number_of_disk(disk);
        self.unplug(number.ok_or(PlugError::NotThere)?, turn)
    }

    /// Something came or went at a port.
    fn changed(&mut self, at: Socket, there: bool) {
        if at.hub == 0 {
            let port = &mut self.state.ports[usize::from(at.port) - 1];
            let was_enabled = *port & ENABLED != 0;
            *port &= !(THERE | ENABLED | SUSPENDED | RESUME);
            *port |= CAME | if there { THERE } else { 0 };
            *port |= if was_enabled { DISABLED } else { 0 };
        }
        // Suspended hubs on the way wake, and the port of the first one.
        let mut hub = at.hub;
        while let Some(above) = self.devices.socket_of(hub) {
            match self.devices.hub(above.hub) {
                Some(next) => next.resume(above.port),
                None => {
                    let port = &mut self.state.ports[usize::from(above.port) - 1];
                    *port |= if *port & SUSPENDED != 0 { RESUME } else { 0 };
                }
            }
            hub = above.hub;
        }
        if self.state.command & SUSPEND_BUS != 0 {
            self.state.command |= WAKE_BUS;
            self.state.status |= RESUMED;
        }
        // Who asks for news of ports is answered with the next frame.
        self.state.lazy = false;
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
            || status & RESUMED != 0 && interrupts & ON_RESUME != 0
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
        self.state.status &= !(value & (COMPLETE | ERROR | RESUMED | SYSTEM | PROCESS));
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
        let at = Socket {
            hub: 0,
            port: number as u8 + 1,
        };
        if !self.devices.is_taken(at) {
            // Nobody to enable.
            *port &= !(ENABLED | THERE);
            return;
        }
        if begins {
            self.devices.reset_at(at);
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

    fn usb(&mut self) -> Option<&mut Uhci> {
        Some(self)
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
        let devices = self.devices.saved().into_iter();
        let state = State {
            devices: devices.map(Item::Placed).collect(),
            ..self.state.clone()
        };
        self.function.wrap(VERSION, &state)
    }

    fn restore(&mut self, saved: &Value) -> Result<(), StateError> {
        let (config, mut state) = pci::unwrap::<State>(self.name(), VERSION, saved)?;
        let wrong = |why: &str| StateError::wrong("uhci", why);
        let (mut bare, mut devices) = (Vec::new(), Vec::new());
        for item in std::mem::take(&mut state.devices) {
            match item {
                Item::Bare(inside) => bare.push(inside),
                Item::Placed(saved) => devices.push(saved),
            }
        }
        let is_first = saved.get("version").and_then(Value::as_u64) == Some(1);
        match is_first {
            true if devices.is_empty() => devices = self.devices.of_ports(bare),
            false if bare.is_empty() => {}
            _ => return Err(wrong("devices of another version")),
        }
        if let Some(why) = self.devices.refuses(&devices) {
            return Err(wrong(why));
        }
        if state.frame > 0x7ff || state.list & 0xfff != 0 {
            return Err(wrong("registers that cannot be so"));
        }
        self.function.restore(&config, "uhci")?;
        self.devices.take_up(devices);
        self.state = state;
        Ok(())
    }
}
