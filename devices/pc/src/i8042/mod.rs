//! The keyboard controller (8042 with PS/2 firmware: IBM PS/2 Technical Reference, "Keyboard and Auxiliary Device Controller").
//!
//! ```text
//!   0x64 write: command ---.                         .--- keyboard (scancodes of set 2) -- line 1
//!   0x60 write: argument --+--> controller <---------+
//!   0x60 read: output <----'    one byte at a time   '--- mouse ------------------------- line 12
//! ```
//! Keys and movements come by [`Device::touch`]. Places of the pointer become movements; while left Ctrl and left Alt are
//! down they do not, so that a viewer's pointer and the guest's can be brought together again (manual, A.4.3).

mod keyboard;
mod mouse;
pub mod scancodes;
#[cfg(any(test, feature = "conformance"))]
pub mod subject;
#[cfg(test)]
mod tests;

use crate::device::{Device, Effect, Pointing, Ports, Region, Touch, Turn, Width};
use crate::state::{self, StateError};
use keyboard::Keyboard;
use mouse::Mouse;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::VecDeque;

const VERSION: u64 = 1;
const PORTS: [Ports; 2] = [
    Ports {
        first: 0x60,
        count: 1,
    },
    Ports {
        first: 0x64,
        count: 1,
    },
];
const KEYBOARD_LINE: u8 = 1;
const MOUSE_LINE: u8 = 12;

/// Status: a byte can be read.
const FULL: u8 = 1;
/// Status: the system has been tested; also bit 2 of the command byte.
const SYSTEM: u8 = 4;
/// Status: the last write was a command.
const COMMAND: u8 = 8;
/// Status: the keyboard is not locked.
const UNLOCKED: u8 = 0x10;
/// Status: the byte is the mouse's.
const AUX: u8 = 0x20;

/// Command byte: line 1, line 12, keyboard off, mouse off, translate.
const LINE_1: u8 = 1;
const LINE_12: u8 = 2;
const KEYBOARD_OFF: u8 = 0x10;
const MOUSE_OFF: u8 = 0x20;
const TRANSLATE: u8 = 0x40;

/// Output port: low resets the machine; A20.
const NO_RESET: u8 = 1;
const A20: u8 = 2;

/// Linux' codes of left Ctrl and left Alt, which hold the pointer back together.
const HOLD: [u16; 2] = [29, 56];
/// Linux' codes of buttons and their bits in a packet.
const BUTTONS: [(u16, u8); 5] = [(0x110, 1), (0x111, 2), (0x112, 4), (0x113, 8), (0x114, 16)];

/// Whose byte waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum From {
    Controller,
    Keyboard,
    Mouse,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    /// Its 32 bytes; the first is the command byte.
    ram: Vec<u8>,
    /// The output port's bits that last: reset and A20.
    port: u8,
    /// The byte at 0x60.
    output: Option<(u8, From)>,
    /// Answers of the controller that wait.
    answers: VecDeque<u8>,
    /// What was read last: an empty 0x60 reads the same.
    last: u8,
    /// The command that waits for its argument.
    command: Option<u8>,
    /// The last write went to 0x64.
    was_command: bool,
    /// 0xf0 came and is joined with the byte behind it.
    breaking: bool,
    keyboard: Keyboard,
    mouse: Mouse,
    /// Levels of lines 1 and 12.
    levels: (bool, bool),
    /// Where the pointer was.
    pointer: Option<(i32, i32)>,
    /// Which of [`HOLD`] are down.
    held: [bool; 2],
}

impl State {
    fn new() -> State {
        let mut ram = vec![0; 32];
        ram[0] = LINE_1 | LINE_12 | TRANSLATE;
        State {
            ram,
            port: NO_RESET | A20,
            output: None,
            answers: VecDeque::new(),
            last: 0,
            command: None,
            was_command: false,
            breaking: false,
            keyboard: Keyboard::new(),
            mouse: Mouse::new(),
            levels: (false, false),
            pointer: None,
            held: [false; 2],
        }
    }
}

/// The controller with both devices.
#[derive(Debug)]
pub struct I8042 {
    state: State,
}

impl Default for I8042 {
    fn default() -> I8042 {
        I8042::new()
    }
}

