//! The floppy controller (Intel 82077AA data sheet; section numbers are its), IRQ 6, DMA channel 2.
//!
//! ```text
//!   0x3f5 FIFO --> command bytes (at most 9) --> execute --+--> result bytes (at most 10) --> idle
//!                                                          |
//!                                                          '--> Task: read, write, format (transfer.rs)
//!                                                                 |  medium, DMA or FIFO
//!                                                                 '--> result bytes
//! ```
//! What a command may be long is decided by a table before its first argument is taken; data never goes through the
//! command's bytes.

mod commands;
mod drive;
#[cfg(any(test, feature = "conformance"))]
pub(crate) mod subject;
#[cfg(test)]
mod tests;
mod transfer;

use crate::device::{Device, Effect, Ports, Region, Turn, Width};
use crate::isa_dma::Line;
use crate::medium::Medium;
use crate::state::{self, StateError};
use drive::{DriveState, FloppyDrive};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use transfer::Task;

const VERSION: u64 = 1;
const IRQ: u8 = 6;
/// DMA channel.
pub const CHANNEL: u8 = 2;
const PORTS: &[Ports] = &[
    Ports {
        first: 0x3f0,
        count: 6,
    },
    Ports {
        first: 0x3f7,
        count: 1,
    },
];
/// Longest command and longest result, bytes (5.0, table 5-1).
const MAX_COMMAND: usize = 9;
const MAX_RESULT: usize = 10;

/// Digital output register (2.1.2).
const DOR_RESET: u8 = 0x04;
const DOR_DMA: u8 = 0x08;
/// Main status register (2.1.5).
const RQM: u8 = 0x80;
const DIO: u8 = 0x40;
const NON_DMA: u8 = 0x20;
const BUSY: u8 = 0x10;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    output: u8,
    tape: u8,
    /// Data rate, 0 to 3.
    rate: u8,
    command: Vec<u8>,
    result: Vec<u8>,
    task: Option<Task>,
    interrupt: bool,
    level: bool,
    /// SENSE INTERRUPT STATUS answers these, after a reset or seeks: status, track.
    events: Vec<(u8, u8)>,
    /// SPECIFY: step rate and head times, and whether data goes without DMA.
    specified: [u8; 2],
    /// CONFIGURE: implied seek, FIFO, polling, threshold; precompensation track.
    configured: [u8; 2],
    locked: bool,
    perpendicular: u8,
    token: u32,
    drives: [Option<DriveState>; 2],
}

/// The controller.
#[derive(Debug)]
pub struct Floppy {
    state: State,
    drives: [Option<FloppyDrive>; 2],
    line: Line,
}

impl Floppy {
    /// With drives A and B for these media; `line` is DMA channel 2.
    pub fn new(media: [Option<Box<dyn Medium>>; 2], line: Line) -> Floppy {
        Floppy {
            state: State {
                output: 0,
                tape: 0,
                rate: 2,
                command: Vec::new(),
                result: Vec::new(),
                task: None,
                interrupt: false,
                level: false,
                events: Vec::new(),
                specified: [0, 0],
                configured: [0x20, 0],
                locked: false,
                perpendicular: 0,
                token: 0,
                drives: [None, None],
            },
            drives: media.map(|medium| medium.map(FloppyDrive::new)),
            line,
        }
    }

    fn drive(&mut self, number: u8) -> Option<&mut FloppyDrive> {
        self.drives.get_mut(usize::from(number))?.as_mut()
    }

    /// Reset by the DOR, the DSR or the machine (6.0): `hard` forgets what LOCK keeps.
    fn restart(&mut self, hard: bool) {
        let state = &mut self.state;
        state.command.clear();
        state.result.clear();
        state.task = None;
        state.interrupt = false;
        state.events.clear();
        state.specified[1] &= !1;
        if hard || !state.locked {
            state.configured = [0x20, 0];
        }
        if hard {
            state.locked = false;
            state.perpendicular = 0;
        }
    }

    /// Out of reset: each drive has something to say (6.3, polling).
    fn wake(&mut self) {
        if self.state.configured[0] & 0x10 == 0 {
            self.state.events = (0..4).map(|drive| (0xc0 | drive, 0)).collect();
            self.state.interrupt = true;
        }
    }

    fn main_status(&self) -> u8 {
        let state = &self.state;
        if state.output & DOR_RESET == 0 {
            return 0;
        }
        if let Some(task) = &state.task {
            let by_hand = state.specified[1] & 1 != 0;
            return match (task.wants_host(), task.is_to_host()) {
                (true, true) if by_hand => RQM | DIO | NON_DMA | BUSY,
                (true, false) if by_hand => RQM | NON_DMA | BUSY,
                _ => BUSY,
            };
        }
        if !state.result.is_empty() {
            return RQM | DIO | BUSY;
        }
        RQM | if state.command.is_empty() { 0 } else { BUSY }
    }

    fn read_fifo(&mut self, turn: &mut Turn) -> u8 {
        if self.state.task.is_some() {
            return self.read_by_hand(turn);
        }
        if self.state.result.is_empty() {
            return 0;
        }
        self.state.interrupt = false;
        self.state.result.remove(0)
    }

