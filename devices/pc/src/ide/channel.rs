//! One cable: two drives that hear the same writes, one interrupt line, one bus master.

use super::dma::Master;
use super::drive::{Drive, State};
use super::registers::*;
use crate::device::{Effect, Turn};
use serde::{Deserialize, Serialize};

/// Device control: no interrupt, software reset, read back the older of register pairs.
const NIEN: u8 = 0x02;
const SRST: u8 = 0x04;
const HOB: u8 = 0x80;

/// One channel.
#[derive(Debug)]
pub(super) struct Channel {
    line: u8,
    drives: [Option<Drive>; 2],
    pub(super) master: Master,
    selected: usize,
    control: u8,
    level: bool,
}

/// What of it is saved.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Saved {
    drives: [Option<State>; 2],
    master: Master,
    selected: usize,
    control: u8,
    level: bool,
}

impl Channel {
    pub(super) fn new(line: u8, drives: [Option<Drive>; 2]) -> Channel {
        Channel {
            line,
            drives,
            master: Master::default(),
            selected: 0,
            control: 0,
            level: false,
        }
    }

    fn drive(&mut self) -> Option<&mut Drive> {
        self.drives[self.selected]
            .as_mut()
            .filter(|drive| drive.is_there())
    }

    fn all(&mut self) -> impl Iterator<Item = &mut Drive> {
        self.drives.iter_mut().flatten()
    }

    pub(super) fn power_on(&mut self) {
        self.master = Master::default();
        self.selected = 0;
        self.control = 0;
        self.all().for_each(Drive::power_on);
    }

    pub(super) fn data_in(&mut self) -> u16 {
        self.drive().map_or(0, Drive::data_in)
    }

    pub(super) fn data_out(&mut self, word: u16) {
        if let Some(drive) = self.drive() {
            drive.data_out(word);
        }
    }

    /// Status without taking the interrupt.
    pub(super) fn alternate_status(&mut self) -> u8 {
        if self.control & SRST != 0 {
            return BSY;
        }
        self.drive().map_or(0, |drive| drive.state.registers.status)
    }

    /// The host reads register 1 to 7; where no drive is, nothing drives the cable, and its pull-downs win.
    pub(super) fn read(&mut self, offset: u64) -> u8 {
        if offset == 7 {
            let status = self.alternate_status();
            if let Some(drive) = self.drive() {
                drive.state.interrupt = false;
            }
            return status;
        }
        let previous = self.control & HOB != 0;
        self.drive()
            .map_or(0, |drive| drive.state.registers.read(offset, previous))
    }

    /// The host writes register 1 to 7.
    pub(super) fn write(&mut self, offset: u64, value: u8) {
        // Any write to the task file ends looking at the older registers (ATA/ATAPI-6, 6.20).
        self.control &= !HOB;
        match offset {
            1..=6 => {
                for drive in self.all() {
                    if !drive.is_busy() {
                        drive.state.registers.write(offset, value);
                    }
                }
                if offset == 6 {
                    self.selected = usize::from(value >> 4 & 1);
                }
            }
            // EXECUTE DEVICE DIAGNOSTIC is for both; the first one speaks.
            7 if value == 0x90 => {
                self.all().for_each(Drive::soft_reset);
                self.selected = 0;
                if let Some(drive) = self.drive() {
                    drive.state.interrupt = true;
                }
            }
            7 => {
                if let Some(drive) = self.drive() {
                    drive.command(value);
                }
            }
            _ => {}
        }
    }

    /// The host writes device control.
    pub(super) fn control(&mut self, value: u8) {
        let was = self.control & SRST != 0;
        self.control = value & (NIEN | SRST | HOB);
        let is = self.control & SRST != 0;
        if was || is {
            self.all().for_each(Drive::soft_reset);
            self.selected = 0;
        }
    }

    pub(super) fn attend(&mut self) {
        self.all().for_each(Drive::attend);
    }

    /// Moves data by the bus master if it may, and brings the line up to date.
    pub(super) fn settle(&mut self, master: bool, turn: &mut Turn) {
        if master {
            for drive in self.drives.iter_mut().flatten() {
                drive.pump(&mut self.master, turn.memory);
            }
        }
        let enabled = self.control & (NIEN | SRST) == 0;
        let level = enabled && self.drive().is_some_and(|drive| drive.state.interrupt);
        if level != self.level {
            self.level = level;
            if level {
                self.master.interrupted();
            }
            turn.effects.push(Effect::Line(self.line, level));
        }
    }

    pub(super) fn save(&self) -> Saved {
        let state = |drive: &Option<Drive>| drive.as_ref().map(|drive| drive.state.clone());
        Saved {
            drives: [state(&self.drives[0]), state(&self.drives[1])],
            master: self.master.clone(),
            selected: self.selected,
            control: self.control,
            level: self.level,
        }
    }

    pub(super) fn restore(&mut self, saved: Saved) -> Result<(), &'static str> {
        if saved.selected > 1 || !saved.master.is_sound() {
            return Err("a channel whose numbers do not fit together");
        }
        for (drive, saved) in self.drives.iter_mut().zip(saved.drives) {
            match (drive, saved) {
                (Some(drive), Some(state)) => drive.resume(state)?,
                (None, None) => {}
                _ => return Err("other drives than this machine has"),
            }
        }
        self.master = saved.master;
        self.selected = saved.selected;
        self.control = saved.control & (NIEN | SRST | HOB);
        self.level = saved.level;
        Ok(())
    }
}