impl I8042 {
    /// Just switched on.
    pub fn new() -> I8042 {
        I8042 {
            state: State::new(),
        }
    }

    fn mode(&self) -> u8 {
        self.state.ram[0]
    }

    /// Fetches the next byte, if there is room, and sets the lines.
    fn settle(&mut self, turn: &mut Turn) {
        while self.state.output.is_none() {
            let next = if let Some(byte) = self.state.answers.pop_front() {
                Some((byte, From::Controller))
            } else if self.mode() & KEYBOARD_OFF == 0 && self.state.keyboard.is_ready() {
                self.state
                    .keyboard
                    .next()
                    .map(|byte| (byte, From::Keyboard))
            } else if self.mode() & MOUSE_OFF == 0 {
                self.state.mouse.next().map(|byte| (byte, From::Mouse))
            } else {
                None
            };
            match next {
                Some((byte, From::Keyboard)) if self.mode() & TRANSLATE != 0 => {
                    if byte == 0xf0 {
                        self.state.breaking = true;
                        continue;
                    }
                    let up = u8::from(std::mem::take(&mut self.state.breaking)) << 7;
                    self.state.output = Some((scancodes::translate(byte) | up, From::Keyboard));
                }
                Some(next) => self.state.output = Some(next),
                None => break,
            }
        }
        self.set_lines(turn);
    }

    fn set_lines(&mut self, turn: &mut Turn) {
        let mode = self.mode();
        let levels = match self.state.output {
            None => (false, false),
            Some((_, From::Mouse)) => (false, mode & LINE_12 != 0),
            Some(_) => (mode & LINE_1 != 0, false),
        };
        let before = std::mem::replace(&mut self.state.levels, levels);
        for (line, before, now) in [
            (KEYBOARD_LINE, before.0, levels.0),
            (MOUSE_LINE, before.1, levels.1),
        ] {
            if before != now {
                turn.effects.push(Effect::Line(line, now));
            }
        }
    }

    /// Forgets the byte at 0x60; its line falls before another can raise it.
    fn empty(&mut self, turn: &mut Turn) {
        self.state.output = None;
        self.set_lines(turn);
    }

    fn answer(&mut self, byte: u8, turn: &mut Turn) {
        // An answer overtakes what waits there: the guest asked for it.
        self.empty(turn);
        self.state.answers.clear();
        self.state.answers.push_back(byte);
    }

    fn set_port(&mut self, value: u8, turn: &mut Turn) {
        if (value ^ self.state.port) & A20 != 0 {
            turn.effects.push(Effect::A20(value & A20 != 0));
        }
        self.state.port = value & A20 | NO_RESET;
        if value & NO_RESET == 0 {
            turn.effects.push(Effect::Reset);
        }
    }

    fn port(&self) -> u8 {
        let waiting = match self.state.output {
            None => 0,
            Some((_, From::Mouse)) => 0x20,
            Some(_) => 0x10,
        };
        // Both clocks and data lines are up.
        self.state.port | waiting | 0xc0
    }

    fn command(&mut self, command: u8, turn: &mut Turn) {
        self.state.command = None;
        match command {
            0x20..=0x3f => self.answer(self.state.ram[usize::from(command & 0x1f)], turn),
            0x60..=0x7f | 0xd1..=0xd4 => self.state.command = Some(command),
            // No password is set.
            0xa4 => self.answer(0xf1, turn),
            0xa7 => self.state.ram[0] |= MOUSE_OFF,
            0xa8 => self.state.ram[0] &= !MOUSE_OFF,
            // Both cables are good.
            0xa9 | 0xab => self.answer(0, turn),
            0xaa => {
                self.state.ram[0] |= SYSTEM;
                self.answer(0x55, turn);
            }
            0xad => self.state.ram[0] |= KEYBOARD_OFF,
            0xae => self.state.ram[0] &= !KEYBOARD_OFF,
            // Input port: keyboard not locked, colour display, no manufacturing test.
            0xc0 => self.answer(0xb0, turn),
            0xd0 => self.answer(self.port(), turn),
            0xdd => self.set_port(self.state.port & !A20, turn),
            0xdf => self.set_port(self.state.port | A20, turn),
            // Pulses of the output port's low four bits: those that are 0.
            0xf0..=0xff if command & NO_RESET == 0 => turn.effects.push(Effect::Reset),
            _ => {}
        }
    }