    fn write_fifo(&mut self, value: u8, turn: &mut Turn) {
        if self.state.output & DOR_RESET == 0 {
            return;
        }
        if self.state.task.is_some() {
            return self.write_by_hand(value, turn);
        }
        if !self.state.result.is_empty() || self.state.command.len() >= MAX_COMMAND {
            return;
        }
        self.state.command.push(value);
        if self.state.command.len() == commands::length(self.state.command[0]) {
            let command = std::mem::take(&mut self.state.command);
            self.execute(&command, turn);
        }
    }

    fn write_output(&mut self, value: u8) {
        let before = self.state.output;
        self.state.output = value;
        match (before & DOR_RESET != 0, value & DOR_RESET != 0) {
            (true, false) => self.restart(false),
            (false, true) => self.wake(),
            _ => {}
        }
    }

    /// DSR: reset that ends by itself, data rate.
    fn write_rate_select(&mut self, value: u8) {
        self.state.rate = value & 3;
        if value & 0x80 != 0 && self.state.output & DOR_RESET != 0 {
            self.restart(false);
            self.wake();
        }
    }

    /// DIR: bit 7 is the change line of the selected drive, if its motor runs.
    fn digital_input(&mut self) -> u8 {
        let selected = self.state.output & 3;
        let spins = self.state.output >> (4 + selected) & 1 != 0;
        let changed = self.drive(selected).is_some_and(|drive| {
            drive.look();
            drive.state.changed
        });
        if spins && changed {
            0x80
        } else {
            0
        }
    }

    fn settle(&mut self, turn: &mut Turn) {
        // The AT's DMA gate holds interrupts back, too (2.1.2).
        let level = self.state.interrupt && self.state.output & DOR_DMA != 0;
        if level != self.state.level {
            self.state.level = level;
            turn.effects.push(Effect::Line(IRQ, level));
        }
    }
}

impl Device for Floppy {
    fn name(&self) -> &str {
        "floppy"
    }

    fn ports(&self) -> &[Ports] {
        PORTS
    }

    fn read(&mut self, region: Region, offset: u64, width: Width, turn: &mut Turn) -> u32 {
        let mut value = 0;
        for index in 0..width.bytes() as u64 {
            let byte = match (region, offset + index) {
                (Region::Ports(0), 2) => self.state.output,
                (Region::Ports(0), 3) => self.state.tape,
                (Region::Ports(0), 4) => self.main_status(),
                (Region::Ports(0), 5) => self.read_fifo(turn),
                (Region::Ports(1), _) => self.digital_input(),
                // Status A and B: not in AT mode (2.1.1).
                _ => 0xff,
            };
            value |= u32::from(byte) << (8 * index);
        }
        self.settle(turn);
        value
    }

    fn write(&mut self, region: Region, offset: u64, width: Width, value: u32, turn: &mut Turn) {
        for index in 0..width.bytes() as u64 {
            let byte = (value >> (8 * index)) as u8;
            match (region, offset + index) {
                (Region::Ports(0), 2) => self.write_output(byte),
                (Region::Ports(0), 3) => self.state.tape = byte & 3,
                (Region::Ports(0), 4) => self.write_rate_select(byte),
                (Region::Ports(0), 5) => self.write_fifo(byte, turn),
                (Region::Ports(1), _) => self.state.rate = byte & 3,
                _ => {}
            }
        }
        self.settle(turn);
    }

    fn attend(&mut self, turn: &mut Turn) {
        for number in 0..2 {
            let Some(drive) = self.drives[number].as_mut() else {
                continue;
            };
            let answer = drive.medium.finished();
            drive.look();
            if let Some(answer) = answer {
                self.answered(number as u8, answer, turn);
            }
        }
        self.settle(turn);
    }

    fn reset(&mut self, turn: &mut Turn) {
        self.restart(true);
        self.state.output = 0;
        self.state.rate = 2;
        self.state.tape = 0;
        self.state.specified = [0, 0];
        self.settle(turn);
    }

    fn save(&self) -> Value {
        let mut saved = self.state.clone();
        for (slot, drive) in saved.drives.iter_mut().zip(&self.drives) {
            *slot = drive.as_ref().map(|drive| drive.state.clone());
        }
        state::wrap(VERSION, &saved)
    }

    fn restore(&mut self, saved: &Value) -> Result<(), StateError> {
        let (_, mut state): (u64, State) = state::unwrap("floppy", VERSION, saved)?;
        let wrong = |why: &str| StateError::wrong("floppy", why);
        let sound = state.command.len() < MAX_COMMAND
            && state
                .command
                .first()
                .is_none_or(|first| state.command.len() < commands::length(*first))
            && state.result.len() <= MAX_RESULT
            && state.events.len() <= 4
            && state.rate < 4
            && state.task.as_ref().is_none_or(Task::is_sound)
            && state.drives.iter().flatten().all(FloppyDrive::is_sound);
        if !sound {
            return Err(wrong("numbers that do not fit together"));
        }
        for (drive, saved) in self.drives.iter_mut().zip(&mut state.drives) {
            match (drive, saved.take()) {
                (Some(drive), Some(saved)) => drive.state = saved,
                (None, None) => {}
                _ => return Err(wrong("other drives than this machine has")),
            }
        }
        self.state = state;
        self.resume();
        Ok(())
    }
}