    fn data(&mut self, value: u8, turn: &mut Turn) {
        let Some(command) = self.state.command.take() else {
            // For the keyboard, which is switched on by that.
            self.state.ram[0] &= !KEYBOARD_OFF;
            self.state.breaking = false;
            return self.state.keyboard.take(value);
        };
        match command {
            0xd1 => self.set_port(value, turn),
            0xd2 | 0xd3 => {
                let from = [From::Keyboard, From::Mouse][usize::from(command & 1)];
                self.empty(turn);
                self.state.output = Some((value, from));
            }
            0xd4 => {
                self.state.ram[0] &= !MOUSE_OFF;
                self.state.mouse.take(value);
            }
            _ => self.state.ram[usize::from(command & 0x1f)] = value,
        }
    }

    fn place(&mut self, x: i32, y: i32, wheel: i32) {
        let before = self.state.pointer.replace((x, y)).unwrap_or((x, y));
        let (x, y) = match self.state.held {
            [true, true] => (0, 0),
            _ => (x.saturating_sub(before.0), y.saturating_sub(before.1)),
        };
        self.state.mouse.moved(x, y, wheel);
    }
}

impl Device for I8042 {
    fn name(&self) -> &str {
        "i8042"
    }

    fn ports(&self) -> &[Ports] {
        &PORTS
    }

    fn read(&mut self, region: Region, _: u64, _: Width, turn: &mut Turn) -> u32 {
        if region == Region::Ports(0) {
            if let Some((byte, _)) = self.state.output {
                self.state.last = byte;
                self.empty(turn);
                self.settle(turn);
            }
            return self.state.last.into();
        }
        let waiting = match self.state.output {
            None => 0,
            Some((_, From::Mouse)) => FULL | AUX,
            Some(_) => FULL,
        };
        let command = if self.state.was_command { COMMAND } else { 0 };
        u32::from(waiting | self.mode() & SYSTEM | command | UNLOCKED)
    }

    fn write(&mut self, region: Region, _: u64, _: Width, value: u32, turn: &mut Turn) {
        let value = value as u8;
        self.state.was_command = region == Region::Ports(1);
        if self.state.was_command {
            self.command(value, turn);
        } else {
            self.data(value, turn);
        }
        self.settle(turn);
    }

    fn pointing(&self) -> Option<Pointing> {
        Some(Pointing::Relative)
    }

    fn touch(&mut self, touch: Touch, turn: &mut Turn) -> bool {
        match touch {
            Touch::Key { code, pressed } => {
                if let Some(at) = HOLD.iter().position(|held| *held == code) {
                    self.state.held[at] = pressed;
                }
                match BUTTONS.iter().find(|(button, _)| *button == code) {
                    Some((_, bit)) => self.state.mouse.button(*bit, pressed),
                    None => self.state.keyboard.key(code, pressed),
                }
            }
            Touch::Motion { x, y, wheel } => self.state.mouse.moved(x, y, wheel),
            Touch::Position { x, y, wheel, .. } => self.place(x, y, wheel),
        }
        self.settle(turn);
        true
    }

    fn reset(&mut self, turn: &mut Turn) {
        let (pointer, held) = (self.state.pointer, self.state.held);
        let levels = self.state.levels;
        self.state = State {
            pointer,
            held,
            levels,
            ..State::new()
        };
        self.set_lines(turn);
    }

    fn save(&self) -> Value {
        state::wrap(VERSION, &self.state)
    }

    fn restore(&mut self, saved: &Value) -> Result<(), StateError> {
        let (_, state): (u64, State) = state::unwrap(self.name(), VERSION, saved)?;
        let good = state.ram.len() == 32
            && state.answers.len() <= 1
            && !state.keyboard.is_wild()
            && !state.mouse.is_wild();
        if !good {
            let why = "memory of another size, or longer queues than it has";
            return Err(StateError::wrong(self.name(), why));
        }
        self.state = state;
        Ok(())
    }
}
